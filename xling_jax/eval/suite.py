"""From a checkpoint's parameters to result rows: every language of a target, in one pass."""

import collections
import dataclasses
import importlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from xling_jax.errors import NumericalError
from xling_jax.eval.predict import Outputs
from xling_jax.experiment import Target
from xling_jax.partitioning.hosts import write_text
from xling_jax.protocol import Protocol, describe, resolve
from xling_jax.results import Result
from xling_jax.scoring.metrics import Pairs, score, scorer_of, value
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.prompts import LABELS
from xling_jax.tables.tasks import TASKS, Cell


@dataclasses.dataclass(frozen=True)
class OpenCell:
    """A cell opened for evaluation: raw examples, prepared ones, and what stands beside its score.

    `floors` and `ceilings` are percentages by metric.
    """

    cell: Cell
    raw: Sequence[dict]
    prepared: Any  # data.prepare.Prepared
    floors: dict[str, float]
    ceilings: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What an evaluator is told besides a model's outputs. `beside` is what it made of other cells.

    `decode` makes texts of what a model writes.
    """

    target: Target
    mesh: jax.sharding.Mesh | None = None
    beside: Any = None
    probabilities: bool = False
    decode: Callable[[np.ndarray], str] = str

    @property
    def writes(self) -> bool:
        """Whether answers are texts that the model wrote."""
        return self.target.speaks and self.protocol.answer == "generate"

    @property
    def protocol(self) -> Protocol:
        """Returns the target's protocol, with the kind's own choices where it leaves them open."""
        return resolve(self.target.protocol, TASKS[self.target.task].kind)


def kind_module(kind: str) -> ModuleType:
    """Returns the evaluator of a kind of task; the file's name is the kind."""
    return importlib.import_module(f"xling_jax.eval.{kind}")


def others_of(cell: Cell, target: Target) -> tuple[Cell, ...]:
    """Returns the cells that the answers of a cell depend on besides its own."""
    module = kind_module(cell.row.kind)
    return module.others(cell, target) if hasattr(module, "others") else ()


def protocol_of(target: Target) -> str:
    """Returns what a target's numbers depend on besides model and data; "" if nothing."""
    row = TASKS[target.task]
    said = describe(target.protocol, row.kind, target.speaks, row.unanswerable, split=target.split)
    limit = f" answer_length={target.answers()}" if row.kind not in LABELS else ""
    return f"prompts={target.prompts} {said}{limit}" if target.speaks else said


def scores_of(cell: Cell, raw: Sequence[dict], predictions: Sequence[Any]) -> Pairs:
    """Returns the metrics of a cell's predictions by the rule of its task."""
    return score(cell.row.kind, raw, predictions, cell.language, cell.row.scorer)


def submission_path(folder: pathlib.Path, cell: Cell, ending: str) -> pathlib.Path:
    """Returns where the predictions of a cell lie, in the layout of XTREME: <task>/<split>-<language>.<ending>."""
    return folder / cell.task / f"{cell.split}-{cell.language}.{ending}"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One target on one set of parameters: answers, files and scores of its cells, one after another.

    `answers`: prepared cells, `heed` -> the outputs of each, arrays that the kind's `device` returns; `open_cell` opens
    a cell of the target's task. `heed` is told before each batch how many of the cells are answered, by the share of
    their texts, and raises what is to end it.
    """

    setting: Setting
    answers: Callable[[Iterable[Any], Callable[[float], None]], Iterator[Outputs]]
    open_cell: Callable[[Cell], OpenCell]
    heed: Callable[[float], None] = lambda answered: None
    _gathered: dict[tuple[Cell, ...], Any] = dataclasses.field(default_factory=dict)

    def __call__(
        self, cells: Iterable[Cell], folder: pathlib.Path | None = None
    ) -> Iterator[tuple[dict[str, float], OpenCell]]:
        """Yields ({metric: percent}, the cell); no metrics where labels are withheld.

        Cells are asked for before those before them are answered. With a folder, predictions and per-example scores
        are written to it.
        """
        for opened, outputs in self._outputs(cells, self.heed):
            values = self._scored(opened, outputs, folder)
            del outputs  # before the next cell's come
            yield values, opened

    def _scored(self, opened: OpenCell, outputs: Outputs, folder: pathlib.Path | None) -> dict[str, float]:
        cell, module = opened.cell, kind_module(opened.cell.row.kind)
        setting = dataclasses.replace(self.setting, beside=self._beside(cell, module))
        predictions = module.answers(outputs, opened.raw, setting)
        pairs = {} if cell.withheld else scores_of(cell, opened.raw, predictions)
        if folder is not None:
            ending, text = module.submission(predictions, opened.raw)
            write_text(submission_path(folder, cell, ending), text)
            lines = _items(module.detail(outputs, opened.raw, setting), opened.raw, pairs)
            write_text(submission_path(folder, cell, "items.jsonl"), "".join(f"{line}\n" for line in lines))
            if setting.target.speaks and hasattr(module, "priors"):
                priors = json.dumps(module.priors(outputs, setting))
                write_text(submission_path(folder, cell, "priors.json"), f"{priors}\n")
        return {name: value(pairs_Nx2) for name, pairs_Nx2 in pairs.items()}

    def layers(self, cells: Iterable[Cell]) -> Iterator[dict[int, float]]:
        """Yields the first metric, in percent, of every hidden state; the setting's layer is `protocol.ALL`."""
        for opened, outputs in self._outputs(cells, self.heed):
            cell, kind = opened.cell, opened.cell.row.kind
            found = kind_module(kind).layer_scores(outputs, opened.raw, self.setting)
            metric = KINDS[kind].metrics[0]
            yield {layer: value(scores_of(cell, opened.raw, answers)[metric]) for layer, answers in found.items()}

    def _outputs(self, cells: Iterable[Cell], heed: Callable[[float], None]) -> Iterator[tuple[OpenCell, Outputs]]:
        """Yields cells with their outputs, which are finite."""
        waiting: collections.deque[OpenCell] = collections.deque()

        def prepared() -> Iterator[Any]:
            for cell in cells:
                waiting.append(self.open_cell(cell))
                yield waiting[-1].prepared

        for found in self.answers(prepared(), heed):
            opened = waiting.popleft()
            if found.broken is not None:
                raise NumericalError(
                    f"What the model says of example '{opened.raw[found.broken]['id']}' of {opened.cell} is not "
                    "finite.\nThe checkpoint has diverged. Train it again with a lower learning rate, or evaluate an "
                    "earlier one."
                )
            yield opened, found
            del found  # vectors of a cell of mining fill a host's memory twice, else

    def _beside(self, cell: Cell, module: ModuleType) -> Any:
        """Returns what the kind makes of the cells that this one depends on; made once for all that share them."""
        others = others_of(cell, self.setting.target)
        if others and others not in self._gathered:
            found = {
                opened.cell: (outputs, opened.raw)
                for opened, outputs in self._outputs(others, lambda _: self.heed(0.0))
            }
            self._gathered.clear()  # vectors of a million candidates are kept once
            self._gathered[others] = module.gather(found, self.setting)
        return self._gathered.get(others)


def _items(detail: Sequence[dict], raw: Sequence[dict], pairs: dict[str, np.ndarray]) -> list[str]:
    """Returns a line of JSON for each example: its id, its part of each metric, and what the kind adds."""
    return [
        json.dumps({"id": example["id"]} | {name: pairs[name][at].tolist() for name in pairs} | more)
        for at, (example, more) in enumerate(zip(raw, detail, strict=True))
    ]


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
            scorer=scorer_of(opened.cell.row.kind, opened.cell.row.scorer).id,
            protocol=protocol_of(target),
            data_checksum=opened.prepared.checksum[:16],
            floor=opened.floors.get(metric),
            ceiling=opened.ceilings.get(metric),
            **stage,
        )
        for metric, percent in values.items()
    ]
