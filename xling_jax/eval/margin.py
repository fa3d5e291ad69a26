"""How much nearer than its neighbours a neighbour is (Artetxe and Schwenk 2019, arXiv 1811.01136).

Some texts are near to all others, and a cosine alone finds them everywhere. The margin compares it with the mean
cosine of both texts' k nearest on the other side.
"""

import numpy as np

from xling_jax.eval.search import Index, Nearest, search, search_both

SMALLEST = 1e-6  # a mean that a cosine is divided by; one at or below zero would turn the order round


def margins(found: Nearest, back: Nearest, margin: str) -> np.ndarray:
    """Returns NxK: the margins of the neighbours that were found, given their own neighbours.

    `margin`: "ratio" to both means' mean, "distance" from it, or "absolute", the cosine itself.
    """
    scores_NxK = found.scores.astype(np.float64)
    if margin == "absolute":
        return scores_NxK
    mine_N, theirs_M = (nearest.scores.mean(axis=1, dtype=np.float64) for nearest in (found, back))
    means_NxK = (mine_N[:, None] + theirs_M[found.numbers]) / 2
    return scores_NxK - means_NxK if margin == "distance" else scores_NxK / np.maximum(means_NxK, SMALLEST)


def best(found: Nearest, back: Nearest, margin: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (score, number) of each text's best neighbour; among equals the nearest, then the first."""
    margins_NxK = margins(found, back, margin)
    at_Nx1 = margins_NxK.argmax(axis=1)[:, None]
    return np.take_along_axis(margins_NxK, at_Nx1, 1)[:, 0], np.take_along_axis(found.numbers, at_Nx1, 1)[:, 0]


def best_of(queries_NxD: np.ndarray, index: Index, margin: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (score, number) of each query's best candidate among its k nearest."""
    if margin == "absolute":  # one neighbour is enough, in one direction
        found = search(queries_NxD, index, 1)
        return found.scores[:, 0].astype(np.float64), found.numbers[:, 0]
    return best(*search_both(queries_NxD, index, k), margin)
