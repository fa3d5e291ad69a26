"""Model output to answer: a slice of the context, a word of the labels, a tag for each word.

An answer to a span question is always a slice of the original context, taken by character offsets;
text is never put together from pieces, which is what breaks in Chinese and Thai.
"""

from collections.abc import Sequence

import numpy as np

from xling_jax.errors import NumericalError

OUTSIDE = "O"  # the tag of a word that got none: no chunk, so a miss and nothing else


def best_spans(
    start_logits_L: np.ndarray,
    end_logits_L: np.ndarray,
    spans_Lx2: np.ndarray,
    valid_L: np.ndarray,
    *,
    max_tokens: int,
    count: int = 1,
) -> list[tuple[int, int, float]]:
    """Returns the `count` spans of best start + end logit, best first: (begin, end, score), [begin, end) in characters.

    They are exactly the best over tokens i <= j < i + max_tokens that are both valid and not empty, fewer if there are
    not so many. Among equals the first start wins, then the shortest span.

    Args:
      start_logits_L, end_logits_L: the head's outputs for one example.
      spans_Lx2: characters of the context that each token covers.
      valid_L: whether the token is part of the context: no question, special token or padding.
      max_tokens: the most tokens an answer may have, at least 1.
      count: how many to return.

    Returns:
      [(0, 0, -inf)], an empty answer, if no token is valid.

    Raises:
      NumericalError: a logit of a valid token is not finite.
    """
    assert max_tokens >= 1, f"an answer of {max_tokens} tokens"
    allowed_L = valid_L.astype(bool) & (spans_Lx2[:, 0] < spans_Lx2[:, 1])
    start_L = np.where(allowed_L, start_logits_L, -np.inf).astype(np.float64)
    end_L = np.where(allowed_L, end_logits_L, -np.inf).astype(np.float64)
    if not (np.isfinite(start_L[allowed_L]).all() and np.isfinite(end_L[allowed_L]).all()):
        raise NumericalError("A span head's logit is not finite.\nThe checkpoint that made it has diverged.")
    if not allowed_L.any():
        return [(0, 0, -np.inf)]
    padded = np.concatenate([end_L, np.full(max_tokens - 1, -np.inf)])
    scores = (start_L[:, None] + np.lib.stride_tricks.sliding_window_view(padded, max_tokens)).reshape(-1)
    best = [int(np.argmax(scores))] if count == 1 else _greatest(scores, count)
    firsts = [divmod(number, max_tokens) for number in best]
    return [
        (int(spans_Lx2[first, 0]), int(spans_Lx2[first + more, 1]), float(scores[number]))
        for number, (first, more) in zip(best, firsts, strict=True)
    ]


def _greatest(scores_N: np.ndarray, count: int) -> list[int]:
    """Returns the places of the greatest finite scores, greatest first, the first among equals first."""
    least = np.partition(scores_N, -count)[-count] if count < len(scores_N) else -np.inf
    there = np.flatnonzero((scores_N >= least) & np.isfinite(scores_N))
    return there[np.argsort(-scores_N[there], kind="stable")][:count].tolist()


def best_label(logits_NxY: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Returns the label word of the greatest logit of each example; the first among equals."""
    assert logits_NxY.shape[1] == len(labels), f"{logits_NxY.shape[1]} logits for {len(labels)} labels"
    return [labels[number] for number in logits_NxY.argmax(1)]


def tag_words(
    label_ids_L: np.ndarray, word_index_L: np.ndarray, valid_L: np.ndarray, n_words: int, labels: Sequence[str]
) -> list[str]:
    """Returns one tag for each of a sentence's words: the label of its first valid token.

    A word that lies beyond the truncation has no token; it gets 'O', which no scorer counts as right
    for a word with a real tag. A sentence cut into several rows is joined by concatenating their arrays.

    Args:
      label_ids_L: predicted label of each token.
      word_index_L: which word of the sentence the token belongs to.
      valid_L: whether the token belongs to a word at all.
      n_words: words in the whole sentence.
      labels: the row's labels.
    """
    words, first = np.unique(word_index_L[valid_L.astype(bool)], return_index=True)
    assert not len(words) or words[-1] < n_words, f"word {words[-1]} of a sentence of {n_words} words"
    ids = label_ids_L[valid_L.astype(bool)][first]
    tags = [OUTSIDE] * n_words
    for word, number in zip(words, ids, strict=True):
        tags[word] = labels[number]
    return tags
