"""The candidates nearest to a query's vector, among those of all languages: LAReQA and Mewsli-X, as XTREME-R has them.

A query is searched among the candidates of every language at once, whatever its own. They are encoded once for the
queries of all languages, and stay on the mesh.
"""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from xling_jax.eval.predict import Outputs
from xling_jax.eval.search import Index, Nearest, build_index, check_vectors, search
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target
from xling_jax.scoring.metrics import CUT
from xling_jax.tables.tasks import Cell


@dataclasses.dataclass(frozen=True)
class Searched:
    """Candidates of all languages: their vectors on the mesh, and their ids."""

    index: Index
    ids: list[str]


def others(cell: Cell, target: Target) -> tuple[Cell, ...]:
    """Returns the candidates, in all languages."""
    return cell.among


def gather(found: dict[Cell, tuple[Outputs, Sequence[dict]]], setting: Setting) -> Searched:
    """Returns all candidates, one language after another."""
    parts, ids = [], []
    for outputs, raw in found.values():
        part_NxD, names = outputs.stack("vectors")[:, 0], [example["id"] for example in raw]
        check_vectors(part_NxD, names)
        parts.append(part_NxD)
        ids += names
    return Searched(build_index(*parts, mesh=setting.mesh), ids)


def _nearest(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> Nearest:
    vectors_NxD = outputs.stack("vectors")[:, 0]
    check_vectors(vectors_NxD, [example["id"] for example in raw])
    return search(vectors_NxD, setting.beside.index, CUT)


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[list[str]]:
    """Returns the ids of each query's nearest candidates, as many as count, the best first."""
    ids = setting.beside.ids
    return [[ids[number] for number in row] for row in _nearest(outputs, raw, setting).numbers.tolist()]


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns the cosines of each query's ranking, if asked for."""
    if not setting.probabilities:
        return [{}] * len(raw)
    scores_NxK = _nearest(outputs, raw, setting).scores.astype(np.float64).round(6)
    return [{"scores": scores_K} for scores_K in scores_NxK.tolist()]


def submission(predictions: list[list[str]], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns a JSON object of query id to ids of candidates, as XTREME-R has Mewsli-X."""
    named = {example["id"]: ids for example, ids in zip(raw, predictions, strict=True)}
    return "json", json.dumps(named, ensure_ascii=False, indent=0) + "\n"
