"""Several sinks as one; Weights & Biases that is not there, does not answer, or works."""

import json
import sys
import types

import pytest

from xling_jax.errors import ConfigError
from xling_jax.train import sinks
from xling_jax.train.sinks import Wandb, check_wandb, file_sinks, open_sinks
from xling_jax.train.tensorboard import read_records, step_of


class Remote:
    """A library of Weights & Biases: what it was asked, and when it fails."""

    def __init__(self, online=True, offline=True, log=True):
        self.fails = {"online": not online, "offline": not offline, "log": not log}
        self.asked, self.logged, self.finished = [], [], 0
        self.Settings = lambda **given: given

    def init(self, **given):
        self.asked.append(given)
        if self.fails[given.get("mode", "online")]:
            raise ConnectionError("no way to reach it\nand a second line")
        return types.SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, values, step):
        if self.fails["log"]:
            raise ValueError("its queue is broken")
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def said():
    return []


def open_wandb(monkeypatch, said, folder, **remote):
    library = Remote(**remote)
    monkeypatch.setitem(sys.modules, "wandb", library)
    about = {"group": "quickstart", "stage": "qa_s0", "seed": 0, "declared": {"steps": 3}}
    return library, Wandb("xling", folder, "qa_s0-1f", about, said.append)


def test_all_sinks_get_everything(tmp_path):
    stage, events = tmp_path / "stages" / "qa", tmp_path / "tensorboard" / "qa"
    stage.mkdir(parents=True)
    for start, steps in ((0, (10, 20)), (10, (20, 30))):
        with open_sinks(file_sinks(stage, events, start)) as opened:
            for step in steps:
                opened.write(step, {"train/loss": 0.5})
    lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": step, "train/loss": 0.5} for step in (10, 20, 30)]
    found = [step_of(event) for path in sorted(events.iterdir()) for _, event in read_records(path)]
    assert [step for step in found if step] == [10, 11, 20, 30], "11: where the second session begins"


def test_a_training_that_begins_again_says_what_it_begins_with_once(tmp_path):
    """Killed before its first checkpoint, it begins at step 0; killed after it, step 0 stays as it was told."""
    stage, events = tmp_path / "stages" / "qa", tmp_path / "tensorboard" / "qa"
    stage.mkdir(parents=True)
    for start, steps in ((0, (0, 10)), (0, (0, 10, 20)), (10, (20,))):
        with open_sinks(file_sinks(stage, events, start)) as opened:
            for step in steps:
                opened.write(step, {"align/qda/layer0/accuracy": 5.0})
    lines = [json.loads(line)["step"] for line in (stage / "metrics.jsonl").read_text().splitlines()]
    assert lines == [0, 10, 20]
    found = [event for path in sorted(events.iterdir()) for _, event in read_records(path) if b"align" in event]
    assert [step_of(event) for event in found] == [0, 10, 20]


def test_sinks_are_closed_whatever_happens(tmp_path):
    closed = []

    def maker(name):
        return lambda: types.SimpleNamespace(write=lambda step, values: None, close=lambda: closed.append(name))

    def broken():
        raise OSError("the disk is full")

    with pytest.raises(KeyError), open_sinks([maker("a"), maker("b")]):
        raise KeyError("news")
    assert closed == ["b", "a"]
    with pytest.raises(OSError, match="full"), open_sinks([maker("c"), broken, maker("d")]):
        raise AssertionError("not reached")
    assert closed == ["b", "a", "c"]


def test_a_run_has_the_id_of_its_stage(monkeypatch, tmp_path, said):
    library, sink = open_wandb(monkeypatch, said, tmp_path)
    sink.write(10, {"train/loss": 0.5})
    sink.close()
    (asked,) = library.asked
    assert asked["project"] == "xling" and asked["id"] == asked["name"] == "qa_s0-1f"
    assert asked["resume"] == "allow" and asked["group"] == "quickstart" and asked["config"]["declared"] == {"steps": 3}
    assert "mode" not in asked, "that is WANDB_MODE's to say"
    assert library.logged == [(10, {"train/loss": 0.5})] and library.finished == 1 and not said


def test_who_cannot_reach_it_writes_offline(monkeypatch, tmp_path, said):
    library, sink = open_wandb(monkeypatch, said, tmp_path, online=False)
    sink.write(10, {"a": 1.0})
    assert [asked.get("mode") for asked in library.asked] == [None, "offline"] and library.logged == [(10, {"a": 1.0})]
    words = "ConnectionError: no way to reach it; it goes on offline, for `wandb sync`"
    assert said == [f"  qa_s0-1f: Weights & Biases: {words}"]


@pytest.mark.parametrize("fails", ["offline", "log"])
def test_its_failures_end_nothing_and_are_said_once(monkeypatch, tmp_path, said, fails):
    library, sink = open_wandb(monkeypatch, said, tmp_path, online=fails == "log", **{fails: False})
    for step in (10, 20, 30):
        sink.write(step, {"a": 1.0})
    sink.close()
    assert not library.logged and len(said) == {"offline": 2, "log": 1}[fails]
    assert said[-1].endswith("; metrics.jsonl has everything")


def test_asked_for_and_not_installed(monkeypatch):
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        check_wandb()
