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


def make_optimizer(optim: Optim, leaves: Leaves | None = None) -> optax.GradientTransformation:
    """Returns the transformation up to, but without, the factor -learning_rate.

    Args:
      optim: what a stage declares.
      leaves: of every parameter, though the transformation sees only those that are trained. None is allowed for AdamW
        with one rate for everything.
    """
    steps = [optax.clip_by_global_norm(optim.clip)] if optim.clip else []
    if optim.name == "adafactor":
        assert leaves is not None, "Adafactor needs the names of axes"
        steps.append(scale_by_adafactor({path: leaf.names for path, leaf in leaves.items()}))
    else:
        steps.append(optax.scale_by_adam(optim.b1, optim.b2, optim.eps))
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
