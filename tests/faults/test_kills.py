"""kill -9 at any moment: the same command again ends with the results of a run that nothing happened to.

Three kills a test, at moments drawn by its seed; what is killed next is what goes on after the kill before.
"""

import pathlib
import random
import shutil
import signal
import subprocess

import pytest
from harness import LIMIT, finish, interrupt, left_over, results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5 * LIMIT)]

MOMENTS = ("training", "saving", "evaluating", "between")
SEEDS = range(9)
# How much of the run is there at first: nothing, pretraining, or all but the last stages. So kills reach everything.
BEGINNINGS = ((), ("pretrain",), ("pretrain", "nli_s0"))


def chain(seed: int) -> list[str]:
    """Returns what a run is doing when it is killed, three times in a row; what comes last in a stage comes last."""
    drawn = random.Random(seed).sample(MOMENTS, 3 if BEGINNINGS[seed % 3] else 2)
    first = [] if BEGINNINGS[seed % 3] else ["preparing"]
    return first + sorted(drawn, key=MOMENTS.index)


def begun(straight: pathlib.Path, workdir: pathlib.Path, stages: tuple[str, ...]) -> None:
    """Copies what a run leaves that has done some stages."""
    if stages:
        shutil.copytree(straight / "prepared", workdir / "prepared")
    for folder in (straight / "stages").iterdir() if stages else ():
        if folder.name.rpartition("-")[0] in stages:
            shutil.copytree(folder, workdir / "stages" / folder.name)


def done(workdir: pathlib.Path) -> dict[pathlib.Path, int]:
    """Returns when each stage was marked done."""
    return {path: path.stat().st_mtime_ns for path in workdir.glob("stages/*/DONE")}


def saved(workdir: pathlib.Path) -> dict[str, int]:
    """Returns the newest whole checkpoint of each stage that is not done and has one."""
    found: dict[str, int] = {}
    for path in workdir.glob("stages/*/checkpoints/*"):
        stage = path.parent.parent
        if path.name.isdigit() and not (stage / "DONE").exists():
            name = stage.name.rpartition("-")[0]
            found[name] = max(found.get(name, 0), int(path.name))
    return found


def test_at_least_25_kills_of_every_kind():
    kills = [doing for seed in SEEDS for doing in chain(seed)]
    assert len(kills) >= 25 and all(kills.count(doing) >= 3 for doing in (*MOMENTS, "preparing"))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}-{'-'.join(chain(seed))}")
def test_killed_and_gone_on_with_it_ends_with_the_same_results(straight, tmp_path, seed):
    rng, late = random.Random(seed), seed % 3 == 2  # late: two stages are left, and what is to be killed in is scarce
    jobs = f"--jobs={1 if late else 1 + seed % 2}"  # one at a time, checkpoints are saved in the background
    begun(straight, tmp_path, BEGINNINGS[seed % 3])
    for number, doing in enumerate(chain(seed)):
        before = done(tmp_path)
        process = interrupt(tmp_path, doing, rng, subprocess.Popen.kill, jobs, most=1 if number or late else 3)
        process.communicate(timeout=LIMIT)
        assert process.returncode == -signal.SIGKILL, "it was still running"
        assert before.items() <= done(tmp_path).items(), "what was done is not done again"
    before, newest = done(tmp_path), saved(tmp_path)
    output = finish(tmp_path, jobs)
    for name, step in newest.items():
        assert f"{name} goes on from its checkpoint at step {step}" in output
    assert results(tmp_path) == results(straight)
    assert before.items() <= done(tmp_path).items()
    assert left_over(tmp_path) == []
