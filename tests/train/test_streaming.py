"""Parameters written as a stream: the same checkpoint as any other, and never much of it in memory."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from xling_jax.train import streaming
from xling_jax.train.checkpoint import Checkpoints
from xling_jax.train.streaming import Stream, save_streams

CHUNK, SMALL = 1 << 20, 1 << 16  # a thirtieth of what they are
ARRAYS = {"layers/kernel": (6, 100, 200), "layers/scale": (6, 50), "table": (7001, 300), "scalar": ()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Returns (folder, arrays, what was asked of each)."""
    draw, asked = np.random.default_rng(0), {name: [] for name in ARRAYS}
    arrays = {name: np.asarray(draw.standard_normal(shape, np.float32)) for name, shape in ARRAYS.items()}

    def stream(name: str, array: np.ndarray) -> Stream:
        def read(start, stop):
            asked[name].append((start, stop))
            return array[start:stop] if array.shape else array

        rows = 1 if name.startswith("layers/") else 1000
        return Stream(array.shape, array.dtype, read, rows)

    folder = tmp_path_factory.mktemp("streams")
    tree = unflatten_dict({name: stream(name, array) for name, array in arrays.items()}, sep="/")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "CHUNK", CHUNK)
        patch.setattr(streaming, "SMALL", SMALL)
        save_streams(folder, 0, tree)
    return folder, arrays, asked


def test_it_is_a_checkpoint_as_any_other(written):
    """With its fingerprint: `restore_params` checks shapes, dtypes and sums."""
    folder, arrays, _ = written
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=here) for name, array in arrays.items()}
    checkpoints = Checkpoints(folder, background=False)
    try:
        found = checkpoints.restore_params(0, unflatten_dict(shapes, sep="/"))
    finally:
        checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, flatten_dict(found, sep="/"), arrays)


def test_layers_are_read_one_by_one(written):
    """Unless they are small; a chunk that spans them would have to wait for all of them."""
    _, arrays, asked = written
    assert arrays["layers/kernel"][0].nbytes > SMALL > arrays["layers/scale"][0].nbytes
    assert asked["layers/kernel"] == [(number, number + 1) for number in range(6)]
    assert asked["layers/scale"] == [(0, 6)]


def test_rows_are_read_some_at_a_time(written):
    _, _, asked = written
    sizes = [stop - start for start, stop in asked["table"]]
    assert sum(sizes) == 7001 and max(sizes) < 2000, "a multiple of what a chunk has, about as many as are best read"
