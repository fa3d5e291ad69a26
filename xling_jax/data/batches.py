"""Prepared cells to this host's batches. What is in step k of a stage is a function of its seed and k alone.

So training resumes exactly from a step number, on any number of hosts, and a batch that made trouble can
be named afterwards. In an epoch every feature comes once. Examples of one head are mixed within a batch;
heads take turns batch by batch, as in jiant's multi-task sampler (Phang et al. 2020). Grain reads, pads
and prefetches.
"""

import dataclasses
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from xling_jax.data.formats import Feature
from xling_jax.data.order import Bucketed, Draws, Order, Packed, Rows, interleave
from xling_jax.data.packing import room_of
from xling_jax.data.prepare import Prepared, Records
from xling_jax.data.records import Block, Layout, lay_out, pack_feature, shape_of
from xling_jax.tables.kinds import KINDS, SHORTEST
from xling_jax.tables.prompts import HEADS

HELD = 3  # windows kept in memory: batches at a border need two, and threads run ahead
READ = 4096  # features that are read at once in evaluation
RUN = 8  # batches that Grain handles as one: each thing it handles costs it a fifth of a millisecond


def bucket(length: int, buckets: Sequence[int]) -> int:
    """Returns the smallest bucket that holds a length."""
    return next(size for size in buckets if size >= length)


Part = tuple[list[Prepared], list[float]]  # cells and their rates


def group_cells(cells: Sequence[Prepared], rates: Sequence[float]) -> list[Part]:
    """Returns the cells whose examples may stand in one batch: those of one head with as many choices.

    One head says all answers in words; there their kind and length are the same, too.
    """
    parts: dict[tuple, Part] = {}
    for cell, rate in zip(cells, rates, strict=True):
        shape = () if cell.form == HEADS else (cell.cell.row.kind, cell.answer_length)
        members, member_rates = parts.setdefault((cell.head, cell.choices, *shape), ([], []))
        members.append(cell)
        member_rates.append(rate)
    return [parts[name] for name in sorted(parts)]


@dataclasses.dataclass(frozen=True)
class Window:
    """Rows of a window, and of this host's among them what is in them.

    `block` has the records of all examples, empty ones for those of other hosts. Packed rows, which all have one
    length, are laid out when they are read: `arrays` has this host's, and `mine_R` how many of them come before row r.
    """

    rows: Rows
    block: Block
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    mine_R: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))


class Group:
    """The cells of one head: their rows in order, and the records that stand in them."""

    def __init__(self, cells: Sequence[Prepared], order: Order, buckets: Sequence[int], mine: tuple[int, int]):
        """Takes the order of the rows, and which rows of a batch are this host's: from, and up to."""
        self.head = cells[0].head
        self.cells = cells
        self.order = order
        self.table = cells[0].table
        self._buckets = buckets
        self.mine = mine
        self._records = [Records(cell) for cell in cells]
        self._held: dict[int, Window] = {}
        self._lock = threading.Lock()

    def __getstate__(self):
        return self.__dict__ | {"_held": {}, "_lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())

    def examples(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (cell, feature number) of the examples of a whole batch, row by row."""
        pieces = [(self.order.window(window), *part) for window, *part in self.order.pieces(batch)]
        spans = [(rows, slice(rows.begin_R[first], rows.begin_R[last])) for rows, first, last in pieces]
        return (
            np.concatenate([rows.source_N[span] for rows, span in spans]),
            np.concatenate([rows.number_N[span] for rows, span in spans]),
        )

    def _window(self, number: int) -> Window:
        """Returns a window with the records of this host, read at once: a call for each batch would take longer."""
        with self._lock:
            if number not in self._held:
                if len(self._held) >= HELD:
                    del self._held[next(iter(self._held))]
                self._held[number] = self._read(number)
            return self._held[number]

    def _read(self, number: int) -> Window:
        rows = self.order.window(number)
        in_batch_R = (self.order.first_row(number) + np.arange(len(rows.begin_R) - 1)) % self.order.rows
        mine_R = (in_batch_R >= self.mine[0]) & (in_batch_R < self.mine[1])
        mine_N = np.repeat(mine_R, np.diff(rows.begin_R))
        records = [b""] * len(rows.source_N)
        for cell, reader in enumerate(self._records):
            here = np.flatnonzero(mine_N & (rows.source_N == cell))
            if len(here):
                for at, record in zip(here.tolist(), reader.bytes(rows.number_N[here].tolist()), strict=True):
                    records[at] = record
        block = Block.of(records)
        if not isinstance(self.order, Packed):
            return Window(rows, block)
        before_R = np.append(0, np.cumsum(mine_R))
        row_N = np.repeat(before_R[:-1], np.diff(rows.begin_R))[mine_N]
        layout, beside = segmented(rows.length_N, mine_N, row_N, int(before_R[-1]), self.order.room)
        arrays = lay_out(block.take(np.flatnonzero(mine_N)), self.table, layout, self.cells[0].choices)
        return Window(rows, block, arrays | beside, before_R)

    def batch(self, number: int) -> dict[str, np.ndarray]:
        """Returns this host's rows of a batch. All hosts pad to the same length."""
        return self._packed(number) if isinstance(self.order, Packed) else self._bucketed(number)

    def _bucketed(self, number: int) -> dict[str, np.ndarray]:
        ((at, first, last),) = self.order.pieces(number)
        window, mine = self._window(at), np.arange(*self.mine)
        length = bucket(int(window.rows.length_N[first:last].max()), self._buckets)
        layout = Layout(len(mine), length, np.arange(len(mine)))
        batch = lay_out(window.block.take(first + mine), self.table, layout, self.cells[0].choices)
        return batch | {"index": mine.astype(np.int32)}

    def _packed(self, number: int) -> dict[str, np.ndarray]:
        parts, examples = [], 0
        for at, first, last in self.order.pieces(number):
            window = self._window(at)
            part = {name: rows[window.mine_R[first] : window.mine_R[last]] for name, rows in window.arrays.items()}
            begin, end = window.rows.begin_R[[first, last]].tolist()
            part["index"] = np.where(part["index"] < 0, 0, part["index"] + (examples - begin))
            parts.append(part)
            examples += end - begin
        missing = self.mine[1] - self.mine[0] - sum(len(part["index"]) for part in parts)
        if missing:
            parts.append({name: _nothing(name, rows, missing, self.table) for name, rows in parts[0].items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def widen(batch: dict[str, np.ndarray], table: Mapping[str, Feature], length: int) -> dict[str, np.ndarray]:
    """Returns a batch with rows of `length` tokens or more, as if it had been laid out so. Packed rows have theirs."""
    more = 0 if "segments" in batch else max(0, length - batch["input_ids"].shape[-1])
    if not more:
        return batch

    def wide(name: str, array: np.ndarray) -> np.ndarray:
        spec = table.get(name)
        if spec is None or "L" not in spec.axes:
            return array
        at = array.ndim - len(spec.axes) + spec.axes.index("L")
        return np.pad(array, [(0, more * (axis == at)) for axis in range(array.ndim)], constant_values=spec.pad)

    return {name: wide(name, array) for name, array in batch.items()}


def _nothing(name: str, rows: np.ndarray, count: int, table: Mapping[str, Feature]) -> np.ndarray:
    """Returns rows without an example."""
    value = 0 if name not in table else table[name].pad if "L" in table[name].axes else -1
    return np.full((count, *rows.shape[1:]), value, np.int32)


def segmented(
    length_N: np.ndarray, mine_N: np.ndarray, row_N: np.ndarray, rows: int, room: int
) -> tuple[Layout, dict[str, np.ndarray]]:
    """Returns where this host's examples of a window go in its packed rows, and the arrays that say so.

    Those are segments and positions BxL, and, BxS, first (the token a segment begins at) and index (the number of
    its example in the window, -1 where there is none). `row_N` has an entry for each example that is mine, in order.
    """
    slots, number_N, length_N = room // SHORTEST, np.flatnonzero(mine_N), length_N[mine_N]
    end_N = np.cumsum(room_of(length_N))
    first_N = np.searchsorted(row_N, row_N)  # the first example of the same row
    begin_N = end_N - room_of(length_N)
    begin_N = begin_N - begin_N[first_N]
    slot_N = np.arange(len(length_N)) - first_N
    ends_N = np.cumsum(length_N)
    within_T = np.arange(length_N.sum()) - np.repeat(ends_N - length_N, length_N)
    at_T = np.repeat(row_N * room + begin_N, length_N) + within_T
    segments, positions = (np.zeros(rows * room, np.int32) for _ in range(2))
    segments[at_T], positions[at_T] = np.repeat(slot_N + 1, length_N), within_T
    first, index = np.zeros((rows, slots), np.int32), np.full((rows, slots), -1, np.int32)
    first[row_N, slot_N], index[row_N, slot_N] = begin_N, number_N
    beside = {"segments": segments.reshape(rows, room), "positions": positions.reshape(rows, room)}
    return Layout(rows, room, row_N, begin_N, slot_N, slots), beside | {"first": first, "index": index}


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """How a stage's batches are made: examples of one, seed of their order, lengths to pad to, whether to pack."""

    batch_size: int
    seed: int
    buckets: Sequence[int]
    packing: bool = False

    def order(self, part: Part, batches: int) -> Order:
        """Returns the order of the cells of a head over so many batches."""
        cells, rates = part
        draws = Draws([cell.lengths_N for cell in cells], rates, self.seed)
        if self.packing and KINDS[cells[0].cell.row.kind].packs:
            return Packed(draws, self.batch_size, batches, self.buckets[-1])
        return Bucketed(draws, self.batch_size, batches, self.buckets)


def examples_of_step(cells: Sequence[Prepared], rates: Sequence[float], plan: BatchPlan) -> float:
    """Returns how many examples a step has on average: `batch_size`, or, of packed ones, about as many."""
    if not plan.packing:
        return plan.batch_size
    parts = group_cells(cells, rates)
    steps = sum(sum(part[1]) / plan.order(part, 0).share for part in parts)
    return plan.batch_size * sum(rates) / steps


class Batches:
    """All batches of a stage, by step: a random-access source for Grain."""

    def __init__(
        self,
        cells: Sequence[Prepared],
        *,
        rates: Sequence[float],
        plan: BatchPlan,
        steps: int,
        multiple: int = 1,
        host: int = 0,
        hosts: int = 1,
    ):
        """Lays out the order of a stage's batches.

        Args:
          cells: what to train on.
          rates: how often each cell is drawn, up to a common factor.
          plan: how batches are made; the largest of its lengths holds every feature.
          steps: how many batches there are.
          multiple: packed batches are filled up with empty rows to a multiple of this, for a mesh to divide.
          host: this host's number, of `hosts`.
          hosts: how many hosts share a batch.
        """
        self._cells = cells
        parts = group_cells(cells, rates)
        self._group_of_step = interleave([sum(part[1]) / plan.order(part, 0).share for part in parts], steps)
        self._batch_of_step = np.zeros(steps, np.int64)
        for number in range(len(parts)):
            here = self._group_of_step == number
            self._batch_of_step[here] = np.arange(here.sum())
        self._groups = []
        for number, part in enumerate(parts):
            order = plan.order(part, int((self._group_of_step == number).sum()))
            rows = -(-order.rows // multiple) * multiple if order.packed else order.rows
            mine = host * rows // hosts, (host + 1) * rows // hosts
            self._groups.append(Group(part[0], order, plan.buckets, mine))

    def __len__(self) -> int:
        return len(self._group_of_step)

    @property
    def pattern(self) -> tuple:
        """Returns what decides the shapes of all batches but for their lengths: whose are equal can be stacked."""
        shapes = (
            (group.head, group.order.packed, group.mine, group.cells[0].choices, group.cells[0].answer_length)
            for group in self._groups
        )
        return self._group_of_step.tobytes(), *shapes

    def widened(self, step: int, batch: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step with rows of at least so many tokens (see `widen`)."""
        return widen(batch, self._groups[self._group_of_step[step]].table, length)

    def members(self, step: int) -> tuple[str, list[tuple[int, int]]]:
        """Returns (head, [(which of the cells, number in it) for each example]) of a step, of all hosts, row by row."""
        group = self._groups[self._group_of_step[step]]
        sources, rows = group.examples(int(self._batch_of_step[step]))
        cells = [group.cells[source] for source in sources]
        places = [next(at for at, one in enumerate(self._cells) if one is cell) for cell in group.cells]
        examples = (cell.first + int(cell.example_N[row]) for cell, row in zip(cells, rows, strict=True))
        return group.head, list(zip((places[source] for source in sources), examples, strict=True))

    def identify(self, step: int) -> list[str]:
        """Returns the names of the examples of a step: cell#example."""
        return [f"{self._cells[cell].cell}#{number}" for cell, number in self.members(step)[1]]

    def __getitem__(self, index: int) -> tuple[str, dict[str, np.ndarray]]:
        """Returns (head, this host's rows of the batch) of a step."""
        group = self._groups[self._group_of_step[index]]
        return group.head, group.batch(int(self._batch_of_step[index]))


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Batches from a step on, several at once."""

    source: Batches
    start: int

    def __len__(self) -> int:
        return math.ceil((len(self.source) - self.start) / RUN)

    def __getitem__(self, index: int) -> list[tuple[str, dict[str, np.ndarray]]]:
        first = self.start + index * RUN
        return [self.source[step] for step in range(first, min(first + RUN, len(self.source)))]


def stream(
    source: Batches, start: int = 0, threads: int = 1, readers: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields (head, batch) from step `start` to the end, in order, read ahead by Grain.

    Args:
      source: the batches.
      start: the first step.
      threads: that read in each process.
      readers: processes that read beside this one, of which each takes every so-many-th run of batches; 0 reads here.
        They take seconds to start, and pay where assembling a batch takes longer than a step.
    """
    if start >= len(source):
        return
    if readers and not flags.FLAGS.is_parsed():  # Grain asks absl for flags of its own; `xling` keeps its flags apart
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    dataset = grain.MapDataset.source(_Runs(source, start)).to_iter_dataset(options)
    iterator = iter(dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=readers)))
    try:
        for run in iterator:
            yield from run
    finally:
        iterator.close()


def blank(
    table: Mapping[str, Feature], rows: int, length: int, *, choices: int = 1, packed: bool = False
) -> dict[str, np.ndarray]:
    """Returns a batch as training gets it, of one example that is all zeros and fills its row: what shapes are told by.

    Args:
      table: the arrays of a feature.
      rows: of the batch.
      length: of its rows.
      choices: of an example, 1 where its format has none.
      packed: several examples of a row.
    """
    feature = {name: np.zeros(shape_of(spec, length, choices), np.int32) for name, spec in table.items()}
    block, one_N = Block.of([pack_feature(feature, table)]), np.zeros(1, np.int64)
    if not packed:
        return lay_out(block, table, Layout(rows, length, one_N), choices) | {"index": np.zeros(rows, np.int32)}
    layout, beside = segmented(np.array([length]), np.ones(1, bool), one_N, rows, length)
    return lay_out(block, table, layout, choices) | beside


@dataclasses.dataclass(frozen=True)
class EvalBatch:
    """A batch to be answered, of one cell or of several.

    `pieces` are (key of a cell, numbers of its features or texts) in the order of the batch; `ended` are the keys of
    cells of which no later batch has anything.
    """

    arrays: dict[str, np.ndarray]
    pieces: Sequence[tuple[Any, np.ndarray]]
    ended: Sequence[Any] = ()

    @property
    def count(self) -> int:
        """Returns how many features or texts there are."""
        return sum(len(numbers) for _, numbers in self.pieces)


def in_order(cells: Iterable[tuple[Any, Prepared]], batch_size: int, buckets: Sequence[int]) -> Iterator[EvalBatch]:
    """Yields batches over (key, cell) one after another, of each cell the shortest features first.

    Every batch has `batch_size` rows, so that a length is compiled once; the last one of a cell is filled up by
    repeating its last feature, and has fewer numbers than rows.
    """
    for key, prepared in cells:
        of_cell = _shortest_first(prepared, batch_size, buckets)
        numbers, arrays = next(of_cell)
        for more in of_cell:
            yield EvalBatch(arrays, [(key, numbers)])
            numbers, arrays = more
        yield EvalBatch(arrays, [(key, numbers)], [key])


def _shortest_first(
    prepared: Prepared, batch_size: int, buckets: Sequence[int]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    records = Records(prepared)
    order_N = np.argsort(prepared.lengths_N, kind="stable")
    whole = batch_size * max(1, READ // batch_size)
    for begin in range(0, len(order_N), whole):
        block = records.block(order_N[begin : begin + whole])
        for at in range(0, min(whole, len(order_N) - begin), batch_size):
            numbers = order_N[begin:][at : min(at + batch_size, whole)]
            row_B = np.minimum(np.arange(batch_size), len(numbers) - 1)
            length = bucket(int(prepared.lengths_N[numbers].max()), sorted(buckets))
            layout = Layout(batch_size, length, np.arange(batch_size))
            yield numbers, lay_out(block.take(at + row_B), prepared.table, layout, prepared.choices)
