"""Meshes: how the devices at hand are arranged, one row per arrangement."""

import dataclasses

from xling_jax.errors import choose


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A mesh of data x fsdp x tensor devices; 0 means: as many devices as there are."""

    name: str
    data: int
    fsdp: int = 1
    tensor: int = 1


_ROWS = (
    Mesh("any", data=0),
    Mesh("one", data=1),
    Mesh("fsdp", data=1, fsdp=0),
    Mesh("data2_fsdp4", data=2, fsdp=4),
    Mesh("data2_fsdp2_tensor2", data=2, fsdp=2, tensor=2),
)

MESHES = {row.name: row for row in _ROWS}


def mesh(name: str, inside: str = "") -> Mesh:
    """Returns the row of a mesh name; ConfigError with suggestions if there is none."""
    return choose("mesh", name, MESHES, "Meshes are rows of xling_jax/tables/meshes.py.", inside)
