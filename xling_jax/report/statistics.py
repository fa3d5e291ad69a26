"""Paired gains between two arms, with an interval that knows what was sampled: items and seeds.

Every metric is a ratio of sums over test items, 100 * sum(num) / sum(den), so a resampled test set
is a vector of item counts, and thousands of resampled scores are one matrix product.

The interval is a percentile bootstrap (Efron & Tibshirani 1993, ch. 13) with two crossed levels:

- *Items.* Item ids are drawn with replacement, once for both arms, all seeds and all languages:
  translations of one sentence are not independent, and neither are two models' answers to it
  (Koehn 2004 for the paired test; Field & Welsh 2007 for drawing whole clusters).
- *Seeds.* A seed is a training run of each arm. Of S seeds, S - 1 are drawn with replacement, the same
  for both arms. Drawing S would make the variance between seeds too small by (S - 1) / S, which
  is half of it at two seeds; drawing S - 1 makes it unbiased (Rao & Wu 1988).

Drawing both levels independently is the pigeonhole bootstrap (Owen 2007): it counts noise that belongs
to one item under one seed up to three times, so it errs on the wide side where seeds hardly differ.

Limits. With two or three seeds the variance between seeds is estimated, without bias, from one or two
differences, and a percentile interval has no Student's t to pay for that. Coverage of a
nominal 95 % in 1500 simulated studies (300 items, 4 languages), by how many times the error from seeds is that
from items:

    seeds   none   equal   twice   four times
      2     99 %    98 %    90 %      75 %
      3     99 %    99 %    94 %      86 %
      5     99 %    99 %    96 %      90 %

So at two seeds the interval is too short exactly where training is unstable; the report says so. With
one seed the interval speaks of test items only. Intervals are for one number each, not simultaneous.
"""

import dataclasses

import numpy as np

DRAWS = 2000
LEVEL = 0.95
CHUNK = 2**22  # numbers of the weight matrix held at a time: 32 MB


@dataclasses.dataclass(frozen=True)
class Sums:
    """What each test item adds to numerator and denominator of a metric, for one arm."""

    num_SxGxN: np.ndarray
    den_SxGxN: np.ndarray

    def __post_init__(self):
        assert self.num_SxGxN.shape == self.den_SxGxN.shape, "numerators and denominators must match"
        assert self.num_SxGxN.ndim == 3, "axes are seeds, languages, items"


@dataclasses.dataclass(frozen=True)
class Gain:
    """A difference of two arms in points, its interval, and its standard error over the draws."""

    value: float
    low: float
    high: float
    error: float


def scores(weights_RxN: np.ndarray, sums: Sums) -> np.ndarray:
    """Returns scores_RxSxG in percent, item n counted `weights[r, n]` times.

    Where no drawn item says anything about a language, its score is 0: the convention of F1 for
    nothing predicted and nothing to find.
    """
    num_RxSxG = np.tensordot(weights_RxN, sums.num_SxGxN, axes=(1, 2))
    den_RxSxG = np.tensordot(weights_RxN, sums.den_SxGxN, axes=(1, 2))
    return 100 * np.divide(num_RxSxG, den_RxSxG, out=np.zeros_like(num_RxSxG), where=den_RxSxG > 0)


def draw_counts(rng: np.random.Generator, draws: int, size: int, among: int) -> np.ndarray:
    """Returns counts[draws, among]: how often each of `among` things is drawn in `size` trials."""
    drawn = rng.integers(among, size=(draws, size)) + among * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * among).reshape(draws, among).astype(float)


def bootstrap_gains(first: Sums, second: Sums, averages_AxG: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Returns gains_RxA of `first` over `second` in `draws` resampled studies."""
    rng = np.random.default_rng(seed)
    seeds, _, items = first.num_SxGxN.shape
    picked_RxS = draw_counts(rng, draws, seeds - 1, seeds) / (seeds - 1) if seeds > 1 else np.ones((draws, 1))
    chunk = max(1, CHUNK // items)
    gains = []
    for start in range(0, draws, chunk):
        picked = picked_RxS[start : start + chunk]
        weights_RxN = draw_counts(rng, len(picked), items, items)
        gain_RxSxG = scores(weights_RxN, first) - scores(weights_RxN, second)
        gains.append(np.einsum("rs,rsg->rg", picked, gain_RxSxG) @ averages_AxG.T)
    return np.concatenate(gains)


def paired_gains(first: Sums, second: Sums, averages_AxG: np.ndarray, seed: int = 0, draws: int = DRAWS) -> list[Gain]:
    """Returns the gain of `first` over `second` for each average over languages.

    Args:
      first: the arm that is hoped to be better.
      second: the arm it is compared with; same seeds, languages and items.
      averages_AxG: weights of the languages in each average; each row sums to 1.
      seed: of the random draws; the same seed gives the same interval, and swapped arms its mirror.
      draws: number of resampled studies.
    """
    assert first.num_SxGxN.shape == second.num_SxGxN.shape, "arms must share seeds, languages and items"
    ones_1xN = np.ones((1, first.num_SxGxN.shape[2]))
    gain_SxG = (scores(ones_1xN, first) - scores(ones_1xN, second))[0]
    value_A = averages_AxG @ gain_SxG.mean(axis=0)
    gains_RxA = bootstrap_gains(first, second, averages_AxG, seed, draws)
    tail = (1 - LEVEL) / 2
    low_A, high_A = np.quantile(gains_RxA, [tail, 1 - tail], axis=0)
    error_A = gains_RxA.std(axis=0, ddof=1)
    return [Gain(*map(float, numbers)) for numbers in zip(value_A, low_A, high_A, error_A, strict=True)]
