"""Whole tiny runs with --trials: a stage leaves the files and rows that it leaves alone, whatever happens on the way.

Two seeds of two learning rates are four trials of NLI, packed; what they are handed over to are four of tagging, padded
to two lengths. Losses differ by rounding; so may an answer whose best two labels are as likely as each other, as they
often are after so few steps. `AWAY` are points of that.
"""

import json
import pathlib
import threading

import pytest

from xling_jax.errors import ConfigError, Interrupted, NumericalError
from xling_jax.experiment import from_config
from xling_jax.results import read_results
from xling_jax.stages import trials as groups
from xling_jax.stages.run import Run
from xling_jax.stages.saving import Saver

EVERY, STEPS, AWAY = 4, 12, 5.0
pytestmark = pytest.mark.timeout(900)


def stage(data, rate=1e-2, **more):
    optim = {"learning_rate": rate, "eps": 1e-3, "warmup": 0.0}
    base = {"batch_size": 8, "steps": STEPS, "max_length": 48, "log_every": 2, "save_every": EVERY, "optim": optim}
    return {"data": (data,), **base, **more}


def experiment(**more):
    def nli(rate, **more):
        return {"stage": stage("world_nli.train.qen", rate, packing=True, **more)}

    fields = {
        "name": "trials",
        "synthetic": True,
        "model": "tiny",
        "limits": {"train": 64, "dev": 24, "test": 24},
        "pretrain": stage("world_text.train.qen", steps=4),
        "arms": {"low": nli(3e-3), "high": nli(1e-2)},
        "targets": {
            "again": {"task": "world_nli", "languages": "qda", "max_length": 48},
            "pos": {
                "task": "world_pos",
                "languages": "qda",
                "stage": stage("world_pos.train.qen", buckets=(16, 48)),
            },
        },
        "seeds": (0, 1),
        "baseline": "low",
        "source_language": "qen",
        "eval_batch_size": 8,
        "mesh": "one",
    }
    return from_config(fields | more)


def run(workdir, trials=4, declared=None, stop=lambda: False) -> pathlib.Path:
    Run(declared or experiment(), workdir, None)(stop, jobs=1, trials=trials)
    return workdir


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"), trials=1)


@pytest.fixture
def sizes(monkeypatch):
    """Returns how many trials took each of the steps that several took."""
    found, real = [], groups._at_once
    monkeypatch.setattr(groups, "_at_once", lambda come: found.append(len(come)) or real(come))
    return found


def rows(workdir):
    return {
        (row.stage, row.seed, row.task, row.language, row.metric, row.step): row.value
        for path in workdir.glob("stages/*/results.jsonl")
        for row in read_results(path)
    }


def files(workdir):
    patterns = ("stages/*/*", "stages/*/checkpoints/*", "stages/*/predictions/*/*")
    return {str(path.relative_to(workdir)) for pattern in patterns for path in workdir.glob(pattern)}


def lines(workdir):
    """Returns {stage: {step: metrics}}; no line is there twice."""
    found: dict[str, dict] = {}
    for path in workdir.glob("stages/*/metrics.jsonl"):
        steps = found.setdefault(path.parent.name, {})
        for line in map(json.loads, path.read_text().splitlines()):
            merged = steps.setdefault(line["step"], {"step": line["step"]})
            assert set(line) & set(merged) == {"step"}, (path, line["step"])
            merged.update(line)
    return found


def assert_same(found, expected):
    assert files(found) == files(expected)
    ours, theirs = rows(found), rows(expected)
    assert set(ours) == set(theirs) and len(ours) >= 12
    for name, value in theirs.items():
        assert abs(ours[name] - value) <= AWAY, name
    ours, theirs = lines(found), lines(expected)
    assert set(ours) == set(theirs)
    for name, steps in theirs.items():
        assert set(ours[name]) == set(steps), name
        for step, line in steps.items():
            assert set(ours[name][step]) == set(line)
            for key in line:
                if key.startswith(("train/", "parameters/")):
                    # Of printed digits the last one; accuracies step by one example, where two are as likely.
                    near = 0.15 if key.endswith("accuracy") else 2e-3
                    assert ours[name][step][key] == pytest.approx(line[key], rel=near, abs=near), (name, step, key)
                if key.endswith(("weight", "learning_rate")):
                    assert ours[name][step][key] == line[key], (name, step, key)


@pytest.mark.slow
def test_every_stage_leaves_what_it_leaves_alone(alone, tmp_path, sizes):
    assert_same(run(tmp_path), alone)
    assert sizes == [4] * (2 * STEPS), "four of NLI, then four of tagging, all steps together"


@pytest.mark.slow
def test_more_than_fit_are_trained_in_turns(alone, tmp_path, sizes):
    assert_same(run(tmp_path, trials=3), alone)
    assert sizes == [3] * (2 * STEPS), "and one of each alone"


@pytest.mark.slow
def test_on_eight_devices_each_has_one(tmp_path, sizes):
    declared = experiment(mesh="any", seeds=(0, 1, 2, 3))
    alone = run(tmp_path / "alone", trials=1, declared=declared)
    assert_same(run(tmp_path / "together", trials=8, declared=declared), alone)
    assert sizes == [8] * (2 * STEPS)


class Killed(Exception):
    """Stands in for the end of the process: nothing is done after it."""


@pytest.mark.slow
@pytest.mark.parametrize("saved", [1, 2, 3, 4, 6])
def test_killed_between_two_saves_it_goes_on(alone, tmp_path, sizes, monkeypatch, saved):
    """As kill -9 leaves it: some have saved a step, others have not, and none saves any more."""
    real, saves, lock = Saver.__call__, [], threading.Lock()

    def save(self, step, state):
        with lock:
            if self._steps == STEPS and len(saves) >= saved:
                raise Killed
            saves.extend([step] * (self._steps == STEPS))
        real(self, step, state)

    monkeypatch.setattr(Saver, "__call__", save)
    with pytest.raises(Killed):
        run(tmp_path)
    monkeypatch.setattr(Saver, "__call__", real)
    there = [max([0, *(int(at.name) for at in path.iterdir())]) for path in tmp_path.glob("stages/*_s?-*/checkpoints")]
    assert sum(there) == EVERY * saved
    sizes.clear()
    assert_same(run(tmp_path), alone)
    together = STEPS - max(there)
    assert sizes.count(4) == together + STEPS, "all at one step as soon as the last ones have come there"


@pytest.mark.slow
def test_asked_to_stop_all_stop_at_one_step(alone, tmp_path, sizes):
    with pytest.raises(Interrupted):
        run(tmp_path, stop=lambda: len(sizes) == 5)
    there = [int(at.name) for at in tmp_path.glob("stages/*_s?-*/checkpoints/*")]
    assert len(there) == 4 and len(set(there)) == 1 and 5 <= there[0] <= 6
    sizes.clear()
    assert_same(run(tmp_path), alone)
    assert sizes == [4] * (2 * STEPS - there[0])


@pytest.mark.slow
def test_one_that_diverges_is_named_and_the_others_keep_what_they_have(tmp_path, capsys):
    declared = experiment()
    fields = {"low": 3e-3, "high": 1e30}

    def nli(rate):
        return {"stage": stage("world_nli.train.qen", rate, packing=True)}

    declared = experiment(arms={name: nli(rate) for name, rate in fields.items()})
    for _ in range(2):
        with pytest.raises(
            NumericalError, match=r"The loss of step \d+ is not finite(.|\n)*stages/high_s\d-.*diverged"
        ):
            run(tmp_path, declared=declared)
    low = [int(path.name) for path in tmp_path.glob("stages/low_s?-*/checkpoints/*")]
    assert len(low) >= 2 and min(low) >= EVERY
    assert not list(tmp_path.glob("stages/high_s?-*/checkpoints/*"))


@pytest.mark.slow
def test_one_that_has_enough_leaves_the_others(tmp_path, sizes, monkeypatch):
    """Scores are made up: that of seed 0 only falls, that of seed 1 only grows."""
    selection = {"policies": ("source_dev",), "dev": "world_nli.dev.qen", "patience": 1}
    nli = {"stage": stage("world_nli.train.qen", save_every=2, selection=selection)}
    declared = experiment(
        arms={"low": nli}, targets={"again": {"task": "world_nli", "languages": "qda", "max_length": 48}}
    )

    def judge(self, node):
        calls, sign = iter(range(99)), 1 if node.seed else -1
        return (lambda params: float(next(calls) * sign)) if node.stage.selection.judged else None

    monkeypatch.setattr("xling_jax.stages.stage.StageRunner._judge", judge)
    run(tmp_path, trials=2, declared=declared)
    assert sizes == [2] * 4, "the second checkpoint of seed 0 is not its best: the other one goes on alone"
    ends = {name[:6]: max(steps) for name, steps in lines(tmp_path).items()}
    assert (ends["low_s0"], ends["low_s1"]) == (4, STEPS)


def test_a_mesh_that_divides_parameters_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="--trials=2, and the mesh of experiment 'trials'"):
        run(tmp_path / "work", trials=2, declared=experiment(mesh="fsdp"))
    assert not (tmp_path / "work").exists()
