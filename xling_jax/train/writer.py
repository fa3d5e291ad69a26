"""What a run shows and keeps: a metrics file, and progress on the terminal."""

import json
import pathlib
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # seconds between lines when the output is not a terminal


def open_metrics(path: pathlib.Path, start: int) -> TextIO:
    """Opens a metrics file to append to, without the lines of steps after `start`, which come again."""
    kept = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                break  # the line a killed run was writing
    part = path.with_name(path.name + ".part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(path)
    return open(path, "a", encoding="utf-8")


def write_metrics(file: TextIO, step: int, values: dict[str, float]) -> None:
    """Appends a line of metrics, to six digits: a learning rate has more zeros than that behind the point."""
    file.write(json.dumps({"step": step} | {name: float(f"{value:.6g}") for name, value in values.items()}) + "\n")
    file.flush()


class Display:
    """Progress of one thing at a time: a bar with rate and time left in a terminal, plain lines elsewhere."""

    def __init__(self, file: TextIO | None = None):
        self._file = file or sys.stdout
        self._console = Console(file=self._file)
        self._bar: Progress | None = None
        self._began = self._shown = 0.0
        self._name, self._total, self._first, self._done = "", 0, 0, 0

    def say(self, text: str) -> None:
        """Prints a line."""
        if self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self._file, flush=True)

    def begin(self, name: str, total: int, done: int = 0, unit: str = "steps") -> None:
        """Starts a bar of `total` units, of which `done` were done earlier."""
        self._name, self._total, self._first, self._done = name, total, done, done
        self._unit = unit
        self._began = self._shown = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(name, total=total, completed=done, rate="", note="")

    def advance(self, done: int, note: str = "") -> None:
        """Shows that `done` units of the total are done."""
        self._done = done
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._began, 1e-6)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=f"{rate:.1f} {self._unit}/s", note=note)
        elif now - self._shown >= PLAIN_EVERY:
            self._shown = now
            left = (self._total - done) / max(rate, 1e-6)
            self.say(
                f"{self._name}: {done}/{self._total} {self._unit}, {rate:.1f}/s, {left:.0f} s left  {note}".rstrip()
            )

    def end(self) -> None:
        """Takes the bar away and leaves one line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        seconds = time.monotonic() - self._began
        self.say(f"{self._name}: {self._done}/{self._total} {self._unit} in {seconds:.1f} s")
