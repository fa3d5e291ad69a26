"""Profiles of given steps, by jax.profiler: what the host and the devices did, operation by operation."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Callable, Generator
from typing import Any

import jax

from xling_jax.disk import here, send
from xling_jax.errors import ConfigError

PROFILES = "profiles"
HOW_TO_OPEN = (
    "Look at it with `xprof --logdir={folder} --port=8791` (pip install xprof) or with TensorBoard's profile plugin; "
    "*.trace.json.gz in it opens in ui.perfetto.dev."
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """Which steps are profiled: `count` of them from `first` on, counted from 1; of which stages, () for all."""

    first: int
    count: int = 1
    stages: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, stages: tuple[str, ...] = ()) -> "Profile":
        """Returns what STEP[:COUNT] asks for; ConfigError if it is something else."""
        found = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", text)
        if found is None:
            raise ConfigError(
                f"--profile={text} names no steps.\nAllowed: STEP or STEP:COUNT, both from 1 on: --profile=100:5."
            )
        return cls(int(found[1]), int(found[2] or 1), stages)

    @property
    def last(self) -> int:
        """The last step that is profiled."""
        return self.first + self.count - 1


class Trace:
    """Profiles the steps of one training. There is one profiler in a process, so one of these at a time."""

    def __init__(
        self,
        folder: pathlib.Path = pathlib.Path(),
        profile: Profile | None = None,
        spending: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ):
        """Takes where the profile goes and which steps it has; without steps it does nothing.

        `spending`: a context in which profiles are started and written, which takes seconds.
        """
        self._folder, self._profile, self._spending = folder, profile, spending
        self._running = False
        self.written = False

    @contextlib.contextmanager
    def step(self, number: int) -> Generator[None]:
        """The block sends step `number`."""
        if self._profile is not None and number == self._profile.first:
            with self._spending():
                here(self._folder).mkdir(parents=True, exist_ok=True)
                jax.profiler.start_trace(here(self._folder))
            self._running = True
        if not self._running:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def after(self, number: int, results: Any) -> None:
        """Ends the profile with the step it ends with, once its results are there."""
        if self._running and self._profile is not None and number >= self._profile.last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends a profile that is under way; of a training that ended before, it has what there was."""
        if self._running:
            self._running = False
            with self._spending():
                jax.profiler.stop_trace()
                send(here(self._folder), self._folder)  # the profiler writes to disks only
            self.written = True
