"""Leave a trained model as MLflow's ``python_function`` folder, which `mlflow models serve` serves."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError, StoreError
from kilowit.parts import standalone
from kilowit.parts.runtime_support import support_of
from kilowit.parts.text_codec import Manifest
from kilowit.serving.export import Exported, export_model
from kilowit.settings import FactorSettings, RuntimeSettings
from kilowit.store.folder import store_errors

ARTIFACT: Final = "summarizer"
INPUT: Final = "document"
OUTPUT: Final = "summary"
PARAMS: Final = {
    "num_beams": "long", "max_new_tokens": "long", "min_new_tokens": "long", "length_penalty": "double",
    "no_repeat_ngram_size": "long",
}  # fmt: skip
EXAMPLE: Final = "The council met on Monday. It agreed to mend the bridge before the winter and to pay by a loan."


def export_pyfunc(
    model: str | Path, out: str | Path, chosen: RuntimeSettings, *, factors: FactorSettings | None = None
) -> Exported:
    """Export a model for a runtime, and that as an MLflow model; the folder is there whole or not at all.

    Args:
        model: a run folder with ``model/``, a model's folder, or an id of the hub.
        out: a folder that is not there yet.
        chosen: the runtime and its number format.
        factors: prices the bills of the model card; None = as the run's study says.

    Raises:
        StoreError: `out` is there already or cannot be written, or the run kept no model.
        PartError: MLflow is not installed, or as `export_model`.
    """
    out = Path(out).expanduser()
    if out.exists():
        raise StoreError("is there already", place=str(out), hint="Name a folder that is not there yet.")
    pyfunc = _mlflow_pyfunc()
    with store_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        exported = export_model(model, workspace / ARTIFACT, chosen, factors=factors)
        with store_errors(out):
            _save(pyfunc, exported, workspace / "model")
            (workspace / "model").rename(out)
            disk_byte = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        return replace(exported, folder=out, disk_byte=disk_byte)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def requirements_of(runtime: str) -> list[str]:
    """Return what a server of an exported folder needs, each at the version that is here."""
    alone = standalone.NEEDS.get(runtime)
    needed = alone if alone is not None else ("kilowit", *support_of(runtime).requires, "tokenizers")
    names = dict.fromkeys(["mlflow", "pandas", *needed])
    # A local version (2.13.0+cpu) names a build of one index; whoever installs has another.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def _mlflow_pyfunc() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        import mlflow.pyfunc
        import pandas  # noqa: F401 - mlflow-skinny comes without, and says so late
    except ModuleNotFoundError as error:
        raise PartError(
            f"an MLflow model needs the package {error.name}", hint="Install it: pip install 'kilowit[pyfunc]'."
        ) from error
    return mlflow.pyfunc


def _save(pyfunc: Any, exported: Exported, folder: Path) -> None:
    code = Path(standalone.__file__).parent / "pyfunc_model.py"
    modules, path = set(sys.modules), list(sys.path)
    pyfunc.save_model(
        path=str(folder),
        python_model=str(code),
        artifacts={ARTIFACT: str(exported.folder)},
        signature=_signature(exported.manifest),
        input_example=_example(),
        pip_requirements=requirements_of(exported.manifest.runtime),
        metadata={"kilowit": {"name": exported.manifest.name, "signature": exported.manifest.signature}},
    )
    _forget(modules, path)
    _without_our_paths(folder / "MLmodel", code.name)


def _without_our_paths(file: Path, code_name: str) -> None:
    """Take out where this machine had the parts of the folder: MLflow reads them from the folder itself."""
    import yaml

    described = yaml.safe_load(file.read_text(encoding="utf-8"))
    flavor = described["flavors"]["python_function"]
    flavor["model_code_path"] = code_name
    flavor["artifacts"][ARTIFACT]["uri"] = flavor["artifacts"][ARTIFACT]["path"]
    file.write_text(yaml.safe_dump(described), encoding="utf-8")


def _forget(modules: set[str], path: list[str]) -> None:
    """Undo what trying the example left in this process: another folder's program goes by the same name."""
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "summarize" or name.partition(".")[0] == standalone.PACKAGE:
            del sys.modules[name]


def _signature(manifest: Manifest) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    params = [ParamSpec(name, DataType[kind], getattr(manifest.generate, name)) for name, kind in PARAMS.items()]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, INPUT)]),
        outputs=Schema([ColSpec(DataType.string, OUTPUT)]),
        params=ParamSchema(params),
    )


def _example() -> Any:
    import pandas

    return pandas.DataFrame({INPUT: [EXAMPLE]})
