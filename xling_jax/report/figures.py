"""Figures: heat maps of gains, intervals of the headline, training curves; each as SVG and PNG.

Colours are blue and vermilion of Okabe & Ito (2008), told apart with every common colour blindness. They are
laid over the page at no more than `STRONGEST` opacity, so that text in the page's own ink stays
readable on them, on white and on black. Inside the page, ink colours become its CSS variables.
"""

import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from xling_jax.goodput import Goodput
from xling_jax.ledger import STEPS
from xling_jax.report.collect import Collected, Curve
from xling_jax.report.table import Table

BLUE, VERMILION = "#0072b2", "#d55e00"
BLUE_LINE, VERMILION_LINE = "#0064a0", "#b34700"  # darker, as lines are thin
GREEN_LINE, PURPLE_LINE = "#00704e", "#98407c"
STRONGEST = 0.55
INK, MUTED, LINE, PAPER = "#14181d", "#5f6974", "#d3d8de", "#fefefe"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BLUE_LINE: "var(--blue)",
    VERMILION_LINE: "var(--red)",
    GREEN_LINE: "var(--green)",
    PURPLE_LINE: "var(--purple)",
    PAPER: "var(--paper)",
}
BARS = 8  # of time, the longest ones
PIXELS = 110  # CSS pixels an inch: the text of figures is then nearly as large as the page's
LEAST = 0.7  # of its width: smaller text would be hard to read
DOTS = 200  # an inch of a PNG
POINTS = 300  # of a curve; more are averaged in bins, as they would lie on each other

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
    "svg.hashsalt": "xling_jax",  # the same figure is the same file
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.solid_capstyle": "round",
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure: a name for its files, a caption, the two files' contents, and its width in CSS pixels."""

    name: str
    caption: str
    svg: str
    png: bytes
    width: int

    @property
    def inline(self) -> str:
        """The SVG for a page that defines the VARIABLES: no XML header, ids of its own, as wide as there is room."""
        svg = self.svg[self.svg.index("<svg") :]
        for colour, variable in VARIABLES.items():
            svg = svg.replace(colour, variable)
        svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
        svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{self.name}-", svg)
        svg = re.sub(r" <metadata>.*?</metadata>\n", "", svg, flags=re.DOTALL)
        svg = svg.replace("fill: #ffffff", "fill: none")
        least = round(LEAST * self.width)  # its box scrolls where there is no room even for that
        size = f'style="width:{self.width}px;max-width:100%;min-width:{least}px" role="img" aria-label="{self.name}"'
        return re.sub(r'width="[^"]*" height="[^"]*"', size, svg, count=1)


def file_name(name: str) -> str:
    """Returns the name with all that a file system or an SVG id may not like replaced."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def heat_map(name: str, table: Table) -> Drawing:
    """Returns arms across, languages down, the gain over the baseline as a colour and a number."""
    values = [number.value for row in table.rows for number in row.numbers if number.value is not None]
    largest = max([abs(value) for value in values] + [1e-9])
    tops = _tops(table)

    def draw(axes: Axes) -> None:
        for x, row in enumerate(table.rows):
            for top, number in zip(tops, row.numbers, strict=True):
                value = number.value
                shade = 0.0 if value is None else STRONGEST * abs(value) / largest
                colour = BLUE if value is not None and value >= 0 else VERMILION
                axes.add_patch(
                    Rectangle((x + 0.03, top + 0.05), 0.94, 0.9, facecolor=(colour, shade), edgecolor=LINE, lw=0.6)
                )
                text, ink = (number.state, MUTED) if value is None else (f"{value:+.1f}".replace("-", "−"), INK)
                axes.text(x + 0.5, top + 0.52, text, ha="center", va="center", color=ink)
        axes.set(xlim=(0, len(table.rows)), ylim=(tops[-1] + 1, 0))
        axes.set_xticks([x + 0.5 for x in range(len(table.rows))], [row.label for row in table.rows])
        axes.set_yticks([top + 0.5 for top in tops], [column.label for column in table.columns])
        bare(axes)

    width, height = 1.0 + 1.15 * len(table.rows), 0.5 + 0.3 * (tops[-1] + 1)
    return _drawing(name, f"{table.title}. {table.note}", (width, height), draw)


def interval_plot(name: str, table: Table, row: int) -> Drawing:
    """Returns the gain of one comparison in each column, with its interval."""
    tops, chosen = _tops(table), table.rows[row]

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=MUTED, lw=0.8)
        for top, column, number in zip(tops, table.columns, chosen.numbers, strict=True):
            if number.value is None or number.low is None or number.high is None:
                axes.text(0, top + 0.5, f" {number.state}", va="center", color=MUTED)
                continue
            colour = BLUE_LINE if number.value >= 0 else VERMILION_LINE
            bold = column.kind in ("group", "mean")
            axes.plot([number.low, number.high], [top + 0.5] * 2, color=colour, lw=2.4 if bold else 1.4)
            axes.plot(number.value, top + 0.5, "D" if bold else "o", color=colour, ms=5)
        axes.set(ylim=(tops[-1] + 1, 0), xlabel="points")
        axes.margins(x=0.08)
        axes.set_yticks([top + 0.5 for top in tops], [column.label for column in table.columns])
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(axis="x", color=LINE, lw=0.5)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)

    caption = f"{table.title}, {chosen.label}: gain in points and 95% interval."
    return _drawing(name, caption, (4.4, 0.7 + 0.3 * (tops[-1] + 1)), draw)


def training_curves(prefix: str, collected: Collected) -> list[Drawing]:
    """Returns one small figure for each kind of stage and task that has a curve; a thin line for each seed."""
    kinds: dict[str, list[Curve]] = {}
    for stage in collected.record.stages:
        by_task = collected.curves.get(stage.dir, {})
        for task, curve in by_task.items():
            kind = stage.name.removesuffix(f"_s{stage.seed}") + (f", {task}" if len(by_task) > 1 else "")
            kinds.setdefault(kind, []).append(curve)
    return [_curve_panel(f"{prefix}-curve-{file_name(kind)}", kind, curves) for kind, curves in kinds.items()]


def _curve_panel(name: str, kind: str, curves: Sequence[Curve]) -> Drawing:
    def draw(axes: Axes) -> None:
        for curve in curves:
            steps, losses = thin(curve)
            axes.plot(steps, losses, color=BLUE_LINE, lw=0.9, alpha=0.75)
        lost = [step for curve in curves for step in curve.steps[~np.isfinite(curve.losses)]]
        if lost:
            axes.plot(lost, [0.02] * len(lost), "x", color=VERMILION_LINE, ms=5, transform=axes.get_xaxis_transform())
        axes.set_title(kind, fontsize=9, loc="left", color=INK)
        axes.set(xlabel="step", ylabel="loss")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", color=LINE, lw=0.5)

    lines = f"{len(curves)} line{'s' if len(curves) != 1 else ''}"
    lost = any(not np.isfinite(curve.losses).all() for curve in curves)
    note = "; crosses: steps where the loss was not finite" if lost else ""
    return _drawing(name, f"Training loss of {kind} ({lines}{note}).", (2.9, 2.0), draw)


def time_bars(name: str, found: Goodput) -> Drawing:
    """Returns what the time went to: training steps first, then what took the most of it."""
    rest = sorted((kind for kind in found.seconds if kind != STEPS), key=found.seconds.__getitem__, reverse=True)
    kinds = [STEPS, *rest[: BARS - 1]]
    shares = [100 * found.share(kind) for kind in kinds]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(kinds)), shares, height=0.62, color=[BLUE_LINE, *[MUTED] * (len(kinds) - 1)])
        for place, share in enumerate(shares):
            axes.text(share, place, f" {share:.1f}", va="center", color=INK, fontsize=8)
        axes.set_title("time", fontsize=9, loc="left", color=INK)
        axes.set(xlim=(0, max(shares) * 1.22 or 1), ylim=(len(kinds) - 0.5, -0.5), xlabel="% of wall time")
        axes.set_yticks(range(len(kinds)), kinds)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4))

    more = f" The {len(kinds)} kinds that took the most." if len(rest) >= BARS else ""
    caption = f"What {found.wall:,.0f} s of wall time went to; goodput is the share of steps.{more}"
    return _drawing(name, caption, (2.9, 2.0), draw)


def thin(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most POINTS points of a curve, each the mean of neighbours."""
    size = -(-len(curve.steps) // POINTS)
    starts = np.arange(0, len(curve.steps), max(1, size))
    counts = np.diff(np.append(starts, len(curve.steps)))
    return np.add.reduceat(curve.steps, starts) / counts, np.add.reduceat(curve.losses, starts) / counts


def _tops(table: Table) -> list[float]:
    """Returns the upper edge of each column's band, with a gap where the kind of column changes."""
    tops, top = [], 0.0
    for place, column in enumerate(table.columns):
        top += 0.35 if place and column.kind != table.columns[place - 1].kind else 0.0
        tops.append(top)
        top += 1.0
    return tops


def bare(axes: Axes) -> None:
    """Takes lines and ticks away from a table that is drawn, and names its columns above."""
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _drawing(name: str, caption: str, inches: tuple[float, float], draw: Callable[[Axes], None]) -> Drawing:
    """Returns a drawing of one pair of axes."""
    return painted(name, caption, inches, lambda figure: draw(figure.add_subplot()))


def painted(name: str, caption: str, inches: tuple[float, float], draw: Callable[[Figure], None]) -> Drawing:
    """Returns the drawing that `draw` makes of an empty figure, as SVG and PNG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained", dpi=DOTS)
        draw(figure)
        svg, png = io.StringIO(), io.BytesIO()
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})  # last, as it sets 72 dots
    return Drawing(name, caption, svg.getvalue(), png.getvalue(), round(inches[0] * PIXELS))
