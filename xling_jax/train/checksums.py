"""A checksum of an array that does not depend on where its parts lie.

The sum, modulo 2**32, of every element's bits mixed with its place. Whole numbers add up to the same in any order, so
it is computed where the array is, on any mesh and by any number of hosts, and a host never needs a whole leaf. The
mixing is one to one for a place: an element that changes always changes the sum, and several do but for one time in
2**32.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PLACE, FIRST, LAST = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35  # odd, so that multiplying by them loses nothing
BLOCK = 1 << 16  # elements that stay in a processor's cache
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}  # by bytes of an element


def checksum(array: np.ndarray, first: int = 0) -> int:
    """Returns the checksum of an array on the host, or its part of the sum if its first element is number `first`."""
    bits_N = np.ascontiguousarray(array).reshape(-1).view(_UNSIGNED[array.dtype.itemsize])
    places_N = np.arange(min(BLOCK, len(bits_N)), dtype=np.uint32) * np.uint32(PLACE)
    total = 0
    for start in range(0, len(bits_N), BLOCK):
        block_N = bits_N[start : start + BLOCK]
        mixed_N = places_N[: len(block_N)] + np.uint32((first + start) * PLACE % 2**32)
        mixed_N ^= block_N
        mixed_N *= np.uint32(FIRST)
        mixed_N ^= mixed_N >> np.uint32(16)
        mixed_N *= np.uint32(LAST)
        total += int(mixed_N.sum(dtype=np.uint64))
    return total % 2**32


@jax.jit
def _on_devices(leaves: list[jax.Array]) -> list[jax.Array]:
    """Returns the checksums of arrays that are divided among devices; the compiler adds up the parts."""

    def total(leaf: jax.Array) -> jax.Array:
        bits = leaf if leaf.dtype == bool else jax.lax.bitcast_convert_type(leaf, _UNSIGNED[leaf.dtype.itemsize])
        place = jnp.zeros(leaf.shape, jnp.uint32)
        for axis, size in enumerate(leaf.shape):
            place = place * np.uint32(size % 2**32) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        mixed = (place * np.uint32(PLACE) ^ bits.astype(jnp.uint32)) * np.uint32(FIRST)
        mixed = (mixed ^ mixed >> np.uint32(16)) * np.uint32(LAST)
        return mixed.sum(dtype=jnp.uint32)

    return [total(leaf) for leaf in leaves]


def _whole(leaf: Any) -> np.ndarray | None:
    """Returns a leaf that some CPU of this process has whole, without a copy; None for others."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if leaf.is_fully_replicated and next(iter(leaf.devices())).platform == "cpu":
        return np.asarray(leaf.addressable_data(0))
    return None


def checksums(leaves: Mapping[str, Any], dtypes: Mapping[str, str] | None = None) -> dict[str, int]:
    """Returns the checksum of each leaf, in numbers that are the same on every mesh and every host.

    With `dtypes`, of the values in those: a leaf that was read into a wider dtype is still what was saved.
    """
    cast = {path: leaf.astype(dtypes[path]) if dtypes else leaf for path, leaf in leaves.items()}
    here = {path: whole for path, leaf in cast.items() if (whole := _whole(leaf)) is not None}
    spread = {path: leaf for path, leaf in cast.items() if path not in here}
    found = jax.device_get(_on_devices(list(spread.values()))) if spread else []
    there = dict(zip(spread, map(int, found), strict=True))
    return {path: there[path] if path in there else checksum(here[path]) for path in cast}
