"""Put a program beside an exported model that runs it without kilowit: copies of the few files that it needs.

They are the files that kilowit itself runs, and import nothing of it but each other; only the names of those imports
change, ``kilowit.parts.token_search`` becoming ``summarizer.token_search``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PACKAGE: Final = "summarizer"  # folder of the copies
PROGRAM: Final = "summarize.py"
_SHARED: Final = ("errors", "parts/runtime", "parts/runtime_request", "parts/text_codec")
MODULES: Final = {
    "onnxruntime": (*_SHARED, "parts/token_search", "parts/engine_onnxruntime"),
    "openvino": (*_SHARED, "parts/token_search", "parts/engine_openvino"),
    "ctranslate2": (*_SHARED, "parts/engine_ctranslate2"),
}
NEEDS: Final = {
    "onnxruntime": ("onnxruntime", "numpy", "tokenizers"),
    "openvino": ("openvino", "numpy", "tokenizers"),
    "ctranslate2": ("ctranslate2", "tokenizers"),
}
TRITON_MODULES: Final = ("parts/summarize_alone", "parts/triton_meter")  # besides those of the runtime
TRITON_MODEL: Final = "model.py"  # the name that Triton's Python backend looks for
_IMPORT: Final = re.compile(r"^from kilowit(?:\.\w+)*\.(\w+) import", re.MULTILINE)


def leave_program(folder: Path, runtime: str) -> None:
    """Write ``summarize.py``, the package that it needs and the list of what to install."""
    source = Path(__file__).parent.parent  # of kilowit's package
    package = folder / PACKAGE
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text('"""Runs the summarizer in the folder above; copied from kilowit."""\n')
    for name in MODULES[runtime]:
        _copy(source / f"{name}.py", package / f"{Path(name).name}.py")
    _copy(source / "parts" / "summarize_alone.py", folder / PROGRAM)
    (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in NEEDS[runtime]))


def leave_triton_model(folder: Path) -> None:
    """Write ``model.py`` and what it needs besides into a folder that `leave_program` has been at."""
    source = Path(__file__).parent.parent
    for name in TRITON_MODULES:
        _copy(source / f"{name}.py", folder / PACKAGE / f"{Path(name).name}.py")
    _copy(source / "parts" / "triton_model.py", folder / TRITON_MODEL)


def _copy(source: Path, target: Path) -> None:
    text = source.read_text(encoding="utf-8")
    target.write_text(_IMPORT.sub(rf"from {PACKAGE}.\1 import", text), encoding="utf-8")
