"""A whole experiment with packed stages: masked LM, then tagging and NLI with one shape each, then evaluation."""

import json

import pytest

from xling_jax.experiment import from_config
from xling_jax.stages.run import Run


def stage(*data, **more):
    optim = {"learning_rate": 1e-3}
    return {"data": data, "batch_size": 24, "max_length": 48, "packing": True, "optim": optim, "log_every": 2, **more}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packed_stages_run_and_are_evaluated(tmp_path):
    config = {
        "name": "packed",
        "synthetic": True,
        "model": "tiny",
        "limits": {"train": 200, "dev": 40},
        "pretrain": stage("world_text.train.qen+qda", steps=4, accumulate=2),
        "arms": {"none": {}},
        "targets": {
            "pos": {
                "task": "world_pos",
                "split": "dev",
                "languages": "qda",
                "stage": stage("world_pos.train.qen", "world_choice.train.qen", epochs=1.0, buckets=(24, 48)),
            }
        },
        "baseline": "none",
        "source_language": "qen",
    }
    Run(from_config(config), tmp_path, None)()
    (folder,) = tmp_path.glob("stages/none_pos*")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = {name for row in metrics for name in row}
    assert {"train/world_pos/loss", "train/world_choice/loss"} <= names
    steps = max(row["step"] for row in metrics)
    assert abs(steps - 400 / 24) < 3, "about an epoch of 200 sentences and 200 questions"
    words = [row["train/world_pos/weight"] for row in metrics if "train/world_pos/weight" in row]
    assert min(words) > 60, "words of about 24 sentences"
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {(row["metric"], row["n"]) for row in rows} == {("f1", 40), ("accuracy", 40)}
