"""Batches onto the mesh, and results off it; on one host or on many."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax.errors import ConfigError
from xling_jax.partitioning import hosts
from xling_jax.partitioning.rules import DATA, FSDP

BATCH_SPEC = PartitionSpec((DATA, FSDP))


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of a batch that a host reads: the `number`-th of `count` equal ones.

    Hosts among which only tensors are divided have the same. `blocks` are the parts of a batch, one for each group of
    devices that sees the same examples, that this host's devices have.
    """

    number: int
    count: int
    blocks: tuple[int, ...]


@functools.cache
def share_of(mesh: jax.sharding.Mesh, host: int | None = None) -> Share:
    """Returns what a host, by default this one, reads of a training batch. Raises ConfigError if hosts overlap.

    A mesh that follows the wires of a pod gives a host blocks that do not stand side by side: which example comes to
    which device makes no difference, as long as each comes to one.
    """
    host = jax.process_index() if host is None else host
    blocks_of: dict[int, set[int]] = {}
    grid = mesh.devices.reshape(batch_multiple(mesh), -1)
    for block, row in enumerate(grid):
        for device in row:
            blocks_of.setdefault(device.process_index, set()).add(block)
    parts = sorted({tuple(sorted(blocks)) for blocks in blocks_of.values()})
    if sum(map(len, parts)) != len(grid) or len({len(part) for part in parts}) != 1:
        raise ConfigError(
            f"The mesh {dict(mesh.shape)} divides its {len(blocks_of)} hosts unevenly: some would read a part of what "
            "others read.\nAllowed: a number of tensor devices that divides a host's devices, or is a multiple of "
            "them.\nMeshes are rows of xling_jax/tables/meshes.py."
        )
    mine = tuple(sorted(blocks_of[host]))
    return Share(parts.index(mine), len(parts), mine)


def feed(batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """Returns global arrays, split by example. Each host gives its share of the batch (see `share_of`).

    Raises ConfigError if the mesh does not divide the batch.
    """
    if hosts.count() == 1:
        return spread(batch, mesh)
    share, sharding = share_of(mesh), NamedSharding(mesh, BATCH_SPEC)
    rows = len(next(iter(batch.values())))
    _check_divides(rows * share.count, mesh)
    size = rows // len(share.blocks)

    def placed(array: np.ndarray) -> jax.Array:
        def mine(index: Any) -> np.ndarray:
            at = share.blocks.index((index[0].start or 0) // size) * size
            return array[at : at + size]

        return jax.make_array_from_callback((rows * share.count, *array.shape[1:]), sharding, mine)

    return {name: placed(array) for name, array in batch.items()}


def spread(batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """Returns global arrays, split by example, of a batch that every host has whole.

    Raises ConfigError if the mesh does not divide the batch.
    """
    _check_divides(len(next(iter(batch.values()))), mesh)
    return put(dict(batch), NamedSharding(mesh, BATCH_SPEC))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Returns arrays of the host as global ones; each host has all of them, and gives its devices their parts."""
    if hosts.count() == 1:
        return jax.device_put(tree, sharding)
    # `device_put` would send every array to all hosts, to compare them
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda at: np.asarray(x)[at]), tree
    )


def fetch(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Returns global arrays as NumPy's, whole, on every host."""
    whole = jax.tree.leaves(jax.tree.map(lambda leaf: leaf.is_fully_addressable or leaf.is_fully_replicated, tree))
    if not all(whole):
        tree = jax.jit(lambda arrays: arrays, out_shardings=everywhere(mesh))(tree)
    return jax.device_get(tree)


def everywhere(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Returns the sharding of what every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def fetched(mesh: jax.sharding.Mesh) -> NamedSharding | None:
    """Returns the sharding of outputs that hosts are to read: whole on all of them, as it comes where there is one."""
    return everywhere(mesh) if hosts.count() > 1 else None


def _check_divides(size: int, mesh: jax.sharding.Mesh) -> None:
    devices = batch_multiple(mesh)
    if size % devices:
        raise ConfigError(
            f"A batch of {size} examples is split over {devices} devices.\n"
            f"Allowed: a multiple of {devices}, or another mesh (xling_jax/tables/meshes.py).\n"
            "Batch sizes are fields of xling_jax/experiment.py."
        )


def batch_multiple(mesh: jax.sharding.Mesh) -> int:
    """Returns what a global batch size must be a multiple of on this mesh."""
    return mesh.shape[DATA] * mesh.shape[FSDP]
