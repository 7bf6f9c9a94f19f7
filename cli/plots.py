"""Plots as inline SVG: bars, a histogram, a line with the band of its interval.

Takes numbers and labels, gives markup for a page that has ``STYLE`` in its head. All text is escaped; there is no
script, no font and no address in it; colours follow the page, light or dark. Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Final

from .figures import number

STYLE: Final = """
:root { --mark: #1f6fb5; --band: #1f6fb52e; --warn: #b5471f; --grid: #8885 }
@media (prefers-color-scheme: dark) { :root { --mark: #6cb2f0; --band: #6cb2f03a; --warn: #f0946c } }
.plots { overflow-x: auto; margin: .6rem 0; max-width: 46rem }
svg.plot { width: 100%; height: auto; display: block; overflow: visible }
svg.plot text { fill: currentColor; font: 12px system-ui, sans-serif }
svg.plot .title { font-weight: 600 } svg.plot .axis { opacity: .75 } svg.plot .end { text-anchor: end }
svg.plot .middle { text-anchor: middle } svg.plot .bar { fill: var(--mark) } svg.plot .band { fill: var(--band) }
svg.plot .line { fill: none; stroke: var(--mark); stroke-width: 2 } svg.plot .dot { fill: var(--mark) }
@media (max-width: 40rem) { svg.curve text { font-size: 20px } svg.rows { min-width: 38rem } }
svg.plot .whisker { stroke: currentColor; stroke-width: 1.5 } svg.plot .grid { stroke: var(--grid) }
"""

_WIDTH: Final = 720
_TITLE_HEIGHT: Final = 26
_LABEL_WIDTH: Final = 285
_VALUE_WIDTH: Final = 150
_ROW: Final = 20
_PLOT_HEIGHT: Final = 180
_LEFT: Final = 58
_RIGHT: Final = 12
_LABEL_CHARS: Final = 38


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled length with its interval, where it has one, and what is written beside it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A place of a line with its interval, where it has one. A value of None is a gap."""

    x: float
    value: float | None
    low: float | None = None
    high: float | None = None


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars from zero, to the left where negative, each with the whisker of its interval."""
    ends = [end for bar in rows for end in (bar.value, bar.low, bar.high) if end is not None]
    least, most = min([*ends, 0.0]), max([*ends, 0.0])
    scale = (_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH) / (most - least) if most > least else 0.0
    drawn = []
    for place, bar in enumerate(rows):
        top = _TITLE_HEIGHT + place * _ROW
        middle = top + _ROW / 2
        edges = sorted(_LABEL_WIDTH + (value - least) * scale for value in (0.0, bar.value))
        note = escape(bar.note or number(bar.value))
        drawn.append(
            f"<g><title>{escape(bar.label)}: {note}</title>"
            f'<text class="end" x="{_LABEL_WIDTH - 8}" y="{middle + 4:.1f}">{escape(_cut(bar.label))}</text>'
            f'<rect class="bar" x="{edges[0]:.1f}" y="{top + 4}" width="{edges[1] - edges[0]:.1f}" '
            f'height="{_ROW - 8}"/>'
        )
        if bar.low is not None and bar.high is not None:
            low, high = (_LABEL_WIDTH + (value - least) * scale for value in (bar.low, bar.high))
            drawn.append(_line("whisker", low, middle, high, middle))
            edges.append(high)
        drawn.append(f'<text x="{max(edges) + 6:.1f}" y="{middle + 4:.1f}">{note}</text></g>')
    return _frame("rows", title, "".join(drawn), _TITLE_HEIGHT + len(rows) * _ROW + 6)


def histogram(title: str, bins: Sequence[tuple[float, float, int]]) -> str:
    """Columns of equal width, one per (low, high, n), labelled by their edges; a bin of no width is one value."""
    height, base = _TITLE_HEIGHT + _PLOT_HEIGHT + 24, _TITLE_HEIGHT + _PLOT_HEIGHT
    wide = (_WIDTH - _LEFT - _RIGHT) / max(1, len(bins))
    most = max([n for _, _, n in bins] + [1])
    drawn = [_grid(0, most, lambda value: base - value / most * _PLOT_HEIGHT)]
    # Labels take about 60 units; more would overlap.
    every = max(1, ceil(60 / wide))
    for place, (low, high, n) in enumerate(bins):
        left = _LEFT + place * wide
        tall = n / most * _PLOT_HEIGHT
        span = number(low) if low == high else f"{number(low)} to {number(high)}"
        drawn.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{base - tall:.1f}" width="{max(1.0, wide - 2):.1f}" '
            f'height="{tall:.1f}"><title>{escape(f"{span}: {n:,}")}</title></rect>'
        )
        if place % every == 0:
            at = left + wide / 2 if low == high else left
            drawn.append(f'<text class="axis middle" x="{at:.1f}" y="{base + 16}">{number(low)}</text>')
    return _frame("rows", title, "".join(drawn), height)


def top(points: Sequence[Point]) -> float:
    """The highest value or end of an interval, for lines that are to have one scale; 0 of none."""
    return max((end for point in points for end in _heights(point)), default=0.0)


def line(title: str, points: Sequence[Point], from_zero: bool = False, to: float | None = None) -> str:
    """A line through the values, over the band of their intervals; broken where there is no value. The scale goes at
    least up ``to``."""
    known = [point for point in points if point.value is not None and isfinite(point.value)]
    if not known:
        nothing = f'<text class="axis" x="{_LEFT}" y="{_TITLE_HEIGHT + 20}">no values</text>'
        return _frame("curve", title, nothing, 60)
    heights = [end for point in known for end in _heights(point)]
    least, most = min([*heights, 0.0] if from_zero else heights), max([*heights, *([] if to is None else [to])])
    if least == most:
        least, most = least - 0.5, most + 0.5
    first, last = points[0].x, points[-1].x
    base = _TITLE_HEIGHT + _PLOT_HEIGHT

    def x_of(value: float) -> float:
        share = (value - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return base - (value - least) / (most - least) * _PLOT_HEIGHT

    drawn = [_grid(least, most, y_of)]
    for run in _runs(points):
        edges = [(point.x, point.low, point.high) for point in run if point.low is not None and point.high is not None]
        there = " ".join(f"{x_of(x):.1f},{y_of(high):.1f}" for x, _, high in edges if high is not None)
        back = " ".join(f"{x_of(x):.1f},{y_of(low):.1f}" for x, low, _ in reversed(edges) if low is not None)
        if len(edges) == 1:
            ((x, low, high),) = edges
            drawn.append(_line("whisker", x_of(x), y_of(low or 0.0), x_of(x), y_of(high or 0.0)))
        elif edges:
            drawn.append(f'<polygon class="band" points="{there} {back}"/>')
        path = " ".join(f"{x_of(point.x):.1f},{y_of(point.value or 0.0):.1f}" for point in run)
        drawn.append(f'<polyline class="line" points="{path}"/>')
        drawn += [
            f'<circle class="dot" cx="{x_of(point.x):.1f}" cy="{y_of(point.value or 0.0):.1f}" r="2.5">'
            f"<title>{escape(_tip(point))}</title></circle>"
            for point in run
        ]
    for value, place in ((first, "axis"), (last, "axis end")):
        drawn.append(f'<text class="{place}" x="{x_of(value):.1f}" y="{base + 16}">{number(value)}</text>')
    return _frame("curve", title, "".join(drawn), base + 24)


def _heights(point: Point) -> list[float]:
    ends = (point.value, point.low, point.high)
    return [end for end in ends if end is not None and isfinite(end)]


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The stretches of points that have values."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point.value is not None and isfinite(point.value):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _tip(point: Point) -> str:
    interval = "" if point.low is None or point.high is None else f" ({number(point.low)} to {number(point.high)})"
    return f"{number(point.x)}: {number(point.value or 0.0)}{interval}"


def _ticks(least: float, most: float) -> list[float]:
    """About four round numbers between the two."""
    rough = (most - least) / 4
    power = 10 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * i for i in range(ceil(least / step - 1e-9), floor(most / step + 1e-9) + 1)]


def _grid(least: float, most: float, y_of: Callable[[float], float]) -> str:
    drawn = []
    for tick in _ticks(least, most):
        y = y_of(tick)
        drawn.append(_line("grid", _LEFT, y, _WIDTH - _RIGHT, y))
        drawn.append(f'<text class="axis end" x="{_LEFT - 6}" y="{y + 4:.1f}">{number(tick)}</text>')
    return "".join(drawn)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL_CHARS else label[: _LABEL_CHARS - 1] + "…"


def _frame(kind: str, title: str, drawn: str, height: float) -> str:
    """On a narrow screen a curve has larger text, and rows, whose labels would not fit then, are scrolled."""
    name = escape(title)
    return (
        f'<div class="plots"><svg class="plot {kind}" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{name}"><text class="title" x="0" y="15">{name}</text>{drawn}</svg></div>'
    )
