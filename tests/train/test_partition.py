"""The trained part of a tree of parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.train.partition import Leaf, count, put, take

PARAMS = {
    "word": {"embedding": jnp.arange(6.0).reshape(3, 2)},
    "layers": {"kernel": jnp.arange(24.0).reshape(4, 2, 3), "bias": jnp.arange(8.0).reshape(4, 2)},
    "head": {"kernel": jnp.ones((2,))},
}
LEAVES = {
    "word/embedding": Leaf(("vocab", "embed"), (0.0,)),
    "layers/kernel": Leaf(("layers", "embed", "mlp"), (0.0, 0.0, 0.0, 0.5)),
    "layers/bias": Leaf(("layers", "mlp"), (0.0,) * 4),
    "head/kernel": Leaf(("embed",)),
}


def test_what_is_taken():
    found = take(PARAMS, LEAVES)
    assert set(found) == {"layers", "head"} and set(found["layers"]) == {"kernel"}
    np.testing.assert_array_equal(found["layers"]["kernel"], PARAMS["layers"]["kernel"][3:])
    np.testing.assert_array_equal(found["head"]["kernel"], PARAMS["head"]["kernel"])


def test_what_is_put_back():
    jax.tree.map(np.testing.assert_array_equal, put(PARAMS, take(PARAMS, LEAVES), LEAVES), PARAMS)
    moved = put(PARAMS, jax.tree.map(lambda leaf: leaf + 1, take(PARAMS, LEAVES)), LEAVES)
    added = moved["layers"]["kernel"] - PARAMS["layers"]["kernel"]
    assert [np.unique(layer).tolist() for layer in added] == [[0], [0], [0], [1]]
    np.testing.assert_array_equal(moved["word"]["embedding"], PARAMS["word"]["embedding"])
    np.testing.assert_array_equal(moved["head"]["kernel"], [2, 2])


def test_boxes_stay_around_what_is_taken():
    boxed = jax.tree.map(lambda leaf: nn.LogicallyPartitioned(leaf, ("x",) * leaf.ndim), PARAMS)
    found = take(boxed, LEAVES)
    assert found["layers"]["kernel"].names == ("x", "x", "x") and found["layers"]["kernel"].value.shape == (1, 2, 3)


@pytest.mark.parametrize("leaves", [LEAVES, None])
def test_counts(leaves):
    assert count(PARAMS, leaves) == (6 + 2 if leaves else 6 + 24 + 8 + 2)
    shapes = jax.eval_shape(lambda: PARAMS)
    assert count(shapes, leaves) == count(PARAMS, leaves)


def test_without_leaves_everything_is_trained():
    assert take(PARAMS, None) is PARAMS
    moved = jax.tree.map(lambda leaf: leaf + 1, PARAMS)
    assert put(PARAMS, moved, None) is moved
