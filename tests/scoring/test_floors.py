"""What no model scores, in cases small enough to work by hand."""

import pytest

from xling_jax.scoring.floors import (
    FLOORS,
    LEARNING,
    Searched,
    choice_floor,
    dual_encoder_floor,
    majority_floor,
    mining_floor,
    retrieval_floor,
    span_floor,
    tagging_floor,
)
from xling_jax.scoring.metrics import SCORERS, score, value
from xling_jax.scoring.overlap import Bags, Rarity, words, words_with_spans
from xling_jax.tables.kinds import KINDS


def test_words_of_spaced_and_unspaced_text():
    assert words("The «Cat», sat-down. ...", spaced=True) == ["the", "cat", "sat-down"]
    assert words("हिन्दी भाषा।", spaced=True) == ["हिन्दी", "भाषा"], "vowel signs belong to the word"
    assert words("我在IBM3。", spaced=False) == ["我", "在", "ibm3"]
    text = "„Ja“, sagte sie."
    assert [text[begin:end].lower() for _, begin, end in words_with_spans(text, True)] == words(text, True)


def test_rare_words_weigh_more():
    rarity = Rarity([["a", "b"], ["a", "a"], ["a", "c"]])
    assert rarity["a"] == pytest.approx(1) and rarity["a"] < rarity["b"] < rarity["never"]
    assert rarity.shared(["a", "b", "b"], ["b", "c"]) == rarity["b"]


def test_tagging_looks_words_up():
    train = [{"tokens": "a can can can run".split(), "tags": "DET NOUN AUX AUX VERB".split()}]
    test = [{"tokens": "a Can can".split(), "tags": []}, {"tokens": [], "tags": []}]
    assert tagging_floor(train, test) == [["DET", "AUX", "AUX"], []], "an unknown form gets the tag most often seen"


def test_majority_is_of_the_training_examples():
    train = [{"label": "b"}, {"label": "a"}, {"label": "b"}]
    assert majority_floor(train, [{"label": "a"}] * 2) == ["b", "b"]
    with pytest.raises(AssertionError, match="no training example"):
        majority_floor([], [{}])


def test_choice_takes_the_rarer_word_over_more_words():
    example = {"text": "the cat and the dog ran", "choices": ["the and", "a dog"], "label": 1}
    others = {"text": "the and", "choices": ["the and", "and the"], "label": 0}
    assert choice_floor([], [example, *[others] * 5])[0] == 1


def test_retrieval_goes_by_names_and_digits():
    test = [
        {"id": "de.1", "text": "Tom kam 1999 nach Rom .", "text_pair": "Tom came to Rome in 1999."},
        {"id": "de.2", "text": "Tom kam nach Wien .", "text_pair": "Tom came to Vienna by Zug."},
        {"id": "de.3", "text": "Der Zug war leer .", "text_pair": "Nothing is shared here"},
    ]
    assert retrieval_floor([], test) == ["de.1", "de.3", "de.1"]
    chinese = [
        {"id": "1", "text": "我是Tom", "text_pair": "I am Ann"},
        {"id": "2", "text": "我是Ann", "text_pair": "?"},
    ]
    assert retrieval_floor([], chinese, spaced=False)[0] == "2"


def test_bags_are_compared_by_cosine_and_equals_keep_their_order():
    bags = Bags([["a", "b"], ["b"], ["c"], ["b"], []], Rarity([["a"], ["b"], ["c"], ["d"]]))  # all words as rare
    assert bags.cosines(["b", "b"]).tolist() == pytest.approx([0.5**0.5, 1, 0, 1, 0])
    assert bags.nearest(["b"], 3) == [1, 3, 0] and bags.nearest(["b"], 1) == [1]
    assert bags.nearest(["e"], 2) == [0, 1] and len(bags.nearest(["b"], 9)) == 5
    assert bags.cosines([]).tolist() == [0] * 5


def test_mining_pairs_names_and_digits_and_leaves_the_rest():
    shared = [f"Tom{at} {at}" for at in range(6)]
    raw = [
        {
            "id": f"{side[0]}{at}",
            "text": f"{said} {text}",
            "side": side,
            "gold": [f"p{at}"] if side == "language" else [],
        }
        for side, said in (("language", "kam"), ("pivot", "came"))
        for at, text in enumerate(shared)
    ]
    raw += [{"id": f"{side[0]}x", "text": f"{side} alone", "side": side, "gold": []} for side in ("language", "pivot")]
    found = mining_floor([], raw)
    assert found[:6] == [[f"p{at}"] for at in range(6)]
    assert found[6:] == [[]] * 8, "they share one word, and score less than what was right in the other half"


def test_candidates_of_all_languages_are_ranked_together():
    among = Searched(
        [
            ([{"id": "de_1", "text": "Der Super Bowl 50."}, {"id": "de_2", "text": "Nichts."}], True),
            ([{"id": "zh_1", "text": "超级碗50"}], False),
        ]
    )
    queries = [{"text": "Wann war Super Bowl 50?", "gold": None}, {"text": "Nichts 50", "gold": None}]
    found = dual_encoder_floor([], queries, among=among)
    assert found == [["de_1", "zh_1", "de_2"], ["de_2", "de_1", "zh_1"]], "both share 50 among four words"


CONTEXT = "The Broncos won in 2016. Levi's Stadium in Santa Clara hosted the game! Others lost."


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who won in 2016?", "Broncos"),
        (
            "Where in Santa Clara was the hosted game?",
            "Stadium",
        ),  # "Levi's Stadium" scores the same, and the shorter wins
        ("Completely different?", "Broncos"),  # nothing is shared: the first word of the rarest
    ],
)
def test_span_is_a_slice_near_the_question(question, answer):
    (found,) = span_floor([], [{"id": "1", "question": question, "context": CONTEXT, "answers": []}])
    assert found in CONTEXT
    assert found == answer


def test_span_never_holds_a_word_of_the_question():
    example = {"id": "1", "question": "Who won in 2016?", "context": "Who won in 2016?", "answers": []}
    assert span_floor([], [example]) == [""], "no candidate is left"
    chinese = {"id": "1", "question": "谁在北京工作？", "context": "小明在北京工作。他很高兴。", "answers": []}
    assert span_floor([], [chinese], spaced=False) == ["明"]


def test_only_floors_that_learn_want_training_examples():
    example = {"id": "1", "tokens": ["x"], "tags": ["X"], "label": "a", "text": "x", "text_pair": "x", "choices": ["x"]}
    example |= {"question": "x", "context": "x y", "answers": []}
    for kind, floor in FLOORS.items():
        if kind in LEARNING:
            with pytest.raises(AssertionError, match="no training example"):
                floor([], [example], True)
        elif kind not in ("mining", "dual_encoder"):  # tested above
            assert len(floor([], [example], True)) == 1


def test_every_scored_kind_has_a_floor_that_its_scorer_takes():
    assert set(FLOORS) == {kind for kind in SCORERS if KINDS[kind].evaluated}
    example = {
        "id": "1",
        "text": "x y",
        "text_pair": "x",
        "choices": ["y", "z"],
        "question": "x ?",
        "context": "x y .",
        "answers": [{"text": "y", "start": 2}],
        "tokens": ["x"],
        "tags": ["X"],
    }
    sides = [
        {"id": "1", "side": "language", "text": "x", "gold": ["2"]},
        {"id": "2", "side": "pivot", "text": "x", "gold": []},
    ]
    assert value(score("mining", sides, FLOORS["mining"]([], sides, True))["f1"]) == 100
    query = {"id": "q", "text": "x", "gold": ["1"]}
    ranked = FLOORS["dual_encoder"]([], [query], True, among=Searched([([example], True)]))
    assert value(score("dual_encoder", [query], ranked)["map@20"]) == 100
    for kind, floor in FLOORS.items():
        if kind in ("mining", "dual_encoder"):
            continue
        label = "neutral" if kind == "pair_classification" else 0
        examples = [{**example, "label": label}]
        assert all(value(pairs) == 100 for pairs in score(kind, examples, floor(examples, examples, True)).values())
