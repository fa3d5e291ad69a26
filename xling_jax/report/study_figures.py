"""Drawings of studies: transfer matrix, curves, Pareto plot, small panels, regression; each as SVG and PNG.

Lines are told apart by colour, by marker and by dash, so that any one of them is enough. Colours are those of Okabe &
Ito (2008), darker where a thin line on white would be hard to see; as in `figures.py` they follow the page's theme.
"""

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from xling_jax.report.figures import (
    BLUE,
    BLUE_LINE,
    GREEN_LINE,
    INK,
    LINE,
    MUTED,
    PAPER,
    PURPLE_LINE,
    STRONGEST,
    VERMILION,
    VERMILION_LINE,
    Drawing,
    bare,
    painted,
)
from xling_jax.report.labels import name_points
from xling_jax.report.table import Table

# Lengths without a common factor: twenty lines have no two alike in all three.
COLOURS = (BLUE_LINE, VERMILION_LINE, GREEN_LINE, PURPLE_LINE, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.5)), (0, (6, 1.5, 1.2, 1.5)))
FEW = 12  # points of a line: each has a marker; of more, about so many have one
TICKS = 8  # x values that are all named at the axis, if they are this share of it apart
APART = {False: 0.09, True: 0.16}  # in small panels more
ROUND = [1, 2, 2.5, 5, 10]  # ticks
DODGE = 4.0  # points that the intervals of one x are drawn apart
PANEL, WIDE_PANEL = (1.75, 1.5), (2.4, 1.8)  # inches
ACROSS = 5  # panels
REACH = 1.5  # times the spread of the points that intervals are drawn beyond them: those of two seeds may be endless
CUT = " Intervals that leave the frame are cut."
MANY = " So many points have their intervals in the table."
NAMED = 20  # points of a plane that have their name beside them; of more, their group has a colour and a marker


@dataclasses.dataclass(frozen=True)
class Band:
    """A fitted line: its y at each x, and the lower and upper end of its interval; not given, it has none."""

    x_N: np.ndarray
    y_N: np.ndarray
    low_N: np.ndarray | None = None
    high_N: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Series:
    """Measured points by a name, with their intervals, and the line that was fitted to them.

    Points are joined by lines if nothing was fitted. NaN is a point that is missing: it is left out.
    """

    label: str
    x_N: np.ndarray
    y_N: np.ndarray
    low_N: np.ndarray | None = None
    high_N: np.ndarray | None = None
    fit: Band | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """One thing in a plane: what it costs, or how far away it is, and its score or gain with its interval.

    `group`: what several points have in common, a source language say.
    """

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Plane:
    """The two axes of a plot: what they say, and whether they are logarithmic. `zero` draws the line y = 0."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    zero: bool = False


def transfer_matrix(name: str, table: Table, supported: Collection[tuple[str, str]] = ()) -> Drawing:
    """Returns rows by columns, intermediate tasks by targets say, each with its gain as a colour and a number.

    `supported`: (row, column) labels of the claims that hold after correction for the number of all; a frame
    and a star mark them.
    """
    rows = [row for row in table.rows if row.kind != "bound"]
    cells = [(row, column, number) for row in rows for column, number in zip(table.columns, row.numbers, strict=True)]
    largest = max([abs(number.value) for _, _, number in cells if number.value is not None] + [1e-9])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, (row, column, number) in enumerate(cells):
            y, x = divmod(place, len(table.columns))
            value, marked = number.value, (row.label, column.label) in supported
            shade = 0.0 if value is None else STRONGEST * abs(value) / largest
            colour = BLUE if value is not None and value >= 0 else VERMILION
            edge, width = (INK, 1.5) if marked else (LINE, 0.6)
            axes.add_patch(
                Rectangle((x + 0.05, y + 0.06), 0.9, 0.88, facecolor=(colour, shade), edgecolor=edge, lw=width)
            )
            text = "–" if number.state == "none" else number.state
            if value is not None:
                text = f"{value:+.{number.digits}f}".replace("-", "−") + "*" * marked
            axes.text(x + 0.5, y + 0.52, text, ha="center", va="center", color=MUTED if value is None else INK)
        axes.set(xlim=(0, len(table.columns)), ylim=(len(rows), 0))
        axes.set_xticks([x + 0.5 for x in range(len(table.columns))], [column.label for column in table.columns])
        axes.set_yticks([y + 0.5 for y in range(len(rows))], [row.label for row in rows])
        if max(len(column.label) for column in table.columns) > 9:
            axes.tick_params(axis="x", rotation=35)
            for label in axes.get_xticklabels():
                label.set(ha="left", rotation_mode="anchor")
        bare(axes)

    longest = max(len(row.label) for row in rows)
    inches = (0.4 + 0.08 * longest + 0.78 * len(table.columns), 0.9 + 0.36 * len(rows))
    star = " A frame and * mark the claims that are supported after correction for their number." if supported else ""
    return painted(name, f"{table.title}. {table.note}{star}", inches, draw)


def curve_plot(name: str, caption: str, series: Sequence[Series], plane: Plane) -> Drawing:
    """Returns points with intervals against x, each series with the line that was fitted to it and its band."""
    frame = _frame(plane, *_extent(series))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw_plane(axes, plane, series, frame)
        for place, one in enumerate(series):
            _draw_series(axes, one, place, DODGE * (place - (len(series) - 1) / 2))
        if len(series) > 1:
            _legend(figure, axes, across=min(3, len(series)))

    return painted(name, caption + CUT * bool(frame), (4.25, 3.1 + 0.2 * _lines(series, 3)), draw)


def panels(
    name: str,
    caption: str,
    shown: Mapping[str, Sequence[Series]],
    plane: Plane,
    *,
    across: int = ACROSS,
    inches: tuple[float, float] = PANEL,
) -> Drawing:
    """Returns a small panel for each name, a language or a layer, all with the same axes.

    A series keeps its colour, marker and dash from panel to panel; the legend stands once.
    """
    labels = list(dict.fromkeys(one.label for series in shown.values() for one in series))
    every = [one for series in shown.values() for one in series]
    down = math.ceil(len(shown) / across)
    across = math.ceil(len(shown) / down)  # rows alike in length
    frame = _frame(plane, *_extent(every))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, series) in zip(grid, shown.items(), strict=False):
            _draw_plane(axes, dataclasses.replace(plane, x="", y=""), every, frame, small=True)
            for one in series:
                place = labels.index(one.label)
                _draw_series(axes, one, place, DODGE / 2 * (place - (len(labels) - 1) / 2), small=True)
            axes.set_title(title, fontsize=9, loc="left", color=INK, pad=3)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for axes in grid[max(0, len(shown) - across) : len(shown)]:
            axes.tick_params(labelbottom=True)  # of the last panel in each column, though another row begins below
        figure.supxlabel(plane.x, fontsize=9, color=MUTED)
        figure.supylabel(plane.y, fontsize=9, color=MUTED)
        if len(labels) > 1:
            _legend(figure, *grid[: len(shown)], across=min(across, len(labels)))

    height = 0.45 + inches[1] * down + (0.2 * math.ceil(len(labels) / across) if len(labels) > 1 else 0)
    return painted(name, caption + CUT * bool(frame), (0.45 + inches[0] * across, height), draw)


def step_lines(name: str, caption: str, shown: Mapping[str, Sequence[Series]], y_label: str) -> Drawing:
    """Returns lines over training steps: a panel for each name, a layer say, and in it a line for each language."""
    return panels(name, caption, shown, Plane("training step", y_label), across=3, inches=WIDE_PANEL)


def pareto_plot(name: str, caption: str, points: Sequence[Point], plane: Plane) -> Drawing:
    """Returns scores against costs; the front is a line of steps below which nothing is worth its cost."""
    best, shown = front(points), [_together(points)]
    frame = _frame(plane, *_extent(shown))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw_plane(axes, plane, shown, frame)
        axes.step([p.x for p in best], [p.y for p in best], where="post", color=BLUE_LINE, lw=1.3, zorder=1)
        for point in points:
            on = point in best
            _draw_point(axes, point, "o" if on else "s", BLUE_LINE if on else VERMILION_LINE, filled=on)
        axes.margins(x=0.12, y=0.14)
        corners = [(q.x, p.y) for p, q in itertools.pairwise(best)]
        name_points(
            figure,
            axes,
            points,
            [xy for pair in zip(map(_at, best), [*corners, _at(best[-1])], strict=True) for xy in pair],
        )

    note = " Filled circles and the line of steps: the front; open squares cost more than one that scores as much."
    return painted(name, caption + note + CUT * bool(frame), (5.4, 3.9), draw)


def front(points: Sequence[Point]) -> list[Point]:
    """Returns the points that no other is both as cheap as and as good as, by cost; of equal points all are on it."""
    return sorted(
        (p for p in points if not any(q.x <= p.x and q.y >= p.y and (q.x, q.y) != (p.x, p.y) for q in points)),
        key=lambda p: (p.x, p.label),
    )


def regression_plot(name: str, caption: str, points: Sequence[Point], fit: Band | None, plane: Plane) -> Drawing:
    """Returns points by their labels, or if many by their groups, with the line that was fitted and its band."""
    many = len(points) > NAMED
    groups = list(dict.fromkeys(point.group for point in points)) if many else []
    points = [dataclasses.replace(point, low=None, high=None) for point in points] if many else points
    shown = [_together(points, fit)]
    frame = _frame(plane, *_extent(shown))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw_plane(axes, plane, shown, frame)
        if fit:
            _draw_band(axes, fit, BLUE_LINE, "-")
        for point in points:
            place = groups.index(point.group) if groups else 0
            colour = COLOURS[place % len(COLOURS)] if groups else INK
            _draw_point(axes, point, MARKERS[place % len(MARKERS)], colour, filled=True)
        if not groups:
            name_points(figure, axes, points, list(zip(fit.x_N, fit.y_N, strict=True)) if fit else [])
        for place, group in enumerate(groups):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            axes.plot([], [], marker=marker, ms=5, color=colour, ls="none", label=group)
        if len(groups) > 1:
            _legend(figure, axes, across=min(4, len(groups)))

    height = 3.4 + (0.2 * math.ceil(len(groups) / 4) if len(groups) > 1 else 0)
    return painted(name, caption + MANY * many + CUT * bool(frame), (4.25, height), draw)


def _extent(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the y of all points, and the ends of all intervals and bands."""
    ends = [one.low_N for one in series] + [one.high_N for one in series]
    ends += [part for one in series if one.fit for part in (one.fit.y_N, one.fit.low_N, one.fit.high_N)]
    known = [part for part in ends if part is not None]
    return np.concatenate([[], *(one.y_N for one in series)]), np.concatenate([[], *known])


def _together(points: Sequence[Point], fit: Band | None = None) -> Series:
    """Returns points as a series; one without an interval has ends that are no numbers."""
    return Series("", *np.array([[p.x, p.y, p.low, p.high] for p in points], float).T, fit=fit)


def _frame(plane: Plane, y_N: np.ndarray, end_M: np.ndarray) -> tuple[float, float] | None:
    """Returns the ends of the y axis where intervals reach so far that they have to be cut, else None."""
    y_N, end_M = y_N[np.isfinite(y_N)], end_M[np.isfinite(end_M)]
    y_N = np.append(y_N, 0.0) if plane.zero or not len(y_N) else y_N
    low, high = y_N.min(), y_N.max()
    room = REACH * (high - low)
    if plane.log_y or not room or not len(end_M) or (end_M.min() >= low - room and end_M.max() <= high + room):
        return None
    return min(low, max(low - room, end_M.min())), max(high, min(high + room, end_M.max()))


def _at(point: Point) -> tuple[float, float]:
    return point.x, point.y


def _lines(series: Sequence[Series], across: int) -> int:
    return math.ceil(len(series) / across) if len(series) > 1 else 0


def _draw_plane(
    axes: Axes, plane: Plane, series: Sequence[Series], frame: tuple[float, float] | None, *, small: bool = False
) -> None:
    """Draws axes: on a logarithmic one, and where x has few values, the ticks are the values that there are.

    `frame`: ends of the y axis that cut what is outside; None to show everything.
    """
    if frame:
        axes.set_ylim(frame)
    axes.set(xlabel=plane.x, ylabel=plane.y)
    axes.grid(axis="y", color=LINE, lw=0.5)
    axes.set_axisbelow(True)
    if plane.zero:
        axes.axhline(0, color=MUTED, lw=0.8, zorder=1)
    if plane.log_y:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4 if small else 6, steps=ROUND))
    values = np.unique(np.concatenate([one.x_N for one in series])) if series else np.zeros(0)
    if plane.log_x:
        axes.set_xscale("log")
        few = len(values) <= TICKS and _apart(values, APART[small])
        axes.xaxis.set_major_locator(
            FixedLocator(values.tolist()) if few else LogLocator(10, subs=(1, 2, 5) if _near(values) else (1,))
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4 if small else 6, steps=ROUND, min_n_ticks=3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _apart(values: np.ndarray, share: float) -> bool:
    """Says if the names of values would not run into each other on a logarithmic axis."""
    return len(values) < 2 or bool(np.diff(np.log(values)).min() > share * np.log(values[-1] / values[0]))


def _near(values: np.ndarray) -> bool:
    """Says if values lie within two powers of ten: powers alone would be too few ticks."""
    return len(values) > 0 and values[-1] < 100 * values[0]


def short(value: float) -> str:
    """Returns 12, 0.05, 3k, 1.5M, 2B: what fits under a tick."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:{'.3g' if abs(value) < 100 else '.0f'}}".replace("-", "−")


def _draw_series(axes: Axes, one: Series, place: int, dodge: float, small: bool = False) -> None:
    """Draws a series in the colours of its place; points with intervals are moved sideways by `dodge`, in points."""
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    dash = DASHES[place % len(DASHES)]
    known_N = np.isfinite(one.x_N) & np.isfinite(one.y_N)
    x_N, y_N = one.x_N[known_N], one.y_N[known_N]
    moved: dict[str, Any] = {}
    if one.low_N is not None and one.high_N is not None:
        moved = {"transform": axes.transData + ScaledTranslation(dodge / 72, 0, axes.figure.dpi_scale_trans)}
        ends = axes.vlines(x_N, one.low_N[known_N], one.high_N[known_N], color=colour, lw=1.0 if small else 1.3)
        ends.set(**moved)  # only now: axes make no room for lines that are moved from the start
    if one.fit:
        _draw_band(axes, one.fit, colour, dash)
    style: dict[str, Any] = {"ls": "none"} if one.fit else {"ls": dash, "lw": 1.1 if small else 1.4}
    every = None if len(x_N) <= FEW else (place % 3 * len(x_N) // (3 * FEW), max(1, len(x_N) // (FEW // 2)))
    size = 3.2 if small else 5
    axes.plot(x_N, y_N, marker=marker, ms=size, mec=PAPER, mew=0.5, color=colour, markevery=every, **style, **moved)
    # The legend shows marker and dash together, which the points of a fitted series do not have.
    axes.plot([], [], marker=marker, ms=5, mec=PAPER, mew=0.5, color=colour, ls=dash, lw=1.4, label=one.label)


def _draw_band(axes: Axes, band: Band, colour: str, dash: Any) -> None:
    if band.low_N is not None and band.high_N is not None:
        axes.fill_between(band.x_N, band.low_N, band.high_N, color=colour, alpha=0.16, lw=0, zorder=0)
    axes.plot(band.x_N, band.y_N, color=colour, ls=dash, lw=1.4, zorder=1)


def _draw_point(axes: Axes, point: Point, marker: str, colour: str, filled: bool) -> None:
    if point.low is not None and point.high is not None:
        axes.plot([point.x, point.x], [point.low, point.high], color=colour, lw=1.0, zorder=2)
    axes.plot(point.x, point.y, marker, ms=5.5, color=colour, mfc=colour if filled else PAPER, mew=1.2, zorder=3)


def _legend(figure: Figure, *axes: Axes, across: int) -> None:
    """Draws the legend of all axes once, above them."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(
        [*found.values()],
        [*found],
        loc="outside upper left",
        ncols=across,
        frameon=False,
        handlelength=3.2,
        labelcolor=INK,
        fontsize=9,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
