"""Attention among the tokens of one segment: the one implementation of every family.

Which kernel computes it is decided when a program is lowered for a platform, not by the model: long rows go through
splash attention on TPUs and, in bfloat16, through cuDNN's on GPUs, which never hold the scores of a whole row;
everything else is plain products.
"""

import functools
import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from xling_jax import axes

FUSED_FROM = 512  # tokens in a row; for shorter ones the compiler's own fusion needs less memory on TPUs
AMPERE = 8  # the first GPUs, by the whole number of their compute capability, that cuDNN's fused attention runs on
UNSEEN = -1e30  # added to scores of what is not seen; of a token that sees nothing, all of them remain finite
BLOCKS = (512, 256, 128)  # tokens that the fused kernel takes at once: the most that divide a row


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
    assert not (causal and key_segments_BxP is not None), "places of other keys do not compare with places of the row"
    query_BxLxHxK = query_BxLxHxK * (query_BxLxHxK.shape[-1] ** -0.5 if scale is None else scale)
    plain = functools.partial(_plain, causal=causal)
    keys_BxP = segments_BxL if key_segments_BxP is None else key_segments_BxP
    inputs = (query_BxLxHxK, key_BxPxJxK, value_BxPxJxK, segments_BxL, keys_BxP)
    if bias_HxLxP is not None or key_segments_BxP is not None or not _long(query_BxLxHxK.shape[1]):
        return plain(*inputs, bias_HxLxP=bias_HxLxP)
    specs = _specs(query_BxLxHxK.shape, key_BxPxJxK.shape)
    if specs is None:
        return plain(*inputs)
    # What one branch keeps for its gradient the other one would have to make room for; recomputed, it keeps nothing.
    return jax.lax.platform_dependent(
        *inputs[:4],
        **{
            platform: functools.partial(_sharded, specs, functools.partial(kernel, causal=causal))
            for platform, kernel in (("tpu", _splash), ("cuda", _cudnn))
            if platform == "tpu" or _takes_cudnn(query_BxLxHxK)
        },
        default=jax.checkpoint(lambda query, key, value, segments: plain(query, key, value, segments, segments)),
    )


def _plain(query_BxLxHxK, key_BxPxJxK, value_BxPxJxK, segments_BxL, keys_BxP, *, causal: bool, bias_HxLxP=None):
    """Returns attention as products with all scores in memory; queries are scaled.

    Written for a CPU, where each pass over the scores counts: a mask is added in the pass that finds the largest, and
    the sum of weights divides the answers, which are fewer. Heads go before tokens, so that no product transposes.
    """
    seen_BxLxP = (segments_BxL[:, :, None] == keys_BxP[:, None, :]) & (keys_BxP[:, None, :] > 0)
    rows, length, heads, width = query_BxLxHxK.shape
    if causal:
        seen_BxLxP &= jnp.tri(length, dtype=bool)[None]
    groups = key_BxPxJxK.shape[2]
    asked = (rows, groups, heads // groups, length)  # BxJxIxL
    query_BxJxNxK = query_BxLxHxK.transpose(0, 2, 1, 3).reshape(rows, groups, -1, width)  # N: I and L
    key_BxJxPxK, value_BxJxPxK = (x.transpose(0, 2, 1, 3) for x in (key_BxPxJxK, value_BxPxJxK))
    scores_BxJxNxP = jnp.einsum("bjnk,bjpk->bjnp", query_BxJxNxK, key_BxJxPxK).astype(jnp.float32)
    scores_BxJxIxLxP = scores_BxJxNxP.reshape(*asked, -1) + jnp.where(seen_BxLxP, 0.0, UNSEEN)[:, None, None]
    if bias_HxLxP is not None:
        bias_JxIxLxP = bias_HxLxP.astype(jnp.float32).reshape(groups, heads // groups, *bias_HxLxP.shape[1:])
        scores_BxJxIxLxP = scores_BxJxIxLxP + bias_JxIxLxP[None]
    largest_BxJxIxLx1 = jax.lax.stop_gradient(scores_BxJxIxLxP.max(axis=-1, keepdims=True))
    weights_BxJxIxLxP = jnp.exp(scores_BxJxIxLxP - largest_BxJxIxLx1)
    sum_BxJxNx1 = weights_BxJxIxLxP.sum(axis=-1).reshape(rows, groups, -1, 1)
    weights_BxJxNxP = weights_BxJxIxLxP.reshape(scores_BxJxNxP.shape).astype(value_BxPxJxK.dtype)
    answer_BxJxNxK = jnp.einsum("bjnp,bjpk->bjnk", weights_BxJxNxP, value_BxJxPxK).astype(jnp.float32) / sum_BxJxNx1
    answer_BxHxLxK = answer_BxJxNxK.astype(value_BxPxJxK.dtype).reshape(rows, heads, length, width)
    return answer_BxHxLxK.transpose(0, 2, 1, 3)


def _long(length: int) -> bool:
    return length >= FUSED_FROM and length % BLOCKS[-1] == 0


def _specs(query: tuple[int, ...], key: tuple[int, ...]) -> tuple[PartitionSpec, PartitionSpec] | None:
    """Returns how the mesh around splits BxLxHxK and BxL; None if it does not divide examples and heads.

    The compiler cannot divide a kernel among devices, so that is said here, in terms of logical axes.
    """
    mesh = jax.sharding.get_abstract_mesh()
    states, rows = (axes.BATCH, axes.LENGTH, axes.HEADS, axes.KV), (axes.BATCH, axes.LENGTH)
    if mesh.empty:
        return PartitionSpec(), PartitionSpec()
    of_states, of_rows = (PartitionSpec(*(nn.logical_to_mesh_axes(names) or ())) for names in (states, rows))
    devices = {"": 1, **mesh.shape}
    for size, names in ((query[0], of_states[0]), (query[2], of_states[2]), (key[2], of_states[2])):
        group = names if isinstance(names, tuple) else (names or "",)
        if size % math.prod(devices[name] for name in group):
            return None
    return of_states, of_rows


def _sharded(specs, function, *inputs):
    """Returns the function's value, each device computing that of its own examples and heads."""
    if jax.sharding.get_abstract_mesh().empty:
        return function(*inputs)
    states, rows = specs
    inside = (states, states, states, rows)
    return jax.shard_map(function, in_specs=inside, out_specs=states, check_vma=False)(*inputs)


def _splash(query_BxLxHxK, key_BxLxJxK, value_BxLxJxK, segments_BxL, *, causal: bool, interpret: bool = False):
    """Returns attention by the TPU kernel of that name, which takes queries that are scaled, one row at a time."""
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # noqa: PLC0415 - costs a second to import

    length, heads = query_BxLxHxK.shape[1:3]
    block = next(block for block in BLOCKS if length % block == 0)
    mask = (splash.CausalMask if causal else splash.FullMask)((length, length))
    blocks = splash.BlockSizes(block, block, block, block, block, block, block, block)  # forward, then both gradients
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([mask] * heads),
        block_sizes=blocks,
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    heads_first = (x.swapaxes(1, 2) for x in (query_BxLxHxK, key_BxLxJxK, value_BxLxJxK))
    return jax.vmap(kernel)(*heads_first, splash.SegmentIds(segments_BxL, segments_BxL)).swapaxes(1, 2)


def _takes_cudnn(query_BxLxHxK: jax.Array) -> bool:
    """Whether the GPU here, if there is one, computes such queries by cuDNN: JAX refuses to trace it for none."""
    device = jax.local_devices()[0]
    capability = str(getattr(device, "compute_capability", "")).partition(".")[0]
    here = device.platform == "gpu" and capability.isdigit() and int(capability) >= AMPERE  # not of digits: AMD's
    return here and query_BxLxHxK.dtype in (jnp.bfloat16, jnp.float16) and query_BxLxHxK.shape[-1] in range(8, 129, 8)


def _cudnn(
    query_BxLxHxK,
    key_BxLxJxK,
    value_BxLxJxK,
    segments_BxL,
    *,
    causal: bool,
    implementation: Literal["cudnn", "xla"] = "cudnn",
):
    """Returns attention by the kernel of that name, which takes queries that are scaled.

    Its own packed layout needs the rows of a batch behind one another; segments are a mask here, one for all heads.
    """
    return jax.nn.dot_product_attention(
        query_BxLxHxK,
        key_BxLxJxK,
        value_BxLxJxK,
        mask=(segments_BxL[:, :, None] == segments_BxL[:, None, :])[:, None],
        scale=1.0,
        is_causal=causal,
        implementation=implementation,
    )
