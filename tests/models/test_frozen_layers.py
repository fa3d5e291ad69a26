"""Frozen layers: the same output, no gradient below, and less work."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from xling_jax.models.build import Model, build_config, head_spec, init_params
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS

VOCAB = 40
HEAD = head_spec(TASKS["world_nli"])
BATCH = {"input_ids": jnp.array([[0, 5, 6, 7, 2, 1], [0, 9, 2, 1, 1, 1]], jnp.int32)}
SCANNED, UNROLLED = 7, 4


def network(layers: int, frozen: int, **more) -> Model:
    config = dataclasses.replace(build_config(MODELS["tiny"], VOCAB), layers=layers, frozen=frozen, **more)
    return Model(config, (HEAD,))


@functools.cache
def parameters(layers: int, frozen: int = 0):
    return nn.meta.unbox(jax.jit(lambda: init_params(network(layers, frozen), jax.random.key(0)))())


def loss(params, layers, frozen, key=None, **more):
    rngs = {} if key is None else {"dropout": key}
    logits = network(layers, frozen, **more).apply({"params": params}, HEAD.name, BATCH, key is None, rngs=rngs)
    return (logits**2).sum()


@pytest.mark.parametrize(
    ("layers", "frozen", "remat", "norm", "unroll"),
    [
        pytest.param(UNROLLED, 1, "none", "post", False, marks=pytest.mark.slow),
        pytest.param(UNROLLED, 4, "full", "pre", False, marks=pytest.mark.slow),
        (SCANNED, 3, "full", "post", False),
        (SCANNED, 3, "none", "post", True),
        pytest.param(SCANNED, 6, "none", "pre", False, marks=pytest.mark.slow),
        pytest.param(SCANNED, 7, "full", "pre", True, marks=pytest.mark.slow),
        pytest.param(SCANNED, 7, "none", "post", False, marks=pytest.mark.slow),
    ],
)
def test_the_gradient_ends_where_it_should(layers, frozen, remat, norm, unroll):
    params = parameters(layers)
    more = {"remat": remat, "norm": norm, "unroll": unroll}
    value, gradient = jax.jit(jax.value_and_grad(functools.partial(loss, layers=layers, frozen=frozen, **more)))(params)
    expected, whole = jax.jit(jax.value_and_grad(functools.partial(loss, layers=layers, frozen=0, **more)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for path, leaf in flatten_dict(gradient, sep="/").items():
        full = flatten_dict(whole, sep="/")[path]
        if "/layers/" in path:
            assert (leaf[:frozen] == 0).all(), path
        elif path.endswith("embedding") or (norm == "post" and path.startswith("body/norm")):
            assert (leaf == 0).all(), path
            continue
        first = frozen if "/layers/" in path else 0
        # float32: the same sums, compiled another way.
        np.testing.assert_allclose(leaf[first:], full[first:], rtol=1e-4, atol=1e-7, err_msg=path)


@pytest.mark.slow
def test_the_states_are_all_there():
    for layers in (UNROLLED, SCANNED):
        found, expected = (
            network(layers, frozen).apply({"params": parameters(layers)}, BATCH["input_ids"], method=Model.states)
            for frozen in (2, 0)
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert len(found) == layers + 1


def test_the_tree_does_not_depend_on_it():
    for layers in (UNROLLED, SCANNED):
        jax.tree.map(np.testing.assert_array_equal, parameters(layers, 2), parameters(layers))


@pytest.mark.parametrize(("layers", "unroll"), [(UNROLLED, False), (SCANNED, False), (SCANNED, True)])
def test_dropout_is_drawn_anew_in_each_layer(layers, unroll):
    """Frozen and other layers run one after the other; masks of the second run are not those of the first."""
    params = jax.tree.map(jnp.zeros_like, parameters(layers))  # with bias 1 behind it, a layer adds its mask
    params["body"]["layers"]["mlp_out"]["bias"] = jnp.ones((layers, 16))
    model = network(layers, 2, norm="pre", dropout=0.5, unroll=unroll)

    def states(model, tokens):
        return model.body(tokens, deterministic=False)[1]

    found = model.apply({"params": params}, BATCH["input_ids"], method=states, rngs={"dropout": jax.random.key(0)})
    added = np.diff(np.asarray(found), axis=0)[:, 0, :4] != 0  # of the first row's tokens
    assert 0.3 < added.mean() < 0.7
    for one in range(layers):
        for other in range(one):
            assert (added[one] != added[other]).mean() > 0.2, f"layers {other} and {one} drop the same"


def gradient_of(layers, frozen):
    return jax.grad(functools.partial(loss, layers=layers, frozen=frozen))


@pytest.mark.slow
def test_frozen_layers_cost_no_backward_pass():
    """Counted by XLA: of what the gradient adds to the output, each frozen layer takes away its part."""

    def flops(function):
        return jax.jit(function).lower(parameters(UNROLLED)).compile().cost_analysis()["flops"]

    forward = flops(functools.partial(loss, layers=UNROLLED, frozen=0))
    added = [flops(gradient_of(UNROLLED, frozen)) - forward for frozen in range(UNROLLED + 1)]
    for frozen in range(1, UNROLLED):
        assert added[frozen] < (1 - frozen / UNROLLED) * added[0]
    assert added[UNROLLED] < 0.01 * added[0], "the head alone"


def test_scanned_layers_that_are_frozen_are_scanned_once():
    """XLA counts the body of a scan once whatever its length, so scans are counted: (length, backward)."""

    def scans(frozen):
        text = str(jax.make_jaxpr(gradient_of(SCANNED, frozen))(parameters(SCANNED)))
        found = re.findall(r"length=(\d+)\b(?:(?!length=).)*?reverse=(True|False)", text, re.DOTALL)
        return sorted((int(length), backward == "True") for length, backward in found)

    # The last layer has a scan of its own: it computes the first token alone.
    assert scans(0) == [(1, False), (1, True), (6, False), (6, True)]
    assert scans(3) == [(1, False), (1, True), (3, False), (3, False), (3, True)]
    assert scans(7) == [(1, False), (6, False)]
