"""Model output to answer, against hand-worked cases and a slow search."""

import numpy as np
import pytest

from xling_jax.errors import NumericalError
from xling_jax.scoring.answers import best_label, best_spans, tag_words

SPANS = np.array([[0, 0], [0, 3], [4, 6], [7, 9], [0, 0]])


def slow_best_spans(start, end, spans, valid, max_tokens):
    """Tries every pair, in the order that decides between equals."""
    found = []
    for i in range(len(start)):
        for j in range(i, min(i + max_tokens, len(start))):
            if all(valid[k] and spans[k][0] < spans[k][1] for k in (i, j)):
                found.append((spans[i][0], spans[j][1], start[i] + end[j]))
    return sorted(found, key=lambda span: -span[2]) or [(0, 0, -np.inf)]


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


def drawn(seed):
    """Returns logits of a few whole numbers, so that there are ties; spans of which some are empty; what is valid."""
    rng = np.random.default_rng(seed)
    length, most = int(rng.integers(1, 30)), int(rng.integers(1, 35))
    start, end = rng.integers(-4, 5, (2, length)).astype(np.float32)
    widths = rng.integers(0, 4, length)
    spans = np.stack([np.cumsum(widths) - widths, np.cumsum(widths)], 1)
    return start, end, spans, rng.random(length) < 0.7, most


@pytest.mark.parametrize("seed", range(40))
def test_best_spans_equal_a_slow_search(seed):
    start, end, spans, valid, most = drawn(seed)
    slow = slow_best_spans(start, end, spans, valid, most)
    for count in (1, 2, 7, 20, 2000):
        assert best_spans(start, end, spans, valid, max_tokens=most, count=count) == slow[:count], count


@pytest.mark.parametrize("seed", range(20))
def test_what_changes_no_span(seed):
    """A constant on either logit moves all scores alike; more room never makes the best one worse."""
    start, end, spans, valid, most = drawn(seed)
    plain = best_spans(start, end, spans, valid, max_tokens=most, count=5)
    moved = best_spans(start + 8, end - 4, spans, valid, max_tokens=most, count=5)
    assert [span[:2] for span in moved] == [span[:2] for span in plain]
    assert [span[2] for span in moved] == [span[2] + 4 for span in plain]
    assert best_spans(start, end, spans, valid, max_tokens=most + 3)[0][2] >= plain[0][2]


def test_best_label_is_a_word():
    assert best_label(np.array([[0.0, 2.0], [1.0, 1.0]]), ("no", "yes")) == ["yes", "no"]


def test_tag_words_takes_the_first_piece_and_fills_what_was_cut():
    labels = ("NOUN", "VERB")
    ids, index = np.array([1, 0, 1, 0, 0]), np.array([0, 0, 1, 2, 0])
    valid = np.array([0, 1, 1, 1, 0], bool)  # the first and the last are special tokens
    assert tag_words(ids, index, valid, 4, labels) == ["NOUN", "VERB", "NOUN", "O"]
    assert tag_words(ids, index, np.zeros(5, bool), 2, labels) == ["O", "O"]
    with pytest.raises(AssertionError, match="word 2 of a sentence of 2"):
        tag_words(ids, index, valid, 2, labels)
