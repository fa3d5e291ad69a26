"""What inference with an experiment's model costs, by batch size, as it was measured.

    WORKDIR/clock/<experiment>.json     {"device": ..., "batches": [{"batch": 1, "latency_ms": 12.3, ...}, ...], ...}

What is the same for all batch sizes may stand beside them.
"""

import dataclasses
import json
import pathlib

from xling_jax.errors import DataError
from xling_jax.report.record import build_all

RENEW = "Delete it, and measure again: the study's own command does."


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


def read_clock(path: pathlib.Path) -> tuple[Clock, ...]:
    """Returns what a file of the clock says, by batch size; nothing if there is none."""
    if not path.exists():
        return ()
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}).\n{RENEW}") from error
    rows = fields.get("batches") if isinstance(fields, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} has no batch sizes.\nNeeded: a list of them, batches.\n{RENEW}")
    return build_all(Clock, [fields | row for row in rows], str(path), RENEW)
