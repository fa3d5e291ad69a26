"""Model output to answer, against hand-worked cases and a slow search."""

import numpy as np
import pytest

from xling_jax.errors import NumericalError
from xling_jax.scoring.answers import best_choice, best_label, best_spans, tag_words

SPANS = np.array([[0, 0], [0, 3], [4, 6], [7, 9], [0, 0]])


def slow_best_span(start, end, spans, valid, max_tokens):
    """Tries every pair, in the order that decides between equals."""
    best = (0, 0, -np.inf)
    for i in range(len(start)):
        for j in range(i, min(i + max_tokens, len(start))):
            usable = all(valid[k] and spans[k][0] < spans[k][1] for k in (i, j))
            if usable and start[i] + end[j] > best[2]:
                best = (spans[i][0], spans[j][1], start[i] + end[j])
    return best


def test_best_span_is_not_the_two_argmaxes():
    start, end = np.array([9.0, 1, 5, 0, 0]), np.array([9.0, 4, 0, 1, 0])
    context = np.array([0, 1, 1, 1, 0], bool)
    assert best_spans(start, end, SPANS, context, max_tokens=3)[0] == (4, 9, 6.0), (
        "the end before the start cannot be taken"
    )
    assert best_spans(start, end, SPANS, context, max_tokens=1)[0] == (0, 3, 5.0), "one token, start and end together"


def test_best_span_of_no_valid_token_is_empty():
    assert best_spans(np.ones(5), np.ones(5), SPANS, np.zeros(5, bool), max_tokens=3)[0] == (0, 0, -np.inf)
    only_space = np.array([1, 0, 0, 0, 1], bool)
    assert best_spans(np.ones(5), np.ones(5), SPANS, only_space, max_tokens=3)[0] == (0, 0, -np.inf), (
        "a token without characters"
    )


def test_best_span_among_equals_is_the_first_and_shortest():
    assert best_spans(np.zeros(5), np.zeros(5), SPANS, np.ones(5, bool), max_tokens=3)[0] == (0, 3, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_best_span_refuses_logits_that_are_not_finite(bad):
    logits = np.array([0.0, bad, 0, 0, 0])
    with pytest.raises(NumericalError, match="not finite"):
        best_spans(np.zeros(5), logits, SPANS, np.ones(5, bool), max_tokens=3)[0]
    assert best_spans(np.zeros(5), logits, SPANS, np.array([0, 0, 1, 1, 0]), max_tokens=3)[0][:2] == (4, 6), (
        "a masked one is no matter"
    )


@pytest.mark.parametrize("seed", range(40))
def test_best_span_equals_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    length, most = int(rng.integers(1, 30)), int(rng.integers(1, 35))
    start, end = rng.integers(-4, 5, (2, length)).astype(np.float32)  # integers, so that there are ties
    widths = rng.integers(0, 4, length)
    spans = np.stack([np.cumsum(widths) - widths, np.cumsum(widths)], 1)
    valid = rng.random(length) < 0.7
    assert best_spans(start, end, spans, valid, max_tokens=most)[0] == slow_best_span(start, end, spans, valid, most)


def test_best_label_is_a_word():
    assert best_label(np.array([[0.0, 2.0], [1.0, 1.0]]), ("no", "yes")) == ["yes", "no"]


def test_best_choice_is_never_padding():
    assert best_choice(np.array([[0.0, 1.0, 9.0], [3.0, 2.0, 1.0]]), np.array([[1, 1, 0], [0, 1, 1]])) == [1, 1]


def test_tag_words_takes_the_first_piece_and_fills_what_was_cut():
    labels = ("NOUN", "VERB")
    ids, index = np.array([1, 0, 1, 0, 0]), np.array([0, 0, 1, 2, 0])
    valid = np.array([0, 1, 1, 1, 0], bool)  # the first and the last are special tokens
    assert tag_words(ids, index, valid, 4, labels) == ["NOUN", "VERB", "NOUN", "O"]
    assert tag_words(ids, index, np.zeros(5, bool), 2, labels) == ["O", "O"]
    with pytest.raises(AssertionError, match="word 2 of a sentence of 2"):
        tag_words(ids, index, valid, 2, labels)
