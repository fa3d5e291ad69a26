"""Labels of points in a plane, each where it can be read."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from xling_jax.report.figures import INK, MUTED

AROUND = (0, 180, 90, 270, 45, 135, 315, 225)  # degrees, in the order they are tried
AWAY = (6, 11, 18, 27, 38)  # points from what is named
FAR = 14  # points: from here on a thin line leads to the label
HALF = 3.2  # points: of a marker
OUTSIDE = 10.0  # how much worse it is to leave the axes than to cover what is in them


class Named(Protocol):
    """A point with its name, and its interval if it has one."""

    @property
    def label(self) -> str: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def name_points(
    figure: Figure, axes: Axes, points: Sequence[Named], line: Sequence[tuple[float, float]]
) -> list[Annotation]:
    """Writes each point's label beside it where it meets no label, point, interval or edge, nor the line.

    Places close by are tried first; where none is free, the one that covers least is taken. Returns the labels.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # axes have their place from here on
    inside, unit = axes.get_window_extent(), figure.dpi / 72
    taken = [*(_around(axes, point, unit) for point in points), *_along(axes, line, unit)]
    labels = []
    for point in sorted(points, key=lambda p: (p.x, p.y, p.label)):
        at = axes.transData.transform((point.x, point.y))
        label = _write(axes, point, point.label, (0, 0))
        size = label.get_window_extent(renderer)
        tried = [(_box(at, offset, size, unit), offset) for offset in _offsets()]
        box, offset = min(tried, key=lambda place: _covered(place[0], taken, inside))  # of equals the first
        taken.append(box)
        label.set_position(((box.x0 - at[0]) / unit, (box.y0 - at[1]) / unit))
        if math.hypot(*offset) > FAR:
            _write(axes, point, "", offset, {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkA": 1, "shrinkB": 4})
        labels.append(label)
    return labels


def _write(axes: Axes, point: Named, text: str, offset: tuple[float, float], arrow: dict | None = None) -> Annotation:
    """Writes a text at an offset in points; the axes keep their size, whatever it says."""
    label = axes.annotate(
        text,
        (point.x, point.y),
        offset,
        textcoords="offset points",
        ha="left",
        va="bottom",
        color=INK,
        fontsize=8,
        arrowprops=arrow,
    )
    label.set_in_layout(False)
    return label


def _offsets() -> Iterable[tuple[float, float]]:
    """Yields where a label may stand, in points from what it names: around it, then in wider circles."""
    for far, turn in itertools.product(AWAY, map(math.radians, AROUND)):
        yield round(far * math.cos(turn), 6), round(far * math.sin(turn), 6)


def _box(at: np.ndarray, offset: tuple[float, float], size: Bbox, unit: float) -> Bbox:
    """Returns where a label lies whose nearest edge or corner has an offset from its point."""
    left, low = at + unit * np.array(offset) - np.array([size.width, size.height]) * (0.5 - 0.5 * np.sign(offset))
    return Bbox.from_bounds(left, low, size.width, size.height)


def _around(axes: Axes, point: Named, unit: float) -> Bbox:
    """Returns what a point and its interval cover."""
    ends = [y for y in (point.low, point.high) if y is not None]
    (x, y), *others = (axes.transData.transform((point.x, y)) for y in (point.y, *ends))
    heights = [y - HALF * unit, y + HALF * unit, *(other for _, other in others)]
    return Bbox.from_extents(x - HALF * unit, min(heights), x + HALF * unit, max(heights))


def _along(axes: Axes, line: Sequence[tuple[float, float]], unit: float) -> list[Bbox]:
    """Returns what a line through these points covers, in small pieces."""
    corners = [axes.transData.transform(xy) for xy in line]
    found = []
    for start, end in itertools.pairwise(corners):
        pieces = max(1, math.ceil(math.hypot(*(end - start)) / (3 * unit)))
        middles = [start + (end - start) * (piece + 0.5) / pieces for piece in range(pieces)]
        found += [Bbox.from_extents(x - unit, y - unit, x + unit, y + unit) for x, y in middles]
    return found


def _covered(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Returns how much of what is drawn a label would cover, and how much of it would lie outside, in square dots."""
    met = [Bbox.intersection(box, other) for other in taken]
    within = Bbox.intersection(box, inside)
    outside = box.width * box.height - (within.width * within.height if within else 0)
    return round(sum(both.width * both.height for both in met if both) + OUTSIDE * outside, 3)
