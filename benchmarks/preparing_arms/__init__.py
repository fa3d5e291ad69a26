"""The arms of benchmarks/preparing.py: `make(folder, cell, length, count)` of each returns what is timed.

What is timed returns (examples, features, tokens); tokens are -1 where counting them would cost time.
"""

import itertools
import os
import pathlib
from collections.abc import Callable

from xling_jax.data.sources import read
from xling_jax.tables.tasks import parse_cells

Run = Callable[[], tuple[int, int, int]]
DATA = pathlib.Path(os.environ.get("XLING_DATA", "."))
QUESTION = 64  # tokens of a question
STRIDE = 128  # tokens that windows of `datasets` repeat; the others repeat half of the window's room


def examples(cell: str, count: int = 0) -> list[dict]:
    """Returns the first raw examples of a cell, all for 0."""
    return list(itertools.islice(read(parse_cells(cell)[0], DATA), count or None))


def labels(cell: str) -> tuple[str, ...]:
    """Returns the label words of a cell's task."""
    return parse_cells(cell)[0].row.labels
