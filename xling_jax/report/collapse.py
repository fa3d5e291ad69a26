"""Runs that give one answer to all items: marked in every language, and left out of averages beside the whole ones.

A cell is constant where one answer was given to at least 99% of its items. A seed of an arm has collapsed where it is
constant in the source language, in which it was trained: fine-tuning failed, and its other scores say nothing of the
arm. Averages keep such seeds, as dropping them would be a choice made after the scores are known; those without
them stand beside.
"""

import dataclasses
from collections.abc import Sequence

from xling_jax.report.collect import Collected
from xling_jax.report.record import Record, Target
from xling_jax.report.table import Number


@dataclasses.dataclass(frozen=True)
class Runs:
    """An arm, and the seeds of it that count."""

    arm: str
    seeds: tuple[int, ...]


def whole_runs(collected: Collected, target: Target, arms: Sequence[str]) -> tuple[int, ...]:
    """Returns the seeds of which no arm collapsed: gave one answer to practically all items of the source language."""
    source = collected.record.source_language
    found = {
        seed: [collected.items.get((arm, seed, target.name, source)) for arm in arms] for seed in collected.record.seeds
    }
    return tuple(seed for seed, cells in found.items() if not any(cell and cell.constant for cell in cells))


def without(name: str, record: Record, rest: Sequence[int]) -> str:
    """Returns what a row is called that has only the rest of the seeds."""
    gone = [str(seed) for seed in record.seeds if seed not in rest]
    return f"{name} without seed{'s' if len(gone) > 1 else ''} {', '.join(gone)}"


def constant_notes(collected: Collected, target: Target) -> tuple[str, ...]:
    """Returns the sentences on constant predictions: which seeds collapsed, and if nothing could be looked at."""
    record = collected.record
    left = {arm: whole_runs(collected, target, [arm]) for arm in record.arms}
    gone = [f"{arm} seed {seed}" for arm, rest in left.items() for seed in record.seeds if seed not in rest]
    if gone:
        return (f"Collapsed, one answer to all items of the source language: {', '.join(gone)}.",)
    cells = [items for (_, _, name, _), items in collected.items.items() if name == target.name]
    if cells and all(items.share is None for items in cells):
        return ("Constant predictions were not looked for: the items have no rankings, or are too few.",)
    return ()


def mark_constant(collected: Collected, target: Target, runs: Runs, code: str, number: Number) -> Number:
    """Returns a score, marked if some seed gave one answer to practically all items of the language."""
    cells = {seed: collected.items.get((runs.arm, seed, target.name, code)) for seed in runs.seeds}
    found = [f"seed {seed}" for seed, cell in cells.items() if cell and cell.constant]
    if not found or number.value is None:
        return number
    return dataclasses.replace(number, constant=True, note=f"one answer: {', '.join(found)}")
