"""Find or build the compiled ROUGE engine: a C library of 30 kB that needs neither Python's headers nor numpy.

A wheel carries it, so its users need no compiler. In a checkout it is built once (half a second, with any C
compiler) into kilowit's cache. The file's name carries a hash of the sources: a stale library is never loaded.
Measured against numba on 2026-11-23: numba and llvmlite take 208 MB on disk, 36 s to compile the same code the first
time on a busy machine and 1.2 s to load it in each process.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from kilowit.errors import PartError
from kilowit.parts.cache import cache_folder

SOURCE_FOLDER: Final = Path(__file__).parent / "kernel"
# No contraction of a*b+c into one rounding: the scores must equal Python's to the last bit.
_FLAGS: Final = ("-std=c99", "-O3", "-fPIC", "-shared", "-ffp-contract=off")
_COMPILERS: Final = ("cc", "gcc", "clang")
_TIMEOUT_SECOND: Final = 120


def library_name() -> str:
    """Return the file name of the library for these sources, this system and this processor."""
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for source in sorted(SOURCE_FOLDER.glob("*.[ch]")):
        digest.update(source.read_bytes())
    return f"rouge-{digest.hexdigest()[:12]}-{sys.platform}-{platform.machine().lower()}.so"


def find() -> Path | None:
    """Return the library that the wheel brought or that was built before, or None."""
    name = library_name()
    if (SOURCE_FOLDER / name).is_file():
        return SOURCE_FOLDER / name
    try:
        built = _built_folder() / name
    except PartError:
        return None
    return built if built.is_file() else None


@cache
def find_or_build() -> Path:
    """Return the library, built now if need be.

    Raises:
        PartError: there is no C compiler, or it fails.
    """
    return find() or build(_built_folder())


def try_build() -> bool:
    """Build the library unless it is there; return whether it is there now."""
    try:
        find_or_build()
    except PartError:
        return False
    return True


def build(folder: Path) -> Path:
    """Compile the library into a folder; another process doing the same at once does no harm.

    Raises:
        PartError: there is no C compiler, it fails, or the folder cannot be written.
    """
    compiler = _compiler()
    sources = [str(source) for source in sorted(SOURCE_FOLDER.glob("*.c"))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "rouge.so"
            command = [*compiler, *_FLAGS, *sources, "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_SECOND)
            return made.replace(folder / library_name())
    except subprocess.CalledProcessError as error:
        raise PartError(f"the compiler {compiler[0]} failed: {error.stderr.strip()[-300:]}", hint=_HINT) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PartError(f"the compiled ROUGE engine cannot be built: {error}", hint=_HINT) from error


_HINT: Final = "Scores are the same without it, about ten times slower: engine python."


def _built_folder() -> Path:
    return cache_folder() / "rouge"


def _compiler() -> list[str]:
    """Return the command of a C compiler.

    Raises:
        PartError: none is on the path.
    """
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    for name in _COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise PartError("there is no C compiler (cc, gcc or clang) for the compiled ROUGE engine", hint=_HINT)
