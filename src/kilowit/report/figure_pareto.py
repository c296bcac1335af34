"""The Pareto figure: quality against the energy of a run, front drawn, intervals as whiskers, points labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.report.axes import Axis, axis_of
from kilowit.report.effects import ENERGY, METRIC_LABELS
from kilowit.report.evidence import EvidenceBook
from kilowit.report.markup import Markup, join, tag
from kilowit.report.quantity import Unit, measure, unit_for
from kilowit.report.runs import Choice
from kilowit.statistics.interval import Interval
from kilowit.statistics.pareto import pareto_front

MAX_LABELS: Final = 14  # beyond it only the front is labelled
MAX_LABEL_CHARACTERS: Final = 40
MAX_OBSTACLES: Final = 150  # beyond it points lie so dense that no label can avoid them
_LABEL_HEIGHT, _CHARACTER = 15.0, 6.7  # pixels of 12 px text, mean advance of the system fonts we ask for


@dataclass(frozen=True)
class Canvas:
    """The size of a figure: one for wide pages and print, one for telephones."""

    name: str
    width: float
    height: float
    left: float
    right: float
    top: float = 18
    bottom: float = 52


WIDE: Final = Canvas("wide", 900, 450, 56, 24)
NARROW: Final = Canvas("narrow", 340, 380, 44, 12)


@dataclass(frozen=True)
class Point:
    """One choice on the figure, in stored units."""

    label: str
    energy: Interval
    score: Interval
    is_baseline: bool
    is_on_front: bool = False


@dataclass(frozen=True)
class Box:
    """A rectangle that labels must not cover."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0


def points_of(choices: Sequence[Choice], metric: str, book: EvidenceBook) -> list[Point]:
    """Return the choices that have both a score and an energy; the front by their means."""
    known = [
        (choice, energy, score)
        for choice in choices
        if (energy := choice.interval(ENERGY)) is not None and (score := book.quality(choice, metric)) is not None
    ]
    front = set(pareto_front([(energy.value, score.value) for _, energy, score in known]))
    return [Point(c.label, energy, score, c.is_baseline, i in front) for i, (c, energy, score) in enumerate(known)]


def pareto_svg(points: Sequence[Point], metric: str, canvas: Canvas) -> Markup:
    """Draw the figure as inline SVG; colours and fonts come from figure.css."""
    x_axis, y_axis = _axes(points, canvas)
    unit = _unit(points)
    name = METRIC_LABELS.get(metric, metric)
    title = f"{name} against the energy of a run, {len(points)} choices"
    ordered = sorted(points, key=lambda p: p.is_on_front)
    return tag(
        "svg",
        tag("title", title),
        _grid(x_axis, y_axis, unit, canvas),
        _axis_names(name, unit, x_axis, canvas),
        _front(points, x_axis, y_axis),
        *(_whiskers(p, x_axis, y_axis) for p in ordered),
        *(_mark(p, x_axis, y_axis, name) for p in ordered),
        _labels(points, x_axis, y_axis, canvas),
        viewBox=f"0 0 {canvas.width:g} {canvas.height:g}",
        class_=f"figure pareto {canvas.name}",
        role="img",
        aria_label=f"{title}. The table below has every number.",
        xmlns="http://www.w3.org/2000/svg",
    )


def _unit(points: Sequence[Point]) -> Unit:
    return unit_for("energy_wh", [p.energy.value for p in points])


def _axes(points: Sequence[Point], canvas: Canvas) -> tuple[Axis, Axis]:
    def ends(interval: Interval) -> list[float]:
        return [v for v in (interval.low, interval.value, interval.high) if v is not None]

    energies = [p.energy.value for p in points]
    energies += [v for p in points for v in ends(p.energy) if v >= min(energies) / 3]  # a huge t interval is cut
    scores = [v for p in points for v in ends(p.score)]
    tick_size = _unit(points).size
    x_axis = axis_of(energies, canvas.left, canvas.width - canvas.right, may_be_log=True, tick_size=tick_size)
    return x_axis, axis_of(scores, canvas.height - canvas.bottom, canvas.top, may_be_log=False, tick_size=0.01)


def _grid(x_axis: Axis, y_axis: Axis, unit: Unit, canvas: Canvas) -> Markup:
    bottom = canvas.height - canvas.bottom
    parts: list[Markup] = []
    for value in y_axis.ticks:
        y = f"{y_axis.at(value):.1f}"
        parts.append(tag("line", x1=canvas.left, x2=canvas.width - canvas.right, y1=y, y2=y, class_="grid"))
        text = f"{100 * value:.10g}"
        parts.append(tag("text", text, x=canvas.left - 8, y=y, class_="tick", text_anchor="end", dy="0.35em"))
    for value in _thinned(x_axis, canvas):
        x = f"{x_axis.at(value):.1f}"
        parts.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"))
        text = f"{value / unit.size:,.10g}"
        parts.append(tag("text", text, x=x, y=bottom + 19, class_="tick", text_anchor="middle"))
    parts.append(tag("line", x1=canvas.left, x2=canvas.width - canvas.right, y1=bottom, y2=bottom, class_="axis"))
    return tag("g", *parts)


def _thinned(axis: Axis, canvas: Canvas) -> list[float]:
    """Leave out ticks whose texts would touch."""
    kept: list[float] = []
    for value in axis.ticks:
        if not kept or axis.at(value) - axis.at(kept[-1]) >= 44:
            kept.append(value)
    return kept


def _axis_names(name: str, unit: Unit, x_axis: Axis, canvas: Canvas) -> Markup:
    scale = ", log scale" if x_axis.is_log else ""
    return join(
        tag("text", f"Energy of a run ({unit.name}{scale}) →", x=canvas.width - canvas.right,
            y=canvas.height - 10, class_="axis-name", text_anchor="end"),
        tag("text", f"↑ {name} (×100)", x=canvas.left - 36, y=11, class_="axis-name"),
    )  # fmt: skip


def _front(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> Markup:
    """Draw the front as steps: what score a given energy buys."""
    front = sorted((p for p in points if p.is_on_front), key=lambda p: p.energy.value)
    if not front:
        return Markup("")
    path = f"M{x_axis.at(front[0].energy.value):.1f},{y_axis.at(front[0].score.value):.1f}"
    for point in front[1:]:
        path += f"H{x_axis.at(point.energy.value):.1f}V{y_axis.at(point.score.value):.1f}"
    return tag("path", d=f"{path}H{x_axis.end:.1f}", class_="front")


def _whiskers(point: Point, x_axis: Axis, y_axis: Axis) -> Markup:
    x, y = x_axis.at(point.energy.value), y_axis.at(point.score.value)
    parts: list[Markup] = []
    if point.energy.low is not None and point.energy.high is not None:
        left, right = x_axis.at(point.energy.low), x_axis.at(point.energy.high)
        parts.append(
            tag("path", d=f"M{left:.1f},{y:.1f}H{right:.1f}M{left:.1f},{y - 3:.1f}v6M{right:.1f},{y - 3:.1f}v6")
        )
    if point.score.low is not None and point.score.high is not None:
        low, high = y_axis.at(point.score.low), y_axis.at(point.score.high)
        parts.append(tag("path", d=f"M{x:.1f},{low:.1f}V{high:.1f}M{x - 3:.1f},{low:.1f}h6M{x - 3:.1f},{high:.1f}h6"))
    return tag("g", *parts, class_="whisker")


def _mark(point: Point, x_axis: Axis, y_axis: Axis, name: str) -> Markup:
    x, y = x_axis.at(point.energy.value), y_axis.at(point.score.value)
    kind = "on-front" if point.is_on_front else "beaten"
    place = "on the front" if point.is_on_front else "beaten"
    text = f"{point.label}: {name} {100 * point.score.value:.2f}, {measure(point.energy.value, 'energy_wh')}; {place}"
    title = tag("title", text)
    if point.is_baseline:
        return tag("path", title, d=f"M{x:.1f},{y - 7:.1f}l7,7l-7,7l-7,-7z", class_=f"mark {kind}")
    return tag("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r="5.5", class_=f"mark {kind}")


def _labels(points: Sequence[Point], x_axis: Axis, y_axis: Axis, canvas: Canvas) -> Markup:
    """Place each label where it covers least; the front first."""
    candidates = [p for p in points if p.is_on_front or len(points) <= MAX_LABELS]
    chosen = sorted(candidates, key=lambda p: (not p.is_on_front, -p.score.value))[: 2 * MAX_LABELS]
    in_the_way = points if len(points) <= MAX_OBSTACLES else chosen
    taken = [box for p in in_the_way for box in _boxes_of(p, x_axis, y_axis)] + _front_boxes(chosen, x_axis, y_axis)
    frame = Box(4, 14, canvas.width - 2, canvas.height - canvas.bottom - 2)
    parts: list[Markup] = []
    for point in chosen:
        text = _short(point.label)
        x, y = x_axis.at(point.energy.value), y_axis.at(point.score.value)
        box = min(_places(x, y, len(text) * _CHARACTER), key=lambda b: _badness(b, taken, frame))
        taken.append(box)
        kind = "label on-front" if point.is_on_front else "label"
        parts.append(tag("text", text, x=f"{box.left:.1f}", y=f"{box.bottom - 4:.1f}", class_=kind))
    return tag("g", *parts)


def _boxes_of(point: Point, x_axis: Axis, y_axis: Axis) -> list[Box]:
    """What a point covers: its mark and its whiskers."""
    x, y = x_axis.at(point.energy.value), y_axis.at(point.score.value)
    boxes = [Box(x - 8, y - 8, x + 8, y + 8)]
    if point.score.low is not None and point.score.high is not None:
        boxes.append(Box(x - 3, y_axis.at(point.score.high), x + 3, y_axis.at(point.score.low)))
    if point.energy.low is not None and point.energy.high is not None:
        boxes.append(Box(x_axis.at(point.energy.low), y - 3, x_axis.at(point.energy.high), y + 3))
    return boxes


def _front_boxes(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Box]:
    """What the stepped line covers."""
    front = sorted((p for p in points if p.is_on_front), key=lambda p: p.energy.value)
    corners = [(x_axis.at(p.energy.value), y_axis.at(p.score.value)) for p in front]
    boxes: list[Box] = []
    for (x, y), (next_x, next_y) in zip(corners, [*corners[1:], (x_axis.end, None)], strict=True):
        boxes.append(Box(x, y - 2, next_x, y + 2))
        if next_y is not None:
            boxes.append(Box(next_x - 2, next_y, next_x + 2, y))
    return boxes


def _places(x: float, y: float, width: float) -> list[Box]:
    """Candidate boxes around a point, best first."""
    height = _LABEL_HEIGHT
    corners = [
        (x + 9, y - height - 2), (x + 9, y + 2), (x - width - 9, y - height - 2), (x - width - 9, y + 2),
        (x - width / 2, y - height - 10), (x - width / 2, y + 10),
        (x + 9, y - 2 * height - 4), (x + 9, y + height + 4),
        (x - width - 9, y - 2 * height - 4), (x - width - 9, y + height + 4),
        (x - width / 2, y - 2 * height - 12), (x - width / 2, y + height + 12),
    ]  # fmt: skip
    return [Box(left, top, left + width, top + height) for left, top in corners]


def _badness(box: Box, taken: Sequence[Box], frame: Box) -> float:
    area = (box.right - box.left) * (box.bottom - box.top)
    return sum(box.overlap(other) for other in taken) + 4 * (area - box.overlap(frame))


def _short(label: str) -> str:
    if len(label) <= MAX_LABEL_CHARACTERS:
        return label
    return f"{label[: MAX_LABEL_CHARACTERS - 12]}…{label[-11:]}"
