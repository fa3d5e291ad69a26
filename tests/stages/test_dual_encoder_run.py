"""A stage that trains a dual encoder on questions and the sentences that answer them, and what follows it."""

import json
import math

import pytest

from xling_jax.data.prepare import raw_examples
from xling_jax.experiment import Part, from_config
from xling_jax.stages.run import Run
from xling_jax.tables.tasks import parse_cells


def stage(*data, **more):
    return {"data": data, "batch_size": 16, "max_length": 48, "optim": {"learning_rate": 3e-3}, "log_every": 1, **more}


def write_squad(folder) -> None:
    """Writes the world's questions in SQuAD's format: its own files are not here."""
    (cell,) = parse_cells("world_qa.train.qen")
    paragraphs = []
    for example in raw_examples(Part(cell, 0, 160, 0), None):
        answers = [{"text": answer["text"], "answer_start": answer["start"]} for answer in example["answers"]]
        question = {"id": example["id"], "question": example["question"], "answers": answers}
        paragraphs.append({"context": example["context"], "qas": [question]})
    (folder / "squad").mkdir()
    text = json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]})
    (folder / "squad" / "train-v1.1.json").write_text(text)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stage_of_pairs_runs_and_its_body_is_used(tmp_path):
    write_squad(tmp_path)
    config = {
        "name": "pairs",
        "synthetic": True,
        "model": "tiny",
        "limits": {"train": 200, "dev": 40},
        "pretrain": stage("world_text.train.qen", steps=2),
        "arms": {"pairs": {"stage": stage("squad_retrieval.train.en", steps=30)}},
        "targets": {"retrieval": {"task": "world_parallel", "split": "test", "languages": "qda", "max_length": 48}},
        "baseline": "pairs",
        "source_language": "qen",
    }
    Run(from_config(config), tmp_path / "work", tmp_path)()
    (folder,) = (tmp_path / "work").glob("stages/pairs_s0*")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/lareqa/loss"] for row in metrics if "train/lareqa/loss" in row]
    assert len(losses) == 30
    assert min(losses[-5:]) < math.log(16) < max(losses[:3]), "it begins at a guess among 16 or worse, and learns"
    assert {row["train/lareqa/weight"] for row in metrics if "train/lareqa/weight" in row} == {16}
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {(row["task"], row["language"]) for row in rows} == {("world_parallel", "qda")}
