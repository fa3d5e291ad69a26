"""Drawings of studies: what is on them, that labels can be read, that nothing is told by colour alone."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from study_samples import LANGUAGES, matrix, points, sections, series

from xling_jax.report import study_figures
from xling_jax.report.figures import VARIABLES
from xling_jax.report.labels import name_points
from xling_jax.report.study_figures import (
    COLOURS,
    DASHES,
    MARKERS,
    Plane,
    Point,
    Series,
    curve_plot,
    front,
    panels,
    regression_plot,
    transfer_matrix,
)
from xling_jax.report.theme import DARK, LIGHT

DRAWINGS = [drawing for section in sections() for drawing in section.drawings]


def texts(drawing):
    root = xml.etree.ElementTree.fromstring(drawing.svg)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.name)
def test_a_drawing_follows_the_theme(drawing):
    assert drawing.png.startswith(b"\x89PNG") and drawing.caption
    known = set(re.findall(r"var\((--\w+)\)", drawing.inline))
    assert known and all(f"{name}:" in LIGHT and f"{name}:" in DARK for name in known - {"--font"})
    rest = set(re.findall(r"#[0-9a-f]{6}", drawing.inline.lower()))
    assert rest <= {"#0072b2", "#d55e00"}, "only heat maps have colours of both themes, laid over the paper"


def test_matrix_has_every_number_and_marks_what_holds():
    found = texts(transfer_matrix("m", matrix(), {("nli", "qa"), ("pos", "panx")}))
    for text in ("+10.5*", "−12.0*", "+100.0", "−3.0", "missing"):
        assert found.count(text) == 1, text
    assert sum(text.endswith("*") for text in found) == 2
    assert found.count("–") == 4, "the diagonal and what has no number"
    assert "mean" not in found, "bounds are no intermediate tasks"


def test_front_by_hand():
    assert [point.label for point in front(points())] == ["base", "large", "xxl"]
    same = [Point("a", 1, 5), Point("b", 1, 5), Point("c", 1, 4), Point("d", 2, 5)]
    assert [point.label for point in front(same)] == ["a", "b"], "d costs more for the same, c scores less"


@pytest.mark.parametrize("crowd", [6, 15])
def test_labels_meet_nothing(crowd):
    rng = np.random.default_rng(crowd)
    things = [Point(f"model_{n}", *rng.uniform(0, 10, 2)) for n in range(crowd)]
    figure = Figure(figsize=(5.4, 3.9), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    axes.plot([p.x for p in things], [p.y for p in things], "o")
    labels = name_points(figure, axes, things, [])
    assert sorted(label.get_text() for label in labels) == sorted(point.label for point in things)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    inside = axes.get_window_extent()
    for box in boxes:
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert not box.count_contains(axes.transData.transform([(p.x, p.y) for p in things]))


def test_twenty_lines_are_told_apart_without_colour():
    places = range(len(MARKERS) * len(DASHES))
    shapes = {(MARKERS[n % len(MARKERS)], str(DASHES[n % len(DASHES)])) for n in places}
    assert len(shapes) == len(places) >= 20
    assert len({COLOURS[n % len(COLOURS)] for n in range(5)}) == 5
    assert set(COLOURS) <= set(VARIABLES)


def axes_of(monkeypatch, draw):
    """Returns the axes of the figure that a drawing is made from."""
    kept = []
    painted = study_figures.painted

    def keep(name, caption, inches, paint):
        figure = Figure(figsize=inches, layout="constrained")
        paint(figure)
        kept.append(figure)
        return painted(name, caption, inches, paint)

    monkeypatch.setattr(study_figures, "painted", keep)
    draw()
    return [axes for axes in kept[0].axes if axes.get_visible()]


ENDLESS = Series("two seeds", np.array([1.0, 2.0]), np.array([3.0, 5.0]), np.array([2.0, -90.0]), np.array([4.0, 99.0]))


def test_endless_intervals_are_cut_and_said_to_be(monkeypatch):
    """Points from 3 to 5 and zero: intervals are shown 1.5 times 5 points beyond, below and above."""
    plane = Plane("x", "y", zero=True)
    (axes,) = axes_of(monkeypatch, lambda: curve_plot("c", "c", [ENDLESS], plane))
    assert axes.get_ylim() == (-7.5, 12.5)
    assert curve_plot("c", "Gains.", [ENDLESS], plane).caption.endswith("Intervals that leave the frame are cut.")
    bare = dataclasses.replace(ENDLESS, high_N=np.array([4.0, np.nan]))
    (axes,) = axes_of(monkeypatch, lambda: curve_plot("c", "c", [bare], plane))
    assert axes.get_ylim() == (-7.5, 5.0), "a point without an interval is never cut off"
    short = dataclasses.replace(ENDLESS, low_N=np.array([2.0, 4.0]), high_N=np.array([4.0, 6.0]))
    assert curve_plot("c", "Gains.", [short], plane).caption == "Gains."


def test_many_points_are_told_by_their_group(monkeypatch):
    few = [Point(f"a→{n}", n, n, n - 1, n + 1, "a") for n in range(4)]
    many = [Point(f"{group}→{n}", n, n, n - 1, n + 1, group) for group in "abc" for n in range(8)]
    plane = Plane("distance", "gain")
    assert {"a→0", "a→3"} <= set(texts(regression_plot("r", "r", few, None, plane)))
    found = texts(regression_plot("r", "r", many, None, plane))
    assert {"a", "b", "c"} <= set(found) and not [text for text in found if "→" in (text or "")]
    (axes,) = axes_of(monkeypatch, lambda: regression_plot("r", "r", many, None, plane))
    assert len({(line.get_marker(), line.get_color()) for line in axes.lines if line.get_label() in "abc"}) == 3
    assert all(len(line.get_xdata()) < 2 for line in axes.lines), "no intervals: they would cover the points"
    assert "intervals in the table" in regression_plot("r", "r", many, None, plane).caption


def test_panels_share_axes_and_name_each_language(monkeypatch):
    shown = {code: [series("total", place), series("each", 1)] for place, code in enumerate(LANGUAGES)}
    grid = axes_of(monkeypatch, lambda: panels("p", "c", shown, Plane("x", "y", log_x=True)))
    assert [axes.get_title(loc="left") for axes in grid] == LANGUAGES
    assert len({axes.get_xlim() for axes in grid}) == len({axes.get_ylim() for axes in grid}) == 1
    low, high = grid[0].get_ylim()
    assert low <= -1.3 and high >= 13, "of all panels: the steepest ends at 3 * 4, with its interval above"
    assert grid[0].get_xscale() == "log"


def test_few_values_are_the_ticks_of_a_log_axis(monkeypatch):
    (axes,) = axes_of(monkeypatch, lambda: curve_plot("c", "c", [series("a", 1)], Plane("x", "y", log_x=True)))
    assert axes.get_xticks().tolist() == [1, 2, 4, 8]
    assert axes.get_yscale() == "linear"
    many = Series("a", np.geomspace(1, 1e6, 50), np.ones(50))
    (axes,) = axes_of(monkeypatch, lambda: curve_plot("c", "c", [many], Plane("x", "y", log_x=True, log_y=True)))
    assert {10.0, 1000.0} <= set(axes.get_xticks().tolist())
    assert axes.get_yscale() == "log"


def test_a_missing_point_is_left_out(monkeypatch):
    holed = Series("a", np.array([1.0, 2, 3]), np.array([1.0, np.nan, 3]), np.zeros(3), np.full(3, 4.0))
    (axes,) = axes_of(monkeypatch, lambda: curve_plot("c", "c", [holed], Plane("x", "y")))
    drawn = next(line for line in axes.lines if len(line.get_xdata()))
    assert list(drawn.get_xdata()) == [1, 3]
    assert len(axes.collections[0].get_segments()) == 2


@pytest.mark.parametrize(
    ("value", "short"),
    [
        (8, "8"),
        (0.05, "0.05"),
        (-3, "−3"),
        (0.0864304, "0.0864"),
        (1234.5, "1234"),
        (12000, "12k"),
        (1.5e6, "1.5M"),
        (2e9, "2B"),
    ],
)
def test_short_numbers(value, short):
    assert study_figures.short(value) == short
