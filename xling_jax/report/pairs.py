"""Gain against typological distance over pairs of source and target language.

Pairs share languages: all gains from a source share what its model is good at, all gains to a target share how hard
it is, and its baseline. Counting pairs as independent makes the interval far too short (docs/statistics.md has the
simulation). Here each source and each target has an effect of its own, and the slope is what is left within:

    gain_st = source_s + target_t + slope * distance_st + error

With P pairs, Student's t with P - sources - targets degrees of freedom is exact for whatever the effects are, if
errors are normal and alike, however few languages there are. Errors clustered two ways (Cameron, Gelbach & Miller
2011) need more languages than there are, and permuting languages (QAP, Krackhardt 1988) tests a stronger hypothesis;
both are in the simulation. The price is that distance has to vary within sources and within targets: that some
languages are far from all others says nothing here, as they differ from others in much else, too.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from xling_jax.report.statistics import LEVEL


@dataclasses.dataclass(frozen=True)
class PairFit:
    """The slope in points of gain for each unit of distance, its 95% interval, and the p-value of no slope.

    `weights` make the slope of the gains: as weights of a contrast they give the interval that speaks of test items and
    seeds for these languages, where `low` and `high` speak of other pairs of languages.
    """

    slope: float
    low: float
    high: float
    p_value: float
    df: int
    weights: np.ndarray


def fit_pairs(
    gain_P: np.ndarray, distance_P: np.ndarray, sources: Sequence[Hashable], targets: Sequence[Hashable]
) -> PairFit | None:
    """Returns the slope over pairs, within sources and targets; None where pairs are too few or distance never varies.

    Args:
      gain_P: in points, mean over seeds.
      distance_P: of source and target.
      sources, targets: the languages of each pair; a pair of a language with itself is not one.
    """
    assert all(source != target for source, target in zip(sources, targets, strict=True)), "a pair is of two languages"
    effects = np.concatenate([_indicators(sources), _indicators(targets)], axis=1)
    within_P = distance_P - effects @ np.linalg.lstsq(effects, distance_P, rcond=None)[0]
    df = len(gain_P) - int(np.linalg.matrix_rank(effects)) - 1
    spread = float(within_P @ within_P)
    if df < 1 or spread < 1e-9 * max(float(distance_P @ distance_P), 1e-300):
        return None
    weights_P = within_P / spread
    slope = float(weights_P @ gain_P)
    rest_P = gain_P - slope * distance_P
    rest_P = rest_P - effects @ np.linalg.lstsq(effects, rest_P, rcond=None)[0]
    error = float(rest_P @ rest_P / df / spread) ** 0.5
    half = float(stats.t.isf((1 - LEVEL) / 2, df)) * error
    p_value = float(2 * stats.t.sf(abs(slope) / error, df)) if error else float(slope == 0)
    return PairFit(slope, slope - half, slope + half, p_value, df, weights_P)


def _indicators(names: Sequence[Hashable]) -> np.ndarray:
    """Returns 1 where a pair has a language, pairs by languages."""
    return np.array([[name == other for other in dict.fromkeys(names)] for name in names], float)
