"""The best of several choices."""

from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval import words
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting


def device(logits_R: jax.Array) -> dict[str, jax.Array]:
    """Returns the logits of choices as they are."""
    return {"logits": logits_R}


def _logits(outputs: Outputs, raw: Sequence[dict]) -> list[np.ndarray]:
    """Returns the logits of each example's own choices."""
    return [features[0]["logits"][: len(example["choices"])] for features, example in zip(outputs, raw, strict=True)]


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[int]:
    """Returns the number of the chosen choice for each example, -1 for a text that is none."""
    if setting.writes:
        return [choice for choice, _ in words.read(outputs, raw, setting)]
    return [int(logits_C.argmax()) for logits_C in _logits(outputs, raw)]


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns the numbers of each example's choices, best first; and how likely each of them is, if asked for.

    Of what was written, whether it is a choice.
    """
    if setting.writes:
        return [{"legal": legal} for _, legal in words.read(outputs, raw, setting)]
    return [ranked(logits_C, setting.probabilities) for logits_C in _logits(outputs, raw)]


def ranked(logits_C: np.ndarray, probabilities: bool) -> dict:
    """Returns numbers in the order of their logits, the first among equals first; probabilities in theirs."""
    found: dict = {"ranking": np.argsort(-logits_C, kind="stable").tolist()}
    if probabilities:
        weights_C = np.exp(logits_C.astype(np.float64) - logits_C.max())
        found["probabilities"] = (weights_C / weights_C.sum()).round(6).tolist()
    return found


def submission(predictions: list[int], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one object a line, as XTREME-R has XCOPA: {"label": 0}, counted from 0."""
    return "jsonl", "".join(f'{{"label": {choice}}}\n' for choice in predictions)
