"""Losses, one per kind of task: (sum over what is scored, how much of it there is, how much was right).

All three are sums over a batch, so that micro-batches and hosts add up to exactly the global batch. They
are in float32. What has label -1 is not scored.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

MASKED_SHARE = 0.15  # of the tokens; of these 80% become <mask>, 10% another token, 10% stay (Devlin et al. 2019)
FIRST_PIECE = 4  # ids below are special


def cross_entropy(logits_NxY: jax.Array, labels_N: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the three sums over the labels that are not -1."""
    scored_N = labels_N >= 0
    safe_N = jnp.where(scored_N, labels_N, 0)
    logits_NxY = logits_NxY.astype(jnp.float32)
    picked_N = jnp.take_along_axis(logits_NxY, safe_N[:, None], axis=-1)[:, 0]
    loss_N = jax.nn.logsumexp(logits_NxY, axis=-1) - picked_N
    right_N = logits_NxY.argmax(axis=-1) == safe_N
    weight_N = scored_N.astype(jnp.float32)
    return (loss_N * weight_N).sum(), weight_N.sum(), (right_N * weight_N).sum()


def mask_tokens(tokens_BxL: jax.Array, keys_B: jax.Array, mask_id: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Chooses the tokens to predict; the choice is a function of the example's key alone.

    Returns (tokens with masks BxL, positions BxM, labels BxM), where M is MASKED_SHARE of L rounded up
    and a label is -1 where an example has fewer tokens to predict.
    """
    count = math.ceil(tokens_BxL.shape[1] * MASKED_SHARE)
    vocab_end = mask_id  # <mask> is the last id

    def one(tokens_L, key):
        order_key, action_key, random_key = jax.random.split(key, 3)
        ordinary_L = tokens_L >= FIRST_PIECE
        ranks_L = jnp.where(ordinary_L, jax.random.uniform(order_key, tokens_L.shape), -1.0)
        _, positions_M = jax.lax.top_k(ranks_L, count)
        wanted = jnp.maximum(1, jnp.round(ordinary_L.sum() * MASKED_SHARE))
        chosen_M = (jnp.arange(count) < wanted) & ordinary_L[positions_M]
        original_M = tokens_L[positions_M]
        action_M = jax.random.uniform(action_key, (count,))
        random_M = jax.random.randint(random_key, (count,), FIRST_PIECE, vocab_end)
        masked_M = jnp.where(action_M < 0.8, mask_id, jnp.where(action_M < 0.9, random_M, original_M))
        tokens_L = tokens_L.at[positions_M].set(jnp.where(chosen_M, masked_M, original_M))
        return tokens_L, positions_M, jnp.where(chosen_M, original_M, -1)

    return jax.vmap(one)(tokens_BxL, keys_B)


def mlm_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """Masked language modelling on the batch's `input_ids`."""
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])
    tokens_BxL, masked_BxM, labels_BxM = mask_tokens(batch["input_ids"], keys_B, mask_id)
    logits_BxMxV = apply(batch | {"input_ids": tokens_BxL, "masked": masked_BxM})
    return cross_entropy(logits_BxMxV.reshape(-1, logits_BxMxV.shape[-1]), labels_BxM.reshape(-1))


def label_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """One label for each example: pairs and multiple choice."""
    return cross_entropy(apply(batch), batch["label"])


def tagging_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """One label for each word."""
    logits_BxLxY = apply(batch)
    return cross_entropy(logits_BxLxY.reshape(-1, logits_BxLxY.shape[-1]), batch["labels"].reshape(-1))


def span_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """The first and the last token of the answer: the mean of both losses, and how many spans are right."""
    logits_BxLx2 = apply(batch)
    # Only the context can hold an answer; elsewhere there are no character offsets.
    logits_BxLx2 = jnp.where((batch["spans"][..., :1] >= 0), logits_BxLx2, -1e9)
    start = cross_entropy(logits_BxLx2[..., 0], batch["start"])
    end = cross_entropy(logits_BxLx2[..., 1], batch["end"])
    both = (logits_BxLx2[..., 0].argmax(-1) == batch["start"]) & (logits_BxLx2[..., 1].argmax(-1) == batch["end"])
    return (start[0] + end[0]) / 2, start[1], both.astype(jnp.float32).sum()


LOSSES = {
    "mlm": mlm_loss,
    "pair_classification": label_loss,
    "multiple_choice": label_loss,
    "tagging": tagging_loss,
    "span_qa": span_loss,
}
