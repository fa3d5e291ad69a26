"""Does a model answer an item in another language as it answers the same item in the source language?

Two languages can have one score and be right on different items. Items are the same where their ids are; a language is
parallel if the source language has at least half of its items.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.report.aggregate import bound_rows, mark_floor, mean_score
from xling_jax.report.agreement import Agreement, rankc, right_and_wrong
from xling_jax.report.averages import zero_shot
from xling_jax.report.collapse import Runs, mark_constant
from xling_jax.report.collect import Collected
from xling_jax.report.items import Items
from xling_jax.report.record import Target
from xling_jax.report.table import NONE, Column, Number, Row, Table, listed

LEAST_SHARED = 0.5  # of a language's items
NOT_PARALLEL = Number(None, state="not parallel")
# What is shown of a kind of agreement, and the field of Agreement it is.
RANKED = {"RankC": "observed", "chance": "chance"}
RIGHT = {"agreement": "observed", "chance": "chance", "kappa": "kappa"}
RANKED_NOTE = (
    "RankC (Qi, Fernández and Bisazza 2023, arXiv 2310.10378): how alike an item's candidates are ordered in both, in "
    "percent; first places count most, and 100 is the same order in every item. Chance: what two models would reach "
    "that order candidates as often in each way as these do, whatever the item"
)
RIGHT_NOTE = (
    "Agreement: the share of items that are right in both or wrong in both, in percent (in QA by exact match, in "
    "tagging by whole sentences). Chance: what two models would reach that are as often right, whatever the item. "
    "Kappa: what is reached of all above chance, in percent (Cohen 1960)"
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A target's agreements with the source language, by arm, seed and language; cells that are missing are not there.

    `parallel` are the languages that can be compared, or of which no cell is there yet.
    """

    agreements: Mapping[tuple[str, int, str], Agreement]
    parallel: tuple[str, ...]
    ranked: bool


def consistency_table(collected: Collected, target: Target) -> Table:
    """Returns languages by arms: the score, and the agreement with the source language beside its chance."""
    record, source = collected.record, collected.record.source_language
    codes = zero_shot(record, target) if source in target.languages else ()
    measured = measure(collected, target, codes)
    fields = RANKED if measured.ranked else RIGHT
    cols = tuple(Column(label, arm, (), "measure") for arm in record.arms for label in (target.metric, *fields))
    rows = [Row(code, "value", _numbers(collected, target, measured, (code,))) for code in codes]
    if codes and not measured.parallel:
        rows = [Row(f"all {len(codes)} languages", "value", (NOT_PARALLEL,) * len(cols))]
    if len(measured.parallel) > 1:
        label = f"mean of {len(measured.parallel)} languages"
        rows.append(Row(label, "bound", _numbers(collected, target, measured, measured.parallel)))
    what = RANKED_NOTE if measured.ranked else RIGHT_NOTE
    note = (
        f"Each language against {source}, on the items that both have. {what}. Mean over seeds, lowest and highest "
        f"below. Not parallel: {source} has less than half of the language's items."
    )
    return Table("consistency", f"{target.name}: consistency with {source}", note, cols, tuple(rows))


def measure(collected: Collected, target: Target, codes: Sequence[str]) -> Measured:
    """Returns the agreement of every cell with the source language's of the same arm and seed."""
    record = collected.record
    cells = [items for (_, _, name, _), items in collected.items.items() if name == target.name]
    ranked = bool(cells) and all(items.ranking_NxC is not None for items in cells)
    agreements, parallel = {}, []
    for code in codes:
        pairs = {}
        for arm in record.arms:
            for seed in record.seeds:
                source = collected.items.get((arm, seed, target.name, record.source_language))
                items = collected.items.get((arm, seed, target.name, code))
                if source and items:
                    pairs[arm, seed, code] = (source, items)
        if all(is_parallel(*pair) for pair in pairs.values()):
            parallel.append(code)
            agreements |= {key: agreement(*pair, ranked) for key, pair in pairs.items()}
    return Measured(agreements, tuple(parallel), ranked)


def is_parallel(source: Items, items: Items) -> bool:
    """Says if the source language has at least half of a language's items."""
    return len(set(source.ids).intersection(items.ids)) >= LEAST_SHARED * len(items.ids)


def agreement(source: Items, items: Items, ranked: bool) -> Agreement:
    """Returns the agreement of two languages on the items that both have; DataError if their candidates differ."""
    place = {name: index for index, name in enumerate(source.ids)}
    one, other = np.array([(place[name], index) for index, name in enumerate(items.ids) if name in place]).T
    if not ranked:
        return right_and_wrong(source.right_N[one], items.right_N[other])
    first_NxC, second_NxC = _rankings(source)[one], _rankings(items)[other]
    different = (first_NxC >= 0).sum(axis=1) != (second_NxC >= 0).sum(axis=1)
    if different.any():
        name = items.ids[other[different.argmax()]]
        raise DataError(
            f"{source.path} and {items.path} rank different candidates of item '{name}'.\n"
            "Allowed: as many candidates in every language, as items of one id are translations of each other.\n"
            "Evaluate both languages on the same task, or give the items ids of their own."
        )
    width = min(first_NxC.shape[1], second_NxC.shape[1])
    return rankc(first_NxC[:, :width], second_NxC[:, :width])


def _rankings(items: Items) -> np.ndarray:
    assert items.ranking_NxC is not None, "asked for where all cells have rankings"
    return items.ranking_NxC


def _numbers(collected: Collected, target: Target, measured: Measured, codes: Sequence[str]) -> tuple[Number, ...]:
    """Returns for each arm the score and the agreement, averaged over languages and seeds."""
    (floor, *_) = bound_rows(collected.scores, target, [Column("", "", tuple(codes), "mean")])
    numbers = []
    for arm in collected.record.arms:
        runs = Runs(arm, collected.record.seeds)
        score = mark_floor(mean_score(collected.scores, target, runs, codes), floor.numbers[0])
        numbers.append(mark_constant(collected, target, runs, codes[0], score) if len(codes) == 1 else score)
        for field in (RANKED if measured.ranked else RIGHT).values():
            numbers.append(_mean(measured, runs, codes, field))
    return tuple(numbers)


def _mean(measured: Measured, runs: Runs, codes: Sequence[str], field: str) -> Number:
    if any(code not in measured.parallel for code in codes):
        return NOT_PARALLEL
    cells = [(seed, code) for seed in runs.seeds for code in codes]
    missing = [f"seed {seed} {code}" for seed, code in cells if (runs.arm, seed, code) not in measured.agreements]
    if missing:
        return Number(None, state="missing", note=listed(missing))
    found = {(seed, code): getattr(measured.agreements[runs.arm, seed, code], field) for seed, code in cells}
    if None in found.values():
        return NONE
    by_seed = [float(np.mean([found[seed, code] for code in codes])) for seed in runs.seeds]
    return Number(float(np.mean(by_seed)), min(by_seed), max(by_seed))
