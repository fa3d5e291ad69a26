"""Reads what runs left behind: experiments, their result rows, their test items, their loss curves.

    WORKDIR/experiments/<name>.json                  what was asked, and which stage answers which cell
    WORKDIR/stages/<dir>/results.jsonl               rows of `results.Result`
    WORKDIR/stages/<dir>/metrics.jsonl               {"step": ..., "train/<task>/loss": ...} per line
    WORKDIR/stages/<dir>/predictions/<task>/<split>-<language>.items.jsonl
                                                     {"id": ..., METRIC: [num, den]} per line

A stage that is not there yet leaves its cells missing; a file that contradicts another is an error.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError, broken_line
from xling_jax.report.record import Cell, Record, Target, read_record
from xling_jax.results import Result, read_results

ROUNDING = 0.01  # points; a row may be rounded to two decimals


@dataclasses.dataclass(frozen=True)
class Items:
    """What each test item adds to numerator and denominator of one metric, in one language."""

    path: pathlib.Path
    ids: tuple[str, ...]
    num_N: np.ndarray
    den_N: np.ndarray

    @property
    def score(self) -> float:
        """The metric in percent; 0 where nothing was predicted and nothing was to be found."""
        total = float(self.den_N.sum())
        return 100 * float(self.num_N.sum()) / total if total else 0.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """Training loss of a task in a stage, as written: it may hold numbers that are not finite."""

    steps: np.ndarray
    losses: np.ndarray


Key = tuple[str, int, str, str]  # arm, seed, target, language


@dataclasses.dataclass(frozen=True)
class Collected:
    """An experiment and all that its stages have measured so far.

    `scores` and `items` lack the cells that are missing; `items` also those whose score is not finite.
    `curves` are by stage and task.
    """

    record: Record
    rows: tuple[Result, ...]
    scores: Mapping[Key, Result]
    items: Mapping[Key, Items]
    curves: Mapping[str, Mapping[str, Curve]]


def collect(workdirs: Sequence[pathlib.Path]) -> list[Collected]:
    """Returns the experiments of all work folders, sorted by name."""
    found: dict[str, tuple[pathlib.Path, Collected]] = {}
    for workdir in workdirs:
        for path in sorted((workdir / "experiments").glob("*.json")):
            record = read_record(path)
            if record.name in found:
                raise DataError(
                    f"Experiment '{record.name}' is in {found[record.name][0]} and in {path}.\n"
                    "A report holds one experiment of a name; report the folders apart, or rename one."
                )
            found[record.name] = (path, collect_experiment(workdir, record))
    if not found:
        places = ", ".join(str(workdir / "experiments") for workdir in workdirs)
        raise DataError(
            f"No experiment to report.\nFound no *.json in {places}.\n`xling run` writes one per experiment."
        )
    return [found[name][1] for name in sorted(found)]


def collect_experiment(workdir: pathlib.Path, record: Record) -> Collected:
    """Returns what the stages of one experiment have measured."""
    read_rows = functools.cache(_read_stage_rows)
    read_file = functools.cache(read_items)
    joined: dict[Result, None] = {}
    scores: dict[Key, Result] = {}
    items: dict[Key, Items] = {}
    for cell in record.cells:
        target = record.target(cell.target)
        stage = workdir / "stages" / cell.stage
        rows = [_join(row, record, cell) for row in read_rows(stage) if _belongs(row, target)]
        joined |= dict.fromkeys(rows)
        for language, row in _pick(rows, target, stage).items():
            key = (cell.arm, cell.seed, cell.target, language)
            scores[key] = row
            if math.isfinite(row.value):
                path = stage / "predictions" / target.task / f"{target.split}-{language}.items.jsonl"
                items[key] = read_file(path, target.metric)
                _check_score(row, items[key], stage)
    curves = {entry.dir: read_curves(workdir / "stages" / entry.dir / "metrics.jsonl") for entry in record.stages}
    return Collected(
        record,
        tuple(sorted(joined, key=_order)),
        scores,
        items,
        {stage: by_task for stage, by_task in curves.items() if by_task},
    )


def read_items(path: pathlib.Path, metric: str) -> Items:
    """Returns the per-item sums of one metric."""
    if not path.exists():
        raise DataError(
            f"{path} is missing.\nA row of {_results_beside(path)} gives the score of these items, "
            "and intervals need the items themselves.\nEvaluate the stage again to write both."
        )
    ids: dict[str, None] = {}
    sums: list[tuple[float, float]] = []
    for number, fields in _read_lines(path):
        name, ratio = fields.get("id"), _ratio(fields.get(metric))
        if not isinstance(name, str) or ratio is None:
            allowed = f'{{"id": a string, "{metric}": [numerator, denominator], ...}}, 0 or more each'
            raise broken_line(str(path), number, f"{json.dumps(fields)} is not an item of {metric}", allowed)
        if name in ids:
            raise broken_line(str(path), number, f"id '{name}' is there a second time", "one line per item")
        ids[name] = None
        sums.append(ratio)
    if not sums:
        raise DataError(f"{path} is empty.\nA scored cell has at least one item. Evaluate the stage again.")
    num_N, den_N = np.array(sums, float).T
    return Items(path, tuple(ids), num_N, den_N)


def read_curves(path: pathlib.Path) -> dict[str, Curve]:
    """Returns the training loss of a stage's tasks, by task; nothing if it has written none."""
    points: dict[str, list[tuple[float, float]]] = {}
    for _, fields in _read_lines(path) if path.exists() else ():
        for name, loss in fields.items():
            match name.split("/"):
                case ["train", task, "loss"]:
                    points.setdefault(task, []).append((fields["step"], loss))
    return {task: Curve(*np.array(pairs, float).T) for task, pairs in points.items()}


def _read_stage_rows(stage: pathlib.Path) -> tuple[Result, ...]:
    path = stage / "results.jsonl"
    return tuple(read_results(path)) if path.exists() else ()


def _read_lines(path: pathlib.Path) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise broken_line(str(path), number, f"not JSON ({error})", "one JSON object per line") from error
        if not isinstance(fields, dict):
            raise broken_line(str(path), number, "not a JSON object", "one JSON object per line")
        yield number, fields


def _ratio(pair: Any) -> tuple[float, float] | None:
    """The numerator and denominator, if it is a pair of finite numbers of which none is negative."""
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in pair):
        return None
    return float(pair[0]), float(pair[1])


def _results_beside(items: pathlib.Path) -> pathlib.Path:
    return items.parents[2] / "results.jsonl"


def _belongs(row: Result, target: Target) -> bool:
    return (row.task, row.split) == (target.task, target.split) and row.language in target.languages


def _join(row: Result, record: Record, cell: Cell) -> Result:
    """The row as this experiment sees it. The seed is the cell's: a shared stage serves several."""
    return dataclasses.replace(row, experiment=record.name, study=record.study, arm=cell.arm, seed=cell.seed)


def _pick(rows: Iterable[Result], target: Target, stage: pathlib.Path) -> dict[str, Result]:
    """Returns by language the row of the target's metric."""
    picked: dict[str, Result] = {}
    for row in rows:
        if row.metric != target.metric:
            continue
        if row.language in picked:
            raise DataError(
                f"{stage / 'results.jsonl'} has two rows of {row.metric} on {row.task}.{row.split}.{row.language}.\n"
                f"Found policies {picked[row.language].policy} and {row.policy}, steps {picked[row.language].step} "
                f"and {row.step}; a stage has one row of a cell, that of the checkpoint it hands on."
            )
        picked[row.language] = row
    return picked


def _check_score(row: Result, items: Items, stage: pathlib.Path) -> None:
    if abs(row.value - items.score) > ROUNDING:
        raise DataError(
            f"{stage / 'results.jsonl'} and {items.path} disagree.\n"
            f"The row of {row.metric} says {row.value:.4f}, its items give {items.score:.4f}.\n"
            "Both are written by one evaluation; evaluate the stage again."
        )


def _order(row: Result) -> tuple:
    return (row.arm, row.seed, row.task, row.split, row.language, row.metric, row.policy, row.step, row.stage_hash)
