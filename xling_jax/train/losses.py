"""Losses, one per kind of task and one of texts: (sum over what is scored, how much there is, how much was right).

All three are sums over a batch, so that micro-batches and hosts add up to exactly the global batch. They
are in float32. What has label -1 is not scored.

A batch with `first` is packed: its rows hold several examples, segments 1, 2 ..., and what an example has
once (label, start, end, index) is BxS. Its loss is that of the same examples in rows of their own.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xling_jax.tables.kinds import SHORTEST

MASKED_SHARE = 0.15  # of the tokens; of these 80% become <mask>, 10% another token, 10% stay (Devlin et al. 2019)
Z_LOSS = 1e-4  # t5x's, for every T5, mT5 and umT5
FIRST_PIECE = 4  # ids below are special
PAD = 1


def cross_entropy(logits_NxY: jax.Array, labels_N: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the three sums over the labels that are not -1."""
    scored_N = labels_N >= 0
    safe_N = jnp.where(scored_N, labels_N, 0)
    logits_NxY = logits_NxY.astype(jnp.float32)
    picked_N = jnp.take_along_axis(logits_NxY, safe_N[:, None], axis=-1)[:, 0]
    loss_N = jax.nn.logsumexp(logits_NxY, axis=-1) - picked_N
    # Right is what `argmax` would find, the first of equals: that takes a CPU longer than the vocabulary's product.
    label_NxY, most_N = jax.lax.broadcasted_iota(jnp.int32, logits_NxY.shape, 1), picked_N[:, None]
    less_NxY = jnp.where(label_NxY < safe_N[:, None], logits_NxY < most_N, logits_NxY <= most_N)
    right_N = less_NxY.all(axis=-1)
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


def mask_packed(batch: dict, key: jax.Array, mask_id: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns what `mask_tokens` does for packed rows, where every segment gets the masks it gets alone.

    Segments are taken apart, masked, and put back; that is S * L integers a row, fewer than the scores of one
    attention head. M is L / SHORTEST rounded down: packing gives a segment so much room that this is enough.
    """
    tokens_BxL, segments_BxL, first_BxS = batch["input_ids"], batch["segments"], batch["first"]
    (rows, length), count = tokens_BxL.shape, first_BxS.shape[1]
    places_BxSxL = first_BxS[..., None] + jnp.arange(length)[None, None]
    numbers_1xSx1 = jnp.arange(1, count + 1)[None, :, None]
    own_BxSxL = _at(segments_BxL, places_BxSxL, 0) == numbers_1xSx1
    apart_BxSxL = jnp.where(own_BxSxL, _at(tokens_BxL, places_BxSxL, PAD), PAD)
    keys_BS = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"].reshape(-1))
    parts = mask_tokens(apart_BxSxL.reshape(-1, length), keys_BS, mask_id)
    apart_BxSxL, masked_BxSxM, labels_BxSxM = (part.reshape(rows, count, -1) for part in parts)
    back_BxL = (segments_BxL.clip(1) - 1) * length + batch["positions"]
    masked_BxL = jnp.take_along_axis(apart_BxSxL.reshape(rows, -1), back_BxL, axis=1)
    tokens_BxL = jnp.where(segments_BxL > 0, masked_BxL, PAD)
    labels_BxSM = labels_BxSxM.reshape(rows, -1)
    masked_BxSM = (masked_BxSxM + first_BxS[..., None]).clip(0, length - 1).reshape(rows, -1)
    chosen_BxM = jnp.argsort(labels_BxSM < 0, axis=1, stable=True)[:, : length // SHORTEST]
    masked_BxM, labels_BxM = (jnp.take_along_axis(part, chosen_BxM, axis=1) for part in (masked_BxSM, labels_BxSM))
    return tokens_BxL, masked_BxM, labels_BxM


def _at(values_BxL: jax.Array, places_BxSxL: jax.Array, beyond: int) -> jax.Array:
    """Returns the values at places of their rows, and `beyond` for a place after the end of the row."""
    flat_BxSL = places_BxSxL.reshape(len(places_BxSxL), -1)
    found_BxSL = jnp.take_along_axis(values_BxL, flat_BxSL, axis=1, mode="fill", fill_value=beyond)
    return found_BxSL.reshape(places_BxSxL.shape)


def mlm_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """Masked language modelling on the batch's `input_ids`."""
    if "first" in batch:
        tokens_BxL, masked_BxM, labels_BxM = mask_packed(batch, key, mask_id)
    else:
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])
        tokens_BxL, masked_BxM, labels_BxM = mask_tokens(batch["input_ids"], keys_B, mask_id)
    logits_BxMxV = apply(batch | {"input_ids": tokens_BxL, "masked": masked_BxM})
    return cross_entropy(logits_BxMxV.reshape(-1, logits_BxMxV.shape[-1]), labels_BxM.reshape(-1))


def label_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """One label for each example: pairs and multiple choice."""
    logits_BxY = apply(batch)
    return cross_entropy(logits_BxY.reshape(-1, logits_BxY.shape[-1]), batch["label"].reshape(-1))


def tagging_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """One label for each word."""
    logits_BxLxY = apply(batch)
    return cross_entropy(logits_BxLxY.reshape(-1, logits_BxLxY.shape[-1]), batch["labels"].reshape(-1))


def span_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """The first and the last token of the answer: the mean of both losses, and how many spans are right."""
    logits_BxLx2 = apply(batch)
    # Only the context can hold an answer; elsewhere there are no character offsets.
    asked_BxSxL = (batch["spans"][..., 0] >= 0)[:, None]
    start_BxS, end_BxS = batch["start"], batch["end"]
    if "first" in batch:  # a segment is asked about its own tokens
        first_BxS = batch["first"]
        numbers_1xSx1 = jnp.arange(1, first_BxS.shape[1] + 1)[None, :, None]
        asked_BxSxL = asked_BxSxL & (batch["segments"][:, None] == numbers_1xSx1)
        start_BxS, end_BxS = (jnp.where(at >= 0, at + first_BxS, at) for at in (start_BxS, end_BxS))

    def one(number, label_BxS):
        logits_BxSxL = jnp.where(asked_BxSxL, logits_BxLx2[:, None, :, number], -1e9)
        logits_NxL, label_N = logits_BxSxL.reshape(-1, logits_BxSxL.shape[-1]), label_BxS.reshape(-1)
        return cross_entropy(logits_NxL, label_N)[:2], logits_NxL.argmax(-1) == label_N

    (start, weight), start_right_N = one(0, start_BxS)
    (end, _), end_right_N = one(1, end_BxS)
    return (start + end) / 2, weight, (start_right_N & end_right_N).astype(jnp.float32).sum()


def lm_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """Next-token prediction, of the tokens that have labels: of a prompt and its answer those of the answer, say.

    `labels` BxL are the tokens themselves, -1 for those that are not scored; a token is predicted by the one before it,
    so the first of a segment never is. If the batch has `masked` BxM, `labels` are BxM: the tokens that follow those
    places. Then logits are computed for M places of each row and not for all L.
    """
    if "masked" not in batch:
        labels_BxL = batch["labels"]
        if "positions" in batch:
            labels_BxL = jnp.where(batch["positions"] == 0, -1, labels_BxL)
        places_L = jnp.arange(labels_BxL.shape[1] - 1)
        masked_BxM = jnp.broadcast_to(places_L[None], (len(labels_BxL), len(places_L)))
        batch = batch | {"labels": labels_BxL[:, 1:], "masked": masked_BxM}
    logits_BxMxV = apply(batch)
    return cross_entropy(logits_BxMxV.reshape(-1, logits_BxMxV.shape[-1]), batch["labels"].reshape(-1))


def dual_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int):
    """Each query picks its candidate among those of the batch, and no candidate picks a query, as in XTREME-R.

    So an example's loss depends on its company, and with micro-batches on that of its own alone, as there.
    """
    logits_BxB = apply(batch)
    there_B = batch["input_ids"][:, 0, 0] != PAD
    return cross_entropy(logits_BxB, jnp.where(there_B, jnp.arange(len(logits_BxB)), -1))


def text_loss(apply: Callable, batch: dict, key: jax.Array, mask_id: int, z_loss: float = Z_LOSS):
    """One label for each token of the target text.

    `z_loss` times the square of the softmax's normaliser, in logarithms, is added for each token, as mT5 and T5 were
    trained: it keeps logits from drifting away together, which the softmax does not see.
    """
    logits_BxTxV = apply(batch)
    labels_N = batch["labels"].reshape(-1)
    logits_NxV = logits_BxTxV.reshape(-1, logits_BxTxV.shape[-1])
    loss, weight, right = cross_entropy(logits_NxV, labels_N)
    drift_N = jnp.square(jax.nn.logsumexp(logits_NxV.astype(jnp.float32), axis=-1))
    return loss + z_loss * jnp.where(labels_N >= 0, drift_N, 0.0).sum(), weight, right


LOSSES = {
    "lm": lm_loss,
    "mlm": mlm_loss,
    "pair_classification": label_loss,
    "multiple_choice": label_loss,
    "tagging": tagging_loss,
    "span_qa": span_loss,
    "dual_encoder": dual_loss,
    "text_to_text": text_loss,
}
