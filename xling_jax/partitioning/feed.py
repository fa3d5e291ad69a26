"""Batches of this host onto the mesh."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax.errors import ConfigError
from xling_jax.partitioning.rules import DATA, FSDP

BATCH_SPEC = PartitionSpec((DATA, FSDP))


def feed(batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """Returns global arrays, split by example. Each host gives its own rows of the batch, in host order.

    Raises ConfigError if the mesh does not divide the batch.
    """
    size, devices = len(next(iter(batch.values()))) * jax.process_count(), batch_multiple(mesh)
    if size % devices:
        raise ConfigError(
            f"A batch of {size} examples is split over {devices} devices.\n"
            f"Allowed: a multiple of {devices}, or another mesh (xling_jax/tables/meshes.py).\n"
            "Batch sizes are fields of xling_jax/experiment.py."
        )
    sharding = NamedSharding(mesh, BATCH_SPEC)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}


def batch_multiple(mesh: jax.sharding.Mesh) -> int:
    """Returns what a global batch size must be a multiple of on this mesh."""
    return mesh.shape[DATA] * mesh.shape[FSDP]
