"""Scores as a benchmark averages them, and published numbers beside ours.

XTREME's score of a task is the mean over its languages, English among them, of the mean of its metrics; a group's is
the mean over its tasks, the overall score that over all tasks (tables/benchmarks.py has them). A group of which a task
is missing has no score.
"""

import math
from collections.abc import Sequence

import numpy as np

from xling_jax.report.analyses.findings import VALUE, grid
from xling_jax.report.analyses.weights import Side, label, sides, target_of
from xling_jax.report.collect import Collected
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.record import Record, Target
from xling_jax.report.table import Number, Table, listed
from xling_jax.tables.benchmarks import BENCHMARKS, Benchmark, Entry

ALL = "all tasks"
TOGETHER = "+"  # between the metrics of a published number that is their mean: exact_match+f1


def overall_table(study: CollectedStudy) -> Table:
    """Returns arms by the groups and the overall score of each benchmark that the targets cover a group of."""
    rows: dict[str, dict[str, Number]] = {}
    for side in sides(study):
        record = study.experiments[side.experiment].record
        for name, row in BENCHMARKS.items():
            groups = {**row.groups(), ALL: tuple(entry.name for entry in row.entries)}
            covered = {group for group, names in groups.items() if all(_covers(record, row, task) for task in names)}
            for group in [group for group in groups if group in covered or (group == ALL and covered)]:
                entries = [entry for entry in row.entries if entry.name in groups[group]]
                rows.setdefault(label(study, side), {})[f"{name} {group}"] = _group(study, side, entries)
    note = (
        "In percent, as the published scorer averages: over all languages of a task, English among them, over its "
        "metrics, then over tasks, and over seeds."
    )
    return grid("overall", "Scores as the benchmark averages them", note, rows, kind=VALUE, names="arm")


def published_table(study: CollectedStudy) -> Table:
    """Returns published numbers, ours of the same arm, target and metric, and how far ours are above them."""
    rows: dict[str, dict[str, Number]] = {}
    for entry in study.record.published:
        for record in study.records:
            target = target_of(record, entry.target)
            arms = [arm for arm in record.arms if arm == entry.arm or (not entry.arm and arm != record.baseline)]
            if not arms or target is None:
                continue
            metrics = (entry.metric or target.metric).split(TOGETHER)
            arm, ours = _best(study.experiments[record.name], arms, target, metrics)
            apart = Number(None, state="none")
            if ours.value is not None:
                apart = Number(ours.value - entry.value)
            side = label(study, Side(record.name, arm if entry.arm else f"the best ({arm})"))
            name = f"{side}, {target.name} ({TOGETHER.join(metrics)}): {entry.source}"
            rows[name] = {"published": Number(entry.value), "ours": ours, "ours − published": apart}
    note = (
        "In percent, over all languages of the target. Published numbers are as their source prints them; they enter "
        "no other number here. The best arm of a target is chosen by the score that is shown, as others did. Where "
        "model, data or recipe are not those of the source, the difference says so, too."
    )
    kinds = {"ours − published": "gain"}
    return grid("published", "Published numbers beside ours", note, rows, kind=VALUE, kinds=kinds, names="number")


def _best(collected: Collected, arms: Sequence[str], target: Target, metrics: Sequence[str]) -> tuple[str, Number]:
    """Returns the arm with the highest score; while one of them has none, that one, as which is best is not known."""
    scores = {arm: score_of(collected, arm, target, metrics, target.languages) for arm in arms}
    best = max(arms, key=lambda arm: math.inf if (value := scores[arm].value) is None else value)
    return best, scores[best]


def score_of(
    collected: Collected, arm: str, target: Target, metrics: Sequence[str], languages: Sequence[str]
) -> Number:
    """Returns the mean over languages of the mean of some metrics of a target, over seeds; missing if a row is."""
    cells = [cell for cell in collected.record.cells if (cell.arm, cell.target) == (arm, target.name)]
    stages = {(c.seed, c.stage.rpartition("-")[2], collected.record.policy_of(c.stage)) for c in cells}
    found = {
        (row.seed, row.language, row.metric): row.value
        for row in collected.rows
        if (row.arm, row.task, row.split) == (arm, target.task, target.split)
        and (row.seed, row.stage_hash, row.policy) in stages
    }
    keys = [(seed, code, metric) for seed in collected.record.seeds for code in languages for metric in metrics]
    missing = [f"seed {seed} {code} {metric}" for seed, code, metric in keys if (seed, code, metric) not in found]
    if missing:
        return Number(None, state="missing", note=listed(missing))
    by_seed = [
        float(np.mean([found[seed, code, metric] for code in languages for metric in metrics]))
        for seed in collected.record.seeds
    ]
    if not all(map(math.isfinite, by_seed)):
        return Number(None, state="not finite")
    return Number(float(np.mean(by_seed)), min(by_seed), max(by_seed))


def _covers(record: Record, row: Benchmark, name: str) -> bool:
    """Says if some target has all languages of a benchmark's task."""
    entry = next(entry for entry in row.entries if entry.name == name)
    return _target(record, entry) is not None


def _target(record: Record, entry: Entry) -> Target | None:
    wanted = set(entry.languages.split())
    fitting = (t for t in record.targets if (t.task, t.split) == (entry.task, entry.split))
    return next((target for target in fitting if wanted <= set(target.languages)), None)


def _group(study: CollectedStudy, side: Side, entries: Sequence[Entry]) -> Number:
    """Returns the mean over tasks; what is missing of a task is missing of it."""
    collected = study.experiments[side.experiment]
    found: dict[str, Number] = {}
    lacking = []
    for entry in entries:
        target = _target(collected.record, entry)
        if target is None:
            lacking.append(entry.name)
            continue
        found[entry.name] = score_of(collected, side.arm, target, entry.metrics, entry.languages.split())
    if lacking:
        return Number(None, state="none", note=f"no target covers {listed(lacking)}")
    for name, number in found.items():
        if number.value is None:
            return Number(None, state=number.state, note=f"{name}: {number.note}")
    return Number(float(np.mean([number.value for number in found.values()])))
