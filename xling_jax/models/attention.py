"""Attention among the tokens of one segment: the one implementation of every family."""

import jax
import jax.numpy as jnp


def attend(
    query_BxLxHxK: jax.Array,
    key_BxPxJxK: jax.Array,
    value_BxPxJxK: jax.Array,
    segments_BxL: jax.Array,
    key_segments_BxP: jax.Array | None = None,
    *,
    causal: bool = False,
    bias_HxLxP: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Returns BxLxHxK: dot-product attention, where a token sees the tokens of its own segment.

    Segment 0 is padding; its rows come out finite and mean nothing. The softmax is in float32, whatever
    the dtype of the inputs.

    Args:
      query_BxLxHxK: what asks.
      key_BxPxJxK: what is asked. J divides H: neighbouring heads share keys and values (grouped queries).
      value_BxPxJxK: what is answered.
      segments_BxL: the segment of each asking token.
      key_segments_BxP: that of each key; None: keys are those of the same tokens. A place of a cache that is not
        written yet has segment 0.
      causal: a token sees no key that stands after it in the row; only for keys of the same tokens.
      bias_HxLxP: added to the scaled scores, learned (T5's relative positions).
      scale: of the scores; None: one over the root of K. T5 has 1.
    """
    keys_BxP = segments_BxL if key_segments_BxP is None else key_segments_BxP
    seen_BxLxP = (segments_BxL[:, :, None] == keys_BxP[:, None, :]) & (keys_BxP[:, None, :] > 0)
    if causal:
        assert key_segments_BxP is None, "places of other keys do not compare with places of the row"
        length = segments_BxL.shape[1]
        seen_BxLxP &= jnp.tri(length, dtype=bool)[None]
    rows, length, heads, width = query_BxLxHxK.shape
    groups = key_BxPxJxK.shape[2]
    scale = width**-0.5 if scale is None else scale
    query_BxLxJxIxK = (query_BxLxHxK * scale).reshape(rows, length, groups, heads // groups, width)
    scores_BxJxIxLxP = jnp.einsum("bljik,bpjk->bjilp", query_BxLxJxIxK, key_BxPxJxK).astype(jnp.float32)
    if bias_HxLxP is not None:
        bias_JxIxLxP = bias_HxLxP.astype(jnp.float32).reshape(groups, heads // groups, *bias_HxLxP.shape[1:])
        scores_BxJxIxLxP = scores_BxJxIxLxP + bias_JxIxLxP[None]
    scores_BxJxIxLxP = jnp.where(seen_BxLxP[:, None, None], scores_BxJxIxLxP, jnp.finfo(jnp.float32).min)
    weights_BxJxIxLxP = jax.nn.softmax(scores_BxJxIxLxP, axis=-1).astype(value_BxPxJxK.dtype)
    return jnp.einsum("bjilp,bpjk->bljik", weights_BxJxIxLxP, value_BxPxJxK).reshape(query_BxLxHxK.shape)
