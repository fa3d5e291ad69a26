"""Alignment while a stage is trained: where English training begins to damage the space that languages share.

Lines of their own in metrics.jsonl, of the state after a step, of step 0 that of which the stage begins:

    {"step": 100, "align/qdt/sentences": 500, "align/qdt/layer0/accuracy": 61.2, "align/qdt/layer0/similarity": 0.31}

Accuracy is in percent, the mean of both directions of retrieval; similarity is a difference of cosines (see
`eval/alignment.py`).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xling_jax.errors import DataError, NumericalError
from xling_jax.eval.alignment import FEWEST, alignments
from xling_jax.experiment import Part, Stage, Target, Watch
from xling_jax.models.lora import merge_lora
from xling_jax.protocol import ALL, Protocol
from xling_jax.stages.evaluation import Examiner
from xling_jax.stages.plan import judge
from xling_jax.tables.kinds import KINDS


class Watcher:
    """Measures the alignment of one stage under way, each step once."""

    def __init__(
        self,
        examiner: Examiner,
        log: Callable[[int, Mapping[str, float]], None],
        doing: Callable[[], contextlib.AbstractContextManager],
    ):
        """Computes nothing yet.

        Args:
          examiner: has the experiment, its cells and programs.
          log: gets (step, values).
          doing: a context in which time is that of evaluation.
        """
        self._examiner, self._log, self._doing = examiner, log, doing
        self._watch: Watch = examiner.experiment.watch
        self._last: int | None = None

    @property
    def every(self) -> int:
        """Returns the steps between two looks, 0 for none."""
        return self._watch.every if self._watch.on else 0

    def __call__(self, step: int, state: Any) -> None:
        """Measures the state after a step, if that is not done and anything is watched."""
        if not self.every or step == self._last:
            return
        with self._doing():
            params = merge_lora(state["params"])
            values = {name: value for part in self._watch.parts() for name, value in self._of(part, params)}
        if values:
            self._log(step, values)
        self._last = step

    def _of(self, part: Part, params: Any) -> Iterator[tuple[str, float]]:
        """Yields the keys of a cell and their values, of vectors that are finite.

        Where they are not, that is told and training goes on: its own loss will say in which batch it went wrong.
        """
        cells, programs = self._examiner.cells, self._examiner.programs
        prepared = cells.prepare(part)
        if prepared.examples < FEWEST:
            raise DataError(
                f"{part.cell} is watched, and has {prepared.examples} pairs.\nAllowed: {FEWEST} or more. `watch.cells` "
                "is a field of xling_jax/experiment.py."
            )
        output, laid_out = programs.output((), watched_target(self._watch)), programs.laid_out(params)
        (outputs,) = output.answers(laid_out, [prepared], self._examiner.experiment.eval_batch_size)
        names = [f"{part.cell}#{number}" for number in range(prepared.examples)]
        how: dict[str, Any] = {"centre": self._watch.centre, "layers": self._watch.layers, "mesh": programs.mesh}
        try:
            aligned = alignments(outputs.stack("vectors").swapaxes(1, 2), names, **how)
        except NumericalError as error:
            self._examiner.display.say(f"  alignment is not measured: {str(error).splitlines()[0]}")
            return
        yield f"align/{part.cell.language}/sentences", prepared.examples
        for layer, found in aligned.items():
            yield f"align/{part.cell.language}/layer{layer}/accuracy", found.accuracy
            yield f"align/{part.cell.language}/layer{layer}/similarity", found.similarity


def watched_target(watch: Watch) -> Target:
    """Returns what is asked of a model: all states of pairs. One program does it for all cells, heads and stages.

    It is compiled for the first cell's task; nothing of it depends on which one that is.
    """
    task = watch.parts()[0].cell.task
    return Target(task, max_length=watch.max_length, protocol=Protocol(layer=ALL, pooling=watch.pooling))


def dev_key(stage: Stage) -> str:
    """Returns the key of the score of a stage's judged checkpoints: dev/mnli.dev.en/accuracy."""
    (cell,) = judge(stage).cells()
    return f"dev/{cell}/{KINDS[cell.row.kind].metrics[0]}"
