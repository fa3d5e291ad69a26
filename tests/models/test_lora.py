"""Adapters: nothing at first, cheap, merged without a difference, and told by names for sharding."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from xling_jax import axes
from xling_jax.models.build import Model, build_config, head_spec, init_params
from xling_jax.models.layers import Dense
from xling_jax.models.lora import ADAPTERS, lay_over, merge_lora
from xling_jax.optim import ALL, PROJECTIONS, Lora
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS

VOCAB = 40
HEADS = tuple(sorted(head_spec(TASKS[name]) for name in ("world_nli", "world_text")))
TOKENS = jnp.array([[0, 5, 6, 7, 2, 1], [0, 9, 2, 1, 1, 1]], jnp.int32)
ALL_TARGETS = PROJECTIONS["encoder"]


def network(layers: int = 2, **lora) -> Model:
    config = dataclasses.replace(build_config(MODELS["tiny"], VOCAB), layers=layers, lora=Lora(**lora))
    return Model(config, HEADS)


@functools.cache
def fresh(layers: int = 2, boxed: bool = False, **lora):
    found = jax.jit(lambda: init_params(network(layers, **lora), jax.random.key(0)))()
    return found if boxed else nn.meta.unbox(found)


def trained(layers: int = 2, **lora):
    """Returns parameters whose adapters have been somewhere: B is no longer zero."""
    flat = flatten_dict(fresh(layers, **lora), sep="/")
    rng = np.random.default_rng(1)
    draw = {path: rng.normal(0, 0.1, leaf.shape).astype(np.float32) for path, leaf in flat.items()}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: draw["/".join(key.key for key in path)] if path[-1].key == "lora_b" else leaf,
        fresh(layers, **lora),
    )


def states(params, layers: int = 2, **lora):
    """Returns all hidden states of a small batch."""
    model = network(layers, **lora)
    return jax.jit(lambda params: model.apply({"params": params}, TOKENS, method=Model.states))(params)


def unadapted(params):
    """Returns the parameters as if their adapters added nothing."""
    flat = flatten_dict(params)
    return unflatten_dict({path: leaf for path, leaf in flat.items() if path[-1] not in ADAPTERS})


def adapters(params) -> set[str]:
    """Returns the names of the modules that have adapters."""
    return {path[-2] for path in flatten_dict(params) if path[-1] in ADAPTERS}


@pytest.mark.parametrize("targets", [("query",), ("query", "mlp_out"), (ALL,)])
def test_targets_and_nothing_else_have_adapters(targets):
    params = fresh(rank=3, targets=targets)
    assert adapters(params["body"]) == set(ALL_TARGETS if targets == (ALL,) else targets)
    assert not adapters({name: part for name, part in params.items() if name != "body"}), "heads are trained whole"
    assert not adapters(fresh())


@pytest.mark.parametrize("layers", [2, pytest.param(5, marks=pytest.mark.slow)])  # unrolled and scanned
def test_the_first_output_is_that_without_adapters(layers):
    """B is zero, so what is added is."""
    params = lay_over(fresh(layers, rank=3, targets=(ALL,)), fresh(layers))
    found, expected = states(params, layers, rank=3, targets=(ALL,)), states(fresh(layers), layers)
    # float32: a sum with zero is exact, but the compiler may join it with others. States are of order 1.
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_is_drawn_as_published_and_b_is_zero():
    """kaiming_uniform with a = sqrt(5) is uniform within 1 / sqrt(inputs)."""
    params = flatten_dict(fresh(5, rank=8, targets=(ALL,))["body"]["layers"], sep="/")
    for name, inputs in {"query": 16, "attention_out": 16, "mlp_in": 16, "mlp_out": 32}.items():
        a = params[f"{name}/lora_a"]
        assert a.shape[-1] == 8 and a[0].size == 8 * inputs
        assert 0.9 * inputs**-0.5 < float(jnp.abs(a).max()) <= inputs**-0.5
        assert float(a.var()) == pytest.approx(1 / (3 * inputs), rel=0.15), "640 draws or more"
        assert (params[f"{name}/lora_b"] == 0).all()
        assert len({float(part[0].ravel()[0]) for part in a}) == 5, "each layer has its own"


@pytest.mark.parametrize("layers", [2, pytest.param(5, marks=pytest.mark.slow)])  # unrolled and scanned
@pytest.mark.parametrize("targets", [("query", "mlp_out"), ("attention_out",), (ALL,)], ids=" ".join)
def test_merged_equals_unmerged(targets, layers):
    lora = {"rank": 3, "alpha": 5.0, "targets": targets}
    params = trained(layers, **lora)
    merged = merge_lora(params)
    assert not adapters(merged)
    assert jax.tree.structure(merged) == jax.tree.structure(fresh(layers))
    found, expected = states(params, layers, **lora), states(merged, layers)
    base = states(unadapted(params), layers)
    # float32: (x A) B against x (A B); states after norms are of order 1.
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert float(jnp.abs(found - base).max()) > 0.01, "the adapters do something"


def test_the_scale_stands_in_the_tree():
    """So merging needs no config, and a scale that was changed later changes what is merged."""
    params = trained(rank=4, alpha=6.0)
    query = params["body"]["layers"]["query"]
    assert (query["lora_scale"] == 1.5).all() and query["lora_scale"].shape == (2,)
    by_hand = np.einsum("ldr,lrhk->ldhk", query["lora_a"], query["lora_b"]) * 1.5
    np.testing.assert_allclose(merge_lora(query)["kernel"] - query["kernel"], by_hand, atol=1e-6)


def test_a_tree_without_adapters_stays():
    params = fresh()
    for path, leaf in flatten_dict(merge_lora(params)).items():
        assert leaf is flatten_dict(params)[path]


def test_projections_that_are_not_stacked_are_merged_too():
    rng = np.random.default_rng(0)
    part = {name: rng.normal(size=shape) for name, shape in {"lora_a": (3, 2), "lora_b": (2, 4, 5)}.items()}
    kernel = np.zeros((3, 4, 5), np.float32)
    merged = merge_lora({"dense": part | {"kernel": kernel, "lora_scale": np.float32(0.5), "bias": 1}})["dense"]
    assert set(merged) == {"kernel", "bias"}
    np.testing.assert_allclose(merged["kernel"], 0.5 * np.tensordot(part["lora_a"], part["lora_b"], 1), rtol=1e-5)


def test_what_was_read_lies_over_what_is_fresh():
    new, old = fresh(rank=2), merge_lora(trained(rank=3))
    found = flatten_dict(lay_over(new, old))
    for path, leaf in found.items():
        source = new if path[-1] in ADAPTERS else old
        assert leaf is flatten_dict(source)[path]
    assert len(found) == len(flatten_dict(new))
    with pytest.raises(AssertionError, match=r"in one tree only: \['token_type'\]"):
        lay_over(new["body"], {name: part for name, part in old["body"].items() if name != "token_type"})


def products(text: str) -> set[tuple[int, ...]]:
    """Returns the shapes of all matrix products of a program's text."""
    return {
        tuple(int(size) for size in found.split(",")) for found in re.findall(r":f32\[([\d,]+)\] = dot_general", text)
    }


@pytest.mark.parametrize("layers", [2, 5])
def test_no_product_is_as_large_as_a_kernel(layers):
    """Neither A B in the output, nor a gradient of the frozen kernel; sizes are such that each shape is one thing."""
    config = dataclasses.replace(
        build_config(MODELS["tiny"], VOCAB), layers=layers, width=20, mlp=28, lora=Lora(3, targets=(ALL,))
    )
    model = Model(config, HEADS[:1])
    flat = flatten_dict(nn.meta.unbox(jax.eval_shape(lambda: init_params(model, jax.random.key(0)))), sep="/")
    kernels = {leaf.shape[1:] for path, leaf in flat.items() if "layers" in path and path.endswith("/kernel")}

    def loss(moved, rest):
        params = unflatten_dict(rest | moved, sep="/")
        return model.apply({"params": params}, TOKENS, method=Model.states).sum()

    def shapes(names):
        moved = {path: leaf for path, leaf in flat.items() if path.endswith(names)}
        rest = {path: leaf for path, leaf in flat.items() if path not in moved}
        found = products(str(jax.make_jaxpr(jax.grad(loss))(moved, rest)))
        return {shape for shape in found if shape in kernels or shape[::-1] in kernels}

    assert not shapes(("lora_a", "lora_b"))
    assert shapes(("kernel",)), "where kernels are trained, their gradients are found"


def test_every_adapter_is_named():
    boxed = flatten_dict(fresh(boxed=True, rank=3, targets=(ALL,))["body"]["layers"], sep="/")
    names = {path: box.names for path, box in boxed.items() if path.split("/")[-1] in ADAPTERS}
    assert names["query/lora_a"] == (axes.LAYERS, axes.EMBED, axes.RANK)
    assert names["query/lora_b"] == (axes.LAYERS, axes.RANK, axes.HEADS, axes.KV)
    assert names["attention_out/lora_a"] == (axes.LAYERS, axes.HEADS, axes.KV, axes.RANK)
    assert names["mlp_out/lora_b"] == (axes.LAYERS, axes.RANK, axes.EMBED)
    assert names["mlp_in/lora_scale"] == (axes.LAYERS,)
    for path, box in boxed.items():
        assert len(box.names) == box.value.ndim and set(box.names) <= set(axes.LOGICAL_AXES), path


class Alone(nn.Module):
    """One projection."""

    config: object

    @nn.compact
    def __call__(self, x):
        return Dense(self.config, (4,), bias=False, name="query")(x)


def test_dropout_leaves_out_inputs_of_the_adapters():
    """Half of them, the others doubled; the frozen product keeps all; the same for all tokens of a step."""
    model = Alone(dataclasses.replace(build_config(MODELS["tiny"], VOCAB), lora=Lora(2, dropout=0.5)))
    params = nn.meta.unbox(model.init(jax.random.key(0), jnp.ones((1, 64))))["params"]
    params["query"]["lora_b"] = jnp.ones((2, 4))

    def added(x, **rngs):
        return model.apply({"params": params}, x, rngs=rngs) - x @ params["query"]["kernel"]

    whole = added(jnp.eye(64))
    drawn = [added(jnp.eye(64), dropout=jax.random.key(seed)) for seed in range(40)]
    for each in drawn:
        kept = jnp.abs(each[:, 0]) > 1e-6
        # An input is there twice as strong, or not at all. float32: a sum less another one of the size of 1.
        np.testing.assert_allclose(each, jnp.where(kept[:, None], 2 * whole, 0), atol=2e-6)
        assert 16 < int(kept.sum()) < 48
    assert len({tuple((jnp.abs(each[:, 0]) > 1e-6).tolist()) for each in drawn}) == 40
    # The mean over draws is the whole: 40 draws of +-1 deviate by 0.16 of it.
    np.testing.assert_allclose(sum(drawn) / 40, whole, atol=4 * 0.16 * float(jnp.abs(whole).max()))
