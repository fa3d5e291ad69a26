"""An encoder-decoder trains, writes and ranks the same on eight devices as on one."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Optim
from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.seq2seq import empty_cache
from xling_jax.models.text import generate
from xling_jax.partitioning.feed import feed
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.partitioning.place import creator
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.step import init_state, train_step

BATCH, LENGTH, TARGET, VOCAB = 8, 10, 6, 48
ONE, MOST = ("data", "one"), ("fsdp_tensor", "data2_fsdp2_tensor2")
PLACES = [MOST, ("fsdp", "fsdp")]
ROWS = ["tiny_mt5", "tiny_umt5"]


def config(row: str):
    return build_config(MODELS[row], VOCAB)


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    lengths = rng.integers(3, LENGTH + 1, (BATCH, 1))
    tokens = np.where(np.arange(LENGTH)[None] < lengths, rng.integers(2, VOCAB, (BATCH, LENGTH)), 0)
    labels = np.where(rng.random((BATCH, TARGET)) < 0.8, rng.integers(2, VOCAB, (BATCH, TARGET)), -1)
    arrays = {"input_ids": tokens, "labels": labels, "index": np.arange(BATCH)}
    return {name: array.astype(np.int32) for name, array in arrays.items()}


@functools.cache
def placed(row: str, strategy: str, mesh_name: str, boost: float = 1.0):
    """Returns (mesh, parameters on it); `boost` makes fresh output decided."""
    mesh = build_mesh(MESHES[mesh_name])
    model = build_model(config(row))

    def make():
        return jax.tree.map(lambda leaf: boost * leaf, init_params(model, jax.random.key(4)))

    create, _ = creator(make, mesh, strategy)
    return mesh, create()


def step_on(row: str, strategy: str, mesh_name: str):
    """Returns (parameters, metrics) after one step, on the host."""
    mesh, params = placed(row, strategy, mesh_name)
    model, optimizer = build_model(config(row)), make_optimizer(Optim(eps=1e-3))

    def apply(params, key, batch):
        return model.apply({"params": params}, "task", batch, False, rngs={"dropout": key})

    def step(params, batch):
        more = {"kind": "text_to_text", "optimizer": optimizer, "accumulate": 1, "mask_id": 0}
        rate, key = jnp.float32(0.01), jax.random.key(5)
        return train_step(init_state(params, optimizer), batch, rate, key, apply=apply, **more)

    with use_mesh(mesh, strategy):
        state, metrics = jax.jit(step)(params, feed(batch(), mesh))
    return jax.device_get((state["params"], metrics))


one_step = functools.cache(functools.partial(step_on, strategy=ONE[0], mesh_name=ONE[1]))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", ROWS)
def test_a_step_on_eight_devices_equals_one(row, place):
    """With dropout; reductions over devices add in another order, and Adam moves a parameter by 0.01 at most."""
    found, expected = step_on(row, *place), one_step(row)
    for name in ("loss", "accuracy", "weight", "gradient_norm"):
        np.testing.assert_allclose(found[1][name], expected[1][name], rtol=2e-5, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=0), found[0], expected[0])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), expected[0], jax.device_get(placed(row, *ONE)[1]))
    assert max(jax.tree.leaves(moved)) > 0.005, "the step has moved something"


def on(place, row: str, function):
    """Returns what a function of parameters and tokens gives on a mesh, on the host."""
    mesh, params = placed(row, *place, boost=3.0)
    with use_mesh(mesh, place[0]):
        return jax.device_get(jax.jit(function)(params, feed({"tokens": batch()["input_ids"]}, mesh)["tokens"]))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("row", ROWS)
def test_texts_written_on_eight_devices(row, beams, place):
    write = functools.partial(generate, config(row), limit=7, beams=beams)
    found, expected = (on(where, row, write) for where in (place, ONE))
    np.testing.assert_array_equal(found, expected)
    assert len({tuple(text) for text in expected.tolist()}) > 4, "texts of their own"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_ranked_on_eight_devices(row):
    answers = np.random.default_rng(3).integers(2, VOCAB, (BATCH, 3, 4)).astype(np.int32)

    def rank(params, tokens):
        return build_model(config(row)).apply({"params": params}, tokens, answers, method="rank")

    for found, expected in zip(*(on(where, row, rank) for where in (MOST, ONE)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_a_cache_lies_as_keys_and_values_do():
    """Rows over data and fsdp, heads over tensor; and so it stays after a step."""
    mesh, params = placed("tiny_mt5", *MOST)
    model = build_model(config("tiny_mt5"))

    def step(params, tokens):
        memory, segments = model.apply({"params": params}, tokens, method="remembered")
        cache = empty_cache(model.config, BATCH, 5)
        start = jnp.zeros(BATCH, jnp.int32)
        _, after = model.apply({"params": params}, start, start, cache, memory, segments, method="step")
        return cache, memory, after

    with use_mesh(mesh, MOST[0]):
        parts = jax.jit(step)(params, feed({"tokens": batch()["input_ids"]}, mesh)["tokens"])
    for leaf in jax.tree.leaves(parts):
        wanted = jax.sharding.PartitionSpec(None, ("data", "fsdp"), None, "tensor", None)
        assert leaf.sharding.is_equivalent_to(jax.sharding.NamedSharding(mesh, wanted), leaf.ndim), leaf.sharding


def test_constraints_are_there():
    """Under `with mesh:` they would do nothing, in silence."""
    mesh, params = placed("tiny_mt5", *MOST)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: params))
    with use_mesh(mesh, MOST[0]):
        text = jax.jit(functools.partial(generate, config("tiny_mt5"), limit=3)).lower(shapes, batch()["input_ids"])
    assert text.as_text().count("sharding_constraint") > 10
