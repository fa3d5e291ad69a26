"""Curves, critical batches, pairs of languages and fronts: by hand where that can be, else in simulation."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulated import crossed_pairs
from xling_jax.report.batches import critical_batch
from xling_jax.report.curves import fit_curve, fit_scale, left_out_error, line_at, saturating_at
from xling_jax.report.pairs import fit_pairs
from xling_jax.report.pareto import MAYBE, OFF, ON, pareto_front
from xling_jax.report.statistics import Cell, Estimate, Noise, contrast

N = (1.0, 2.0, 4.0, 8.0)


def cells_of(score_SxP) -> dict[int, Cell]:
    """Cells of scores alone: their items never pull."""
    return {
        at: Cell(np.array(score_S, float), np.zeros((len(score_S), 3)), np.arange(3))
        for at, score_S in enumerate(np.transpose(score_SxP))
    }


POINTS = {n: {at: 1.0} for at, n in enumerate(N)}


def test_a_line_by_hand():
    """log2 N is 0 1 2 3. Seed 0 gains 1 2 3 4, slope 1; seed 1 gains 1 4 7 10, slope 3; the line ends at 7."""
    curve = fit_curve(cells_of([[1, 2, 3, 4], [1, 4, 7, 10]]), POINTS)
    assert (curve.slope.value, curve.slope.by_seed) == (pytest.approx(2.0), (pytest.approx(1.0), pytest.approx(3.0)))
    assert curve.slope.interval() == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3), "two seeds: t of 1 df"
    assert curve.line.value == pytest.approx(7.0) == curve.at_largest.value
    assert curve.line_error == pytest.approx(0.0, abs=1e-9)
    assert not curve.saturates, "what is a line bends as much as it must"


def test_left_out_error_by_hand():
    """A line through the other two points of 0 0 3 misses by 3 at both ends and by 1.5 in the middle."""
    error = left_out_error(np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.0, 3.0]), line_at)
    assert error == pytest.approx(((9 + 2.25 + 9) / 3) ** 0.5)


def test_a_saturating_curve_is_found():
    x_P = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    y_P = 1 + 5 * (1 - np.exp(-x_P / 3))
    assert fit_scale(x_P, y_P) == pytest.approx(3.0, rel=1e-3)
    assert saturating_at(np.array([64.0]), x_P, y_P)[0] == pytest.approx(6.0, abs=1e-3)
    curve = fit_curve(cells_of([y_P, y_P + 0.5]), {x: {at: 1.0} for at, x in enumerate(x_P)})
    assert curve.saturates and curve.saturating_error < 0.01 < curve.line_error
    assert curve.saturating.value == pytest.approx(6.25, abs=1e-3), "1 + 5, and a quarter for the second seed"
    assert curve.saturating.by_seed[1] - curve.saturating.by_seed[0] == pytest.approx(0.5), "both move together"


def test_delta_method_of_the_saturating_curve():
    """How the end of the curve moves with each point, against moving the point and fitting again."""
    x_P, y_P = np.array(N), np.array([1.0, 3.2, 4.9, 5.6])
    moved = [saturating_at(x_P[-1:], x_P, y_P + 1e-3 * unit)[0] for unit in np.eye(4)]
    by_refit = (np.array(moved) - saturating_at(x_P[-1:], x_P, y_P)[0]) / 1e-3
    ends = [fit_curve(cells_of([y_P, y_P + 2 * unit]), POINTS) for unit in 0.005 * np.eye(4)]
    by_curve = [(end.saturating.by_seed[1] - end.saturating.by_seed[0]) / 0.01 for end in ends]
    assert by_curve == pytest.approx(by_refit.tolist(), abs=0.02)


def test_a_straight_line_never_saturates():
    """Points on y = N do not bend: c is at its end, and the curve still ends at the last point, nearly."""
    curve = fit_curve(cells_of([[1, 2, 4, 8], [1, 2, 4, 9]]), POINTS)
    assert curve.scale == np.inf
    x_P, y_P = np.array(N), np.array([1, 2, 4, 8.5])
    assert curve.saturating.value == pytest.approx(saturating_at(x_P[-1:], x_P, y_P)[0])


def test_few_points_have_a_line_alone():
    curve = fit_curve(cells_of([[1, 2, 3], [1, 2, 4]]), {n: {at: 1.0} for at, n in enumerate(N[:3])})
    assert (curve.saturating, curve.scale, curve.saturates) == (None, None, False)
    with pytest.raises(AssertionError, match="three points"):
        fit_curve(cells_of([[1, 2]]), {1.0: {0: 1.0}, 2.0: {1: 1.0}})


BATCHES = np.array([16.0, 32.0, 64.0, 128.0, 256.0, 512.0])


def test_a_critical_batch_by_hand():
    """S = 100 + 12800 / B from B = 16 on: 1.2 * 16 + 0.2 * 128 = 44.8, where 44.8 * S / (16 * 900) is 1.2."""
    found = critical_batch(BATCHES, np.array([100 + 12800 / BATCHES]))
    assert found.value == pytest.approx(44.8, rel=1e-4)
    examples = 44.8 * (100 + 12800 / 44.8)
    assert examples == pytest.approx(1.2 * 16 * 900)
    assert (found.low, found.high, found.extrapolated) == (None, None, False), "one replicate has no interval"


def test_a_critical_batch_over_seeds():
    steps = np.array([100 + c / BATCHES for c in (12800.0, 19200.0, 9600.0)])
    found = critical_batch(BATCHES, steps)
    inverse = 1 / np.array([44.8, 19.2 + 38.4, 19.2 + 19.2])
    ends = stats.ttest_1samp(inverse, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(1 / inverse.mean(), rel=1e-3)
    assert (found.low, found.high) == pytest.approx((1 / ends.high, 1 / ends.low), rel=1e-3)


def test_linear_scaling_has_no_critical_batch():
    found = critical_batch(BATCHES, np.array([6400 / BATCHES, 6400 / BATCHES]))
    assert found.value > 1e5 and found.extrapolated


def test_critical_batch_covers():
    """Steps of 3 seeds, 5% noise each and 20% between seeds in what bends: 200 studies."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        a = 100 * np.exp(0.2 * rng.standard_normal((3, 1)))
        steps = (a + 12800 / BATCHES) * np.exp(0.05 * rng.standard_normal((3, 6)))
        found = critical_batch(BATCHES, steps)
        hits += found.low <= 44.8 <= found.high
    assert 0.90 <= hits / 200 <= 0.99, "95%, and three standard errors of 1.5% beside"


def test_pairs_by_hand():
    """Two sources by three targets; whatever sources and targets add, distance alone gives -2 a unit.

    With noise, the same as a regression with an indicator of each language (least squares by NumPy).
    """
    sources, targets = list("aaabbb"), list("xyzxyz")
    distance_P = np.array([0.1, 0.5, 0.9, 0.8, 0.3, 0.4])
    effects_P = np.array([7.0, 9.0, 4.0, 2.0, 4.0, -1.0])
    exact = fit_pairs(effects_P - 2 * distance_P, distance_P, sources, targets)
    assert (exact.slope, exact.df) == (pytest.approx(-2.0), 1)
    noisy_P = effects_P - 2 * distance_P + np.array([0.1, -0.1, 0.2, 0.0, -0.2, 0.1])
    found = fit_pairs(noisy_P, distance_P, sources, targets)
    design = np.array(
        [[d, s == "a", s == "b", t == "x", t == "y"] for d, s, t in zip(distance_P, sources, targets, strict=True)],
        float,
    )
    solved, left, _, _ = np.linalg.lstsq(design, noisy_P, rcond=None)
    error = (left[0] / 1 * np.linalg.inv(design.T @ design)[0, 0]) ** 0.5
    assert found.slope == pytest.approx(solved[0])
    assert found.high - found.slope == pytest.approx(stats.t.isf(0.025, 1) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(solved[0]) / error, 1))
    assert float(found.weights @ noisy_P) == pytest.approx(found.slope), "weights of a contrast"


def test_pairs_that_say_nothing():
    assert fit_pairs(np.zeros(4), np.array([0.1, 0.2, 0.3, 0.4]), list("aabb"), list("xyxz")) is None, "too few"
    flat = fit_pairs(np.arange(6.0), np.array([1.0, 2, 3, 2, 3, 4]), list("aaabbb"), list("xyzxyz"))
    assert flat is None, "distance is that of the languages themselves"
    with pytest.raises(AssertionError, match="two languages"):
        fit_pairs(np.zeros(1), np.zeros(1), ["a"], ["a"])


@pytest.mark.parametrize("effects", ["none", "of both"])
def test_pairs_cover(effects):
    """400 draws of 4 sources and 6 targets: counting pairs as independent rejects a true zero twice as often."""
    rng = np.random.default_rng(0)
    rejected = naive = 0
    for _ in range(400):
        gain_P, distance_P, pairs = crossed_pairs(rng, 4, 6, effects, slope=-1.0)
        fit = fit_pairs(gain_P, distance_P, *zip(*pairs, strict=True))
        rejected += not fit.low <= -1.0 <= fit.high
        naive += stats.linregress(distance_P, gain_P + distance_P).pvalue < 0.05
    assert 0.017 <= rejected / 400 <= 0.083, "5%, and three standard errors of 1.1% beside"
    assert naive / 400 > 0.083 or effects == "none"


def difference_of(scores: dict[str, float], error: float):
    def difference(one: str, other: str) -> Estimate:
        value = scores[one] - scores[other]
        return Estimate(value, (value, value), Noise(2, 0.0, 0.0, error**2, 1.0, 1e9))

    return difference


def test_a_front():
    """c costs more than b and surely scores less; d is a little better than b for more, which may be chance."""
    costs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    front = pareto_front(costs, difference_of({"a": 50.0, "b": 60.0, "c": 55.0, "d": 60.5}, 1.0))
    assert {name: place.state for name, place in front.items()} == {"a": ON, "b": ON, "c": OFF, "d": MAYBE}
    assert front["c"].beaten_by == ("b",) == front["d"].beaten_by
    assert [name for name, place in front.items() if place.apparent] == ["a", "b", "d"]
    sure = pareto_front(costs, difference_of({"a": 50.0, "b": 60.0, "c": 55.0, "d": 60.5}, 0.1))
    assert sure["d"].state == ON


def test_pairs_of_a_front_are_judged_together():
    """A difference of 2.1 errors is sure alone, and not as one of three pairs."""
    two = pareto_front({"a": 1.0, "b": 2.0}, difference_of({"a": 0.0, "b": 2.1}, 1.0))
    three = pareto_front({"a": 1.0, "b": 2.0, "c": 3.0}, difference_of({"a": 0.0, "b": 2.1, "c": 2.1}, 1.0))
    assert (two["b"].state, three["b"].state) == (ON, MAYBE)
    tie = pareto_front({"a": 1.0, "b": 1.0}, difference_of({"a": 0.0, "b": 5.0}, 1.0))
    assert (tie["a"].state, tie["b"].state) == (OFF, ON), "of equal cost the better one beats the other"


def test_a_slope_is_a_contrast():
    """Slopes know of shared items as any contrast does: the same cells, the same weights, the same noise."""
    rng = np.random.default_rng(0)
    cells = {at: Cell(rng.random(3), rng.normal(size=(3, 20)), np.arange(20)) for at in range(4)}
    slope = fit_curve(cells, POINTS).slope
    by_hand = contrast(cells, {0: -0.3, 1: -0.1, 2: 0.1, 3: 0.3})
    assert slope.value == pytest.approx(by_hand.value)
    assert slope.noise.items == pytest.approx(by_hand.noise.items)
