"""The figure of searches: the best so far against the energy spent, mean of the repeats with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.report.axes import Axis, axis_of
from kilowit.report.effects import METRIC_LABELS
from kilowit.report.figure_pareto import Canvas
from kilowit.report.markup import Markup, tag
from kilowit.report.quantity import number, unit_for
from kilowit.report.searches import SearchGroup
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval

NUM_POINTS: Final = 40  # of each curve
# Curves differ by dash as well as by colour: colour alone carries no meaning.
_LOOKS: Final = (
    ("var(--train)", ""),
    ("var(--predict)", "7 4"),
    ("var(--other)", "2 4"),
    ("var(--set-up)", "10 3 2 3"),
    ("var(--validate)", "4 2"),
    ("var(--idle)", "1 3"),
)


@dataclass(frozen=True)
class Curve:
    """Best so far by energy spent, where every repeat has a value."""

    label: str
    points: tuple[tuple[float, Interval], ...]


def curves_of(groups: Sequence[SearchGroup]) -> list[Curve]:
    """Return the curve of each search of one task."""
    found = []
    for group in groups:
        ends = [search.steps[-1].energy_joule for search in group.repeats if search.steps]
        if not ends:
            continue
        levels = [max(ends) * (i + 1) / NUM_POINTS for i in range(NUM_POINTS)]
        reached = [(level, group.best_within(level)) for level in levels]
        points = [(level, mean_interval(v)) for level, v in reached if len(v) == len(group.repeats)]
        if points:
            found.append(Curve(group.label, tuple(points)))
    return found


def search_svg(curves: Sequence[Curve], objective: str, canvas: Canvas) -> Markup:
    """Draw the figure as inline SVG."""
    values = [v.value for curve in curves for _, v in curve.points]
    lows = [v.low for curve in curves for _, v in curve.points[NUM_POINTS // 4 :] if v.low is not None]
    highs = [v.high for curve in curves for _, v in curve.points[NUM_POINTS // 4 :] if v.high is not None]
    span = max(values) - min(values) or abs(max(values)) * 0.1 or 1.0
    shown = [*values, *(max(v, min(values) - span) for v in lows), *(min(v, max(values) + span) for v in highs)]
    energies = [energy for curve in curves for energy, _ in curve.points]
    unit = unit_for("energy_wh", energies)
    x_axis = axis_of(energies, canvas.left, canvas.width - canvas.right, may_be_log=True, tick_size=unit.size)
    y_axis = axis_of(shown, canvas.height - canvas.bottom, canvas.top, may_be_log=False, tick_size=1.0)
    title = f"Best {METRIC_LABELS.get(objective, objective)} so far against the energy of the search"
    scale = ", log scale" if x_axis.is_log else ""
    return tag(
        "svg",
        tag("title", title),
        *_frame(x_axis, y_axis, unit.size, canvas),
        tag("text", f"Energy spent ({unit.name}{scale}) →", x=canvas.width - canvas.right,
            y=canvas.height - 10, class_="axis-name", text_anchor="end"),
        tag("text", f"{METRIC_LABELS.get(objective, objective)}, validation", x=canvas.left - 36, y=11,
            class_="axis-name"),
        *(_curve(curve, place, x_axis, y_axis) for place, curve in enumerate(curves)),
        *_names(curves, canvas),
        viewBox=f"0 0 {canvas.width:g} {canvas.height:g}",
        class_=f"figure search {canvas.name}",
        role="img",
        aria_label=f"{title}. The table below has the ends.",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def _frame(x_axis: Axis, y_axis: Axis, unit_size: float, canvas: Canvas) -> list[Markup]:
    bottom, right = canvas.height - canvas.bottom, canvas.width - canvas.right
    parts = [tag("line", x1=canvas.left, x2=right, y1=bottom, y2=bottom, class_="axis")]
    for value in y_axis.ticks:
        y = f"{y_axis.at(value):.1f}"
        parts.append(tag("line", x1=canvas.left, x2=right, y1=y, y2=y, class_="grid"))
        text = number(value)
        parts.append(tag("text", text, x=canvas.left - 8, y=y, class_="tick", text_anchor="end", dy="0.35em"))
    for value in x_axis.ticks:
        text, x = f"{value / unit_size:,.10g}", f"{x_axis.at(value):.1f}"
        parts.append(tag("text", text, x=x, y=bottom + 19, class_="tick", text_anchor="middle"))
    return parts


def _curve(curve: Curve, place: int, x_axis: Axis, y_axis: Axis) -> Markup:
    colour, dash = _LOOKS[place % len(_LOOKS)]
    points = [(x_axis.at(energy), value) for energy, value in curve.points]
    line = "M" + "L".join(f"{x:.1f},{y_axis.at(v.value):.1f}" for x, v in points)
    parts = [tag("title", curve.label)]
    if all(v.is_known for _, v in points):
        above = "L".join(f"{x:.1f},{y_axis.at(v.high or v.value):.1f}" for x, v in points)
        below = "L".join(f"{x:.1f},{y_axis.at(v.low or v.value):.1f}" for x, v in reversed(points))
        parts.append(tag("path", d=f"M{above}L{below}Z", fill=colour, stroke="none", opacity="0.12"))
    parts.append(tag("path", d=line, fill="none", stroke=colour, stroke_width="2", stroke_dasharray=dash or None))
    return tag("g", *parts)


def _names(curves: Sequence[Curve], canvas: Canvas) -> list[Markup]:
    """The key, in the upper right corner: a stroke and a name for each curve."""
    parts = []
    for place, curve in enumerate(curves):
        colour, dash = _LOOKS[place % len(_LOOKS)]
        y, right = canvas.top + 14 + 16 * place, canvas.width - canvas.right
        parts.append(tag("line", x1=right - 30, x2=right, y1=y, y2=y, stroke=colour, stroke_width="2",
                         stroke_dasharray=dash or None))  # fmt: skip
        parts.append(tag("text", curve.label, x=right - 36, y=y, class_="label", text_anchor="end", dy="0.35em"))
    return parts
