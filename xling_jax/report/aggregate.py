"""Scores and gains as tables: pure functions from what was collected to numbers with a state.

All averages of the system are made here. Averages over languages are unweighted; averages over seeds are of
the averages of each seed. An average over a missing cell is itself missing.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.report.collect import Collected, Items, Key
from xling_jax.report.record import Record, Target
from xling_jax.report.statistics import Gain, Sums, paired_gains


@dataclasses.dataclass(frozen=True)
class Column:
    """A language, or a mean over languages. `kind`: source, language, group or mean."""

    label: str
    group: str
    languages: tuple[str, ...]
    kind: str


@dataclasses.dataclass(frozen=True)
class Number:
    """What a place of a table says.

    `state`: "ok"; "floor" for a score no better than no model; "missing" and "not finite" have no
    value, "none" has none because none is defined. `low` and `high`: of a score, the lowest
    and highest seed; of a gain, its 95% interval, with `error` the standard error.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    state: str = "ok"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table. `kind`: arm, bound (floor or ceiling) or gain."""

    label: str
    kind: str
    numbers: tuple[Number, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of the report, of scores or of gains, in percent or points."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def column(self, kind: str) -> int | None:
        """Returns the place of the last column of a kind."""
        places = [place for place, column in enumerate(self.columns) if column.kind == kind]
        return places[-1] if places else None


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
    floors, ceilings = _bound(collected, target, "floor", max), _bound(collected, target, "ceiling", min)
    floor = Row("floor", "bound", tuple(_mean_bound(column, floors) for column in cols))
    ceiling = Row("ceiling", "bound", tuple(_mean_bound(column, ceilings) for column in cols))
    rows = [
        Row(arm, "arm", tuple(_score(collected, target, arm, *pair) for pair in zip(cols, floor.numbers, strict=True)))
        for arm in record.arms
    ]
    rows.append(floor)
    if any(number.value not in (None, 100) for number in ceiling.numbers):
        rows.append(ceiling)
    note = (
        f"{target.metric} of {target.task}.{target.split} in percent: mean over {count(record.seeds, 'seed')}, "
        "and below it the lowest and highest seed. The floor is a program without a model."
    )
    return Table("scores", f"{target.name}: scores", note, cols, tuple(rows))


def gain_table(collected: Collected, target: Target) -> Table:
    """Returns comparisons by languages: gains in points, each with its 95% interval."""
    cols = columns(collected.record, target)
    rows = tuple(
        Row(f"{first} − {second}", "gain", compare(collected, target, (first, second), cols))
        for first, second in collected.record.comparisons
    )
    note = f"Gains of {target.metric} in points, paired over seeds and items, with 95% intervals."
    return Table("gains", f"{target.name}: gains", note, cols, rows)


def baseline_table(collected: Collected, target: Target) -> Table:
    """Returns arms by languages: gain against the baseline arm, without intervals."""
    scored, baseline = score_table(collected, target), collected.record.baseline
    base = next(row for row in scored.rows if row.label == baseline)
    rows = tuple(
        Row(row.label, "gain", tuple(_difference(*pair) for pair in zip(row.numbers, base.numbers, strict=True)))
        for row in scored.rows
        if row.kind == "arm" and row.label != baseline
    )
    title, note = f"{target.name}: gain over {baseline}", f"Points of {target.metric}, mean over seeds."
    return Table("baseline", title, note, scored.columns, rows)


def compare(collected: Collected, target: Target, pair: tuple[str, str], cols: Sequence[Column]) -> tuple[Number, ...]:
    """Returns for each column the gain of the first arm over the second; missing where any cell is."""
    seeds = collected.record.seeds
    lacking = {code: _lacking(collected, target, pair, code) for column in cols for code in column.languages}
    whole = [code for code in lacking if not lacking[code]]
    shown = [column for column in cols if all(code in whole for code in column.languages)]
    gains: dict[Column, Gain] = {}
    if shown:
        first, second = stack_items(collected.items, pair, seeds, target.name, whole)
        averages_AxG = np.array([[(code in c.languages) / len(c.languages) for code in whole] for c in shown])
        gains = dict(zip(shown, paired_gains(first, second, averages_AxG), strict=True))
    keys = {code: [(arm, seed, target.name, code) for arm in pair for seed in seeds] for code in lacking}
    numbers = []
    for column in cols:
        gain, note = gains.get(column), _listed([cell for code in column.languages for cell in lacking[code]])
        if gain is None:
            absent = any(key not in collected.scores for code in column.languages for key in keys[code])
            numbers.append(Number(None, state="missing" if absent else "not finite", note=note))
        else:
            numbers.append(Number(gain.value, gain.low, gain.high, gain.error))
    return tuple(numbers)


def stack_items(
    items: Mapping[Key, Items], pair: tuple[str, str], seeds: Sequence[int], target: str, languages: Sequence[str]
) -> tuple[Sums, Sums]:
    """Returns the items of two arms in one order of ids, shared by all languages.

    An id that a language lacks adds nothing there. Within a language, all seeds of both arms must have
    the same ids, or they were not measured on the same test set: DataError with the two files.
    """
    for code in languages:
        found = [items[arm, seed, target, code] for arm in pair for seed in seeds]
        for other in found[1:]:
            _check_same_ids(found[0], other)
    ids = sorted({name for code in languages for name in items[pair[0], seeds[0], target, code].ids})
    place = {name: index for index, name in enumerate(ids)}
    sums = []
    for arm in pair:
        num_SxGxN, den_SxGxN = np.zeros((2, len(seeds), len(languages), len(ids)))
        for s, seed in enumerate(seeds):
            for g, code in enumerate(languages):
                cell = items[arm, seed, target, code]
                order = [place[name] for name in cell.ids]
                num_SxGxN[s, g, order], den_SxGxN[s, g, order] = cell.num_N, cell.den_N
        sums.append(Sums(num_SxGxN, den_SxGxN))
    return sums[0], sums[1]


def stage_uses(record: Record) -> dict[str, int]:
    """Returns for each stage how many (arm, seed, target) cells rest on it, directly or through children."""
    parents = {stage.dir: stage.parents for stage in record.stages}
    uses = dict.fromkeys(parents, 0)
    for cell in record.cells:
        reached, todo = set(), [cell.stage]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo.extend(parents[name])
        for name in reached:
            uses[name] += 1
    return uses


def count(things: Sequence[object], noun: str) -> str:
    """Returns "1 seed", "2 seeds"."""
    return f"{len(things)} {noun}" + ("s" if len(things) != 1 else "")


def _bound(collected: Collected, target: Target, field: str, strictest) -> dict[str, float]:
    """Returns by language the floor or ceiling; where arms differ, the one that flatters least."""
    found: dict[str, list[float]] = {}
    for (_, _, name, language), row in collected.scores.items():
        if name == target.name and getattr(row, field) is not None:
            found.setdefault(language, []).append(getattr(row, field))
    return {language: strictest(values) for language, values in found.items()}


def _mean_bound(column: Column, bounds: Mapping[str, float]) -> Number:
    if any(code not in bounds for code in column.languages):
        return Number(None, state="none")
    return Number(float(np.mean([bounds[code] for code in column.languages])))


def _score(collected: Collected, target: Target, arm: str, column: Column, floor: Number) -> Number:
    cells = [(seed, code) for seed in collected.record.seeds for code in column.languages]
    rows = {cell: collected.scores.get((arm, cell[0], target.name, cell[1])) for cell in cells}
    missing = [f"seed {seed} {code}" for (seed, code), row in rows.items() if row is None]
    if missing:
        return Number(None, state="missing", note=_listed(missing))
    values = {cell: row.value for cell, row in rows.items() if row is not None}
    broken = [f"seed {seed} {code}" for (seed, code), value in values.items() if not math.isfinite(value)]
    if broken:
        return Number(None, state="not finite", note=_listed(broken))
    by_seed = [float(np.mean([values[seed, code] for code in column.languages])) for seed in collected.record.seeds]
    mean = float(np.mean(by_seed))
    state = "floor" if floor.value is not None and mean <= floor.value else "ok"
    return Number(mean, min(by_seed), max(by_seed), state=state)


def _difference(number: Number, base: Number) -> Number:
    if number.value is None or base.value is None:
        return number if number.value is None else base
    return Number(number.value - base.value)


def _lacking(collected: Collected, target: Target, pair: Iterable[str], code: str) -> list[str]:
    seeds = collected.record.seeds
    cells = [(arm, seed) for arm in pair for seed in seeds if (arm, seed, target.name, code) not in collected.items]
    return [f"{arm} seed {seed} {code}" for arm, seed in cells]


def _listed(cells: Sequence[str]) -> str:
    """Returns the first cells and how many more there are: a table's place is small."""
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return ", ".join(cells[:3]) + more


def _check_same_ids(one: Items, other: Items) -> None:
    if one.ids is other.ids or set(one.ids) == set(other.ids):
        return
    only = sorted(set(one.ids) ^ set(other.ids))
    raise DataError(
        f"{one.path} and {other.path} are not of the same items.\n"
        f"Found {len(one.ids)} and {len(other.ids)} ids; {len(only)} are in one only, for example '{only[0]}'.\n"
        "A gain compares arms and seeds on the same items; evaluate both stages on the same data."
    )
