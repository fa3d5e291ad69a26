"""A training step of a decoder means the same on every mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Optim
from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.partitioning.feed import feed
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.partitioning.place import creator
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.step import init_state, train_step

BATCH, LENGTH, VOCAB = 16, 12, 50
OPTIM = Optim(learning_rate=0.01, eps=1e-3)  # a large eps: Adam divides rounding by rounding where a gradient is 0
HEADS = (HeadSpec("label", "pair_classification", 3), HeadSpec("text", "lm"))
VARIANTS = {"qwen2": {"bias": "qkv", "tied": True, "groups": 1}, "qwen3": {"qk_norm": True}}
PLACES = (("data", "any"), ("fsdp", "fsdp"), ("fsdp_tensor", "data2_fsdp2_tensor2"))


def batch() -> dict[str, np.ndarray]:
    """Returns rows of two packed segments, to be labelled and to be continued."""
    rng = np.random.default_rng(2)
    tokens = rng.integers(0, VOCAB, (BATCH, LENGTH))
    segments = np.tile(np.repeat([1, 2, 0], [5, 4, 3]), (BATCH, 1))
    arrays = {
        "input_ids": tokens,
        "segments": segments,
        "positions": np.tile(np.concatenate([np.arange(5), np.arange(4), np.zeros(3, int)]), (BATCH, 1)),
        "first": np.tile([0, 5], (BATCH, 1)),
        "index": np.arange(2 * BATCH).reshape(BATCH, 2),
        "label": rng.integers(-1, 3, (BATCH, 2)),
        "labels": np.where((segments > 0) & (rng.random((BATCH, LENGTH)) < 0.6), tokens, -1),
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


@functools.cache
def stepped(strategy: str, mesh: str, head: HeadSpec, variant: str):
    """Returns (state before, state after, metrics) of one step, on the host."""
    here, optimizer = build_mesh(MESHES[mesh]), make_optimizer(OPTIM)
    row = dataclasses.replace(MODELS["tiny_decoder"], multiple=8, **VARIANTS[variant])
    model = Model(build_config(row, VOCAB), HEADS)

    def apply(params, key, batch):
        return model.apply({"params": params}, head.name, batch, False, rngs={"dropout": key})

    step = functools.partial(
        train_step, apply=apply, kind=head.kind, optimizer=optimizer, accumulate=1, mask_id=VOCAB - 1
    )
    make, abstract = creator(lambda: init_state(init_params(model, jax.random.key(0)), optimizer), here, strategy)
    before, out = make(), (jax.tree.map(lambda leaf: leaf.sharding, abstract), None)
    with use_mesh(here, strategy):
        after, metrics = jax.jit(step, out_shardings=out)(
            before, feed(batch(), here), jnp.float32(0.01), jax.random.key(1)
        )
    return jax.device_get((before["params"], after["params"], metrics))


QUICK = {(PLACES[-1], "qwen3", HEADS[0])}
CASES = [
    pytest.param(*place, head, variant, marks=() if (place, variant, head) in QUICK else pytest.mark.slow)
    for place in PLACES
    for head in HEADS
    for variant in VARIANTS
]


@pytest.mark.parametrize(("strategy", "mesh", "head", "variant"), CASES)
def test_eight_devices_equal_one(strategy, mesh, head, variant):
    before, expected, metrics = stepped("data", "one", head, variant)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, expected)
    assert max(jax.tree.leaves(moved["body"])) > 0.003, "the step has moved something"
    _, found, here = stepped(strategy, mesh, head, variant)
    # float32: reductions over devices add in another order, a relative 1e-6 of the gradient, and Adam's
    # first step is at most 1 * the rate of 0.01 however small the gradient is.
    for name in ("loss", "accuracy", "weight", "gradient_norm"):
        np.testing.assert_allclose(here[name], metrics[name], rtol=2e-5, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=0), found, expected)
