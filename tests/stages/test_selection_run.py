"""A whole tiny run that selects: every policy beside the others, stopped and gone on with, handed over as chosen."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from xling_jax.errors import CheckpointError, ConfigError, Interrupted
from xling_jax.experiment import Target, from_config
from xling_jax.results import read_results
from xling_jax.stages.follow import Follower, wait_for
from xling_jax.stages.run import Run
from xling_jax.stages.saving import Saver
from xling_jax.stages.sweep import dev_cells
from xling_jax.train.checkpoint import Checkpoints, chosen, open_own, paths
from xling_jax.train.writer import Display

DEV = "world_nli.dev.qen"
EVERY, STEPS = 2, 8


def stage(data, **more):
    optim = {"learning_rate": 3e-2}
    return {"data": (data,), "batch_size": 8, "steps": STEPS, "max_length": 48, "optim": optim, "log_every": 2, **more}


def experiment(*policies, **more):
    selection = {"policies": policies, "dev": DEV} | more
    chosen_nli = stage("world_nli.train.qen", save_every=EVERY, selection=selection)
    return from_config(
        {
            "name": "selected",
            "synthetic": True,
            "model": "tiny",
            "limits": {"train": 64, "dev": 24, "test": 24},
            "pretrain": stage("world_text.train.qen"),
            "arms": {"nli": {"stage": chosen_nli}},
            "targets": {
                "again": {"task": "world_nli", "languages": "qda+qnd", "max_length": 48},
                "pos": {"task": "world_pos", "languages": "qda", "stage": stage("world_pos.train.qen")},
            },
            "remember": (DEV,),
            "baseline": "nli",
            "source_language": "qen",
            "eval_batch_size": 8,
            "mesh": "one",
        }
    )


ALL = ("source_dev", "last", "average", "target_dev", "oracle")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = Run(experiment(*ALL), tmp_path_factory.mktemp("straight"), None)
    run(jobs=1)
    return run


def folder_of(run, name) -> pathlib.Path:
    (folder,) = run.workdir.glob(f"stages/{name}-*")
    return folder


def rows_of(run, name):
    return list(read_results(folder_of(run, name) / "results.jsonl"))


def value(rows, policy, language="qda", split="test", step=None):
    (row,) = [
        row
        for row in rows
        if (row.policy, row.language, row.split, row.metric) == (policy, language, split, "accuracy")
        and step in (None, row.step)
        and "head=" not in row.protocol
    ]
    return row


def test_every_policy_stands_beside_the_others(straight):
    rows = rows_of(straight, "nli_s0")
    history = Checkpoints(folder_of(straight, "nli_s0") / "checkpoints", None, background=False, create=False).meta(8)
    scores = dict(history["history"])
    assert list(scores) == [2, 4, 6, 8], "each checkpoint was judged once"
    top = max(scores, key=lambda step: (scores[step], -step))
    for language in ("qda", "qnd"):
        by_step = {step: value(rows, "step", language, step=step).value for step in scores}
        dev = {step: value(rows, "step", language, "dev", step).value for step in scores}
        assert value(rows, "last", language).value == by_step[8]
        assert (value(rows, "source_dev", language).step, value(rows, "source_dev", language).value) == (
            top,
            by_step[top],
        )
        assert value(rows, "oracle", language).value == max(by_step.values())
        best_dev = min(step for step in dev if dev[step] == max(dev.values()))
        assert value(rows, "target_dev", language).value == by_step[best_dev]
    assert value(rows, "average").step == 8
    assert len({json.dumps(row.__dict__) for row in rows}) == len(rows), "no row twice"


def test_what_is_handed_over_is_what_was_chosen(straight):
    folder = folder_of(straight, "nli_s0")
    name, step, policy = chosen(folder)
    assert (name, policy) == ("checkpoints", "source_dev") and step == value(rows_of(straight, "nli_s0"), policy).step
    with open_own(folder, create=False) as (_, own):
        assert own == step
    again = rows_of(straight, "nli_pos_s0")
    remembered = [row for row in again if row.protocol.startswith("head=")]
    assert [(row.task, row.split, row.language) for row in remembered] == [("world_nli", "dev", "qen")]
    assert remembered[0].protocol == f"head={folder.name}" and remembered[0].n == 24


def test_predictions_lie_by_policy(straight):
    folder = folder_of(straight, "nli_s0")
    assert sorted(path.name for path in folder.glob("predictions*")) == [
        "predictions",
        "predictions-average",
        "predictions-last",
    ]
    read = (folder / "predictions" / "world_nli" / "test-qda.tsv").read_text().split()
    assert len(read) == 24


def test_predictions_are_gathered_as_a_submission(straight):
    out = straight.workdir / "submissions" / "nli_s0"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "world_nli/test-qda.tsv",
        "world_nli/test-qnd.tsv",
        "world_pos/test-qda.tsv",
    ]
    made = folder_of(straight, "nli_s0") / "predictions" / "world_nli" / "test-qda.tsv"
    assert (out / "world_nli" / "test-qda.tsv").read_text() == made.read_text(), "those of the stage's own policy"


def asked(folder: pathlib.Path):
    target = {"task": "world_nli", "languages": "qda+qnd", "max_length": 48}
    fields = {"name": "eval", "checkpoint": str(folder), "arms": {"checkpoint": {}}, "targets": {"nli": target}}
    return from_config(fields | {"source_language": "qen", "eval_batch_size": 8, "mesh": "one", "limits": {"test": 24}})


def growing(finished: pathlib.Path, folder: pathlib.Path):
    """Returns a function that, called while somebody waits, makes a folder what a training makes of it, bit by bit.

    Before it says that it is done, it removes a checkpoint, as a training does that keeps few.
    """
    (folder / "checkpoints").mkdir(parents=True)

    def writing():
        shutil.copy(finished / "model.json", folder)
        for step in (2, 4, 6, 8):
            yield shutil.copytree(finished / "checkpoints" / str(step), folder / "checkpoints" / str(step))
        shutil.rmtree(folder / "checkpoints" / "4")
        yield (folder / "DONE").write_text("")

    parts = writing()
    return lambda wait, stop_asked: next(parts)


def test_each_checkpoint_of_a_training_is_evaluated_once(straight, tmp_path, monkeypatch):
    """Followed from before it begins to its end; then again, when nothing is left to do; the scores are the run's."""
    finished = folder_of(straight, "nli_s0")
    folder = tmp_path / finished.name
    follower = Follower(asked(folder), tmp_path / "work", None, Display())
    monkeypatch.setattr("xling_jax.stages.follow._sleep", growing(finished, folder))
    found = list(follower.follow(lambda: False))
    assert [{row.step for row in rows} for rows in found] == [{2}, {4}, {6}, {8}]
    scores = {(row.step, row.language): row.value for rows in found for row in rows}
    steps = [row for row in rows_of(straight, "nli_s0") if row.policy == "step" and row.split == "test"]
    assert scores == {(row.step, row.language): row.value for row in steps}
    joined = list(read_results(tmp_path / "work" / "results.jsonl"))
    assert len(joined) == 8 and {row.policy for row in joined} == {"step"}
    again = Follower(asked(folder), tmp_path / "work", None, Display())
    again._examiner = None  # nothing is asked again
    assert [{row.step for row in rows} for rows in again.follow(lambda: False)] == [{2}, {6}, {8}]


def test_a_checkpoint_that_is_gone_before_it_is_read_is_told(straight, tmp_path, monkeypatch, capsys):
    finished = folder_of(straight, "nli_s0")
    follower = Follower(asked(finished), tmp_path, None, Display())
    steps = iter([[3], [], []])
    monkeypatch.setattr(follower, "_steps", lambda: next(steps))
    assert list(follower.follow(lambda: False)) == []
    assert "step 3 was removed before it was read" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 3\.\nAllowed: 2, 4, 6, 8"):
        follower.evaluate(3, lambda: False)


def test_the_layer_is_chosen_on_dev_languages_and_said(straight, tmp_path, monkeypatch):
    """All layers come from one pass; each scores what it scores when it is evaluated alone."""
    folder, names = folder_of(straight, "nli_s0"), ("qda", "qnd")

    def follower(protocol, workdir, split="test", **more):
        target = {"task": "world_parallel", "languages": "qda+qnd+qms", "max_length": 48, "protocol": protocol}
        target |= {"split": split}
        fields = {"name": "eval", "checkpoint": str(folder), "arms": {"checkpoint": {}}, "targets": {"p": target}}
        experiment = from_config(fields | {"eval_batch_size": 8, "mesh": "one", "limits": {"test": 24, "dev": 20}})
        dev = dev_cells(experiment.targets["p"], "qda qnd", None)
        return Follower(experiment, workdir, None, Display(), {"p": dev} if more.get("sweep") else None)

    swept = follower({}, tmp_path / "swept", sweep=True).evaluate(None, lambda: False)
    alone = {
        layer: [
            row.value
            for row in follower({"layer": layer}, tmp_path / str(layer), "dev").evaluate(None, lambda: False)
            if row.language in names
        ]
        for layer in range(3)
    }
    (path,) = (tmp_path / "swept").glob("stages/*/layers.json")
    (scores,) = json.loads(path.read_text()).values()
    assert {layer: list(scores[str(layer)].values()) for layer in range(3)} == alone, "two layers and the embeddings"
    best = max(alone, key=lambda layer: (sum(alone[layer]), -layer))
    said = f"layer={best} layer_from=world_parallel.dev.qda+qnd "
    assert len(swept) == 3 and all(row.protocol.startswith(said) for row in swept)
    tested = follower({"layer": best}, tmp_path / "tested").evaluate(None, lambda: False)
    assert [row.value for row in swept] == [row.value for row in tested]
    monkeypatch.setattr("xling_jax.stages.sweep.sweep", None)  # what is known is not computed again
    assert follower({}, tmp_path / "swept", sweep=True).evaluate(None, lambda: False) == swept


def test_a_sweep_needs_languages_to_choose_on():
    target = Target("tatoeba", languages="de sw", max_length=48)
    with pytest.raises(ConfigError, match=r"tatoeba\.test: it has no dev split .*\nAllowed: --dev_languages=CODE"):
        dev_cells(target, "", None)
    assert [str(cell) for cell in dev_cells(target, "fr", None)] == ["tatoeba.test.fr"], (
        "others than are evaluated, too"
    )
    with pytest.raises(ConfigError, match="Unknown language 'en' in cell 'tatoeba"):
        dev_cells(target, "en", None)


def test_it_can_be_stopped_while_it_waits(tmp_path):
    with pytest.raises(Interrupted, match="Stopped while waiting"):
        wait_for(tmp_path / "not yet", True, lambda: True, Display(), wait=0.01)
    with pytest.raises(CheckpointError, match=r"not yet has no model\.json"):
        wait_for(tmp_path / "not yet", False, lambda: True, Display())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stop", range(1, 5))
def test_stopped_and_gone_on_with_it_selects_the_same(straight, stop, tmp_path, monkeypatch):
    """The run is ended after each of its checkpoints, before training goes on."""
    parted, real, saves = Run(experiment(*ALL), tmp_path, None), Saver.__call__, []

    def save(self, step, state):
        real(self, step, state)
        if self._stage.selection.judged:
            saves.append(step)

    monkeypatch.setattr(Saver, "__call__", save)
    if stop < 4:
        with pytest.raises(Interrupted):
            parted(stop_asked=lambda: len(saves) == stop, jobs=1)
    monkeypatch.undo()
    parted(jobs=1)
    for name in ("nli_s0", "nli_pos_s0"):
        assert rows_of(parted, name) == rows_of(straight, name)
    assert chosen(folder_of(parted, "nli_s0")) == chosen(folder_of(straight, "nli_s0"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_average_is_the_mean_and_is_handed_over(tmp_path):
    run = Run(experiment("average", average=3), tmp_path, None)
    run(jobs=1)
    folder = folder_of(run, "nli_s0")
    assert chosen(folder) == ("averaged", 8, "average")
    node = next(node for node in run.plan.nodes if node.name == "nli_s0")
    _, abstract = run._programs().state_maker(node.heads, node.stage.optim)
    checkpoints = Checkpoints(folder / "checkpoints", None, background=False, create=False)
    parts = [checkpoints.restore_params(step, abstract["params"]) for step in (4, 6, 8)]
    with open_own(folder, create=False) as (own, step):
        found = own.restore_params(step, abstract["params"])
    mean = jax.tree.map(lambda *leaves: np.mean([np.asarray(leaf) for leaf in leaves], axis=0), *parts)
    for path, leaf in paths(found).items():
        np.testing.assert_allclose(leaf, paths(mean)[path], rtol=1e-6, atol=1e-8, err_msg=path)  # float32, three terms


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_patience_ends_training_and_stays_ended(tmp_path, monkeypatch):
    """Scores are made up: the second checkpoint is the best, and two after it are not."""
    scores = {2: 10.0, 4: 50.0, 6: 50.0, 8: 20.0}
    run = Run(experiment("source_dev", patience=1), tmp_path, None)
    monkeypatch.setattr("xling_jax.stages.stage.StageRunner._judge", lambda self, node: judging(node, scores))
    run(jobs=1)
    folder = folder_of(run, "nli_s0")
    assert chosen(folder)[1:] == (4, "source_dev")
    assert Checkpoints(folder / "checkpoints", None, create=False).steps() == [4, 6], "6 was not better: the end"
    (folder / "DONE").unlink()
    (folder / "results.jsonl").unlink()
    Run(experiment("source_dev", patience=1), tmp_path, None)(jobs=1)
    assert Checkpoints(folder / "checkpoints", None, create=False).steps() == [4, 6], "nothing was trained again"


def judging(node, scores):
    steps = iter(sorted(scores))
    return (lambda params: scores[next(steps)]) if node.stage.selection.judged else None
