"""What is in a batch, counted on the host: examples, tokens, and what they ask of the model."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from xling_jax.flops import FEW, Work
from xling_jax.train.losses import MASKED_SHARE
from xling_jax.train.meter import Load

Batch = Mapping[str, np.ndarray]


def text_lengths(batch: Batch) -> np.ndarray:
    """Returns the tokens of each text of a batch, padding left out: a segment of packed rows, a choice, or a row."""
    if "segments" not in batch:
        lengths = batch["lengths"].reshape(-1)
        return lengths[lengths > 0].astype(np.int64)
    segments_BxL = batch["segments"].astype(np.int64)
    rows, each = len(segments_BxL), int(segments_BxL.max(initial=0)) + 1
    numbers_BxL = segments_BxL + each * np.arange(rows)[:, None]
    counts_BxS = np.bincount(numbers_BxL.reshape(-1), minlength=rows * each).reshape(rows, each)[:, 1:]
    return counts_BxS[counts_BxS > 0]


def load(batch: Batch, kind: str, each: Work) -> Load:
    """Returns what a batch holds. `kind` is that of its head, `each` the FLOPs of a token, a pair and so on."""
    tokens = batch["input_ids"]
    rows, width = tokens.size // tokens.shape[-1], tokens.shape[-1]
    real, padded = text_lengths(batch), np.full(rows, width, np.int64)
    examples = len(real) if "segments" in batch else len(tokens)
    if kind in ("lm", "text_to_text"):
        said = (batch["labels"] >= 0).sum(axis=-1)
        works = (_in_words(kind, batch["lengths"], said), _in_words(kind, padded, np.full(rows, said_room(batch))))
    else:
        most = math.ceil(width * MASKED_SHARE) if kind == "mlm" else batch.get("first", tokens[..., :1]).shape[-1]
        few = kind in FEW
        works = (_read(real, few * _places(real, kind)), _read(padded, few * np.full(rows, most)))
    return Load(1, examples, *works, *(work.cost(each) for work in works))


def answering(batch: Batch, kind: str, said_BxC: np.ndarray) -> Work:
    """Returns the work of answering rows of a batch, padding left out.

    Args:
      batch: the rows.
      kind: of the head.
      said_BxC: for answers in words the tokens of each that is ranked or written; every one of them is read behind a
        prompt that is read once. BxC of no answers for other heads.
    """
    if kind not in ("lm", "text_to_text"):
        lengths_N = text_lengths(batch)
        return _read(lengths_N, (kind in FEW) * _places(lengths_N, kind))
    lengths_B = batch["lengths"].astype(np.int64)
    said_BxC = said_BxC.astype(np.int64)
    prompts = dataclasses.replace(_read(lengths_B, said_BxC.sum(axis=-1)), crossing=0)
    crossing, own = float((said_BxC * lengths_B[:, None]).sum()), float((said_BxC**2).sum())
    said = float(said_BxC.sum())
    if kind == "lm":  # in one text: a token sees the prompt, and what is said before it
        return prompts + Work(tokens=said, pairs=2 * crossing + own)
    return prompts + Work(targets=said, target_pairs=own, crossing=crossing)


def said_room(batch: Batch) -> int:
    """Returns how many tokens an answer in words may have in a batch."""
    return batch["labels"].shape[-1]


def _places(lengths_N: np.ndarray, kind: str) -> np.ndarray:
    """Returns how many states each text has that its head gets: masked tokens, or one."""
    return MASKED_SHARE * lengths_N if kind == "mlm" else np.ones(len(lengths_N))


def _read(lengths_N: np.ndarray, places_N: np.ndarray) -> Work:
    return Work(
        tokens=float(lengths_N.sum()),
        pairs=float((lengths_N**2).sum()),
        crossing=float((lengths_N * places_N).sum()),
        places=float(places_N.sum()),
    )


def _in_words(kind: str, lengths_B: np.ndarray, said_B: np.ndarray) -> Work:
    """Returns the work of prompts with answers: behind them in a decoder, of their own in an encoder-decoder."""
    lengths_B, said_B = lengths_B.astype(np.int64), said_B.astype(np.int64)
    if kind == "lm":
        return dataclasses.replace(_read(lengths_B + said_B, said_B), crossing=0)
    return Work(
        tokens=float(lengths_B.sum()),
        pairs=float((lengths_B**2).sum()),
        targets=float(said_B.sum()),
        target_pairs=float((said_B**2).sum()),
        crossing=float((lengths_B * said_B).sum()),
        places=float(said_B.sum()),
    )
