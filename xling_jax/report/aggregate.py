"""Scores and gains as tables: pure functions from what was collected to numbers with a state.

All averages of the system are made here. Averages over languages are unweighted; averages over seeds are of
the averages of each seed. An average over a missing cell is itself missing.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.collapse import Runs, constant_notes, mark_constant, whole_runs, without
from xling_jax.report.collect import Collected, Key
from xling_jax.report.intervals import compare
from xling_jax.report.record import Record, Target
from xling_jax.report.table import NO_SEED, Column, Number, Row, Table, count, listed
from xling_jax.results import Result


def columns(record: Record, target: Target) -> tuple[Column, ...]:
    """Returns the columns of a target: source language, languages by group, group means, zero-shot mean."""
    source = record.source_language
    zero_shot = [code for code in target.languages if code != source]
    grouped = {
        name: tuple(code for code in codes if code in zero_shot) for name, codes in record.language_groups.items()
    }
    placed = {code for codes in grouped.values() for code in codes}
    others = tuple(code for code in zero_shot if code not in placed)
    groups = {name: codes for name, codes in (*grouped.items(), ("other", others)) if codes}
    found = [Column(source, "source", (source,), "source")] if source in target.languages else []
    found += [Column(code, name, (code,), "language") for name, codes in groups.items() for code in codes]
    found += [Column(name, "mean of group", codes, "group") for name, codes in groups.items()]
    if zero_shot:
        found.append(Column("zero-shot", "mean", tuple(code for codes in groups.values() for code in codes), "mean"))
    return tuple(found)


def score_table(collected: Collected, target: Target) -> Table:
    """Returns arms by languages: mean over seeds, lowest and highest seed, floor and ceiling."""
    record, cols = collected.record, columns(collected.record, target)
    bounds = bound_rows(collected.scores, target, cols)
    rows = []
    for arm in record.arms:
        runs, rest = Runs(arm, record.seeds), Runs(arm, whole_runs(collected, target, [arm]))
        rows.append(Row(arm, "arm", _scores(collected, target, runs, cols, bounds[0])))
        if rest != runs:
            rows.append(
                Row(without(arm, record, rest.seeds), "value", _scores(collected, target, rest, cols, bounds[0]))
            )
    note = (
        f"{target.metric} of {target.task}.{target.split} in percent: mean over {count(record.seeds, 'seed')}, "
        "and below it the lowest and highest seed. The floor is a program without a model."
    )
    note = " ".join((note, *constant_notes(collected, target)))
    return Table("scores", f"{target.name}: scores", note, cols, (*rows, *bounds))


def gain_table(collected: Collected, target: Target) -> Table:
    """Returns comparisons by languages: gains in points, each with its 95% interval; then without collapsed seeds."""
    record, cols = collected.record, columns(collected.record, target)
    rows, rest_rows = [], []
    for pair in record.comparisons:
        name, rest = " − ".join(pair), whole_runs(collected, target, pair)
        rows.append(Row(name, "gain", compare(collected, target, pair, cols)))
        if rest != record.seeds:
            numbers = compare(collected, target, pair, cols, rest)
            rest_rows.append(Row(without(name, record, rest), "gain", numbers))
    note = f"Gains of {target.metric} in points, paired over seeds and items, with 95% intervals."
    return Table("gains", f"{target.name}: gains", note, cols, (*rows, *rest_rows))


def baseline_table(collected: Collected, target: Target) -> Table:
    """Returns arms by languages: gain against the baseline arm, without intervals."""
    scored, baseline = score_table(collected, target), collected.record.baseline
    base = next(row for row in scored.rows if row.label == baseline)
    rows = tuple(
        Row(row.label, "gain", tuple(difference(*pair) for pair in zip(row.numbers, base.numbers, strict=True)))
        for row in scored.rows
        if row.kind == "arm" and row.label != baseline
    )
    title, note = f"{target.name}: gain over {baseline}", f"Points of {target.metric}, mean over seeds."
    return Table("baseline", title, note, scored.columns, rows)


def stage_uses(record: Record) -> dict[str, int]:
    """Returns for each stage how many (arm, seed, target) cells rest on it, directly or through children."""
    uses = dict.fromkeys((stage.dir for stage in record.stages), 0)
    for cell in record.cells:
        for name in record.lineage(cell.stage):
            uses[name] += 1
    return uses


def bound_rows(scores: Mapping[Key, Result], target: Target, cols: Sequence[Column]) -> tuple[Row, ...]:
    """Returns the row of the floor, and that of the ceiling where it is not 100 everywhere."""
    floors, ceilings = _bound(scores, target, "floor", max), _bound(scores, target, "ceiling", min)
    floor = Row("floor", "bound", tuple(_mean_bound(column, floors) for column in cols))
    ceiling = Row("ceiling", "bound", tuple(_mean_bound(column, ceilings) for column in cols))
    cut = any(number.value not in (None, 100) for number in ceiling.numbers)
    return (floor, ceiling) if cut else (floor,)


def mean_score(scores: Mapping[Key, Result], target: Target, runs: Runs, codes: Sequence[str]) -> Number:
    """Returns an arm's mean over seeds of its mean over languages, with the lowest and highest seed."""
    if not runs.seeds:
        return Number(None, state="none", note=NO_SEED)
    cells = [(seed, code) for seed in runs.seeds for code in codes]
    rows = {cell: scores.get((runs.arm, cell[0], target.name, cell[1])) for cell in cells}
    missing = [f"seed {seed} {code}" for (seed, code), row in rows.items() if row is None]
    if missing:
        return Number(None, state="missing", note=listed(missing))
    values = {cell: row.value for cell, row in rows.items() if row is not None}
    broken = [f"seed {seed} {code}" for (seed, code), value in values.items() if not math.isfinite(value)]
    if broken:
        return Number(None, state="not finite", note=listed(broken))
    by_seed = [float(np.mean([values[seed, code] for code in codes])) for seed in runs.seeds]
    return Number(float(np.mean(by_seed)), min(by_seed), max(by_seed))


def mark_floor(number: Number, floor: Number) -> Number:
    """Returns a score, marked if it is no better than the floor."""
    if number.value is None or floor.value is None or number.value > floor.value:
        return number
    return dataclasses.replace(number, state="floor")


def _scores(collected: Collected, target: Target, runs: Runs, cols: Sequence[Column], floor: Row) -> tuple[Number, ...]:
    numbers = []
    for column, low in zip(cols, floor.numbers, strict=True):
        number = mark_floor(mean_score(collected.scores, target, runs, column.languages), low)
        alone = column.kind in ("source", "language")
        numbers.append(mark_constant(collected, target, runs, column.languages[0], number) if alone else number)
    return tuple(numbers)


def _bound(scores: Mapping[Key, Result], target: Target, field: str, strictest) -> dict[str, float]:
    """Returns by language the floor or ceiling; where arms differ, the one that flatters least."""
    found: dict[str, list[float]] = {}
    for (_, _, name, language), row in scores.items():
        if name == target.name and getattr(row, field) is not None:
            found.setdefault(language, []).append(getattr(row, field))
    return {language: strictest(values) for language, values in found.items()}


def _mean_bound(column: Column, bounds: Mapping[str, float]) -> Number:
    if any(code not in bounds for code in column.languages):
        return Number(None, state="none")
    return Number(float(np.mean([bounds[code] for code in column.languages])))


def difference(number: Number, base: Number) -> Number:
    """Returns a difference without an interval; what is missing of either is missing of it."""
    if number.value is None or base.value is None:
        return number if number.value is None else base
    return Number(number.value - base.value)
