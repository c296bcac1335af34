"""`kilowit parts`: what a study can name, and the card of each part."""

from __future__ import annotations

from collections.abc import Sequence

from kilowit import factors, parts
from kilowit.console import show, show_json, show_table
from kilowit.errors import PartError, near_name_hint
from kilowit.parts import catalogue
from kilowit.parts.runtime_support import support_matrix

FACTORS = "factors"


def show_parts(kind: str | None, name: str | None, *, as_json: bool) -> None:
    """Show all kinds, all parts of one kind, or one card.

    Raises:
        PartError: no such kind or part.
    """
    if kind is not None and kind not in (*parts.KINDS, FACTORS):
        raise PartError(f'no kind of part "{kind}"', hint=near_name_hint(kind, (*parts.KINDS, FACTORS)))
    if kind is None:
        _show_kinds(as_json=as_json)
    elif name is None:
        _show_names(kind, as_json=as_json)
    elif kind == FACTORS:
        show_json(factors.find(name)) if as_json else show(factors.describe(name))
    elif kind == "models" and name in catalogue.scratch_names():
        _show_card(kind, catalogue.scratch_family(name).name, as_json=as_json)
    else:
        _show_card(kind, name, as_json=as_json)


def names_of(kind: str) -> Sequence[str]:
    """Return all names of a kind, factors included."""
    return factors.names() if kind == FACTORS else parts.names(kind)


def first_line(card: str) -> str:
    """Return what a card says a part is: its first line after the name."""
    line = card.splitlines()[0] if card else ""
    return line.partition(":")[2].strip() or line


def _show_kinds(*, as_json: bool) -> None:
    listed = {kind: names_of(kind) for kind in (*parts.KINDS, FACTORS)}
    if as_json:
        show_json(listed)
        return
    show_table(("kind", "number", "names"), [(kind, len(names), _some(names)) for kind, names in listed.items()])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _show_names(kind: str, *, as_json: bool) -> None:
    names = names_of(kind)
    if as_json:
        show_json(names)
    elif kind == FACTORS:
        for name in names:
            show(name)
    elif kind == "runtimes":
        _show_runtimes()
    else:
        rows = [(name, first_line(parts.card(kind, name))) for name in names]
        if kind == "models":
            sizes = catalogue.scratch_names()
            rows += [(f"{{scratch: {size}}}", f"{catalogue.scratch_family(size).name} from scratch") for size in sizes]
        show_table(("name", "what it is"), rows)


def _show_runtimes() -> None:
    matrix = support_matrix()
    rows = [
        (
            name,
            first_line(parts.card("runtimes", name)),
            ", ".join(row.families) or "none",
            ", ".join(row.precisions),
            ", ".join(row.devices),
        )
        for name, row in matrix.items()
    ]
    show_table(("name", "what it is", "families", "precisions", "devices"), rows)


def _show_card(kind: str, name: str, *, as_json: bool) -> None:
    card = parts.card(kind, name)
    show_json({"kind": kind, "name": name, "card": card}) if as_json else show(card)
