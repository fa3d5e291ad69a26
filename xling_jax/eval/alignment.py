"""How near translations lie to each other: of each hidden state, without labels and without a choice to be made.

Retrieval says whether a sentence's translation is nearer than any other sentence; it is at its end, 0 or 100, long
before vectors stop moving. The similarity goes on: the mean cosine of translations, less that of sentences that have
nothing to do with each other, as vectors of a model may all lie in one direction.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from xling_jax.eval.search import build_index, centred, check_vectors, search_both

FEWEST = 2  # pairs: one has nothing to be compared with
SEED = 0  # of the pairs that are no translations: the same in all steps, layers and runs


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Of a hidden state: retrieval in percent, mean of both directions, and how much nearer translations are."""

    accuracy: float
    similarity: float


def alignments(
    vectors_NxEx2xD: np.ndarray, names: Sequence[str], *, centre: bool, layers: Sequence[int], mesh: jax.sharding.Mesh
) -> dict[int, Alignment]:
    """Returns the alignment of hidden states.

    Args:
      vectors_NxEx2xD: of all hidden states, of both texts of each pair.
      names: of the pairs, for the error.
      centre: subtract the mean of each side.
      layers: the hidden states; () for all.
      mesh: to search on.

    Raises:
      NumericalError: a vector is not finite.
    """
    assert len(vectors_NxEx2xD) >= FEWEST, "too few pairs: `Watch` lets no such cell pass"
    check_vectors(vectors_NxEx2xD, names)
    found = {}
    for layer in layers or range(vectors_NxEx2xD.shape[1]):
        sides = [vectors_NxEx2xD[:, layer, side] for side in range(2)]
        sides = [centred(side_NxD) if centre else side_NxD for side_NxD in sides]
        found[layer] = Alignment(_accuracy(*sides, mesh), _similarity(*sides))
    return found


def _accuracy(texts_NxD: np.ndarray, pivots_NxD: np.ndarray, mesh: jax.sharding.Mesh) -> float:
    both = search_both(pivots_NxD, build_index(texts_NxD, mesh=mesh), 1)
    own_N = np.arange(len(texts_NxD))
    return 100 * float(np.mean([(nearest.numbers[:, 0] == own_N).mean() for nearest in both]))


def _similarity(texts_NxD: np.ndarray, pivots_NxD: np.ndarray) -> float:
    texts_NxD, pivots_NxD = _units(texts_NxD), _units(pivots_NxD)
    other_N = derangement(len(texts_NxD))
    return float(np.mean((texts_NxD * (pivots_NxD - pivots_NxD[other_N])).sum(axis=1)))


def _units(vectors_NxD: np.ndarray) -> np.ndarray:
    vectors_NxD = vectors_NxD.astype(np.float64)
    length_Nx1 = np.linalg.norm(vectors_NxD, axis=1, keepdims=True)
    return vectors_NxD / np.where(length_Nx1, length_Nx1, 1.0)


def derangement(count: int) -> np.ndarray:
    """Returns an order of so many numbers in which none is in its own place: one cycle through all of them."""
    cycle_N = np.random.default_rng(SEED).permutation(count)
    other_N = np.empty(count, np.int64)
    other_N[cycle_N] = np.roll(cycle_N, 1)
    return other_N
