"""The answer to a question as a slice of its context; the best over all windows."""

import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from xling_jax.experiment import Target
from xling_jax.scoring.answers import best_span

MAX_ANSWER = 30  # tokens, as in the published BERT and XTREME code


def device(logits_BxLx2: jax.Array, batch: dict, target: Target) -> dict[str, jax.Array]:
    """Returns the logits of start and end, and the characters each token covers."""
    return {"start": logits_BxLx2[..., 0], "end": logits_BxLx2[..., 1], "spans": batch["spans"].astype(jnp.int32)}


def answers(rows: list[list[dict]], raw: Sequence[dict], target: Target) -> list[str]:
    """Returns a slice of the context for each question."""
    texts = []
    for features, example in zip(rows, raw, strict=True):
        found = [best_span(f["start"], f["end"], f["spans"], f["spans"][:, 0] >= 0, MAX_ANSWER) for f in features]
        begin, end, _ = max(found, key=lambda span: span[2])
        texts.append(example["context"][begin:end])
    return texts


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns a JSON object of question id to answer."""
    named = {example["id"]: answer for example, answer in zip(raw, predictions, strict=True)}
    return "json", json.dumps(named, ensure_ascii=False, indent=0) + "\n"
