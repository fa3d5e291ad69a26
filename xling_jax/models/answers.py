"""Answers in words, of encoder-decoders and of decoders alike: trained on, ranked, written.

A batch has prompts, input_ids BxL and their lengths B. All functions are pure; the model, `limit` and `beams` are
static under `jit`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xling_jax.models import prompts, text
from xling_jax.models.layers import along_row
from xling_jax.models.text import TextToText

Batch = dict[str, jax.Array]


def joined(batch: Batch) -> Batch:
    """Returns a batch for a decoder's language-model head: each prompt with its answer behind it, Bx(L+T).

    `labels` BxT are scored, at the places `masked` BxT before them; negative ones are not.
    """
    prompt_BxL, lengths_B, labels_BxT = batch["input_ids"], batch["lengths"], batch["labels"]
    width = labels_BxT.shape[1]
    padded_BxP = jnp.pad(prompt_BxL, ((0, 0), (0, width)))
    behind_BxP = along_row(padded_BxP) - jnp.broadcast_to(lengths_B[:, None], padded_BxP.shape)
    answer_BxP = jnp.take_along_axis(labels_BxT, behind_BxP.clip(0, width - 1), axis=1).clip(0)
    return {
        **{name: batch[name] for name in ("index",) if name in batch},
        "input_ids": jnp.where(behind_BxP < 0, padded_BxP, answer_BxP),
        "lengths": lengths_B + (labels_BxT >= 0).sum(axis=1, dtype=lengths_B.dtype),
        "masked": (lengths_B - 1)[:, None] + along_row(labels_BxT),
        "labels": labels_BxT,
    }


def make_rank_fn(model: Any, head: str) -> Callable[[Any, Batch, jax.Array], tuple[jax.Array, jax.Array]]:
    """Returns (params, batch, answers BxCxT) -> (summed log-probabilities BxC, tokens BxC): see `prompts.rank`."""
    if isinstance(model, TextToText):
        return lambda params, batch, answers: model.apply(
            {"params": params}, batch["input_ids"], answers, method="rank"
        )

    def rank(params, batch, answers_BxCxT):
        return prompts.rank(model, params, head, batch["input_ids"], batch["lengths"], answers_BxCxT=answers_BxCxT)

    return rank


def make_write_fn(
    model: Any, head: str, *, limit: int, eos: int, pad: int, beams: int
) -> Callable[[Any, Batch], jax.Array]:
    """Returns (params, batch) -> the texts BxT that are written, T = limit: -1 after the end of text."""

    def write(params, batch):
        if isinstance(model, TextToText):
            written_BxT = text.generate(model.config, params, batch["input_ids"], limit=limit, beams=beams)
        else:
            how: dict[str, Any] = {"limit": limit, "eos": eos, "pad": pad, "beams": beams}
            written_BxT = prompts.generate(model, params, head, batch["input_ids"], batch["lengths"], **how)
        ends_BxT = (written_BxT == eos).astype(jnp.int32)
        return jnp.where(jnp.cumsum(ends_BxT, axis=1) - ends_BxT == 0, written_BxT, -1)  # padding may be the end's id

    return write
