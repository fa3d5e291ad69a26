"""Verdicts by hand, intervals that go with them, and how many claims are false in simulated studies."""

import numpy as np
import pytest

from benchmarks.simulated import Condition, mean_gain, studies
from xling_jax.report.claims import NOT_SUPPORTED, SUPPORTED, UNDECIDED, judge, judge_family
from xling_jax.report.statistics import Estimate, Noise


def claim(value: float, seeds: int = 1000) -> Estimate:
    """A claim in standard errors, with noise of items alone and no end of items: p-values are those of the normal."""
    return Estimate(value, (value,) * seeds, Noise(seeds, 0.0, 0.0, 1.0, seeds - 1.0, 1e12))


# Two-sided p-values 0.001, 0.008, 0.039, 0.041 and 0.042 of Benjamini & Hochberg's own kind of example, and 0.5.
Z = {"a": 3.2905, "b": 2.6521, "c": 2.0642, "d": -2.0436, "e": 2.0335, "f": 0.6745}


def test_a_family_by_hand():
    """p m / rank: 0.006, 0.024, 0.078, 0.0615, 0.0504, 0.5; from the largest down no larger: c, d and e 0.0504."""
    judged = judge_family({name: claim(z) for name, z in Z.items()}, dict.fromkeys(Z, 2))
    assert {name: one.adjusted for name, one in judged.items()} == pytest.approx(
        {"a": 0.006, "b": 0.024, "c": 0.0504, "d": 0.0504, "e": 0.0504, "f": 0.5}, rel=0.002
    )
    assert [one.verdict for one in judged.values()] == [SUPPORTED, SUPPORTED, *[UNDECIDED] * 4]
    assert [one.level for one in judged.values()] == [pytest.approx(1 - 0.05 * 2 / 6)] * 6, "2 of 6 decided"
    apart = {name: judge(claim(z), 2) for name, z in Z.items()}
    assert [one.verdict for one in apart.values()] == [*[SUPPORTED] * 3, NOT_SUPPORTED, SUPPORTED, UNDECIDED]
    assert apart["a"].level == pytest.approx(0.95)


@pytest.mark.parametrize("method", ["bh", "by"])
def test_intervals_go_with_verdicts(method):
    """A decided claim's interval leaves zero out, an undecided one's holds it, for any p-values."""
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(60):
        claims = {name: claim(float(z)) for name, z in enumerate(rng.normal(1.0, 2.0, size=8))}
        for one in judge_family(claims, dict.fromkeys(claims, 2), method).values():
            assert (one.low <= 0 <= one.high) == (one.verdict == UNDECIDED)
            decided += one.verdict != UNDECIDED
    assert 30 < decided < 450, "both kinds are there"


def test_any_dependence_costs_a_sum_of_reciprocals():
    """Of six claims 1 + 1/2 + ... + 1/6 = 2.45 times."""
    judged = judge_family({name: claim(z) for name, z in Z.items()}, dict.fromkeys(Z, 2), "by")
    assert judged["a"].adjusted == pytest.approx(2.45 * 0.006, rel=0.002)
    assert [one.verdict for one in judged.values()] == [SUPPORTED, *[UNDECIDED] * 5]


def test_what_was_trained_once_is_undecided_and_not_counted():
    judged = judge_family({"once": claim(9.0), "twice": claim(2.1)}, {"once": 1, "twice": 2})
    assert (judged["once"].verdict, judged["twice"].verdict) == (UNDECIDED, SUPPORTED)
    assert judged["twice"].family == 1
    assert judge(claim(9.0), 1).verdict == UNDECIDED
    assert judge_family({}, {}) == {}


def false_share(condition: Condition, true: int, count: int) -> tuple[float, float]:
    """Returns the mean share of false claims among those decided, and of true ones that are seen, in percent.

    Ten arms are compared with an eleventh; the first ones gain 12 points, the others nothing.
    """
    wrong, seen = [], []
    last = condition.arms - 1
    for cells, _ in studies(condition, count, gains=(0.12,) * true):
        claims = {arm: mean_gain(cells, condition, arm, last) for arm in range(last)}
        judged = judge_family(claims, dict.fromkeys(claims, condition.seeds))
        decided = [arm for arm, one in judged.items() if one.verdict != UNDECIDED]
        good = [arm for arm in decided if arm < true and judged[arm].verdict == SUPPORTED]
        wrong.append((len(decided) - len(good)) / max(len(decided), 1))
        seen.append(len(good) / max(true, 1))
    return 100 * float(np.mean(wrong)), 100 * float(np.mean(seen))


@pytest.mark.parametrize("true", [0, 3])
def test_false_claims_are_rare(true):
    """150 studies of ten claims that share items, seeds and a baseline: 5%, and two standard errors of 2% beside."""
    condition = Condition("family", seeds=5, ratio=1.0, arms=11, gain=0.0, languages=1, items=150)
    wrong, seen = false_share(condition, true, 150)
    assert wrong <= 9.0
    assert seen > 30.0 or not true, "it is easy to be never wrong and say nothing"


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "ratio"), [(2, 1.0), (3, 1.0), (5, 0.5), (5, 2.0)])
@pytest.mark.parametrize("true", [0, 3, 7])
def test_false_claims_of_many_studies(seeds, ratio, true):
    """2000 studies: 5%, and two standard errors of half a percent beside."""
    condition = Condition("families", seeds=seeds, ratio=ratio, arms=11, gain=0.0, languages=2, items=200)
    assert false_share(condition, true, 2000)[0] <= 6.0
