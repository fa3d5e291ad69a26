"""One row for each tensor of a published checkpoint: its name there, its path here, and how it is turned."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor here and there.

    `ours` is a path in the tree of parameters, "body/layers/query/kernel". `theirs` is the name there; if it has a
    "{}", that is the number of the layer, and ours has all layers on its first axis. `turned`: theirs is
    (outputs, inputs), as PyTorch's linear layers are, ours (inputs, outputs). Beyond that only the division of axes
    may differ (heads x width there in one axis, here in two). `rows`: the first axis is the vocabulary, and ours may
    have more rows, of zeros, so that it divides among devices.
    """

    ours: str
    theirs: str
    turned: bool = False
    rows: bool = False


def to_ours(tensor: Tensor, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns one layer's array, or that of a tensor without layers, in the shape it has here."""
    array = array.T if tensor.turned else array
    if tensor.rows and len(array) < shape[0]:
        array = np.concatenate([array, np.zeros((shape[0] - len(array), *array.shape[1:]), array.dtype)])
    return array.reshape(shape)


def to_theirs(tensor: Tensor, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the array in the shape it has there; undoes `to_ours`."""
    if tensor.rows:
        array = array[: shape[0]]
    return array.reshape(shape[::-1]).T if tensor.turned else array.reshape(shape)


def names(tensor: Tensor, layers: int) -> list[str]:
    """Returns the names there of what is one leaf here."""
    return [tensor.theirs.format(number) for number in range(layers)] if "{}" in tensor.theirs else [tensor.theirs]


def read_tree(tensors: Iterable[Tensor], shapes: Mapping[str, tuple[int, ...]], get: Callable[[str], Any]) -> dict:
    """Returns the parameters as a nested dict of NumPy arrays, all in memory: for small models and tests.

    Args:
      tensors: the rows.
      shapes: of our leaves, by path.
      get: name there -> array.
    """
    tree: dict = {}
    for tensor in tensors:
        shape = shapes[tensor.ours]
        if "{}" in tensor.theirs:
            leaf = np.stack([to_ours(tensor, np.asarray(get(name)), shape[1:]) for name in names(tensor, shape[0])])
        else:
            leaf = to_ours(tensor, np.asarray(get(tensor.theirs)), shape)
        *folders, last = tensor.ours.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = leaf
    return tree
