"""Attention among the tokens of one segment."""

import jax
import jax.numpy as jnp


def attend(query_BxLxHxK: jax.Array, key_BxLxHxK: jax.Array, value_BxLxHxK: jax.Array, segments_BxL: jax.Array):
    """Returns BxLxHxK: scaled dot-product attention, where a token sees the tokens of its own segment.

    Segment 0 is padding; its rows come out finite and mean nothing. The softmax is in float32, whatever
    the dtype of the inputs.
    """
    same_Bx1xLxL = (segments_BxL[:, None, :, None] == segments_BxL[:, None, None, :]) & (
        segments_BxL[:, None, None, :] > 0
    )
    scale = query_BxLxHxK.shape[-1] ** -0.5
    scores_BxHxLxL = jnp.einsum("blhk,bmhk->bhlm", query_BxLxHxK * scale, key_BxLxHxK).astype(jnp.float32)
    scores_BxHxLxL = jnp.where(same_Bx1xLxL, scores_BxHxLxL, jnp.finfo(jnp.float32).min)
    weights_BxHxLxL = jax.nn.softmax(scores_BxHxLxL, axis=-1).astype(value_BxLxHxK.dtype)
    return jnp.einsum("bhlm,bmhk->blhk", weights_BxHxLxL, value_BxLxHxK)
