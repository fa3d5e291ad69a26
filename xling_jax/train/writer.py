"""What a run shows and keeps: a metrics file, and progress on the terminal."""

import contextlib
import io
import json
import os
import pathlib
import sys
import threading
import time
from typing import IO, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xling_jax.disk import Growing, growing
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text

PLAIN_EVERY = 10.0  # seconds between lines when the output is not a terminal


def open_metrics(path: pathlib.Path, start: int) -> Growing:
    """Opens a metrics file to append to, without the lines of steps after `start`, which come again.

    To a training that begins all of them do: a line of step 0 is of the state it begins with.

    What hosts but the first append is lost: all have the same metrics.
    """
    if not hosts.first():
        return growing(pathlib.Path(os.devnull))
    kept = []
    if start and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                break  # the line a killed run was writing
    write_text(path, "".join(kept))
    return growing(path)


def write_metrics(file: IO[bytes] | Growing, step: int, values: dict[str, float]) -> None:
    """Appends a line of metrics, to six digits: a learning rate has more zeros than that behind the point."""
    line = {"step": step} | {name: float(f"{value:.6g}") for name, value in values.items()}
    file.write(f"{json.dumps(line)}\n".encode())


class Display:
    """What a run says. In a terminal: a bar for each thing under way; elsewhere plain lines. Safe for threads.

    Of several hosts the first one speaks; of the others it is known what they would say (see `hosts.note`).
    """

    def __init__(self, file: TextIO | None = None):
        """Speaks to a file, by default standard output."""
        self._file = file or (sys.stdout if hosts.first() else io.StringIO())
        self._silent = file is None and not hosts.first()
        self._console = Console(file=self._file)
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._bars = 0

    def say(self, text: str) -> None:
        """Prints a line."""
        hosts.note(text.strip())
        if self._silent:
            return
        with self._lock:
            if self._console.is_terminal:
                self._console.print(text, highlight=False, markup=False)
            else:
                print(text, file=self._file, flush=True)

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0, unit: str = "steps"):
        """Shows a `Bar` while the block runs, and leaves one line.

        Args:
          name: of the work.
          total: units there are.
          done: units done earlier.
          unit: plural.
        """
        with self._lock:
            if self._console.is_terminal and self._progress is None:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[rate]}"),
                    TimeRemainingColumn(compact=True),
                    TextColumn("{task.fields[note]}"),
                )
                self._progress = Progress(*columns, console=self._console, transient=True)
                self._progress.start()
            self._bars += 1
        bar = Bar(self, self._progress, name, total, done=done, unit=unit)
        try:
            yield bar
        finally:
            bar.close()
            with self._lock:
                self._bars -= 1
                if self._progress is not None and not self._bars:
                    self._progress.stop()
                    self._progress = None
            self.say(f"{name}: {int(bar.done)}/{total} {unit} in {bar.seconds():.1f} s")


class Bar:
    """One thing under way: how much of it is done, how fast it goes, how long it will take."""

    def __init__(self, display: Display, progress: Progress | None, name: str, total: int, *, done: int, unit: str):
        self._display, self._progress, self._name, self._total, self._unit = display, progress, name, total, unit
        self._first = self.done = done
        self._began = self._shown = time.monotonic()
        if progress is not None:
            self._task = progress.add_task(name.strip(), total=total, completed=done, rate="", note="")

    def seconds(self) -> float:
        """Returns how long it has been going on."""
        return time.monotonic() - self._began

    def advance(self, done: float, note: str = "") -> None:
        """Says that `done` units of the total are done."""
        self.done = done
        hosts.note(f"{self._name.strip()}: {int(done)}/{self._total} {self._unit} {note}".strip())
        rate = (done - self._first) / max(self.seconds(), 1e-6)
        if self._progress is not None:
            self._progress.update(self._task, completed=done, rate=f"{rate:.1f} {self._unit}/s", note=note)
        elif time.monotonic() - self._shown >= PLAIN_EVERY:
            self._shown = time.monotonic()
            left = (self._total - done) / max(rate, 1e-6)
            line = f"{self._name}: {int(done)}/{self._total} {self._unit}, {rate:.1f}/s, {left:.0f} s left  {note}"
            self._display.say(line.rstrip())

    def close(self) -> None:
        """Takes the bar away."""
        if self._progress is not None:
            self._progress.refresh()
            self._progress.remove_task(self._task)
