"""The pure step: state and batch in, state and metrics out."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xling_jax.train.losses import LOSSES
from xling_jax.train.partition import Leaves, put, take
from xling_jax.train.rows import Rows

State = dict[str, Any]  # params, opt, step, bad_step: the first step whose loss was not finite, or -1


def init_state(params: Any, optimizer: optax.GradientTransformation, leaves: Leaves | None = None) -> State:
    """Returns the state before the first step. Pure; boxed parameters give a boxed state."""
    return {
        "params": params,
        "opt": optimizer.init(take(params, leaves)),
        "step": jnp.zeros((), jnp.int32),
        "bad_step": jnp.full((), -1, jnp.int32),
    }


def _split(batch: dict, parts: int) -> dict:
    """Returns the batch as `parts` micro-batches on a new leading axis.

    A micro-batch takes every `parts`-th example, so that it is split over the same devices as the batch.
    """
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def _summed(gradient_of: Callable, batch: dict, parts: int, nothing: Callable[[], Any]) -> Any:
    """Returns (gradient, loss, weight, right) of a batch, summed over micro-batches; `nothing` makes zeros."""
    if parts == 1:
        return gradient_of(batch)
    zero = jnp.zeros((), jnp.float32)
    add = lambda sums, part: (jax.tree.map(jnp.add, sums, gradient_of(part)), None)  # noqa: E731
    return jax.lax.scan(add, (nothing(), zero, zero, zero), _split(batch, parts))[0]


def train_step(
    state: State,
    batch: dict[str, jax.Array],
    rate: jax.Array,
    key: jax.Array,
    *,
    apply: Callable,
    kind: str,
    optimizer: optax.GradientTransformationExtraArgs,
    accumulate: int,
    mask_id: int,
    leaves: Leaves | None = None,
    divide: Callable[[Any], Any] = lambda gradient: gradient,
    table: tuple[str, ...] = (),
) -> tuple[State, dict[str, jax.Array]]:
    """Takes one step; metrics describe the parameters before the update.

    The order of events: masks and dropout are drawn from (key, step, example); the gradient of the summed
    loss is added up over micro-batches and divided by the whole batch's weight; the optimiser moves the
    trained parameters, unless the loss or the gradient is not finite, in which case they stay and `bad_step` is set.

    Args:
      state: see `init_state`.
      batch: arrays whose first axis is the global batch.
      rate: learning rate.
      key: of the run's seed.
      apply: (params, dropout key, batch) -> logits.
      kind: of the task, for the loss.
      optimizer: see `make_optimizer`.
      accumulate: micro-batches.
      mask_id: id of <mask>.
      leaves: which parameters are trained; None for all. Of others there is no gradient.
      divide: gives a gradient, and the sum of those of micro-batches, the shardings of what is trained.
      table: the path of an embedding that is used for the batch's `input_ids` alone, if the optimiser moves every entry
        by itself: its gradient is then computed for their rows, where that pays (`rows.py`), and `apply` also gets
        `rows`, those of the table.
    """
    key = jax.random.fold_in(key, state["step"])
    mask_key, dropout_key = jax.random.split(key)

    trained = take(state["params"], leaves)
    rows = Rows.of(table, trained, batch["input_ids"]) if table else None

    def applied(trained):
        if rows is None:
            return functools.partial(apply, put(state["params"], trained, leaves), dropout_key)
        others, mine = rows.apart(trained)
        return functools.partial(apply, put(state["params"], others, leaves), dropout_key, rows=mine)

    def loss_sum(trained, part):
        loss, weight, right = LOSSES[kind](applied(trained), part, mask_key, mask_id)
        return loss, (weight, right)

    def gradient_of(part):
        (loss, (weight, right)), gradient = jax.value_and_grad(loss_sum, has_aux=True)(small, part)
        return divide(gradient), loss, weight, right

    small = rows.small(trained) if rows else trained
    nothing = lambda: divide(jax.tree.map(jnp.zeros_like, small))  # noqa: E731
    gradient, loss, weight, right = _summed(gradient_of, batch, accumulate, nothing)
    scale = 1.0 / jnp.maximum(weight, 1.0)
    norm = optax.tree.norm(gradient) * scale
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)

    more: Any = {"rows": rows} if rows else {}
    updates, opt = optimizer.update(gradient, state["opt"], trained, scale=scale, finite=finite, **more)
    trained = jax.tree.map(lambda p, u: jnp.where(finite, p - rate * u, p), trained, updates)
    params = put(state["params"], trained, leaves)
    bad_step = jnp.where(finite | (state["bad_step"] >= 0), state["bad_step"], state["step"])
    state = {"params": params, "opt": opt, "step": state["step"] + 1, "bad_step": bad_step}
    metrics = {"loss": loss * scale, "accuracy": right * scale, "weight": weight, "gradient_norm": norm}
    return state, metrics | {"bad_step": bad_step}
