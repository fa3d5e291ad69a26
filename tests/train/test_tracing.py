"""Profiles: which steps are asked for, and that their files appear."""

import gzip
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from xling_jax.errors import ConfigError
from xling_jax.train.tracing import Profile, Trace


@pytest.mark.parametrize(
    ("text", "first", "last"), [("1", 1, 1), ("100", 100, 100), ("100:5", 100, 104), ("7:1", 7, 7)]
)
def test_steps_that_are_asked_for(text, first, last):
    profile = Profile.parse(text, ("qa_s0",))
    assert (profile.first, profile.last, profile.stages) == (first, last, ("qa_s0",))


@pytest.mark.parametrize("text", ["", "0", "a", "5:", ":5", "5:0", "-3", "3:-1", "1:2:3", "1.5", " 3"])
def test_what_names_no_steps(text):
    with pytest.raises(ConfigError, match=r"names no steps\.\nAllowed: STEP or STEP:COUNT"):
        Profile.parse(text)


class Profiler:
    """Stands in for JAX's: writes down what happens."""

    def __init__(self, monkeypatch):
        self.events = []
        monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: self.events.append(f"start {folder.name}"))
        monkeypatch.setattr(jax.profiler, "stop_trace", lambda: self.events.append("stop"))
        monkeypatch.setattr(jax, "block_until_ready", lambda results: self.events.append(f"wait {results}"))

    def train(self, trace, steps, start=0):
        for number in range(start + 1, steps + 1):
            with trace.step(number):
                self.events.append(number)
            trace.after(number, number)
        trace.close()
        return self.events


def test_only_these_steps(monkeypatch, tmp_path):
    trace = Trace(tmp_path / "qa", Profile(3, 2))
    assert Profiler(monkeypatch).train(trace, 6) == [1, 2, "start qa", 3, 4, "wait 4", "stop", 5, 6]
    assert trace.written


def test_a_training_that_ends_first_keeps_what_there_is(monkeypatch, tmp_path):
    trace = Trace(tmp_path / "qa", Profile(3, 9))
    assert Profiler(monkeypatch).train(trace, 4) == [1, 2, "start qa", 3, 4, "stop"] and trace.written


@pytest.mark.parametrize(("profile", "start"), [(None, 0), (Profile(9), 0), (Profile(2, 2), 3)])
def test_nothing_is_profiled(monkeypatch, tmp_path, profile, start):
    trace = Trace(tmp_path / "qa", profile)
    assert Profiler(monkeypatch).train(trace, 5, start) == list(range(start + 1, 6)) and not trace.written
    assert not (tmp_path / "qa").exists()


def test_files_appear(tmp_path):
    """With JAX's own profiler: the step is in the trace by its name and number."""
    step = jax.jit(lambda x: jnp.sin(x) @ x)
    x, trace = jnp.ones((8, 8)), Trace(tmp_path / "qa", Profile(2))
    for number in (1, 2, 3):
        with trace.step(number):
            x = step(x)
        trace.after(number, x)
    trace.close()
    (path,) = (tmp_path / "qa").rglob("*.trace.json.gz")
    assert list(pathlib.Path(tmp_path / "qa").rglob("*.xplane.pb"))
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert [event["args"]["step_num"] for event in events if event.get("name") == "train"] == ["2"]
