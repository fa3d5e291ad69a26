"""Gains by hand, intervals by enumeration, coverage by simulation."""

import numpy as np
import pytest

from xling_jax.report.statistics import DRAWS, Sums, draw_counts, gains, resample, scores

ONE_MEAN = np.full((1, 2), 0.5)


def ones(num_SxGxN) -> list[Sums]:
    """An arm whose items count one each."""
    num = np.array(num_SxGxN, float)
    return [Sums(num[:, g], np.ones_like(num[:, g]), slice(None)) for g in range(num.shape[1])]


def paired_gains(first, second, averages_AxG, seed=0, draws=DRAWS):
    items = first[0].num_SxM.shape[1]
    return gains(*resample([first, second], items, seed, draws), averages_AxG)


def test_scores_are_ratios_of_sums():
    """Chunk F1 of three sentences, 2 * correct over predicted + gold: (2 + 0 + 4) / (3 + 2 + 5) = 60 percent."""
    sums = [Sums(np.array([[2.0, 0.0, 4.0]]), np.array([[3.0, 2.0, 5.0]]), slice(None))]
    assert scores(np.ones((1, 3)), sums).item() == pytest.approx(60.0), "the mean of ratios would be 48.9"
    twice_the_last = scores(np.array([[1.0, 0.0, 2.0]]), sums)
    assert twice_the_last.item() == pytest.approx(100 * 10 / 13), "an item drawn twice adds twice"
    assert scores(np.zeros((1, 3)), sums).item() == 0.0, "nothing predicted and nothing to find scores 0"


def test_a_language_with_some_of_the_items():
    """The items of a language are counted where they stand, whether together or apart."""
    weights_RxN = np.array([[2.0, 0.0, 1.0, 3.0]])
    num, den = np.array([[1.0, 0.0]]), np.ones((1, 2))
    apart, together = Sums(num, den, np.array([0, 3])), Sums(num, den, slice(2, 4))
    assert scores(weights_RxN, [apart, together]).tolist() == [[[40.0, 25.0]]], "2 of 2 + 3; 1 of 1 + 3"


def test_one_arm_alone():
    """A gain over nothing is the arm's own score; a difference of languages is drawn item by item."""
    arm = ones([[[1, 1, 1, 0], [0, 0, 0, 1]]])
    (draws,) = resample([arm], items=4)
    score, difference = gains(draws, None, np.array([[1.0, 0.0], [1.0, -1.0]]))
    assert (score.value, difference.value) == (75.0, 50.0)
    assert difference.error == pytest.approx(100 * np.sqrt(0.75) / 2, rel=0.08), "an item adds +1 or -1, mean 0.5"


def test_gain_is_mean_over_seeds_and_languages():
    first = ones([[[1, 1, 1, 1], [0, 1, 1, 1]], [[1, 1, 1, 0], [0, 1, 1, 1]]])
    second = ones([[[1, 1, 1, 0], [0, 0, 0, 1]], [[1, 1, 0, 0], [0, 0, 0, 1]]])
    by_language = paired_gains(first, second, np.eye(2))
    assert [gain.value for gain in by_language] == pytest.approx([25.0, 50.0])
    (mean,) = paired_gains(first, second, ONE_MEAN)
    assert mean.value == pytest.approx(37.5)


def test_bootstrap_matches_enumeration():
    """The study of `conftest.py`: one seed of two is drawn, then four items of four, in both languages at once.

    Under seed 0, items 1, 2 and 3 gain 12.5 points each, so the gain is 0 in (1/4)^4 of the draws; under seed 1 only
    items 1 and 2 gain, so it is 0 in (1/2)^4. Together 0.0332; languages drawn apart would make it 0.0122.
    """
    first = ones([[[1, 1, 1, 1], [0, 1, 1, 1]], [[1, 1, 1, 0], [0, 1, 1, 1]]])
    second = ones([[[1, 1, 1, 0], [0, 0, 0, 1]], [[1, 1, 0, 0], [0, 0, 0, 1]]])
    draws = resample([first, second], items=4, draws=20_000)
    gain_RxSxG = draws[0].score_RxSxG - draws[1].score_RxSxG
    gain_R = np.einsum("rs,rsg->rg", draws[0].picked_RxS, gain_RxSxG).mean(axis=1)
    at_zero = np.mean(np.abs(gain_R) < 1e-9)
    assert at_zero == pytest.approx((1 / 256 + 1 / 16) / 2, abs=0.004), "four standard errors of 20,000 draws are 0.005"


def test_swapped_arms_mirror_the_interval():
    rng = np.random.default_rng(1)
    first, second = (ones(rng.random((3, 2, 40)) < p) for p in (0.7, 0.5))
    there, back = paired_gains(first, second, ONE_MEAN)[0], paired_gains(second, first, ONE_MEAN)[0]
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there == paired_gains(first, second, ONE_MEAN)[0], "the same seed gives the same interval"


def test_variance_between_seeds_is_unbiased():
    """Items all alike leave only the seeds: gains 10 and 20 make 15 with standard error 5, at two seeds."""
    first = ones(np.broadcast_to(np.array([0.1, 0.2])[:, None, None], (2, 2, 5)))
    (gain,) = paired_gains(first, ones(np.zeros((2, 2, 5))), ONE_MEAN)
    assert gain.value == pytest.approx(15.0)
    assert gain.error == pytest.approx(5.0, abs=0.05), "drawing S seeds instead of S - 1 gives 3.5"


def test_one_seed_leaves_the_items():
    right = np.arange(100) < 60
    (gain,) = paired_gains(ones([[right]]), ones(np.zeros((1, 1, 100))), np.ones((1, 1)))
    assert gain.error == pytest.approx(100 * np.sqrt(0.6 * 0.4 / 100), rel=0.08)


def test_counts_are_a_resample():
    counts = draw_counts(np.random.default_rng(0), draws=50, size=7, among=4)
    assert counts.shape == (50, 4)
    assert (counts.sum(axis=1) == 7).all()


def simulated_coverage(seeds: int, spread: float, studies: int = 200) -> float:
    """Returns how often the interval holds a true gain of 10 points.

    100 parallel items in 4 languages: an item's difficulty is shared by languages and arms, answers are drawn
    from it. `spread` is the standard deviation between seeds of the gain; without it the gain of one
    seed would have a standard error of 3.5 points.
    """
    rng = np.random.default_rng(0)
    hits = 0
    for study in range(studies):
        difficulty = rng.uniform(-0.2, 0.2, size=100)
        arms = []
        for effect in (0.1, 0.0):
            run = rng.normal(0, spread / 100 / np.sqrt(2), size=(seeds, 1, 1))
            arms.append(ones(rng.random((seeds, 4, 100)) < 0.5 + effect + difficulty + run))
        (gain,) = paired_gains(*arms, np.full((1, 4), 0.25), seed=study, draws=200)
        hits += gain.low <= 10 <= gain.high
    return hits / studies


# Bands are the coverage of 2000 studies, give or take three standard errors of 200.
@pytest.mark.parametrize(
    ("seeds", "spread", "low", "high"),
    [(2, 3.5, 0.94, 1.0), (2, 14.0, 0.64, 0.83), (3, 7.0, 0.88, 0.98)],
    ids=["two seeds, calm", "two seeds, unstable: too short", "three seeds"],
)
def test_coverage(seeds, spread, low, high):
    assert low <= simulated_coverage(seeds, spread) <= high
