"""Where the metrics of a training go: metrics.jsonl, TensorBoard's files, Weights & Biases. One interface for all."""

import contextlib
import importlib.util
import pathlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

from xling_jax.errors import ConfigError
from xling_jax.train.tensorboard import EventFile
from xling_jax.train.writer import open_metrics, write_metrics

METRICS = "metrics.jsonl"
PATIENCE = 30.0  # seconds that Weights & Biases has to answer when a stage starts


class Sink(Protocol):
    """Takes the metrics of logged steps. A training that goes on at a step goes on with the same curves."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""

    def keep(self) -> None:
        """Makes sure that what was written is not lost with this process."""

    def close(self) -> None:
        """Ends it."""


class Lines:
    """metrics.jsonl, which the report reads."""

    def __init__(self, folder: pathlib.Path, start: int):
        """Opens the file of a stage's folder; lines of steps after `start` are dropped, as they come again."""
        self._file = open_metrics(folder / METRICS, start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line."""
        write_metrics(self._file, step, dict(values))

    def keep(self) -> None:
        """Makes sure that the lines are not lost."""
        self._file.keep()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Wandb:
    """A run of Weights & Biases for a stage. What it cannot take is said once, and is no reason to end a training.

    It has an id of its own, that of the stage, so a stage that goes on goes on with its run; steps that it has already
    are not taken twice.
    """

    def __init__(self, project: str, folder: pathlib.Path, stage: str, about: Mapping[str, Any], say: Callable):
        """Starts or takes up a run: online, or as WANDB_MODE says, or offline if there is no way to reach it.

        Args:
          project: its project.
          folder: where its files go.
          stage: folder of the stage, which names the run.
          about: what the run's page says of it; "group" is that of the runs of one experiment.
          say: tells the user.
        """
        import wandb  # noqa: PLC0415 # ty: ignore[import-not-found] - an extra, and slow to import

        self._say, self._stage = say, stage
        folder.mkdir(parents=True, exist_ok=True)
        given: dict[str, Any] = {
            "project": project,
            "id": stage,
            "name": stage,
            "dir": str(folder),
            "group": about["group"],
            "config": dict(about),
            "resume": "allow",
            "reinit": "create_new",  # several stages may be under way in one process
            "settings": wandb.Settings(init_timeout=PATIENCE, silent=True),
        }
        self._run = self._try(lambda: wandb.init(**given), "it goes on offline, for `wandb sync`")
        if self._run is None:
            self._run = self._try(lambda: wandb.init(**given | {"mode": "offline"}))

    def _try(self, call: Callable[[], Any], then: str = f"{METRICS} has everything") -> Any:
        """Returns what a call of the library returns, None if it fails: its errors have no class in common."""
        try:
            return call()
        except Exception as error:
            first = f"{error} ".splitlines()[0].strip()[:200]
            self._say(f"  {self._stage}: Weights & Biases: {type(error).__name__}: {first}; {then}")
            return None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of a step."""
        run = self._run
        if run is not None and self._try(lambda: (run.log(dict(values), step=step),)) is None:
            self._run = None

    def keep(self) -> None:
        """Does nothing: what was sent is elsewhere."""

    def close(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._try(self._run.finish)


def check_wandb() -> None:
    """Raises ConfigError if Weights & Biases is asked for and not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError("--wandb is given, and wandb is not installed.\nAllowed: pip install wandb, or no --wandb.")


class Sinks:
    """Several sinks as one."""

    def __init__(self, sinks: Sequence[Sink]):
        """Takes sinks that are open."""
        self._sinks = sinks

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes to each, in order."""
        for sink in self._sinks:
            sink.write(step, values)

    def keep(self) -> None:
        """Makes sure that nothing is lost of what was written."""
        for sink in self._sinks:
            sink.keep()


@contextlib.contextmanager
def open_sinks(makers: Sequence[Callable[[], Sink]]) -> Generator[Sinks]:
    """Opens sinks one after another, and closes those that are open when the block ends, however it does."""
    with contextlib.ExitStack() as stack:
        sinks = []
        for make in makers:
            sinks.append(make())
            stack.callback(sinks[-1].close)
        yield Sinks(sinks)


def file_sinks(folder: pathlib.Path, events: pathlib.Path, start: int) -> list[Callable[[], Sink]]:
    """Returns the makers of what every training writes: lines in its folder, and TensorBoard's file."""
    return [lambda: Lines(folder, start), lambda: EventFile(events, start)]
