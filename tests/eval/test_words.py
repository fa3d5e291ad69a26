"""What a model wrote, read back: answers, what is no answer, and what is said of each cell."""

import json

import numpy as np
import pytest
from answered import Given, answers

from xling_jax.eval import multiple_choice, pair_classification, span_qa, tagging
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Evaluator, OpenCell, Setting, protocol_of
from xling_jax.experiment import Target
from xling_jax.protocol import Protocol
from xling_jax.tables.tasks import Cell

WIDTH = 80


def ids(text: str) -> np.ndarray:
    """Returns a text as a model might write it, with a code point for a token, and -1 beyond its end."""
    codes = [ord(letter) for letter in text]
    return np.array(codes + [-1] * (WIDTH - len(codes)))


def decode(codes) -> str:
    return "".join(map(chr, codes))


def setting(task, form="mt5", **fields) -> Setting:
    return Setting(Target(task=task, protocol=Protocol(answer="generate", **fields), prompts=form), decode=decode)


def outputs_of(rows: list[list[dict]]) -> Outputs:
    """Returns outputs of features, each in a batch of its own."""
    made = Outputs(np.repeat(np.arange(len(rows)), [len(features) for features in rows]), len(rows))
    for number, feature in enumerate(feature for features in rows for feature in features):
        arrays = feature | {"text": ids(feature["text"])}
        made.add(np.array([number]), {name: np.asarray(value)[None] for name, value in arrays.items()})
    return made


def said(*texts):
    return outputs_of([[{"text": text}] for text in texts])


def test_labels_are_read_back():
    written = said("0", " 2 ", "1", "entailment", "", "00", "0 0")
    asked = setting("xnli")
    found = ["entailment", "contradiction", "neutral", "", "", "", ""]
    assert pair_classification.answers(written, (), asked) == found
    assert [line["legal"] for line in pair_classification.detail(written, (), asked)] == [True] * 3 + [False] * 4
    assert pair_classification.answers(said("True", "true"), (), setting("xnli", "plain")) == ["entailment", ""]
    assert pair_classification.answers(said("Neither"), (), setting("xnli", "plain")) == ["neutral"]
    shares = pair_classification.priors(said("0", "0", "9", "1"), asked)
    assert shares == {"contradiction": 0.0, "entailment": 0.5, "neutral": 0.25, "": 0.25}


def test_priors_are_mean_probabilities():
    likely = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    outputs = outputs_of([[{"text": "", "logits": np.log(row) - 7}] for row in likely])
    ranked = Setting(Target(task="xnli", prompts="mt5"))
    assert pair_classification.priors(outputs, ranked) == pytest.approx(
        {"contradiction": 0.4, "entailment": 0.35, "neutral": 0.25}, abs=1e-6
    )  # written with six digits


def test_choices_are_read_back():
    raw = [{"choices": ["The glass  broke.", "½ cup"]}] * 4 + [{"choices": ["a", "a"]}]
    written, asked = said("The glass broke.", "1⁄2 cup", "The glass", "", "a"), setting("xcopa")
    assert multiple_choice.answers(written, raw, asked) == [0, 1, -1, -1, 0]
    assert [line["legal"] for line in multiple_choice.detail(written, raw, asked)] == [True, True, False, False, True]
    assert multiple_choice.submission([0, -1], raw)[1] == '{"label": 0}\n{"label": -1}\n'


CONTEXT = "Ana saw 3 birds in Peru, ｉｎ  May."


def test_the_likeliest_window_answers():
    raw = [{"context": CONTEXT}] * 4
    windows = [
        [{"text": "Ana", "score": -5.0}, {"text": "3 birds", "score": -2.0}, {"text": "Peru", "score": -3.0}],
        [{"text": "in May", "score": -1.0}],  # as vocabularies write it
        [{"text": "Lima", "score": -1.0}],
        [{"text": "", "score": -1.0}],
    ]
    outputs = outputs_of(windows)
    assert span_qa.answers(outputs, raw, setting("squad")) == ["3 birds", "in May", "Lima", ""]
    legal = [line["legal"] for line in span_qa.detail(outputs, raw, setting("squad"))]
    assert legal == [True, True, False, False]


def test_a_window_that_has_no_answer_does_not_outvote_one_that_has():
    raw = [{"context": CONTEXT}] * 3
    none = {"text": "no answer", "score": -0.1}
    windows = [[none, {"text": "Peru", "score": -9.0}, none], [none, none], [{"text": "Rome", "score": 0.0}, none]]
    asked = setting("squad2")
    assert span_qa.answers(outputs_of(windows), raw, asked) == ["Peru", "", "Rome"]
    assert [line["legal"] for line in span_qa.detail(outputs_of(windows), raw, asked)] == [True, True, False]
    assert span_qa.answers(outputs_of(windows[1:2]), raw[:1], setting("squad")) == ["no answer"], "taken as it is"


def test_tags_are_read_back_word_by_word():
    words = ["Ana", "in", "Ana", "Peru", "Peru"]
    raw = [{"tokens": words}] * 6
    whole = "B-PER O B-PER B-LOC I-LOC"
    sentences = [
        [{"text": whole, "words": [0, 5]}],
        [{"text": "B-PER O", "words": [0, 2]}, {"text": "B-PER B-LOC I-LOC", "words": [2, 5]}],
        [{"text": "B-PER O B-PER", "words": [0, 5]}],  # too short
        [{"text": f"{whole} O", "words": [0, 5]}],  # too long
        [{"text": "B-PER O PER B-LOC I-LOC", "words": [0, 5]}],  # a tag that is none
        [{"text": "B-PER", "words": [0, 2]}, {"text": "B-PER B-LOC I-LOC", "words": [2, 5]}],
    ]
    found = tagging.answers(outputs_of(sentences), raw, setting("panx"))
    right = whole.split()
    assert found == [
        right,
        right,
        ["B-PER", "O", "B-PER", "O", "O"],
        right,
        ["B-PER", "O", "O", "B-LOC", "I-LOC"],
        right,
    ]
    legal = [line["legal"] for line in tagging.detail(outputs_of(sentences), raw, setting("panx"))]
    assert legal == [True, True, False, False, False, False]
    assert len(tagging.submission(found, raw)[1].split("\n\n")) == len(raw) + 1


def test_files_and_rows_say_how_it_was_asked(tmp_path):
    raw = [{"id": f"n{at}", "label": label} for at, label in enumerate(["entailment", "neutral", "neutral"])]
    batch = {"text": np.stack([ids(text) for text in ("0", "1", "x")])}
    cell = Cell("xnli", "test", "sw")
    opened = OpenCell(cell, raw, Given(batch, 3), {}, {})
    ((values, _),) = Evaluator(setting("xnli"), answers(lambda batch: batch), lambda _: opened)([cell], tmp_path)
    assert values == {"accuracy": pytest.approx(200 / 3)}
    folder = tmp_path / "xnli"
    items = [json.loads(line) for line in (folder / "test-sw.items.jsonl").read_text().splitlines()]
    assert [(item["id"], item["legal"]) for item in items] == [("n0", True), ("n1", True), ("n2", False)]
    assert json.loads((folder / "test-sw.priors.json").read_text())[""] == pytest.approx(1 / 3)
    assert (folder / "test-sw.tsv").read_text() == "entailment\nneutral\n\n", "as many lines as examples"


def test_a_protocol_says_how_it_was_asked():
    def of(task, form="mt5", length=0, **fields):
        return protocol_of(Target(task=task, answer_length=length, protocol=Protocol(**fields), prompts=form))

    assert of("xnli") == "prompts=mt5 answer=rank score=sum"
    assert of("xnli", "plain", answer="generate", beams=4) == "prompts=plain answer=generate beams=4"
    assert of("squad", length=20) == "prompts=mt5 answer=generate beams=1 answer_length=20"
    assert of("xcopa", score="calibrated") == "prompts=mt5 answer=rank score=calibrated answer_length=64"
    assert of("tatoeba") == of("tatoeba", "") == protocol_of(Target(task="tatoeba")), "vectors are no words"
