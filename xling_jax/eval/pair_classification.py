"""A label for two texts."""

from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval import words
from xling_jax.eval.multiple_choice import ranked
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.scoring.answers import best_label
from xling_jax.tables.tasks import TASKS


def device(logits_BxY: jax.Array) -> dict[str, jax.Array]:
    """Returns the logits as they are."""
    return {"logits": logits_BxY}


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[str]:
    """Returns a label word for each example, "" for a text that is none."""
    if setting.writes:
        return [label for label, _ in words.read(outputs, raw, setting)]
    return best_label(outputs.stack("logits"), TASKS[setting.target.task].labels)


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns the numbers of the labels, best first; and how likely each of them is, if asked for.

    Of what was written, whether it is a label.
    """
    if setting.writes:
        return [{"legal": legal} for _, legal in words.read(outputs, raw, setting)]
    return [ranked(logits_Y, setting.probabilities) for logits_Y in outputs.stack("logits")]


def priors(outputs: Outputs, setting: Setting) -> dict[str, float]:
    """Returns the mean probability of each label, or, of what was written, the share of each and of none ("")."""
    labels = TASKS[setting.target.task].labels
    if setting.writes:
        found = answers(outputs, (), setting)
        return {label: found.count(label) / len(found) for label in (*labels, "")}
    logits_NxY = outputs.stack("logits").astype(np.float64)
    likely_NxY = np.exp(logits_NxY - logits_NxY.max(axis=1, keepdims=True))
    likely_NxY /= likely_NxY.sum(axis=1, keepdims=True)
    return dict(zip(labels, likely_NxY.mean(axis=0).round(6).tolist(), strict=True))


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one label a line."""
    return "tsv", "".join(f"{label}\n" for label in predictions)
