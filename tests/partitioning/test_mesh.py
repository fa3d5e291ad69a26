"""Meshes, rules and the way onto them."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from xling_jax import axes
from xling_jax.errors import ConfigError
from xling_jax.partitioning.feed import batch_multiple, feed
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.partitioning.place import creator, shardings_of
from xling_jax.partitioning.rules import MESH_AXES, RULES, STRATEGIES, rules
from xling_jax.tables.meshes import MESHES, Mesh


def boxed(shape, *names):
    return nn.LogicallyPartitioned(jax.ShapeDtypeStruct(shape, np.float32), names)


@pytest.mark.parametrize(
    ("name", "shape", "multiple"),
    [
        ("any", (8, 1, 1), 8),
        ("one", (1, 1, 1), 1),
        ("fsdp", (1, 8, 1), 8),
        ("data2_fsdp4", (2, 4, 1), 8),
        ("data2_fsdp2_tensor2", (2, 2, 2), 4),
    ],
)
def test_meshes(name, shape, multiple):
    mesh = build_mesh(MESHES[name])
    assert tuple(mesh.shape.values()) == shape
    assert tuple(mesh.axis_names) == MESH_AXES
    assert batch_multiple(mesh) == multiple, "a batch is split over data and fsdp, never over tensor"
    assert set(mesh.axis_types) == {AxisType.Auto}, "under Explicit axes Flax's constraints are refused"


def test_every_mesh_is_tested():
    assert set(MESHES) == {"any", "one", "fsdp", "data2_fsdp4", "data2_fsdp2_tensor2"}, "name the new one above"


@pytest.mark.parametrize("row", [Mesh("big", 16), Mesh("odd", 0, 3), Mesh("none", 0, 16), Mesh("two", 0, 0)])
def test_a_mesh_that_does_not_fit(row):
    with pytest.raises(ConfigError) as error:
        build_mesh(row)
    assert f"Mesh '{row.name}' is {row.data} x {row.fsdp} x {row.tensor} devices, there are 8." in str(error.value)
    assert "Allowed: " in str(error.value)
    assert "xling_jax/tables/meshes.py" in str(error.value)


def test_a_mesh_over_some_of_the_devices():
    some = jax.devices()[2:6]
    assert list(build_mesh(MESHES["any"], some).devices.flat) == some


def test_rules_are_a_column_of_the_table():
    assert set(RULES) == set(axes.LOGICAL_AXES), "each logical axis has a row"
    assert dict(rules("fsdp"))[axes.EMBED] == "fsdp"
    assert dict(rules("data"))[axes.EMBED] is None
    assert dict(rules("fsdp_tensor"))[axes.MLP] == "tensor"
    assert {dict(rules(name))[axes.BATCH] for name in STRATEGIES} == {("data", "fsdp")}
    with pytest.raises(ConfigError, match=r"Unknown strategy 'fsd'\.\nDid you mean: fsdp"):
        rules("fsd")


@pytest.mark.parametrize(
    ("shape", "names", "expected"),
    [
        ((16, 32), ("embed", "mlp"), P("fsdp", "tensor")),
        ((16, 3), ("embed", "labels"), P("fsdp", None)),
        ((16, 31), ("embed", "mlp"), P("fsdp", None)),  # 31 is not even
        ((15, 32), ("embed", "mlp"), P(None, "tensor")),
        ((3, 16, 2, 8), ("layers", "embed", "heads", "kv"), P(None, "fsdp", "tensor", None)),
        ((8, 5), ("batch", "length"), P(("data", "fsdp"), None)),
        ((6, 5), ("batch", "length"), P(None, None)),  # 6 is even, and not a multiple of 4
        ((40, 16), (None, "embed"), P(None, "fsdp")),
    ],
)
def test_an_axis_that_does_not_divide_is_replicated(shape, names, expected):
    mesh = build_mesh(MESHES["data2_fsdp2_tensor2"])
    sharding = shardings_of({"leaf": boxed(shape, *names)}, mesh, "fsdp_tensor")["leaf"]
    assert sharding == NamedSharding(mesh, expected)
    sharding.shard_shape(shape)  # raises if it does not divide


def test_a_leaf_without_names_is_replicated():
    mesh = build_mesh(MESHES["any"])
    leaf = jax.ShapeDtypeStruct((8, 8), np.float32)
    assert shardings_of({"leaf": leaf}, mesh, "data")["leaf"].is_fully_replicated


def test_batches_are_split_by_example():
    mesh = build_mesh(MESHES["data2_fsdp2_tensor2"])
    batch = {"input_ids": np.arange(40).reshape(8, 5), "label": np.arange(8)}
    fed = feed(batch, mesh)
    for name, rows in batch.items():
        np.testing.assert_array_equal(fed[name], rows)
        assert {shard.data.shape[0] for shard in fed[name].addressable_shards} == {2}


def test_a_batch_that_the_mesh_does_not_divide():
    with pytest.raises(ConfigError) as error:
        feed({"label": np.arange(12)}, build_mesh(MESHES["any"]))
    assert "A batch of 12 examples" in str(error.value)
    assert "8 devices" in str(error.value)
    assert "Allowed: a multiple of 8" in str(error.value)


def test_a_creator_makes_what_it_promises():
    mesh = build_mesh(MESHES["fsdp"])

    def make(seed):
        drawn = jax.random.normal(jax.random.key(seed), (16, 6))
        return {"kernel": nn.LogicallyPartitioned(drawn, ("embed", "mlp")), "count": jax.numpy.zeros(())}

    function, abstract = creator(make, mesh, "fsdp", np.uint32(0))
    made = function(np.uint32(7))
    for name in ("kernel", "count"):
        assert made[name].sharding.is_equivalent_to(abstract[name].sharding, made[name].ndim)
        assert (made[name].shape, made[name].dtype) == (abstract[name].shape, abstract[name].dtype)
    assert {shard.data.shape for shard in made["kernel"].addressable_shards} == {(2, 6)}
    np.testing.assert_array_equal(made["kernel"], make(7)["kernel"].value)
