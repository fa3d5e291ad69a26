"""What a program without a model scores: printed beside every score, because chance overstates transfer.

Each function takes raw training examples of the source language and raw test examples of one language
and returns predictions that `metrics.score` takes. Targets of the test examples are never read, but for the threshold
of mining, which is that of the other half of them, as where a model is scored on a dev cell.
"""

import collections
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from xling_jax.scoring.metrics import CUT
from xling_jax.scoring.overlap import Bags, Rarity, words, words_with_spans
from xling_jax.scoring.pairs import Sentences, both_ways, crossfit

MAX_WORDS = 4  # of a candidate answer in a spaced language; most answers of SQuAD are shorter
MAX_CHARACTERS = 8  # of a candidate in a language without spaces, about as long
_SENTENCE_END = re.compile(r"[.!?\u0964\u06d4\u061f\u3002\uff01\uff1f\n]")


def tagging_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[list[str]]:
    """Returns the tag a word form has most often in training, else the most frequent tag of all."""
    del spaced
    of_word = collections.defaultdict(collections.Counter)
    of_all = collections.Counter()
    for example in train:
        of_all.update(example["tags"])
        for token, tag in zip(example["tokens"], example["tags"], strict=True):
            of_word[token][tag] += 1
    assert of_all, "a floor from no training example"
    usual = {token: counts.most_common(1)[0][0] for token, counts in of_word.items()}
    otherwise = of_all.most_common(1)[0][0]
    return [[usual.get(token, otherwise) for token in example["tokens"]] for example in test]


def majority_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[str]:
    """Returns the most frequent training label for every example; the first seen among equals."""
    del spaced
    assert train, "a floor from no training example"
    label = collections.Counter(example["label"] for example in train).most_common(1)[0][0]
    return [label] * len(test)


def choice_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[int]:
    """Returns the choice that shares most words with the text, weighted by rarity; the first among equals."""
    del train
    texts = [words(example["text"], spaced) for example in test]
    choices = [[words(choice, spaced) for choice in example["choices"]] for example in test]
    rarity = Rarity([*texts, *(choice for some in choices for choice in some)])
    return [
        int(np.argmax([rarity.shared(text, choice) for choice in some]))
        for text, some in zip(texts, choices, strict=True)
    ]


def retrieval_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[str]:
    """Returns for each translation (`text_pair`, the query) the id of the nearest `text`.

    Nearness is the cosine of bags of words weighted by rarity, so that names, digits and cognates count.
    """
    del train
    texts = [words(example["text"], spaced) for example in test]
    queries = [words(example["text_pair"], spaced) for example in test]
    bags = Bags(texts, Rarity([*texts, *queries]))
    return [test[bags.nearest(query, 1)[0]]["id"] for query in queries]


def mining_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[list[str]]:
    """Returns for each sentence the ids of its translations, mined by shared words as vectors are by cosine.

    Each sentence's partner is the nearest by the cosine of bags of words weighted by rarity; partners of both sides are
    merged one to one.
    """
    del train
    sentences = Sentences.of(test)
    language, pivot = ([words(test[number]["text"], spaced) for number in side.number_N] for side in sentences.sides)
    rarity = Rarity([*language, *pivot])
    candidates = sentences.candidates(
        *both_ways(_partners(language, Bags(pivot, rarity)), _partners(pivot, Bags(language, rarity)))
    )
    return sentences.answers(candidates, crossfit(candidates, sentences))


def _partners(texts: Sequence[list[str]], bags: Bags) -> tuple[np.ndarray, np.ndarray]:
    """Returns (cosine, number) of the nearest of each text; the first among equals."""
    score_N, number_N = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    for at, text in enumerate(texts):
        cosines_M = bags.cosines(text)
        number_N[at] = cosines_M.argmax()
        score_N[at] = cosines_M[number_N[at]]
    return score_N, number_N


class Searched:
    """Candidates of all languages together, as the floor of their queries sees them: ids, and words of each."""

    def __init__(self, cells: Iterable[tuple[Iterable[dict], bool]]):
        """Takes the candidates of each cell, and whether spaces divide its words."""
        self.ids: list[str] = []
        texts = []
        for examples, spaced in cells:
            for example in examples:
                self.ids.append(example["id"])
                texts.append(words(example["text"], spaced))
        self.bags = Bags(texts, Rarity(texts))


def dual_encoder_floor(
    train: Sequence[dict], test: Sequence[dict], spaced: bool = True, *, among: Searched
) -> list[list[str]]:
    """Returns the ids of the candidates nearest to each query by the cosine of bags of words weighted by rarity."""
    del train
    found = [among.bags.nearest(words(example["text"], spaced), CUT) for example in test]
    return [[among.ids[number] for number in numbers] for numbers in found]


def span_floor(train: Sequence[dict], test: Sequence[dict], spaced: bool = True) -> list[str]:
    """Returns the sliding-window answer to each question, a slice of its context.

    The sentence with most of the question's words is taken; a candidate in it is a run of up to four
    words (eight characters in a language without spaces) none of which is in the question. It scores
    the question's words around it, by rarity over distance, and its own mean rarity. After the
    sliding-window baseline of Rajpurkar et al. 2016 (arXiv 1606.05250, section 5.1), which takes its
    candidates from a constituency parse instead.
    """
    del train
    split = functools.lru_cache(maxsize=None)(functools.partial(_sentences, spaced=spaced))
    contexts = dict.fromkeys(example["context"] for example in test)
    rarity = Rarity([word for word, _, _ in sentence] for context in contexts for sentence in split(context))
    most = MAX_WORDS if spaced else MAX_CHARACTERS
    return [
        _answer(example["context"], split(example["context"]), set(words(example["question"], spaced)), rarity, most)
        for example in test
    ]


Word = tuple[str, int, int]


def _sentences(context: str, spaced: bool) -> list[list[Word]]:
    """Returns the words of a context by sentence; a sentence ends where a mark of its end follows a word."""
    sentences: list[list[Word]] = [[]]
    last = 0
    for word in words_with_spans(context, spaced):
        if sentences[-1] and _SENTENCE_END.search(context, last, word[1]):
            sentences.append([])
        sentences[-1].append(word)
        last = word[2]
    return sentences


def _answer(context: str, sentences: list[list[Word]], question: set[str], rarity: Rarity, most: int) -> str:
    """Returns the best candidate of the best sentence that has one; nothing if no sentence has."""
    overlaps = [rarity.shared(question, (word for word, _, _ in sentence)) for sentence in sentences]
    for number in np.argsort([-overlap for overlap in overlaps], kind="stable"):
        sentence = sentences[number]
        inside = np.array([word in question for word, _, _ in sentence], bool)
        if not inside.all():
            first, last = _best_run(inside, np.array([rarity[word] for word, _, _ in sentence]), most)
            return context[sentence[first][1] : sentence[last][2]]
    return ""


def _best_run(inside_N: np.ndarray, rarity_N: np.ndarray, most: int) -> tuple[int, int]:
    """Returns the best run of words outside the question, (first, last); the shortest, then the first.

    A run holds none of the question's words, so each of them lies wholly before or wholly after it, and
    the score is a sum of what lies before its first word, after its last one, and its own mean.
    """
    total, positions = len(inside_N), np.arange(len(inside_N))
    weights_N, one_over_distance = inside_N * rarity_N, np.r_[0.0, 1 / np.arange(1, total)]
    before_N = np.convolve(weights_N, one_over_distance)[:total]
    after_N = np.convolve(weights_N[::-1], one_over_distance)[:total][::-1]
    asked, rare = (np.concatenate([[0.0], np.cumsum(values)]) for values in (inside_N, rarity_N))
    best, best_score = (0, 0), -np.inf
    for length in range(1, min(most, total) + 1):
        first, last = positions[: total - length + 1], positions[length - 1 :]
        scores = before_N[first] + after_N[last] + (rare[last + 1] - rare[first]) / length
        scores[asked[last + 1] > asked[first]] = -np.inf
        number = int(np.argmax(scores))
        if scores[number] > best_score:
            best, best_score = (number, number + length - 1), scores[number]
    return best


LEARNING = ("tagging", "pair_classification")  # from training examples; others look at the test's texts alone
FLOORS: dict[str, Callable[..., list[Any]]] = {  # (train, test, spaced), and `among` where there are candidates
    "tagging": tagging_floor,
    "pair_classification": majority_floor,
    "multiple_choice": choice_floor,
    "retrieval": retrieval_floor,
    "mining": mining_floor,
    "dual_encoder": dual_encoder_floor,
    "span_qa": span_floor,
}
