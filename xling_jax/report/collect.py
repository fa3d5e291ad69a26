"""Reads what runs left behind: experiments, their result rows, their test items, their loss curves.

    WORKDIR/experiments/<name>.json        what was asked, and which stage answers which cell
    WORKDIR/stages/<dir>/results.jsonl     rows of `results.Result`
    WORKDIR/stages/<dir>/metrics.jsonl     {"step": ..., "train/<task>/loss": ..., "time/step": ...} per line
                                           beside it what was watched, see `watched.py`
    WORKDIR/clock/<name>.json              how fast the trained model answers, see `inference.py`
    WORKDIR/time.jsonl                     what the time went to, see `ledger.py`
    WORKDIR/stages/<dir>/predictions/      the test items of the experiment's policy, see `items.py`

A stage that is not there yet leaves its cells missing; a file that contradicts another is an error.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError
from xling_jax.goodput import Goodput, goodput
from xling_jax.ledger import TIME
from xling_jax.report.inference import read_inference
from xling_jax.report.items import Items, read_items, read_lines
from xling_jax.report.record import Cell, Record, Target, read_record
from xling_jax.report.rescored import Rescored, is_rescored, rescored
from xling_jax.report.statistics import Cell as Measured
from xling_jax.report.watched import Watched, read_watched
from xling_jax.results import Result, read_results
from xling_jax.selection import STEP

ROUNDING = 0.01  # points; a row may be rounded to two decimals
OF_STEPS = ("train/", "time/", "rate/")
RATES = {
    "examples": "rate/examples",
    "tokens": "rate/tokens",
    "padded": "rate/padded_tokens",
    "mfu": "share/mfu",
    "flops": "rate/flops",
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """Training loss of a task in a stage, as written: it may hold numbers that are not finite."""

    steps: np.ndarray
    losses: np.ndarray


Key = tuple[str, int, str, str]  # arm, seed, target, language


@dataclasses.dataclass(frozen=True)
class Collected:
    """An experiment and all that its stages have measured so far.

    `scores` and `items` lack the cells that are missing; `items` also those whose score is not finite. Both are
    of each stage's own policy; `by_policy` has the scores of every policy that was measured.
    `curves` are by stage and task, `speeds` and `watched` by stage (see `read_speed`, `read_watched`); `time` is that
    of the whole folder; `inference` is empty where it was not measured. `memo`
    keeps what many tables of this experiment share.
    """

    record: Record
    rows: tuple[Result, ...]
    scores: Mapping[Key, Result]
    by_policy: Mapping[str, Mapping[Key, Result]]
    items: Mapping[Key, Items]
    rescored: tuple[Rescored, ...]
    curves: Mapping[str, Mapping[str, Curve]]
    speeds: Mapping[str, Mapping[str, float]]
    time: Goodput | None
    watched: Mapping[str, Watched] = dataclasses.field(default_factory=dict)
    inference: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    memo: dict[tuple, Measured] = dataclasses.field(default_factory=dict, init=False, compare=False, repr=False)


def collect(
    workdirs: Sequence[pathlib.Path], apart: Mapping[pathlib.Path, Collection[str]] | None = None
) -> list[Collected]:
    """Returns the experiments of all work folders, sorted by name; `apart` are those of a folder that are left out."""
    found: dict[str, pathlib.Path] = {}
    collected: list[Collected] = []
    for workdir in workdirs:
        records = []
        for path in sorted((workdir / "experiments").glob("*.json")):
            record = read_record(path)
            if record.name in found:
                raise DataError(
                    f"Experiment '{record.name}' is in {found[record.name]} and in {path}.\n"
                    "A report holds one experiment of a name; report the folders apart, or rename one."
                )
            found[record.name] = path
            if record.name not in (apart or {}).get(workdir, ()):
                records.append(record)
        collected += collect_folder(workdir, records)
    if not found and not apart:
        places = ", ".join(str(workdir / "experiments") for workdir in workdirs)
        raise DataError(
            f"No experiment to report.\nFound no *.json in {places}.\n`xling run` writes one per experiment."
        )
    return sorted(collected, key=lambda one: one.record.name)


def collect_folder(workdir: pathlib.Path, records: Iterable[Record]) -> list[Collected]:
    """Returns what the stages of a folder's experiments have measured; the files that they share are read once."""
    reader = _Reader(*map(functools.cache, (_read_stage_rows, read_items, read_curves, read_speed)))
    time = goodput(workdir / TIME)
    return [collect_experiment(workdir, record, reader, time) for record in records]


@dataclasses.dataclass(frozen=True)
class _Reader:
    """What reads the files of stages, each once."""

    rows: Callable[[pathlib.Path], tuple[Result, ...]]
    items: Callable[[pathlib.Path, str], Items]
    curves: Callable[[pathlib.Path], dict[str, Curve]]
    speed: Callable[[pathlib.Path], dict[str, float]]


def collect_experiment(workdir: pathlib.Path, record: Record, read: _Reader, time: Goodput | None) -> Collected:
    """Returns what the stages of one experiment have measured; `time` is that of the folder."""
    rows = {entry.dir: read.rows(workdir / "stages" / entry.dir) for entry in record.stages}
    joined: dict[Result, None] = {}
    scores: dict[Key, Result] = {}
    by_policy: dict[str, dict[Key, Result]] = {}
    items: dict[Key, Items] = {}
    for cell in record.cells:
        target = record.target(cell.target)
        stage = workdir / "stages" / cell.stage
        mine = [_join(row, record, cell) for row in rows[cell.stage] if _belongs(row, target)]
        own = record.policy_of(cell.stage)
        joined |= dict.fromkeys(mine)
        for (policy, language), row in _pick(mine, target, stage).items():
            key = (cell.arm, cell.seed, cell.target, language)
            by_policy.setdefault(policy, {})[key] = row
            if policy != own:
                continue
            scores[key] = row
            if math.isfinite(row.value):
                path = stage / "predictions" / target.task / f"{target.split}-{language}.items.jsonl"
                items[key] = read.items(path, target.metric)
                _check_score(row, items[key], stage)
    again = rescored(record, rows)
    for entry in again:
        pair = (row for row in (entry.before, entry.after) if row)
        joined |= {_join(row, record, entry): None for row in pair}
    metrics = {entry.dir: workdir / "stages" / entry.dir / "metrics.jsonl" for entry in record.stages}
    curves = {dir: read.curves(path) for dir, path in metrics.items()}
    speeds = {dir: read.speed(path) for dir, path in metrics.items()}
    watched = {dir: read_watched(path) for dir, path in metrics.items()}
    return Collected(
        record,
        tuple(sorted(joined, key=_order)),
        scores,
        by_policy,
        items,
        again,
        {stage: by_task for stage, by_task in curves.items() if by_task},
        {stage: speed for stage, speed in speeds.items() if speed},
        time,
        {stage: seen for stage, seen in watched.items() if seen.dev or seen.aligned},
        read_inference(workdir / "clock" / f"{record.name}.json"),
    )


def read_curves(path: pathlib.Path) -> dict[str, Curve]:
    """Returns the training loss of a stage's tasks, by task; nothing if it has written none."""
    points: dict[str, list[tuple[float, float]]] = {}
    for _, fields in read_lines(path) if path.is_file() else ():
        for name, loss in fields.items():
            match name.split("/"):
                case ["train", task, "loss"]:
                    points.setdefault(task, []).append((fields["step"], loss))
    return {task: Curve(*np.array(pairs, float).T) for task, pairs in points.items()}


def read_speed(path: pathlib.Path) -> dict[str, float]:
    """Returns what the steps of a stage took and did, added up over its lines; nothing where they do not say.

    By name: seconds, steps, examples, tokens, padded (tokens with padding), input (seconds), flops (of one device), and
    mfu, in seconds, too: how long the steps would take at the devices' peak.
    """
    total: dict[str, float] = {}
    before = 0
    for _, fields in read_lines(path) if path.is_file() else ():
        if not any(name.startswith(OF_STEPS) for name in fields):  # what was watched stands in lines of its own
            continue
        steps, before = fields["step"] - before, fields["step"]
        if "rate/tokens" not in fields:
            continue
        seconds = steps * fields["time/step"]
        done = {"seconds": seconds, "steps": steps, "input": steps * fields["time/input"]}
        done |= {name: seconds * fields.get(key, 0.0) for name, key in RATES.items()}
        total = {name: total.get(name, 0.0) + value for name, value in done.items()}
    return total if total.get("seconds") else {}


def _read_stage_rows(stage: pathlib.Path) -> tuple[Result, ...]:
    path = stage / "results.jsonl"
    return tuple(read_results(path)) if path.is_file() else ()


def _belongs(row: Result, target: Target) -> bool:
    same = (row.task, row.split) == (target.task, target.split) and row.language in target.languages
    return same and not is_rescored(row) and row.policy != STEP


def _join(row: Result, record: Record, cell: Cell | Rescored) -> Result:
    """The row as this experiment sees it. The seed is the cell's: a shared stage serves several."""
    return dataclasses.replace(row, experiment=record.name, study=record.study, arm=cell.arm, seed=cell.seed)


def _pick(rows: Iterable[Result], target: Target, stage: pathlib.Path) -> dict[tuple[str, str], Result]:
    """Returns by policy and language the row of the target's metric."""
    picked: dict[tuple[str, str], Result] = {}
    for row in rows:
        if row.metric != target.metric:
            continue
        key = (row.policy, row.language)
        if key in picked:
            raise DataError(
                f"{stage / 'results.jsonl'} has two rows of {row.metric} on {row.task}.{row.split}.{row.language}.\n"
                f"Found steps {picked[key].step} and {row.step} of policy {row.policy}; "
                "a stage has one row of a cell for each policy, that of the checkpoint it chose."
            )
        picked[key] = row
    return picked


def _check_score(row: Result, items: Items, stage: pathlib.Path) -> None:
    if abs(row.value - items.score) > ROUNDING:
        raise DataError(
            f"{stage / 'results.jsonl'} and {items.path} disagree.\n"
            f"The row of {row.metric} says {row.value:.4f}, its items give {items.score:.4f}.\n"
            "Both are written by one evaluation; evaluate the stage again."
        )


def _order(row: Result) -> tuple:
    cell = (row.arm, row.seed, row.task, row.split, row.language, row.metric)
    return (*cell, row.policy, row.step, row.stage_hash, row.protocol)
