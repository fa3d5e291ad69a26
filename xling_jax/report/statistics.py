"""Contrasts of scores, each with an interval that knows what was sampled: test items and training runs.

A *cell* is what is scored by itself, such as an arm in a language; its score is a ratio of sums over test items,
100 * sum(num) / sum(den), one for each seed. A *contrast* is any weighted sum of cells, of the mean over seeds:

    cells = {("english", "qnd"): measure(num_SxM, den_SxM, place_M), ...}      keys are yours; seeds in one order
    gain = contrast(cells, {("english", "qnd"): 1.0, ("none", "qnd"): -1.0})
    gain.value, gain.interval(), gain.interval(0.99), gain.p_value, gain.noise.training

So gains, averages over languages, differences of gains (size by multilinguality) and slopes against known numbers
are all `contrast` with other weights, and `combined` adds up weights. Cells of several experiments and models can stand
in one contrast: items are joined by their places, which `item_places` makes of ids, the same everywhere; seeds are
paired in the order given. An item with one place counts as one thing drawn, in all languages, arms and seeds
(translations of a sentence, and two models' answers to it, are not independent).

Two levels are crossed, as cases and readers are in diagnostic studies (Obuchowski & Rockette 1995; Hillis 2007, 2014).
With S seeds, and u_n the pull of item n on the contrast (its influence in the delta method, summed over cells):

    between      B, the variance between seeds of the contrast; it holds training and item-by-seed noise
    interaction  W = sum_n of the variance between seeds of u_n, the item-by-seed noise of one seed
    items        C = N/(N-1) sum_n (mean over seeds of u_n)^2 - W/S, the noise of items that all seeds share

The variance of the contrast is b + C with b = B / S: what is counted in both is subtracted once. B has S - 1 degrees
of freedom (df), C as many as the fourth moments of its items say (a normal item counts one, a rare one less).
Satterthwaite's Student t fails here: at two seeds it covers 87 to 95%. Banerjee's interval (1960),
half^2 = t_B^2 b + t_C^2 C, never covers less than asked, and up to 98.7% at two seeds. What is used lies between them:

    half^2 = t_C^2 (b + C - w) + t_B^2 w,    w = b^3 / (b^2 + k G^2),    G = C + W / (3 S),
    k = min(0.2, 0.06 df_B) min(1, 20 alpha)^(5/df_B)

so that noise between seeds pays for its few df where there is more of it than a third of the items', and hardly where
there is less. It is exact without noise from seeds, and where there is nothing else. That much W of b is known from all
items allows for the third of it in G. And half^2 is never below t_C^2 (C + W/S) / 2: seeds that agree by chance do not
unsay what the items say. (All of it, not half, would hold the truth up to 98.9 times of 100.)
For normal noise 95% intervals hold the truth 93.7 to 96.8 times of 100 at two seeds, 95.0 to 96.7 at three and 95.0
to 95.9 at five, whatever the parts are (tests/report/test_statistics.py integrates it). k falls with alpha, so that
p-values stay honest where many claims ask for small ones. docs/statistics.md has simulated studies, and what fails.

With one seed the interval speaks of test items only, and who shows it has to say so. Nothing helps against seeds
that are no sample of trainings: two seeds see instability only if it strikes one of them.

`pooled` asks for less: if all arms vary alike between seeds, A arms at S seeds give (A - 1)(S - 1) df.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import special  # its quantiles are the same as those of scipy.stats and two hundred times as fast

LEVEL = 0.95
BLEND = 0.06, 0.2  # k at 95% and below, for each df and at most; and the share of W / S in G. Chosen so that intervals
SHARED = 1 / 3  # err as far on the wide side as on the narrow one, whatever the parts of the noise
FLOOR = 0.5  # of the variance of the items, that an interval has at least
SMALLEST_P = 1e-12
HALVINGS = 45  # of the logarithm of a p-value, from log(SMALLEST_P): to 1e-12 of itself

Key = TypeVar("Key", bound=Hashable)
Weights = Mapping[Key, float]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A score in percent for each seed, and how far each test item pulls it, in points.

    `place_M` are numbers that tell items apart, ascending; cells that have an item in common have its number.
    """

    score_S: np.ndarray
    pull_SxM: np.ndarray
    place_M: np.ndarray


class Parts(NamedTuple):
    """The variance of a mean over seeds in squared points, as `half_width` needs it: numbers, or arrays of them.

    `seeds` is b, between seeds; `items` C, which all seeds share; `within` W / S, what items under each seed have of b.
    """

    seeds: np.ndarray | float
    items: np.ndarray | float
    within: np.ndarray | float
    seeds_df: np.ndarray | float
    items_df: np.ndarray | float


@dataclasses.dataclass(frozen=True)
class Noise:
    """Where the variance of a contrast comes from, in squared points.

    `between` is the variance of one seed's contrast between seeds, `interaction` the part of it that is from the items
    that were asked; `items` the variance that all seeds share. With one seed, `items` is all that is known.
    """

    seeds: int
    between: float
    interaction: float
    items: float
    seeds_df: float
    items_df: float

    @property
    def training(self) -> float:
        """The variance of one seed's contrast if all items there are were asked."""
        return max(self.between - self.interaction, 0.0)

    @property
    def parts(self) -> Parts:
        """Of the mean over seeds."""
        between, within = self.between / self.seeds, self.interaction / self.seeds
        return Parts(between, self.items, within, self.seeds_df, self.items_df)

    @property
    def variance(self) -> float:
        """Of the mean over seeds."""
        return self.between / self.seeds + self.items

    def half_width(self, level: float = LEVEL) -> float:
        """Returns half the width of the interval at a level."""
        return float(half_width(1 - level, self.parts))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A contrast in points: the mean over seeds, the value of each seed, and its noise.

    `bounds`: what it can be at least and at most, as scores lie between 0 and 100; intervals end there.
    """

    value: float
    by_seed: tuple[float, ...]
    noise: Noise
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def error(self) -> float:
        """The standard error."""
        return self.noise.variance**0.5

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Returns the ends of the interval at a level."""
        half = self.noise.half_width(level)
        return max(self.value - half, self.bounds[0]), min(self.value + half, self.bounds[1])

    def shifted(self, by: float) -> "Estimate":
        """Returns the contrast with so many points more."""
        low, high = self.bounds
        return dataclasses.replace(self, value=self.value + by, bounds=(low + by, high + by))

    @functools.cached_property
    def p_value(self) -> float:
        """The smallest alpha whose interval leaves zero out; 1 where nothing differs, never below SMALLEST_P."""
        return float(p_values(self.value, self.noise.parts))


def item_places(namespace: str, ids: Iterable[str]) -> np.ndarray:
    """Returns a number for each item id, the same wherever the id is met; `namespace` tells test sets apart."""
    digests = (hashlib.blake2b(f"{namespace}\n{name}".encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(b"".join(digests), dtype=np.int64)


def measure(num_SxM: np.ndarray, den_SxM: np.ndarray, place_M: np.ndarray) -> Cell:
    """Returns a cell of what each item adds to numerator and denominator of its score.

    A score is 0 where nothing was predicted and nothing was to be found, the convention of F1, and no item pulls it.
    """
    assert num_SxM.shape == den_SxM.shape and num_SxM.shape[1:] == place_M.shape, "axes are seeds, items"
    order_M = np.argsort(place_M)
    total_Sx1 = den_SxM.sum(axis=1, keepdims=True)
    each_Sx1 = np.divide(100, total_Sx1, out=np.zeros_like(total_Sx1, float), where=total_Sx1 > 0)
    score_Sx1 = num_SxM.sum(axis=1, keepdims=True) * each_Sx1
    pull_SxM = num_SxM * each_Sx1 - score_Sx1 * den_SxM * each_Sx1 / 100
    return Cell(score_Sx1[:, 0], pull_SxM[:, order_M], place_M[order_M])


def combined(parts: Iterable[tuple[float, Weights]]) -> dict[Key, float]:
    """Returns the weights of a weighted sum of contrasts: combined([(1, gain), (-1, other)]) is their difference."""
    found: dict[Key, float] = {}
    for factor, weights in parts:
        for key, weight in weights.items():
            found[key] = found.get(key, 0.0) + factor * weight
    return found


def stacked(parts: Sequence[Cell]) -> Cell:
    """Returns one cell with the seeds of several as its own, one after another: orders of languages, say, by seeds."""
    assert all(_same(parts[0].place_M, part.place_M) for part in parts), "replicates answer the same items"
    scores, pulls = ([getattr(part, name) for part in parts] for name in ("score_S", "pull_SxM"))
    return Cell(np.concatenate(scores), np.concatenate(pulls), parts[0].place_M)


def merged(cell: Cell, groups: Sequence[Hashable]) -> Cell:
    """Returns a cell whose replicates are means over groups of seeds, in the order of their names.

    Replicates must be drawn apart. Seeds of one order of languages share the order: where orders are what was
    sampled, merge by order; what shares runs (a baseline of all orders) is then shared by all and not sampled.
    """
    names = sorted(set(groups), key=str)
    mean_RxS = np.array([[group == name for group in groups] for name in names], float)
    mean_RxS /= mean_RxS.sum(axis=1, keepdims=True)
    return Cell(mean_RxS @ cell.score_S, mean_RxS @ cell.pull_SxM, cell.place_M)


def contrast(cells: Mapping[Key, Cell], weights: Weights) -> Estimate:
    """Returns a weighted sum of cells, mean over seeds.

    Args:
      cells: all with the same seeds in the same order; those without a weight are not looked at.
      weights: of cells. They are known numbers: weights that were chosen by looking at scores make it too narrow.
    """
    chosen = [(cells[key], weight) for key, weight in weights.items() if weight]
    assert len({len(cell.score_S) for cell, _ in chosen}) == 1, "cells of a contrast must have the same seeds"
    value_S = np.sum([weight * cell.score_S for cell, weight in chosen], axis=0)
    bounds = (100.0 * sum(min(weight, 0) for _, weight in chosen), 100.0 * sum(max(weight, 0) for _, weight in chosen))
    return Estimate(float(value_S.mean()), tuple(map(float, value_S)), noise_of(value_S, _joined(chosen)), bounds)


def pooled(cells: Mapping[Key, Cell], parts: Sequence[tuple[float, Weights]]) -> Estimate:
    """Returns a contrast of parts that vary alike between seeds, such as arms: their noise is estimated together.

    It has (parts - 1)(seeds - 1) degrees of freedom where `contrast` has seeds - 1, and is wrong where one arm is
    less stable than the others, because its noise is spread over all of them (docs/statistics.md says how wrong).

    Args:
      cells: see `contrast`.
      parts: factors, which sum to 0, and the weights of each part; parts with factor 0 help to estimate.
    """
    factor_K = np.array([factor for factor, _ in parts])
    assert len(parts) > 1 and abs(factor_K.sum()) < 1e-9, "parts are compared: factors sum to 0"
    found = contrast(cells, combined(parts))
    seeds = found.noise.seeds
    if seeds < 2:
        return found
    score_KxS = np.array([contrast(cells, weights).by_seed for _, weights in parts])
    rest_KxS = score_KxS - score_KxS.mean(axis=0) - score_KxS.mean(axis=1, keepdims=True) + score_KxS.mean()
    df = (len(parts) - 1) * (seeds - 1)
    between = float(factor_K @ factor_K) * float((rest_KxS**2).sum()) / df
    return dataclasses.replace(found, noise=dataclasses.replace(found.noise, between=between, seeds_df=float(df)))


def noise_of(value_S: np.ndarray, pull_SxN: np.ndarray) -> Noise:
    """Returns the noise of a mean over seeds, of each seed's value and the pull of each item on it."""
    seeds, items = pull_SxN.shape
    mean_N = pull_SxN.mean(axis=0)
    squared_N = mean_N**2
    total = float(squared_N.sum())
    whole = total * items / max(items - 1, 1)
    spread = float(squared_N @ squared_N) - total**2 / items
    items_df = max(min(2 * total**2 / spread if spread > 0 else np.inf, items - 1.0), 1.0)
    if seeds == 1:
        return Noise(1, 0.0, 0.0, whole, 1.0, items_df)
    between, interaction = float(value_S.var(ddof=1)), float(pull_SxN.var(axis=0, ddof=1).sum())
    return Noise(seeds, between, interaction, max(whole - interaction / seeds, 0.0), seeds - 1.0, items_df)


def half_width(alpha: np.ndarray | float, parts: Parts) -> np.ndarray:
    """Returns half the widths of intervals that miss with probability alpha; see the head of the module."""
    seeds, items, within, seeds_df, items_df = (np.asarray(part, float) for part in parts)
    k = np.minimum(BLEND[0] * seeds_df, BLEND[1]) * np.minimum(1, 20 * np.asarray(alpha)) ** (5 / seeds_df)
    under = seeds**2 + k * (items + SHARED * within) ** 2
    of_seeds = np.divide(seeds**3, under, out=np.zeros(np.broadcast(seeds, under).shape), where=under > 0)
    wide, narrow = -special.stdtrit(seeds_df, alpha / 2), -special.stdtrit(items_df, alpha / 2)
    half = np.hypot(narrow * np.sqrt(np.maximum(seeds + items - of_seeds, 0)), wide * np.sqrt(of_seeds))
    return np.maximum(half, narrow * np.sqrt(FLOOR * (items + within)))


def p_values(value: np.ndarray | float, parts: Parts) -> np.ndarray:
    """Returns the smallest alpha at which intervals leave zero out, by halving."""
    value = np.abs(np.asarray(value, float))
    low, high = np.full(value.shape, np.log(SMALLEST_P)), np.zeros(value.shape)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        out = half_width(np.exp(middle), parts) < value
        low, high = np.where(out, low, middle), np.where(out, middle, high)
    return np.where(value > 0, np.exp(high), 1.0)


def _joined(chosen: Sequence[tuple[Cell, float]]) -> np.ndarray:
    """Returns the pull of every item on a weighted sum of cells, SxN; an item that a cell lacks pulls nothing there."""
    first = chosen[0][0]
    differ = [cell.place_M for cell, _ in chosen if not _same(cell.place_M, first.place_M)]
    place_N = np.unique(np.concatenate([first.place_M, *differ])) if differ else first.place_M
    pull_SxN = np.zeros((len(first.score_S), len(place_N)))
    for cell, weight in chosen:
        if len(cell.place_M) == len(place_N):
            pull_SxN += weight * cell.pull_SxM
        else:
            pull_SxN[:, np.searchsorted(place_N, cell.place_M)] += weight * cell.pull_SxM
    return pull_SxN


def _same(one_M: np.ndarray, other_M: np.ndarray) -> bool:
    return one_M is other_M or np.array_equal(one_M, other_M)
