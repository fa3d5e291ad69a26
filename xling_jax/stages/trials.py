"""Trials: stages of one shape under way together, whose steps are one program (`xling run --trials=K`).

Each is run by a thread of its own, as it is alone, with its own batches, curves, checkpoints and results; here alone is
known that it has company. A thread waits at each step until all others have come to one or have left, and then whoever
came last sends the step of all. They take turns, so that at any time one of them is at work: programs of a mesh may not
be sent from two threads at once.

Who stands at an earlier step than others, because a run was killed between two saves, goes on until all are at the same
one. Who has ended, in whatever way, has left, and the others go on in a smaller program.
"""

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xling_jax.data.batches import Batches
from xling_jax.errors import ConfigError
from xling_jax.experiment import Experiment, Handover, Optim
from xling_jax.ledger import COMPILE, current
from xling_jax.mixing import Mixing
from xling_jax.models.build import HeadSpec
from xling_jax.partitioning import hosts
from xling_jax.partitioning.trials import pick, sharding_of_states, stack
from xling_jax.selection import Selection
from xling_jax.stages.plan import Node
from xling_jax.stages.programs import Programs
from xling_jax.tables.meshes import mesh


def check_trials(trials: int, experiments: Sequence[Experiment]) -> None:
    """Raises ConfigError where several trainings cannot be one program."""
    if trials == 1:
        return
    if hosts.count() > 1:
        raise ConfigError(f"--trials={trials} on {hosts.count()} hosts.\nAllowed: one host; or --trials=1.")
    for experiment in experiments:
        row = mesh(experiment.mesh)
        if (row.fsdp, row.tensor) != (1, 1):
            raise ConfigError(
                f"--trials={trials}, and the mesh of experiment '{experiment.name}', '{experiment.mesh}', divides "
                "parameters.\nAllowed: a mesh of data alone, as 'any' is (xling_jax/tables/meshes.py); or --trials=1."
            )


def shape_of(node: Node) -> tuple:
    """Returns what stages must have in common to be trials of one another: all that decides what is compiled.

    Seeds, learning rates and parents differ, and when checkpoints are written and which is chosen; so may the data of
    the same heads, where the number of steps does not come from them.
    """
    stage = node.stage
    free: dict[str, Any] = {"optim": without_rate(stage.optim), "handover": Handover(), "selection": Selection()}
    free |= {"save_every": 0, "log_every": 1}
    if stage.steps:
        free |= {"data": (), "examples": 0, "mixing": Mixing()}
    return node.imported, node.heads, dataclasses.replace(stage, **free)


def without_rate(optim: Optim) -> Optim:
    """Returns how parameters are moved, whatever the learning rate, which programs are given at each step."""
    return dataclasses.replace(optim, learning_rate=1.0, schedule="constant", warmup=0.0)


def groups(nodes: Sequence[Node], most: int) -> list[list[Node]]:
    """Returns stages that are ready in groups of at most so many of one shape, in the order of their first ones."""
    found: list[list[Node]] = []
    for node in nodes:
        shape = shape_of(node)
        group = next((each for each in found if len(each) < most and shape_of(each[0]) == shape), None)
        if group is None:
            found.append(group := [])
        group.append(node)
    return found


def companies(count: int) -> Sequence["Solo | Trial"]:
    """Returns for each stage of a group how it is trained."""
    return Group(count).trials if count > 1 else [Solo()]


Steps = dict[str, Callable]  # by head: (state, batch, learning rate) -> (state, metrics)
Training = tuple[Steps, Callable, Callable[[], bool]]  # what takes steps, what places batches, whether to stop


class Solo:
    """How a stage is trained that has no company."""

    def __enter__(self) -> "Solo":
        return self

    def __exit__(self, *_) -> None:
        pass

    def beside(self, what: str) -> contextlib.AbstractContextManager:
        """The block does something else than steps, a name of `ledger.KINDS`."""
        return contextlib.nullcontext()

    def training(
        self, programs: Programs, node: Node, source: Batches, start: int, stop_asked: Callable[[], bool]
    ) -> Training:
        """Returns how a stage is trained from step `start` on."""
        del source, start

        def bind(head):
            step = programs.step(node.heads, head, node.stage.optim, node.stage.accumulate)
            return lambda state, batch, rate: step(state, batch, rate, node.seed)

        return _by_head(node, bind), programs.place_share, stop_asked


def _by_head(node: Node, bind: Callable[[HeadSpec], Callable]) -> Steps:
    """Returns what takes the steps of each head, by the name that batches say."""
    return {"text" if node.stage.prompts else head.name: bind(head) for head in node.heads}


class Trial:
    """How a stage is trained that has company; the block that it is entered for is that of its thread."""

    def __init__(self, group: "Group"):
        """Takes the company."""
        self._group = group
        self.stop = False

    def __enter__(self) -> "Trial":
        self._group.turn.acquire()
        return self

    def __exit__(self, *_) -> None:
        try:
            self._group.leave(self)
        finally:
            self._group.turn.release()

    @contextlib.contextmanager
    def beside(self, what: str) -> Generator[None]:
        """The block does something else than steps, a name of `ledger.KINDS`, for which the others wait."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._group.spend(what, time.perf_counter() - began)

    def training(
        self, programs: Programs, node: Node, source: Batches, start: int, stop_asked: Callable[[], bool]
    ) -> Training:
        """Returns how a stage is trained from step `start` on, its batches being placed with the others'."""
        number = itertools.count(start)

        def bind(head):
            work = _Work(programs, node, head, source)

            def step(state, batch, rate):
                at = next(number)
                state = _to_host(state) if at == start else state
                return self._group.step(self, _Come(at, work, state, batch, rate, stop_asked()))

            return step

        return _by_head(node, bind), lambda batch: batch, lambda: self.stop


class _Work:
    """What steps of one trial and head have in common."""

    def __init__(self, programs: Programs, node: Node, head: HeadSpec, source: Batches):
        self.programs, self.source, self.seed = programs, source, node.seed
        self.alike = id(programs), source.pattern  # whose are equal has batches of the same shape at the same step
        self.program = node.heads, head, node.stage.optim, node.stage.accumulate
        self.program_at_once = node.heads, head, without_rate(node.stage.optim), node.stage.accumulate
        self.abstract = programs.state_maker(node.heads, node.stage.optim)[1]


@dataclasses.dataclass(frozen=True)
class _Come:
    """What a trial has come to its next step with, after `step` others: a batch of the host, and whether to stop."""

    step: int
    work: _Work
    state: Mapping[str, Any]
    batch: dict[str, np.ndarray]
    rate: float
    stop: bool


class Group:
    """Trials under way together."""

    def __init__(self, count: int):
        """Takes how many; each is to be entered by a thread of its own, and the others wait until it is."""
        self.turn = threading.Condition()  # is held by who is at work
        self.trials = [Trial(self) for _ in range(count)]
        self._there = list(self.trials)
        self._come: dict[Trial, _Come] = {}
        self._done: dict[Trial, Any] = {}
        self._spent: dict[str, float] = {}  # by all of them, on other things than steps

    def spend(self, what: str, seconds: float) -> None:
        """Takes time that a trial was at work, and its others waited."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def step(self, trial: Trial, come: _Come) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Returns (state, metrics) of a trial's step, taken with the others'; raises what that has raised."""
        self._come[trial] = come
        self._go_on()
        before, event = dict(self._spent), current()
        self.turn.wait_for(lambda: trial in self._done)
        if event is not None:
            for what, seconds in self._spent.items():
                event.spend(what, seconds - before.get(what, 0.0))
        done = self._done.pop(trial)
        if isinstance(done, Exception):
            raise done
        return done

    def leave(self, trial: Trial) -> None:
        """Says that a trial comes to no other step."""
        self._there.remove(trial)
        self._go_on()

    def _go_on(self) -> None:
        """Takes the earliest steps if all trials have come to one, those together whose batches can be stacked."""
        if not self._come or len(self._come) < len(self._there):
            return
        earliest = min(come.step for come in self._come.values())
        alike: dict[tuple, list[Trial]] = {}
        for trial in self._there:
            if self._come[trial].step == earliest:
                alike.setdefault(self._come[trial].work.alike, []).append(trial)
        for trials in alike.values():
            self._done.update(zip(trials, self._taken(trials), strict=True))
        self.turn.notify_all()

    def _taken(self, trials: Sequence[Trial]) -> Sequence[Any]:
        """Returns (state, metrics) of each of some trials, or what came of taking their step."""
        come, before = [self._come.pop(trial) for trial in trials], _compiling()
        for trial in trials:
            trial.stop = any(one.stop for one in come)  # all of them at the same step
        try:
            return [_alone(*come)] if len(come) == 1 else _at_once(come)
        except Exception as error:  # it is each one's: their states may be gone
            return [error] * len(come)
        finally:
            self.spend(COMPILE, _compiling() - before)


def _compiling() -> float:
    """Returns what of the event under way in this thread was spent on compiling."""
    event = current()
    return event.spent.get(COMPILE, 0.0) if event else 0.0


def _alone(come: _Come) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Takes the step of a trial as one without company does."""
    work, state = come.work, come.state
    if not isinstance(jax.tree.leaves(state)[0], jax.Array):
        state = jax.device_put(dict(state), jax.tree.map(lambda leaf: leaf.sharding, work.abstract))
    return work.programs.step(*work.program)(state, work.programs.place_share(come.batch), come.rate, work.seed)


def _at_once(come: Sequence[_Come]) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Takes the steps of several trials by one program; batches are padded to the longest one's length."""
    work, count = come[0].work, len(come)
    length = max(one.batch["input_ids"].shape[-1] for one in come)
    batches = [one.work.source.widened(one.step, one.batch, length) for one in come]
    batch = {name: np.stack([one[name] for one in batches]) for name in batches[0]}
    rates, seeds = [one.rate for one in come], [one.work.seed for one in come]
    program = work.programs.steps_at_once(*work.program_at_once, count)
    states, metrics = program(_stacked([one.state for one in come], work.programs.mesh), batch, rates, seeds)
    return [
        (Slice(states, at, count, one.work.abstract), {name: Picked(value, at) for name, value in metrics.items()})
        for at, one in enumerate(come)
    ]


def _stacked(states: Sequence[Mapping[str, Any]], mesh: jax.sharding.Mesh) -> Any:
    """Returns states as one; as they are where they are just the parts of one."""
    first = states[0]
    if isinstance(first, Slice) and first.count == len(states) and all(map(first.is_beside, states)):
        return first.tree  # trials are always in the order of their group
    where = sharding_of_states(mesh, len(states))
    return stack([jax.device_get(dict(state)) for state in states], where)


def _to_host(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state in the host's memory alone: several wait to be stacked, and a device may not hold them all."""
    copies = jax.tree.map(np.array, dict(state))
    for leaf in jax.tree.leaves(dict(state)):
        leaf.delete()
    return copies


class Slice(Mapping):
    """A trial's part of the states of several: the one it has alone, made where it is asked for, until the next step.

    `tree` are the states of `count` trials, of which this is one's by `number`; `like` has the shardings of one state.
    """

    def __init__(self, tree: Any, number: int, count: int, like: Any):
        self.tree, self.number, self.count, self._like = tree, number, count, like

    def is_beside(self, other: Mapping[str, Any]) -> bool:
        """Whether another state is a part of the same states."""
        return isinstance(other, Slice) and other.tree is self.tree

    def __getitem__(self, name: str) -> Any:
        return pick(self.tree[name], self.number, self._like[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tree)

    def __len__(self) -> int:
        return len(self.tree)


@dataclasses.dataclass(frozen=True)
class Picked:
    """A trial's part of a metric of several, read with all of it."""

    values: Any
    number: int

    def is_ready(self) -> bool:
        """Whether it is there."""
        return self.values.is_ready()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(np.asarray(self.values)[self.number], dtype)
