"""The texts of a prepared cell in packed rows, to be read by a model: where each stands, and what stands beside it.

Rows have few lengths, and batches of a length one number of rows, whatever the cell; so a program that reads them is
compiled once for each length. What an evaluator knows of a token besides stands in rows of its own beside those that
are sent, and is taken apart as the answers are.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from xling_jax.data.batches import READ, segmented
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


def in_rows(prepared: Prepared, rows: Mapping[int, int]) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yields (numbers of texts, batch) over a whole cell; text c of feature n of C texts is number n * C + c.

    A batch has what is sent (see `shapes`), and, for the host, index RxS, the number of each segment's text, -1 where
    there is none, lengths RxS of the texts, and the arrays `BESIDE`. What is left of a cell is filled up with rows that
    have no text.

    Args:
      prepared: the cell.
      rows: of a batch, by the tokens of a row; a text stands in the shortest rows that hold it.
    """
    records, rooms = Records(prepared), sorted(rows)
    left: dict[int, Rows] = {}
    for begin in range(0, prepared.features, READ):
        block = records.block(np.arange(begin, min(begin + READ, prepared.features)))
        texts = Texts.of(block, prepared.table, begin, prepared.choices)
        room_T = np.searchsorted(rooms, texts.length_T)
        for number, room in enumerate(rooms):
            mine_T = np.flatnonzero(room_T == number)
            if len(mine_T):
                packed = _packed(texts.take(mine_T), prepared.table, room)
                left[room] = _joined(left[room], packed) if room in left else packed
            while room in left and len(left[room]["index"]) >= rows[room]:
                yield _batch(left[room], slice(rows[room]))
                left[room] = {name: array[rows[room] :] for name, array in left[room].items()}
    for room, rest in sorted(left.items()):
        if count := len(rest["index"]):
            yield _batch(_joined(rest, _nothing(rest, prepared.table, rows[room] - count)), slice(None))


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
    empty = {"index": -1} | {name: spec.pad for name, spec in table.items()}
    return {name: np.full((count, *rows.shape[1:]), empty.get(name, 0), np.int32) for name, rows in like.items()}


def _batch(rows: Rows, part: slice) -> tuple[np.ndarray, Rows]:
    batch = {name: array[part] for name, array in rows.items()}
    return batch["index"][batch["index"] >= 0], batch
