"""The real program under the babysitter, on slices that are taken away five times: the same results, nothing left."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from place import ROOT, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIG = "--config=configs/quickstart.py:test"
TIMES = 5
# What is waited for before a slice is taken away -> files that come meanwhile; of metrics.jsonl each line counts.
MOMENTS = {
    "preparing": "prepared/*",
    "training": "stages/*/metrics.jsonl",
    "saving": "stages/*/checkpoints/*",
    "evaluating": "stages/*/predictions*/*/*",
    "between": "stages/*/DONE",
}
FOUND = ("stages/*/results.jsonl", "report/results.jsonl", "stages/*/chosen.json", "stages/*/predictions*/**/*.*")


def found(workdir: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of all that a run has found out."""
    paths = [path for pattern in FOUND for path in workdir.glob(pattern) if path.is_file()]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def environment() -> dict[str, str]:
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    return os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def marks(workdir: pathlib.Path, moment: str) -> set[str]:
    seen = set()
    for path in workdir.glob(MOMENTS[moment]):
        try:
            seen.add(f"{path}:{path.stat().st_size if moment == 'training' else ''}")
        except OSError:
            continue
    return seen


def wait_for(process: subprocess.Popen, workdir: pathlib.Path, moment: str, times: int) -> None:
    """Returns when something has happened so many times, counted from when the folder is there."""
    while not workdir.exists() and process.poll() is None:
        time.sleep(0.05)
    before, seen = marks(workdir, moment), set()
    while len(seen) < times:
        assert process.poll() is None, f"it ended before it came to {moment} for the {times}th time"
        seen |= marks(workdir, moment) - before
        time.sleep(0.05)


class Real(Place):
    def environment(self) -> dict[str, str]:
        return environment() | super().environment() | {"XLA_FLAGS": environment()["XLA_FLAGS"]}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    command = [sys.executable, "-m", "xling_jax", "run", CONFIG, f"--workdir={workdir}"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return found(workdir)


@pytest.mark.parametrize("seed", [0])
def test_five_preemptions_end_with_the_same_results(straight, tmp_path, seed):
    rng = random.Random(seed)
    place = Real(tmp_path, f"{sys.executable} -m xling_jax")
    what = ("--zone=us-west4-a", "--type=v5e-8", "--spot", "--bucket=gs://mine/runs", "--poll=0.5", "--every=1")
    log = (tmp_path / "said").open("w")
    command = ("babysit", "first", *what, "--", "xling", "run", CONFIG, "--workdir=work/w")
    process = place.start(*command, root=ROOT, stdout=log)
    try:
        workdir = place.vms / "first" / "0" / "xling" / "first" / "code" / "work" / "w"
        for moment in rng.sample(list(MOMENTS), TIMES):
            wait_for(process, workdir, moment, rng.randint(1, 3))
            time.sleep(rng.random())
            place.preempt("first", rng.choice((signal.SIGKILL, signal.SIGTERM)))
        assert process.wait(timeout=1800) == 0, (tmp_path / "said").read_text()
    finally:
        process.terminate()
        place.sweep()
    kept = place.bucket / "mine" / "runs" / "first" / "workdir"
    assert found(kept / (kept / "whole").read_text()) == straight
    assert place.is_empty() and place.counted("made") == TIMES + 1
    assert "started on all hosts" in (tmp_path / "said").read_text()
