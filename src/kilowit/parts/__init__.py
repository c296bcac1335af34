"""All that a study can name. One file per name; the file's name is the name in the YAML.

``parts/methods/bf16.py`` is the method ``bf16``; ``parts/method.py`` says what a method is. Listing and cards
need no import of the part, so that `kilowit parts` and `kilowit check` work without torch.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from kilowit.errors import PartError, near_name_hint

KINDS: Final = ("models", "datasets", "methods", "recipes", "metrics", "sensors", "runtimes", "searches", "executors")

# Which extra brings what a kind's parts need; the others: train.
EXTRAS: Final = {"metrics": "metrics", "searches": "search"}


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the sorted names of all parts of a kind.

    Raises:
        PartError: no such kind.
    """
    folder = _folder(kind)
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")))


def load(kind: str, name: str) -> ModuleType:
    """Import one part.

    Raises:
        PartError: no such part, or a library that it needs is not installed.
    """
    if name not in names(kind):
        raise PartError(f'no {_word(kind)} "{name}"', hint=near_name_hint(name, names(kind)))
    try:
        return importlib.import_module(f"kilowit.parts.{kind}.{name}")
    except ModuleNotFoundError as error:
        raise PartError(
            f'{_word(kind)} "{name}" needs the package {error.name}',
            hint=f"Install it: pip install 'kilowit[{EXTRAS.get(kind, 'train')}]'.",
        ) from error


def card(kind: str, name: str) -> str:
    """Return the part's card: its module docstring, read without importing it.

    Raises:
        PartError: no such part.
    """
    if name not in names(kind):
        raise PartError(f'no {_word(kind)} "{name}"', hint=near_name_hint(name, names(kind)))
    source = (_folder(kind) / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _word(kind: str) -> str:
    """One part of a kind, in a sentence."""
    return "search" if kind == "searches" else kind.removesuffix("s")


def _folder(kind: str) -> Path:
    if kind not in KINDS:
        raise PartError(f'no kind of part "{kind}"', hint=near_name_hint(kind, KINDS))
    return Path(__file__).parent / kind
