"""A step of several trainings is that of each, wherever the trainings are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models.attention import FUSED_FROM, attend
from xling_jax.partitioning.feed import put
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.partitioning.trials import are_divided, at_once, pick, sharding_of_batches, sharding_of_states, stack
from xling_jax.tables.meshes import MESHES, mesh

PLACES = [("one", 3), ("any", 3), ("any", 8), ("any", 16)]


def step(state, batch):
    """One that would fail to add up trainings or leave examples out."""
    return {"mean": state["mean"] + batch["x"].mean(0), "count": state["count"] + len(batch["x"])}, batch["x"].sum()


@pytest.mark.parametrize(("name", "count"), PLACES)
def test_each_has_its_own(name, count):
    here = build_mesh(MESHES[name])
    rng = np.random.default_rng(0)
    states = [{"mean": np.full(4, at, np.float32), "count": np.int32(at)} for at in range(count)]
    batches = [{"x": rng.integers(0, 9, (8, 4)).astype(np.float32)} for _ in range(count)]
    state = stack(states, sharding_of_states(here, count))
    batch = put(
        {"x": np.stack([each["x"] for each in batches])},
        sharding_of_batches(here, count),
    )
    with use_mesh(here, "data"):
        state, sums = jax.jit(at_once(step, here, count))(state, batch)
    like = {"mean": jnp.zeros(4), "count": jnp.zeros((), jnp.int32)}
    for at in range(count):
        expected, total = step(states[at], batches[at])
        found = pick(state, at, like)
        np.testing.assert_array_equal(found["mean"], expected["mean"])
        assert (int(found["count"]), float(sums[at])) == (at + 8, total)
        assert found["mean"].sharding == like["mean"].sharding


def test_where_they_live():
    eight = build_mesh(MESHES["any"])
    assert [are_divided(eight, count) for count in (1, 3, 8, 12, 16)] == [False, False, True, False, True]
    assert not are_divided(build_mesh(MESHES["one"]), 4), "one device is not divided"
    assert not are_divided(build_mesh(mesh("2x4x1")), 8), "parameters are"
    state = stack([{"x": np.zeros((2, 3))}] * 8, sharding_of_states(eight, 8))
    assert {shard.data.shape for shard in state["x"].addressable_shards} == {(1, 2, 3)}
    batch = put(np.zeros((3, 16, 5)), sharding_of_batches(eight, 3))
    assert {shard.data.shape for shard in batch.addressable_shards} == {(3, 2, 5)}


@pytest.mark.parametrize(("name", "count"), [("any", 8), ("any", 2)])
def test_long_rows_find_their_kernel(name, count):
    """It is given its examples by the mesh's axes, which within a device's own trainings are no axes any more."""
    here, shape = build_mesh(MESHES[name]), (count, 8, FUSED_FROM, 1, 4)
    states = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def one(state, batch):
        ones = jnp.ones(state.shape[:2], jnp.int32)
        return attend(state, state, state, ones) + batch

    with use_mesh(here, "data"):
        found = jax.jit(at_once(one, here, count))(states, np.zeros(count, np.float32))
    expected = one(states[1], np.float32(0))
    np.testing.assert_allclose(found[1], expected, atol=1e-5)  # float32, sums of 512
