"""The texts of a prepared cell in packed rows, to be read by a model: where each stands, and what stands beside it.

Rows have few lengths, and batches of a length one number of rows, whatever the cell; so a program that reads them is
compiled once for each length. What an evaluator knows of a token besides stands in rows of its own beside those that
are sent, and is taken apart as the answers are. Cells are one stream: what is left of one shares a batch with the next.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from xling_jax.data.batches import READ, EvalBatch, segmented
from xling_jax.data.formats import Feature
from xling_jax.data.packing import pack
from xling_jax.data.prepare import Prepared, Records
from xling_jax.data.records import Texts
from xling_jax.tables.kinds import SHORTEST

EXAMPLE = 64  # tokens of an example, about: a batch of so many examples has rows for as many times this
BESIDE = ("word", "spans")  # arrays of tokens that evaluators read beside the answers
Rows = dict[str, np.ndarray]


def rows_of(examples: int, room: int, multiple: int = 1) -> int:
    """Returns the rows of `room` tokens of a batch of about so many examples; a multiple of what a mesh divides."""
    rows = -(-examples * min(EXAMPLE, room) // room)
    return -(-rows // multiple) * multiple


def shapes(rows: int, room: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what a model is sent of a batch."""
    tokens = dict.fromkeys(("input_ids", "segments", "positions"), (rows, room))
    return tokens | {"first": (rows, room // SHORTEST)}


def in_rows(cells: Iterable[tuple[Any, Prepared]], rows: Mapping[int, int]) -> Iterator[EvalBatch]:
    """Yields batches over (key, cell) one after another; text c of feature n of C texts is number n * C + c.

    A batch has what is sent (see `shapes`), and, for the host, index RxS, the number of each segment's text, -1 where
    there is none, lengths RxS of the texts, and the arrays `BESIDE`. The texts of a row are of one cell. Rows that do
    not fill a batch wait for those of the next cell, and for no other; a batch that is not full then has rows that have
    no text. So only the last of many cells costs that, and an answer is late by one cell.

    Args:
      cells: their arrays beside are the same. A cell is asked for when the one before it is read.
      rows: of a batch, by the tokens of a row; a text stands in the shortest rows that hold it.
    """
    waiting = _Waiting(rows)
    for key, prepared in cells:
        waiting.begin(key, prepared.table)
        for room, more in _windows(prepared, sorted(rows)):
            yield from waiting.put(room, more)
        yield from waiting.end()
    yield from waiting.rest()


class _Waiting:
    """Rows, by their length, that are not in a batch yet."""

    def __init__(self, rows: Mapping[int, int]):
        self._rows = rows
        self._left: dict[int, Rows] = {}
        self._keys: dict[int, Any] = {}  # of cells that have not ended: what they keep may be large
        self._read = self._ended = 0  # cells that are read to their end; cells that are in batches to their end
        self._table: Mapping[str, Feature] = {}

    def begin(self, key: Any, table: Mapping[str, Feature]) -> None:
        """Begins with a cell."""
        self._keys[self._read] = key
        self._table = table

    def put(self, room: int, more: Rows) -> Iterator[EvalBatch]:
        """Adds rows of the cell. Yields full batches as long as a row is left, for its last batch says that it ends."""
        more = more | {"cell": np.full(len(more["index"]), self._read)}
        self._left[room] = _joined(self._left[room], more) if room in self._left else more
        while len(self._left[room]["index"]) > self._rows[room]:
            yield self._take(room)

    def end(self) -> Iterator[EvalBatch]:
        """Ends the cell. Yields batches of what is left of the cell before it."""
        self._read += 1
        for room in sorted(self._left):
            if self._left[room]["cell"][0] < self._read - 1:
                yield self._take(room)

    def rest(self) -> Iterator[EvalBatch]:
        """Yields batches of all that is left."""
        for room in sorted(self._left):
            yield self._take(room)

    def _take(self, room: int) -> EvalBatch:
        rows, count = self._left.pop(room), self._rows[room]
        missing = count - len(rows["index"])
        if missing > 0:
            rows = _joined(rows, _nothing(rows, self._table, missing))
        elif missing < 0:
            self._left[room] = {name: array[count:] for name, array in rows.items()}
        batch = {name: array[:count] for name, array in rows.items()}
        cell_R, index_RxS = batch.pop("cell"), batch["index"]
        pieces = []
        for cell in np.unique(cell_R[cell_R >= 0]).tolist():
            numbers_RxS = index_RxS[cell_R == cell]
            pieces.append((self._keys[cell], numbers_RxS[numbers_RxS >= 0]))
        until = min([int(left["cell"][0]) for left in self._left.values()] + [self._read])
        ended = [self._keys.pop(cell) for cell in range(self._ended, until)]
        self._ended = until
        return EvalBatch(batch, pieces, ended)


def _windows(prepared: Prepared, rooms: list[int]) -> Iterator[tuple[int, Rows]]:
    """Yields (tokens of a row, rows) over a cell, so many features at once."""
    records = Records(prepared)
    for begin in range(0, prepared.features, READ):
        block = records.block(np.arange(begin, min(begin + READ, prepared.features)))
        texts = Texts.of(block, prepared.table, begin, prepared.choices)
        room_T = np.searchsorted(rooms, texts.length_T)
        for number, room in enumerate(rooms):
            mine_T = np.flatnonzero(room_T == number)
            if len(mine_T):
                yield room, _packed(texts.take(mine_T), prepared.table, room)


def _packed(texts: Texts, table: Mapping[str, Feature], room: int) -> Rows:
    """Returns rows of texts, none of which is longer than a row."""
    row_T = pack(texts.length_T, room)
    in_order_T = np.argsort(row_T, kind="stable")
    texts, row_T = texts.take(in_order_T), row_T[in_order_T]
    layout, found = segmented(texts.length_T, np.ones(len(row_T), bool), row_T, int(row_T[-1]) + 1, room)
    at_T = layout.row_N, layout.slot_N
    lengths = np.zeros_like(found["index"])
    found["index"][at_T], lengths[at_T] = texts.number_T, texts.length_T
    names = [name for name in ("input_ids", *BESIDE) if name in table]
    return found | {"lengths": lengths} | {name: texts.lay_out(name, table[name].pad, layout) for name in names}


def _joined(first: Rows, second: Rows) -> Rows:
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def _nothing(like: Rows, table: Mapping[str, Feature], count: int) -> Rows:
    """Returns rows without a text."""
    empty = {"index": -1, "cell": -1} | {name: spec.pad for name, spec in table.items()}
    return {name: np.full((count, *rows.shape[1:]), empty.get(name, 0), np.int32) for name, rows in like.items()}
