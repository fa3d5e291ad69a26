"""What was watched while a stage was trained: its dev score, and how well languages are aligned in each layer.

    {"step": 200, "dev/world_qa.dev.qen/f1": 71.2}          the score of a checkpoint on a dev cell
    {"step": 200, "align/qnd/layer2/accuracy": 48.0}        retrieval of translations from and to the source
    {"step": 200, "align/qnd/layer2/similarity": 0.31}      cosine of translations, less that of random pairs
    {"step": 200, "align/qnd/sentences": 500}               how many translations that is of

They stand in a stage's metrics.jsonl, beside what it says of training or in lines of their own.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from xling_jax.report.items import read_lines

ACCURACY, SIMILARITY = "accuracy", "similarity"
LAYER = "layer"


@dataclasses.dataclass(frozen=True)
class Track:
    """A number at some steps of a stage, in their order."""

    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Watched:
    """What was watched of a stage: `dev` by cell and metric, `aligned` by language, layer and what is measured.

    `sentences` are by language.
    """

    dev: Mapping[tuple[str, str], Track]
    aligned: Mapping[tuple[str, int, str], Track]
    sentences: Mapping[str, int] = dataclasses.field(default_factory=dict)


def read_watched(path: pathlib.Path) -> Watched:
    """Returns what a metrics file says was watched; of a step that was done again, the last."""
    dev: dict[tuple[str, str], dict[float, float]] = {}
    aligned: dict[tuple[str, int, str], dict[float, float]] = {}
    sentences: dict[str, int] = {}
    for _, fields in read_lines(path) if path.is_file() else ():
        for name, value in fields.items():
            match name.split("/"):
                case ["dev", cell, metric]:
                    dev.setdefault((cell, metric), {})[fields["step"]] = value
                case ["align", language, layer, what] if layer.removeprefix(LAYER).isdigit():
                    key = (language, int(layer.removeprefix(LAYER)), what)
                    aligned.setdefault(key, {})[fields["step"]] = value
                case ["align", language, "sentences"]:
                    sentences[language] = int(value)
    return Watched(_tracks(dev), _tracks(aligned), sentences)


def _tracks(found: Mapping) -> dict:
    return {key: Track(*np.array(sorted(points.items()), float).T) for key, points in found.items()}
