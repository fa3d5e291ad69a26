"""What later stages cost the tasks of earlier ones, in the source language."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.collect import Collected
from xling_jax.report.record import Record
from xling_jax.report.rescored import Rescored
from xling_jax.report.table import NONE, Column, Number, Row, Table, listed
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
    "What a stage was trained for, measured after it and again after later stages: with their body, and the head of "
    "the stage itself. Mean over seeds, lowest and highest below. The difference is later minus own: below 0 is "
    "forgotten where it is of scores, in points; above 0 where it is of the loss of masked words, in nats."
)


def forgetting_table(collected: Collected) -> Table:
    """Returns, for each arm, tasks of earlier stages by later stages: both scores and their difference."""
    record = collected.record
    groups: dict[str, dict[int, Rescored]] = {}
    for entry in sorted(filter(_is_shown, collected.rescored), key=functools.partial(_order, record=record)):
        groups.setdefault(f"{entry.arm}: {_label(entry, record)}", {})[entry.seed] = entry
    rows = [Row(label, "value", _numbers(by_seed, record.seeds)) for label, by_seed in groups.items()]
    return Table("forgetting", "Forgetting", NOTE, COLUMNS, tuple(rows))


def _order(entry: Rescored, record: Record) -> tuple:
    stages = [stage.dir for stage in record.stages]
    own = stages.index(entry.own) if entry.own in stages else len(stages)
    return record.arms.index(entry.arm), own, entry.task, stages.index(entry.later)


def _is_shown(entry: Rescored) -> bool:
    """Says if the metric is the one its task is reported by; that of a task of no known row always is."""
    metrics = KINDS[TASKS[entry.task].kind].metrics if entry.task in TASKS else ()
    return not metrics or entry.metric == metrics[0]


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
