"""The loop: what it calls and when; stopping and going on is going straight on."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.errors import Interrupted, NumericalError
from xling_jax.experiment import Optim
from xling_jax.train.checkpoint import Checkpoints
from xling_jax.train.loop import train
from xling_jax.train.optimizer import learning_rate, make_optimizer
from xling_jax.train.step import init_state, train_step

OPTIM = Optim(learning_rate=0.1)


class Recorder:
    """Counts in its state, and writes down what the loop does."""

    def __init__(self, bad: int = -1, stop: int = -1):
        self.events: list = []
        self._bad, self._stop, self._sent = bad, stop, 0

    def step(self, state, batch, rate):
        self._sent = state + 1
        self.events.append(("sent", state))
        bad = self._bad if 0 <= self._bad <= state else -1
        return state + 1, {"loss": jnp.float32(batch["x"]), "bad_step": jnp.int32(bad)}

    def save(self, step, state):
        assert step == state
        self.events.append(("saved", step))

    def run(self, steps, start=0, **changes):
        how = {
            "start": start,
            "rate": lambda step: step / 10,
            "place": lambda batch: batch,
            "log_every": 2,
            "save_every": 0,
            "log": lambda step, values: self.events.append(("logged", step, values)),
            "save": self.save,
            "stop_asked": lambda: self._sent == self._stop,
            "identify": lambda step: [f"xnli.train.en#{step}{n}" for n in range(20)],
        }
        batches = (("nli", {"x": step}) for step in itertools.count(start))
        return train(start, steps, batches, {"nli": self.step}, **(how | changes))

    def names(self):
        return [event[:2] for event in self.events]


def test_metrics_are_read_one_logged_step_late():
    loop = Recorder()
    assert loop.run(5) == (5, 5), "the state, and its step"
    sent = [("sent", step) for step in range(5)]
    assert loop.names() == [*sent[:4], ("logged", 2), sent[4], ("logged", 4), ("logged", 5), ("saved", 5)]
    values = {event[1]: event[2] for event in loop.events if event[0] == "logged"}
    assert values[2]["train/nli/loss"] == 1, "line 2 tells of the second step"
    assert values[2]["train/nli/learning_rate"] == pytest.approx(0.1)
    assert set(values[2]) == {"train/nli/loss", "train/nli/learning_rate", "time/step", "time/input", "time/transfer"}


def test_it_stops_when_it_is_enough():
    loop = Recorder()
    found = loop.run(9, save_every=2, enough=lambda: ("saved", 4) in loop.events)
    assert found == (4, 4) and loop.names()[-1] == ("saved", 4), "it asks after each save, and leaves nothing unsaved"


def test_checkpoints_come_when_they_should():
    loop = Recorder()
    loop.run(7, save_every=3, log_every=100)
    assert [event[1] for event in loop.events if event[0] == "saved"] == [3, 6, 7]
    loop = Recorder()
    loop.run(6, save_every=3)
    assert [event[1] for event in loop.events if event[0] == "saved"] == [3, 6], "the last one once"
    loop = Recorder()
    loop.run(8, start=4, save_every=3)
    assert [event[1] for event in loop.events if event[0] == "saved"] == [6, 8]
    assert [event[1] for event in loop.events if event[0] == "sent"] == [4, 5, 6, 7]


def test_it_is_watched_at_the_start_and_before_a_save():
    """Metrics of a step come first, then what is watched, then the checkpoint: what it keeps is whole."""
    loop = Recorder()
    watch = {"watch": lambda step, state: loop.events.append(("watched", step, state)), "watch_every": 3}
    loop.run(7, save_every=6, log_every=100, **watch)
    others = [event[:2] for event in loop.events if event[0] != "sent"]
    late = [("logged", 6), ("watched", 6), ("saved", 6), ("logged", 7), ("saved", 7)]
    assert others == [("watched", 0), ("logged", 3), ("watched", 3), *late]
    assert [event[1:] for event in loop.events if event[0] == "watched"] == [(step, step) for step in (0, 3, 6)]
    again = Recorder()
    watch["watch"] = lambda step, state: again.events.append(("watched", step))
    again.run(7, start=3, **watch)
    assert [event[1] for event in again.events if event[0] == "watched"] == [6], (
        "what was seen before is not seen again"
    )


def test_nothing_is_watched_after_a_bad_step():
    loop = Recorder(bad=2)
    with pytest.raises(NumericalError, match="step 2"):
        loop.run(9, watch=lambda step, state: loop.events.append(("watched", step)), watch_every=4)
    assert [event[1] for event in loop.events if event[0] == "watched"] == [0]


def test_a_stop_saves_and_says_how_to_go_on():
    loop = Recorder(stop=3)
    with pytest.raises(Interrupted, match=r"Stopped at step 3 of 9, saved\.\nRun the same command again"):
        loop.run(9)
    assert loop.names()[-1] == ("saved", 3)
    assert ("sent", 3) not in loop.names()


def test_a_stop_at_the_last_step_is_the_end():
    assert Recorder(stop=4).run(4) == (4, 4)


def test_a_loss_that_is_not_finite_ends_it():
    loop = Recorder(bad=2)
    with pytest.raises(NumericalError) as error:
        loop.run(100)
    assert "The loss of step 2 is not finite." in str(error.value)
    assert "Its examples: xnli.train.en#20 xnli.train.en#21" in str(error.value)
    assert "xnli.train.en#28" not in str(error.value), "eight names are enough"
    assert not [event for event in loop.events if event[0] == "saved"]
    assert ("logged", 4) not in loop.names()


@pytest.mark.parametrize("how", [{"save_every": 3}, {"stop": 3}, {"steps": 3}])
def test_what_is_saved_is_sound(how):
    """No log is due at step 3; still a state after a bad step is not saved."""
    loop = Recorder(bad=2, stop=how.get("stop", -1))
    with pytest.raises(NumericalError, match="step 2"):
        loop.run(how.get("steps", 50), save_every=how.get("save_every", 0), log_every=100)
    assert not [event for event in loop.events if event[0] == "saved"]


def test_times_are_per_step_sent(monkeypatch):
    now = itertools.count()
    clock = {"time": 0.0}
    monkeypatch.setattr("xling_jax.train.meter.time.perf_counter", lambda: clock["time"])
    loop = Recorder()

    def slow():
        for step in now:
            clock["time"] += 0.25  # the input
            yield "nli", {"x": step}

    def step(state, batch, rate):
        clock["time"] += 0.75  # the device
        return loop.step(state, batch, rate)

    how = {"start": 0, "rate": lambda step: 0.1, "place": lambda batch: batch, "log_every": 2, "save_every": 0}
    hooks = {"save": loop.save, "stop_asked": lambda: False, "identify": lambda step: []}
    log = lambda step, values: loop.events.append((step, values["time/step"], values["time/input"]))  # noqa: E731
    train(0, 6, slow(), {"nli": step}, log=log, **how, **hooks)
    assert [event for event in loop.events if len(event) == 3] == [(2, 1.0, 0.25), (4, 1.0, 0.25), (6, 1.0, 0.25)]


def apply(params, key, batch):
    noise = jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n), (4,)))(batch["index"])
    return (batch["x"] + 0.1 * noise) @ params["kernel"] + params["bias"][None]


def batches(start: int):
    """Batches that are a function of the step alone."""
    for step in itertools.count(start):
        rng = np.random.default_rng(step)
        x = rng.standard_normal((8, 4)).astype(np.float32)
        yield "nli", {"x": x, "label": rng.integers(0, 3, 8), "index": np.arange(8)}


def train_for_real(folder, steps: int, stop: int = -1):
    """Trains in a folder as a stage does: from its checkpoint where there is one."""
    optimizer = make_optimizer(OPTIM)
    how = {"apply": apply, "kind": "pair_classification", "optimizer": optimizer, "accumulate": 2, "mask_id": 9}
    step = jax.jit(functools.partial(train_step, **how))

    def make():
        kernel = jax.random.normal(jax.random.key(1), (4, 3))
        return init_state({"kernel": kernel, "bias": jnp.zeros((3,))}, optimizer)

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), jax.eval_shape(make)
    )
    checkpoints = Checkpoints(folder)
    try:
        start = checkpoints.latest() or 0
        state = checkpoints.restore(start, abstract) if start else make()
        return start, *train(
            state,
            steps,
            batches(start),
            {"nli": lambda *given: step(*given, jax.random.key(7))},
            start=start,
            rate=lambda step: learning_rate(OPTIM, step, steps),
            place=lambda batch: batch,
            log_every=2,
            save_every=0,
            log=lambda step, values: None,
            save=checkpoints.save,
            stop_asked=iter([False] * (stop - 1 - start) + [True] + [False] * 99).__next__
            if stop > 0
            else lambda: False,
            identify=lambda step: [],
        )
    finally:
        checkpoints.close()


def test_stopping_and_going_on_is_bit_identical(tmp_path):
    _, straight, _ = train_for_real(tmp_path / "straight", 9)
    for stop in (3, 7):
        with pytest.raises(Interrupted):
            train_for_real(tmp_path / "parted", 9, stop)
    start, parted, _ = train_for_real(tmp_path / "parted", 9)
    assert start == 7
    jax.tree.map(np.testing.assert_array_equal, parted, straight)
    assert int(parted["step"]) == 9
