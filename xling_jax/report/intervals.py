"""Sums over languages of an arm's scores, or of the gain of one arm over another, each with its interval."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.report.collapse import Runs
from xling_jax.report.collect import Collected, Key
from xling_jax.report.items import Items
from xling_jax.report.record import Target
from xling_jax.report.statistics import Draws, Gain, Sums, gains, resample
from xling_jax.report.table import NO_SEED, Column, Number, listed


def compare(
    collected: Collected,
    target: Target,
    pair: Sequence[str],
    cols: Sequence[Column],
    seeds: Sequence[int] | None = None,
) -> tuple[Number, ...]:
    """Returns for each column the gain of the first arm over the second; missing where any cell is."""
    averages = [dict.fromkeys(column.languages, 1 / len(column.languages)) for column in cols]
    return intervals(collected, target, pair, averages, seeds)


def intervals(
    collected: Collected,
    target: Target,
    arms: Sequence[str],
    sums: Sequence[Mapping[str, float]],
    seeds: Sequence[int] | None = None,
) -> tuple[Number, ...]:
    """Returns weighted sums over languages, each with its 95% interval; missing where any cell is.

    Args:
      collected: the experiment.
      target: what is measured.
      arms: one, or two of which the second is subtracted from the first.
      sums: a weight for each language of a sum; a mean over three languages is 1/3 of each.
      seeds: to count, if not all of the experiment.
    """
    seeds = collected.record.seeds if seeds is None else seeds
    if not seeds:
        return tuple(Number(None, state="none", note=NO_SEED) for _ in sums)
    seeds = tuple(seeds)
    asked = dict.fromkeys([*target.languages, *(code for weights in sums for code in weights)])
    lacking = {code: _lacking(collected, target, arms, code, seeds) for code in asked}
    whole = tuple(code for code in lacking if not lacking[code])
    shown = [place for place, weights in enumerate(sums) if all(code in whole for code in weights)]
    found: dict[int, Gain] = {}
    if shown:
        for code in whole:
            _check_same_ids([collected.items[arm, seed, target.name, code] for arm in arms for seed in seeds])
        first, *others = (_draws(collected, target, Runs(arm, seeds), whole) for arm in arms)
        weights_AxG = np.array([[sums[place].get(code, 0) for code in whole] for place in shown])
        found = dict(zip(shown, gains(first, others[0] if others else None, weights_AxG), strict=True))
    keys = {code: [(arm, seed, target.name, code) for arm in arms for seed in seeds] for code in lacking}
    numbers = []
    for place, weights in enumerate(sums):
        gain, note = found.get(place), listed([cell for code in weights for cell in lacking[code]])
        if gain is None:
            absent = any(key not in collected.scores for code in weights for key in keys[code])
            numbers.append(Number(None, state="missing" if absent else "not finite", note=note))
        else:
            numbers.append(Number(gain.value, gain.low, gain.high, gain.error))
    return tuple(numbers)


def _draws(collected: Collected, target: Target, runs: Runs, languages: tuple[str, ...]) -> Draws:
    """Returns an arm's resampled scores; drawn once for all comparisons and tables."""
    key = (target.name, runs, languages)
    if key not in collected.memo:
        collected.memo[key] = resample(stack_items(collected.items, target.name, runs, languages))
    return collected.memo[key]


def stack_items(items: Mapping[Key, Items], target: str, runs: Runs, languages: Sequence[str]) -> Sums:
    """Returns the items of an arm in the order of their ids, shared by all languages.

    An id that a language lacks adds nothing there.
    """
    cells = {(seed, code): items[runs.arm, seed, target, code] for seed in runs.seeds for code in languages}
    ids = sorted({name for cell in cells.values() for name in cell.ids})
    place = {name: index for index, name in enumerate(ids)}
    num_SxGxN, den_SxGxN = np.zeros((2, len(runs.seeds), len(languages), len(ids)))
    for s, seed in enumerate(runs.seeds):
        for g, code in enumerate(languages):
            cell = cells[seed, code]
            order = [place[name] for name in cell.ids]
            num_SxGxN[s, g, order], den_SxGxN[s, g, order] = cell.num_N, cell.den_N
    return Sums(num_SxGxN, den_SxGxN)


def _lacking(collected: Collected, target: Target, arms: Iterable[str], code: str, seeds: Sequence[int]) -> list[str]:
    cells = [(arm, seed) for arm in arms for seed in seeds if (arm, seed, target.name, code) not in collected.items]
    return [f"{arm} seed {seed} {code}" for arm, seed in cells]


def _check_same_ids(cells: Sequence[Items]) -> None:
    """Raises DataError if seeds or arms were not measured on the same test set of a language."""
    one = cells[0]
    for other in cells[1:]:
        if one.ids != other.ids and set(one.ids) != set(other.ids):
            only = sorted(set(one.ids) ^ set(other.ids))
            raise DataError(
                f"{one.path} and {other.path} are not of the same items.\n"
                f"Found {len(one.ids)} and {len(other.ids)} ids, of which {len(only)} are in one only: '{only[0]}'.\n"
                "A gain compares arms and seeds on the same items; evaluate both stages on the same data."
            )
