"""Agreement against numbers worked by hand, and RankC against the sets of its definition."""

import math

import numpy as np
import pytest

from xling_jax.report.agreement import rankc, right_and_wrong

# Softmax of 2, 1, 0: the weights of the first, second and third place of three candidates.
FIRST, SECOND, THIRD = (math.exp(x) / (math.exp(2) + math.exp(1) + math.exp(0)) for x in (2, 1, 0))


def slow_rankc(one: list[int], other: list[int]) -> float:
    """RankC of one item as its paper writes it: shares of common candidates among the first j, weighted."""
    count = len(one)
    weights = [math.exp(count - j) for j in range(1, count + 1)]
    shares = [len(set(one[:j]) & set(other[:j])) / j for j in range(1, count + 1)]
    return sum(w * share for w, share in zip(weights, shares, strict=True)) / sum(weights)


def drawn(rng: np.random.Generator, items: int, counts: tuple[int, ...]) -> np.ndarray:
    """Rankings of items that have one of the numbers of candidates in turn."""
    ranking_NxC = np.full((items, max(counts)), -1)
    for n in range(items):
        count = counts[n % len(counts)]
        ranking_NxC[n, :count] = rng.permutation(count)
    return ranking_NxC


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 1, 2], [1, 0, 2], SECOND + THIRD),  # the first places differ; the first two are the same set
        ([0, 1, 2], [0, 2, 1], FIRST + SECOND / 2 + THIRD),
        ([0, 1, 2], [2, 1, 0], SECOND / 2 + THIRD),
        ([0, 1, 2], [1, 2, 0], SECOND / 2 + THIRD),
        ([2, 0, 1], [2, 0, 1], 1.0),
        ([0, 1], [1, 0], 1 / (1 + math.e)),
        ([0], [0], 1.0),
    ],
)
def test_rankc_by_hand(one, other, expected):
    assert rankc(np.array([one]), np.array([other])).observed == pytest.approx(100 * expected)
    assert [round(weight, 4) for weight in (FIRST, SECOND, THIRD)] == [0.6652, 0.2447, 0.09]


def test_rankc_is_the_mean_over_items():
    one, other = np.array([[0, 1, 2], [2, 1, 0]]), np.array([[1, 0, 2], [2, 1, 0]])
    assert rankc(one, other).observed == pytest.approx(100 * (SECOND + THIRD + 1) / 2)


@pytest.mark.parametrize("counts", [(3,), (2, 5, 4), (1, 3)])
def test_rankc_is_that_of_its_definition(counts):
    rng = np.random.default_rng(0)
    one, other = drawn(rng, 40, counts), drawn(rng, 40, counts)
    rows = [
        ([c for c in a if c >= 0], [c for c in b if c >= 0]) for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    found = rankc(one, other)
    assert found.observed == pytest.approx(100 * np.mean([slow_rankc(a, b) for a, b in rows]))
    turned = rankc(other, one)
    assert (turned.observed, turned.chance) == pytest.approx((found.observed, found.chance)), "it has no direction"
    assert rankc(one, one).observed == pytest.approx(100)


def test_rankc_does_not_know_the_names_of_candidates():
    rng = np.random.default_rng(1)
    one, other = drawn(rng, 30, (4,)), drawn(rng, 30, (4,))
    names_NxC = np.array([rng.permutation(4) for _ in range(30)])
    renamed = [np.take_along_axis(names_NxC, ranking, axis=1) for ranking in (one, other)]
    assert rankc(*renamed).observed == pytest.approx(rankc(one, other).observed)


def test_chance_of_rankc_is_that_of_items_drawn_at_random():
    rng = np.random.default_rng(2)
    one = np.array([[0, 1, 2]] * 12 + [[1, 0, 2]] * 5 + [[2, 1, 0]] * 3)
    other = drawn(rng, 20, (3,))
    pairs = [slow_rankc(a, b) for a in one.tolist() for b in other.tolist()]
    assert rankc(one, other).chance == pytest.approx(100 * np.mean(pairs))


def test_a_model_that_ignores_the_item_agrees_by_chance_alone():
    always = np.array([[1, 0, 2]] * 20)
    assert rankc(always, always).chance == pytest.approx(100)
    found = rankc(always, drawn(np.random.default_rng(3), 20, (3,)))
    assert found.chance == pytest.approx(found.observed)


def test_right_and_wrong_by_hand():
    one, other = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 0, 1, 1], bool)
    found = right_and_wrong(one, other)
    assert (found.observed, found.chance) == pytest.approx((60, 52)), "3 of 5; .6 * .6 + .4 * .4"
    assert found.kappa == pytest.approx(100 * 8 / 48)


def test_kappa_where_chance_is_everything():
    every = np.ones(4, bool)
    assert right_and_wrong(every, every).kappa is None
    assert right_and_wrong(every, np.array([1, 0, 1, 0], bool)).kappa == 0.0
    assert right_and_wrong(np.array([1, 0], bool), np.array([0, 1], bool)).kappa == -100.0
