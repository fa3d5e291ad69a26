"""Outputs over a prepared cell: every feature once, in order, without padding."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np


def predict(
    output_fn: Callable[[Mapping[str, Any]], Mapping[str, jax.Array]],
    batches: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]],
    place: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]],
    example_N: np.ndarray,
    examples: int,
) -> list[list[dict[str, np.ndarray]]]:
    """Returns the outputs of each example's features: a list of dicts for every example.

    The next batch is sent before the last one is fetched.

    Args:
      output_fn: compiled; batch -> arrays whose first axis is the batch.
      batches: (feature numbers, batch); a batch has as many rows as numbers, or more that only fill it up.
      place: host batch -> global arrays.
      example_N: the example of each feature.
      examples: how many there are.
    """
    rows: list[list[dict[str, np.ndarray]]] = [[] for _ in range(examples)]
    outputs: dict[int, dict[str, np.ndarray]] = {}

    def keep(numbers, arrays):
        arrays = jax.device_get(arrays)
        for at, number in enumerate(numbers):
            outputs[int(number)] = {name: array[at] for name, array in arrays.items()}

    sent = None
    for numbers, batch in batches:
        arrays = output_fn(place(batch))
        if sent is not None:
            keep(*sent)
        sent = (numbers, arrays)
    if sent is not None:
        keep(*sent)
    assert len(outputs) == len(example_N), f"{len(outputs)} outputs for {len(example_N)} features"
    for number, example in enumerate(example_N):
        rows[example].append(outputs[number])
    return rows
