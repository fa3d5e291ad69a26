"""The loop: sends steps, reads metrics a while later, calls hooks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from xling_jax.errors import Interrupted, NumericalError
from xling_jax.train.meter import Meter, Window
from xling_jax.train.tracing import Trace


class Diverged(NumericalError):
    """The loss of `step` was not finite.

    `noticed` is the logged step at or after it whose `metrics` said so, counted from 1; `rate` is the learning rate of
    the step itself.
    """

    def __init__(self, text: str, step: int, rate: float, noticed: int, metrics: dict[str, float]):
        super().__init__(text)
        self.step, self.rate, self.noticed, self.metrics = step, rate, noticed, metrics


def _fetched(
    at: int, head: str, metrics: Any, rate: Callable[[int], float], identify: Callable[[int], list[str]]
) -> dict[str, float]:
    """Returns the metrics of step `at` from the devices. Raises Diverged if a loss up to it was not finite."""
    metrics = jax.device_get(metrics)
    bad = int(metrics.pop("bad_step"))
    values = {f"train/{head}/{name}": float(value) for name, value in metrics.items()}
    if bad >= 0:
        raise Diverged(
            f"The loss of step {bad} is not finite.\n"
            f"Its examples: {' '.join(identify(bad)[:8])} ...\n"
            "Lower the learning rate of the stage, or look at these examples.",
            bad,
            rate(bad),
            at,
            values,
        )
    return values


def train(
    state: Any,
    steps: int,
    batches: Iterator[tuple[str, dict[str, Any]]],
    step_fns: Mapping[str, Callable],
    *,
    start: int,
    rate: Callable[[int], float],
    place: Callable[[dict[str, Any]], Mapping[str, Any]],
    log_every: int,
    save_every: int,
    log: Callable[[int, dict[str, float]], None],
    save: Callable[[int, Any], None],
    stop_asked: Callable[[], bool],
    identify: Callable[[int], list[str]],
    enough: Callable[[], bool] = lambda: False,
    meter: Meter | None = None,
    trace: Trace | None = None,
) -> tuple[Any, int]:
    """Trains from step `start` to `steps`, or until it is enough, and returns the last state and its step.

    Metrics of a step are fetched only when the next logged step has been sent, so that the device never
    waits for the host.

    Args:
      state: where to start.
      steps: the step to stop before.
      batches: (head, host batch), beginning with that of step `start`.
      step_fns: head -> compiled step.
      start: steps already done.
      rate: learning rate of a step.
      place: host batch -> global arrays.
      log_every: steps between metrics.
      save_every: steps between checkpoints; 0 for none but the last.
      log: gets (step, metrics) every `log_every` steps and before a save; step counts from 1.
      save: gets (step, state); the last state is saved too.
      stop_asked: whether to save and leave.
      identify: step -> names of its examples, for the error.
      enough: whether training is over; asked after each save.
      meter: measures how fast steps are; by default their time alone.
      trace: profiles steps; by default none.

    Raises:
      Diverged: a loss was not finite.
      Interrupted: after saving, when asked to stop.
    """
    pending: tuple[int, str, Any, Window] | None = None
    meter, trace = meter or Meter(), trace or Trace()

    def flush():
        if pending is not None:
            at, head, metrics, window = pending
            waited = not metrics["bad_step"].is_ready()
            log(at, _fetched(at, head, metrics, rate, identify) | meter.values(window, waited))

    for step in range(start, steps):
        done = step + 1
        with meter.input():
            head, batch = next(batches)
        meter.add(head, batch)
        with meter.transfer():
            placed = place(batch)
        learning_rate = rate(step)
        with trace.step(done):
            state, metrics = step_fns[head](state, placed, learning_rate)
        trace.after(done, metrics)
        leave = stop_asked()
        due = leave or done == steps or (save_every > 0 and done % save_every == 0)
        if due or done % log_every == 0:
            flush()
            pending = (done, head, metrics | {"learning_rate": learning_rate}, meter.cut())
        if due:  # read the metrics first, because a state after a bad step is not worth saving
            flush()
            pending = None
            save(done, state)
            meter.restart()
            if enough():
                return state, done
        if leave and done < steps:
            raise Interrupted(f"Stopped at step {done} of {steps}, saved.\nRun the same command again to go on.")
    return state, max(start, steps)
