"""AdamW as optax has it, or Adafactor, with the learning rate left outside, so that stages share compiled steps."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from xling_jax.optim import Optim
from xling_jax.train.adafactor import scale_by_adafactor
from xling_jax.train.partition import Leaves

DECAYED = ("kernel", "embedding", "lora_a", "lora_b")  # matrices; biases and norms are not decayed


def _decayed(params):
    """Returns a tree that is True where parameters, boxed or not, are decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, nn.meta.unbox(params))


def _scale_by_rates(leaves: Leaves) -> optax.GradientTransformation:
    """Returns the transformation that multiplies updates by the factors of their parameters' rates."""

    def scaled(path, update):
        rates = leaves[path].rates[leaves[path].first :]
        shape = (len(rates), *(1,) * (update.ndim - 1)) if len(rates) > 1 else ()
        return update * jnp.asarray(rates, update.dtype).reshape(shape)

    def update(updates, params=None):
        flat = flatten_dict(updates, sep="/")
        return unflatten_dict({path: scaled(path, each) for path, each in flat.items()}, sep="/")

    return optax.stateless(update)


def _scale_by_adam(optim: Optim) -> optax.GradientTransformationExtraArgs:
    """Returns optax's Adam, behind clipping by the global norm if `optim` has that, in few passes over the arrays.

    XLA's CPU compiler writes down what two operations need. So there is no scaled, and no clipped, gradient: both are
    factors of what moments add. And moments are what they will be before the update is made of them, for else the old
    ones are needed twice, and copied.
    """

    def update(updates, state, params=None, *, scale=1.0, finite=True, rows=None, **_):
        if optim.clip:
            norm = optax.tree.norm(updates) * scale
            scale = scale * jnp.where(norm < optim.clip, 1.0, optim.clip / norm)
        first, second = (1 - optim.b1) * scale, (1 - optim.b2) * scale * scale
        plus = rows.plus if rows else lambda tree, move, gradient: jax.tree.map(move, tree, gradient)
        mu = plus(state.mu, lambda m, g: jnp.where(finite, optim.b1 * m + first * g, m), updates)
        nu = plus(state.nu, lambda v, g: jnp.where(finite, optim.b2 * v + second * g * g, v), updates)
        count = jnp.where(finite, optax.safe_increment(state.count), state.count)
        unbias_1, unbias_2 = (1 / (1 - b ** jnp.maximum(count, 1)) for b in (optim.b1, optim.b2))
        updates = jax.tree.map(lambda m, v: m * unbias_1 / (jnp.sqrt(v * unbias_2) + optim.eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam().init, update)


def _guarded(transformation: optax.GradientTransformation, scales: bool) -> optax.GradientTransformationExtraArgs:
    """Returns a transformation that keeps its state if the gradient is not finite, which it may scale first."""

    def update(updates, state, params=None, *, scale=1.0, finite=True, **_):
        updates = jax.tree.map(lambda g: g * scale, updates) if scales else updates
        updates, new = transformation.update(updates, state, params)
        return updates, jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)

    return optax.GradientTransformationExtraArgs(transformation.init, update)


def make_optimizer(optim: Optim, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation up to, but without, the factor -learning_rate.

    Its `update` takes `scale`, a factor of the gradient, and `finite`, whether it is: if not, the state stays, and what
    is returned means nothing. AdamW also takes `rows`, if the gradient of a table has these alone (see `rows.py`).

    Args:
      optim: what a stage declares.
      leaves: of every parameter, though the transformation sees only those that are trained. None is allowed for AdamW
        with one rate for everything.
    """
    steps: list[optax.GradientTransformation]
    clip = optax.clip_by_global_norm(optim.clip) if optim.clip else None
    if optim.name == "adafactor":
        assert leaves is not None, "Adafactor needs the names of axes"
        adafactor = scale_by_adafactor({path: leaf.names for path, leaf in leaves.items()})
        steps = [*([_guarded(clip, scales=True)] if clip else []), _guarded(adafactor, scales=not clip)]
    else:  # which clips; a place in the state is left for clipping, as there always was
        steps = [*([optax.identity()] if clip else []), _scale_by_adam(optim)]
    steps.append(optax.add_decayed_weights(optim.weight_decay, mask=_decayed))
    if leaves is not None and optim.layer_decay != 1:
        steps.append(_scale_by_rates(leaves))
    return optax.chain(*steps)


def learning_rate(optim: Optim, step: int, steps: int) -> float:
    """Returns the rate of step `step` (from 0) of `steps`: linear warm-up, then constant or linear to zero."""
    warmup = max(1, round(optim.warmup * steps)) if optim.warmup else 0
    if step < warmup:
        return optim.learning_rate * (step + 1) / warmup
    if optim.schedule == "constant":
        return optim.learning_rate
    return optim.learning_rate * (steps - step) / max(1, steps - warmup)
