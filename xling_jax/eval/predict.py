"""Outputs over a prepared cell: every feature once, in order, without padding."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np


class Outputs:
    """What a model said of a cell's features, kept by the batch as it came from the device."""

    def __init__(self, example_N: np.ndarray, examples: int):
        """Takes the example of each feature, and how many examples there are."""
        self._batches: list[tuple[np.ndarray, Mapping[str, np.ndarray]]] = []  # numbers of features, their rows
        self._place_Nx2 = np.full((len(example_N), 2), -1)  # batch and row of each feature
        self._order_N = np.argsort(example_N, kind="stable")
        self._begin = np.searchsorted(example_N[self._order_N], np.arange(examples + 1)).tolist()
        self._example_N = example_N
        self.broken: int | None = None  # an example whose outputs are not finite

    def add(self, numbers: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps a batch: the numbers of its features, and arrays with at least as many rows."""
        self._place_Nx2[numbers] = np.stack([np.full(len(numbers), len(self._batches)), np.arange(len(numbers))], 1)
        self._batches.append((numbers, arrays))
        for array in arrays.values():
            if array.dtype.kind not in "iub":  # bfloat16's kind is not "f"
                finite_N = np.isfinite(array[: len(numbers)].reshape(len(numbers), -1)).all(axis=1)
                if not finite_N.all():
                    self.broken = int(self._example_N[numbers[np.argmin(finite_N)]])

    def check(self) -> None:
        """Asserts that every feature has come."""
        there, wanted = (self._place_Nx2[:, 0] >= 0).sum(), len(self._place_Nx2)
        assert there == wanted, f"{there} outputs for {wanted} features"

    def __len__(self) -> int:
        return len(self._begin) - 1

    def __getitem__(self, example: int) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of an example's features."""
        places = self._place_Nx2[self._order_N[self._begin[example] : self._begin[example + 1]]].tolist()
        return [{name: array[row] for name, array in self._batches[batch][1].items()} for batch, row in places]

    def __iter__(self) -> Iterator[list[dict[str, np.ndarray]]]:
        return (self[example] for example in range(len(self)))

    def stack(self, name: str) -> np.ndarray:
        """Returns one of the outputs of all features, Nx..., of one shape each."""
        first = self._batches[0][1][name]
        stacked = np.empty((len(self._place_Nx2), *first.shape[1:]), first.dtype)
        for numbers, arrays in self._batches:
            stacked[numbers] = arrays[name][: len(numbers)]
        return stacked


def predict(
    output_fn: Callable[[Mapping[str, Any]], Mapping[str, jax.Array]],
    batches: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]],
    place: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]],
    example_N: np.ndarray,
    examples: int,
    *,
    whole: Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] | None = None,
) -> Outputs:
    """Returns the outputs of each example's features. The next batch is sent before the last one is fetched.

    Args:
      output_fn: compiled; batch -> arrays whose first axis is the batch.
      batches: (feature numbers, batch); a batch has as many rows as numbers, or more that only fill it up.
      place: host batch -> global arrays.
      example_N: the example of each feature.
      examples: how many there are.
      whole: makes of what was fetched, and the host's batch, what is kept; by default that is what was fetched.
    """
    outputs = Outputs(example_N, examples)

    def keep(numbers, batch, arrays):
        fetched = jax.device_get(arrays)
        outputs.add(numbers, whole(fetched, batch) if whole else fetched)

    sent = None
    for numbers, batch in batches:
        arrays = output_fn(place(batch))
        if sent is not None:
            keep(*sent)
        sent = (numbers, batch, arrays)
    if sent is not None:
        keep(*sent)
    outputs.check()
    return outputs
