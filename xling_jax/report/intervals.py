"""Sums over languages of an arm's scores, or of the gain of one arm over another, each with its interval."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.report.collapse import Runs
from xling_jax.report.collect import Collected
from xling_jax.report.items import Items
from xling_jax.report.record import Target
from xling_jax.report.statistics import Arm, Draws, Gain, Sums, gains, resample
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
    """Returns an arm's resampled scores; drawn once, for all arms that have the languages and for all tables."""
    key = (target.name, runs.seeds, languages)
    if runs.arm not in collected.memo.get(key, {}):
        cells = {}
        for arm in collected.record.arms:
            if not any(_lacking(collected, target, [arm], code, runs.seeds) for code in languages):
                cells[arm] = [[collected.items[arm, s, target.name, code] for s in runs.seeds] for code in languages]
        collected.memo[key] = dict(zip(cells, resample(*stack_items([*cells.values()])), strict=True))
    return collected.memo[key][runs.arm]


def stack_items(arms: Sequence[Sequence[Sequence[Items]]]) -> tuple[list[Arm], int]:
    """Returns the items of arms, languages and seeds in the order of their ids, and how many ids there are.

    Items with one id are drawn together; an id that a language lacks adds nothing there. Within a language, all seeds
    of all arms must have the same ids, or they were not measured on the same test set: DataError with the two files.
    """
    for seeds_of_arms in zip(*arms, strict=True):
        _check_same_ids([cell for seeds in seeds_of_arms for cell in seeds])
    ids = sorted({name for languages in arms for seeds in languages for name in seeds[0].ids})
    place = {name: index for index, name in enumerate(ids)}
    return [[_sums(seeds, place) for seeds in languages] for languages in arms], len(ids)


def _sums(seeds: Sequence[Items], place: Mapping[str, int]) -> Sums:
    num_SxM, den_SxM = np.zeros((2, len(seeds), len(seeds[0].ids)))
    place_M = np.array(sorted(place[name] for name in seeds[0].ids))
    first, last = int(place_M[0]), int(place_M[-1])
    together = last - first + 1 == len(place_M)
    for s, cell in enumerate(seeds):
        order = np.argsort([place[name] for name in cell.ids])
        num_SxM[s], den_SxM[s] = cell.num_N[order], cell.den_N[order]
    return Sums(num_SxM, den_SxM, slice(first, last + 1) if together else place_M)


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
