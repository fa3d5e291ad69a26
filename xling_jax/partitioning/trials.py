"""Several trainings of one shape as one program: what a step takes and gives has a leading axis, `trial`.

Where the mesh divides them, each device has trainings of its own, whole batches among them, and devices need not talk.
Else every device has all of them, and its share of each one's batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax import axes
from xling_jax.partitioning.feed import BATCH_SPEC, put
from xling_jax.partitioning.rules import DATA, rules

PyTree = Any


def are_divided(mesh: jax.sharding.Mesh, count: int) -> bool:
    """Whether each of several devices has as many of `count` trainings for itself."""
    return mesh.size > 1 and mesh.shape[DATA] == mesh.size and count % mesh.size == 0


def _divided() -> PartitionSpec:
    return nn.logical_to_mesh_axes((axes.TRIAL,), rules("data")) or PartitionSpec()


def at_once(step: Callable[..., PyTree], mesh: jax.sharding.Mesh, count: int) -> Callable[..., PyTree]:
    """Returns a pure step of `count` trainings, made of that of one: all it takes and gives has an axis more in front.

    Where trainings are divided, `step` must name no mesh axis by itself: it is computed by one device. What a device's
    only training computes has no such axis inside, so its company changes no bit of it. A program for several devices
    is compiled otherwise than that for one, though, and rounds otherwise.
    """
    if not are_divided(mesh, count):
        return jax.vmap(step)

    def of_device(*given):
        with nn.logical_axis_rules(()):  # a device has all of its axes
            if count > mesh.size:
                return jax.vmap(step)(*given)
            given = jax.tree.map(lambda leaf: leaf[0], given)
            return jax.tree.map(lambda leaf: leaf[None], step(*given))

    return jax.shard_map(of_device, mesh=mesh, in_specs=_divided(), out_specs=_divided(), check_vma=False)


def sharding_of_states(mesh: jax.sharding.Mesh, count: int) -> NamedSharding:
    """Returns where the states of `count` trainings live, whose own axes a mesh of data alone does not divide."""
    return NamedSharding(mesh, _divided() if are_divided(mesh, count) else PartitionSpec())


def sharding_of_batches(mesh: jax.sharding.Mesh, count: int) -> NamedSharding:
    """Returns where their batches live."""
    return NamedSharding(mesh, _divided() if are_divided(mesh, count) else PartitionSpec(None, *BATCH_SPEC))


def stack(trees: Sequence[PyTree], sharding: NamedSharding) -> PyTree:
    """Returns trees of the host's arrays as one of global arrays with an axis more in front."""
    return jax.tree.map(lambda *leaves: put(np.stack(leaves), sharding), *trees)


def pick(tree: PyTree, number: int, like: PyTree) -> PyTree:
    """Returns one of what was stacked, with the shardings of `like`. It is read where it is: nothing is gathered."""

    def one(leaf: jax.Array, wanted: Any) -> jax.Array:
        for shard in leaf.addressable_shards:
            first, last, _ = shard.index[0].indices(len(leaf))
            if first <= number < last:
                return jax.device_put(shard.data[number - first], wanted.sharding)
        raise AssertionError(f"no device of this host has trial {number} of {len(leaf)}")

    return jax.tree.map(one, tree, like)
