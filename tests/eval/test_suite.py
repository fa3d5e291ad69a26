"""Evaluators: from logits to answers, files and rows."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from answered import Given, answers

from xling_jax.data.texts import BESIDE
from xling_jax.errors import NumericalError
from xling_jax.eval import multiple_choice, pair_classification, span_qa, tagging
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Evaluator, OpenCell, Setting, kind_module, protocol_of, result_rows
from xling_jax.experiment import Target
from xling_jax.protocol import Protocol
from xling_jax.results import Result
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import NER, NLI, Cell

CONTEXT = "Ana saw 3 birds in Peru."
SPANS = [[-1, -1], [0, 3], [4, 7], [8, 9], [10, 15], [16, 18], [19, 23], [23, 24], [-1, -1]]

RAW = {
    "world_nli": [{"id": f"n{at}", "label": label} for at, label in enumerate(["neutral", "entailment", "neutral"])],
    "world_choice": [
        {"id": "c0", "choices": ["a", "b", "c", "d"], "label": 2},
        {"id": "c1", "choices": ["a", "b"], "label": 1},
        {"id": "c2", "choices": ["a", "b", "c"], "label": 0},
    ],
    "world_qa": [
        {"id": "q0", "context": CONTEXT, "answers": [{"text": "3 birds", "start": 8}]},
        {"id": "q1", "context": CONTEXT, "answers": [{"text": "Ana", "start": 0}]},
        {"id": "q2", "context": CONTEXT, "answers": [{"text": "Peru", "start": 19}, {"text": "in Peru", "start": 16}]},
    ],
    "world_ner": [
        {"id": "t0", "tokens": ["Ana", "came"], "tags": ["B-PER", "O"]},
        {"id": "t1", "tokens": ["to", "Peru", "City"], "tags": ["O", "B-LOC", "I-LOC"]},
        {"id": "t2", "tokens": ["!"], "tags": ["O"]},
    ],
    "world_parallel": [{"id": f"p{at}", "text_pair": f"text {at}"} for at in range(3)],
}
BATCH = {
    "world_nli": {},
    "world_choice": {},
    "world_qa": {"spans": np.array([SPANS] * 3)},
    "world_ner": {"word": np.array([[-1, 0, 0, 1, -1], [-1, 0, 1, 2, -1], [-1, 0, -1, -1, -1]])},
    "world_parallel": {},
}


QA = Setting(Target(task="world_qa"))


def one_hot(labels, size):
    return np.eye(size)[np.array(labels)]


def gold(task: str) -> np.ndarray:
    """Returns what a head would say that knows the answers."""
    match task:
        case "world_nli":
            return one_hot([NLI.index(example["label"]) for example in RAW[task]], 3)
        case "world_choice":  # a choice that only pads the batch is louder than all others
            logits = one_hot([example["label"] for example in RAW[task]], 4)
            return logits + np.array([[0, 0, 0, 0], [0, 0, 9, 9], [0, 0, 0, 9]])
        case "world_qa":
            return np.stack([one_hot([3, 1, 6], 9), one_hot([4, 1, 6], 9)], axis=-1)
        case "world_ner":  # only the first piece of a word speaks for it
            tags = ["O B-PER I-LOC O O", "O O B-LOC I-LOC O", "O O O B-PER B-PER"]
            return one_hot([[NER.index(tag) for tag in row.split()] for row in tags], 7)
        case _:  # a translation is the text's vector, moved by what the languages differ in
            text = np.array([[5.0, 1.0], [5.0, -1.0], [6.0, 0.0]])
            return np.stack([text, text + np.array([[-9.0, 3.0]])], axis=1).reshape(6, 2)


def opened(task: str, rows: int = 3) -> OpenCell:
    count = len(RAW[task])
    logits = gold(task).reshape(count, -1, gold(task).shape[-1]) if kind(task) == "retrieval" else gold(task)
    floors = dict.fromkeys(KINDS[kind(task)].metrics, 12.5)
    given = Given(BATCH[task] | {"logits": logits}, rows)
    return OpenCell(Cell(task, "test", "qda"), RAW[task], given, floors, {"f1": 99.0})


def outputs_of(rows: list[list[dict]]) -> Outputs:
    """Returns the outputs of each example's features as if each had come in a batch of its own."""
    made = Outputs(np.repeat(np.arange(len(rows)), [len(features) for features in rows]), len(rows))
    for number, feature in enumerate(feature for features in rows for feature in features):
        made.add(np.array([number]), {name: np.asarray(value)[None] for name, value in feature.items()})
    return made


def kind(task: str) -> str:
    return Cell(task, "test", "qda").row.kind


def evaluate(task, folder, change=lambda logits: logits, rows=3, target=None):
    target = target or Target(task=task)
    module = kind_module(kind(task))

    def output_fn(batch):
        logits = jnp.asarray(change(batch["logits"]))
        return {"vectors": logits} if kind(task) == "retrieval" else module.device(logits)

    def whole(fetched, batch):
        return fetched | {name: batch[name] for name in BESIDE if name in batch}

    cell = opened(task, rows)
    ((values, _),) = Evaluator(Setting(target), answers(output_fn, whole), lambda _: cell)([cell.cell], folder)
    return values


def test_every_kind_that_is_scored_is_here():
    elsewhere = {"mining", "dual_encoder"}  # whose answers depend on other cells: test_mining.py, test_dual_encoder.py
    assert {kind(task) for task in RAW} | elsewhere == {name for name, row in KINDS.items() if row.evaluated}


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("task", RAW)
def test_gold_outputs_score_100(task, rows, tmp_path):
    values = evaluate(task, tmp_path, rows=rows)
    assert values == dict.fromkeys(KINDS[kind(task)].metrics, 100.0)


@pytest.mark.parametrize("task", RAW)
def test_wrong_outputs_score_less(task, tmp_path):
    values = evaluate(task, tmp_path, lambda logits: -logits if kind(task) != "retrieval" else logits[:, ::-1] ** 3)
    assert values[KINDS[kind(task)].metrics[0]] < 100


@pytest.mark.parametrize(
    ("task", "ending", "text"),
    [
        ("world_nli", "tsv", "neutral\nentailment\nneutral\n"),
        ("world_choice", "jsonl", '{"label": 2}\n{"label": 1}\n{"label": 0}\n'),
        ("world_qa", "json", '{\n"q0": "3 birds",\n"q1": "Ana",\n"q2": "Peru"\n}\n'),
        ("world_ner", "tsv", "B-PER\nO\n\nO\nB-LOC\nI-LOC\n\nO\n\n"),
        ("world_parallel", "tsv", "0\n1\n2\n"),
    ],
)
def test_files(task, ending, text, tmp_path):
    evaluate(task, tmp_path)
    folder = tmp_path / task
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"test-qda.{ending}", "test-qda.items.jsonl"])
    assert (folder / f"test-qda.{ending}").read_text() == text
    items = [json.loads(line) for line in (folder / "test-qda.items.jsonl").read_text().splitlines()]
    assert [item.pop("id") for item in items] == [example["id"] for example in RAW[task]]
    for metric in KINDS[kind(task)].metrics:
        pairs = [item[metric] for item in items]
        assert sum(a for a, _ in pairs) == sum(b for _, b in pairs) > 0, "100 percent, item by item"


def test_answers_are_written_as_they_are(tmp_path):
    text = span_qa.submission(["北京"], [{"id": "q"}])[1]
    assert "北京" in text


def test_rows_say_everything():
    target = Target(task="world_qa")
    stage = {"seed": 3, "stage": "english_qa_s3", "stage_hash": "ab", "step": 40, "policy": "last"}
    rows = result_rows({"f1": 50.0, "exact_match": 25.0}, opened("world_qa"), target, stage)
    assert [(row.metric, row.value, row.floor, row.ceiling) for row in rows] == [
        ("f1", 50.0, 12.5, 99.0),
        ("exact_match", 25.0, 12.5, None),
    ]
    expected = stage | {
        "experiment": None,
        "study": None,
        "arm": None,
        "task": "world_qa",
        "language": "qda",
        "split": "test",
        "n": 3,
        "scorer": "squad-v1.1",
        "protocol": "max_answer=30",
        "data_checksum": "c" * 16,
    }
    for row in rows:
        found = dataclasses.asdict(row)
        assert {name: found[name] for name in expected} == expected
    assert set(expected) | {"metric", "value", "floor", "ceiling"} == {f.name for f in dataclasses.fields(Result)}


def test_a_protocol_tells_numbers_apart():
    def said(**fields):
        return protocol_of(Target(task="world_parallel", protocol=Protocol(**fields)))

    assert said(layer=7) == "layer=7 pooling=mean special=False centre=True queries=pivot margin=absolute"
    assert said(margin="ratio").endswith("margin=ratio k=4"), "k says something where there is a margin"
    others = [{"layer": 8}, {"pooling": "first"}, {"centre": False}, {"special": True}, {"queries": "language"}]
    assert len({said(), *(said(**change) for change in others)}) == 6
    assert protocol_of(Target(task="world_qa")) == "max_answer=30"
    assert protocol_of(Target(task="world_nli")) == ""


def test_the_best_window_answers():
    def window(score, at):
        return {"start": score * one_hot(at, 9), "end": score * one_hot(at, 9), "spans": np.array(SPANS)}

    raw = RAW["world_qa"][:1]
    windows = [window(1.0, 1), window(3.0, 4), window(2.0, 6)]
    assert span_qa.answers(outputs_of([windows]), raw, QA) == ["birds"]
    outside = {"start": np.full(9, 50.0), "end": np.full(9, 50.0), "spans": np.full((9, 2), -1)}
    assert span_qa.answers(outputs_of([[outside, windows[1]]]), raw, QA) == ["birds"], (
        "a window of nothing but the question"
    )
    assert span_qa.answers(outputs_of([[outside]]), raw, QA) == [""]


def windows_of(start, end, spans, size, step):
    """Returns a long context as windows that overlap, each behind a <s> that no answer can begin at."""
    nothing = np.array([[0, 0]])
    for at in range(0, max(1, len(start) - size + step), step):
        part = slice(at, at + size)
        row = [np.concatenate([[0.0], values[part]]) for values in (start, end)]
        yield {"start": row[0], "end": row[1], "spans": np.concatenate([nothing, spans[part]])}


@pytest.mark.parametrize("seed", range(10))
def test_windows_answer_as_the_whole_does(seed):
    """Where every answer that is short enough lies in some window, the best over windows is the best of the whole."""
    rng = np.random.default_rng(seed)
    start, end = rng.standard_normal((2, 60))
    spans = np.stack([3 * np.arange(60), 3 * np.arange(60) + 2], axis=1)
    context = "".join(chr(ord("a") + at % 26) for at in range(200))
    setting = Setting(Target(task="world_qa", protocol=Protocol(max_answer=8)), probabilities=True)
    whole, parts = ([list(windows_of(start, end, spans, size, step))] for size, step in ((60, 60), (16, 8)))
    assert len(parts[0]) > 5
    one, many = (outputs_of(rows) for rows in (whole, parts))
    raw = [{"id": "q", "context": context}]
    assert span_qa.answers(many, raw, setting) == span_qa.answers(one, raw, setting)
    (found,), (expected,) = (span_qa.detail(outputs, raw, setting) for outputs in (many, one))
    assert found == expected and len(found["best"]) == span_qa.N_BEST
    likely = [share for _, share in found["best"]]
    assert likely == sorted(likely, reverse=True) and sum(likely) == pytest.approx(1, abs=1e-4), "rounded to six digits"
    assert found["best"][0][0] == span_qa.answers(many, raw, setting)[0]


def test_no_answer_where_none_is_allowed_and_scores_well_enough():
    """<s> of the window that likes it least speaks for no answer; the threshold is the protocol's."""
    first = {"start": [4.0, 1, 0], "end": [4.0, 0, 1], "spans": [[0, 0], [0, 3], [4, 7]]}
    second = {"start": [1.5, 0, 2], "end": [1.5, 0, 1], "spans": [[0, 0], [0, 3], [4, 7]]}
    outputs = outputs_of([[{name: np.array(value) for name, value in w.items()} for w in (first, second)]])
    raw = [{"id": "q", "context": "Ana saw Peru"}]

    def answer(task, threshold):
        protocol = Protocol(null_threshold=threshold)
        return span_qa.answers(outputs, raw, Setting(Target(task=task, protocol=protocol)))

    assert answer("squad2", 0.0) == ["saw"], "none scores 1.5 + 1.5, the best answer 2 + 1: not better"
    assert answer("squad2", -0.1) == [""] and answer("squad", -0.1) == ["saw"], "SQuAD v1.1 has no such questions"
    best = span_qa.detail(outputs, raw, Setting(Target(task="squad2"), probabilities=True))[0]["best"]
    assert [text for text, _ in best[:2]] == ["saw", ""], "the first among equals"


def test_what_is_not_finite_is_one_clear_error(tmp_path):
    with pytest.raises(NumericalError, match=r"of example 'n1' of world_nli\.test\.qda is not finite"):
        evaluate("world_nli", tmp_path, lambda logits: np.where(np.arange(len(logits))[:, None] == 1, np.nan, logits))
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_answers_have_at_most_thirty_tokens():
    spans = np.stack([np.arange(40), np.arange(1, 41)], axis=1)
    feature = {"start": one_hot(0, 40), "end": 2 * one_hot(35, 40) + one_hot(20, 40), "spans": spans}
    found = span_qa.answers(outputs_of([[feature]]), [{"context": "x" * 20 + "y" + "z" * 19}], QA)
    assert found == ["x" * 20 + "y"], "of what is short enough the best; from 0 to 35 would sum to 3"


def test_sentences_that_were_cut_are_whole_again():
    first = {"label": np.array([0, 1, 0]), "word": np.array([-1, 0, 1]), "probability": np.array([0.1, 0.9, 0.8])}
    second = {
        "label": np.array([0, 5, 6, 6, 0]),
        "word": np.array([-1, 2, -1, 3, -1]),
        "probability": np.array([0.1, 0.7, 0.2, 0.6, 0.1]),
    }
    raw = [{"tokens": ["Ana", "saw", "Peru", "City", "lost"]}]
    outputs, setting = outputs_of([[first, second]]), Setting(Target(task="world_ner"), probabilities=True)
    found = tagging.answers(outputs, raw, setting)
    assert found == [["B-PER", "O", "B-LOC", "I-LOC", "O"]], "a word that no window holds gets O"
    assert tagging.detail(outputs, raw, setting) == [{"probabilities": [0.9, 0.8, 0.7, 0.6, None]}]


def test_the_first_of_equal_labels_wins():
    outputs = outputs_of([[{"logits": np.array([1.0, 1.0, 0.0])}]])
    setting = Setting(Target(task="world_nli"), probabilities=True)
    assert pair_classification.answers(outputs, [{}], setting) == ["contradiction"]
    assert multiple_choice.answers(outputs, [{"choices": "ab"}], setting) == [0]
    assert pair_classification.detail(outputs, [{}], setting) == [
        {"ranking": [0, 1, 2], "probabilities": [0.422319, 0.422319, 0.155362]}
    ]
    assert multiple_choice.detail(outputs, [{"choices": "ab"}], Setting(setting.target)) == [{"ranking": [0, 1]}]
