"""Outputs over prepared cells: every feature once, in order, without padding."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np


class Outputs:
    """What a model said of a cell's features, kept by the batch as it came from the device.

    A feature may have several texts that are answered apart. Text c of feature n of C texts is number n * C + c.
    """

    def __init__(self, example_N: np.ndarray, examples: int, texts: tuple[int, ...] = ()):
        """Takes the example of each feature, how many examples there are, and the axes that a feature's texts have."""
        self._batches: list[tuple[np.ndarray, Mapping[str, np.ndarray]]] = []  # numbers of texts, their rows
        self._texts, self._each = texts, math.prod(texts)
        self._place_Tx2 = np.full((len(example_N) * self._each, 2), -1)  # batch and row of each text
        self._order_N = np.argsort(example_N, kind="stable")
        self._begin = np.searchsorted(example_N[self._order_N], np.arange(examples + 1)).tolist()
        self._example_N = example_N
        self.broken: int | None = None  # an example whose outputs are not finite

    def add(self, numbers: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps a batch, or its part of one: the numbers of its texts, and arrays with as many rows."""
        self._place_Tx2[numbers] = np.stack([np.full(len(numbers), len(self._batches)), np.arange(len(numbers))], 1)
        self._batches.append((numbers, arrays))
        for array in arrays.values():
            if array.dtype.kind not in "iub":  # bfloat16's kind is not "f"
                finite_T = np.isfinite(array.reshape(len(numbers), -1)).all(axis=1)
                if not finite_T.all():
                    self.broken = int(self._example_N[numbers[np.argmin(finite_T)] // self._each])

    @property
    def size(self) -> int:
        """Returns how many texts there are, as if every feature had as many."""
        return len(self._place_Tx2)

    def check(self) -> None:
        """Asserts that every feature has come: the first of its texts, of which some have fewer than others."""
        there, wanted = (self._place_Tx2[:: self._each, 0] >= 0).sum(), len(self._example_N)
        assert there == wanted, f"{there} outputs for {wanted} features"

    def __len__(self) -> int:
        return len(self._begin) - 1

    def __getitem__(self, example: int) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of an example's features; those of several texts on one axis, of as many as there are."""
        features = self._order_N[self._begin[example] : self._begin[example + 1]].tolist()
        return [self._feature(number * self._each) for number in features]

    def _feature(self, first: int) -> dict[str, np.ndarray]:
        places = self._place_Tx2[first : first + self._each].tolist()
        rows = [(self._batches[batch][1], row) for batch, row in places if batch >= 0]
        if not self._texts:
            ((arrays, row),) = rows
            return {name: array[row] for name, array in arrays.items()}
        return {name: np.stack([arrays[name][row] for arrays, row in rows]) for name in rows[0][0]}

    def __iter__(self) -> Iterator[list[dict[str, np.ndarray]]]:
        return (self[example] for example in range(len(self)))

    def stack(self, name: str) -> np.ndarray:
        """Returns one of the outputs of all features, Nx..., of one shape each; zeros of texts that are not there."""
        first = self._batches[0][1][name]
        stacked = np.zeros((len(self._place_Tx2), *first.shape[1:]), first.dtype)
        for numbers, arrays in self._batches:
            stacked[numbers] = arrays[name]
        return stacked.reshape(len(self._example_N), *self._texts, *first.shape[1:])


def predict(
    output_fn: Callable[[Mapping[str, Any]], Mapping[str, jax.Array]],
    batches: Iterable[Any],
    place: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]],
    whole: Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] | None = None,
) -> Iterator[Outputs]:
    """Yields the outputs of cell after cell, each when it ends. The next batch is sent before the last one is fetched.

    So an accelerator has work while what is yielded is scored.

    Args:
      output_fn: compiled; batch -> arrays whose first axis is the batch.
      batches: `data.batches.EvalBatch`; their keys are the outputs that are filled, of features or of their texts. What
        is kept of a batch has as many rows as its pieces have numbers, or more that only fill it up.
      place: host batch -> global arrays.
      whole: makes of what was fetched, and the host's batch, what is kept; by default that is what was fetched.
    """
    sent = None
    for batch in batches:
        answers = output_fn(place(batch.arrays))
        if sent is not None:
            yield from _kept(*sent, whole)
        sent = batch, answers
    if sent is not None:
        yield from _kept(*sent, whole)


def _kept(batch: Any, answers: Mapping[str, jax.Array], whole: Callable | None) -> Iterator[Outputs]:
    """Gives the cells of a batch their answers; yields those that are whole now."""
    arrays = jax.device_get(answers)
    if whole:
        arrays = whole(arrays, batch.arrays)
    at = 0
    for outputs, numbers in batch.pieces:
        outputs.add(numbers, {name: array[at : at + len(numbers)] for name, array in arrays.items()})
        at += len(numbers)
    for outputs in batch.ended:
        outputs.check()
        yield outputs
