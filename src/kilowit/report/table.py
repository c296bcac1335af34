"""A table as a value: columns with a kind, rows of entries, footnotes. Rendered to HTML, Markdown and CSV alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from kilowit.report.quantity import UNKNOWN, Kind, Unit, show, unit_for


@dataclass(frozen=True)
class Column:
    """One column: `key` names the stored figure with its SI unit (the CSV header), `label` is what people read."""

    key: str
    label: str
    kind: Kind = "text"
    digits: int = 3
    is_figure_text: bool = False  # texts that are figures: aligned like them

    @property
    def is_numeric(self) -> bool:
        """Whether its entries are figures."""
        return self.kind != "text" or self.is_figure_text


@dataclass(frozen=True)
class Entry:
    """One entry: a text, or a figure with its interval, or nothing with the reason why."""

    value: float | str | None
    low: float | None = None
    high: float | None = None
    reason: str = "not recorded"
    note: str = ""  # shown after the value
    is_at_least: bool = False  # a sum with unknown terms
    is_interval_hidden: bool = False  # the interval is for the CSV file alone
    is_interval_only: bool = False  # the interval is the figure

    @classmethod
    def unknown(cls, reason: str) -> Entry:
        """Nothing, because of `reason`."""
        return cls(None, reason=reason)


@dataclass(frozen=True)
class Table:
    """A titled table; `signatures` say how its measured figures were taken.

    `num_rows_cut` rows are left out of the page and stay in the CSV file.
    """

    name: str  # file name of its CSV
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    footnotes: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    shown_rows: int | None = None
    emphasised_rows: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), f"{self.name}: {len(row)} entries in {len(self.columns)} columns"

    @property
    def visible_rows(self) -> tuple[tuple[Entry, ...], ...]:
        """The rows that the page shows."""
        return self.rows if self.shown_rows is None else self.rows[: self.shown_rows]

    @property
    def num_rows_cut(self) -> int:
        """Rows that only the CSV file has."""
        return len(self.rows) - len(self.visible_rows)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The display unit of each column."""
        return tuple(unit_for(c.kind, self._figures(i)) for i, c in enumerate(self.columns))

    def header(self, index: int) -> str:
        """The column's label with its unit."""
        unit = self.units[index].name
        return f"{self.columns[index].label} ({unit})" if unit else self.columns[index].label

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """The distinct reasons of unknown entries, in the order of the table; the page letters them a, b, c."""
        found: dict[str, None] = {}
        for row in self.visible_rows:
            for entry in row:
                if entry.value is None:
                    found.setdefault(entry.reason)
        return tuple(found)

    def text(self, entry: Entry, index: int) -> str:
        """Write one entry as people read it, without the letter of its reason."""
        if entry.value is None:
            return UNKNOWN
        if isinstance(entry.value, str):
            return entry.value + entry.note
        if entry.is_interval_only:
            return self.interval_text(entry, index)
        kind, unit, digits = self.columns[index].kind, self.units[index], self.columns[index].digits
        sign = "≥ " if entry.is_at_least else ""
        return sign + show(entry.value, kind, unit, digits) + entry.note

    def side_text(self, entry: Entry, index: int) -> str:
        """Write what stands small beside the entry: its interval, if it has one to show."""
        hidden = entry.is_interval_hidden or entry.is_interval_only
        return "" if hidden else self.interval_text(entry, index)

    def interval_text(self, entry: Entry, index: int) -> str:
        """Write the interval of one entry, or nothing."""
        if entry.value is None or entry.low is None or entry.high is None:
            return ""
        kind, unit, digits = self.columns[index].kind, self.units[index], self.columns[index].digits
        return f"[{show(entry.low, kind, unit, digits)}, {show(entry.high, kind, unit, digits)}]"

    def letter(self, entry: Entry) -> str:
        """The letter of an unknown entry's reason: a to z, then aa, ab, ..."""
        return letters(self.reasons.index(entry.reason))

    def _figures(self, index: int) -> list[float]:
        return [row[index].value for row in self.rows if isinstance(row[index].value, int | float)]  # type: ignore[misc]


def letters(index: int) -> str:
    """Count in letters: 0 is a, 25 is z, 26 is aa."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text
