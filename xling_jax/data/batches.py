"""Prepared cells to this host's batches. What is in step k of a stage is a function of its seed and k alone.

So training resumes exactly from a step number, on any number of hosts, and a batch that made trouble can
be named afterwards. In an epoch every feature comes once. Examples of one task are mixed within a batch;
tasks take turns batch by batch, as in jiant's multi-task sampler (Phang et al. 2020). Grain reads, pads
and prefetches.
"""

from collections.abc import Iterator, Sequence

import grain
import numpy as np
from absl import flags

from xling_jax.data.formats import Feature
from xling_jax.data.prepare import Prepared, Records

WINDOW = 32  # most batches within which examples are sorted by bucket; more pads less and mixes less


def interleave(rates: Sequence[float], count: int) -> np.ndarray:
    """Returns which of the sources each of `count` draws comes from: as even as can be, and a prefix of itself.

    The k-th draw of source i falls at time (k + 1/2) / rate_i; draws are taken in order of time, so after
    any number of them each source is within one draw of its share.
    """
    shares = np.asarray(rates, np.float64) / np.sum(rates)
    per_source = np.ceil(shares * count).astype(np.int64) + 1
    times = np.concatenate([(np.arange(n) + 0.5) / share for n, share in zip(per_source, shares, strict=True)])
    source = np.repeat(np.arange(len(shares)), per_source)
    return source[np.lexsort((source, times))][:count]


def _draws(features: int, first: int, count: int, seed: int, stream: int) -> np.ndarray:
    """Returns draws first .. first+count of a stream that goes through all features, shuffled anew each epoch."""
    drawn = []
    for epoch in range(first // features, (first + count - 1) // features + 1):
        order = np.random.default_rng([seed, stream, epoch]).permutation(features)
        drawn.append(order[max(first - epoch * features, 0) : first + count - epoch * features])
    return np.concatenate(drawn)


class Group:
    """The cells of one task: its batches, sorted by bucket within windows of batches.

    A window is no longer than the shortest epoch of a cell, and the last one ends with the stage: else
    sorting would bring the same feature into a batch twice, and leave others out.
    """

    def __init__(
        self,
        cells: Sequence[Prepared],
        rates: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        batches: int,
        buckets: Sequence[int],
    ):
        self.task = cells[0].cell.row
        self.cells = cells
        self.features = cells[0].table
        self._seed = seed
        self._batch_size = batch_size
        self._buckets = buckets
        epoch = min(cell.features * sum(rates) / rate for cell, rate in zip(cells, rates, strict=True))
        self._batches_of_window = int(np.clip(epoch // batch_size, 1, WINDOW))
        self._source = interleave(rates, batches * batch_size).astype(np.int16)
        self._window: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    def _load(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        size = self._batches_of_window * self._batch_size
        source = self._source[window * size : (window + 1) * size]
        before = np.bincount(self._source[: window * size], minlength=len(self.cells))
        row = np.zeros(len(source), np.int64)
        shape = np.zeros(len(source), np.int64)  # the bucket an example falls in
        for number, cell in enumerate(self.cells):
            here = np.flatnonzero(source == number)
            if len(here):
                row[here] = _draws(cell.features, int(before[number]), len(here), self._seed, number)
                shape[here] = np.searchsorted(self._buckets, cell.lengths_N[row[here]])
        by_shape = np.argsort(shape, kind="stable").reshape(-1, self._batch_size)
        rng = np.random.default_rng([self._seed, len(self.cells), window])
        order = by_shape[rng.permutation(len(by_shape))]
        return source[order], row[order]

    def rows(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (cell, feature number) of the examples of a batch, both of shape (batch_size,)."""
        window, within = divmod(batch, self._batches_of_window)
        held = self._window  # one read and one write, because several threads ask
        if held[0] != window:
            held = (window, *self._load(window))
            self._window = held
        return held[1][within], held[2][within]


def pad_batch(features: list[dict[str, np.ndarray]], table: dict[str, Feature], length: int) -> dict[str, np.ndarray]:
    """Returns features as arrays of shape (batch, ...) with every L axis padded to `length`."""
    batch = {}
    for name, spec in table.items():
        shape = [length if axis == "L" else features[0][name].shape[at] for at, axis in enumerate(spec.axes)]
        out = np.full((len(features), *shape), spec.pad, np.int32)
        for number, feature in enumerate(features):
            value = feature[name]
            out[(number, *(slice(0, size) for size in value.shape))] = value
        batch[name] = out
    return batch


def bucket(length: int, buckets: Sequence[int]) -> int:
    """Returns the smallest bucket that holds a length."""
    return next(size for size in buckets if size >= length)


class Batches:
    """All batches of a stage, by step: a random-access source for Grain."""

    def __init__(
        self,
        cells: Sequence[Prepared],
        *,
        rates: Sequence[float],
        batch_size: int,
        steps: int,
        seed: int,
        buckets: Sequence[int],
        host: int = 0,
        hosts: int = 1,
    ):
        """Lays out the order of a stage's batches.

        Args:
          cells: what to train on.
          rates: how often each cell is drawn, up to a common factor.
          batch_size: examples of a global batch.
          steps: how many batches there are.
          seed: of the order.
          buckets: lengths to pad to; the largest holds every feature.
          host: this host's number, of `hosts`.
          hosts: how many hosts share a batch.
        """
        by_task: dict[str, list[tuple[Prepared, float]]] = {}
        for cell, rate in zip(cells, rates, strict=True):
            by_task.setdefault(cell.cell.task, []).append((cell, rate))
        parts = [by_task[name] for name in sorted(by_task)]
        self._group_of_step = interleave([sum(rate for _, rate in part) for part in parts], steps)
        self._batch_of_step = np.zeros(steps, np.int64)
        for number in range(len(parts)):
            here = self._group_of_step == number
            self._batch_of_step[here] = np.arange(here.sum())
        counts = np.bincount(self._group_of_step, minlength=len(parts))
        self._buckets = sorted(buckets)
        self._groups = [
            Group(
                [cell for cell, _ in part],
                [rate for _, rate in part],
                batch_size=batch_size,
                seed=seed,
                batches=int(count),
                buckets=self._buckets,
            )
            for part, count in zip(parts, counts, strict=True)
        ]
        self._records = [[Records(cell) for cell, _ in part] for part in parts]
        self._mine = slice(host * batch_size // hosts, (host + 1) * batch_size // hosts)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._group_of_step)

    def identify(self, step: int) -> list[str]:
        """Returns the names of the examples of a step: cell#example."""
        group = self._groups[self._group_of_step[step]]
        sources, rows = group.rows(int(self._batch_of_step[step]))
        cells = [group.cells[source] for source in sources]
        return [f"{cell.cell}#{cell.example_N[row]}" for cell, row in zip(cells, rows, strict=True)]

    def __getitem__(self, index: int) -> tuple[str, dict[str, np.ndarray]]:
        """Returns (task, this host's rows of the batch) of a step. All hosts pad to the same length."""
        number_of_group = self._group_of_step[index]
        group = self._groups[number_of_group]
        sources, rows = group.rows(int(self._batch_of_step[index]))
        lengths = [int(group.cells[s].lengths_N[row]) for s, row in zip(sources, rows, strict=True)]
        mine, my_rows = sources[self._mine], rows[self._mine]
        features: list[dict[str, np.ndarray]] = [{}] * len(mine)
        for number, records in enumerate(self._records[number_of_group]):
            here = np.flatnonzero(mine == number)
            if len(here):
                read = records.read([int(row) for row in my_rows[here]])
                for at, feature in zip(here, read, strict=True):
                    features[at] = feature
        batch = pad_batch(features, group.features, bucket(max(lengths), self._buckets))
        number_B = np.arange(self._batch_size, dtype=np.int32)[self._mine]
        return group.task.name, batch | {"index": number_B}


def stream(
    source: Batches, start: int = 0, threads: int = 1, readers: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields (task, batch) from step `start` to the end, in order, read ahead by Grain.

    Args:
      source: the batches.
      start: the first step.
      threads: that read in each process.
      readers: processes that read beside this one, of which each takes every so-many-th step; 0 reads here. They take
        seconds to start, and pay where assembling a batch takes longer than a step.
    """
    if start >= len(source):
        return
    if readers and not flags.FLAGS.is_parsed():  # Grain asks absl for flags of its own; `xling` keeps its flags apart
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    dataset = grain.MapDataset.source(source)[start:].to_iter_dataset(options)
    iterator = iter(dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=readers)))
    try:
        yield from iterator
    finally:
        iterator.close()


def in_order(
    prepared: Prepared, batch_size: int, buckets: Sequence[int]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields (feature numbers, batch) over a whole cell, shortest features first.

    Every batch has `batch_size` rows, so that a length is compiled once; the last one is filled up by
    repeating its last feature, and has fewer numbers than rows.
    """
    table = prepared.table
    records = Records(prepared)
    order = np.argsort(prepared.lengths_N, kind="stable")
    for at in range(0, len(order), batch_size):
        numbers = order[at : at + batch_size]
        features = records.read([int(number) for number in numbers])
        features += [features[-1]] * (batch_size - len(features))
        length = bucket(int(prepared.lengths_N[numbers].max()), sorted(buckets))
        yield numbers, pad_batch(features, table, length)
