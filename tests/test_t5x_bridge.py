"""The bridge to t5x against a t5x that is made here: what it is started with, what it finds, and stages in a row."""

import json
import pathlib
import re
import runpy
import subprocess
import sys
import types

import pytest

from xling_jax import t5x_bridge
from xling_jax.data import text_tasks
from xling_jax.errors import ConfigError, XlingError

# A program of t5x's: it says how it was started, and imports what the shims are for.
PROGRAM = """
import json, sys
import airio.core as airio
from jax.experimental.pjit import PartitionSpec
assert __name__ == "__main__" and sys.modules["__main__"].PartitionSpec is PartitionSpec
assert not isinstance(object(), (airio.Task, airio.Mixture, airio.DatasetProviderBase, airio.AirIODatasetIterator))
print(json.dumps(sys.argv))
"""
CHECKPOINTS = """
class OrbaxCheckpointManagerInterface:
    def __init__(self, directory, saves):
        self.directory, self._should_write_dataset_ckpt, self.asked = directory, saves, []
    def restore(self, step=None, path=None, fallback_state=None):
        self.asked.append(self._should_write_dataset_ckpt)
        if fallback_state == "broken":
            raise ValueError("broken")
        return (step, path, fallback_state)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Puts a t5x, and what it needs, where Python looks first; returns their folder."""
    folder = tmp_path / "installed"
    for name in t5x_bridge.NEEDS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    for name in t5x_bridge.SCRIPTS:
        (folder / "t5x" / f"{name}.py").write_text(PROGRAM)
    (folder / "t5x" / "checkpoints.py").write_text(CHECKPOINTS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["pytest"])
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.split(".")[0] in ("t5x", "airio")]:
        monkeypatch.delitem(sys.modules, name)
    yield folder
    for name in set(sys.modules) - set(before):
        if name.split(".")[0] in ("t5x", "airio"):
            del sys.modules[name]


@pytest.mark.parametrize("script", t5x_bridge.SCRIPTS)
def test_a_program_is_started_as_itself(script, installed, capsys):
    with pytest.raises(SystemExit) as left:
        t5x_bridge.main([script, "--gin_file=a.gin", "--gin.X='y'"])
    assert left.value.code == 0
    program = str(installed / "t5x" / f"{script}.py")
    assert json.loads(capsys.readouterr().out) == [program, "--gin_file=a.gin", "--gin.X='y'"]


def test_a_real_airio_is_left_alone(installed):
    (installed / "airio").mkdir()
    (installed / "airio" / "__init__.py").write_text("")
    t5x_bridge.install_shims()
    assert "airio" not in sys.modules


@pytest.mark.parametrize("missing", ["t5x", "fiddle"])
def test_what_is_missing_is_said_in_a_line(missing, monkeypatch, capsys):
    def find(name):
        return None if name == missing else types.SimpleNamespace()

    monkeypatch.setattr(t5x_bridge.importlib.util, "find_spec", find)
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(SystemExit) as left:
        t5x_bridge.main(["train"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ") and "docs/t5x.md" in said
    assert ("cc342d4" if missing == "t5x" else "t5x needs fiddle: pip install") in said


def test_an_unknown_verb(capsys):
    with pytest.raises(SystemExit) as left:
        t5x_bridge.main(["trian"])
    assert left.value.code == 2
    assert "Did you mean: train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "step", "restored"),
    [("/runs/0_pretrain/checkpoint_7", None, False), ("/runs/1_target/checkpoint_7", None, True), (None, 7, True)],
)
def test_a_stage_begins_with_its_own_data(installed, path, step, restored):
    t5x_bridge.part_stages()
    from t5x import checkpoints  # noqa: PLC0415

    manager = checkpoints.OrbaxCheckpointManagerInterface(pathlib.Path("/runs/1_target"), True)
    assert manager.restore(step=step, path=path, fallback_state="some") == (step, path, "some")
    with pytest.raises(ValueError, match="broken"):
        manager.restore(step=step, path=path, fallback_state="broken")
    assert manager.asked == [restored, restored]
    assert manager._should_write_dataset_ckpt, "it saves its own data all the same"
    without = checkpoints.OrbaxCheckpointManagerInterface("/runs/1_target", None)
    without.restore(path=path)
    assert not any(without.asked)


NEVER = "kv relpos_buckets abspos_buckets length layers stack mlp_activations labels rank"


@pytest.mark.parametrize(
    ("dims", "embed"), [((1, 1), [None]), ((2, 1), ["model"]), ((1, 2), ["data"]), ((2, 2), ["model", "data"])]
)
def test_axis_rules(dims, embed):
    found: dict = {}
    for axis, mesh in t5x_bridge.axis_rules(*dims):
        found.setdefault(axis, []).append(mesh)
    split = {"batch": ["data"]} | {axis: ["model"] for axis in ("vocab", "mlp", "heads", "joined_kv")}
    assert found == split | {"embed": embed} | {axis: [None] for axis in NEVER.split()}


def test_wrong_dimensions():
    with pytest.raises(ConfigError, match="Unknown dimension count '3'"):
        t5x_bridge.axis_rules(1, 3)


def test_a_mixture_is_of_the_data_folder(monkeypatch):
    monkeypatch.setattr(text_tasks, "register_texts", lambda *given: given)
    monkeypatch.setenv("XLING_DATA", "/data")
    data, lengths, vocabulary, folder, mixing = t5x_bridge.mixture(
        "mnli.train.en squad.train.en", {"inputs": 9, "targets": 3}, "v", rule="temperature", temperature=2.0
    )
    assert (data, lengths, vocabulary) == (["mnli.train.en", "squad.train.en"], {"inputs": 9, "targets": 3}, "v")
    assert (folder, mixing.rule, mixing.temperature) == (pathlib.Path("/data"), "temperature", 2.0)
    monkeypatch.delenv("XLING_DATA")
    assert t5x_bridge.mixture("world_qa.train.qen", {"inputs": 9, "targets": 3}, "v")[3] is None


SHARED = ("--gin_file=gin/models/mt5_tiny.gin", "--gin.BATCH_SIZE=16")
STAGES = (
    *("--stage=pretrain", "--steps=30", "--gin.DATA='world_text.train.qen'"),
    *("--stage=target", "--fresh_optimizer", "--gin.DATA='world_qa.train.qen'"),
    *("--stage=evaluate", "--gin.DATA='world_qa.test.all'"),
)


class Programs:
    """Stands in for the processes that a sequence starts: leaves the checkpoints that t5x would leave."""

    def __init__(self):
        self.started: list[list[str]] = []
        self.fails_at = 0  # a step

    def __call__(self, command, check):
        assert not check and command[:3] == [sys.executable, "-m", "xling_jax.t5x_bridge"]
        self.started.append(command[3:])
        given = dict(re.findall(r"--gin\.(\w+)='?(.*?)'?(?:\n|$)", "\n".join(command)))
        out = pathlib.Path(given.get("MODEL_DIR") or given["OUTPUT_DIR"])
        out.mkdir(parents=True, exist_ok=True)
        steps = [int(given["TRAIN_STEPS"])] if "TRAIN_STEPS" in given else []
        for step in [self.fails_at] if self.fails_at else steps:
            (out / f"checkpoint_{step}").mkdir()
        return types.SimpleNamespace(returncode=-9 if self.fails_at else 0)


@pytest.fixture
def programs(monkeypatch, installed):
    made = Programs()
    monkeypatch.setattr(subprocess, "run", made)
    return made


def run(*words):
    t5x_bridge.run_sequence(t5x_bridge.read_sequence(words))


def test_a_stage_begins_where_the_one_before_ended(programs, tmp_path):
    work = tmp_path / "work"
    run(f"--workdir={work}", "--steps=20", *SHARED, *STAGES)
    assert programs.started == [
        [
            *("train", *SHARED, "--gin.DATA='world_text.train.qen'", "--gin_file=gin/runs/pretrain.gin"),
            *(f"--gin.MODEL_DIR='{work}/0_pretrain'", "--gin.INITIAL_CHECKPOINT_PATH=[]", "--gin.TRAIN_STEPS=30"),
        ],
        [
            *("train", *SHARED, "--gin.DATA='world_qa.train.qen'"),
            *("--gin_file=gin/runs/target.gin", "--gin_file=gin/runs/fresh_optimizer.gin"),
            f"--gin.MODEL_DIR='{work}/1_target'",
            f"--gin.INITIAL_CHECKPOINT_PATH='{work}/0_pretrain/checkpoint_30'",
            *("--gin.TRAIN_STEPS=50", "--gin.INITIAL_STEP=30"),
        ],
        [
            *("eval", *SHARED, "--gin.DATA='world_qa.test.all'", "--gin_file=gin/runs/evaluate.gin"),
            f"--gin.CHECKPOINT_PATH='{work}/1_target/checkpoint_50'",
            f"--gin.OUTPUT_DIR='{work}/2_evaluate'",
        ],
    ]
    run(f"--workdir={work}", "--steps=20", *SHARED, *STAGES)
    assert len(programs.started) == 3, "nothing is run twice"


def test_a_published_checkpoint_has_steps(programs, tmp_path):
    published = "gs://weights/checkpoint_1000000"
    run(f"--workdir={tmp_path / 'work'}", f"--initial={published}", "--stage=intermediate", "--steps=5")
    assert "--gin.TRAIN_STEPS=1000005" in programs.started[0]
    assert f"--gin.INITIAL_CHECKPOINT_PATH='{published}'" in programs.started[0]


def test_paths_are_absolute(programs, tmp_path, monkeypatch):
    """Orbax refuses others, but not before it saves for the first time."""
    monkeypatch.chdir(tmp_path)
    run("--workdir=work", "--initial=weights/checkpoint_7", "--stage=intermediate", "--steps=5")
    assert f"--gin.MODEL_DIR='{tmp_path}/work/0_intermediate'" in programs.started[0]
    assert f"--gin.INITIAL_CHECKPOINT_PATH='{tmp_path}/weights/checkpoint_7'" in programs.started[0]


def test_a_stage_that_fails_is_gone_on_with(programs, tmp_path, capsys):
    words = (f"--workdir={tmp_path / 'work'}", "--steps=20", *STAGES)
    programs.fails_at = 10
    with pytest.raises(XlingError, match="0_pretrain ended with exit code -9") as error:
        run(*words)
    assert error.value.exit_code == 137
    programs.fails_at = 0
    run(*words)
    assert [started[0] for started in programs.started] == ["train", "train", "train", "eval"]
    assert "--gin.TRAIN_STEPS=30" in programs.started[1], "the same end, wherever it goes on"
    assert "0_pretrain: train from nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("--steps=30", "--steps=40", r"0_pretrain was done with steps 30, and is asked for with 40"),
        ("'world_text.train.qen'", "'world_text.train.qda'", r"0_pretrain was done with given "),
        ("--fresh_optimizer", "--steps=20", r"1_target was done with fresh_optimizer True"),
    ],
)
def test_another_stage_in_its_folder_is_refused(programs, tmp_path, was, now, said):
    words = (f"--workdir={tmp_path / 'work'}", "--steps=20", *STAGES)
    run(*words)
    with pytest.raises(ConfigError, match=said):
        run(*(word.replace(was, now) for word in words))


def test_drafts_are_no_checkpoints(tmp_path):
    assert t5x_bridge.last_checkpoint(tmp_path / "missing") is None
    for name in ("checkpoint_9", "checkpoint_10", "checkpoint_11.orbax-checkpoint-tmp-3", "checkpoint_x", "train"):
        (tmp_path / name).mkdir()
    assert t5x_bridge.last_checkpoint(tmp_path) == (str(tmp_path / "checkpoint_10"), 10)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs --workdir=FOLDER and stages"),
        (("--workdir=w",), "needs --workdir=FOLDER and stages"),
        (("--stage=target", "--steps=3"), "needs --workdir=FOLDER and stages"),
        (("--workdir=w", "--stage=tarqet", "--steps=3"), "Unknown phase 'tarqet'.*\nDid you mean: target"),
        (("--workdir=w", "--stage=target"), "Stage 0_target trains no steps"),
        (("--workdir=w", "--stage=target", "--steps=many"), "--steps=many behind '--stage=target'"),
        (("--workdir=w", "--stage=target", "--step=3"), "Unknown flag '--step=3'.*\nDid you mean: --steps"),
        (("--workdir=w", "--stage=target", "--initial=c", "--steps=3"), "Unknown flag '--initial=c'"),
        (("--workdir=w", "--stage=target", "--steps=3", "x"), "Unknown flag 'x'"),
        (("--workdir=w", "--stage=evaluate"), "Stage 0_evaluate has no checkpoint"),
        (("--workdir=w", "--initial=weights", "--stage=target", "--steps=3"), r"--initial=.*/weights is no checkpoint"),
    ],
)
def test_what_is_no_sequence_is_said(words, said, installed):
    with pytest.raises(ConfigError, match=said):
        run(*words)
