"""Contrasts by hand, their noise by hand, and coverage by integrals and by simulated studies."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulated import Condition, mean_gain, mean_weights, studies
from xling_jax.report.statistics import (
    SMALLEST_P,
    Noise,
    Parts,
    combined,
    contrast,
    half_width,
    item_places,
    measure,
    merged,
    noise_of,
    p_values,
    pooled,
    stacked,
)

# The study of `conftest.py`: arms by languages, right answers of four items under two seeds.
RIGHT = {
    ("multilingual", "qnd"): ("1111", "1110"),
    ("multilingual", "qda"): ("0111", "0111"),
    ("english", "qnd"): ("1110", "1100"),
    ("english", "qda"): ("0001", "0001"),
}
CELLS = {}
GAIN = {key: 0.5 if key[0] == "multilingual" else -0.5 for key in RIGHT}


def cell(*marks, ids="0123"):
    num_SxM = np.array([[int(mark) for mark in seed] for seed in marks], float)
    return measure(num_SxM, np.ones_like(num_SxM), item_places("qa2.test", ids))


CELLS.update({key: cell(*marks) for key, marks in RIGHT.items()})


def test_scores_are_ratios_of_sums():
    """Chunk F1 of three sentences, 2 * correct over predicted + gold: (2 + 0 + 4) / (3 + 2 + 5) = 60 percent.

    Left out one after another: 4 / 7, 6 / 8 and 2 / 5; an infinitesimal weight w of a sentence pulls the
    score to (6 + w num) / (10 + w den), by (num - 0.6 den) / 10.
    """
    found = measure(np.array([[2.0, 0.0, 4.0]]), np.array([[3.0, 2.0, 5.0]]), np.arange(3))
    assert found.score_S.tolist() == pytest.approx([60.0]), "the mean of ratios would be 48.9"
    assert found.pull_SxM[0].tolist() == pytest.approx([2.0, -12.0, 10.0])
    nothing = measure(np.zeros((1, 3)), np.zeros((1, 3)), np.arange(3))
    assert nothing.score_S.tolist() == [0.0] and not nothing.pull_SxM.any(), "nothing predicted, nothing to find"


def test_a_gain_by_hand():
    """Gains of the four items, mean over both languages, in quarters of the 37.5 points:

    seed 0: 0, 12.5, 12.5, 12.5    seed 1: 0, 12.5, 25, 0    less 9.375 each, as they pull on a mean.

    Both seeds gain 37.5, so nothing is between seeds. Mean pulls -9.375, 3.125, 9.375, -3.125 have squares that sum
    to 195.3125, times 4 / 3 is 260.4167. Items 2 and 3 differ by 12.5 between seeds: two variances of 78.125, of which
    half is in the mean of two seeds. 260.4167 - 78.125 = 182.2917.
    """
    found = contrast(CELLS, GAIN)
    assert (found.value, found.by_seed) == (37.5, (37.5, 37.5))
    noise = found.noise
    assert (noise.between, noise.interaction, noise.seeds) == (0.0, pytest.approx(156.25), 2)
    assert noise.items == pytest.approx(182.2917, abs=1e-4)
    assert found.error == pytest.approx(182.2917**0.5, abs=1e-4)
    fourth = 2 * (9.375**4 + 3.125**4)
    assert noise.items_df == pytest.approx(min(3, 2 * 195.3125**2 / (fourth - 195.3125**2 / 4)))


def test_an_interval_ends_where_a_gain_cannot_be():
    """Two seeds that differ by 50 points know nothing: t is 12.7, and no gain is beyond 100 points."""
    cells = {"a": cell("1111", "1100"), "b": cell("0000", "0000")}
    gain = {"a": 1.0, "b": -1.0}
    found = contrast(cells, gain)
    assert found.interval() == found.bounds == (-100.0, 100.0)
    assert contrast(cells, combined([(2.0, gain), (1.0, {"a": 1.0})])).bounds == (-200.0, 300.0)
    moved = found.shifted(5.0)
    assert (moved.value, moved.interval()) == (80.0, (-95.0, 105.0))
    assert contrast(cells, {"a": 1.0}).interval() == (0.0, 100.0)


def test_contrasts_of_contrasts():
    by_language = [
        {(arm, code): sign for arm, sign in (("multilingual", 1), ("english", -1))} for code in ("qnd", "qda")
    ]
    assert [contrast(CELLS, weights).value for weights in by_language] == [25.0, 50.0]
    assert contrast(CELLS, combined([(0.5, by_language[0]), (0.5, by_language[1])])) == contrast(CELLS, GAIN)
    assert contrast(CELLS, combined([(-1, by_language[0]), (1, by_language[1])])).value == 25.0
    assert contrast(CELLS, {("english", "qda"): 1.0}).value == 25.0


def test_swapped_arms_mirror_the_interval():
    there, back = contrast(CELLS, GAIN), contrast(CELLS, {key: -weight for key, weight in GAIN.items()})
    assert back.interval() == pytest.approx(tuple(-end for end in reversed(there.interval())))
    assert back.p_value == there.p_value


def test_items_are_joined_by_id():
    """A language with two of the items, in another order: what is known of items 3 and 1 moves with them."""
    some = cell("10", "11", ids="31")
    whole = {"all": CELLS["english", "qnd"], "some": some}
    noise = contrast(whole, {"all": 1.0, "some": 1.0}).noise
    place = {name: item_places("qa2.test", [name])[0] for name in "0123"}
    assert sorted(place[name] for name in "31") == some.place_M.tolist()
    for one in (some, cell("01", "11", ids="13")):
        assert dict(zip(one.place_M, one.pull_SxM[0], strict=True)) == {place["3"]: 25.0, place["1"]: -25.0}
    pull = np.zeros((2, 4))
    for at, name in enumerate("0123"):
        for one in whole.values():
            pull[:, at] += one.pull_SxM[:, one.place_M == place[name]].sum(axis=1)
    by_hand = noise_of(whole["all"].score_S + some.score_S, pull)
    assert dataclasses.astuple(noise) == pytest.approx(dataclasses.astuple(by_hand))
    other = measure(np.array([[1.0, 0.0], [1.0, 1.0]]), np.ones((2, 2)), item_places("qa3.test", "31"))
    assert contrast({"all": whole["all"], "some": other}, {"all": 1.0, "some": 1.0}).noise != noise, "other test set"


def test_items_that_are_translations_count_once():
    """A score averaged over two languages with the same answers is known no better than in one."""
    alone = contrast({"a": cell("1101")}, {"a": 1.0})
    twice = contrast({"a": cell("1101"), "b": cell("1101")}, {"a": 0.5, "b": 0.5})
    assert twice == alone


def test_one_seed_leaves_the_items():
    """60 of 100 right: the textbook's standard error of a share, with n - 1."""
    right = np.arange(100)[None] < 60
    found = contrast({"a": measure(right.astype(float), np.ones((1, 100)), np.arange(100))}, {"a": 1.0})
    assert found.error == pytest.approx(100 * (0.6 * 0.4 / 99) ** 0.5)
    half = stats.t.isf(0.025, found.noise.items_df) * found.error
    assert found.interval() == pytest.approx((60 - half, 60 + half))


def test_few_items_that_differ_have_few_degrees_of_freedom():
    """Of 100 items 4 pull by 1: their squares and fourth powers sum to 4, so 2 * 16 / (4 - 16 / 100) = 8.33."""
    pull_SxN = np.where(np.arange(100) < 4, 1.0, 0.0)[None]
    assert noise_of(np.zeros(1), pull_SxN).items_df == pytest.approx(25 / 3)
    assert noise_of(np.zeros(1), np.where(pull_SxN > 0, 1.0, -1.0)).items_df == 99.0, "all alike: as many as there are"


def test_without_noise_of_items_it_is_students_t():
    """Items all alike leave only the seeds: gains 10, 20 and 60 make 30 with SciPy's interval of three numbers."""
    num_SxM = np.broadcast_to(np.array([[0.1], [0.2], [0.6]]), (3, 5))
    found = contrast({"a": measure(num_SxM, np.ones((3, 5)), np.arange(5))}, {"a": 1.0})
    student = stats.ttest_1samp([10.0, 20.0, 60.0], 0)
    ends = student.confidence_interval(0.95)
    assert found.interval() == (0.0, pytest.approx(ends.high)), "no score is below 0"
    assert found.noise.half_width() == pytest.approx((ends.high - ends.low) / 2)
    assert found.p_value == pytest.approx(student.pvalue, rel=1e-9)


def test_between_both_ends_by_hand():
    """Two seeds, b = 4, C = 9, W / S = 3 and as many items as one likes: w = 64 / (16 + 0.06 * (9 + 1)^2) = 2.9091."""
    w = 64 / (16 + 0.06 * 100)
    half = (stats.norm.isf(0.025) ** 2 * (13 - w) + stats.t.isf(0.025, 1) ** 2 * w) ** 0.5
    assert half_width(0.05, Parts(4, 9, 3, 1, np.inf)) == pytest.approx(half)


def test_seeds_that_agree_by_chance_do_not_unsay_the_items():
    """Both seeds gain a quarter, on other items: B = 0. Ten of twenty items pull 5 points in one seed.

    Each varies by 12.5, and C is 0, too: the items that were gained are not the same ones. No width
    would call it sure.
    """
    gained = np.zeros((2, 20))
    gained[0, :5] = gained[1, 5:10] = 1
    found = contrast({"a": measure(gained, np.ones((2, 20)), np.arange(20))}, {"a": 1.0})
    assert (found.by_seed, found.noise.between, found.noise.items) == ((25.0, 25.0), 0.0, 0.0)
    assert found.noise.interaction == pytest.approx(10 * 12.5)
    half = stats.t.isf(0.025, found.noise.items_df) * (0.5 * 10 * 12.5 / 2) ** 0.5
    assert found.noise.half_width() == pytest.approx(half)


def test_p_values_are_where_the_interval_ends():
    noise = Noise(2, 8.0, 1.0, 9.0, 1.0, 50.0)
    for value in (1.0, 12.0, 300.0):
        p = float(p_values(value, noise.parts))
        assert noise.half_width(1 - p) == pytest.approx(value, rel=1e-6)
    assert noise.parts == (4.0, 9.0, 0.5, 1.0, 50.0)
    assert p_values(1e30, noise.parts) == pytest.approx(SMALLEST_P)
    assert p_values(0.0, noise.parts) == 1.0 == p_values(0.0, Parts(0.0, 0.0, 0.0, 1.0, 1.0))


RATIOS = np.concatenate([[0], np.geomspace(0.01, 3000, 45)])  # variance from training over that from items
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the items' variance that is under each seed


def missed(alpha: float, df: int) -> np.ndarray:
    """Returns how often an interval misses, ratios by shares, by an integral over the estimate of b."""
    drawn = stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, df) / df

    def miss(ratio, share):
        half = half_width(alpha, Parts((ratio + share) * drawn, 1 - share, share, df, np.inf))
        return 2 * stats.norm.sf(half / (1 + ratio) ** 0.5).mean()

    return np.array([[miss(ratio, share) for share in SHARES] for ratio in RATIOS])


@pytest.mark.parametrize(
    ("seeds", "low", "high"), [(2, 93.6, 96.9), (3, 94.8, 96.8), (5, 94.9, 96.1), (10, 94.9, 95.6)]
)
def test_coverage_of_normal_noise(seeds, low, high):
    """The numbers of the module's head: within 2 points whatever the parts of the noise."""
    held = 100 * (1 - missed(0.05, seeds - 1))
    assert low < held.min() and held.max() < high, (held.min(), held.max())
    assert held.max() - 95 < 2 and 95 - held.min() < 2


@pytest.mark.parametrize("alpha", [0.2, 0.01, 0.001])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_small_p_values_are_honest(alpha, seeds):
    """Where many claims ask for a small p, no noise makes it come out more than a twentieth too often."""
    assert missed(alpha, seeds - 1).max() < 1.05 * alpha


def test_pooled_noise_by_hand():
    """Three arms under two seeds: 10 20, 14 16, 12 18. Means of arms 15, of seeds 12 and 18, of all 15.

    What is left: -2 2, 2 -2, 0 0: squares sum to 16, over (3 - 1)(2 - 1) df is 8; a gain has twice that.
    """
    scores = {"a": (0.10, 0.20), "b": (0.14, 0.16), "c": (0.12, 0.18)}
    cells = {
        name: measure(np.repeat(np.array(seeds)[:, None], 4, axis=1), np.ones((2, 4)), np.arange(4))
        for name, seeds in scores.items()
    }
    found = pooled(cells, [(1, {"a": 1.0}), (-1, {"b": 1.0}), (0, {"c": 1.0})])
    assert (found.noise.between, found.noise.seeds_df) == (pytest.approx(16.0), 2.0)
    assert contrast(cells, {"a": 1.0, "b": -1.0}).noise.between == pytest.approx(32.0), "by its own two seeds"
    with pytest.raises(AssertionError, match="factors sum to 0"):
        pooled(cells, [(1, {"a": 1.0}), (0, {"b": 1.0})])


def test_replicates_of_orders_and_seeds():
    """Two orders under two seeds: merged by order, seeds of one order are one replicate."""
    both = stacked([cell("1111", "1110"), cell("1000", "1100")])
    assert both.score_S.tolist() == [100.0, 75.0, 25.0, 50.0]
    by_order = merged(both, ["first", "first", "second", "second"])
    assert by_order.score_S.tolist() == [87.5, 37.5]
    found = contrast({"a": by_order}, {"a": 1.0})
    assert (found.value, found.noise.between, found.noise.seeds) == (62.5, 1250.0, 2)


def test_seeds_must_be_the_same():
    with pytest.raises(AssertionError, match="the same seeds"):
        contrast({"a": cell("1111"), "b": cell("1110", "1100")}, {"a": 1.0, "b": -1.0})


def held(condition: Condition, count: int, estimate=mean_gain) -> float:
    """Returns how many of 100 intervals of the gain hold it."""
    hits = 0
    for cells, true_A in studies(condition, count):
        low, high = estimate(cells, condition).interval()
        hits += low <= true_A[0] - true_A[1] <= high
    return 100 * hits / count


CONDITIONS = [
    Condition("calm", seeds=2, ratio=0.0),
    Condition("equal", seeds=2, ratio=1.0, items=150),
    Condition("unstable", seeds=2, ratio=4.0),
    Condition("unstable", seeds=3, ratio=4.0),
    Condition("many seeds", seeds=10, ratio=0.5),
    Condition("interaction", seeds=3, ratio=1.0, interaction=1.2),
    Condition("near 100", seeds=3, ratio=1.0, base=0.94, gain=0.03, items=200),
    Condition("f1", seeds=2, ratio=1.0, metric="f1"),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: f"{c.name}, {c.seeds} seeds")
def test_coverage(condition):
    """300 studies: 2 points, and three standard errors of 1.3 points each beside."""
    assert 89.0 <= held(condition, 300) <= 99.0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_coverage_of_many_studies(seeds, ratio):
    """2000 studies: 2 points, and two standard errors of half a point each beside."""
    assert 92.0 <= held(Condition("many", seeds=seeds, ratio=ratio), 2000) <= 98.0


def of_five_arms(cells, condition):
    """The gain of arm 0 over 1, with the noise between seeds of all five."""
    return pooled(cells, [(f, mean_weights(condition, arm)) for arm, f in enumerate((1, -1, 0, 0, 0))])


def test_pooling_covers_and_is_narrow_at_two_seeds():
    condition = Condition("pooled", seeds=2, ratio=2.0, arms=5, items=150)
    assert 89.0 <= held(condition, 300, of_five_arms) <= 99.0
    cells, _ = next(studies(condition, 1))
    assert of_five_arms(cells, condition).noise.seeds_df == 4.0


def test_simulated_studies_are_what_they_say():
    """The truth of a simulation is held against a study so large that chance is nearly gone."""
    for metric in ("accuracy", "f1"):
        condition = Condition("large", items=100_000, ratio=0.0, metric=metric, seeds=1, languages=1)
        ((cells, true_A),) = studies(condition, 1)
        score = [cells[arm, 0].score_S[0] for arm in (0, 1)]
        assert score == pytest.approx(true_A.tolist(), abs=1.0), metric
