"""A dual encoder trained on questions and the sentences that answer them, then asked among the sentences of all
languages; and its body mines translations as it is.
"""

import json
import math

import pytest

from xling_jax.data import texts
from xling_jax.data.prepare import raw_examples
from xling_jax.data.sentences import sentence_spans
from xling_jax.experiment import Part, from_config
from xling_jax.stages.run import Run
from xling_jax.tables.rows.retrieval import LAREQA
from xling_jax.tables.tasks import parse_cells


def stage(*data, **more):
    return {"data": data, "batch_size": 16, "max_length": 48, "optim": {"learning_rate": 3e-3}, "log_every": 1, **more}


def questions() -> list[dict]:
    (cell,) = parse_cells("world_qa.train.qen")
    return list(raw_examples(Part(cell, 0, 160, 0), None))


def paragraphs(examples: list[dict]) -> dict:
    """Returns the world's questions in SQuAD's format, sentence breaks as in XQuAD-R: their own files are not here."""
    found = []
    for example in examples:
        answers = [{"text": answer["text"], "answer_start": answer["start"]} for answer in example["answers"]]
        question = {"id": example["id"], "question": example["question"], "answers": answers[:1]}
        breaks = [list(span) for span in sentence_spans(example["context"])]
        found.append({"context": example["context"], "sentence_breaks": breaks, "qas": [question]})
    return {"data": [{"title": "", "paragraphs": found}]}


def write_data(folder) -> None:
    """Writes SQuAD, LAReQA of which all languages say the same, and BUCC of parallel sentences among others."""
    examples = questions()
    files = {"squad/train-v1.1.json": json.dumps(paragraphs(examples))}
    files |= {f"lareqa/xquad-r/{code}.json": json.dumps(paragraphs(examples[:12])) for code in LAREQA.split()}
    (cell,) = parse_cells("world_parallel.test.qda")
    pairs = list(raw_examples(Part(cell, 0, 40, 0), None))
    language = "".join(f"zh-{at}\t{pair['text']}\n" for at, pair in enumerate(pairs[:30]))
    pivot = "".join(f"en-{at}\t{pair['text_pair']}\n" for at, pair in enumerate(pairs) if at >= 10)
    gold = "".join(f"zh-{at}\ten-{at}\n" for at in range(10, 30))
    for split in ("dev", "test"):
        files |= {f"bucc2018/zh-en.{split}.zh": language, f"bucc2018/zh-en.{split}.en": pivot}
    files["bucc2018/zh-en.dev.gold"] = gold
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def target(task: str, languages: str, split: str = "test") -> dict:
    return {"task": task, "split": split, "languages": languages, "max_length": 48}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stage_of_pairs_runs_and_answers_in_every_language(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "WINDOW", 1)  # the same texts in rows of the same texts: of equals the same are found
    write_data(tmp_path)
    config = {
        "name": "pairs",
        "synthetic": True,
        "model": "tiny",
        "limits": {"train": 200},
        "pretrain": stage("world_text.train.qen", steps=2),
        "arms": {"pairs": {"stage": stage("squad_retrieval.train.en", steps=30)}},
        "targets": {
            "retrieval": target("world_parallel", "qda"),
            "answers": target("lareqa", "en th"),
            "mined": target("bucc2018", "zh", "dev"),
            "handed_in": target("bucc2018", "zh"),
        },
        "baseline": "pairs",
        "source_language": "qen",
        "eval_batch_size": 32,
    }
    Run(from_config(config), tmp_path / "work", tmp_path)()
    (folder,) = (tmp_path / "work").glob("stages/pairs_s0*")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/lareqa/loss"] for row in metrics if "train/lareqa/loss" in row]
    assert len(losses) == 30
    assert min(losses[-5:]) < math.log(16) < max(losses[:3]), "it begins at a guess among 16 or worse, and learns"
    assert {row["train/lareqa/weight"] for row in metrics if "train/lareqa/weight" in row} == {16}
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    found = {(row["task"], row["split"], row["language"]): row for row in rows}
    answered = {("lareqa", "test", "en"), ("lareqa", "test", "th")}
    assert set(found) == {("world_parallel", "test", "qda"), ("bucc2018", "dev", "zh")} | answered, "nothing withheld"
    for cell in answered:
        assert found[cell]["n"] == 12 and found[cell]["metric"] == "map@20" and found[cell]["floor"] > 0
    english, thai = (found["lareqa", "test", code]["value"] for code in ("en", "th"))
    assert 0 < english == thai, "all languages ask the same here"
    assert found["bucc2018", "dev", "zh"]["protocol"].endswith("queries=both margin=ratio k=4 threshold=crossfit")
    assert found["bucc2018", "dev", "zh"]["floor"] is not None and found["bucc2018", "dev", "zh"]["ceiling"] is not None
    ranked = json.loads((folder / "predictions" / "lareqa" / "test-th.json").read_text())
    assert {len(ids) for ids in ranked.values()} == {20}
    pairs = (folder / "predictions" / "bucc2018" / "test-zh.tsv").read_text().splitlines()
    assert all(len(pair.split("\t")) == 2 for pair in pairs)
