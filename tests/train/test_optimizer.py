"""AdamW against optax's own; what is decayed, what is frozen, and the rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xling_jax.experiment import Optim
from xling_jax.train.optimizer import learning_rate, make_optimizer

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


def test_frozen_embeddings_neither_move_nor_shrink():
    found = steps(make_optimizer(Optim(weight_decay=0.5, freeze_embeddings=True)), GRADIENTS, 0.1)
    np.testing.assert_array_equal(found["encoder"]["word"]["embedding"], PARAMS["encoder"]["word"]["embedding"])
    for name in ("kernel", "bias"):
        assert (found["head"][name] != PARAMS["head"][name]).all()


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
