"""Text-to-text tasks: the ids that our trainer has, scored as our evaluation scores, and what cannot be one.

SeqIO takes many seconds to import; what needs it is at the end of test_register.py.
"""

import json
import types

import numpy as np
import pytest
import speaking

from xling_jax.data import text_tasks
from xling_jax.data.prepare import Records, prepare, raw_examples
from xling_jax.data.text_tasks import FORM, _Texts, register_texts
from xling_jax.data.tokenizers import SentencePieceTokenizer, train_vocabulary
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part
from xling_jax.mixing import Mixing
from xling_jax.scoring.metrics import score, value
from xling_jax.tables.tasks import parse_cells
from xling_jax.world import pieces

LENGTHS = {"inputs": 40, "targets": 12}
CELLS = "world_nli.dev.qda world_qa.dev.qen world_pos.dev.qdt world_choice.dev.qnd"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Returns a SentencePiece model to which the generated world's words are known."""
    path = tmp_path_factory.mktemp("vocabulary") / "spiece.model"
    words = [*pieces(), *"question: context: xnli: premise: hypothesis: tag: choose: NOUN VERB 0 1 2".split()]
    texts = [" ".join(words[at : at + 12]) for at in range(0, len(words), 6)]
    train_vocabulary("mt5", texts * 3, 900, path)
    return path


@pytest.fixture
def vocabulary(model_file):
    return types.SimpleNamespace(sentencepiece_model_file=str(model_file), extra_ids=100)


@pytest.fixture
def tokenizer(model_file):
    return SentencePieceTokenizer(model_file, "mt5", 100)


def part(cell, count=20):
    return Part.of(*parse_cells(cell), 0, count, tuple(LENGTHS.values()), FORM)


@pytest.mark.parametrize("cell", CELLS.split())
def test_ids_are_those_of_our_trainer(cell, tokenizer, tmp_path):
    made = _Texts(part(cell), tokenizer, None).made
    ours = Records(prepared := prepare(part(cell), tokenizer, tmp_path, None)).read(list(range(prepared.features)))
    assert len(made) == len(ours) >= 20
    for one, other in zip(made, ours, strict=True):
        assert one["inputs"].tolist() == other["input_ids"].tolist()
        assert one["targets"].tolist() == other["labels"][other["labels"] >= 0].tolist()
        assert one["inputs"][-1] == tokenizer.eos and len(one["inputs"]) <= LENGTHS["inputs"]
        assert len(one["targets"]) <= LENGTHS["targets"]


def test_only_evaluation_keeps_examples(tokenizer):
    assert all("example_pretokenized" not in made for made in _Texts(part("world_qa.train.qen"), tokenizer, None).made)
    kept = _Texts(part("world_qa.dev.qen"), tokenizer, None).made
    numbers = [json.loads(made["example_pretokenized"])["number"] for made in kept]
    assert sorted(set(numbers)) == list(range(20)), "windows are of the example that they come from"
    assert _Texts(part("world_qa.train.qen"), tokenizer, None).metric_fns == []


def test_text_is_whole_and_ends_when_it_is_corrupted(tokenizer):
    made = _Texts(Part(*parse_cells("world_text.train.qen"), 0, 20, 100), tokenizer, None).made
    raw = raw_examples(part("world_text.train.qen"), None)
    texts = [text for example in raw for name, text in example.items() if name.startswith("text")]
    assert [sorted(each) for each in made] == [["inputs"]] * len(made)
    assert len(made) == 20 and len(texts) == 40, "text of the world comes in pairs"
    ids = np.concatenate([tokenizer.ids(text) for text in texts])
    assert np.concatenate([each["inputs"] for each in made]).tolist() == ids.tolist()


@pytest.mark.parametrize("cell", CELLS.split())
@pytest.mark.parametrize("right", [True, False])
def test_scores_are_ours(cell, right, tokenizer, tmp_path):
    """What is written, gold or a mix of gold and nonsense, gets the numbers that our evaluator gives it."""
    texts = _Texts(part(cell), tokenizer, None)
    raw = list(raw_examples(part(cell), None))
    targets = [text_tasks._read("", made, True) for made in texts.made]
    labels = [made["targets"] if right or at % 3 else np.array([7, 9, 1]) for at, made in enumerate(texts.made)]
    said = [tokenizer.decode(ids) for ids in labels]
    found = texts.score(targets, said, {"scores": [-1.0 * (not len(ids)) for ids in labels]})
    features: list[list[dict]] = [[] for _ in raw]
    for target, ids in zip(targets, labels, strict=True):
        padded = np.pad(ids, (0, LENGTHS["targets"] - len(ids)), constant_values=-1)
        features[target["number"]].append({"labels": padded, "words": np.array(target["words"])})
    row = part(cell).cell.row
    if row.kind != "tagging":
        features = [[{"labels": each["labels"]} for each in made] for made in features]
    answers, legal = speaking.read_back(row, raw, features, tokenizer, FORM)
    ours = score(row.kind, raw, answers, part(cell).cell.language, row.scorer)
    assert found == {name: value(pairs) for name, pairs in ours.items()} | {"legal": 100 * np.mean(legal)}
    assert (min(found.values()) > 60) if right else (min(found.values()) < 80)


def test_a_target_is_an_example_and_a_prediction_a_text(tokenizer):
    made = _Texts(part("world_nli.dev.qda"), tokenizer, None).made[3]
    assert text_tasks._read("1 ", made, True)["raw"] == list(raw_examples(part("world_nli.dev.qda"), None))[3]
    assert text_tasks._read(" 1 ", made, False) == "1"


def test_no_metric_where_labels_are_withheld(tokenizer):
    (there,), (withheld,) = parse_cells("xnli.test.sw"), parse_cells("xnli.test_blind.sw")
    texts = [_Texts(Part.of(cell, 0, 5, (40, 12), FORM), tokenizer, None) for cell in (there, withheld)]
    assert [len(each.metric_fns) for each in texts] == [1, 0]


@pytest.mark.parametrize(
    ("data", "changed", "said"),
    [
        ("world_parallel.test.qms", {}, "of kind 'retrieval', which is not asked for in words"),
        ("world_nli.train.qen world_nli.dev.qen", {}, "Allowed: cells of one split name"),
        ("world_nli.train.qen world_nli.train.qen", {}, "each once"),
        ("world_nlj.train.qen", {}, "Did you mean: world_nli"),
        ("world_text.train.qen", {"extra_ids": 0}, "has no sentinels"),
        ("world_nli.train.qen", {"mixing": Mixing("equal")}, "Unknown rule 'equal'"),
        ("world_nli.train.qen", {"mixing": Mixing(rates=(1.0, 2.0))}, "2 rates for 1 items of data"),
    ],
)
def test_what_cannot_be_registered_is_said(data, changed, said, vocabulary):
    vocabulary.extra_ids = changed.pop("extra_ids", 100)
    with pytest.raises(ConfigError, match=said):
        register_texts(data.split(), LENGTHS, vocabulary, None, **changed)


def test_lengths_and_prompts_are_those_of_the_model(vocabulary, monkeypatch):
    added = {}
    monkeypatch.setattr(text_tasks, "is_new", lambda *_: True)
    monkeypatch.setattr(text_tasks, "_add_task", lambda name, texts, given: added.update({name: (texts.part, given)}))
    assert register_texts(["world_qa.dev.qen"], LENGTHS, vocabulary, None) == "t5.world_qa.dev.qen"
    assert added == {"t5.world_qa.dev.qen": (part("world_qa.dev.qen", 0), vocabulary)}
    monkeypatch.setattr(text_tasks, "_add_mixture", lambda name, *_: name)
    name = register_texts(["world_qa.dev.qen+qda", "world_nli.dev.qen"], LENGTHS, vocabulary, None)
    assert (name, len(added)) == ("t5.world_qa.dev.qen_qda:world_nli.dev.qen", 3)
