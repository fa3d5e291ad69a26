"""Which sentences of two collections are translations of each other? As XTREME mines BUCC 2018.

Each sentence's candidates are its k nearest by cosine; the best of them by margin is its partner. With queries "both",
the partners of both sides are merged, best first, and a sentence is in one pair only (XTREME's way, there called
"max"). With "language" or "pivot" each sentence of that side has its partner, and one of the other side may be that of
several. Pairs are answers from a threshold on (`protocol.py`: threshold); `scoring/pairs.py` has XTREME's rules
about it, and about sentences that repeat.
"""

from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval.margin import best, best_of
from xling_jax.eval.predict import Outputs
from xling_jax.eval.search import build_index, centred, check_vectors, search_both
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target
from xling_jax.protocol import ALL, TUNED_ON, Protocol, crossfits
from xling_jax.scoring.pairs import SIDES, Candidates, Sentences, both_ways, crossfit, tuned
from xling_jax.tables.tasks import Cell


def others(cell: Cell, target: Target) -> tuple[Cell, ...]:
    """Returns the dev cell of the same language, if the threshold is tuned on it."""
    if target.protocol.threshold != TUNED_ON or crossfits(target.protocol, cell.split):
        return ()
    return (Cell(cell.task, TUNED_ON, cell.language),)


def gather(found: dict[Cell, tuple[Outputs, Sequence[dict]]], setting: Setting) -> dict[int, float]:
    """Returns the best threshold of the dev cell, by layer."""
    ((outputs, raw),) = found.values()
    sentences = Sentences.of(raw)
    return {layer: tuned(mined, sentences) for layer, mined in _mine(outputs, sentences, setting).items()}


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[list[str]]:
    """Returns for each sentence of the language the ids of its translations; for one of the pivot, nothing."""
    ((_, found),) = layer_scores(outputs, raw, setting).items()
    return found


def layer_scores(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> dict[int, list[list[str]]]:
    """Returns the answers from each hidden state that the outputs have: of one layer, or of all (`ALL`)."""
    sentences = Sentences.of(raw)
    return {
        layer: sentences.answers(mined, _threshold(layer, mined, sentences, setting))
        for layer, mined in _mine(outputs, sentences, setting).items()
    }


def _threshold(layer: int, mined: Candidates, sentences: Sentences, setting: Setting) -> float | np.ndarray:
    if setting.protocol.threshold != TUNED_ON:
        return float(setting.protocol.threshold)
    if setting.beside is not None:
        return setting.beside[layer]
    assert None not in sentences.gold, "a threshold tuned on gold that is withheld"
    return crossfit(mined, sentences)


def _mine(outputs: Outputs, sentences: Sentences, setting: Setting) -> dict[int, Candidates]:
    """Returns the candidates by layer."""
    vectors, layer = outputs.stack("vectors"), setting.protocol.layer
    check_vectors(vectors, sentences.ids)
    of_layer = {layer: vectors} if layer != ALL else {at: vectors[:, at] for at in range(vectors.shape[1])}
    return {layer: _candidates(vectors_NxD, sentences, setting) for layer, vectors_NxD in of_layer.items()}


def _candidates(vectors_NxD: np.ndarray, sentences: Sentences, setting: Setting) -> Candidates:
    protocol = setting.protocol
    sides = [vectors_NxD[side.number_N] for side in sentences.sides]
    if protocol.centre:
        sides = [centred(side_NxD) for side_NxD in sides]
    return sentences.candidates(*pairs_of(*sides, protocol, setting.mesh))


def pairs_of(
    language_NxD: np.ndarray, pivot_MxD: np.ndarray, protocol: Protocol, mesh: jax.sharding.Mesh | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (scores, rows, columns) of the partners of a resolved protocol's queries."""
    if protocol.queries == "both":
        index = build_index(pivot_MxD, mesh=mesh)
        found, back = search_both(language_NxD, index, protocol.k)
        return both_ways(best(found, back, protocol.margin), best(back, found, protocol.margin))
    sides = dict(zip(SIDES, (language_NxD, pivot_MxD), strict=True))
    asking = sides.pop(protocol.queries)
    score_N, found_N = best_of(asking, build_index(*sides.values(), mesh=mesh), protocol.margin, protocol.k)
    asking_N = np.arange(len(asking))
    return (score_N, asking_N, found_N) if protocol.queries == "language" else (score_N, found_N, asking_N)


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns each sentence's candidates, below the threshold too, and their scores, if asked for."""
    found: list[dict] = [{} for _ in raw]
    if setting.probabilities:
        sentences = Sentences.of(raw)
        ((layer, mined),) = _mine(outputs, sentences, setting).items()
        threshold_N = np.broadcast_to(_threshold(layer, mined, sentences, setting), mined.score_N.shape)
        columns = (mined.language_N, mined.pivot_N, mined.score_N, threshold_N)
        for language, pivot, score, threshold in zip(*(column.tolist() for column in columns), strict=True):
            found[language].setdefault("candidates", []).append([sentences.ids[pivot], round(score, 6)])
            found[language]["threshold"] = round(threshold, 6)
    return found


def submission(predictions: list[list[str]], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns one pair of ids a line."""
    pairs = ((example["id"], name) for example, names in zip(raw, predictions, strict=True) for name in names)
    return "tsv", "".join(f"{first}\t{second}\n" for first, second in pairs)
