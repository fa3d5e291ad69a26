"""What the report shows of an experiment, before it is put into any format."""

import dataclasses
from collections.abc import Callable

from xling_jax.report import aggregate, figures
from xling_jax.report.alignment import alignment_table
from xling_jax.report.answer import Answer, answer
from xling_jax.report.averages import gap_table, kinds_table
from xling_jax.report.collect import Collected
from xling_jax.report.consistency import consistency_table
from xling_jax.report.figures import Drawing
from xling_jax.report.forgetting import forgetting_table
from xling_jax.report.inference import inference_table
from xling_jax.report.policies import policy_table
from xling_jax.report.record import Record, Target
from xling_jax.report.speed import speed_table, time_table
from xling_jax.report.table import Table
from xling_jax.results import Result

# The tables of a target, in the order they are shown.
TABLES: tuple[Callable[[Collected, Target], Table], ...] = (
    aggregate.score_table,
    policy_table,
    aggregate.gain_table,
    gap_table,
    kinds_table,
    consistency_table,
)
# Those that belong to no target, in their order.
STAGE_TABLES: tuple[Callable[[Collected], Table], ...] = (
    forgetting_table,
    alignment_table,
    lambda collected: inference_table(collected.inference),
    speed_table,
    time_table,
)


@dataclasses.dataclass(frozen=True)
class TargetReport:
    """What the report shows of one target."""

    name: str
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...]


@dataclasses.dataclass(frozen=True)
class ExperimentReport:
    """What the report shows of one experiment. `stages` are the tables that belong to no single target."""

    record: Record
    answer: Answer
    targets: tuple[TargetReport, ...]
    stages: tuple[Table, ...]
    curves: tuple[Drawing, ...]
    rows: tuple[Result, ...]

    @property
    def named_tables(self) -> list[tuple[str, Table]]:
        """All tables, each with the name of its target, or with none."""
        return [(target.name, table) for target in self.targets for table in target.tables] + [
            ("", table) for table in self.stages
        ]

    @property
    def tables(self) -> list[Table]:
        return [table for _, table in self.named_tables]

    @property
    def drawings(self) -> list[Drawing]:
        return [drawing for target in self.targets for drawing in target.drawings] + list(self.curves)


def build_experiment(collected: Collected) -> ExperimentReport:
    """Returns an experiment's answer, tables and figures."""
    name = figures.file_name(collected.record.name)
    targets = tuple(build_target(collected, target, name) for target in collected.record.targets)
    curves = figures.training_curves(name, collected)
    curves += [figures.time_bars(f"{name}-time", collected.time)] if collected.time and collected.time.wall else []
    stages = tuple(table for build in STAGE_TABLES if (table := build(collected)).rows)
    return ExperimentReport(collected.record, answer(collected), targets, stages, tuple(curves), collected.rows)


def build_target(collected: Collected, target: Target, prefix: str) -> TargetReport:
    """Returns the tables and figures of one target; intervals are drawn for the headline comparison."""
    tables = tuple(table for build in TABLES if (table := build(collected, target)).rows)
    name = f"{prefix}-{figures.file_name(target.name)}"
    baseline = aggregate.baseline_table(collected, target)
    drawings = [figures.heat_map(f"{name}-heat", baseline)] if baseline.rows else []
    record = collected.record
    if record.comparisons:
        row = record.comparisons.index(record.headline.comparison) if record.headline else 0
        gains = next(table for table in tables if table.name == "gains")
        drawings.append(figures.interval_plot(f"{name}-gains", gains, row))
    return TargetReport(target.name, tables, tuple(drawings))
