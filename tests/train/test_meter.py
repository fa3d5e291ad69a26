"""Windows of steps on a clock set by hand: a host that waits for the device, and one that the device waits for."""

import itertools

import jax
import pytest

from xling_jax.errors import Interrupted
from xling_jax.flops import Work
from xling_jax.ledger import Event, Ledger
from xling_jax.train import loop
from xling_jax.train.loop import train
from xling_jax.train.meter import Devices, Load, Meter


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set by hand, the meter's and the ledger's."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


class Later:
    """An array of a device that is done at a moment; counts who waits for it."""

    def __init__(self, clock, at, fetched):
        self._clock, self._at, self._fetched = clock, at, fetched

    def is_ready(self):
        return self._clock[0] >= self._at

    def fetch(self, value):
        self._fetched.append(self._clock[0])
        self._clock[0] = max(self._clock[0], self._at)
        return value


class Machine:
    """A host and a device that takes `step` seconds a step, one after another."""

    def __init__(self, clock, monkeypatch, *, step, host, save=0.0):
        self.clock, self.step_seconds, self.host, self.save_seconds = clock, step, host, save
        self.free, self.sent, self.logged, self.fetched = 0.0, 0, {}, []
        monkeypatch.setattr(loop.jax, "device_get", self.get)

    def get(self, metrics):
        return {name: value.fetch(-1) if isinstance(value, Later) else value for name, value in metrics.items()}

    def step(self, state, batch, rate):
        self.clock[0] += self.host
        self.free = max(self.free, self.clock[0]) + self.step_seconds
        return state + 1, {"loss": 1.0, "bad_step": Later(self.clock, self.free, self.fetched)}

    def save(self, step, state):
        assert self.clock[0] >= self.free, "what is saved is done"
        self.clock[0] += self.save_seconds

    def batches(self):
        while True:
            self.clock[0] += 0.125
            yield "nli", {}

    def run(self, steps, save_every=0, **how):
        given = {"start": 0, "rate": lambda step: 0.1, "place": lambda batch: batch, "log_every": 4}
        hooks = {"save": self.save, "stop_asked": lambda: False, "identify": lambda step: []}
        log = lambda step, values: self.logged.update({step: values})  # noqa: E731
        train(0, steps, self.batches(), {"nli": self.step}, log=log, save_every=save_every, **given | hooks | how)
        return {step: values["time/step"] for step, values in self.logged.items()}


def test_a_device_that_is_slower_than_the_host(clock, monkeypatch):
    machine = Machine(clock, monkeypatch, step=2.0, host=0.0)
    times = machine.run(16)
    # The first step is sent after 0.125 s, and from then on the device never waits.
    assert times == {4: pytest.approx(2 + 0.125 / 4), 8: 2, 12: 2, 16: 2}
    assert all(values["time/input"] == 0.125 for values in machine.logged.values())


def test_a_host_that_is_slower_than_the_device(clock, monkeypatch):
    machine = Machine(clock, monkeypatch, step=0.5, host=0.875)
    times = machine.run(16)
    # 0.875 + 0.125 for each step; the last one is waited for, half a second.
    assert times == {4: 1, 8: 1, 12: 1, 16: pytest.approx(1 + 0.5 / 4)}


def test_windows_add_up_and_saving_is_none_of_them(clock, monkeypatch):
    machine = Machine(clock, monkeypatch, step=1.0, host=0.0, save=100.0)
    times = machine.run(12, save_every=6)
    assert [*times] == [4, 6, 8, 12]
    assert sum(seconds * steps for seconds, steps in zip(times.values(), (4, 2, 2, 4), strict=True)) == pytest.approx(
        12 + 2 * 0.125
    ), "twelve steps, and two that the device waited for"


def test_metrics_are_fetched_for_logged_steps_alone(clock, monkeypatch):
    """Neither time nor tokens are worth waiting for a device: one fetch for each line, one line late."""
    machine = Machine(clock, monkeypatch, step=2.0, host=0.0)
    machine.run(1000, log_every=100, meter=Meter(measure=lambda head, batch: Load(1, 8, Work(90), Work(100))))
    assert len(machine.fetched) == len(machine.logged) == 10
    assert machine.logged[100]["rate/tokens"] == pytest.approx(45, rel=0.01)
    assert machine.fetched[0] == pytest.approx(0.125 * 200), "the first is fetched when two hundred have been sent"


def test_no_step_reads_an_array(monkeypatch):
    """With arrays of JAX: nothing comes back from the device but what is logged."""
    fetched, read, get, array = [], [], jax.device_get, type(jax.numpy.zeros(()))
    for name in ("__array__", "__float__", "__int__", "__bool__", "block_until_ready"):
        function = getattr(array, name)
        monkeypatch.setattr(array, name, lambda *given, f=function: (read.append(1), f(*given))[1])

    def fetch(tree):
        before, found = len(read), get(tree)
        del read[before:]
        fetched.append(found)
        return found

    monkeypatch.setattr(loop.jax, "device_get", fetch)
    double = jax.jit(lambda state: (state + 1, {"loss": state * 2.0, "bad_step": -1 + 0 * state}))
    batches = (("nli", {}) for _ in itertools.count())
    how = {"rate": lambda step: 0.1, "place": lambda batch: batch, "save": lambda step, state: None, "save_every": 0}
    hooks = {"log": lambda step, values: None, "stop_asked": lambda: False, "identify": lambda step: []}
    fns = {"nli": lambda state, batch, rate: double(state)}
    state, _ = train(jax.numpy.zeros(()), 40, batches, fns, start=0, log_every=10, **how, **hooks)
    assert len(fetched) == 4 and not read
    assert float(state) == 40 and read, "and reading would have been seen"


def test_compiling_and_profiling_are_no_part_of_a_step(clock):
    event = Event(Ledger(), 1, 0)
    measured = Meter(event)
    clock[0] = 10.0
    event.spend("compile", 6.0)
    event.spend("profile", 2.0)
    for _ in range(4):
        measured.add("nli", {})
    assert measured.values(measured.cut(), waited=True)["time/step"] == 0.5
    clock[0] = 14.0
    measured.add("nli", {})
    assert measured.values(measured.cut(), waited=True)["time/step"] == 4.0, "what was spent before stays there"


def test_rates_of_a_window(clock):
    """Two steps in four seconds on two hosts with eight devices of 50 FLOP/s each."""
    loads = {
        "nli": Load(1, 30, Work(tokens=300), Work(tokens=400), 1200.0, 1600.0),
        "text": Load(1, 10, Work(tokens=80, targets=20), Work(tokens=100, targets=100), 400.0, 800.0),
    }
    measured = Meter(measure=lambda head, batch: loads[head], devices=Devices(hosts=2, count=8, peak=50.0))
    measured.add("nli", {})
    measured.add("text", {})
    window = measured.cut()
    clock[0] = 4.0
    assert measured.values(window, waited=True) == {
        "time/input": 0.0,
        "time/transfer": 0.0,
        "time/step": 2.0,
        "rate/examples": 2 * 40 / 4,
        "rate/tokens": 2 * 400 / 4,
        "rate/padded_tokens": 2 * 600 / 4,
        "share/padding": pytest.approx(1 / 3),
        "rate/flops": 2 * 1600 / 8 / 4,
        "share/mfu": 2 * 1600 / 8 / 4 / 50,
        "share/mfu_padded": 2 * 2400 / 8 / 4 / 50,
    }


def test_a_device_without_a_peak_has_no_mfu(clock):
    measured = Meter(measure=lambda head, batch: Load(1, 1, Work(1), Work(2), 3.0, 4.0))
    measured.add("nli", {})
    clock[0] = 1.0
    values = measured.values(measured.cut(), waited=True)
    assert values["rate/flops"] == 3.0 and not [name for name in values if "mfu" in name]


def test_a_stop_loses_no_line(clock, monkeypatch):
    machine = Machine(clock, monkeypatch, step=1.0, host=0.0)
    with pytest.raises(Interrupted):
        machine.run(16, stop_asked=iter([False] * 5 + [True] * 9).__next__)
    assert [*machine.logged] == [4, 6]
