"""What is written down of a training whose loss is not finite: the batch by name, and what was measured before it."""

import contextlib
import json
import math
import pathlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from xling_jax.data.batches import Batches
from xling_jax.errors import DataError, NumericalError
from xling_jax.experiment import Part
from xling_jax.partitioning.hosts import write_text
from xling_jax.train.loop import Diverged

FILE = "diverged.json"
LINES = 10  # of metrics.jsonl

Ids = Callable[[Part, set[int]], dict[int, Any]]


@contextlib.contextmanager
def written_down(folder: pathlib.Path, source: Batches, parts: Sequence[Part], ids: Ids) -> Generator[None]:
    """Writes FILE to a stage's folder if the block ends with `Diverged`, and raises NumericalError, which names it.

    What an earlier training left there goes.

    Args:
      folder: the stage's.
      source: its batches.
      parts: of its cells, in the order of the batches' cells.
      ids: (part, numbers of examples in its cell) -> ids that they have in their source.
    """
    (folder / FILE).unlink(missing_ok=True)
    try:
        yield
    except Diverged as error:
        head, places = source.members(error.step)
        record = {
            "step": error.step,
            "head": head,
            "learning_rate": error.rate,
            "noticed": {"step": error.noticed, **error.metrics},
            "before": _last_lines(folder / "metrics.jsonl"),
            "examples": _examples([(parts[at], number) for at, number in places], ids),
        }
        write_text(folder / FILE, json.dumps(_plain(record), ensure_ascii=False, indent=1) + "\n")
        raise NumericalError(f"{error}\nAll of them, and the steps before: {folder / FILE}") from error


def _last_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the last lines of training; what was watched beside it stands in others."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.is_file() else [])
    return [line for line in lines if any(name.startswith("train/") for name in line)][-LINES:]


def _examples(places: Iterable[tuple[Part, int]], ids: Ids) -> list[dict[str, Any]]:
    """Returns cell, number and, as far as it is known, id of each example."""
    places = list(places)
    wanted = {part: {number for other, number in places if other == part} for part, _ in places}
    known = {part: _known(ids, part, numbers) for part, numbers in wanted.items()}
    found = [(part, number, known[part].get(number)) for part, number in places]
    return [{"cell": str(p.cell), "number": at} | ({"id": name} if name is not None else {}) for p, at, name in found]


def _known(ids: Ids, part: Part, numbers: set[int]) -> dict[int, Any]:
    """Returns ids by number; nothing where the data are prepared and their source is not here."""
    try:
        return ids(part, numbers)
    except DataError:
        return {}


def _plain(value: Any) -> Any:
    """Returns a value as JSON can have it, which knows no numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
