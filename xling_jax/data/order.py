"""Which examples stand in which row of which batch: a function of (seed, step), computed from lengths alone.

An order goes through windows of examples. Within a window, examples are sorted into rows: one by one and by bucket, or
packed. So the place of any step is found without going through the steps before it.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from xling_jax.data.packing import count_rows, pack

WINDOW = 32  # most batches within which examples are sorted by bucket; more pads less and mixes less
PACKED = 4096  # most examples that are packed together; more leaves fewer gaps and mixes less
SAMPLE = 16  # windows that tell how many examples a packed row has


def _interleave(rates: Sequence[float], first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (draws that each source has had before draw `first`, the sources of draws first .. first+count)."""
    shares = np.asarray(rates, np.float64) / np.sum(rates)
    sure = np.maximum(np.floor(shares * first).astype(np.int64) - 1, 0)  # after any draw a source is within one of this
    per_source = np.ceil(shares * (first + count)).astype(np.int64) + 1 - sure
    times = [(before + np.arange(n) + 0.5) / share for before, n, share in zip(sure, per_source, shares, strict=True)]
    source = np.repeat(np.arange(len(shares)), per_source)
    source = source[np.lexsort((source, np.concatenate(times)))]
    begin = first - int(sure.sum())
    return sure + np.bincount(source[:begin], minlength=len(shares)), source[begin : begin + count]


def interleave(rates: Sequence[float], count: int) -> np.ndarray:
    """Returns which of the sources each of `count` draws comes from: as even as can be, and a prefix of itself.

    The k-th draw of source i falls at time (k + 1/2) / rate_i; draws are taken in order of time, so after
    any number of them each source is within one draw of its share.
    """
    return _interleave(rates, 0, count)[1]


class Draws:
    """The examples of several cells, drawn at given rates; each cell is shuffled anew when it has been gone through."""

    def __init__(self, lengths: Sequence[np.ndarray], rates: Sequence[float], seed: int):
        """Takes the lengths of the examples of each cell, and the cells' rates."""
        self.lengths = lengths
        self.seed = seed
        self._rates = rates
        # Draws until the first cell begins anew. Less than one draw is rounding.
        self.epoch = min(len(cell) * sum(rates) / rate for cell, rate in zip(lengths, rates, strict=True))
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (cell, number of the example in it) of draws first .. first+count."""
        before, source_N = _interleave(self._rates, first, count)
        number_N = np.zeros(count, np.int64)
        for cell in range(len(self.lengths)):
            here = np.flatnonzero(source_N == cell)
            if len(here):
                number_N[here] = self._stream(cell, int(before[cell]), len(here))
        return source_N, number_N

    def length_N(self, source_N: np.ndarray, number_N: np.ndarray) -> np.ndarray:
        """Returns the lengths of examples."""
        found = np.zeros(len(source_N), np.int64)
        for cell, lengths in enumerate(self.lengths):
            here = source_N == cell
            found[here] = lengths[number_N[here]]
        return found

    def _stream(self, cell: int, first: int, count: int) -> np.ndarray:
        """Returns draws first .. first+count of one cell."""
        size = len(self.lengths[cell])
        drawn = []
        for epoch in range(first // size, (first + count - 1) // size + 1):
            order = self._epoch(cell, epoch)
            drawn.append(order[max(first - epoch * size, 0) : first + count - epoch * size])
        return np.concatenate(drawn)

    def _epoch(self, cell: int, epoch: int) -> np.ndarray:
        """Returns the order of a cell in an epoch. The last two of each cell are kept: to shuffle takes time."""
        if (cell, epoch) not in self._orders:
            order = np.random.default_rng([self.seed, cell, epoch]).permutation(len(self.lengths[cell]))
            self._orders.pop((cell, epoch - 2), None)
            self._orders[cell, epoch] = order.astype(np.int32)
        return self._orders[cell, epoch]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a window: those of row r are examples begin_R[r] .. begin_R[r + 1]."""

    source_N: np.ndarray
    number_N: np.ndarray
    length_N: np.ndarray
    begin_R: np.ndarray


class Bucketed:
    """An example a row, sorted by bucket within windows of batches.

    A window is no longer than the shortest epoch of a cell, and the last one ends with the stage: else
    sorting would bring the same feature into a batch twice, and leave others out.
    """

    packed = False
    share = 1.0

    def __init__(self, draws: Draws, batch_size: int, batches: int, buckets: Sequence[int]):
        """Lays out so many batches; `buckets` are the lengths that rows are padded to."""
        self._draws = draws
        self._buckets = buckets
        self.rows = batch_size
        self._window = int(np.clip(draws.epoch // batch_size, 1, WINDOW)) * batch_size
        self._end = batches * batch_size

    def pieces(self, batch: int) -> list[tuple[int, int, int]]:
        """Returns (window, first row, row after the last) of what a batch consists of."""
        window, row = divmod(batch * self.rows, self._window)
        return [(window, row, row + self.rows)]

    def first_row(self, window: int) -> int:
        """Returns the number of a window's first row among all rows."""
        return window * self._window

    def window(self, window: int) -> Rows:
        """Returns the rows of a window."""
        first = window * self._window
        source_N, number_N = self._draws(first, min(self._window, self._end - first))
        length_N = self._draws.length_N(source_N, number_N)
        shape_N = np.searchsorted(self._buckets, length_N)
        by_shape = np.argsort(shape_N, kind="stable").reshape(-1, self.rows)
        rng = np.random.default_rng([self._draws.seed, len(self._draws.lengths), window])
        order_N = by_shape[rng.permutation(len(by_shape))].reshape(-1)
        return Rows(source_N[order_N], number_N[order_N], length_N[order_N], np.arange(len(order_N) + 1))


def _rows_of_batch(examples: float, row: float) -> int:
    """Returns how many rows of `row` examples on average make a batch of `examples`.

    Many rows are rounded to a multiple of a power of two, at most a sixteenth away, so that meshes divide them.
    """
    rows = examples / row
    unit = 2 ** max(0, math.floor(math.log2(max(rows, 1) / 8)))
    return max(1, round(rows / unit) * unit)


class Packed:
    """Several examples a row, packed within windows of examples; a window is an equal part of an epoch.

    So in an epoch every example comes once. How many rows the windows have is known from lengths alone, and tells
    where a step begins. A batch has a fixed number of rows, the one that has about `batch_size` examples.
    """

    packed = True

    def __init__(self, draws: Draws, batch_size: int, batches: int, room: int):
        """Lays out so many batches of rows of `room` tokens."""
        self._draws = draws
        self.room = room
        self._epoch = max(1, int(draws.epoch + 1e-6))
        self._windows_of_epoch = -(-self._epoch // PACKED)
        self._rows_before = [0]
        self._reach(windows=min(SAMPLE, self._windows_of_epoch))
        per_row = self._begin(len(self._rows_before) - 1) / self._rows_before[-1]
        self.rows = _rows_of_batch(batch_size, per_row)
        self.share = self.rows * per_row / batch_size
        self._reach(rows=batches * self.rows)

    def _begin(self, window: int) -> int:
        """Returns the first draw of a window."""
        return window * self._epoch // self._windows_of_epoch

    def _draw(self, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = self._begin(window)
        source_N, number_N = self._draws(first, self._begin(window + 1) - first)
        return source_N, number_N, self._draws.length_N(source_N, number_N)

    def _reach(self, windows: int = 0, rows: int = 0) -> None:
        """Counts the rows of so many windows, or of as many as have so many rows."""
        before = self._rows_before
        while len(before) <= windows or before[-1] < rows:
            before.append(before[-1] + count_rows(self._draw(len(before) - 1)[2], self.room))

    def pieces(self, batch: int) -> list[tuple[int, int, int]]:
        """Returns (window, first row, row after the last) of what a batch consists of."""
        first, last = batch * self.rows, (batch + 1) * self.rows
        window = bisect.bisect_right(self._rows_before, first) - 1
        found = []
        while first < last:
            begin, end = self._rows_before[window : window + 2]
            found.append((window, first - begin, min(last, end) - begin))
            first, window = min(last, end), window + 1
        return found

    def first_row(self, window: int) -> int:
        """Returns the number of a window's first row among all rows."""
        return self._rows_before[window]

    def window(self, window: int) -> Rows:
        """Returns the rows of a window, in an order of their own."""
        source_N, number_N, length_N = self._draw(window)
        row_N = pack(length_N, self.room)
        rng = np.random.default_rng([self._draws.seed, len(self._draws.lengths), window])
        row_N = rng.permutation(int(row_N.max()) + 1)[row_N]
        order_N = np.argsort(row_N, kind="stable")
        begin_R = np.concatenate([[0], np.cumsum(np.bincount(row_N))])
        return Rows(source_N[order_N], number_N[order_N], length_N[order_N], begin_R)


Order = Bucketed | Packed
