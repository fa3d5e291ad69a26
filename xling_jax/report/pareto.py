"""Which of several ways are worth their cost: the Pareto front of cost and score, given that scores are uncertain.

A way is on the front if nothing that costs no more scores higher. Every pair of ways of which one could beat the other
is a claim on the difference of their scores; pairs are judged together, by Holm's procedure (1979), so that of all
that is said to be sure nothing is wrong in 95 of 100 studies. Ways that no pair decides are maybe on it.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from xling_jax.report.statistics import LEVEL, Estimate, Key

ON, MAYBE, OFF = "on the front", "maybe on the front", "beaten"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a way stands: ON, MAYBE or OFF; `apparent` says if it is on the front of the scores as measured.

    `beaten_by` are those that surely beat it (OFF), or may (MAYBE), the cheapest first.
    """

    state: str
    apparent: bool
    beaten_by: tuple


def pareto_front(
    costs: Mapping[Key, float], difference: Callable[[Key, Key], Estimate], rate: float = 1 - LEVEL
) -> dict[Key, Place]:
    """Returns where each way stands.

    Args:
      costs: of each way, in one unit, known.
      difference: the score of the first way minus that of the second, as a contrast on the same items and seeds.
      rate: how often anything that is said to be sure may be wrong.
    """
    order = sorted(costs, key=lambda name: costs[name])
    rivals = {name: [other for other in order if other != name and costs[other] <= costs[name]] for name in order}
    pairs = [(name, other) for name in order for other in rivals[name]]
    found = {pair: difference(*pair) for pair in pairs}
    sure = _holm([found[pair].p_value for pair in pairs], rate)
    decided = dict(zip(pairs, sure, strict=True))
    places = {}
    for name in order:
        better = [other for other in rivals[name] if found[name, other].value < 0]
        beats = tuple(other for other in better if decided[name, other])
        open_ = tuple(other for other in rivals[name] if not decided[name, other])
        state = OFF if beats else MAYBE if open_ else ON
        places[name] = Place(state, not better, beats or open_)
    return places


def _holm(p_values: list[float], rate: float) -> list[bool]:
    """Returns which hypotheses are rejected: in order of p, as long as p is at most rate / those left."""
    order = np.argsort(p_values, kind="stable")
    sure = [False] * len(p_values)
    for rank, place in enumerate(order):
        if p_values[place] > rate / (len(p_values) - rank):
            break
        sure[place] = True
    return sure
