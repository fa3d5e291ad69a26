"""A label for two texts."""

from collections.abc import Sequence

import jax

from xling_jax.experiment import Target
from xling_jax.scoring.answers import best_label
from xling_jax.tables.tasks import TASKS


def device(logits_BxY: jax.Array, batch: dict, target: Target) -> dict[str, jax.Array]:
    """Returns the logits as they are."""
    return {"logits": logits_BxY}


def answers(rows: list[list[dict]], raw: Sequence[dict], target: Target) -> list[str]:
    """Returns a label word for each example."""
    labels = TASKS[target.task].labels
    return [best_label(features[0]["logits"][None], labels)[0] for features in rows]


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one label a line."""
    return "tsv", "".join(f"{label}\n" for label in predictions)
