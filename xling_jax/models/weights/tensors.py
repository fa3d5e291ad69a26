"""Published weights and ours: one row for each tensor, and what a family of models says of how it is published.

A module of a family (`weights/xlmr.py`, `weights/mt5.py`, `weights/llama.py`) has one `Family`, as `FAMILY`, and
`weights/families.py` lists them. The family says names and shapes; whatever reads, checks and writes files goes by
that and is the same for all. What the functions of a family promise:

    tensors(config, heads) -> rows
        `config` is what `build_config` makes of a row, `heads` are the HeadSpecs of the model. One `Tensor` for each
        leaf of the parameters, no leaf twice, no leaf without a row: ours are "body/..." and "head_<name>/...".
        Names there are those of an architecture with a head, so with the prefix of the body.
    row_from(config_json) -> tables.models.Model
        A row called "" from the contents of a config.json. Raises CheckpointError, naming the field, for whatever
        would change the computation and is not modelled. Sizes that a published row has give a row that is equal to
        it but for `name`, `params` and `source`.
    config_of(row) -> dict
        The inverse: all fields of config.json that decide the computation, "model_type" among them. The caller adds
        architectures, labels, dtype and the ids of special tokens. `row_from(config_of(row))` is the row again.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from xling_jax.models.build import HeadSpec
from xling_jax.tables.models import Model


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor here and there.

    `ours` is a path in the tree of parameters, "body/layers/query/kernel". `theirs` is the name there; if it has a
    "{}", that is the number of the layer, and ours has all layers on its first axis. `turned`: theirs is
    (outputs, inputs), as PyTorch's linear layers are, ours (inputs, outputs). Beyond that only the division of axes
    may differ: theirs has one axis where ours has those before `split` (without that of layers), and one where ours
    has the others; a kernel (D, H, K) has split 1, its bias (H, K) has split 0, a kernel (H, K, D) has split 2.
    `rows`: the first axis is the vocabulary, and ours may have more rows, of zeros, so that it divides among devices.
    `also`: other names of the same tensor there, because it is tied. A file may have it under any of them, and the
    values under all that it has are the same.
    """

    ours: str
    theirs: str
    turned: bool = False
    rows: bool = False
    split: int = 1
    also: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """How a family is published.

    `name` is that of the column `family` in tables/models.py. `architectures`: for each model_type of config.json, the
    kind of head that each class name of transformers means, "" for the body alone; a kind has one class.
    `prefix` begins the names of the body's tensors, and is left out by the class that is the body alone. `ignored` are
    patterns (fnmatch, prefix included) of tensors that hold nothing learned, like buffers of positions.
    """

    name: str
    architectures: Mapping[str, Mapping[str, str]]
    tensors: Callable[[Any, tuple[HeadSpec, ...]], tuple[Tensor, ...]]
    row_from: Callable[[Mapping[str, Any]], Model]
    config_of: Callable[[Model], dict[str, Any]]
    prefix: str = ""
    ignored: tuple[str, ...] = ()


def to_ours(tensor: Tensor, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns one layer's array, or that of a tensor without layers, in the shape it has here."""
    array = array.T if tensor.turned else array
    if tensor.rows and len(array) < shape[0]:
        array = np.concatenate([array, np.zeros((shape[0] - len(array), *array.shape[1:]), array.dtype)])
    return array.reshape(shape)


def to_theirs(tensor: Tensor, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the array in the shape it has there; undoes `to_ours`."""
    if tensor.rows:
        array = array[: shape[-1 if tensor.turned else 0]]
    return array.reshape(shape[::-1]).T if tensor.turned else array.reshape(shape)


def theirs_shape(tensor: Tensor, shape: tuple[int, ...], vocab: int) -> tuple[int, ...]:
    """Returns the shape there of one layer's array, or of a tensor without layers.

    Args:
      tensor: the row.
      shape: here, without the axis of layers.
      vocab: rows of the vocabulary there.
    """
    if tensor.rows:
        shape = (vocab, *shape[1:])
    merged = tuple(math.prod(axes) for axes in (shape[: tensor.split], shape[tensor.split :]) if axes)
    return merged[::-1] if tensor.turned else merged


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
