"""Simulated studies whose truth is known: arms, seeds, languages and items as a study has them.

Every answer has a latent number, and is right if that is above zero. It is a sum of normal effects: of the arm; of the
item, shared by arms, seeds and languages; of the item in the language; of the item under the arm, shared by seeds and
languages; of the training run, shared by its items and languages; of the item under the run; and of the answer alone.
So the truth is a normal probability. For a score like F1, that is the probability that a gold entity of the item is
found; how many an item has is the same in all languages.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from xling_jax.report.statistics import Cell, Estimate, combined, contrast, measure

ITEM, TONGUE = 0.8, 0.5  # standard deviations of the latent effects of items, and of items in a language
GOLD, SPURIOUS = 1.5, 0.4  # mean of further gold entities beside the first, and of wrong ones that are predicted
PILOT = 20_000  # items of the study that says how large the error from items is

Cells = dict[tuple[int, int], Cell]  # by arm and language


@dataclasses.dataclass(frozen=True)
class Condition:
    """What a simulated study is like.

    `ratio` is the error from training runs over that from items, of the gain of arm 0 over arm 1, mean over languages;
    where scores are near a bound, no more than about. `base` is the score of all arms but 0, which has `gain` more.
    `reaction`, `interaction` and `answer` are standard deviations of latent effects: of an item under an arm, of an
    item under a run, of an answer. `unstable` multiplies the noise of the runs of arm 0.
    """

    name: str
    seeds: int = 2
    ratio: float = 1.0
    items: int = 300
    languages: int = 4
    base: float = 0.65
    gain: float = 0.05
    metric: str = "accuracy"
    arms: int = 2
    reaction: float = 0.5
    interaction: float = 0.4
    answer: float = 0.7
    unstable: float = 1.0

    @property
    def fixed(self) -> float:
        """The variance of the latent effects without that of training runs."""
        return ITEM**2 + TONGUE**2 + self.reaction**2 + self.interaction**2 + self.answer**2

    @functools.cached_property
    def training(self) -> float:
        """The standard deviation of a run's latent effect that makes its error `ratio` times that of the items."""
        if not self.ratio:
            return 0.0
        pilot = dataclasses.replace(self, ratio=0.0, items=PILOT, gain=0.0, arms=2)
        cells, _ = study(pilot, np.random.default_rng(0))
        noise = mean_gain(cells, pilot).noise
        from_items = (noise.items + noise.interaction / noise.seeds) * PILOT / self.items
        slope = 100 * stats.norm.pdf(stats.norm.ppf(self.base)) / self.fixed**0.5
        if self.metric == "f1":
            slope *= 2 * (1 + SPURIOUS / (1 + GOLD)) / (1 + self.base + SPURIOUS / (1 + GOLD)) ** 2
        return self.ratio * (self.seeds * from_items / 2) ** 0.5 / slope


def studies(condition: Condition, count: int, gains: Sequence[float] = ()) -> Iterator[tuple[Cells, np.ndarray]]:
    """Yields the cells and the true scores of the arms in percent of one study after another, always the same.

    `gains` are those of the first arms, if not only arm 0 has one.
    """
    rng = np.random.default_rng([*condition.name.encode(), condition.seeds, int(100 * condition.ratio)])
    for _ in range(count):
        yield study(condition, rng, gains)


def study(condition: Condition, rng: np.random.Generator, gains: Sequence[float] = ()) -> tuple[Cells, np.ndarray]:
    """Returns one simulated study, and the true scores of its arms in percent, the same in all languages."""
    c = condition
    shape = (c.arms, c.seeds, c.languages, c.items)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    spread_A, share_A = np.full(c.arms, c.training), np.full(c.arms, c.base)
    spread_A[0], share_A[0] = c.training * c.unstable, c.base + c.gain
    share_A[: len(gains)] = c.base + np.array(gains)
    mean_A = stats.norm.ppf(share_A) * np.sqrt(c.fixed + spread_A**2)
    run_AxS = mean_A[:, None] + spread_A[:, None] * normal(c.arms, c.seeds)
    item_GxN = ITEM * normal(c.items) + TONGUE * normal(c.languages, c.items)
    under_AxSxN = c.reaction * normal(c.arms, 1, c.items) + c.interaction * normal(c.arms, c.seeds, c.items)
    latent = item_GxN + (under_AxSxN + run_AxS[:, :, None])[:, :, None]
    if c.metric == "accuracy":
        num = (latent + c.answer * normal(*shape) > 0).astype(float)
        den, true_A = np.ones(shape), 100 * share_A
    else:
        gold_N = 1 + rng.poisson(GOLD, c.items)
        found = rng.binomial(np.broadcast_to(gold_N, shape), stats.norm.cdf(latent / c.answer))
        num, den = 2.0 * found, gold_N + found + rng.poisson(SPURIOUS, shape).astype(float)
        true_A = 200 * share_A / (1 + share_A + SPURIOUS / (1 + GOLD))
    place_N = np.arange(c.items)
    cells = {(a, g): measure(num[a, :, g], den[a, :, g], place_N) for a in range(c.arms) for g in range(c.languages)}
    return cells, true_A


def mean_weights(condition: Condition, arm: int) -> dict[tuple[int, int], float]:
    """Returns the weights of an arm's mean over languages."""
    return {(arm, g): 1 / condition.languages for g in range(condition.languages)}


def mean_gain(cells: Cells, condition: Condition, arm: int = 0, over: int = 1) -> Estimate:
    """Returns the gain of an arm over another, mean over languages."""
    return contrast(cells, mean_weights(condition, arm) | {k: -w for k, w in mean_weights(condition, over).items()})


def combined_gain(condition: Condition) -> dict[tuple[int, int], float]:
    """Returns the weights of the gain of arm 0 over 1 minus that of arm 2 over 3."""
    return combined((sign, mean_weights(condition, arm)) for arm, sign in enumerate((1, -1, -1, 1)))


def crossed_pairs(
    rng: np.random.Generator, sources: int, targets: int, effects: str, slope: float = 0.0
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Returns gains, distances and pairs of languages that lie in a plane, all sources with all targets.

    Far languages lie far from most, so with `effects` ("none" or others) of languages themselves a pair's gain and its
    distance have causes of the same kind.
    """
    at_Sx2, at_Tx2 = rng.standard_normal((sources, 2)), rng.standard_normal((targets, 2))
    distance_SxT = np.linalg.norm(at_Sx2[:, None] - at_Tx2, axis=-1)
    gain_SxT = slope * distance_SxT + rng.standard_normal((sources, targets))
    if effects != "none":
        gain_SxT = gain_SxT + 2 * rng.standard_normal((sources, 1)) + 2 * rng.standard_normal(targets)
    pairs = [(f"s{s}", f"t{t}") for s in range(sources) for t in range(targets)]
    return gain_SxT.ravel(), distance_SxT.ravel(), pairs
