"""Checkpoints evaluated by another process than the one that writes them: one, or each that a training makes, once."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xling_jax.disk import as_path
from xling_jax.errors import CheckpointError, Interrupted
from xling_jax.experiment import Experiment, with_prompts
from xling_jax.models.card import NAME, Card, read_card
from xling_jax.models.lora import merge_lora
from xling_jax.optim import Optim
from xling_jax.partitioning import hosts
from xling_jax.results import Result
from xling_jax.selection import STEP
from xling_jax.stages.cells import Cells
from xling_jax.stages.evaluation import Examinee, Examiner, Question, known_rows, left_of, write_rows
from xling_jax.stages.plan import Start
from xling_jax.stages.programs import Programs
from xling_jax.stages.start import open_start
from xling_jax.stages.sweep import chosen_layers
from xling_jax.stages.transfer import with_adapters
from xling_jax.stages.words import Words
from xling_jax.tables.tasks import Cell
from xling_jax.train.checkpoint import CHECKPOINTS, PARAMS, chosen, open_own, whole_steps
from xling_jax.train.writer import Display

LOOK_EVERY = 10.0  # seconds


class Follower:
    """Evaluates the checkpoints of one folder; all of them share what is compiled and prepared."""

    def __init__(
        self,
        asked: Experiment,
        workdir: pathlib.Path,
        data_dir: pathlib.Path | None,
        display: Display,
        sweep: Mapping[str, tuple[Cell, ...]] | None = None,
    ):
        """Computes nothing yet.

        Args:
          asked: an experiment with a checkpoint and targets, and no stages.
          workdir: for results: WORKDIR/stages/<folder>@<step>-<hash>.
          data_dir: the data folder.
          display: what is said.
          sweep: names of targets whose layer is chosen, each with the cells to choose it on.
        """
        self._sweep = sweep or {}
        self._asked, self._workdir, self._data_dir, self._display = asked, workdir, data_dir, display
        self._folder = as_path(asked.checkpoint)
        self._cells: Cells | None = None
        self._programs: Programs | None = None

    def evaluate(self, step: int | None, stop_asked: Callable[[], bool]) -> list[Result]:
        """Returns the rows of a checkpoint, None for the folder's own, evaluating what is left of it."""
        start = open_start(dataclasses.replace(self._asked, checkpoint_step=step))
        assert start is not None, "an experiment without a checkpoint"
        folder = self._workdir / "stages" / f"{self._folder.name}@{start.step}-{start.fingerprint}"
        policy = STEP if step is not None else chosen(self._folder)[2]
        asked = with_prompts(self._asked, start.card.model)
        targets, examiner, params = dict(asked.targets), None, None
        if self._sweep:
            examiner, params = self._examiner(start), self._read(start, step)
            swept = {name: (targets[name], dev) for name, dev in self._sweep.items()}
            targets |= chosen_layers(examiner, folder, (start.card.heads, params), swept)
        left = left_of([Question(name, target, policy) for name, target in targets.items()], folder, policy)
        if left:
            examiner = examiner or self._examiner(start)
            params = params or self._read(start, step)
            stage = {"seed": 0, "stage": folder.name, "stage_hash": start.fingerprint, "step": start.step}
            if hosts.first():
                folder.mkdir(parents=True, exist_ok=True)
            examiner.ask(left, Examinee(start.card.heads, params, folder, stage | {"policy": policy}), stop_asked)
        rows = known_rows(folder)
        self._join()
        return rows

    def _examiner(self, start: Start) -> Examiner:
        if self._cells is None or self._programs is None:
            self._cells = Cells(self._asked, self._workdir, self._data_dir, start.vocabulary)
            tokenizer = self._cells.tokenizer()
            words = Words(tokenizer.eos, tokenizer.pad, self._cells.blank)
            asked = with_prompts(self._asked, start.card.model)
            self._programs = Programs(asked, start.card.model, tokenizer.size, tokenizer.mask, words)
        return Examiner(self._asked, self._cells, self._programs, self._display)

    def _read(self, start: Start, step: int | None) -> Any:
        """Returns a checkpoint's parameters, merged with adapters beside them."""
        assert self._programs is not None, "programs come first"
        _, abstract = self._programs.state_maker(start.card.heads, Optim())
        with open_own(self._folder, step, create=False) as (checkpoints, there):
            shapes = checkpoints.meta(there)[PARAMS]["shapes"]
            return merge_lora(checkpoints.restore_params(there, with_adapters(abstract["params"], shapes)))

    def _join(self) -> None:
        """Writes the rows of all checkpoints evaluated here into one file."""
        rows = [row for path in sorted(self._workdir.glob("stages/*/results.jsonl")) for row in known_rows(path.parent)]
        if hosts.first():
            self._workdir.mkdir(parents=True, exist_ok=True)
        write_rows(self._workdir, sorted(rows, key=lambda row: (row.step, row.task, row.language)))

    def follow(self, stop_asked: Callable[[], bool], wait: float = LOOK_EVERY) -> Iterator[list[Result]]:
        """Yields the rows of each checkpoint as it comes, until the stage is done; those that are there already first.

        What is evaluated is known by its content, so nothing is evaluated twice, whenever this is started again.
        Raises Interrupted when asked to stop while it waits.
        """
        seen: set[int] = set()
        said = False
        while True:
            done, steps = hosts.first_does("checkpoints to evaluate", self._look)
            for step in steps:
                if step not in seen:
                    rows = self._whole(step, stop_asked)
                    seen.add(step)
                    if rows:
                        yield rows
            if done:
                return
            if not said:
                self._display.say(f"waiting for checkpoints of {self._folder}; Ctrl-C stops")
                said = True
            _sleep(wait, stop_asked)

    def _look(self) -> tuple[bool, list[int]]:
        """Returns whether the stage is done, and the checkpoints that are there."""
        done = (self._folder / "DONE").is_file()  # looked at first, lest a checkpoint comes between the two
        return done, self._steps()

    def _steps(self) -> list[int]:
        """Returns the checkpoints that are there; none before a training has begun."""
        return whole_steps(self._folder / CHECKPOINTS) if (self._folder / NAME).is_file() else []

    def _whole(self, step: int, stop_asked: Callable[[], bool]) -> list[Result]:
        """Returns the rows of a checkpoint; nothing if the training removed it before it was read."""
        try:
            return self.evaluate(step, stop_asked)
        except (CheckpointError, OSError):
            if hosts.count() > 1 or step in self._steps():  # other hosts may have read it, and go on
                raise
            self._display.say(
                f"step {step} was removed before it was read; a stage without `selection` keeps its newest one"
            )
            return []


def wait_for(
    folder: pathlib.Path, follow: bool, stop_asked: Callable[[], bool], display: Display, wait: float = LOOK_EVERY
) -> Card:
    """Returns the card of a checkpoint; one that is followed may come later. Raises Interrupted when asked to stop."""
    if follow and not (folder / NAME).is_file():
        display.say(f"waiting for {folder}; Ctrl-C stops")

        def come() -> None:
            while not (folder / NAME).is_file():
                _sleep(wait, stop_asked)

        hosts.first_does(f"{folder} to come", come)
    return read_card(folder)


def _sleep(seconds: float, stop_asked: Callable[[], bool]) -> None:
    hosts.first_does("the next look", lambda: _wait(seconds, stop_asked))


def _wait(seconds: float, stop_asked: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if stop_asked():
            raise Interrupted("Stopped while waiting.\nRun the same command again to go on.")
        time.sleep(min(0.2, seconds))


def summary(rows: list[Result], source: str) -> Iterator[str]:
    """Yields a line for each task and metric: the mean over languages, the source language, the lowest and highest."""
    cells: dict[tuple[int, str, str, str], dict[str, float]] = {}
    for row in rows:
        cells.setdefault((row.step, row.task, row.split, row.metric), {})[row.language] = row.value
    for (step, task, split, metric), scores in cells.items():
        mean = sum(scores.values()) / len(scores)
        own = f", {source} {scores[source]:.1f}" if source in scores else ""
        low, high = (choose(scores, key=scores.__getitem__) for choose in (min, max))
        spread = f", {low} {scores[low]:.1f} to {high} {scores[high]:.1f}" if len(scores) > 1 else ""
        yield f"{task}.{split} {metric} at step {step}: {mean:.1f} over {len(scores)} languages{own}{spread}"
