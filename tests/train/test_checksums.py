"""One number for an array, wherever it lies."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from xling_jax.partitioning.mesh import build_mesh
from xling_jax.tables.meshes import MESHES
from xling_jax.train.checksums import BLOCK, FIRST, LAST, PLACE, checksum, checksums

SHAPES = {"matrix": (16, 24), "odd": (7, 3, 5), "vector": (8,), "scalar": ()}


def slow(array: np.ndarray) -> int:
    """The rule in whole numbers of Python, an element at a time."""
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[array.dtype.itemsize]
    total = 0
    for place, bits in enumerate(array.reshape(-1).view(unsigned).tolist()):
        mixed = ((place * PLACE % 2**32) ^ bits) * FIRST % 2**32
        total += (mixed ^ mixed >> 16) * LAST
    return total % 2**32


def drawn(shape, dtype) -> np.ndarray:
    numbers = np.random.default_rng(len(shape)).standard_normal(shape) * 100
    return np.asarray(numbers).astype(jnp.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "int8", "bool"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_same_on_the_host_and_on_any_mesh(shape, dtype):
    array = drawn(shape, dtype)
    leaves = {"host": array}
    for name in ("one", "fsdp", "data2_fsdp2_tensor2"):
        mesh = build_mesh(MESHES[name])
        axes = P("fsdp", "tensor") if len(shape) == 2 else P("fsdp") if shape == (8,) else P()
        leaves[name] = jax.device_put(array, NamedSharding(mesh, axes))
    assert checksums(leaves) == dict.fromkeys(leaves, slow(array))


def test_a_block_after_another():
    array = drawn((3 * BLOCK // 100, 100), "float32")
    assert checksum(array) == slow(array), "of more than a block"
    rows = (0, 1, 700, len(array))
    parts = [checksum(array[start:stop], start * 100) for start, stop in itertools.pairwise(rows)]
    assert sum(parts) % 2**32 == checksum(array)


def test_what_is_read_wider_is_what_was_saved():
    saved = drawn((4, 4), "bfloat16")
    assert checksums({"x": jnp.asarray(saved, jnp.float32)}, {"x": "bfloat16"}) == checksums({"x": saved})


@pytest.mark.parametrize("change", ["bit", "swap", "zeros", "moved"])
def test_what_differs_has_another_checksum(change):
    for seed in range(200):
        rng = np.random.default_rng(seed)
        array = rng.standard_normal((32, 32), dtype=np.float32) if seed % 2 else np.ones((32, 32), np.float32)
        other = array.copy()
        if change == "bit":
            other.view(np.uint32)[tuple(rng.integers(32, size=2))] ^= np.uint32(1 << rng.integers(32))
        elif change == "swap":
            other[3, 4], other[9, 1] = 2, array[3, 4]
        elif change == "zeros":  # a chunk that was not written
            other[8 * rng.integers(4) :][:8] = 0
        else:
            other[0, 0] = 5
            array, other = other, np.roll(other, 1, axis=rng.integers(2))
        assert checksum(other) != checksum(array), seed
