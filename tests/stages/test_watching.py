"""A whole tiny run that is watched: what is measured, and when; and that it changes nothing, however often it stops."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from xling_jax.errors import DataError, Interrupted
from xling_jax.experiment import Target, from_config
from xling_jax.goodput import goodput
from xling_jax.protocol import Protocol
from xling_jax.stages.evaluation import Examiner
from xling_jax.stages.reading import Ask
from xling_jax.stages.run import Run
from xling_jax.stages.watching import Watcher
from xling_jax.train.checkpoint import Checkpoints, open_own, paths

LANGUAGES = ("qda", "qnd")
WATCH = {"cells": ("world_parallel.test.qda+qnd",), "every": 3, "count": 20, "max_length": 24}
DEV = "world_nli.dev.qen"
NAMES = ("accuracy", "similarity")
LAYERS = 3  # of `tiny`: two, and the embeddings


def stage(data, steps, **more):
    optim = {"learning_rate": 3e-2}
    return {"data": (data,), "batch_size": 8, "steps": steps, "max_length": 48, "optim": optim, "log_every": 2, **more}


def experiment(watch, **more):
    judged = {"policies": ("source_dev",), "dev": DEV}
    nli = stage("world_nli.train.qen", 8, save_every=4, selection=judged)
    return from_config(
        {
            "name": "watched",
            "synthetic": True,
            "model": "tiny",
            "limits": {"train": 64, "dev": 24, "test": 24},
            "pretrain": stage("world_text.train.qen", 7),
            "arms": {"nli": {"stage": nli}},
            "targets": {"pos": {"task": "world_pos", "languages": "qda", "stage": stage("world_pos.train.qen", 3)}},
            "baseline": "nli",
            "source_language": "qen",
            "eval_batch_size": 8,
            "mesh": "one",
            "watch": watch,
        }
        | more
    )


def ran(folder, watch, **more):
    run = Run(experiment(watch, **more), folder, None)
    run(jobs=1)
    return run


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Returns a run that was watched, and for each time that a program for it was traced an entry."""
    calls, device = [], Ask.device
    with pytest.MonkeyPatch.context() as patch:
        watched = lambda ask: ask.head is None and ask.layer is None  # noqa: E731
        patch.setattr(Ask, "device", lambda ask, answer: calls.extend([1] * watched(ask)) or device(ask, answer))
        return ran(tmp_path_factory.mktemp("watched"), WATCH), calls


@pytest.fixture(scope="module")
def watched(counted):
    return counted[0]


def folder_of(run, name) -> pathlib.Path:
    (folder,) = run.workdir.glob(f"stages/{name}-*")
    return folder


def lines_of(run, name, prefix=""):
    """Returns (step, the keys of a line that begin so) of the lines that have any."""
    lines = map(json.loads, (folder_of(run, name) / "metrics.jsonl").read_text().splitlines())
    found = [(line["step"], {key: value for key, value in line.items() if key.startswith(prefix)}) for line in lines]
    return [(step, keys) for step, keys in found if keys]


def test_it_is_measured_at_the_start_every_few_steps_and_at_the_end(watched):
    assert [step for step, _ in lines_of(watched, "pretrain", "align/")] == [0, 3, 6, 7]
    assert [step for step, _ in lines_of(watched, "nli_s0", "align/")] == [0, 3, 6, 8]
    assert [step for step, _ in lines_of(watched, "nli_pos_s0", "align/")] == [0, 3], "once, though both are due"
    _, values = lines_of(watched, "nli_s0", "align/")[0]
    wanted = {f"align/{code}/layer{layer}/{name}" for code in LANGUAGES for layer in range(LAYERS) for name in NAMES}
    assert set(values) == wanted | {f"align/{code}/sentences" for code in LANGUAGES}
    assert values["align/qda/sentences"] == WATCH["count"]
    assert all(0 <= value <= 100 for key, value in values.items() if key.endswith("accuracy"))


def test_steps_are_counted_as_before(watched):
    """Lines of a step's own metrics come first, and none has both."""
    for _, keys in lines_of(watched, "nli_s0"):
        assert len({key.partition("/")[0] in ("align", "dev") for key in keys if key != "step"}) == 1
    assert [step for step, _ in lines_of(watched, "nli_s0", "train/")] == [2, 3, 4, 6, 8]


def test_accuracy_is_that_of_evaluation(watched):
    """The last line is of the state that is evaluated: retrieval in each direction gives its two halves."""
    _, values = lines_of(watched, "nli_pos_s0", "align/")[-1]
    run, node = watched, next(node for node in watched.plan.nodes if node.name == "nli_pos_s0")
    programs = run._programs()
    examiner = Examiner(run.experiment, run.cells, programs, run.display)
    _, abstract = programs.state_maker(node.heads, node.stage.optim)
    with open_own(folder_of(run, node.name), create=False) as (checkpoints, step):
        params = checkpoints.restore_params(step, abstract["params"])
    run.cells.experiment = dataclasses.replace(run.experiment, limits={"test": WATCH["count"]})
    for layer in range(LAYERS):
        scores = []
        for queries in ("pivot", "language"):
            target = Target("world_parallel", languages="qda", max_length=24, protocol=Protocol(layer, queries=queries))
            evaluate = examiner.evaluator(node.heads, params, target, beside=False)
            scores += [values["accuracy"] for values, _ in evaluate(target.cells())]
        assert values[f"align/qda/layer{layer}/accuracy"] == pytest.approx(np.mean(scores), rel=1e-5)


def test_a_stage_begins_with_what_the_one_before_has_left(watched):
    """Bodies are handed over whole; the last state of pretraining is the first one of the stage after it."""
    assert lines_of(watched, "nli_s0", "align/")[0][1] == lines_of(watched, "pretrain", "align/")[-1][1]
    first, last = (lines_of(watched, "pretrain", "align/")[at][1] for at in (0, -1))
    assert first != last


def test_one_program_serves_all_stages_and_languages(counted):
    assert len(counted[1]) == 1, "traced once for three stages of other heads, ten states, and two languages"


def params_of(run, name):
    folder = folder_of(run, name)
    steps = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
    node = next(node for node in run.plan.nodes if node.name == name)
    _, abstract = run._programs().state_maker(node.heads, node.stage.optim)
    checkpoints = Checkpoints(folder / "checkpoints", None, background=False, create=False)
    try:
        return {path: np.asarray(leaf) for path, leaf in paths(checkpoints.restore(steps[-1], abstract)).items()}
    finally:
        checkpoints.close()


@pytest.mark.slow
def test_a_stage_computes_the_same_with_it_and_without(watched, tmp_path):
    plain = ran(tmp_path, {})
    assert [node.folder for node in plain.plan.nodes] == [node.folder for node in watched.plan.nodes], "same hashes"
    for name in ("pretrain", "nli_s0", "nli_pos_s0"):
        mine, theirs = params_of(watched, name), params_of(plain, name)
        assert mine.keys() == theirs.keys()
        assert [path for path in mine if not np.array_equal(mine[path], theirs[path])] == []
        assert lines_of(plain, name, "align/") == []
        losses = [dict(lines_of(run, name, "train/")) for run in (watched, plain)]
        assert all(losses[0][step] == keys for step, keys in losses[1].items())


def stopping(run, steps):
    """Returns what is asked whether to stop: after so many steps of the stage that is under way."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


@pytest.mark.slow
def test_stopped_again_and_again_it_has_each_line_once(watched, tmp_path):
    """A run that is asked to stop saves and goes on; its lines are those of one that nobody stopped."""
    for after in range(1, 40, 5):
        run = Run(experiment(WATCH), tmp_path, None)
        try:
            run(stopping(run, after), jobs=1)
        except Interrupted:
            continue
        break
    run = Run(experiment(WATCH), tmp_path, None)
    run(jobs=1)
    for name in ("pretrain", "nli_s0", "nli_pos_s0"):
        for prefix in ("align/", "dev/"):
            assert lines_of(run, name, prefix) == lines_of(watched, name, prefix)


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_killed_while_it_saves_it_has_each_line_once(watched, tmp_path, monkeypatch, at, saved):
    """Killed before a checkpoint is saved, what belongs to it comes again; killed after that, all of it is there."""
    number = iter(range(1, 100))
    save = Checkpoints.save

    def killed(self, *given):
        last = next(number) == at
        if saved or not last:
            save(self, *given)
        if last:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        Run(experiment(WATCH), tmp_path, None)(jobs=1)
    monkeypatch.undo()
    run = Run(experiment(WATCH), tmp_path, None)
    run(jobs=1)
    for name in ("pretrain", "nli_s0", "nli_pos_s0"):
        for prefix in ("align/", "dev/"):
            assert lines_of(run, name, prefix) == lines_of(watched, name, prefix)


def test_the_score_of_each_checkpoint_is_written(watched):
    scores = lines_of(watched, "nli_s0", "dev/")
    assert [(step, [*keys]) for step, keys in scores] == [(step, [f"dev/{DEV}/accuracy"]) for step in (4, 8)]
    checkpoints = Checkpoints(folder_of(watched, "nli_s0") / "checkpoints", None, background=False, create=False)
    history = checkpoints.meta(8)["history"]
    assert [(step, keys[f"dev/{DEV}/accuracy"]) for step, keys in scores] == [
        (step, pytest.approx(score, rel=1e-5)) for step, score in history
    ]
    assert lines_of(watched, "pretrain", "dev/") == [], "nothing is judged there"


@pytest.mark.slow
def test_the_end_is_measured_where_patience_ends_a_stage(tmp_path):
    """With a learning rate of nothing no checkpoint is better than the first one: the stage ends at its second.

    One layer of it is watched, and no other.
    """
    flat = stage("world_nli.train.qen", 8, save_every=2, selection={"patience": 1, "dev": DEV})
    flat["optim"] = {"learning_rate": 1e-12}
    run = ran(tmp_path, WATCH | {"every": 5, "layers": (2,), "centre": False}, arms={"nli": {"stage": flat}})
    assert [step for step, _ in lines_of(run, "nli_s0", "align/")] == [0, 4]
    assert [step for step, _ in lines_of(run, "nli_s0", "dev/")] == [2, 4]
    assert {key.split("/")[2] for _, keys in lines_of(run, "nli_s0", "align/") for key in keys} == {
        "sentences",
        "layer2",
    }


def test_it_counts_as_evaluation(watched):
    found = goodput(watched.workdir / "time.jsonl")
    assert found is not None
    lines = (watched.workdir / "time.jsonl").read_text().splitlines()
    begun = [line for line in map(json.loads, lines) if line.get("name") == "evaluate" and "pretrain" in line["stage"]]
    assert len(begun) == 4 + 1, "four looks at pretraining, and its own evaluation"


@pytest.mark.slow
def test_several_devices(watched, tmp_path):
    """Eight of them: sums of gradients differ in their last digits, and so do states."""
    run = ran(tmp_path, WATCH, mesh="any", strategy="data")
    for name in ("pretrain", "nli_s0"):
        for (step, mine), (other, theirs) in zip(
            lines_of(run, name, "align/"), lines_of(watched, name, "align/"), strict=True
        ):
            assert step == other and mine.keys() == theirs.keys()
            for key, value in mine.items():
                assert value == pytest.approx(theirs[key], abs=5 if key.endswith("accuracy") else 0.02), (name, key)


def test_a_cell_of_one_pair_is_an_error(watched, tmp_path):
    run = Run(experiment(WATCH), tmp_path, None)
    part = run.experiment.watch.parts()[0]
    run.prepare()
    examiner = Examiner(run.experiment, run.cells, run._programs(), run.display)
    watcher = Watcher(examiner, lambda step, values: None, lambda: None)
    with pytest.raises(DataError, match=r"world_parallel.test.qda is watched, and has 1 pairs.\nAllowed: 2 or more"):
        list(watcher._of(dataclasses.replace(part, count=1), {}))
