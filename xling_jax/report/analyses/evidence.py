"""Numbers of an analysis: sums of scores with their intervals, and what they say together. The only caller of statistics."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from xling_jax.report.analyses.weights import Weights, models, seeds_of
from xling_jax.report.answer import NOT_SUPPORTED, SUPPORTED, UNANSWERED, UNDECIDED
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.table import Number, listed

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    number: Number
    degrees: float
    runs: int

    def p(self, null: float) -> float | None:
        if self.number.value is None or not self.number.error:
            return None
        return float(2 * stats.t.sf(abs(self.number.value - null) / self.number.error, self.degrees))


@dataclasses.dataclass(frozen=True)
class Judged:
    verdict: str
    adjusted: float | None
    needed: str


def estimates(study: CollectedStudy, asked: Sequence[Weights], seeds: Sequence[int] | None = None) -> list[Estimate]:
    return [_estimate(study, weights, seeds) for weights in asked]


def _estimate(study, weights, seeds):
    seeds = seeds_of(study, weights) if seeds is None else seeds
    if not weights or not seeds:
        return Estimate(Number(None, state="none"), 1, 0)
    lacking = [
        f"{e}: {a} seed {s} {c}"
        for (e, a, t, c) in weights
        for s in seeds
        if (a, s, t, c) not in study.experiments[e].items
    ]
    if lacking:
        return Estimate(Number(None, state="missing", note=listed(lacking)), 1, 0)
    by_seed = [
        sum(w * study.experiments[e].items[a, s, t, c].score for (e, a, t, c), w in weights.items()) for s in seeds
    ]
    value = float(np.mean(by_seed))
    n = len(seeds)
    error = float(np.std(by_seed, ddof=1) / math.sqrt(n)) if n > 1 else 1.0
    error = math.hypot(error, 0.3)
    df = max(1, n - 1)
    half = error * stats.t.ppf(0.975, df)
    return Estimate(Number(value, value - half, value + half, error), df, models(study, weights, seeds))


def judge(found, margins=(), least=()):
    margins = margins or [0.0] * len(found)
    least = least or [None] * len(found)
    ps = [e.p(-m) for e, m in zip(found, margins)]
    ps = [p if l is None or p is None else max(p, l) for p, l in zip(ps, least)]
    known = [p for p in ps if p is not None]
    adjusted = iter(stats.false_discovery_control(known)) if known else iter(())
    out = []
    for e, m, p in zip(found, margins, ps):
        a = float(next(adjusted)) if p is not None else None
        if a is None:
            out.append(Judged(UNANSWERED if e.number.value is None else UNDECIDED, None, ""))
        elif e.runs < 2 or a >= 0.05:
            out.append(Judged(UNDECIDED, a, "about 9 seeds would settle it"))
        else:
            out.append(Judged(SUPPORTED if e.number.value > -m else NOT_SUPPORTED, a, ""))
    return out


def bounds(found):
    return tuple(
        np.array([math.nan if getattr(e.number, f) is None else getattr(e.number, f) for e in found])
        for f in ("value", "low", "high")
    )


def from_seeds(values: Mapping[int, float]) -> Number:
    """Returns the mean of one number for each seed with its interval by Student's t; without one of a single seed."""
    if not values:
        return Number(None, state="none")
    value = float(np.mean([*values.values()]))
    if len(values) < 2:
        return Number(value)
    error = float(np.std([*values.values()], ddof=1)) / math.sqrt(len(values))
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    return Number(value, value - half, value + half, error)
