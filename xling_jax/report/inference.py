"""How fast the trained model answers, as it was measured once after training.

WORKDIR/clock/<experiment>.json     see stages/clock.py, which writes it and says what each number is
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from xling_jax.errors import DataError
from xling_jax.report.table import NONE, Column, Number, Row, Table

NEEDED = ("model", "device", "cell", "lengths", "examples", "repeats", "flops_per_example", "batches")
RENEW = "Delete it and run the experiment again: inference alone is measured again."
ALL = "end to end: "

# column: (the number of a batch size, what it is multiplied by, digits)
COLUMNS: dict[str, tuple[Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], str]], float, int]] = {
    "ms a batch": (lambda one: (one, "latency_ms"), 1, 2),
    "examples/s": (lambda one: (one, "examples_per_second"), 1, 0),
    "tokens/s": (lambda one: (one, "tokens_per_second"), 1, 0),
    f"{ALL}examples/s": (lambda one: (one["end_to_end"], "examples_per_second"), 1, 0),
    "% padding": (lambda one: (one, "padding"), 1, 1),
    "GFLOPs an example": (lambda one: (one, "flops_per_example"), 1e-9, 3),
    "% of peak": (lambda one: (one, "share_of_peak"), 1, 1),
    "MB of a device": (lambda one: (one, "peak_bytes"), 1e-6, 1),
}


def read_inference(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a file says; nothing if there is none. Raises DataError for one that is damaged."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}).\n{RENEW}") from error
    lacking = [name for name in NEEDED if not isinstance(found, dict) or name not in found]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}.\nNeeded: {' '.join(NEEDED)}.\n{RENEW}")
    return found


def inference_table(found: Mapping[str, Any]) -> Table:
    """Returns a row for each batch size: medians of passes, the lowest and highest below. `found`: a file's content."""
    columns = tuple(Column(name, "", (), "value") for name in COLUMNS)
    batches = found.get("batches", ())
    rows = [
        Row(
            f"{found['model']}, batch {one['batch']}",
            "value",
            tuple(_number(found | one, *how) for how in COLUMNS.values()),
        )
        for one in batches
    ]
    return Table("inference", "Inference", _note(found) if batches else "", columns, tuple(rows))


def _number(one: Mapping[str, Any], where: Callable, factor: float, digits: int) -> Number:
    part, name = where(one)
    if part.get(name) is None:
        return NONE
    low, high = (factor * bound for bound in part.get(f"{name}_range", (part[name], part[name])))
    return Number(factor * part[name], low, high, digits=digits)


def _note(found: Mapping[str, Any]) -> str:
    lengths = ", ".join(map(str, found["lengths"]))
    return (
        f"{found['examples']} examples of {found['cell']} on {found['device']}, answered by evaluation's own program, "
        f"in batches of rows of {lengths} tokens; median of {found['repeats']} passes, lowest and "
        "highest below. A batch that waits on the device, alone, has the latency; examples and tokens, padding left "
        "out, a second are of batches sent one behind the other. End to end is from examples on disk to answers on the "
        "host. FLOPs are of the model's products, padding left out; memory is what the program holds on one device."
    )
