"""The pure step, on a model of one matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Optim
from xling_jax.train.losses import LOSSES
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf, take
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


def two(params, dropout_key, batch):
    """A linear model of two layers, stacked, and a head: some of it may be frozen."""
    x = batch["x"]
    for kernel in params["layers"]["kernel"]:
        x = jnp.tanh(x @ kernel) + params["word"]["embedding"]
    return x @ params["head"]["kernel"]


def partitioned():
    """Returns (parameters, leaves): the word and the first layer are frozen, the second one learns at half the rate."""
    draw = np.random.default_rng(0).normal
    params = {
        "word": {"embedding": jnp.asarray(draw(size=(1, 3)), jnp.float32)},
        "layers": {"kernel": jnp.asarray(draw(size=(2, 3, 3)), jnp.float32)},
        "head": {"kernel": jnp.asarray(draw(size=(3, 2)), jnp.float32)},
    }
    leaves = {
        "word/embedding": Leaf(("vocab", "embed"), (0.0,)),
        "layers/kernel": Leaf(("layers", "embed", "mlp"), (0.0, 0.5)),
        "head/kernel": Leaf(("embed", "labels")),
    }
    return params, leaves


def partitioned_step(accumulate=1, bad=False, **optim):
    params, leaves = partitioned()
    optimizer = make_optimizer(Optim(layer_decay=0.5, **optim), leaves)
    state = init_state(params, optimizer, leaves)
    how = {"kind": "pair_classification", "optimizer": optimizer, "mask_id": 9, "leaves": leaves}
    step = jax.jit(functools.partial(train_step, apply=two, accumulate=accumulate, **how))
    return state, *step(state, batch(bad=bad), RATE, jax.random.key(4))


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_only_what_is_trained_moves_and_has_moments(name):
    before, after, _ = partitioned_step(name=name)
    np.testing.assert_array_equal(after["params"]["word"]["embedding"], before["params"]["word"]["embedding"])
    for layer, moves in enumerate((False, True)):
        kernels = [state["params"]["layers"]["kernel"][layer] for state in (before, after)]
        assert bool((kernels[0] != kernels[1]).all()) == moves
    assert (after["params"]["head"]["kernel"] != before["params"]["head"]["kernel"]).all()
    moments = [leaf.shape for leaf in jax.tree.leaves(after["opt"]) if leaf.ndim]
    assert sorted(moments) == sorted([(1, 3, 3), (3, 2)] * (2 if name == "adamw" else 1))


def test_the_norm_is_that_of_what_is_trained():
    """So clipping is, too: a frozen parameter's gradient does not make a step shorter."""
    params, leaves = partitioned()

    def mean(params):
        loss, weight, _ = LOSSES["pair_classification"](functools.partial(two, params, None), batch(), None, 9)
        return loss / weight

    whole = jax.grad(mean)(params)
    expected = np.sqrt(sum(float((part**2).sum()) for part in jax.tree.leaves(take(whole, leaves))))
    assert expected < 0.95 * np.sqrt(sum(float((part**2).sum()) for part in jax.tree.leaves(whole)))
    _, after, metrics = partitioned_step(clip=expected / 2)
    assert float(metrics["gradient_norm"]) == pytest.approx(expected, rel=1e-5)
    (adam,) = (part for part in after["opt"] if hasattr(part, "mu"))
    # The first moment is a tenth of the clipped gradient.
    np.testing.assert_allclose(adam.mu["head"]["kernel"], 0.1 * whole["head"]["kernel"] / 2, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_of_a_partition_equal_the_whole(parts, name):
    whole, parted = (partitioned_step(accumulate, name=name) for accumulate in (1, parts))
    # float32: see above.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), parted[1], whole[1])


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_bad_step_of_a_partition_leaves_everything(name):
    before, after, metrics = partitioned_step(bad=True, name=name)
    for part in ("params", "opt"):
        jax.tree.map(np.testing.assert_array_equal, after[part], before[part])
    assert int(metrics["bad_step"]) == 0
