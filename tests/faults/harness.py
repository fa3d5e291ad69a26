"""Runs of `small.py` as processes of their own, ended at a moment that the files they write tell."""

import os
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = f"--config={ROOT / 'tests' / 'faults' / 'small.py'}"
LIMIT = 600  # seconds of one process
LOOK_EVERY = 0.005  # seconds

# What a run is doing -> files that come while it does. Of metrics.jsonl each new line counts.
MARKS = {
    "preparing": "prepared/.*",
    "training": "stages/*/metrics.jsonl",
    "saving": "stages/*/checkpoints/*.orbax-checkpoint-tmp",
    "evaluating": "stages/*/predictions*/*/*",
    "between": "stages/*/DONE",
}


def environment() -> dict[str, str]:
    """Returns the tests' environment on one device, with the tests' cache of everything compiled."""
    kept = {name: value for name, value in os.environ.items() if name != "GCE_METADATA_HOST"}
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    own = {"PYTHONUNBUFFERED": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XLA_FLAGS": " ".join(flags)}
    return kept | own


def start(workdir: pathlib.Path, *more: str, **how) -> subprocess.Popen:
    """Starts a run, its output and errors in one pipe."""
    command = [sys.executable, "-m", "xling_jax", "run", CONFIG, f"--workdir={workdir}", *more]
    how = {"cwd": ROOT, "env": environment()} | how
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)


def finish(workdir: pathlib.Path, *more: str, code: int = 0, **how) -> str:
    """Runs to the end and returns what was said; the exit code is as given, and nothing is a traceback."""
    return ended(start(workdir, *more, **how), code)


def ended(process: subprocess.Popen, code: int) -> str:
    """Returns what a process says until it ends, which it does with this code and without a traceback."""
    try:
        output, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == code, output
    assert "Traceback" not in output, output
    return output


def marks(workdir: pathlib.Path, doing: str) -> set[str]:
    """Returns the marks of what a run is doing that are there now."""
    found = set()
    for path in workdir.glob(MARKS[doing]):
        try:
            found.add(f"{path}:{path.stat().st_size if doing == 'training' else ''}")
        except OSError:  # gone already
            continue
    return found


def wait_for(process: subprocess.Popen, workdir: pathlib.Path, doing: str, times: int) -> bool:
    """Returns whether a run came to do something so many times, counted from now; if not, it has ended."""
    before = marks(workdir, doing)
    seen: set[str] = set()
    until = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        spent = time.thread_time()
        seen |= marks(workdir, doing) - before
        if len(seen) >= times:
            return True
        time.sleep(max(LOOK_EVERY, 9 * (time.thread_time() - spent)))  # most of the time is left to the run
    return False


def interrupt(
    workdir: pathlib.Path, doing: str, rng: random.Random, send: Callable, *more: str, most: int = 1
) -> subprocess.Popen:
    """Starts a run and sends it something at a moment of what it is doing, which it has to come to.

    That is drawn: up to so many times it is let go on, and up to 60 ms more.
    """
    process = start(workdir, *more)
    times, delay = rng.randint(1, most), rng.random() * 0.06
    if not wait_for(process, workdir, doing, times):
        raise AssertionError(f"it never came to {doing} for the {times}th time:\n{process.communicate()[0]}")
    time.sleep(delay)
    send(process)
    return process


def results(workdir: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of everything that a run has found out, by path: results, predictions, what was chosen."""
    patterns = (
        "stages/*/results.jsonl",
        "report/results.jsonl",
        "stages/*/chosen.json",
        "stages/*/predictions*/**/*.*",
    )
    paths = sorted(path for pattern in patterns for path in workdir.glob(pattern))
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def left_over(workdir: pathlib.Path) -> list[str]:
    """Returns what is half-written in a folder."""
    patterns = ("*.part", "*.orbax-checkpoint-tmp*", "prepared/.*")
    return sorted(str(path.relative_to(workdir)) for pattern in patterns for path in workdir.rglob(pattern))
