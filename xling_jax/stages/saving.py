"""The checkpoints of a stage under way: which are kept, how each scored, and when training has gone on long enough."""

from collections.abc import Callable
from typing import Any

from xling_jax.experiment import Stage
from xling_jax.selection import Selection, candidates, exhausted, needed
from xling_jax.train.checkpoint import HISTORY, Checkpoints


class Saver:
    """Judges states, each before it is saved, and saves them: a checkpoint has its own score and those of all before it.

    So a run that goes on from a checkpoint selects what it would have selected, and stops where it would have stopped.
    """

    def __init__(self, checkpoints: Checkpoints, stage: Stage, steps: int, judge: Callable[[Any], float] | None):
        """Takes `judge`, parameters -> score on the stage's dev cell; None where nothing is selected by it."""
        self._checkpoints, self._stage, self._steps, self._judge = checkpoints, stage, steps, judge
        self._history: list[tuple[int, float]] = []

    def go_on(self, step: int) -> None:
        """Takes up the history of the checkpoint that training goes on from; there is none of step 0.

        What the run before had come to remove, but was ended, goes.
        """
        self._history = self._checkpoints.meta(step)[HISTORY] if step else []
        before = [there for there in self._checkpoints.steps() if there < step]
        if self._stage.selection == Selection():
            self._checkpoints.drop(before)
        else:
            self._tidy(before)

    def judge(self, step: int, state: Any) -> float | None:
        """Returns the score of a state that is about to be saved, None if it is no candidate or nothing is judged."""
        if self._judge is None or not self._candidates([step]):
            return None
        score = self._judge(state["params"])
        self._history.append((step, score))
        return score

    def __call__(self, step: int, state: Any) -> None:
        """Starts to save a state. The checkpoint before it stays until this one is whole, whatever is selected."""
        selection, before = self._stage.selection, self._checkpoints.steps()
        self._checkpoints.save(step, state, self._history)
        if selection != Selection():  # then Orbax removes the one before
            self._tidy(before)

    def _tidy(self, before: list[int]) -> None:
        """Removes what is not needed of the checkpoints before the newest one, which may not be whole yet."""
        kept = needed(self._stage.selection, self._history, self._candidates(before)) | set(before[-1:])
        self._checkpoints.drop(set(before) - kept)

    def _candidates(self, steps: list[int]) -> list[int]:
        return candidates(steps, self._stage.save_every, self._steps)

    def enough(self) -> bool:
        """Whether as many checkpoints as patience allows were not the best."""
        return exhausted(self._stage.selection, self._history)
