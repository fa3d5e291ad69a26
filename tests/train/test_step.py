"""The pure step, on a model of one matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Optim
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.step import init_state, train_step

OPTIM = Optim(clip=0.0)
RATE = 0.1


def apply(params, dropout_key, batch):
    """A linear model with dropout on its input, drawn as the real one draws it."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(dropout_key, batch["index"])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 0.8, (3,)))(keys)
    return jnp.where(keep, batch["x"], 0.0) @ params["kernel"]


def start():
    return init_state({"kernel": jnp.array([[0.1, -0.2], [0.3, 0.0], [0.0, 0.2]])}, make_optimizer(OPTIM))


def batch(rows: int = 8, bad: bool = False):
    x = jax.random.normal(jax.random.key(0), (rows, 3))
    x = x.at[1].set(jnp.nan) if bad else x
    return {"x": x, "label": jnp.arange(rows) % 3 - 1, "index": jnp.arange(rows)}


@functools.cache
def step_fn(accumulate: int = 1):
    how = {"kind": "pair_classification", "optimizer": make_optimizer(OPTIM), "mask_id": 9}
    return jax.jit(functools.partial(train_step, apply=apply, accumulate=accumulate, **how))


def step(state, given, accumulate=1, seed=4):
    return step_fn(accumulate)(state, given, RATE, jax.random.key(seed))


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_equal_the_whole(parts):
    whole, parted = step(start(), batch()), step(start(), batch(), parts)
    # float32: the same eight gradients added in another order; the parts differ in how much of them is scored.
    for name, value in whole[1].items():
        np.testing.assert_allclose(parted[1][name], value, rtol=1e-5, err_msg=name)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), parted[0], whole[0])
    assert float(whole[1]["weight"]) == 5, "labels of -1 are not counted"


def test_metrics_describe_the_parameters_before_the_update():
    zero = start() | {"params": {"kernel": jnp.zeros((3, 2))}}
    state, metrics = step(zero, batch())
    assert float(metrics["loss"]) == pytest.approx(np.log(2))
    assert (state["params"]["kernel"] != 0).any()


def test_the_gradient_is_that_of_the_mean():
    one, twice = batch(), jax.tree.map(lambda x: jnp.concatenate([x, x]), batch())
    norms = [float(step(start(), given)[1]["gradient_norm"]) for given in (one, twice)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert norms[0] > 0.01


def test_steps_and_seeds_draw_anew():
    loss = {
        (at, seed): float(step(start() | {"step": jnp.int32(at)}, batch(), seed=seed)[1]["loss"])
        for at, seed in ((0, 4), (1, 4), (0, 5))
    }
    assert len(set(loss.values())) == 3, loss
    assert float(step(start(), batch())[1]["loss"]) == loss[0, 4]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_loss_that_is_not_finite_leaves_everything(parts):
    state = step(start(), batch())[0]
    after, metrics = step(state, batch(bad=True), parts)
    assert not np.isfinite(metrics["loss"])
    for name in ("params", "opt"):
        jax.tree.map(np.testing.assert_array_equal, after[name], state[name])
    assert (int(after["step"]), int(after["bad_step"]), int(metrics["bad_step"])) == (2, 1, 1)
    later = step(step(after, batch())[0], batch(bad=True))[0]
    assert int(later["bad_step"]) == 1, "the first one is remembered"


def test_a_gradient_that_is_not_finite_counts_too():
    # log of 1e-30 is finite, its derivative times 1e30 is not.
    def steep(params, key, given):
        return (given["x"] @ params["kernel"]) + 1e38 * params["kernel"][:1] * jnp.where(given["x"][:, :1] > 9e9, 1, 10)

    how = {"kind": "pair_classification", "optimizer": make_optimizer(OPTIM), "mask_id": 9, "accumulate": 1}
    zero = start() | {"params": {"kernel": jnp.zeros((3, 2))}}
    steep_step = jax.jit(functools.partial(train_step, apply=steep, **how))
    after, metrics = steep_step(zero, batch(), RATE, jax.random.key(0))
    assert np.isfinite(metrics["loss"])
    assert not np.isfinite(metrics["gradient_norm"])
    assert (after["params"]["kernel"] == 0).all()
    assert int(after["bad_step"]) == 0
