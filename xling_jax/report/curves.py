"""Gains against a number (of languages, of parameters): a line on log2, one that saturates, and which predicts better.

Both are fitted by least squares to the means over seeds. A fitted number is a weighted sum of the gains it was fitted
to, the one of the line exactly and that of the saturating curve by the delta method, so its interval is that of a
contrast: it knows that points share test items and seeds. It is one for these numbers N and does not allow for the
curve being wrong; what speaks of that is the error where a point is left out.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from scipy import optimize

from xling_jax.report.statistics import Cell, Estimate, Key, Weights, combined, contrast

FEWEST_POINTS = 4  # of a saturating curve: one is left out, and three numbers are fitted to the others
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # fitted at x, from points x and y


@dataclasses.dataclass(frozen=True)
class Curve:
    """Gains against N. Saturating numbers are None where there are too few points.

    `slope` is in points for each doubling; `at_largest` the gain measured at the largest N, `line` and `saturating`
    what each curve says there; `scale` the N by which 63% of all there is to gain has been gained, infinite where
    the points do not bend. `line_error` and `saturating_error` are root mean squares, in points, of what each
    predicts for a point that it was not fitted to.
    """

    slope: Estimate
    at_largest: Estimate
    line: Estimate
    line_error: float
    saturating: Estimate | None
    scale: float | None
    saturating_error: float | None

    @property
    def saturates(self) -> bool:
        """Says if the saturating curve predicts better."""
        return self.saturating_error is not None and self.saturating_error < self.line_error


def fit_curve(cells: Mapping[Key, Cell], points: Mapping[float, Weights]) -> Curve:
    """Returns both curves.

    Args:
      cells: see `contrast`. Replicates are its seeds: of orders and seeds, see `stacked` and `merged`.
      points: for each N, at least three, above 0, the weights of the gain there.
    """
    x_P = np.array(sorted(points), float)
    assert len(x_P) > 2 and x_P[0] > 0, "a curve needs three points above 0"
    weights = [points[x] for x in sorted(points)]

    def said(weight_P):
        return contrast(cells, combined(zip(map(float, weight_P), weights, strict=True)))

    y_P = np.array([contrast(cells, weight).value for weight in weights])
    design_Px2 = np.stack([np.ones_like(x_P), np.log2(x_P)], axis=1)
    slope_P, line_P = np.linalg.pinv(design_Px2)[1], design_Px2[-1] @ np.linalg.pinv(design_Px2)
    line_error = left_out_error(x_P, y_P, line_at)
    if len(x_P) < FEWEST_POINTS:
        return Curve(said(slope_P), said(np.eye(len(x_P))[-1]), said(line_P), line_error, None, None, None)
    scale = fit_scale(x_P, y_P)
    smallest, largest = scales(x_P)
    slopes_PxK = _slopes(x_P, y_P, scale)
    if not 1.01 * smallest < scale < 0.99 * largest:  # at an end it is not fitted, and does not move with the points
        slopes_PxK = slopes_PxK[:, :2]
    bent = said(slopes_PxK[-1] @ np.linalg.pinv(slopes_PxK))
    error = left_out_error(x_P, y_P, saturating_at)
    scale = scale if scale < 0.99 * largest else np.inf
    return Curve(said(slope_P), said(np.eye(len(x_P))[-1]), said(line_P), line_error, bent, scale, error)


def line_at(at: np.ndarray, x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Returns the line on log2 through points."""
    return np.polynomial.Polynomial.fit(np.log2(x_P), y_P, 1)(np.log2(at))


def saturating_at(at: np.ndarray, x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Returns a + b (1 - exp(-x / c)), fitted to points."""
    scale = fit_scale(x_P, y_P)
    return _bend(at, scale) @ np.linalg.lstsq(_bend(x_P, scale), y_P, rcond=None)[0]


def scales(x_P: np.ndarray) -> tuple[float, float]:
    """Returns the smallest and the largest c that is looked at: what lies beyond, points do not show."""
    return float(x_P[0]) / 4, 10 * float(x_P[-1])


def fit_scale(x_P: np.ndarray, y_P: np.ndarray) -> float:
    """Returns c of the saturating curve through points, within `scales`."""
    low, high = np.log(scales(x_P))

    def left(log):
        design = _bend(x_P, np.exp(log))
        return float(((y_P - design @ np.linalg.lstsq(design, y_P, rcond=None)[0]) ** 2).sum())

    grid = np.linspace(low, high, 60)
    best = int(np.argmin([left(log) for log in grid]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(optimize.minimize_scalar(left, bounds=ends, method="bounded").x))


def left_out_error(x_P: np.ndarray, y_P: np.ndarray, fit: Fit) -> float:
    """Returns the root mean square of what a curve misses at each point, fitted to the others."""
    rest = [np.arange(len(x_P)) != place for place in range(len(x_P))]
    missed = [float(fit(x_P[~kept], x_P[kept], y_P[kept])[0] - y_P[~kept][0]) for kept in rest]
    return float(np.sqrt(np.mean(np.square(missed))))


def _bend(x_P: np.ndarray, scale: float) -> np.ndarray:
    return np.stack([np.ones_like(x_P), -np.expm1(-x_P / scale)], axis=1)


def _slopes(x_P: np.ndarray, y_P: np.ndarray, scale: float) -> np.ndarray:
    """Returns the derivatives of the saturating curve by a, b and log c."""
    design_Px2 = _bend(x_P, scale)
    gained = np.linalg.lstsq(design_Px2, y_P, rcond=None)[0][1]
    by_scale_P = -gained * x_P / scale * np.exp(-x_P / scale)
    return np.concatenate([design_Px2, by_scale_P[:, None]], axis=1)
