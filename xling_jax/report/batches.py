"""The critical batch size: up to where twice the batch takes half the steps.

By the rule of Zhang et al. 2024 (arXiv 2410.21676) it is the largest batch size at which the steps to a target exceed
linear scaling from small batches by at most 20%. Steps are fitted by S(B) = a + b / B (McCandlish et al. 2018, arXiv
1812.06162) in their logarithms, each replicate by itself; linear scaling starts at the smallest batch B0 that was
tried, so the rule is (a B + b) / (a B0 + b) = 1.2, and B = 1.2 B0 + 0.2 b / a.
"""

import dataclasses

import numpy as np
from scipy import optimize, stats

from xling_jax.report.statistics import LEVEL

OVERHEAD = 0.2


@dataclasses.dataclass(frozen=True)
class CriticalBatch:
    """The critical batch size in examples and its interval over replicates, which is None of a single one.

    It is infinite where steps never bend away from linear scaling. `extrapolated` says that it is larger than any batch
    that was tried: then it is known to be large, and hardly how large.
    """

    value: float
    low: float | None
    high: float | None
    by_replicate: tuple[float, ...]
    extrapolated: bool


def critical_batch(batch_B: np.ndarray, steps_RxB: np.ndarray) -> CriticalBatch:
    """Returns the critical batch size of steps to one target, with its interval.

    The interval is Student's over replicates, taken of 1 / B, which is finite (0) where the critical batch is not.

    Args:
      batch_B: batch sizes in examples, at least three.
      steps_RxB: steps to the target of each replicate (seed); all must have reached it.
    """
    batch_B, steps_RxB = np.asarray(batch_B, float), np.asarray(steps_RxB, float)
    assert len(batch_B) > 2 and (steps_RxB > 0).all(), "three batch sizes, each with the steps it took"
    found = tuple(_critical(batch_B, steps_B) for steps_B in steps_RxB)
    inverse_R = 1 / np.array(found)
    value = 1 / inverse_R.mean() if inverse_R.any() else np.inf
    low = high = None
    if len(found) > 1:
        half = stats.t.isf((1 - LEVEL) / 2, len(found) - 1) * inverse_R.std(ddof=1) / len(found) ** 0.5
        low = float(1 / (inverse_R.mean() + half)) if inverse_R.mean() + half else np.inf
        high = float(1 / (inverse_R.mean() - half)) if inverse_R.mean() > half else np.inf
    return CriticalBatch(float(value), low, high, found, bool(value > batch_B.max()))


def _critical(batch_B: np.ndarray, steps_B: np.ndarray) -> float:
    """Returns the critical batch size of one replicate; a and b are positive, fitted by their logarithms."""
    first = np.argmin(batch_B)
    start = np.log([steps_B.min() / 2, steps_B[first] * batch_B[first]])

    def missed(logs):
        return np.logaddexp(logs[0], logs[1] - np.log(batch_B)) - np.log(steps_B)

    floor, ceiling = [start[0] - 30, start[1] - 10], [np.log(steps_B.min()) + 1, start[1] + 10]
    log_a, log_b = optimize.least_squares(missed, start, bounds=(floor, ceiling), xtol=1e-12, ftol=1e-12).x
    ratio = np.exp(log_b - log_a)
    found = (1 + OVERHEAD) * batch_B[first] + OVERHEAD * ratio
    return float(found) if found < 1e6 * batch_B.max() else np.inf
