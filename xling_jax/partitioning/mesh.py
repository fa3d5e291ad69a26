"""Devices as a mesh of data x fsdp x tensor."""

import contextlib
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from xling_jax.errors import ConfigError
from xling_jax.partitioning import hosts
from xling_jax.partitioning.rules import MESH_AXES, rules
from xling_jax.tables.meshes import Mesh


def build_mesh(row: Mesh, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Returns the mesh of a row over the given devices, by default all of them.

    The axes are of type Auto on every version of JAX: newer ones make them Explicit by default, under
    which logical constraints are refused.

    Raises ConfigError if the row asks for another number of devices than there are, or leaves a host without one.
    """
    given, devices = devices is not None, list(jax.devices() if devices is None else devices)
    sizes = [row.data, row.fsdp, row.tensor]
    if 0 in sizes:
        fixed = math.prod(size for size in sizes if size)
        sizes[sizes.index(0)] = len(devices) // fixed
    if math.prod(sizes) > len(devices) or (0 in (row.data, row.fsdp, row.tensor) and math.prod(sizes) != len(devices)):
        raise ConfigError(
            f"Mesh '{row.name}' is {row.data} x {row.fsdp} x {row.tensor} devices, there are {len(devices)}.\n"
            f"Allowed: a mesh of at most that many, or one with a 0 (as many as there are).\n"
            f"Meshes are rows of xling_jax/tables/meshes.py."
        )
    devices = devices[: math.prod(sizes)]
    if not given:
        _check_hosts(row, len({device.process_index for device in devices}))
    return _arrange(tuple(sizes), devices)


def _check_hosts(row: Mesh, there: int) -> None:
    """Raises ConfigError if the hosts of a run are not as many as have devices."""
    if there != hosts.count():
        raise ConfigError(
            f"Mesh '{row.name}' has devices of {there} hosts, and the run has {hosts.count()}.\n"
            f"Allowed: a mesh with devices of every host, on a run that all of them have joined.\n{hosts.WHERE}"
        )


def _arrange(sizes: tuple[int, ...], devices: list[jax.Device]) -> jax.sharding.Mesh:
    """Returns the mesh, its axes along those of the devices' own network where they can be."""
    kinds = (AxisType.Auto,) * len(sizes)
    try:
        return jax.make_mesh(sizes, MESH_AXES, axis_types=kinds, devices=devices)
    except NotImplementedError:  # 64 x 4 of 16 x 16 chips, say: an axis is a part of one of the network's
        split = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return jax.sharding.Mesh(split, MESH_AXES, axis_types=kinds)


@contextlib.contextmanager
def use_mesh(mesh: jax.sharding.Mesh, strategy: str):
    """Makes logical axes mean mesh axes inside the block, for `jit`.

    `jax.set_mesh` and not `with mesh:`: under the latter, constraints silently do nothing.
    """
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules(strategy)):
        yield
