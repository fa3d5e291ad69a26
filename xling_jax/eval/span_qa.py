"""The answer to a question as a slice of its context; the best over all windows, or none."""

import json
from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval import words
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.scoring.answers import best_spans
from xling_jax.tables.tasks import TASKS

N_BEST = 20  # answers that are kept of each question where probabilities are, as in the published BERT and XTREME code


def device(logits_BxLx2: jax.Array) -> dict[str, jax.Array]:
    """Returns the logits of start and end; the batch says which characters each token covers."""
    return {"start": logits_BxLx2[..., 0], "end": logits_BxLx2[..., 1]}


def _found(features: list[dict], setting: Setting, count: int) -> list[tuple[int, int, float]]:
    """Returns the best spans of all windows of a question, best first: (begin, end, score), in characters.

    An answer that several windows hold counts once, with its best score.
    """
    best: dict[tuple[int, int], float] = {}
    longest = setting.protocol.max_answer
    for f in features:
        valid_L = f["spans"][:, 0] >= 0
        spans = best_spans(f["start"], f["end"], f["spans"], valid_L, max_tokens=longest, count=count)
        for begin, end, score in spans:
            best[begin, end] = max(score, best.get((begin, end), -np.inf))
    ordered = sorted(best.items(), key=lambda item: -item[1])
    return [(begin, end, score) for (begin, end), score in ordered[:count]]


def _none(features: list[dict]) -> float:
    """Returns the score of no answer: that of <s>, in the window that likes it least (Devlin et al. 2019)."""
    return min(float(f["start"][0]) + float(f["end"][0]) for f in features)


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[str]:
    """Returns a slice of the context for each question; "" where the task allows none and it scores well enough.

    What was written is taken as it is.
    """
    if setting.writes:
        return [text for text, _ in words.read(outputs, raw, setting)]
    texts = []
    for features, example in zip(outputs, raw, strict=True):
        ((begin, end, score),) = _found(features, setting, 1)
        without = TASKS[setting.target.task].unanswerable and (
            _none(features) - score > setting.protocol.null_threshold
        )
        texts.append("" if without else example["context"][begin:end])
    return texts


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns the best answers of each question, if asked for: [text, probability among them], best first.

    "" is among them where a question may have no answer. Of what was written, whether it is a slice of the context.
    """
    if setting.writes:
        return [{"legal": legal} for _, legal in words.read(outputs, raw, setting)]
    if not setting.probabilities:
        return [{}] * len(raw)
    found = []
    for features, example in zip(outputs, raw, strict=True):
        spans = _found(features, setting, N_BEST)
        texts = [(example["context"][begin:end], score) for begin, end, score in spans]
        if TASKS[setting.target.task].unanswerable:
            texts = sorted([*texts, ("", _none(features))], key=lambda item: -item[1])
        weights = np.exp(np.array([score - texts[0][1] for _, score in texts]))
        likely = (weights / weights.sum()).round(6).tolist()
        found.append({"best": [[text, share] for (text, _), share in zip(texts, likely, strict=True)]})
    return found


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns a JSON object of question id to answer."""
    named = {example["id"]: answer for example, answer in zip(raw, predictions, strict=True)}
    return "json", json.dumps(named, ensure_ascii=False, indent=0) + "\n"
