"""AdamW against optax's own; what is decayed, and the rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xling_jax.experiment import Optim
from xling_jax.train.optimizer import learning_rate, make_optimizer
from xling_jax.train.partition import Leaf, take

PARAMS = {
    "encoder": {
        "word": {"embedding": jnp.array([[1.0, -2.0], [3.0, 4.0]])},
        "norm": {"scale": jnp.array([1.5, 0.5]), "bias": jnp.array([0.3, -0.2])},
    },
    "head": {"kernel": jnp.array([[2.0], [-1.0]]), "bias": jnp.array([0.7])},
}
GRADIENTS = [jax.tree.map(lambda leaf, scale=scale: scale * jnp.cos(leaf), PARAMS) for scale in (0.3, -2.0, 0.01)]


def steps(transformation, gradients, rate=None):
    params, state = PARAMS, transformation.init(PARAMS)
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, params)
        factor = 1.0 if rate is None else -rate
        params = jax.tree.map(lambda p, u, factor=factor: p + factor * u, params, updates)
    return params


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_it_is_adamw(clip):
    optim = Optim(weight_decay=0.1, clip=clip)
    decayed = {
        "encoder": {"word": {"embedding": True}, "norm": {"scale": False, "bias": False}},
        "head": {"kernel": True, "bias": False},
    }
    reference = optax.adamw(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1, mask=decayed)
    if clip:
        reference = optax.chain(optax.clip_by_global_norm(clip), reference)
    found, expected = steps(make_optimizer(optim), GRADIENTS, 0.01), steps(reference, GRADIENTS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_only_matrices_are_decayed():
    nothing = [jax.tree.map(jnp.zeros_like, PARAMS)]
    found = steps(make_optimizer(Optim(weight_decay=0.5)), nothing, 0.1)
    shrunk = jax.tree.map(lambda after, before: float((after / before).mean()), found, PARAMS)
    assert shrunk == {
        "encoder": {"word": {"embedding": pytest.approx(0.95)}, "norm": {"scale": 1.0, "bias": 1.0}},
        "head": {"kernel": pytest.approx(0.95), "bias": 1.0},
    }


def test_rates_multiply_the_whole_update():
    """Weight decay too, and of stacked layers each by its own factor; what is frozen is not seen."""
    params = {"layers": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((3, 2))}, "head": {"kernel": jnp.ones((2, 1))}}
    leaves = {
        "layers/kernel": Leaf(("layers", "embed", "mlp"), (0.0, 0.25, 0.5)),
        "layers/bias": Leaf(("layers", "mlp"), (0.0, 0.25, 0.5)),
        "head/kernel": Leaf(("embed", "labels")),
    }
    trained = take(params, leaves)
    gradient = jax.tree.map(lambda leaf: 0.3 * leaf, trained)
    how = {"weight_decay": 0.5, "clip": 0.1}
    found, expected = (
        optimizer.update(gradient, optimizer.init(trained), trained)[0]
        for optimizer in (make_optimizer(Optim(layer_decay=0.5, **how), leaves), make_optimizer(Optim(**how)))
    )
    assert float(expected["layers"]["kernel"][0, 0, 0]) == pytest.approx(1.5, abs=1e-4), "Adam's first step, and decay"
    for name in ("kernel", "bias"):
        for layer, factor in enumerate((0.25, 0.5)):
            np.testing.assert_array_equal(found["layers"][name][layer], factor * expected["layers"][name][layer])
    np.testing.assert_array_equal(found["head"]["kernel"], expected["head"]["kernel"])


def test_adapters_are_decayed():
    params = {"query": {"lora_a": jnp.ones((2, 3)), "lora_b": jnp.ones((3, 2))}}
    optimizer = make_optimizer(Optim(weight_decay=0.5))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert (updates["query"]["lora_a"] == 0.5).all() and (updates["query"]["lora_b"] == 0.5).all()


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        # Ten steps. The last warm step has the whole rate; a linear one falls by equal parts and ends above zero.
        ("linear", 0.2, [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("linear", 0.0, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("constant", 0.2, [0.5] + [1.0] * 9),
        ("constant", 0.0, [1.0] * 10),
        ("constant", 0.001, [1.0] * 10),  # a warm-up of one step is none
        ("linear", 1.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    ],
)
def test_rates(schedule, warmup, expected):
    optim = Optim(learning_rate=2.0, schedule=schedule, warmup=warmup)
    found = [learning_rate(optim, step, 10) / 2.0 for step in range(10)]
    assert found == pytest.approx(expected)


def test_one_step_is_taken_at_the_whole_rate():
    assert learning_rate(Optim(learning_rate=3.0), 0, 1) == 3.0
