"""The rows of an embedding that a batch has, against a step that makes the gradient of the whole table."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from xling_jax.models.build import HeadSpec, build_config, build_model, init_params
from xling_jax.models.layers import ROWS
from xling_jax.optim import Optim
from xling_jax.tables.models import MODELS
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf
from xling_jax.train.rows import LEAST, Rows
from xling_jax.train.step import init_state, train_step

VOCAB, ROWS_B, LENGTH = 400, 8, 12
TABLE = ("body", "word", "embedding")
HEAD = HeadSpec("x", "pair_classification", 3)
OPTIM = Optim(learning_rate=0.01, weight_decay=0.1, clip=0.5)
MODEL = build_model(build_config(MODELS["tiny"], VOCAB), (HEAD,))


@functools.cache
def params():
    return nn.meta.unbox(jax.jit(lambda: init_params(MODEL, jax.random.key(0)))())


@functools.cache
def leaves():
    return {path: Leaf((None,) * leaf.ndim) for path, leaf in flatten_dict(params(), sep="/").items()}


def batch(seed: int, most: int = VOCAB):
    """Tokens repeat, and the last of the vocabulary is among them: nothing beyond the table is taken for it."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(4, most, (ROWS_B, LENGTH)).astype(np.int32)
    tokens[0, 1:4], tokens[1, 1:3] = tokens[0, 1], VOCAB - 1
    return {
        "input_ids": tokens,
        "lengths": rng.integers(4, LENGTH + 1, ROWS_B).astype(np.int32),
        "label": rng.integers(0, 3, ROWS_B).astype(np.int32),
        "index": np.arange(ROWS_B, dtype=np.int32),
    }


@functools.cache
def step_fn(table: tuple[str, ...], accumulate: int = 1, optimizer=None):
    def apply(params, key, batch, rows=None):
        given = {"params": params} | ({ROWS: rows} if rows else {})
        return MODEL.apply(given, "x", batch, False, rngs={"dropout": key})

    how = {"optimizer": optimizer or make_optimizer(OPTIM), "mask_id": 0, "leaves": leaves(), "accumulate": accumulate}
    return jax.jit(functools.partial(train_step, apply=apply, kind=HEAD.kind, table=table, **how))


def trained(table: tuple[str, ...], accumulate: int = 1, steps: int = 3):
    state, metrics = init_state(params(), make_optimizer(OPTIM)), None
    for number in range(steps):
        state, metrics = step_fn(table, accumulate)(state, batch(number), jnp.float32(0.01), jax.random.key(1))
    return state, metrics


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_steps_equal_those_with_a_gradient_of_the_table(accumulate):
    """Parameters, both moments, and metrics.

    Sums over a row's tokens are added in another order; where they nearly cancel, Adam makes of that rounding a step of
    some share of the rate: here less than a thousandth of it.
    """
    (ours, mine), (dense, theirs) = trained(TABLE, accumulate), trained((), accumulate)
    assert jax.tree.structure(ours) == jax.tree.structure(dense)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(dense), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))
    for name in mine:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, err_msg=name)


def test_rows_without_tokens_move_as_well():
    """By decay and by what their moments remember, from the step after."""
    before = trained(TABLE, steps=1)[0]
    after = step_fn(TABLE)(before, batch(1, most=50), jnp.float32(0.01), jax.random.key(1))[0]
    table = lambda state: state["params"]["body"]["word"]["embedding"]  # noqa: E731
    gone = np.setdiff1d(batch(0)["input_ids"], batch(1, most=50)["input_ids"])
    assert len(gone) > 20
    assert (np.abs(table(after) - table(before))[gone] > 0).any(axis=1).all()


def test_what_is_not_finite_moves_nothing():
    broken = params() | {
        "body": params()["body"] | {"norm": jax.tree.map(lambda x: x * jnp.nan, params()["body"]["norm"])}
    }
    state = init_state(broken, make_optimizer(OPTIM))
    after = step_fn(TABLE)(state, batch(0), jnp.float32(0.01), jax.random.key(1))[0]
    assert int(after["bad_step"]) == 0
    for name in ("params", "opt"):
        jax.tree.map(np.testing.assert_array_equal, after[name], state[name])


def test_the_gradient_has_the_rows_of_the_batch_alone():
    """What the optimiser is given; that no other array of the table is made is counted in test_counts.py."""
    seen, real = [], make_optimizer(OPTIM)

    def update(updates, *given, **more):
        seen.append(updates["body"]["word"]["embedding"].shape)
        return real.update(updates, *given, **more)

    state, spy = init_state(params(), real), optax.GradientTransformationExtraArgs(real.init, update)
    for table in ((), TABLE):
        step_fn(table, optimizer=spy).trace(state, batch(0), jnp.float32(0.01), jax.random.key(1))
    assert seen == [(VOCAB, 16), (ROWS_B * LENGTH, 16)]


def test_when_there_is_nothing_to_gain():
    tree = {"body": {"word": {"embedding": jnp.zeros((LEAST * 10, 2))}}}
    assert Rows.of(TABLE, tree, jnp.zeros(10, jnp.int32)) is not None
    assert Rows.of(TABLE, tree, jnp.zeros(11, jnp.int32)) is None, "too small a table"
    assert Rows.of(TABLE, {"body": {}}, jnp.zeros(10, jnp.int32)) is None, "a table that is not trained"
