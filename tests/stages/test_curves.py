"""A whole run means the same on every mesh: its losses step by step, and its scores."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from xling_jax.experiment import from_config
from xling_jax.stages.run import Run

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PLACES = (
    ("data", "any"),
    ("fsdp", "fsdp"),
    ("fsdp", "data2_fsdp4"),
    ("fsdp_tensor", "data2_fsdp2_tensor2"),
)
STEPS = {"pretrain": 40, "none_pos_s0": 20}


def declared(strategy: str, mesh: str):
    """Returns pretraining with masks and dropout, in micro-batches, then tagging, at rates at which much changes."""
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "configs" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fields = module.get_config("test").to_dict()
    target = fields["targets"]["pos"]
    fields["pretrain"] |= {"steps": STEPS["pretrain"], "log_every": 1, "accumulate": 2}
    target["stage"] |= {"steps": STEPS["none_pos_s0"], "log_every": 1}
    alone = {"arms": {"none": {}}, "targets": {"pos": target}, "comparisons": (), "headline": (), "seeds": (0,)}
    return from_config(fields | alone | {"model": "tiny", "strategy": strategy, "mesh": mesh})


def curves(folder: pathlib.Path, strategy: str, mesh: str):
    """Returns ({stage: [[loss, norm of the gradient] of each step]}, {(language, metric): score})."""
    Run(declared(strategy, mesh), folder, None)()
    losses, scores = {}, {}
    for stage in (folder / "stages").iterdir():
        name = stage.name.rpartition("-")[0]
        lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
        (head,) = {key.rpartition("/")[0] for key in lines[0] if key.endswith("/loss")}
        losses[name] = np.array([[line[f"{head}/loss"], line[f"{head}/gradient_norm"]] for line in lines])
        for line in (stage / "results.jsonl").read_text().splitlines():
            row = json.loads(line)
            scores[row["language"], row["metric"]] = row["value"]
    return losses, scores


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return curves(tmp_path_factory.mktemp("one"), "data", "one")


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "mesh"), PLACES)
def test_a_curve_does_not_depend_on_the_mesh(strategy, mesh, one, tmp_path):
    losses, scores = curves(tmp_path, strategy, mesh)
    assert {name: len(curve) for name, curve in losses.items()} == STEPS
    for name, curve in losses.items():
        # Metrics are written to six digits; sums over devices, which are added in another order, change the last one.
        np.testing.assert_allclose(curve, one[0][name], rtol=1e-5, err_msg=name)
        assert curve[0, 0] - curve[:, 0].min() > 0.05, "something is learnt"
    assert scores.keys() == one[1].keys() and len(scores) == 12
    # 40 sentences a language: a word whose two best tags are as good as equal may turn over.
    assert all(abs(score - one[1][cell]) <= 1 for cell, score in scores.items())
