"""Which mined pairs are taken: hand-worked cases, and the best threshold against trying all of them."""

import numpy as np
import pytest

from xling_jax.errors import DataError
from xling_jax.scoring.metrics import score, value
from xling_jax.scoring.pairs import Candidates, Sentences, best_threshold, both_ways, crossfit, one_to_one, tuned


def cell(language: str, pivot: str, gold: str = "", withheld: bool = False) -> list[dict]:
    """Returns examples of sentences of one letter; `gold` has pairs of ids such as l0p2."""
    pairs = gold.split()
    raw = []
    for side, texts in (("language", language), ("pivot", pivot)):
        for number, text in enumerate(texts):
            name = f"{side[0]}{number}"
            answers = [pair[2:] for pair in pairs if pair.startswith(name)] if side == "language" else []
            raw.append({"id": name, "text": text, "side": side, "gold": None if withheld else answers})
    return raw


def candidates(raw: list[dict], said: str) -> tuple[Sentences, Candidates]:
    """Returns candidates such as l0p2=0.9, between examples that all have sentences of their own."""
    sentences = Sentences.of(raw)
    parts = [item.split("=") for item in said.split()]
    rows, columns = ([int(pair[at]) for pair, _ in parts] for at in (1, 3))
    scores = np.array([float(number) for _, number in parts])
    return sentences, sentences.candidates(scores, np.array(rows), np.array(columns))


def test_repeated_sentences_are_searched_once_and_are_no_answer():
    raw = cell(["a", "b ", "a", "c"], ["x", "y", "y", "y", "z"], "l0p1 l1p0")
    sentences = Sentences.of(raw)
    language, pivot = sentences.sides
    assert language.number_N.tolist() == [0, 1, 3] and language.once_N.tolist() == [False, True, True]
    assert pivot.number_N.tolist() == [4, 5, 8] and pivot.once_N.tolist() == [True, False, True]
    found = sentences.candidates(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 2, 1]), np.array([0, 1, 2, 0]))
    assert sentences.answers(found, 0.0) == [[], ["p0"], [], ["p4"], *[[]] * 5], "l0 and l2 say a, p1 to p3 say y"
    assert sentences.right(found).tolist() == [False, True]


def test_gold_of_repeated_sentences_is_beyond_reach():
    raw = cell(["a", "b", "a", "c"], ["x", "y", "y", "z"], "l0p0 l1p1 l1p3 l3p0 l3p9")
    assert Sentences.of(raw).reachable() == [[], ["p3"], [], ["p0"], *[[]] * 4], "a and y repeat, and p9 is not there"
    assert Sentences.of(cell("a", "x", withheld=True)).reachable() == [[], []]


def test_space_around_a_sentence_tells_nothing_apart():
    assert Sentences.of(cell(["a", " a "], ["x"])).sides[0].once_N.tolist() == [False]


@pytest.mark.parametrize("sides", [("", "xy"), ("ab", "")])
def test_a_side_without_sentences(sides):
    missing = "pivot" if sides[0] else "language"
    with pytest.raises(DataError, match=f"Of 2 sentences to be mined none is of the {missing}"):
        Sentences.of(cell(*sides))


def test_greedy_pairs_are_one_to_one():
    scores = np.array([0.5, 0.9, 0.8, 0.9, 0.7])
    rows, columns = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 0])
    assert one_to_one(scores, rows, columns).tolist() == [1, 3, 4], "the pair of 0.8 has both its texts taken"


def test_both_ways_merges_by_the_best_score():
    """Row 0 wants column 0, which rather has row 1; row 1 rather has column 1."""
    forward = np.array([0.6, 0.9]), np.array([0, 1])
    backward = np.array([0.7, 0.9]), np.array([1, 1])
    scores, rows, columns = both_ways(forward, backward)
    assert list(zip(scores, rows, columns, strict=True)) == [(0.9, 1, 1), (0.6, 0, 0)]


def slow_f1(scores, right, gold, threshold):
    taken = [hit for number, hit in zip(scores, right, strict=True) if number >= threshold]
    return 2 * sum(taken) / (len(taken) + gold)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_against_all_of_them(seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 8, 15) / 8 if seed % 2 else rng.random(15))[::-1].copy()  # odd seeds have ties
    right, gold = rng.random(15) < 0.4, 9
    found = best_threshold(scores, right, gold)
    every = {number: slow_f1(scores, right, gold, number) for number in scores.tolist()}
    assert slow_f1(scores, right, gold, found) == pytest.approx(max(every.values()), abs=1e-12)
    highest = max(number for number, f1 in every.items() if f1 > max(every.values()) - 1e-12)
    assert max(scores[scores < highest], default=-1) < found <= highest, "midway to the next one that is not taken"


@pytest.mark.parametrize(
    ("scores", "right", "gold", "threshold"),
    [
        ([0.9, 0.5], [True, False], 1, 0.7),
        ([0.9, 0.5], [True, True], 2, 0.5),  # all are taken: no next one
        ([0.9, 0.9, 0.5], [True, False, False], 1, 0.7),  # of equals both or none
        ([0.9, 0.5], [False, False], 2, 0.0),
        ([0.9], [False], 0, 0.0),
        ([], [], 3, 0.0),
        ([1.0, np.nextafter(1.0, 0.0)], [True, False], 1, 1.0),  # neighbours among floating-point numbers
    ],
)
def test_thresholds_by_hand(scores, right, gold, threshold):
    found = best_threshold(np.array(scores), np.array(right, bool), gold)
    assert found == pytest.approx(threshold, abs=1e-15)
    assert slow_f1(scores, right, gold, found) == slow_f1(scores, right, gold, threshold) if gold else True


def test_gold_that_was_not_found_counts():
    raw = cell("abc", "xyz", "l0p0 l1p1 l2p2")
    sentences, found = candidates(raw, "l0p0=0.9 l1p2=0.8 l1p1=0.7")
    assert tuned(found, sentences) == 0.7, "F1 is 2/4, 2/5, 4/6"
    sentences, found = candidates(cell("abc", "xyz", "l0p0"), "l0p0=0.9 l1p2=0.8 l2p1=0.7")
    assert tuned(found, sentences) == pytest.approx(0.85)


def test_crossfit_takes_the_threshold_of_the_other_half():
    raw = cell("abcd", "wxyz", "l0p0 l1p1 l3p3")
    sentences, found = candidates(raw, "l0p0=0.9 l2p2=0.6 l1p1=0.8 l3p3=0.4")
    assert found.score_N.tolist() == [0.9, 0.8, 0.6, 0.4]
    even, odd = 0.75, 0.4  # of l0 and l2, midway; of l1 and l3, which are both right
    assert crossfit(found, sentences).tolist() == [odd, even, odd, even]
    answers = sentences.answers(found, crossfit(found, sentences))
    assert answers[:4] == [["p0"], ["p1"], ["p2"], []]
    assert value(score("mining", raw, answers)["f1"]) == pytest.approx(100 * 4 / 6)
    assert value(score("mining", raw, sentences.answers(found, tuned(found, sentences)))["f1"]) > 100 * 4 / 6, (
        "a threshold tuned on what is scored is better, and says nothing"
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_depends_on_the_gold_of_its_own_half(seed):
    rng = np.random.default_rng(seed)
    said = " ".join(f"l{at}p{at}={number:.3f}" for at, number in enumerate(rng.random(10)))

    def thresholds(gold):
        return crossfit(*candidates(cell("abcdefghij", "0123456789", gold), said)[::-1])

    some = [f"l{at}p{at}" for at in range(10) if rng.random() < 0.6]
    even = [pair for pair in some if int(pair[1]) % 2 == 0]
    _, found = candidates(cell("abcdefghij", "0123456789"), said)
    mine = found.language_N % 2 == 0
    assert thresholds(" ".join(some))[~mine].tolist() == thresholds(" ".join(even))[~mine].tolist()


def test_withheld_gold_is_no_gold():
    sentences, found = candidates(cell("ab", "xy", withheld=True), "l0p0=0.9")
    assert sentences.right(found).tolist() == [False]
    assert sentences.answers(found, 0.5) == [["p0"], [], [], []]
