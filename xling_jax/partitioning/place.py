"""Shardings of a state, from the logical names its parameters carry."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax.partitioning.rules import rules

PyTree = Any


def fits(sharding: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """Returns the sharding without the axes that do not divide a dimension (a bias of 3 labels, say)."""
    sizes = sharding.mesh.shape
    spec = []
    for dimension, names in zip(shape, sharding.spec, strict=False):
        group = (names,) if isinstance(names, str) else names or ()
        parts = 1
        for name in group:
            parts *= sizes[name]
        spec.append(names if dimension % parts == 0 else None)
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def shardings_of(boxed: PyTree, mesh: jax.sharding.Mesh, strategy: str) -> PyTree:
    """Returns a sharding for each leaf of a tree of boxed shapes (see `jax.eval_shape`).

    The optimiser's moments are boxed like the parameters they belong to, so they are sharded alike;
    leaves without names (counts, steps) are replicated.
    """
    named = nn.logical_to_mesh_sharding(nn.get_partition_spec(boxed), mesh, rules(strategy))
    return jax.tree.map(lambda leaf, sharding: fits(sharding, leaf.shape), nn.meta.unbox(boxed), named)


def creator(
    make: Callable[..., PyTree], mesh: jax.sharding.Mesh, strategy: str, *arguments: Any, donate: tuple[int, ...] = ()
):
    """Compiles a pure function of boxed arrays so that each device makes its own shards.

    Returns (a function of arguments like the given ones to plain arrays, their shapes with shardings). No
    host ever holds a whole array that is sharded. `donate`: numbers of arguments whose memory the result takes. Call
    it outside `use_mesh`: under a mesh, Flax constrains a kernel while its shape is still flat, which fails.
    """
    boxed = jax.eval_shape(make, *arguments)
    shardings = shardings_of(boxed, mesh, strategy)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        nn.meta.unbox(boxed),
        shardings,
    )
    made = jax.jit(lambda *given: nn.meta.unbox(make(*given)), out_shardings=shardings, donate_argnums=donate)
    return made, abstract
