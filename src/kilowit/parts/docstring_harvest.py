"""Collect (docstring body, summary line) pairs from installed Python packages, once per set of packages.

Sources are parsed, never imported: nothing that is installed runs. The harvest takes about half a minute in an
environment with torch and transformers; its result is cached under a name that the set of packages decides.
"""

from __future__ import annotations

import ast
import gc
import gzip
import hashlib
import json
import os
import re
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from kilowit.parts import docstring_pair
from kilowit.parts.cache import cache_folder

_SKIPPED_FOLDERS: Final = frozenset({
    "tests", "test", "testing", "__pycache__", "_vendor", "vendor", "vendored", "_vendored", "third_party", "extern",
    "externals", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo",
})  # fmt: skip
_MIN_TRIPLE_QUOTED_BYTES: Final = 120  # shorter ones cannot hold a summary and 20 words
_LONG_STRING: Final = re.compile(rb'("""|\'\'\')(?:(?!\1).){%d}' % _MIN_TRIPLE_QUOTED_BYTES, re.DOTALL)
_DOCUMENTED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


class HarvestedPair(NamedTuple):
    """One pair, and the top-level package that it comes from."""

    id: str  # path of the source below its root, and the line: torch/nn/modules/module.py:412
    package: str
    document: str
    summary: str


class Harvest(NamedTuple):
    """All pairs of a set of packages, in the order of package, file and line."""

    pairs: list[HarvestedPair]
    fingerprint: str  # of the set of packages
    cache_problem: str | None  # why the cache could not be written, if so


def harvest_installed(*, include_standard_library: bool) -> Harvest:
    """Return the pairs of the packages installed beside this interpreter, from the cache if they are there.

    Several processes may do this at once: each writes a file of its own and renames it into place.
    """
    roots = source_roots(include_standard_library)
    fingerprint = packages_fingerprint(roots)
    path = _cache_path(fingerprint)
    pairs = _read_cache(path)
    if pairs is not None:
        return Harvest(pairs, fingerprint, None)
    pairs = harvest(roots)
    return Harvest(pairs, fingerprint, _write_cache(path, pairs))


def is_harvested(*, include_standard_library: bool) -> bool:
    """Say whether `harvest_installed` would find its pairs in the cache."""
    return _cache_path(packages_fingerprint(source_roots(include_standard_library))).is_file()


def harvest(roots: list[Path]) -> list[HarvestedPair]:
    """Collect the pairs below some folders; a document or a summary that was met before is left out.

    Cost: parsing, about 8 MB of sources a second on one core.
    """
    pairs: list[HarvestedPair] = []
    seen: set[str] = set()
    with _without_garbage_collection():
        for root in roots:
            for path in sorted(_sources(root)):
                for pair in _pairs_of_file(root, path):
                    keys = {_letters(pair.document), _letters(pair.summary)}
                    if seen.isdisjoint(keys):
                        seen |= keys
                        pairs.append(pair)
    return sorted(pairs, key=lambda pair: (pair.package, pair.id))


def _cache_path(fingerprint: str) -> Path:
    return cache_folder() / f"docstrings-{fingerprint[:16]}.json.gz"


def source_roots(include_standard_library: bool) -> list[Path]:
    """Return the folders that packages are installed in, for this interpreter."""
    paths = sysconfig.get_paths()
    names = ["purelib", "platlib", "stdlib"] if include_standard_library else ["purelib", "platlib"]
    return list(dict.fromkeys(Path(paths[name]) for name in names))


def packages_fingerprint(roots: list[Path]) -> str:
    """Return the sha256 over names and versions of packages and interpreter, and over the harvesting code."""
    found = {
        f"{(distribution.name or '?').lower()}=={distribution.version}"
        for root in roots
        for distribution in metadata.distributions(path=[str(root)])
    }
    python = ".".join(map(str, sys.version_info[:3]))
    code = b"".join(Path(file).read_bytes() for file in (__file__, docstring_pair.__file__))
    rules = f"code {hashlib.sha256(code).hexdigest()}, python {python}, {len(roots)} roots"
    return hashlib.sha256("\n".join([rules, *sorted(found)]).encode()).hexdigest()


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Spare a third of the parsing time (measured): syntax trees hold no cycles for the collector to find."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _sources(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS and not name.endswith("-info")]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _pairs_of_file(root: Path, path: Path) -> Iterator[HarvestedPair]:
    try:
        source = path.read_bytes()
    except OSError:
        return  # unreadable to us, as another user's package may be: there are others
    if not _LONG_STRING.search(source):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # templates and sources of other Python versions are no documents
    relative = path.relative_to(root)
    package = relative.parts[0].removesuffix(".py")
    for node in _documented(tree):
        text = ast.get_docstring(node, clean=False)
        pair = docstring_pair.docstring_pair(text) if text else None
        if pair is not None:
            line = getattr(node, "lineno", 0)
            yield HarvestedPair(f"{relative.as_posix()}:{line:05d}", package, pair.document, pair.summary)


def _documented(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module]:
    """Yield what can have a docstring, walking statements only: expressions hold none and are most of a tree."""
    if isinstance(node, _DOCUMENTED):
        yield node
    for name in ("body", "orelse", "finalbody", "handlers"):
        for child in getattr(node, name, ()):
            if hasattr(child, "body"):
                yield from _documented(child)


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text).lower()


def _read_cache(path: Path) -> list[HarvestedPair] | None:
    """Return cached pairs, or None where there is no whole file of them."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [HarvestedPair(*row) for row in json.load(file)]
    except (OSError, EOFError, ValueError, TypeError):
        return None


def _write_cache(path: Path, pairs: list[HarvestedPair]) -> str | None:
    """Write the cache in one step; return why it could not be done, as a read-only home is no reason to stop."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
                file.write(json.dumps(pairs, ensure_ascii=False).encode())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        return f"{path.parent}: {error.strerror or error}"
    return None
