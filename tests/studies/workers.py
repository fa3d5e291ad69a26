"""Workers of `tiny.py` as processes of their own, and what their folder tells of them."""

import collections
import json
import os
import pathlib
import subprocess
import sys

from xling_jax.ledger import TIME, TRAIN, read_lines

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = f"--config={ROOT / 'tests' / 'studies' / 'tiny.py'}"
LIMIT = 600  # seconds of one process


def environment() -> dict[str, str]:
    """Returns the tests' environment on one device, with the tests' cache of everything compiled."""
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    own = {"PYTHONUNBUFFERED": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XLA_FLAGS": " ".join(flags)}
    return {name: value for name, value in os.environ.items() if name != "GCE_METADATA_HOST"} | own


def start(workdir: pathlib.Path, *more: str, config: str = CONFIG) -> subprocess.Popen:
    """Starts a worker that does one stage at a time, its output and errors in one pipe."""
    command = [sys.executable, "-m", "xling_jax", "study", config, f"--workdir={workdir}", "--jobs=1", *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment()
    )


def ended(process: subprocess.Popen, code: int = 0) -> str:
    """Returns what a worker says until it ends, which it does with this code and without a traceback."""
    try:
        output, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in output, output
    return output


def trainings(workdir: pathlib.Path) -> dict[str, list[int]]:
    """Returns for each stage the steps that its trainings began at, of all workers."""
    found = collections.defaultdict(list)
    for line in read_lines(workdir / TIME):
        if line.get("name") == TRAIN:
            found[line["stage"]].append(line["step"])
    return dict(found)


def results(workdir: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of everything that was found out, by path."""
    patterns = ("stages/*/results.jsonl", "stages/*/predictions*/**/*.*", "submissions/**/*.*", "report/results.jsonl")
    paths = sorted(path for pattern in patterns for path in workdir.glob(pattern))
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def left_over(workdir: pathlib.Path) -> list[str]:
    """Returns what is half-written, or claimed, or has failed."""
    patterns = ("*.part", "*.orbax-checkpoint-tmp*", "prepared/.*", "failed/*", ".hosts*", "claims/.*")
    found = [str(path.relative_to(workdir)) for pattern in patterns for path in workdir.rglob(pattern)]
    held = [path.name for path in workdir.glob("claims/*") if not json.loads(path.read_text())["free"]]
    return sorted([*found, *held])
