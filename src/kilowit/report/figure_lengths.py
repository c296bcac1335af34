"""How long the texts of a dataset are: two small panels, sources and targets, over the logarithm of the length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.parts.text_lengths import LengthBar, length_bars
from kilowit.record import DatasetFacts, LengthFacts
from kilowit.report.figure_pareto import WIDE, Canvas
from kilowit.report.markup import Markup, tag
from kilowit.report.quantity import number

_HEIGHT, _TOP, _BASE, _GAP = 170.0, 40.0, 128.0, 40.0
_TICK_ROOM: Final = 44.0  # pixels that a tick's label needs
_INSET: Final = 16.0  # half a label, so that those at the ends are not clipped


@dataclass(frozen=True)
class Panel:
    """One side of a dataset: bars of the training split, outline of the test split."""

    name: str
    facts: LengthFacts  # of the training split, or of the first that has lengths
    outline: LengthFacts | None


def panels_of(facts: DatasetFacts) -> list[Panel]:
    """Return the panels that a card has the figures for: none from records that did not count."""
    found = []
    for side in ("source", "target"):
        lengths = {split.split: known for split in facts.splits if (known := getattr(split, f"{side}_length"))}
        if lengths:
            bars = lengths.get("train") or next(iter(lengths.values()))
            found.append(Panel(f"{side.capitalize()}s", bars, lengths.get("test")))
    return found


def lengths_svg(panels: Sequence[Panel], label: str, canvas: Canvas) -> Markup:
    """Draw the panels side by side on a wide canvas, one above the other on a narrow one; at least one panel."""
    side_by_side = canvas is WIDE
    width = (canvas.width - _GAP * (len(panels) - 1)) / len(panels) if side_by_side else canvas.width
    height = _HEIGHT if side_by_side else _HEIGHT * len(panels)
    title = f"Lengths of the texts of {label}"
    drawn = [
        _panel(panel, index * (width + _GAP) if side_by_side else 0.0, 0.0 if side_by_side else index * _HEIGHT, width)
        for index, panel in enumerate(panels)
    ]
    return tag(
        "svg",
        tag("title", title),
        *drawn,
        viewBox=f"0 0 {canvas.width:g} {height:g}",
        class_=f"figure lengths {canvas.name}",
        role="img",
        aria_label=f"{title}: {'; '.join(_in_words(panel) for panel in panels)}. The tables below have the numbers.",
        xmlns="http://www.w3.org/2000/svg",
    )


def _in_words(panel: Panel) -> str:
    facts = panel.facts
    return (
        f"{panel.name.lower()} from {facts.percentiles['0']:,} to {facts.percentiles['100']:,} {facts.unit}s, "
        f"median {facts.percentiles['50']:,}"
    )


@dataclass(frozen=True)
class _Scale:
    """Octaves and shares per octave to pixels of one panel."""

    left: float
    top: float
    first_octave: float
    pixel_per_octave: float
    pixel_per_share: float

    def x(self, octave: float) -> float:
        return self.left + (octave - self.first_octave) * self.pixel_per_octave

    def y(self, share_per_octave: float) -> float:
        return self.top + _BASE - share_per_octave * self.pixel_per_share


def _panel(panel: Panel, left: float, top: float, width: float) -> Markup:
    bars = length_bars(panel.facts)
    outline = length_bars(panel.outline) if panel.outline else []
    every = [*bars, *outline]
    ends = [octave for bar in every for octave in (bar.octave_from, bar.octave_to)]
    if panel.facts.maximum is not None:
        ends.append(math.log2(panel.facts.maximum))
    first, last = min(ends), max(ends)
    tallest = max(bar.share_per_octave for bar in every)
    per_octave = (width - 2 * _INSET) / max(last - first, 1)
    scale = _Scale(left + _INSET, top, first, per_octave, (_BASE - _TOP) / tallest)
    return tag(
        "g",
        tag("text", f"{panel.name}, {panel.facts.unit}s", x=f"{left:.1f}", y=f"{top + 14:.1f}", class_="label"),
        *(_bar(bar, scale) for bar in bars),
        _outline(outline, scale) if outline else Markup(""),
        _axis(first, last, scale),
        _maximum(panel.facts, scale, left + width) if panel.facts.maximum is not None else Markup(""),
    )


def _bar(bar: LengthBar, scale: _Scale) -> Markup:
    left, right, y = scale.x(bar.octave_from), scale.x(bar.octave_to), scale.y(bar.share_per_octave)
    return tag(
        "rect",
        x=f"{left:.1f}",
        y=f"{y:.1f}",
        width=f"{max(right - left - 0.6, 0.4):.1f}",
        height=f"{scale.y(0) - y:.1f}",
        class_="length-bar",
    )


def _outline(bars: Sequence[LengthBar], scale: _Scale) -> Markup:
    steps = [f"M{scale.x(bars[0].octave_from):.1f},{scale.y(0):.1f}"]
    steps += [f"V{scale.y(bar.share_per_octave):.1f}H{scale.x(bar.octave_to):.1f}" for bar in bars]
    return tag("path", d="".join([*steps, f"V{scale.y(0):.1f}"]), class_="length-outline")


def _axis(first: float, last: float, scale: _Scale) -> Markup:
    """Draw the axis with its powers of two, as many as have room."""
    base = scale.y(0)
    step = max(1, math.ceil(_TICK_ROOM / scale.pixel_per_octave))
    parts = [tag("line", x1=f"{scale.x(first):.1f}", x2=f"{scale.x(last):.1f}", y1=base, y2=base, class_="axis")]
    for octave in range(math.ceil(first), math.floor(last) + 1):
        if octave % step == 0 and octave >= 0:
            x = f"{scale.x(octave):.1f}"
            parts.append(tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis"))
            parts.append(tag("text", f"{2**octave:,}", x=x, y=base + 19, class_="tick", text_anchor="middle"))
    return tag("g", *parts)


def _maximum(facts: LengthFacts, scale: _Scale, right: float) -> Markup:
    """Draw the study's own maximum with what it cuts, on the side that has room."""
    assert facts.maximum is not None
    x = scale.x(math.log2(facts.maximum))
    text = f"{facts.maximum:,}: {number(100 * facts.truncated_fraction[str(facts.maximum)], 2)} % cut"
    is_left = x + 6.6 * len(text) + 6 > right
    return tag(
        "g",
        tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=scale.top + _TOP - 12, y2=scale.y(0), class_="length-maximum"),
        tag(
            "text",
            text,
            x=f"{x - 5 if is_left else x + 5:.1f}",
            y=scale.top + _TOP - 6,
            class_="tick",
            text_anchor="end" if is_left else "start",
        ),
    )
