"""The texts of a prepared cell in packed rows, to be read by a model: where each stands, and what stands beside it.

Rows have few lengths, and batches of a length one number of rows, whatever the cell; so a program that reads them is
compiled once for each length. What an evaluator knows of a token besides stands in rows of its own beside those that
are sent, and is taken apart as the answers are. Small cells are read together: of one language alone the texts may all
be longer than half a row, and nothing goes into the gaps; another language has what does. What shares a row with a text
changes the last digits of its answer, so who asks for some cells again asks for all that are read together with them.
"""

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from xling_jax.data.batches import READ, EvalBatch, segmented
from xling_jax.data.formats import Feature
from xling_jax.data.packing import pack
from xling_jax.data.prepare import Prepared, Records
from xling_jax.data.records import Texts
from xling_jax.tables.kinds import SHORTEST

EXAMPLE = 64  # tokens of an example, about: a batch of so many examples has rows for as many times this
# Tokens that are read before rows are made of them, of each text EXAMPLE at least: its answers may be large, vectors of
# all layers. The more, the fewer gaps, and the later the answers. Three languages of XNLI or XQuAD have them.
WINDOW = 1 << 20
BESIDE = ("word", "spans")  # arrays of tokens that evaluators read beside the answers
Rows = dict[str, np.ndarray]
Key = TypeVar("Key")


def rows_of(examples: int, room: int, multiple: int = 1) -> int:
    """Returns the rows of `room` tokens of a batch of about so many examples; a multiple of what a mesh divides."""
    rows = -(-examples * min(EXAMPLE, room) // room)
    return -(-rows // multiple) * multiple


def shapes(rows: int, room: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what a model is sent of a batch."""
    tokens = dict.fromkeys(("input_ids", "segments", "positions"), (rows, room))
    return tokens | {"first": (rows, room // SHORTEST)}


def in_rows(cells: Iterable[tuple[Any, Prepared]], rows: Mapping[int, int]) -> Iterator[EvalBatch]:
    """Yields batches over (key, cell); text c of feature n of C texts is number n * C + c.

    A batch has what is sent (see `shapes`), and, for the host, of each segment, RxS, index, the number of its text, and
    cell, both -1 where there is none, and lengths; and the arrays `BESIDE`. Rows are made of cells that are read
    together, or of windows of a large one. Those that do not fill a batch wait for the next ones, and for no others; a
    batch that is not full then has rows that have no text.

    Args:
      cells: their arrays beside are the same. A cell is asked for when the one before it is read.
      rows: of a batch, by the tokens of a row. A text stands in the shortest rows that hold it, or in a gap of longer
        ones.
    """
    waiting, tokens = _Waiting(rows), 0
    for key, prepared in cells:
        waiting.begin(key, prepared.table)
        records = Records(prepared)
        for begin in range(0, prepared.features, READ):
            block = records.block(np.arange(begin, min(begin + READ, prepared.features)))
            last = begin + READ >= prepared.features
            waiting.read(Texts.of(block, prepared.table, begin, prepared.choices), last)
            if waiting.tokens >= WINDOW:
                yield from waiting.window()
        tokens += tokens_of(prepared)
        if tokens >= WINDOW:
            yield from waiting.window()
            tokens = 0
    yield from waiting.window()
    yield from waiting.rest()


def tokens_of(prepared: Prepared) -> int:
    """Returns the tokens that a cell counts for: neighbours are read together until they have a window of them."""
    return _counted(prepared.lengths_N) * prepared.choices


def _counted(lengths: np.ndarray) -> int:
    return int(np.maximum(lengths, EXAMPLE).sum())


def with_company(cells: Iterable[Key], asked: Container[Key], prepared: Callable[[Key], Prepared]) -> Iterator[Key]:
    """Yields the cells that are asked and those that are read together with them, when all are read in this order.

    Args:
      cells: all of them.
      asked: some of them.
      prepared: returns one of them that has been yielded, or is not asked.
    """
    held, tokens, going = [], 0, False
    for cell in cells:
        held.append(cell)
        going = going or cell in asked
        if going:
            yield from held
            held.clear()
        tokens += tokens_of(prepared(cell))
        if tokens >= WINDOW:
            held, tokens, going = [], 0, False


class _Waiting:
    """What is read and not in a batch yet: texts of a window, and rows by their length."""

    def __init__(self, rows: Mapping[int, int]):
        self.tokens = 0
        self._rows = rows
        self._texts: list[Texts] = []
        self._cells: list[np.ndarray] = []  # the cell of each text
        self._left: dict[int, Rows] = {}
        self._keys: dict[int, Any] = {}  # of cells that have not ended
        self._count: dict[int, int] = {}  # their texts that are not in a batch
        self._begun = self._read = self._ended = 0  # cells
        self._table: Mapping[str, Feature] = {}

    def begin(self, key: Any, table: Mapping[str, Feature]) -> None:
        """Begins with a cell."""
        self._keys[self._begun], self._count[self._begun] = key, 0
        self._table = table
        self._begun += 1

    def read(self, texts: Texts, last: bool) -> None:
        """Adds texts of the cell, maybe its last ones, to the window."""
        cell, count = self._begun - 1, len(texts.number_T)
        self._texts.append(texts)
        self._cells.append(np.full(count, cell))
        self._count[cell] += count
        self._read += last
        self.tokens += _counted(texts.length_T)

    def window(self) -> Iterator[EvalBatch]:
        """Ends the window: its texts become rows. Yields batches, full ones and those of rows that waited for it."""
        if not self._texts:
            return
        late = set(self._left)
        for room, more in self._made():
            self._left[room] = _joined(self._left[room], more) if room in self._left else more
            while room in self._left and len(self._left[room]["index"]) >= self._rows[room]:
                late.discard(room)
                yield self._take(room)
        for room in sorted(late):
            yield self._take(room)

    def rest(self) -> Iterator[EvalBatch]:
        """Yields batches of all that is left."""
        for room in sorted(self._left):
            yield self._take(room)

    def _made(self) -> Iterator[tuple[int, Rows]]:
        """Yields (tokens of a row, rows) of the window, which is empty then.

        The longest rows are made first: those that are opened by a text too long for others, and filled up with
        whatever goes into the gaps. The texts of rows that would be opened by a shorter one go into shorter rows.
        """
        texts, cell_T = Texts.joined(self._texts), np.concatenate(self._cells)
        self._texts, self._cells, self.tokens = [], [], 0
        rooms = [0, *sorted(self._rows)]
        for shorter, room in reversed([*itertools.pairwise(rooms)]):
            row_T = pack(texts.length_T, room)
            longest_R = np.zeros(int(row_T.max(initial=-1)) + 1, np.int64)
            np.maximum.at(longest_R, row_T, texts.length_T)
            here_T = longest_R[row_T] > shorter
            if here_T.any():
                _, row_T = np.unique(row_T[here_T], return_inverse=True)
                yield room, _laid_out(texts.take(here_T), cell_T[here_T], row_T, self._table, room)
            texts, cell_T = texts.take(~here_T), cell_T[~here_T]

    def _take(self, room: int) -> EvalBatch:
        rows, count = self._left.pop(room), self._rows[room]
        missing = count - len(rows["index"])
        if missing > 0:
            rows = _joined(rows, _nothing(rows, self._table, missing))
        elif missing < 0:
            self._left[room] = {name: array[count:] for name, array in rows.items()}
        batch = {name: array[:count] for name, array in rows.items()}
        pieces, ended = [], []
        for cell in np.unique(batch["cell"][batch["cell"] >= 0]).tolist():
            numbers = batch["index"][batch["cell"] == cell]
            pieces.append((self._keys[cell], numbers))
            self._count[cell] -= len(numbers)
        while self._ended < self._read and not self._count[self._ended]:
            ended.append(self._keys.pop(self._ended))
            self._ended += 1
        return EvalBatch(batch, pieces, ended)


def _laid_out(texts: Texts, cell_T: np.ndarray, row_T: np.ndarray, table: Mapping[str, Feature], room: int) -> Rows:
    """Returns rows of texts, of which each has its own row's number."""
    in_order_T = np.argsort(row_T, kind="stable")
    texts, cell_T, row_T = texts.take(in_order_T), cell_T[in_order_T], row_T[in_order_T]
    layout, found = segmented(texts.length_T, np.ones(len(row_T), bool), row_T, int(row_T[-1]) + 1, room)
    at_T = layout.row_N, layout.slot_N
    cell, lengths = np.full_like(found["index"], -1), np.zeros_like(found["index"])
    found["index"][at_T], cell[at_T], lengths[at_T] = texts.number_T, cell_T, texts.length_T
    names = [name for name in ("input_ids", *BESIDE) if name in table]
    beside = {"cell": cell, "lengths": lengths}
    return found | beside | {name: texts.lay_out(name, table[name].pad, layout) for name in names}


def _joined(first: Rows, second: Rows) -> Rows:
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def _nothing(like: Rows, table: Mapping[str, Feature], count: int) -> Rows:
    """Returns rows without a text."""
    empty = {"index": -1, "cell": -1} | {name: spec.pad for name, spec in table.items()}
    return {name: np.full((count, *rows.shape[1:]), empty.get(name, 0), np.int32) for name, rows in like.items()}
