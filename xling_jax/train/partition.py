"""What of the parameters is trained: the gradient, the optimiser and its state know of nothing else."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict


@dataclasses.dataclass(frozen=True)
class Leaf:
    """What training is told of a parameter.

    `names` are those of its axes. `rates` are factors of the learning rate: one, or one for each entry of the first
    axis. 0 is frozen; what is frozen of several are the first ones.
    """

    names: tuple[str | None, ...]
    rates: tuple[float, ...] = (1.0,)

    @property
    def first(self) -> int | None:
        """The first trained entry of the first axis; 0 for the whole parameter, None if it is frozen."""
        return next((at for at, rate in enumerate(self.rates) if rate), None)


Leaves = Mapping[str, Leaf]  # by path, "body/layers/query/kernel"


def take(params: Any, leaves: Leaves | None) -> Any:
    """Returns the trained part of a tree of parameters, boxed or not, cut along their first axes; None: all of it."""
    if leaves is None:
        return params
    firsts = {path: leaf.first for path, leaf in leaves.items()}
    taken = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        if firsts[path] is not None:
            first = firsts[path]
            taken[path] = jax.tree.map(lambda array, first=first: array[first:], leaf) if first else leaf
    return unflatten_dict(taken, sep="/")


def put(params: Any, taken: Any, leaves: Leaves | None) -> Any:
    """Returns the parameters with another trained part; undoes `take`."""
    if leaves is None:
        return taken
    whole = flatten_dict(params, sep="/")
    for path, part in flatten_dict(taken, sep="/").items():
        first = leaves[path].first
        whole[path] = whole[path].at[first:].set(part) if first else part
    return unflatten_dict(whole, sep="/")


def count(params: Any, leaves: Leaves | None = None) -> int:
    """Returns the number of parameters that are trained, from shapes alone."""
    total = 0
    for path, leaf in flatten_dict(params, sep="/").items():
        first = 0 if leaves is None else leaves[path].first
        if first is not None:
            total += math.prod(leaf.shape) - first * math.prod(leaf.shape[1:])
    return total
