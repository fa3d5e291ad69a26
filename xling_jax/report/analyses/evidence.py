"""Numbers of an analysis: sums of scores with their intervals, and what claims on them say together."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from xling_jax.report import claims, statistics
from xling_jax.report.analyses.weights import Weights, models, seeds_of
from xling_jax.report.answer import UNANSWERED
from xling_jax.report.claims import UNDECIDED
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.curves import Curve, fit_curve
from xling_jax.report.intervals import lacking, measured, number
from xling_jax.report.power import MOST_SEEDS, advice, seeds_needed
from xling_jax.report.statistics import LEVEL, contrast, merged, stacked
from xling_jax.report.table import NO_SEED, NONE, Number, listed

RATE = 1 - LEVEL
ROUNDING = 1e-9  # points


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A sum of scores as a table shows it, what it rests on, and how many different sets of models its seeds are.

    `found` is None where a cell is missing.
    """

    number: Number
    found: statistics.Estimate | None
    runs: int


@dataclasses.dataclass(frozen=True)
class Judged:
    """The verdict on a claim, its p-value and its interval, corrected for the claims that it was judged with.

    `needed`: of an undecided claim, how many seeds would see what is estimated; `advice` says it in a sentence.
    """

    verdict: str
    adjusted: float | None
    number: Number
    needed: Number = NONE
    advice: str = ""


def estimates(study: CollectedStudy, asked: Sequence[Weights], seeds: Sequence[int] | None = None) -> list[Estimate]:
    """Returns sums of scores, each with its own 95% interval, over all seeds or those that are given."""
    return [_estimate(study, weights, seeds_of(study, weights) if seeds is None else seeds) for weights in asked]


def _estimate(study: CollectedStudy, weights: Weights, seeds: Sequence[int]) -> Estimate:
    if not weights:
        return Estimate(NONE, None, 0)
    if not seeds:
        return Estimate(Number(None, state="none", note=NO_SEED), None, 0)
    experiments = [study.experiments[name] for name in dict.fromkeys(place[0] for place in weights)]
    lacks = lacking(experiments, weights, seeds)
    if lacks:
        state = "not finite" if all(lacks.values()) else "missing"
        return Estimate(Number(None, state=state, note=listed([*lacks])), None, 0)
    found = contrast(measured(experiments, weights, seeds), weights)
    if abs(found.value) < ROUNDING:  # arms that answer alike differ by how floats add up, and by nothing else
        found = dataclasses.replace(found, value=0.0)
    return Estimate(number(found), found, models(study, weights, seeds))


def over_replicates(study: CollectedStudy, parts: Sequence[Weights]) -> Estimate:
    """Returns the mean of sums, of which each is a replicate that was drawn, with the interval over replicates.

    What they share, an arm of all orders of languages say, is no part of what was drawn. Of less than two replicates,
    or where languages have items of their own, there is none.
    """
    found = estimates(study, parts)
    lacking_one = next((one for one in found if one.found is None), None)
    if lacking_one or len(found) < 2:
        return lacking_one or Estimate(NONE, None, 0)
    cells = [_summed(study, weights) for weights in parts]
    known = [cell for cell in cells if cell is not None]
    if len(known) < len(cells):
        return Estimate(Number(None, state="not parallel"), None, 0)
    made = contrast({"": stacked(known)}, {"": 1.0})
    return Estimate(number(made), made, len(parts))


def _summed(study: CollectedStudy, weights: Weights) -> statistics.Cell | None:
    """Returns a sum of scores as one cell, mean over seeds; None where its languages have different items."""
    seeds = seeds_of(study, weights)
    experiments = [study.experiments[name] for name in dict.fromkeys(place[0] for place in weights)]
    cells = measured(experiments, weights, seeds)
    place_M = next(iter(cells.values())).place_M
    if not all(np.array_equal(cell.place_M, place_M) for cell in cells.values()):
        return None
    score_S = np.sum([weight * cells[key].score_S for key, weight in weights.items()], axis=0)
    pull_SxM = np.sum([weight * cells[key].pull_SxM for key, weight in weights.items()], axis=0)
    return merged(statistics.Cell(score_S, pull_SxM, place_M), [0] * len(seeds))


def fitted(points: Mapping[float, Weights], study: CollectedStudy) -> Curve | None:
    """Returns the curves through gains at some numbers; None of less than three above 0, or where a cell is missing."""
    weights = [*points.values()]
    if len(points) < 3 or min(points) <= 0 or any(one.found is None for one in estimates(study, weights)):
        return None
    keys = dict.fromkeys(place for one in weights for place in one)
    seeds = seeds_of(study, dict.fromkeys(keys, 1.0))
    experiments = [study.experiments[name] for name in dict.fromkeys(place[0] for place in keys)]
    return fit_curve(measured(experiments, keys, seeds), points) if seeds else None


def judge(found: Sequence[Estimate], margins: Sequence[float] = (), alone: bool = False) -> list[Judged]:
    """Returns the verdicts on claims that sums lie above 0, or above minus a margin.

    Args:
      found: the sums.
      margins: one for each; () for none.
      alone: the first is the headline, and judged alone; the others are a family (see `report/claims.py`).
    """
    margins = margins or [0.0] * len(found)
    moved = {
        n: estimate.found.shifted(margin)
        for n, (estimate, margin) in enumerate(zip(found, margins, strict=True))
        if estimate.found
    }
    families = [[n for n in moved if n == 0], [n for n in moved if n]] if alone else [[*moved]]
    judged: dict[int, claims.Judged] = {}
    for family in families:
        runs = {n: found[n].runs for n in family}
        judged |= claims.judge_family({n: moved[n] for n in family}, runs) if family else {}
    return [
        _judged(estimate, judged[n], margins[n]) if n in judged else Judged(UNANSWERED, None, estimate.number)
        for n, estimate in enumerate(found)
    ]


def _judged(estimate: Estimate, judged: claims.Judged, margin: float) -> Judged:
    own, found = estimate.number, estimate.found
    assert found is not None, "what is judged was estimated"
    shown = dataclasses.replace(own, low=judged.low - margin, high=judged.high - margin)
    if judged.verdict != UNDECIDED or estimate.runs < 2:
        return Judged(judged.verdict, judged.adjusted, shown)
    gain = found.value + margin
    seeds = seeds_needed(gain, found.noise, level=judged.level)
    needed = Number(None, state=f"over {MOST_SEEDS}") if seeds is None else Number(float(seeds), digits=0)
    return Judged(judged.verdict, judged.adjusted, shown, needed, advice(gain, found.noise, judged.level))


def bounds(found: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns values and both ends of their intervals; NaN where a cell is missing."""
    numbers = [(e.number.value, e.number.low, e.number.high) for e in found]
    value_N, low_N, high_N = np.array(numbers, float).reshape(-1, 3).T  # None becomes NaN
    return value_N, low_N, high_N


def from_seeds(values: Mapping[int, float]) -> Number:
    """Returns the mean of one number for each seed with its interval by Student's t; of one seed, without."""
    if not values:
        return NONE
    value = float(np.mean([*values.values()]))
    if len(values) < 2:
        return Number(value)
    error = float(np.std([*values.values()], ddof=1)) / math.sqrt(len(values))
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    return Number(value, value - half, value + half, error)
