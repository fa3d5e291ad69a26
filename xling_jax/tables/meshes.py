"""Meshes: how the devices at hand are arranged, one row per arrangement; or said as DATAxFSDPxTENSOR, "2x32x1"."""

import dataclasses
import re

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
    """Returns the mesh of a name, a row's or its sizes: "2x32x1" is 2 of data, 32 of fsdp and 1 of tensor.

    Raises ConfigError with suggestions if it is neither.
    """
    if re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", name):
        return Mesh(name, *map(int, name.split("x")))
    where = "Meshes are rows of xling_jax/tables/meshes.py, or sizes, DATAxFSDPxTENSOR: 2x32x1."
    return choose("mesh", name, MESHES, where, inside)
