"""Find NVIDIA Triton on this machine: a virtual environment that has nvidia-pytriton, whose wheel brings the server.

That package wants numpy below 2 and so does not go with ours: it has an environment of its own, in which the models run
too. Inside it Triton starts one process a model, with the interpreter that is first on its PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.runtime_support import support_of
from kilowit.parts.standalone import NEEDS

VARIABLE: Final = "KILOWIT_TRITON"
BACKEND: Final = "python"
STUB: Final = "triton_python_backend_stub"
PACKAGE: Final = "nvidia-pytriton==0.7.0"  # brings tritonserver 2.51.0, of Triton 24.10
PROBE_SECOND: Final = 60.0
# What is asked of the environment's own interpreter: where things are, and which packages it has.
_PROBE: Final = """
import importlib.util, json, sys, sysconfig
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2], "site": sysconfig.get_paths()["purelib"],
    "library_folder": sysconfig.get_config_var("LIBDIR"),
    "packages": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
}))
"""


@dataclass(frozen=True)
class TritonEnvironment:
    """A virtual environment that Triton runs in.

    Attributes:
        folder: of the environment.
        server: what nvidia-pytriton brings: the binary, the backend, a stub for each version of Python.
        libraries: folders of shared libraries that the binary and the stub are linked with.
        version: of its Python, ``3.11``.
    """

    folder: Path
    server: Path
    libraries: tuple[Path, ...]
    version: str

    @property
    def binary(self) -> Path:
        """The server itself."""
        return self.server / "bin" / "tritonserver"

    def backends(self, workspace: Path) -> Path:
        """Assemble the folder of backends: the wheel keeps the stub apart, for it has one for each Python."""
        folder = workspace / "backends"
        shutil.copytree(self.server / "backends", folder)
        stub = folder / BACKEND / STUB
        shutil.copy(self.server / "python_backend_stubs" / self.version / STUB, stub)
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
        return folder

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of Triton's process: ours, but for what would send its models to our Python."""
        kept = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
        paths = [str(self.folder / "bin"), kept.get("PATH", os.defpath)]
        return kept | {
            "PATH": os.pathsep.join(paths),
            "VIRTUAL_ENV": str(self.folder),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, self.libraries)),
        }


def find_triton(asked: Path | None, runtimes: frozenset[str]) -> TritonEnvironment:
    """Find the environment that was asked for.

    Args:
        asked: its folder; None = nobody said.
        runtimes: what the models need there.

    Raises:
        PartError: nobody said, it is none, or it lacks something; the hint says how to make one.
    """
    packages = sorted({package for name in runtimes for package in NEEDS[name]})
    making = f"python -m venv TRITON && TRITON/bin/pip install {PACKAGE} {' '.join(packages)}"
    if asked is None:
        hint = f"{making}, then --triton-env TRITON, or set {VARIABLE}."
        raise PartError("--engine triton needs an environment that has NVIDIA Triton", hint=hint)
    folder = asked.expanduser().absolute()
    if not (folder / "bin" / "python3").exists():
        raise PartError("not a virtual environment: no bin/python3 in it", place=str(folder), hint=f"{making}.")
    imports = sorted({package for name in runtimes for package in (*support_of(name).requires, "tokenizers", "numpy")})
    told = _probe(folder, imports)
    server = Path(told["site"]) / "pytriton" / "tritonserver"
    if not (server / "bin" / "tritonserver").is_file():
        raise PartError("nvidia-pytriton is not installed in it", place=str(folder), hint=f"{making}.")
    if missing := [name for name in imports if name not in told["packages"]]:
        hint = f"{folder}/bin/pip install {' '.join(missing)}"
        raise PartError(f"lacks what the models need: {', '.join(missing)}", place=str(folder), hint=hint)
    _check_python(told, server, folder)
    libraries = (server.parents[1] / "nvidia_pytriton.libs", Path(told["library_folder"]))
    return TritonEnvironment(folder, server, libraries, told["version"])


def _probe(folder: Path, imports: list[str]) -> dict[str, Any]:
    command = [str(folder / "bin" / "python3"), "-I", "-c", _PROBE, *imports]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECOND, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        hint = "Make the environment anew."
        raise PartError(f"its Python does not run ({error})", place=str(folder), hint=hint) from error
    return told


def _check_python(told: Mapping[str, Any], server: Path, folder: Path) -> None:
    """Refuse a Python that Triton has no stub for, or whose shared library is not where the stub would find it."""
    stubs = sorted((path.name for path in (server / "python_backend_stubs").iterdir()), key=lambda v: v.split("."))
    if told["version"] not in stubs:
        hint = f"Make the environment with one of Python {', '.join(stubs)}."
        raise PartError(f"Triton has no stub for Python {told['version']}", place=str(folder), hint=hint)
    library = Path(told["library_folder"]) / f"libpython{told['version']}.so.1.0"
    is_of_system = str(told["library_folder"]).startswith("/usr")  # where the loader looks by itself
    if not library.exists() and not is_of_system:
        hint = "Make the environment with a Python that was built with --enable-shared."
        raise PartError(f"its Python has no shared library {library}", place=str(folder), hint=hint)
