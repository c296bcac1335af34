"""The bill as bars: where the energy of each choice went, phase by phase; what brought no result on its own bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.record import SERVING
from kilowit.report.axes import linear_ticks
from kilowit.report.figure_pareto import WIDE, Canvas
from kilowit.report.markup import Markup, tag
from kilowit.report.quantity import measure, show, unit_for
from kilowit.report.runs import Choice, Run

MAX_BARS: Final = 12
_BAR, _STEP, _TOP, _CHARACTER = 20, 44, 16, 6.6
_MARGIN_FOR_TOTAL, _MARGIN_FOR_ENDS = 78, 150

# Stretches of a life in the order of the bars. Order, texture and the words in the bars carry the meaning where
# colour cannot. Phases of other makers fall under "other".
STRETCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "idle": ("idle",),
    "set-up": ("download", "prepare", "load", "warmup"),
    "train": ("train",),
    "validate": ("validate",),
    "predict": ("predict",),
    "serve": SERVING,
    "other": ("compress", "score", "save", "gap"),
}
_STRETCH_OF: Final = {phase: name for name, phases in STRETCHES.items() for phase in phases}
TEXTURED: Final = frozenset({"validate", "set-up", "retrain"})
_REACH: Final = 2.5  # an interval is drawn up to so many lengths of the longest bar


@dataclass(frozen=True)
class Bar:
    """One bar: joules by stretch."""

    label: str
    joules: Mapping[str, float]
    low: float | None = None  # ends of the total, where it has some to show
    high: float | None = None

    @property
    def total(self) -> float:
        """Length of the bar."""
        return sum(self.joules.values())


def bars_of(choices: Sequence[Choice]) -> list[Bar]:
    """Return a bar for each choice's runs with a result and one for those without; small ones merged."""
    bars = []
    for choice in choices:
        counted = {id(run) for run in choice.finished}
        rest = [run for run in choice.runs if id(run) not in counted]
        bars.append(Bar(f"{choice.label} ({_runs(len(choice.finished))})", _joules(choice.finished)))
        bars.append(Bar(f"{choice.label}: {_runs(len(rest))} failed or repeated", _joules(rest)))
    bars = sorted((bar for bar in bars if bar.total > 0), key=lambda bar: -bar.total)
    if len(bars) <= MAX_BARS:
        return bars
    small = bars[MAX_BARS - 1 :]
    merged = {name: sum(bar.joules.get(name, 0.0) for bar in small) for name in STRETCHES}
    return [*bars[: MAX_BARS - 1], Bar(f"{len(small):,} smaller bars together", merged)]


def stretches_in(bars: Sequence[Bar]) -> list[str]:
    """The stretches that any bar shows, in order, for the legend."""
    return [name for name in STRETCHES if any(bar.joules.get(name, 0) > 0 for bar in bars)]


def bill_svg(
    bars: Sequence[Bar], canvas: Canvas, *, names: Sequence[str] = tuple(STRETCHES), what: str = "choice and phase"
) -> Markup:
    """Draw stacked bars with their labels above and their totals at the end; at least one bar.

    Args:
        bars: joules by stretch; the interval of a total is drawn as a line below its bar.
        canvas: the size.
        names: the stretches in their order.
        what: by what the energy is split, in words.
    """
    longest = max(bar.total for bar in bars)
    reach = max(longest, min(_REACH * longest, max(bar.high or 0.0 for bar in bars)))
    margin = _MARGIN_FOR_TOTAL if all(bar.high is None for bar in bars) else _MARGIN_FOR_ENDS
    scale = min((canvas.width - margin) / longest, canvas.width / reach)
    base = len(bars) * _STEP + 8
    title = f"Energy by {what}, {len(bars)} bar{'s' if len(bars) > 1 else ''}"
    return tag(
        "svg",
        tag("title", title),
        tag("defs", hatch(canvas.name)),
        *(_bar(bar, index * _STEP + _TOP, scale, canvas, names) for index, bar in enumerate(bars)),
        _scale_line(longest, scale, base, canvas),
        viewBox=f"0 0 {canvas.width:g} {base + 28}",
        class_=f"figure bill {canvas.name}",
        role="img",
        aria_label=f"{title}. The table below has every number.",
        xmlns="http://www.w3.org/2000/svg",
    )


def hatch(name: str) -> Markup:
    """The texture of stretches whose colour is near another's; `name` keeps its id apart on the page."""
    line = tag("path", d="M-1,1l2,-2M0,6l6,-6M5,7l2,-2", class_="hatch")
    return tag("pattern", line, id=f"hatch-{name}", width="6", height="6", patternUnits="userSpaceOnUse")


def _bar(bar: Bar, top: float, scale: float, canvas: Canvas, names: Sequence[str]) -> Markup:
    room = int(canvas.width / _CHARACTER)
    label = bar.label if len(bar.label) <= room else f"{bar.label[: room - 14]}…{bar.label[-13:]}"
    parts = [tag("text", label, x=0, y=top - 5, class_="label")]
    x = 0.0
    for name in names:
        joule = bar.joules.get(name, 0.0)
        if joule <= 0:
            continue
        width = joule * scale
        parts.append(_segment(name, joule, x, top, width, canvas.name))
        x += width
    parts.append(tag("text", _total_text(bar), x=f"{x + 7:.1f}", y=top + _BAR / 2, dy="0.35em", class_="total"))
    if bar.low is not None and bar.high is not None:
        y, end = top + _BAR + 4, min(bar.high * scale, canvas.width)
        caps = f"M{bar.low * scale:.2f},{y - 3}v6" + (f"M{end:.2f},{y - 3}v6" if end < canvas.width else "")
        line = tag("path", d=f"M{bar.low * scale:.2f},{y}H{end:.2f}{caps}")
        parts.append(tag("g", line, class_="whisker"))
    return tag("g", *parts)


def _total_text(bar: Bar) -> str:
    if bar.low is None or bar.high is None:
        return measure(bar.total, "energy_wh")
    unit = unit_for("energy_wh", [bar.total])
    likely, low, high = (show(value, "energy_wh", unit, 2) for value in (bar.total, bar.low, bar.high))
    return f"{likely} {unit.name} ({low}–{high})"


def _segment(name: str, joule: float, x: float, top: float, width: float, scope: str) -> Markup:
    place = {"x": f"{x:.2f}", "y": top, "width": f"{max(width - 1, 0.4):.2f}", "height": _BAR}
    parts = [
        tag("title", f"{name}: {measure(joule, 'energy_wh')}"),
        tag("rect", **place, class_=f"stretch {name}"),
    ]
    if name in TEXTURED:
        parts.append(tag("rect", **place, fill=f"url(#hatch-{scope})"))
    if width > len(name) * _CHARACTER + 10:
        parts.append(tag("text", name, x=f"{x + 6:.1f}", y=top + _BAR / 2, dy="0.35em", class_=f"in-bar {name}"))
    return tag("g", *parts)


def _scale_line(longest: float, scale: float, base: float, canvas: Canvas) -> Markup:
    unit = unit_for("energy_wh", [longest])
    ticks = linear_ticks(0, longest / unit.size, 6 if canvas is WIDE else 3)
    parts = [tag("line", x1=0, x2=f"{longest * scale:.1f}", y1=base, y2=base, class_="axis")]
    for value in ticks:
        x = f"{value * unit.size * scale:.1f}"
        parts.append(tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis"))
        text = f"{value:,.10g}" + (f" {unit.name}" if value == ticks[-1] else "")
        anchor = "start" if value == 0 else "middle"
        parts.append(tag("text", text, x=x, y=base + 19, class_="tick", text_anchor=anchor))
    return tag("g", *parts)


def _joules(runs: Sequence[Run]) -> dict[str, float]:
    joules: dict[str, float] = {}
    for run in runs:
        for row in run.record.phases:
            if row.energy_total_joule is not None:
                name = _STRETCH_OF.get(row.phase, "other")
                joules[name] = joules.get(name, 0.0) + row.energy_total_joule
    return joules


def _runs(num: int) -> str:
    return "1 run" if num == 1 else f"{num} runs"
