"""A tag for every word; sentences that were cut are whole again."""

from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.experiment import Target
from xling_jax.scoring.answers import tag_words
from xling_jax.tables.tasks import TASKS


def device(logits_BxLxY: jax.Array, batch: dict, target: Target) -> dict[str, jax.Array]:
    """Returns the best label of each token, and which word it speaks for."""
    return {"label": logits_BxLxY.argmax(axis=-1), "word": batch["word"]}


def answers(rows: list[list[dict]], raw: Sequence[dict], target: Target) -> list[list[str]]:
    """Returns as many tags as words for each sentence."""
    labels = TASKS[target.task].labels
    tags = []
    for features, example in zip(rows, raw, strict=True):
        label_L = np.concatenate([feature["label"] for feature in features])
        word_L = np.concatenate([feature["word"] for feature in features])
        tags.append(tag_words(label_L, word_L, word_L >= 0, len(example["tokens"]), labels))
    return tags


def submission(predictions: list[list[str]], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one tag a line, and an empty line after each sentence."""
    return "tsv", "".join("".join(f"{tag}\n" for tag in tags) + "\n" for tags in predictions)
