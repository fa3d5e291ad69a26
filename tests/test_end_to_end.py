"""The default experiment at its test size, through the console door, as a user runs it: straight, killed, again."""

import fcntl
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from xling_jax.errors import EXIT_INTERRUPTED
from xling_jax.goodput import goodput
from xling_jax.ledger import read_lines, time_of
from xling_jax.train.tensorboard import read_records, step_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN = [sys.executable, "-m", "xling_jax", "run", "--config=configs/quickstart.py:test"]
# One seed and a checkpoint every few steps: enough stages to be killed in each of their parts.
RUN += ["--config.seeds=(0,)", "--config.pretrain.save_every=5"]
KILLS = 4
LIMIT = 280  # seconds


def environment():
    """Returns the tests' environment on one device, with the tests' compilation cache, and without TensorFlow."""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    path = os.pathsep.join(filter(None, [str(ROOT / "tests" / "no_tensorflow"), os.environ.get("PYTHONPATH")]))
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": path}


def start(workdir, *more):
    command = [*RUN, f"--workdir={workdir}", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(workdir, *more):
    process = start(workdir, *more)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    return output


def rows(workdir):
    """Returns the bytes of every results file by its path in the work folder."""
    paths = [*workdir.glob("stages/*/results.jsonl"), workdir / "report" / "results.jsonl"]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    return workdir, finish(workdir, "--jobs=2")


@pytest.mark.timeout(LIMIT)
def test_a_run_ends_with_a_table_and_a_report(straight):
    workdir, output = straight
    assert str(workdir / "report" / "index.html") in output
    assert "multilingual minus english on qa2, mean over 5 zero-shot languages" in output
    assert "% of it in training steps; " in output and " programs compiled, " in output
    stages = {path.name.rpartition("-")[0] for path in (workdir / "stages").iterdir()}
    page = (workdir / "report" / "index.html").read_text()
    unseen = {name for name in stages if f"Training loss of {name.removesuffix('_s0')} " not in page.replace(",", " ")}
    assert not unseen, "every stage has its training curve"
    joined = [json.loads(line) for line in (workdir / "report" / "results.jsonl").read_text().splitlines()]
    seen = {(row["arm"], row["task"], row["language"]) for row in joined}
    tasks = ("world_qa2", "world_pos", "world_nli", "world_parallel")
    languages = ("qen", "qnd", "qnr", "qms", "qda", "qdt")
    assert seen == {(a, t, code) for a in ("none", "english", "multilingual") for t in tasks for code in languages}
    assert all(0 <= row["value"] <= 100 and row["n"] == 40 and row["floor"] is not None for row in joined)
    assert {row["protocol"] for row in joined if row["task"] == "world_parallel"} == {
        "layer=1 pooling=mean special=False centre=True queries=pivot margin=absolute"
    }


def test_what_must_not_be_imported_would_be_seen():
    program = [sys.executable, "-c", "try: import tensorflow\nexcept Exception: pass"]
    found = subprocess.run(program, env=environment(), capture_output=True, text=True, check=False)
    assert found.returncode == 1 and "TensorFlow is imported" in found.stderr


@pytest.mark.timeout(LIMIT)
def test_it_says_what_is_loaded_fresh_and_skipped(straight):
    _, output = straight
    assert "loaded body; fresh head_world_qa; skipped head_world_text" in output
    assert "loaded body; fresh head_world_pos; skipped head_world_qa" in output


def logged(stage):
    """Returns the steps that a stage's metrics are of."""
    return [json.loads(line)["step"] for line in (stage / "metrics.jsonl").read_text().splitlines()]


def steps_of_curves(folder):
    """Returns the steps that TensorBoard's files have, without the ones that only begin a session."""
    events = [event for path in sorted(folder.iterdir()) for _, event in read_records(path)]
    return [step_of(event) for event in events if b"time/step" in event]


@pytest.mark.timeout(LIMIT)
def test_the_time_is_accounted_for(straight):
    """Two stages at a time, and no second is counted twice: the parts add up to what the clock on the wall says."""
    workdir, _ = straight
    found, lines = goodput(workdir / "time.jsonl"), read_lines(workdir / "time.jsonl")
    assert found.sessions == 1 and not found.killed and len({line.get("lane", 0) for line in lines}) >= 3
    wall = max(map(time_of, lines)) - min(map(time_of, lines))
    assert sum(found.seconds.values()) == pytest.approx(wall, rel=1e-6)
    kinds = {"steps", "input", "transfer", "compile", "save", "evaluate", "startup", "plan", "prepare", "restore"}
    assert kinds | {"report"} <= set(found.seconds) and found.compiled + found.cached >= 10
    assert found.seconds.get("other", 0) < 0.05 * found.wall + 1, "what the run does has names"


@pytest.mark.timeout(LIMIT)
def test_every_stage_is_whole(straight):
    workdir, _ = straight
    for stage in (workdir / "stages").iterdir():
        names = {path.name for path in stage.iterdir()}
        assert {"config.json", "checkpoints", "metrics.jsonl", "results.jsonl", "DONE"} <= names
        assert steps_of_curves(workdir / "tensorboard" / stage.name) == logged(stage)
    assert not list(workdir.rglob("*.part")), "a file that was left half-written"
    assert not list((workdir / "prepared").glob(".*")), "a prepared cell that was left half-written"


@pytest.mark.timeout(LIMIT)
def test_predictions_have_a_line_for_every_example(straight):
    workdir, _ = straight
    for path in workdir.glob("stages/*/predictions/world_nli/test-*.tsv"):
        assert len(path.read_text().splitlines()) == 40
    for path in workdir.glob("stages/*/predictions/world_qa2/test-*.json"):
        assert len(json.loads(path.read_text())) == 40


@pytest.mark.timeout(LIMIT)
def test_running_again_trains_nothing(straight):
    workdir, _ = straight
    before = rows(workdir)
    touched = {path: path.stat().st_mtime_ns for path in workdir.glob("stages/*/*")}
    output = finish(workdir)
    assert "steps" not in output and "qa2: scores" in output
    assert rows(workdir) == before
    assert {path: path.stat().st_mtime_ns for path in workdir.glob("stages/*/*")} == touched


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_killed_runs_end_with_the_same_results(straight, tmp_path):
    """kill -9 a moment after some line of output, then run again, several times over, one stage at a time."""
    rng = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path, "--jobs=1")
        for _ in range(rng.randrange(2, 16)):
            if not process.stdout.readline():
                break
        time.sleep(rng.random())
        process.kill()
        process.wait()
        process.stdout.close()
    finish(tmp_path, "--jobs=1")
    assert rows(tmp_path) == rows(straight[0])
    found = goodput(tmp_path / "time.jsonl")
    assert 1 <= found.killed <= KILLS < found.sessions + 1
    for stage in (tmp_path / "stages").iterdir():
        steps = logged(stage)
        assert steps == sorted(set(steps)), "a curve goes on where it was"
        assert steps_of_curves(tmp_path / "tensorboard" / stage.name) == steps


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_asked_to_stop_it_saves_and_leaves_with_its_code(tmp_path, number):
    process = start(tmp_path)
    while "starts from random parameters" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == EXIT_INTERRUPTED, output
    assert "Run the same command again to go on." in output and "Traceback" not in output
    saved = [path.name for path in tmp_path.glob("stages/pretrain-*/checkpoints/*") if path.name.isdigit()]
    assert len(saved) == 1 and 0 < int(saved[0]) <= 20


@pytest.mark.timeout(LIMIT)
def test_a_second_process_is_kept_out(straight):
    workdir, _ = straight
    with open(workdir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(workdir)
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 2 and "Another process is running" in output


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_a_profile_of_given_steps_of_given_stages(tmp_path):
    output = finish(tmp_path, "--profile=5:2", "--profile_stages=pretrain,none_nli_s0")
    (folder,) = (tmp_path / "profiles").iterdir()
    assert folder.name.startswith("pretrain-") and list(folder.rglob("*.xplane.pb"))
    assert f"pretrain profiled: {folder}. Look at it with `xprof --logdir={folder}" in output
    assert "none_nli_s0 has no profile: it did not train step 5" in output, "it has four"
    assert goodput(tmp_path / "time.jsonl").seconds["profile"] > 0
