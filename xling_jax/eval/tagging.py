"""A tag for every word; sentences that were cut are whole again."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xling_jax.eval import words
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.scoring.answers import tag_words
from xling_jax.tables.tasks import TASKS


def device(logits_BxLxY: jax.Array) -> dict[str, jax.Array]:
    """Returns the best label of each token, and how likely it is; the batch says which word it speaks for."""
    best_BxL = logits_BxLxY.max(axis=-1)
    likely_BxL = jnp.exp(best_BxL - jax.nn.logsumexp(logits_BxLxY, axis=-1))
    return {"label": logits_BxLxY.argmax(axis=-1), "probability": likely_BxL}


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[list[str]]:
    """Returns as many tags as words for each sentence."""
    if setting.writes:
        return [tags for tags, _ in words.read(outputs, raw, setting)]
    labels = TASKS[setting.target.task].labels
    tags = []
    for features, example in zip(outputs, raw, strict=True):
        label_L, word_L = (np.concatenate([feature[name] for feature in features]) for name in ("label", "word"))
        tags.append(tag_words(label_L, word_L, word_L >= 0, len(example["tokens"]), labels))
    return tags


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns how likely each word's tag is, if asked for; nothing (None) of a word that no feature holds.

    Of what was written, whether it is a tag for each word.
    """
    if setting.writes:
        return [{"legal": legal} for _, legal in words.read(outputs, raw, setting)]
    if not setting.probabilities:
        return [{}] * len(raw)
    found = []
    for features, example in zip(outputs, raw, strict=True):
        likely_L, word_L = (np.concatenate([feature[name] for feature in features]) for name in ("probability", "word"))
        likely: list[float | None] = [None] * len(example["tokens"])
        for at in np.flatnonzero(word_L >= 0).tolist():
            likely[word_L[at]] = round(float(likely_L[at]), 6)
        found.append({"probabilities": likely})
    return found


def submission(predictions: list[list[str]], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one tag a line, and an empty line after each sentence."""
    return "tsv", "".join("".join(f"{tag}\n" for tag in tags) + "\n" for tags in predictions)
