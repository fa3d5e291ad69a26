"""What a study can see: before it is paid for, and after, when it left something undecided.

From components of noise (of an earlier study, or a guess: `planned`), the power to see a true gain, the smallest gain
that is seen in 4 of 5 repetitions, and how many seeds or how many times the items a gain would take. Seeing means
that the interval leaves zero out on the right side.

Power is an integral over what the study would estimate: the variance between seeds is a chi-squared number, and the
interval is wide where it comes out large. What items share is taken as known, as there are many of them. Components
that come from two or three seeds are themselves uncertain by a factor of several; a plan made of them is a guess, too.
"""

import dataclasses

import numpy as np
from scipy import stats

from xling_jax.report.statistics import LEVEL, Noise, half_width

SEEN = 0.8  # of repetitions
MOST_SEEDS = 64
MOST_GAIN = 100.0  # points that a score can gain
MOST_ITEMS = 64.0  # times those that are there
_POINTS = (np.arange(400) + 0.5) / 400  # quantiles that an integral over chi-squared is taken at


def planned(seeds: int, training: float, items: float, interaction: float = 0.0, items_df: float = 100.0) -> Noise:
    """Returns the noise of a contrast that is not measured yet, from standard deviations in points.

    Args:
      seeds: training runs.
      training: between seeds, of one seed's contrast, if there were no end of test items.
      items: of the test items, shared by all seeds.
      interaction: of the test items under one seed, beyond that.
      items_df: about the number of items.
    """
    return Noise(seeds, training**2 + interaction**2, interaction**2, items**2, seeds - 1.0, items_df)


def resized(noise: Noise, seeds: int, items: float = 1.0) -> Noise:
    """Returns the noise that is expected of another number of seeds and `items` times the test items."""
    assert noise.seeds > 1 and seeds > 1, "one seed says nothing of the noise between seeds: use `planned`"
    interaction = noise.interaction / items
    pooling = noise.seeds_df / (noise.seeds - 1)
    between = noise.training + interaction
    return Noise(seeds, between, interaction, noise.items / items, pooling * (seeds - 1), noise.items_df * items)


def power(gain: float, noise: Noise, level: float = LEVEL) -> float:
    """Returns how often a study with this noise finds a true gain of so many points."""
    drawn = noise.between / noise.seeds * stats.chi2.ppf(_POINTS, noise.seeds_df) / noise.seeds_df
    halves = half_width(1 - level, noise.parts._replace(seeds=drawn))
    error = max(noise.variance, 1e-300) ** 0.5
    return float(stats.norm.cdf((abs(gain) - halves) / error).mean())


def detectable(noise: Noise, level: float = LEVEL) -> float:
    """Returns the smallest true gain, in points, that is seen in 4 of 5 repetitions."""
    low, high = 0.0, noise.variance**0.5
    while power(high, noise, level) < SEEN and high:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, noise, level) >= SEEN else (middle, high)
    return high


def seeds_needed(gain: float, noise: Noise, items: float = 1.0, level: float = LEVEL) -> int | None:
    """Returns the fewest seeds that see a true gain in 4 of 5 repetitions; None if MOST_SEEDS are too few."""
    seen = (s for s in range(2, MOST_SEEDS + 1) if power(gain, resized(noise, s, items), level) >= SEEN)
    return next(seen, None)


def items_needed(gain: float, noise: Noise, level: float = LEVEL) -> float | None:
    """Returns how many times the items see a true gain at the same seeds; None if even MOST_ITEMS times do not."""
    low, high = 0.0, MOST_ITEMS
    if power(gain, resized(noise, noise.seeds, high), level) < SEEN:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        enough = middle > 0 and power(gain, resized(noise, noise.seeds, middle), level) >= SEEN
        low, high = (low, middle) if enough else (middle, high)
    return high


def advice(gain: float, noise: Noise, level: float = LEVEL) -> str:
    """Returns a sentence: what it would take to see a true gain of this size."""
    least = detectable(noise, level)
    size = f"{least:.1f}" if least <= MOST_GAIN else f"more than {MOST_GAIN:.0f}"
    smallest = f"A study of this size sees a true gain of {size} points in 4 of 5 repetitions"
    seeds, items = seeds_needed(gain, noise, level=level), items_needed(gain, noise, level)
    if not gain or (seeds is not None and seeds <= noise.seeds):
        return f"{smallest}."
    ways = f"about {seeds} seeds" if seeds else f"more than {MOST_SEEDS} seeds"
    more = f", or {items:.1f} times the test items" if items else "; more test items alone would not do"
    return f"{smallest}; for one of {abs(gain):.1f} it would take {ways}{more}."


def with_training(noise: Noise, seeds: int, training: float) -> Noise:
    """Returns the noise of several seeds, from a study with one and a guess of the standard deviation between seeds.

    All the noise of the items is taken to be shared by the seeds, which errs on the side of too many items.
    """
    return dataclasses.replace(planned(seeds, training, 0.0), items=noise.items, items_df=noise.items_df)
