"""AdamW as optax has it, with the learning rate left outside, so that stages share compiled steps."""

import flax.linen as nn
import jax
import optax

from xling_jax.experiment import Optim


def _mask_of(*names: str):
    """Returns a function from parameters, boxed or not, to a tree that is True where they have such a name."""

    def mask(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in names, nn.meta.unbox(params))

    return mask


def make_optimizer(optim: Optim) -> optax.GradientTransformation:
    """Returns the transformation up to, but without, the factor -learning_rate."""
    steps = [optax.clip_by_global_norm(optim.clip)] if optim.clip else []
    # Matrices are decayed; biases and norms are not.
    steps += [
        optax.scale_by_adam(optim.b1, optim.b2, optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=_mask_of("kernel", "embedding")),
    ]
    if optim.freeze_embeddings:
        steps.append(optax.masked(optax.set_to_zero(), _mask_of("embedding")))
    return optax.chain(*steps)


def learning_rate(optim: Optim, step: int, steps: int) -> float:
    """Returns the rate of step `step` (from 0) of `steps`: linear warm-up, then constant or linear to zero."""
    warmup = max(1, round(optim.warmup * steps)) if optim.warmup else 0
    if step < warmup:
        return optim.learning_rate * (step + 1) / warmup
    if optim.schedule == "constant":
        return optim.learning_rate
    return optim.learning_rate * (steps - step) / max(1, steps - warmup)
