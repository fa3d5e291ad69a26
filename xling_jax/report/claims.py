"""Verdicts on claims, alone or in a family, with intervals that go with them.

A claim says that a contrast is above zero. One that a study declares as its headline stands alone. Of the others, some
look true by chance, so they are judged as a family: the rate of false ones among those that are decided is
held at 5% by Benjamini & Hochberg (1995), which holds it under independence and positive dependence; claims on shared
items and seeds are of that kind where they all compare with one baseline, and simulated ones stay below
(docs/statistics.md). Benjamini & Yekutieli (2001) hold it under any dependence, and see less.

Intervals go with the verdicts: of m claims of which R are decided, each gets the interval of level 1 - 0.05 R / m
(at least one counted), after Benjamini & Yekutieli 2005. Those of decided claims leave zero out, the others hold it,
and of the intervals of decided claims on average 95% hold the truth. They are wider than those of one claim at a time.

What was trained only once is undecided whatever its interval, as that speaks of test items alone, and is not counted
in the family.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy import stats

from xling_jax.report.statistics import LEVEL, Estimate, Key

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
UNDECIDED = "undecided at this size"
METHODS = {"bh": "Benjamini & Hochberg", "by": "Benjamini & Yekutieli"}


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim's verdict. `adjusted` is the smallest rate of false claims at which it would be decided.

    `level` is that of the interval from `low` to `high`; `family` how many claims were judged together.
    """

    verdict: str
    p_value: float
    adjusted: float
    low: float
    high: float
    level: float
    family: int


def judge(claim: Estimate, pairs: int) -> Judged:
    """Returns the verdict on a claim that stands alone. `pairs` says how many different pairs of models it rests on."""
    return judge_family({"": claim}, {"": pairs})[""]


def judge_family(
    claims: Mapping[Key, Estimate], pairs: Mapping[Key, int], method: str = "bh", rate: float = 1 - LEVEL
) -> dict[Key, Judged]:
    """Returns the verdicts on claims of which at most a share of `rate` of those decided is expected to be false.

    Args:
      claims: by name.
      pairs: how many different pairs of models each rests on; what was trained once is not counted.
      method: a key of METHODS.
      rate: of false discoveries.
    """
    assert method in METHODS, f"{method} is none of {' '.join(METHODS)}"
    counted = [name for name in claims if pairs[name] > 1]
    values = np.array([claims[name].p_value for name in counted])
    adjusted = dict(zip(counted, stats.false_discovery_control(values, method=method) if counted else (), strict=True))
    decided = sum(value <= rate for value in adjusted.values())
    family = len(counted)
    shrunk = float(np.sum(1 / np.arange(1, family + 1))) if method == "by" else 1.0
    level = 1 - rate * max(decided, 1) / (max(family, 1) * shrunk)
    found = {}
    for name, claim in claims.items():
        low, high = claim.interval(level)
        verdict = UNDECIDED
        if adjusted.get(name, 1.0) <= rate:
            verdict = SUPPORTED if claim.value > 0 else NOT_SUPPORTED
        found[name] = Judged(verdict, claim.p_value, adjusted.get(name, 1.0), low, high, level, family)
    return found
