"""What later stages cost the tasks of earlier ones, in the source language."""

from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.aggregate import listed
from xling_jax.report.collect import Collected
from xling_jax.report.record import Record
from xling_jax.report.rescored import Rescored
from xling_jax.report.table import NONE, Column, Number, Row, Table
from xling_jax.results import Result
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

LOSS = "loss"
LOSS_DIGITS = 3
COLUMNS = (
    Column("after its own stage", "", (), "value"),
    Column("after the later stage", "", (), "value"),
    Column("difference", "", (), "gain"),
)
NOTE = (
    "What each stage was trained for, measured after it and again after later ones, with the later stage's body and "
    "its own head; mean over seeds, lowest and highest below. The difference is later minus own: below 0 is forgotten "
    "where it is of scores, in points; above 0 where it is of the loss of masked words, in nats."
)


def forgetting_table(collected: Collected) -> Table:
    """Returns, for each arm, tasks of earlier stages by later stages: both scores and their difference."""
    record = collected.record
    groups: dict[tuple[str, ...], dict[int, Rescored]] = {}
    for entry in collected.rescored:
        if _is_shown(entry.after):
            key = (entry.arm, _label(entry, record))
            groups.setdefault(key, {})[entry.seed] = entry
    order = {arm: place for place, arm in enumerate(record.arms)}
    rows = [
        Row(": ".join(key), "value", _numbers(by_seed, record.seeds))
        for key, by_seed in sorted(groups.items(), key=lambda group: order[group[0][0]])
    ]
    return Table("forgetting", "Forgetting", NOTE, COLUMNS, tuple(rows))


def _is_shown(row: Result) -> bool:
    """Says if the metric is the one its task is reported by; that of a task of no known row always is."""
    metrics = KINDS[TASKS[row.task].kind].metrics if row.task in TASKS else ()
    return not metrics or row.metric == metrics[0]


def _label(entry: Rescored, record: Record) -> str:
    """Returns "task (metric, language), own stage → later stage", without what tells seeds apart."""
    names = {stage.dir: stage.name.removesuffix(f"_s{stage.seed}") for stage in record.stages}
    language = "" if entry.language == record.source_language else f", {entry.language}"
    return f"{entry.task} ({entry.metric}{language}), {names.get(entry.own, entry.own)} → {names[entry.later]}"


def _numbers(by_seed: Mapping[int, Rescored], seeds: Sequence[int]) -> tuple[Number, ...]:
    before = {seed: entry.before.value for seed, entry in by_seed.items() if entry.before}
    after = {seed: entry.after.value for seed, entry in by_seed.items()}
    digits = LOSS_DIGITS if next(iter(by_seed.values())).metric == LOSS else 1
    own, later = _mean(before, seeds, digits), _mean(after, seeds, digits)
    if own.value is None or later.value is None:
        return own, later, NONE
    return own, later, Number(later.value - own.value, digits=digits)


def _mean(values: Mapping[int, float], seeds: Sequence[int], digits: int) -> Number:
    missing = [f"seed {seed}" for seed in seeds if seed not in values]
    broken = [f"seed {seed}" for seed, value in values.items() if not np.isfinite(value)]
    if missing or broken:
        return Number(None, state="missing" if missing else "not finite", note=listed(missing or broken))
    return Number(float(np.mean([*values.values()])), min(values.values()), max(values.values()), digits=digits)
