"""The wheel of the kilowit that runs here, so that a job runs the same code: a zip of its modules and its metadata.

Written with the standard library alone: no build tool, no network. Compiled libraries stay out, for they are of this
machine; ROUGE then runs on its Python engine.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import kilowit
from kilowit.errors import PartError
from kilowit.store.folder import store_errors

_TAG: Final = "py3-none-any"
_LEFT_OUT: Final = (".pyc", ".so", ".pyd", ".dylib")
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the least that a zip can say: equal code makes an equal file
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")  # of a line of Requires-Dist
_OWN: Final = re.compile(r"kilowit\[([^]]+)\]")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_KEPT_METADATA: Final = ("METADATA", "entry_points.txt")


def write_wheel(folder: Path) -> Path:
    """Write the wheel into `folder` and return its path.

    Raises:
        PartError: kilowit runs here without having been installed, so that nobody knows what it requires.
        StoreError: the folder cannot be written.
    """
    try:
        installed = importlib.metadata.distribution("kilowit")
    except importlib.metadata.PackageNotFoundError as error:
        raise PartError("kilowit is not installed here", hint="pip install kilowit, then export again.") from error
    path = folder / f"kilowit-{installed.version}-{_TAG}.whl"
    info = f"kilowit-{installed.version}.dist-info"
    files = _modules(Path(kilowit.__file__).parent)
    files |= {f"{info}/{name}": text.encode() for name in _KEPT_METADATA if (text := installed.read_text(name))}
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: kilowit\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    with store_errors(folder), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, content)
    return path


def installed_versions(extras: Iterable[str]) -> list[str]:
    """Return ``name==version`` of what kilowit itself and some of its extras ask for, as installed here, by name.

    What these packages ask for in turn is left to pip: their makers know it, and other packages of an image may cap it.
    A version of this machine's own, such as torch's ``2.13.0+cpu``, loses what makes it so: a node has another device.
    """
    wanted, asked = set(extras), set[str]()
    lines = importlib.metadata.requires("kilowit") or []
    while wanted - asked:  # an extra may ask for another: kilowit[onnx]
        asked |= wanted
        own = [match for line in lines if (match := _OWN.match(line)) and _is_asked(line, asked)]
        wanted |= {extra.strip() for match in own for extra in match[1].split(",")}
    names = {_NAME.match(line)[0] for line in lines if _is_asked(line, asked) and not _OWN.match(line)}  # type: ignore[index]
    return sorted(f"{name}=={version}" for name in names if (version := _installed(name)))


def _is_asked(line: str, extras: set[str]) -> bool:
    condition = _EXTRA.search(line)
    return condition is None or condition[1] in extras


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _modules(package: Path) -> dict[str, bytes]:
    paths = sorted(path for path in package.rglob("*") if path.is_file() and path.suffix not in _LEFT_OUT)
    return {f"kilowit/{path.relative_to(package).as_posix()}": path.read_bytes() for path in paths}


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{own},,\n"]).encode()
