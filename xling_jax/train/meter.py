"""How fast steps are: time, examples and tokens of a window of steps, measured without waiting for a device.

A window ends when its last step is done. That moment is seen where metrics are fetched anyway, one logged step later:
if the device is still at work then, fetching ends when the step does; if it is not, the host was the slower one, and
the step was done as soon as it was sent. What a wrong guess gives to one window it takes from the next.

Keys of a line of metrics.jsonl that come from here (docs/telemetry.md says more):

    time/step                seconds of a step; compiling, saving, evaluating and profiling are left out
    time/input               of these, waiting for a batch
    time/transfer            of these, sending it to the devices
    rate/examples            examples a second; of packed batches what is in them
    rate/tokens              tokens a second, padding left out
    rate/padded_tokens       tokens a second with padding
    rate/flops               FLOP/s of one device in the model's products, padding left out (xling_jax/flops.py)
    share/padding            of the tokens
    share/mfu                rate/flops by the device's peak, where that is known (xling_jax/tables/peaks.py)
    share/mfu_padded         the same with padding counted as work
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xling_jax.flops import Work
from xling_jax.ledger import INPUT, TRANSFER, Event, Ledger

NOTHING = Work()


@dataclasses.dataclass(frozen=True)
class Load:
    """What steps have had to do: `real` without padding, `padded` with it, on this host."""

    steps: int = 0
    examples: int = 0
    real: Work = NOTHING
    padded: Work = NOTHING
    flops: float = 0.0  # of the real work
    padded_flops: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        fields = (field.name for field in dataclasses.fields(self))
        return Load(*(getattr(self, name) + getattr(other, name) for name in fields))


@dataclasses.dataclass(frozen=True)
class Devices:
    """What computes: hosts that each have such a batch, devices together, the peak of one in FLOP/s if it is known."""

    hosts: int = 1
    count: int = 1
    peak: float | None = None


@dataclasses.dataclass(frozen=True)
class Window:
    """Steps between two logged ones: when the last was sent, their load, and seconds that went to other things."""

    sent: float
    load: Load
    spent: Mapping[str, float]


class Meter:
    """Measures the windows of a training."""

    def __init__(
        self,
        event: Event | None = None,
        measure: Callable[[str, Mapping[str, Any]], Load] = lambda head, batch: Load(1),
        devices: Devices | None = None,
    ):
        """Begins to measure.

        Args:
          event: the training's in the ledger, which gets what is measured; compiling is told to it.
          measure: (head, host batch) -> load.
          devices: what computes.
        """
        self._event = event or Event(Ledger(), 0, None)
        self._measure, self._devices = measure, devices or Devices()
        self._load = Load()
        self._before: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Says that nothing is under way: the time since the last window ended is not a step's."""
        self._from = time.perf_counter()

    def input(self) -> contextlib.AbstractContextManager[None]:
        """The block waits for a batch."""
        return self._event.spending(INPUT)

    def transfer(self) -> contextlib.AbstractContextManager[None]:
        """The block sends one to the devices."""
        return self._event.spending(TRANSFER)

    def add(self, head: str, batch: Mapping[str, Any]) -> None:
        """Counts a step's batch."""
        self._load += self._measure(head, batch)

    def cut(self) -> Window:
        """Returns the window that ends with the step just sent."""
        spent = dict(self._event.spent)
        window = Window(time.perf_counter(), self._load, {n: s - self._before.get(n, 0.0) for n, s in spent.items()})
        self._load, self._before = Load(), spent
        return window

    def values(self, window: Window, waited: bool) -> dict[str, float]:
        """Returns the keys of a window whose last step's metrics have just come; whether they were waited for."""
        done = time.perf_counter() if waited else max(window.sent, self._from)
        beside = sum(spent for name, spent in window.spent.items() if name not in (INPUT, TRANSFER))
        seconds = max(done - self._from - beside, 1e-9)
        self._from = done
        return dict(self._values(window, seconds))

    def _values(self, window: Window, seconds: float) -> Iterator[tuple[str, float]]:
        load, devices = window.load, self._devices
        for name in (INPUT, TRANSFER):
            yield f"time/{name}", window.spent.get(name, 0.0) / load.steps
        yield "time/step", seconds / load.steps
        tokens, padded = (work.tokens + work.targets for work in (load.real, load.padded))
        if not padded:
            return
        yield "rate/examples", devices.hosts * load.examples / seconds
        yield "rate/tokens", devices.hosts * tokens / seconds
        yield "rate/padded_tokens", devices.hosts * padded / seconds
        yield "share/padding", 1 - tokens / padded
        flops, padded_flops = (
            devices.hosts * each / devices.count / seconds for each in (load.flops, load.padded_flops)
        )
        if flops:
            yield "rate/flops", flops
        if flops and devices.peak:
            yield "share/mfu", flops / devices.peak
            yield "share/mfu_padded", padded_flops / devices.peak
