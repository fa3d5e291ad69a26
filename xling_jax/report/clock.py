"""What inference with an experiment's model costs, by batch size, for whoever compares models; see `inference.py`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xling_jax.report.record import build_all


@dataclasses.dataclass(frozen=True)
class Clock:
    """One batch size. `padding` is a share in percent; FLOPs are of one example; None is what was not measured."""

    batch: int
    latency_ms: float
    examples_per_second: float
    tokens_per_second: float | None = None
    padding: float | None = None
    flops_per_example: float | None = None
    parameter_bytes: float | None = None
    peak_bytes: float | None = None
    device: str = ""


def clocks_of(inference: Mapping[str, Any], experiment: str) -> tuple[Clock, ...]:
    """Returns what was measured of an experiment, by batch size; nothing if nothing was."""
    rows = [{**inference, **row} for row in inference.get("batches", ())]
    return build_all(Clock, rows, f"clock/{experiment}.json", "Measure again: the study's own command does.")
