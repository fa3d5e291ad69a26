"""Low-rank adapters in a tree of parameters: beside a projection's kernel stand lora_a, lora_b and lora_scale.

The scale, alpha / rank, is no parameter to train; it stands there so that a checkpoint itself says what its adapters
add to a kernel.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

A, B, SCALE = "lora_a", "lora_b", "lora_scale"
TRAINED = (A, B)
ADAPTERS = (*TRAINED, SCALE)


def merge_lora(params: Any) -> Any:
    """Returns the parameters, or a part of their tree, without adapters: what they add is in the kernels.

    A tree without adapters comes back as it is. Boxes of axis names are not known here.
    """
    if not isinstance(params, dict):
        return params
    merged = {name: merge_lora(part) for name, part in params.items() if name not in ADAPTERS}
    if A in params:
        merged["kernel"] = params["kernel"] + _added(*(params[name] for name in ADAPTERS)).astype(
            params["kernel"].dtype
        )
    return merged


def _added(a: jax.Array, b: jax.Array, scale: jax.Array) -> jax.Array:
    """Returns A B * scale in float32; the scale has an axis for each on which projections are stacked."""

    def product(a, b, scale):
        # On accelerators the default precision of a float32 product is that of bfloat16.
        return scale * jnp.tensordot(a, b, 1, precision=jax.lax.Precision.HIGHEST)

    for _ in range(jnp.ndim(scale)):
        product = jax.vmap(product)
    return product(*(jnp.asarray(part, jnp.float32) for part in (a, b, scale)))


def lay_over(fresh: Any, read: Any) -> Any:
    """Returns what was read, which has no adapters, with those of the fresh tree. Everything else must be in both.

    What was read gets the boxes of a fresh tree that has some.
    """
    if not isinstance(fresh, dict):
        return fresh.replace_boxed(read) if isinstance(fresh, nn.meta.AxisMetadata) else read
    missing = fresh.keys() ^ read.keys()
    assert missing <= set(ADAPTERS), f"in one tree only: {sorted(missing)}"
    return {name: lay_over(part, read[name]) if name in read else part for name, part in fresh.items()}
