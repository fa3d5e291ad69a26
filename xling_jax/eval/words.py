"""What a model wrote, read back: a label's word, a choice's text, a slice of the context, a tag for each word.

What is none of these is no answer, and counted: `legal` of an example says whether its answer is one.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.scoring.answers import OUTSIDE
from xling_jax.tables.prompts import Prompt, prompt_of
from xling_jax.tables.tasks import TASKS


def _prompt(setting: Setting) -> Prompt:
    return prompt_of(TASKS[setting.target.task], setting.target.prompts)


def _text(feature: dict[str, np.ndarray], setting: Setting) -> str:
    return setting.decode(feature["text"][feature["text"] >= 0]).strip()


def _plain(text: str) -> str:
    """Returns a text as vocabularies may write it: composed, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def labels(outputs: Outputs, setting: Setting) -> list[str | None]:
    """Returns the label that each example's text says, or None."""
    row = TASKS[setting.target.task]
    label_of = {_plain(said): label for label, said in zip(row.labels, _prompt(setting).said(row.labels), strict=True)}
    return [label_of.get(_plain(_text(features[0], setting))) for features in outputs]


def choices(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[int | None]:
    """Returns the number of the choice that each example's text is, the first among equals, or None."""
    found = []
    for features, example in zip(outputs, raw, strict=True):
        text, there = _plain(_text(features[0], setting)), [_plain(choice) for choice in example["choices"]]
        found.append(there.index(text) if text in there else None)
    return found


def spans(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[tuple[str, bool]]:
    """Returns (the likeliest text of all windows, whether it is a slice of the context) for each question.

    "" is the answer where the task has questions without one and every window says so.
    """
    none = _prompt(setting).words[""] if TASKS[setting.target.task].unanswerable else None
    found = []
    for features, example in zip(outputs, raw, strict=True):
        said = [(float(feature["score"]), _text(feature, setting)) for feature in features]
        said = [(score, text) for score, text in said if text != none] or [(0.0, "")]
        text = max(said, key=lambda pair: pair[0])[1]
        there = _plain(text) in _plain(example["context"]) if text else none is not None
        found.append((text, there))
    return found


def tags(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[tuple[list[str], bool]]:
    """Returns (a tag for each word, whether all were said and no more) for each sentence; O for what was not."""
    row = TASKS[setting.target.task]
    tag_of = dict(zip(_prompt(setting).said(row.labels), row.labels, strict=True))
    found = []
    for features, example in zip(outputs, raw, strict=True):
        tags, legal = [OUTSIDE] * len(example["tokens"]), True
        for feature in features:
            begin, end = feature["words"].tolist()
            said = [tag_of.get(word) for word in _text(feature, setting).split()]
            legal &= len(said) == end - begin and None not in said
            for at, tag in zip(range(begin, end), said, strict=False):
                tags[at] = tag or OUTSIDE
        found.append((tags, legal))
    return found
