"""Which text of a language is the translation of a given text in the pivot language?

As in XTREME's Tatoeba: the texts of the language are indexed, those of the pivot language are the
queries, the nearest by cosine is the answer. Mean-pooled vectors of one language lie close together, so
the language's mean is subtracted first unless the protocol says otherwise.
"""

from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target

CHUNK = 4096  # queries compared at once


def device(vectors_2BxD: jax.Array, batch: dict, target: Target) -> dict[str, jax.Array]:
    """Returns a vector for each text of each pair, Bx2xD."""
    return {"vectors": vectors_2BxD.reshape(-1, 2, vectors_2BxD.shape[-1])}


def nearest(queries_NxD: np.ndarray, index_MxD: np.ndarray) -> np.ndarray:
    """Returns for each query the row of the index that is nearest by cosine; the first among equals."""

    def unit(x):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    queries_NxD, index_MxD = unit(queries_NxD), unit(index_MxD)
    parts = [queries_NxD[at : at + CHUNK] @ index_MxD.T for at in range(0, len(queries_NxD), CHUNK)]
    return np.concatenate([part.argmax(axis=1) for part in parts])


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[str]:
    """Returns for each text of the queries' side the id of the text that was found."""
    vectors_Nx2xD = outputs.stack("vectors").astype(np.float64)
    if setting.protocol.centre:
        vectors_Nx2xD = vectors_Nx2xD - vectors_Nx2xD.mean(axis=0)
    found = nearest(vectors_Nx2xD[:, 1], vectors_Nx2xD[:, 0])
    return [raw[number]["id"] for number in found]


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns nothing more."""
    return [{}] * len(raw)


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns for each pivot text the line of the text that was found, counted from 0."""
    line = {example["id"]: number for number, example in enumerate(raw)}
    return "tsv", "".join(f"{line[name]}\n" for name in predictions)
