"""Several workers in one folder do what one does: each stage once, whatever happens to one of them."""

import random
import time

import pytest
from workers import LIMIT, ended, left_over, results, start, trainings

STAGES, HALF = 8, 4


@pytest.mark.timeout(LIMIT)
def test_two_workers_divide_a_study(tmp_path):
    """The quick version: nothing happens to them, and the folder has all results once."""
    processes = [start(tmp_path, "--only=far,near") for _ in range(2)]
    outputs = [ended(process) for process in processes]
    begun = trainings(tmp_path)
    assert len(begun) == HALF and all(steps == [0] for steps in begun.values()), begun
    assert len(list(tmp_path.glob("time-*.jsonl"))) == 2
    assert left_over(tmp_path) == []
    assert all(f"report: {tmp_path}/report/index.html" in output for output in outputs)
    rows = results(tmp_path)["report/results.jsonl"].decode()
    for language in ("qda", "qnd"):
        assert f'"language": "{language}"' in rows, "of a shared stage each experiment has its own evaluation"


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("seed", range(3))
def test_four_workers_one_of_which_is_killed(tmp_path, seed, undisturbed):
    """At a moment drawn by the seed, while it trains; nobody else's stage is trained twice."""
    rng = random.Random(seed)
    processes = [start(tmp_path, "--config=tests/studies/tiny.py:long", "--claim_seconds=30") for _ in range(4)]
    victim, after = rng.randrange(4), rng.randint(1, 5)
    until = time.monotonic() + LIMIT
    while len(list(tmp_path.glob("stages/*/checkpoints/*"))) < after and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(rng.random())
    processes[victim].kill()
    processes[victim].communicate()
    outputs = [ended(process) for number, process in enumerate(processes) if number != victim]
    begun = trainings(tmp_path)
    again = {stage: steps for stage, steps in begun.items() if len(steps) > 1}
    assert len(begun) == STAGES and len(again) <= 1, outputs
    assert all(len(steps) == 2 for steps in again.values()), "what the killed one was doing is gone on with, once"
    assert left_over(tmp_path) == []
    assert results(tmp_path) == results(undisturbed)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns the folder of a single worker that nothing happened to."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    ended(start(workdir, "--config=tests/studies/tiny.py:long"))
    return workdir
