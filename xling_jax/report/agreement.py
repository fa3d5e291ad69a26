"""How far two rankings, or two lists of right and wrong answers, agree beyond chance. Pure functions of arrays."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of two answerers on the same items, in percent.

    `chance` is what two independent answerers with the same habits would reach: each gives every ranking, or every
    right answer, as often as it does here, but to items drawn at random. `kappa` is the share of what is
    left above chance that is reached (Cohen 1960); None for rankings, and where chance is all there is.
    """

    observed: float
    chance: float
    kappa: float | None = None


def rankc(one_NxC: np.ndarray, other_NxC: np.ndarray) -> Agreement:
    """Returns RankC: how alike two rankings of the same candidates are, their first places most.

    Qi, Fernández & Bisazza 2023 (arXiv 2310.10378), section 3: the mean over items of sum_j w_j P@j, where P@j is the
    share of the first j candidates that both rankings have among their first j, and w_j is the softmax over j = 1..C
    of C - j. With three candidates the weights are .67, .24 and .09; the last P@j is always 1.

    A candidate whose worse place of the two is p (from 0) is shared from j = p + 1 on, so it adds the tail sum of
    w_j / j from there.

    Args:
      one_NxC: for each item the numbers of its candidates, the best first; -1 after the last, as items may have
        different numbers of candidates.
      other_NxC: the other ranking of the same items and candidates.
    """
    total = chance = 0.0
    counts_N = (one_NxC >= 0).sum(axis=1)
    assert (counts_N == (other_NxC >= 0).sum(axis=1)).all(), "both rank the same candidates"
    for count in np.unique(counts_N):
        chosen_N = counts_N == count
        one, other = (np.argsort(x[chosen_N, :count], axis=1) for x in (one_NxC, other_NxC))
        tail_P = _tails(count)
        total += np.bincount(np.maximum(one, other).ravel(), minlength=count) @ tail_P
        both_PxP = tail_P[np.maximum.outer(np.arange(count), np.arange(count))]
        chance += np.einsum("cp,pq,cq->", _places(one), both_PxP, _places(other)) / chosen_N.sum()
    return Agreement(100 * float(total) / len(counts_N), 100 * float(chance) / len(counts_N))


def right_and_wrong(one_N: np.ndarray, other_N: np.ndarray) -> Agreement:
    """Returns how often two answerers are both right or both wrong, and Cohen's kappa of it."""
    observed = float((one_N == other_N).mean())
    first, second = float(one_N.mean()), float(other_N.mean())
    chance = first * second + (1 - first) * (1 - second)
    kappa = 100 * (observed - chance) / (1 - chance) if chance < 1 else None
    return Agreement(100 * observed, 100 * chance, kappa)


def _tails(count: int) -> np.ndarray:
    """Returns for each place p, from 0, the sum of w_j / j over j > p."""
    j_P = np.arange(1, count + 1)
    weights_P = np.exp(1.0 - j_P)
    return np.cumsum((weights_P / weights_P.sum() / j_P)[::-1])[::-1]


def _places(places_NxC: np.ndarray) -> np.ndarray:
    """Returns how often each candidate has each place, CxP."""
    count = places_NxC.shape[1]
    return np.stack([np.bincount(column, minlength=count) for column in places_NxC.T])
