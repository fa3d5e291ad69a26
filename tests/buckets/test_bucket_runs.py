"""Whole runs on a bucket, with the real libraries: what comes out is what comes out in a folder, whatever happens."""

import json
import random
import re
import subprocess
import sys
import time

import pytest
from stand_in import BUCKET

from tests.faults import harness
from tests.hosts import processes
from tests.studies import workers
from xling_jax.train.checkpoint import COMMIT

LIMIT = harness.LIMIT
QUICKSTART = "--config=configs/quickstart.py:test"
FOUND_OUT = re.compile(
    r"stages/[^/]+/(results\.jsonl|chosen\.json|predictions[^/]*/.+)|report/results\.jsonl|submissions/.+"
)

# What a run is doing -> the names of objects that come while it does.
MARKS = {
    "preparing": r"prepared/[^/]+/meta\.json",
    "training": r"stages/[^/]+/checkpoints/\d+/.*",
    "saving": r"stages/[^/]+/checkpoints/\d+/(params|train)/.*",
    "evaluating": r"stages/[^/]+/predictions.*",
    "between": r"stages/[^/]+/DONE",
}


def content(stand_in, workdir) -> dict[str, bytes]:
    """Returns all objects of a folder by their names in it."""
    begin = str(workdir).removeprefix(f"gs://{BUCKET}/") + "/"
    return {key.removeprefix(begin): stand_in.read(key) for key in stand_in.keys(begin)}


def found_out(objects: dict[str, bytes]) -> dict[str, bytes]:
    """Returns those that do not tell of times and machines."""
    return {name: held for name, held in objects.items() if FOUND_OUT.fullmatch(name)}


def of_disk(workdir) -> dict[str, bytes]:
    return {str(path.relative_to(workdir)): path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def left_over(objects: dict[str, bytes]) -> list[str]:
    """Returns what is half-written, or claimed, or has failed."""
    steps = {match[0] for name in objects if (match := re.match(r"stages/[^/]+/\w+/\d+(?=/)", name))}
    halves = [step for step in steps if f"{step}/{COMMIT}" not in objects]
    held = [name for name, held in objects.items() if name.startswith("claims/") and not json.loads(held)["free"]]
    return sorted([*halves, *held, *(name for name in objects if name.startswith((".", "failed/", "claims/.")))])


def kill(process: subprocess.Popen, stand_in, workdir, doing: str, times: int) -> bool:
    """Kills a process once so many objects have come that say what it is doing; returns whether it was still there."""
    begin = re.escape(str(workdir).removeprefix(f"gs://{BUCKET}/")) + "/"
    marks = re.compile(begin + MARKS[doing])
    since, until = len(stand_in.requests), time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        written = [key for _, what, key in list(stand_in.requests)[since:] if what == "write" and marks.fullmatch(key)]
        if len(written) >= times:
            break
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=LIMIT)
    return process.returncode == -9


@pytest.mark.slow
@pytest.mark.timeout(5 * LIMIT)
def test_the_default_experiment_killed_twice_is_that_of_a_folder(shelf, stand_in, tmp_path):
    """To the byte; and its report can be written again from the bucket, by a process that has no JAX."""
    straight = tmp_path / "straight"
    command = [sys.executable, "-m", "xling_jax", "run", QUICKSTART]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": harness.ROOT}
    how["env"] = harness.environment()
    harness.ended(subprocess.Popen([*command, f"--workdir={straight}"], **how), 0)
    for doing, times in (("saving", 40), ("evaluating", 60)):
        assert kill(subprocess.Popen([*command, f"--workdir={shelf}"], **how), stand_in, shelf, doing, times)
    output = harness.ended(subprocess.Popen([*command, f"--workdir={shelf}"], **how), 0)
    assert f"report: {shelf}/report/index.html" in output
    there = content(stand_in, shelf)
    assert found_out(there) == found_out(of_disk(straight)) and len(found_out(there)) > 300
    assert left_over(there) == []
    again = [sys.executable, "-X", "importtime", "-m", "xling_jax", "report", str(shelf), f"--out={tmp_path / 'out'}"]
    output = harness.ended(subprocess.Popen(again, **how), 0)
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == there["report/results.jsonl"]
    assert not re.search(r"\| +(jax|tensorflow|orbax\S*)$", output, re.M), "a report imports neither"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Returns the folder of a run of `small.py` on a disk. Not to be changed."""
    workdir = tmp_path_factory.mktemp("straight")
    harness.finish(workdir)
    return workdir


@pytest.mark.slow
@pytest.mark.timeout(5 * LIMIT)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_ends_with_the_same_results(straight, shelf, stand_in, seed):
    """Three kills, at moments drawn by the seed; what is killed next is what goes on after the kill before."""
    rng = random.Random(seed)
    for doing in ("preparing", *sorted(rng.sample([*MARKS][1:], 2), key=[*MARKS].index)):
        kill(harness.start(shelf), stand_in, shelf, doing, rng.randint(1, 6))
    output = harness.finish(shelf)
    there = content(stand_in, shelf)
    assert found_out(there) == found_out(of_disk(straight)) and left_over(there) == []
    assert "was at work in" not in output, "a process of this machine that was killed is not waited for"


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "one is killed"])
def test_two_workers_of_a_study_never_train_a_stage_twice(shelf, stand_in, tmp_path, killed):
    more = ["--only=far,near", "--claim_seconds=30"]
    pair = [workers.start(shelf, *more) for _ in range(2)]
    if killed:
        assert kill(pair.pop(), stand_in, shelf, "training", 8)
    outputs = [workers.ended(process) for process in pair]
    begun = workers.trainings(shelf)
    again = {stage: steps for stage, steps in begun.items() if len(steps) > 1}
    assert len(begun) == 4 and len(again) <= killed, (begun, outputs)
    there = content(stand_in, shelf)
    assert left_over(there) == []
    workers.ended(workers.start(tmp_path / "alone", *more))
    assert found_out(there) == found_out(of_disk(tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
def test_other_verbs(shelf, stand_in, straight, tmp_path):
    """Cells prepared ahead are not prepared again; a stage is evaluated from the bucket, into two kinds of folders."""

    def xling(*words):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": harness.ROOT}
        command = [sys.executable, "-m", "xling_jax", *words]
        return harness.ended(subprocess.Popen(command, env=harness.environment(), **how), 0)

    xling("data", "prepare", harness.CONFIG, f"--workdir={shelf}")
    before = {name: held for name, held in content(stand_in, shelf).items() if name.startswith("prepared/")}
    assert "prepared/report.md" in before
    assert "to do" in xling("run", harness.CONFIG, f"--workdir={shelf}", "--dry_run")
    harness.finish(shelf)
    there = content(stand_in, shelf)
    assert before.items() <= there.items() and found_out(there) == found_out(of_disk(straight))
    (stage,) = {name.split("/")[1] for name in there if name.startswith("stages/none_pos_s0-")}
    found = {}
    for checkpoints, workdir in ((straight, tmp_path / "eval"), (shelf, tmp_path / "here"), (shelf, shelf / "eval")):
        asked = [f"--checkpoint={checkpoints}/stages/{stage}", "--tasks=world_pos", "--languages=qda+qnd"]
        assert "world_pos.test f1" in xling("eval", *asked, f"--workdir={workdir}")
        found[workdir] = (workdir / "results.jsonl").read_bytes()
    assert len(set(found.values())) == 1 and b'"f1"' in found[shelf / "eval"]


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
def test_two_hosts_share_it(shelf, stand_in, tmp_path):
    """One device each, against two of one process in a folder."""

    def run(workdir, hosts):
        words = ("run", harness.CONFIG, "--config.mesh=any", f"--workdir={workdir}", "--jobs=1")
        processes.finish(processes.xling(*words, hosts=hosts), tmp_path, 2 // hosts)

    run(tmp_path / "one", 1)
    run(shelf, 2)
    there = content(stand_in, shelf)
    assert found_out(there) == found_out(of_disk(tmp_path / "one")) and left_over(there) == []
