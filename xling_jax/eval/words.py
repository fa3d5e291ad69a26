"""What a model wrote on the device, read back by `scoring/written.py`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.scoring.written import Said, make_reader
from xling_jax.tables.prompts import prompt_of
from xling_jax.tables.tasks import TASKS


def read(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[tuple[Any, bool]]:
    """Returns (the answer, whether it is a legal one) of each example; labels need nothing of the raw examples."""
    row = TASKS[setting.target.task]
    reader = make_reader(row, prompt_of(row, setting.target.prompts))
    examples = raw or [{}] * len(outputs)
    return [
        reader(example, [_said(feature, setting) for feature in features])
        for features, example in zip(outputs, examples, strict=True)
    ]


def _said(feature: dict[str, np.ndarray], setting: Setting) -> Said:
    text = setting.decode(feature["text"][feature["text"] >= 0]).strip()
    begin, end = feature.get("words", np.zeros(2, int)).tolist()
    return Said(text, float(feature.get("score", 0.0)), (begin, end))
