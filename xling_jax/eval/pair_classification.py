"""A label for two texts."""

from collections.abc import Sequence

import jax

from xling_jax.eval.multiple_choice import ranked
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target
from xling_jax.scoring.answers import best_label
from xling_jax.tables.tasks import TASKS


def device(logits_BxY: jax.Array, batch: dict, target: Target) -> dict[str, jax.Array]:
    """Returns the logits as they are."""
    return {"logits": logits_BxY}


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[str]:
    """Returns a label word for each example."""
    return best_label(outputs.stack("logits"), TASKS[setting.target.task].labels)


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns the numbers of the labels, best first; and how likely each of them is, if asked for."""
    return [ranked(logits_Y, setting.probabilities) for logits_Y in outputs.stack("logits")]


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one label a line."""
    return "tsv", "".join(f"{label}\n" for label in predictions)
