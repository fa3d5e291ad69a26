"""Metrics against hand-worked numbers; chunk F1 against a slow reading of the rule."""

import numpy as np
import pytest

from xling_jax.errors import DataError
from xling_jax.scoring.chunks import chunks
from xling_jax.scoring.metrics import (
    SCORERS,
    accuracy,
    mining,
    ranking,
    score,
    squad,
    squad2,
    tagging,
    value,
)
from xling_jax.scoring.spans import SQUAD
from xling_jax.scoring.spans import words as split
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import NER, TASKS, UPOS


def squad_values(golds, answer):
    pairs = squad([golds], [answer])
    return value(pairs["f1"]), value(pairs["exact_match"])


def f1(gold, tags):
    return value(tagging([gold.split()], [tags.split()])["f1"])


def test_value_is_a_ratio_of_sums_not_a_mean_of_ratios():
    assert value(np.array([[1.0, 1.0], [0.0, 3.0]])) == 25.0
    assert value(np.zeros((2, 2))) == 0.0, "nothing to find and nothing found"
    with pytest.raises(AssertionError, match="no examples"):
        value(np.zeros((0, 2)))


def test_accuracy_compares_strings():
    pairs = accuracy(["1", 1, "neutral", "1"], ["1", "1", "neutral", "1.0"])["accuracy"]
    assert pairs.tolist() == [[1, 1], [1, 1], [1, 1], [0, 1]]
    with pytest.raises(DataError, match="1 predicted answers, but 2 in the reference"):
        accuracy(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The  Cat's\tpaw.", ["cats", "paw"]),
        ("a an the A AN THE", []),
        ("theatre, another; Ana", ["theatre", "another", "ana"]),
        ("the-end", ["theend"]),  # punctuation goes before the articles do
        ("the—end", ["—end"]),  # a dash that is not ASCII stays, and ends the article
        ("3，000。", ["3，000。"]),  # so does full-width punctuation
        ("ΑΒ Ünï", ["αβ", "ünï"]),
    ],
)
def test_answers_are_normalised_as_in_english(answer, words):
    assert split([answer], SQUAD) == [words]


@pytest.mark.parametrize(
    ("golds", "answer", "expected"),
    [
        (["the Denver Broncos"], "Denver Broncos!", (100, 100)),
        (["Denver Broncos"], "Denver", (200 / 3, 0)),
        (["Denver"], "the very big Denver team", (40, 0)),  # 1 of 4 words, 1 of 1
        (["b b c"], "b c c", (200 / 3, 0)),  # words are counted, not only present
        (["Santa Clara, California", "Levi's Stadium"], "levis stadium", (100, 100)),
        (["x y", "x z w"], "x z", (80, 0)),  # the best gold, not the first and not the mean
        (["the"], "a", (0, 100)),  # both are nothing: exact match 1, F1 0
        (["the"], "", (0, 100)),
        (["x"], "", (0, 0)),
        (["x"], None, (0, 0)),
        (["the"], None, (0, 0)),  # a missing answer is never right
        (["北京"], "北京市", (0, 0)),  # no spaces, so one word
    ],
)
def test_squad(golds, answer, expected):
    assert squad_values(golds, answer) == pytest.approx(expected)


def test_a_missing_answer_counts():
    pairs = squad([["x"], ["y"]], ["x", None])
    assert (value(pairs["f1"]), value(pairs["exact_match"])) == (50, 50)


def test_runs_of_one_tag_are_one_chunk():
    assert chunks("NOUN NOUN VERB NOUN".split()) == {("NOUN", 0, 1), ("VERB", 2, 2), ("NOUN", 3, 3)}
    assert chunks("INTJ INTJ DET".split()) == {("INTJ", 0, 1), ("DET", 2, 2)}, "I- is a class here, too"
    assert f1("NOUN NOUN VERB", "NOUN NOUN VERB") == 100
    assert f1("NOUN NOUN VERB", "NOUN VERB VERB") == 0, "both chunks have a wrong border; accuracy is 67"
    assert f1("NOUN NOUN VERB DET", "NOUN ADJ VERB DET") == pytest.approx(400 / 7)


def test_tags_that_begin_with_s_never_merge():
    assert chunks(["SYM", "SYM"]) == {("SYM", 0, 0), ("SYM", 1, 1)}
    assert chunks(["SCONJ", "SCONJ", "X"]) == {("SCONJ", 0, 0), ("SCONJ", 1, 1), ("X", 2, 2)}
    assert f1("SYM SYM", "SYM NOUN") == 50
    assert f1("PUNCT PUNCT", "PUNCT NOUN") == 0, "the same mistake in a tag that merges"


def test_cconj_and_sconj_are_two_types():
    assert f1("CCONJ NOUN", "SCONJ NOUN") == 50, "100 is the rule of later seqeval"


def test_bio_tags():
    assert chunks("B-PER I-PER O B-LOC B-LOC I-PER".split()) == {
        ("PER", 0, 1),
        ("LOC", 3, 3),
        ("LOC", 4, 4),
        ("PER", 5, 5),
    }
    assert chunks("I-LOC I-LOC O I-LOC".split()) == {("LOC", 0, 1), ("LOC", 3, 3)}, "I- without B- starts a chunk"
    assert chunks(["O", "O"]) == set()
    assert chunks([]) == set()
    assert f1("B-PER I-PER O", "B-PER O O") == 0
    assert f1("O O", "O O") == 0, "nothing to find"


def test_chunks_do_not_cross_sentences():
    apart = tagging([["NOUN"], ["NOUN"]], [["NOUN"], ["VERB"]])
    assert value(apart["f1"]) == 50
    assert f1("NOUN NOUN", "NOUN VERB") == 0


def test_f1_is_micro_averaged():
    pairs = tagging([["NOUN"] * 3, ["SYM"] * 3], [["NOUN"] * 3, ["SYM", "X", "X"]])
    assert pairs["f1"].tolist() == [[2, 2], [2, 5]]  # 2 * shared, gold + predicted
    assert pairs["accuracy"].tolist() == [[3, 3], [1, 3]]


def test_sentences_of_another_length_are_an_error():
    with pytest.raises(DataError, match="1 predicted tags of sentence 1, but 2 in the reference"):
        tagging([["X", "X"], ["X"]], [["X"], ["X", "X"]])
    with pytest.raises(DataError, match="1 predicted sentences, but 2"):
        tagging([["X"], ["X"]], [["X"]])


def slow_chunks(tags):
    """Grows one chunk from left to right, asking at each tag whether it goes on."""
    found, begin, kind, last = set(), None, "", "O"
    for i, tag in enumerate([*tags, "O"]):
        now, type_ = tag[0], tag.split("-")[-1]
        goes_on = begin is not None and type_ == kind and now not in "BSO" and last not in "SE"
        if begin is not None and not goes_on:
            found.add((kind, begin, i - 1))
            begin = None
        if begin is None and now != "O":
            begin, kind = i, type_
        last = now
    return found


@pytest.mark.parametrize("labels", [UPOS, NER, (*NER, "S-LOC", "I-LOC")])
def test_chunks_equal_a_slow_reading(labels):
    rng = np.random.default_rng(0)
    for _ in range(300):
        few = rng.choice(labels, 4)  # few, so that neighbours are often equal
        tags = [str(tag) for tag in rng.choice(few, rng.integers(0, 12))]
        assert chunks(tags) == slow_chunks(tags), tags


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        ([["p1"], ["p2"], []], [["p1"], [], ["p9"]], 50),  # 1 pair in both, 2 gold, 2 found
        ([["p1"], ["p2"], []], [["p1"], ["p2"], []], 100),
        ([["p1", "p2"]], [["p2"]], 200 / 3),
        ([["p1"]], [["p1", "p1"]], 100),  # a pair is found once, however often it is said
        ([["p1"], [], [], []], [["p1"], [], [], []], 100),  # sentences without a translation cost nothing
        ([["p1"]], [[]], 0),
    ],
)
def test_pairs_of_a_mined_collection(gold, found, expected):
    assert value(mining(gold, found)["f1"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gold", "ranked", "expected"),
    [
        ("a", "x a", 1 / 2),  # with one gold candidate, the reciprocal rank
        ("a b c", "a x b", (1 / 1 + 2 / 3) / 3),  # c is not found
        ("a b", "a a b", (1 / 1 + 2 / 3) / 2),  # a repeated id takes a rank and finds nothing
        ("a a", "a", 1),  # a gold one counts once
        ("a", " ".join("x" * 19 + "a"), 1 / 20),
        ("a", " ".join("x" * 20 + "a"), 0),  # rank 21
        (" ".join(map(str, range(25))), " ".join(map(str, range(30))), 1),  # no more than 20 can be found
        (" ".join(map(str, range(11))), " ".join(map(str, range(11))), 1),
        ("a", None, 0),
    ],
)
def test_average_precision_of_the_first_twenty(gold, ranked, expected):
    pairs = ranking([gold.split()], [ranked and ranked.split()])["map@20"]
    assert pairs.tolist() == [[pytest.approx(expected), 1.0]]


def test_a_mean_over_queries():
    golds, rankings = [["a"], ["b"], ["c", "d"]], [["a"], None, ["d", "x", "c"]]
    assert value(ranking(golds, rankings)["map@20"]) == pytest.approx(100 * (1 + 0 + (1 + 2 / 3) / 2) / 3)


def test_candidates_are_not_scored():
    with pytest.raises(DataError, match="no gold candidate"):
        ranking([[]], [["a"]])
    for scorer in (mining, ranking):
        with pytest.raises(DataError, match="withheld by their publisher"):
            scorer([None], [["a"]])


EXAMPLES = {
    "pair_classification": ([{"label": "neutral"}, {"label": "entailment"}], ["neutral", "neutral"]),
    "multiple_choice": ([{"label": 0}, {"label": 1}], [0, 0]),
    "span_qa": ([{"answers": [{"text": "x y", "start": 0}]}, {"answers": [{"text": "z", "start": 9}]}], ["x y", "w"]),
    "tagging": ([{"tags": ["NOUN", "VERB"]}, {"tags": ["X"]}], [["NOUN", "VERB"], ["SYM"]]),
    "retrieval": ([{"id": "th.1"}, {"id": "th.2"}], ["th.1", "th.1"]),
    "mining": ([{"gold": ["en-1"]}, {"gold": []}, {"gold": ["en-2"]}], [["en-1"], ["en-3"], []]),
    "dual_encoder": ([{"gold": ["th_1_0", "en_1_0"]}, {"gold": ["Q1"]}], [["th_1_0"], ["Q2"]]),
}


@pytest.mark.parametrize("kind", SCORERS)
def test_gold_scores_100_and_a_wrong_answer_less(kind):
    examples, wrong = EXAMPLES[kind]
    gold = [SCORERS[kind].target(example) for example in examples]
    if kind == "span_qa":
        gold = [golds[0] for golds in gold]
    assert {metric: value(pairs) for metric, pairs in score(kind, examples, gold).items()} == dict.fromkeys(
        KINDS[kind].metrics, 100.0
    )
    assert all(0 < value(pairs) < 100 for pairs in score(kind, examples, wrong).values())


def test_every_kind_with_metrics_has_a_scorer():
    assert set(SCORERS) == {name for name, kind in KINDS.items() if kind.metrics}


def test_questions_without_an_answer_by_hand():
    """SQuAD v2.0: nothing is right where there is nothing, and only there."""
    golds = [[], [], ["in Peru", "Peru"], ["Peru"], ["the"], ["Peru"], []]
    answers = ["", "Peru", "Peru", "", "", "in Peru", None]
    found = {name: pairs[:, 0].tolist() for name, pairs in squad2(golds, answers).items()}
    assert found["exact_match"] == [1, 0, 1, 0, 1, 0, 0], "'the' normalises to nothing: no answer, as published"
    assert found["f1"] == pytest.approx([1, 0, 1, 0, 1, 2 / 3, 0])
    row, example = TASKS["squad2"], {"id": "q", "answers": []}
    assert value(score("span_qa", [example], [""], "en", row.scorer)["f1"]) == 100
    with pytest.raises(DataError, match="no gold answer"):
        score("span_qa", [example], [""], "en")
