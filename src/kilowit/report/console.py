"""The answer and a comparison for a terminal: rich tables that also read well when piped."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from kilowit.report.compare import Compared, Comparison
from kilowit.report.quantity import number, show, unit_for
from kilowit.report.write import Answer
from kilowit.wording import counted

_WORDS = {"higher": "▲ higher", "lower": "▼ lower"}


def answer_panel(answer: Answer, html: Path | None = None) -> RenderableType:
    """Return the answer in a box, with the path of the report."""
    lines = [Text(sentence, style="bold" if i == 0 else "") for i, sentence in enumerate(answer.sentences)]
    box = Panel(Group(*lines), title="The answer", title_align="left", border_style="green")
    return box if html is None else Group(box, Text(f"Report: {html}"))


def comparison_tables(comparison: Comparison) -> RenderableType:
    """Return the table of figures, what was left out, and the conditions that were violated."""
    grid = RichTable(title=f"{comparison.name_b} against {comparison.name_a}", title_justify="left", title_style="bold")
    grid.add_column("Figure")
    for name in (comparison.name_a, comparison.name_b, "B / A", "95 % interval", "n"):
        grid.add_column(Text(name), justify="right")
    grid.add_column("Verdict")
    for row in comparison.rows:
        grid.add_row(*(Text(cell) for cell in _cells(row)))
    notes = [Text(f"{counted(comparison.num_pairs, 'pair')}; scores and losses: B − A.", style="dim")]
    if comparison.num_unpaired:
        notes.append(Text(f"{comparison.num_unpaired} runs have no partner on the other side and are left out."))
    broken = {v.condition.text: v for v in comparison.violations}
    for condition in comparison.conditions:
        violation = broken.get(condition.text)
        if violation is None:
            notes.append(Text(f"ok    {condition.text}"))
        else:
            notes.append(Text(f"FAIL  {condition.text}  (A {violation.a:.6g}, B {violation.b:.6g})", style="bold red"))
    return Group(grid, *notes)


def _cells(row: Compared) -> tuple[str, ...]:
    unit = unit_for(row.kind, [row.a, row.b])
    a, b = (f"{show(value, row.kind, unit)} {unit.name}".strip() for value in (row.a, row.b))
    low_high = ""
    if row.effect.low is not None and row.effect.high is not None:
        low_high = f"{_effect(row, row.effect.low)} to {_effect(row, row.effect.high)}"
    word = _WORDS.get(row.verdict, row.verdict)
    return (row.label, a, b, _effect(row, row.effect.value), low_high or "–", str(row.num_pairs), word)


def _effect(row: Compared, value: float) -> str:
    if not row.is_difference:
        return f"×{number(value)}"
    scale = 100 if row.kind == "score" else 1
    return f"{scale * value:+.3g}".replace("-", "−")
