"""From a checkpoint's parameters to result rows: every language of a target, in one pass."""

import dataclasses
import importlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xling_jax.eval.predict import predict
from xling_jax.experiment import Target
from xling_jax.results import Result
from xling_jax.scoring.metrics import SCORERS, score, value
from xling_jax.tables.tasks import TASKS, Cell


@dataclasses.dataclass(frozen=True)
class OpenCell:
    """A cell opened for evaluation: raw examples, its batches in order, and what stands beside its score.

    `floors` and `ceilings` are percentages by metric.
    """

    cell: Cell
    raw: Sequence[dict]
    batches: Any  # iterable of (feature numbers, batch)
    example_N: np.ndarray
    checksum: str
    floors: dict[str, float]
    ceilings: dict[str, float]


def kind_module(kind: str):
    """Returns the evaluator of a kind of task; the file's name is the kind."""
    return importlib.import_module(f"xling_jax.eval.{kind}")


def protocol_of(target: Target) -> str:
    """Returns what a target's numbers depend on besides model and data; "" if nothing."""
    module = kind_module(TASKS[target.task].kind)
    return module.protocol(target) if hasattr(module, "protocol") else ""


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def evaluate_cell(opened: OpenCell, target: Target, output_fn: Callable, place: Callable, folder: pathlib.Path):
    """Returns {metric: percent} of one cell, and writes its predictions and per-example scores to `folder`."""
    kind = TASKS[target.task].kind
    module = kind_module(kind)
    rows = predict(output_fn, opened.batches, place, opened.example_N, len(opened.raw))
    predictions = module.answers(rows, opened.raw, target)
    pairs = score(kind, opened.raw, predictions)
    ending, text = module.submission(predictions, opened.raw)
    stem = f"{opened.cell.split}-{opened.cell.language}"
    write_text(folder / target.task / f"{stem}.{ending}", text)
    lines = [
        json.dumps({"id": example["id"]} | {name: pairs[name][at].tolist() for name in pairs})
        for at, example in enumerate(opened.raw)
    ]
    write_text(folder / target.task / f"{stem}.items.jsonl", "\n".join(lines) + "\n")
    return {name: value(pairs_Nx2) for name, pairs_Nx2 in pairs.items()}


def result_rows(values: dict[str, float], opened: OpenCell, target: Target, stage: dict[str, Any]) -> list[Result]:
    """Returns one row for each metric. `stage` has seed, stage, stage_hash, step and policy."""
    return [
        Result(
            experiment=None,
            study=None,
            arm=None,
            task=target.task,
            language=opened.cell.language,
            split=opened.cell.split,
            metric=metric,
            value=percent,
            n=len(opened.raw),
            scorer=SCORERS[TASKS[target.task].kind].id,
            protocol=protocol_of(target),
            data_checksum=opened.checksum[:16],
            floor=opened.floors.get(metric),
            ceiling=opened.ceilings.get(metric),
            **stage,
        )
        for metric, percent in values.items()
    ]
