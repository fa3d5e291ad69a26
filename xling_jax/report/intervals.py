"""Contrasts of what was collected: which cells there are, and sums over languages of scores or gains as numbers.

A cell's key says whose it is: experiment, arm, target, language. Weights over such keys are a contrast
(`statistics.contrast`), of one experiment or of several that were measured on the same test items:

    keys = gain_weights("small", "qa2", ("multilingual", "english"), {"qnd": 0.5, "qda": 0.5})
    cells = measured(experiments, [*keys, ...], seeds)
    found = contrast(cells, combined([(1, keys), (-1, the same of "large")]))
"""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.report.collect import Collected
from xling_jax.report.items import Items
from xling_jax.report.record import Target
from xling_jax.report.statistics import Cell, Estimate, contrast, item_places, measure
from xling_jax.report.table import NO_SEED, Column, Number, listed

Key = tuple[str, str, str, str]  # experiment, arm, target, language


def compare(
    collected: Collected,
    target: Target,
    pair: Sequence[str],
    cols: Sequence[Column],
    seeds: Sequence[int] | None = None,
) -> tuple[Number, ...]:
    """Returns for each column the gain of the first arm over the second; missing where any cell is."""
    return intervals(collected, target, pair, [average(column.languages) for column in cols], seeds)


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
    seeds = collected.record.seeds if seeds is None else tuple(seeds)
    wanted = [gain_weights(collected.record.name, target.name, arms, weights) for weights in sums]
    return tuple(contrast_number([collected], weights, seeds) for weights in wanted)


def contrast_number(experiments: Sequence[Collected], weights: Mapping[Key, float], seeds: Sequence[int]) -> Number:
    """Returns a contrast as a number of a table: what is missing of any cell is missing of it."""
    if not seeds:
        return Number(None, state="none", note=NO_SEED)
    lacks = lacking(experiments, weights, seeds)
    if lacks:
        absent = any(not scored for scored in lacks.values())
        return Number(None, state="missing" if absent else "not finite", note=listed([*lacks]))
    return number(contrast(measured(experiments, weights, seeds), weights))


def number(found: Estimate) -> Number:
    """Returns an estimate as a table shows it, with its 95% interval."""
    return Number(found.value, *found.interval(), found.error)


def average(codes: Sequence[str]) -> dict[str, float]:
    """Returns the weights of a mean over languages."""
    return dict.fromkeys(codes, 1 / len(codes))


def gain_weights(experiment: str, target: str, arms: Sequence[str], languages: Mapping[str, float]) -> dict[Key, float]:
    """Returns the weights of a sum over languages of an arm's scores, or of its gain over a second arm."""
    signs = dict(zip(arms, (1.0, -1.0), strict=False))
    return {
        (experiment, arm, target, code): sign * weight
        for arm, sign in signs.items()
        for code, weight in languages.items()
    }


def lacking(experiments: Sequence[Collected], keys: Iterable[Key], seeds: Sequence[int]) -> dict[str, bool]:
    """Returns the cells that have no items, by name, and whether a score is there that is not finite."""
    by_name = {collected.record.name: collected for collected in experiments}
    found = {}
    for experiment, arm, target, code in keys:
        there = by_name[experiment]
        name = f"{experiment}: {arm}" if len(experiments) > 1 else arm
        for seed in seeds:
            if (arm, seed, target, code) not in there.items:
                found[f"{name} seed {seed} {code}"] = (arm, seed, target, code) in there.scores
    return found


def measured(experiments: Sequence[Collected], keys: Iterable[Key], seeds: Sequence[int]) -> dict[Key, Cell]:
    """Returns the cells of contrasts, with these seeds in this order; `lacking` says which cannot be had.

    Items with one id are the same item, in all languages of a task's split and in all experiments. Within a language,
    all seeds of all arms must have the same ids, or they were not measured on the same test set: DataError with
    the two files.
    """
    by_name = {collected.record.name: collected for collected in experiments}
    found, first = {}, {}
    for key in keys:
        there, (_, arm, name, code) = by_name[key[0]], key
        target = there.record.target(name)
        items = [there.items[arm, seed, name, code] for seed in seeds]
        one = first.setdefault((target.task, target.split, code), items[0])
        for other in items:
            _check_same_ids(one, other)
        memo = (arm, name, code, tuple(seeds))
        if memo not in there.memo:
            there.memo[memo] = _cell(f"{target.task}.{target.split}", items)
        found[key] = there.memo[memo]
    return found


_places = functools.lru_cache(maxsize=512)(item_places)  # many cells have the same items in the same order


def _cell(test_set: str, items: Sequence[Items]) -> Cell:
    """Returns a cell of its items with each seed, which may stand in another order."""
    place_M = _places(test_set, items[0].ids)
    order = {name: at for at, name in enumerate(items[0].ids)}
    num_SxM, den_SxM = np.empty((2, len(items), len(place_M)))
    for s, seed in enumerate(items):
        at = slice(None) if seed.ids == items[0].ids else [order[name] for name in seed.ids]
        num_SxM[s, at], den_SxM[s, at] = seed.num_N, seed.den_N
    return measure(num_SxM, den_SxM, place_M)


def _check_same_ids(one: Items, other: Items) -> None:
    """Raises DataError if two cells were not measured on the same test set of a language."""
    if one is other or one.ids == other.ids or set(one.ids) == set(other.ids):
        return
    only = sorted(set(one.ids) ^ set(other.ids))
    raise DataError(
        f"{one.path} and {other.path} are not of the same items.\n"
        f"Found {len(one.ids)} and {len(other.ids)} ids, of which {len(only)} are in one only: '{only[0]}'.\n"
        "A gain compares arms and seeds on the same items; evaluate both stages on the same data."
    )
