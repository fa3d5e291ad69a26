"""What two processes compute, save and evaluate is what one computes, saves and evaluates."""

import json
import pathlib
import re
import sys

import jax
import numpy as np
import processes
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "partitioning"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stages"))

import test_dual_encoder_run as pairs
import test_sharded_step as one

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
PADDED = ("fsdp_tensor", "data2_fsdp2_tensor2", "world_qa")


def finish(tmp_path, devices, name, hosts=2, **given):
    return processes.finish(processes.jobs(name, hosts=hosts, wait=200.0, **given), tmp_path, devices)


@pytest.mark.parametrize(("strategy", "mesh", "task"), [(*place, "world_text") for place in one.PLACES] + [PADDED])
def test_a_step_on_two_processes_equals_the_step_on_one_device(tmp_path, strategy, mesh, task):
    """Four devices each; two micro-batches. The tolerance is that of eight devices of one process."""
    finish(tmp_path, 4, "step", folder=str(tmp_path), strategy=strategy, mesh=mesh, task=task)
    expected = one.stepped("data", "one", task, 2)
    expected = expected[0]["params"], expected[1]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(expected)]
    found = np.load(tmp_path / "step.npz")
    params, metrics = jax.tree.unflatten(jax.tree.structure(expected), [found[name] for name in names])
    one.assert_same_step(({"params": params}, metrics), ({"params": expected[0]}, expected[1]))


@pytest.mark.parametrize(
    ("saved_by", "read_by"),
    [
        ((1, 8), (1, 1)),
        ((1, 8), (1, 2)),
        ((1, 8), (1, 4)),
        ((1, 8), (2, 4)),
        ((2, 4), (1, 8)),
        ((2, 4), (1, 1)),
        ((2, 1), (1, 2)),
    ],
)
def test_what_is_saved_is_restored_by_any_number_of_hosts(tmp_path, saved_by, read_by):
    """Hosts and devices of each; to the bit."""
    divided = {"fsdp_tensor": (8, "data2_fsdp2_tensor2"), "fsdp": (2, "fsdp"), "data": (1, "one")}
    places = {size: (strategy, mesh) for strategy, (size, mesh) in divided.items()} | {4: ("fsdp", "fsdp")}
    for name, (hosts, devices) in {"save": saved_by, "restore": read_by}.items():
        strategy, mesh = places[hosts * devices]
        given = {"folder": str(tmp_path / "kept"), "strategy": strategy, "mesh": mesh, "seed": 3}
        finish(tmp_path, devices, name, hosts=hosts, **given)


@pytest.mark.parametrize(("devices", "imported"), [(1, True), (8, False)], ids=["imported", "on8"])
def test_no_host_holds_a_whole_model(tmp_path, devices, imported):
    """Four hosts draw a quarter of a large model each, and read a quarter of a checkpoint each.

    In passing a host holds more than its quarter: numbers before they are made normal, what is read before it lies
    where it belongs. Measured: 1.6 quarters at most in drawing, and in reading 2.4 of what was imported and 3.0 of what
    eight devices have written.
    """
    folder = str(tmp_path / "kept")
    finish(tmp_path, devices, "keep_large", hosts=1, folder=folder, imported=imported)
    said = finish(tmp_path, 1, "hold_large", hosts=4, folder=folder)
    for found in (json.loads(re.search(r"held (.+)", text)[1]) for text in said):
        assert found["whole"] > 600e6, "so large that the rest of the program does not count"
        assert 0.24 < found["drawn"] / found["whole"] < 0.5, found
        assert 0.24 < found["read"] / found["whole"] < 0.95, found


def stage(data, **more):
    optim = {"learning_rate": 3e-3}
    return {"data": (data,), "batch_size": 8, "steps": 4, "max_length": 48, "optim": optim, "log_every": 1, **more}


def target(task, **more):
    return {"task": task, "languages": "qen qda", "max_length": 48, **more}


EVERYWHERE = {"synthetic": True, "arms": {"none": {}}, "baseline": "none", "source_language": "qen"}
LIMITS = {"train": 64, "test": 21, "dev": 13}  # which no batch divides
SELECTED = {"policies": ("source_dev", "last", "average"), "dev": "world_nli.dev.qen"}
HEADS = {
    "name": "heads",
    "model": "tiny",
    "limits": LIMITS,
    "pretrain": stage("world_text.train.qen"),
    "targets": {
        "nli": target("world_nli", stage=stage("world_nli.train.qen", save_every=2, selection=SELECTED)),
        "choice": target("world_choice", stage=stage("world_choice.train.qen")),
        "qa": target("world_qa", stage=stage("world_qa.train.qen", packing=True)),
        "pos": target("world_pos", stage=stage("world_pos.train.qen")),
        "parallel": target("world_parallel", languages="qda", protocol={"layer": 1, "margin": "ratio", "k": 3}),
    },
    "probabilities": True,
    "eval_batch_size": 8,
}
PAIRS = {
    "name": "pairs",
    "model": "tiny",
    "limits": {"train": 200},
    "pretrain": pairs.stage("world_text.train.qen", steps=2),
    "arms": {"pairs": {"stage": pairs.stage("squad_retrieval.train.en", steps=4)}},
    "targets": {
        "answers": pairs.target("lareqa", "en th"),
        "mined": pairs.target("bucc2018", "zh", "dev"),
        "handed_in": pairs.target("bucc2018", "zh"),
    },
    "baseline": "pairs",
    "probabilities": True,
    "eval_batch_size": 32,
}
TEXT = {"answer_length": 24}
WORDS = {
    "name": "words",
    "model": "tiny_mt5",
    "limits": LIMITS,
    "vocabulary": {"kind": "mt5", "size": 400, "data": ("world_text.train.qen+qda",)},
    "pretrain": stage("world_nli.train.qen", **TEXT),
    "targets": {
        "choice": target("world_choice", **TEXT),
        "qa": target("world_qa", stage=stage("world_qa.train.qen", **TEXT), **TEXT),
        "pos": target("world_pos", **TEXT),
    },
    "eval_batch_size": 8,
}


@pytest.mark.parametrize("config", [HEADS, PAIRS, WORDS], ids=lambda config: config["name"])
def test_an_experiment_on_two_processes_is_that_on_one(tmp_path, config):
    """Two devices in all, of one process or of two: a sum of two numbers does not depend on their order, so every
    prediction, score and choice is the same to the last digit."""
    pairs.write_data(tmp_path)
    found = {}
    for hosts, devices in ((1, 2), (2, 1)):
        workdir = tmp_path / f"on{hosts}"
        given = {"config": EVERYWHERE | config, "workdir": str(workdir), "data_dir": str(tmp_path)}
        said = finish(tmp_path, devices, "run", hosts=hosts, **given)
        assert all("evaluates" not in more for more in said[1:]), "the first one speaks"
        found[hosts] = written(workdir)
    assert len(found[1]) > 10 and found[2] == found[1]


def test_an_error_in_the_midst_of_training_ends_both_and_the_run_goes_on(tmp_path):
    """The last host fails in step 13, while a checkpoint may be on its way to the disk, and the other one computes."""
    config = EVERYWHERE | {
        "name": "short",
        "model": "tiny",
        "limits": LIMITS,
        "pretrain": stage("world_text.train.qen", steps=30, save_every=4),
        "targets": {"parallel": target("world_parallel", languages="qda", protocol={"layer": 1})},
        "eval_batch_size": 8,
    }
    given = {"config": config, "data_dir": None}
    finish(tmp_path, 2, "run", hosts=1, workdir=str(tmp_path / "straight"), **given)
    commands = processes.jobs("run", wait=200.0, workdir=str(tmp_path / "ended"), failing=13, **given)
    with processes.started(commands, tmp_path, 1) as both:
        assert [host.code() for host in both] == [3, 3]
        assert "error: Host 1 of 2 has ended: No file x." in both[0].said()
        assert not any("Traceback" in host.said() for host in both)
    first, _ = finish(tmp_path, 1, "run", workdir=str(tmp_path / "ended"), **given)
    assert re.search(r"pretrain goes on from its checkpoint at step (8|12)\n", first)
    assert written(tmp_path / "ended") == written(tmp_path / "straight")


def written(workdir: pathlib.Path) -> dict[str, str]:
    """Returns all that a run has written of its answers and of its training, but for how fast it was."""
    names = ("results.jsonl", "chosen.json", "predictions*/*/*", "config.json")
    files = {path for name in names for path in workdir.glob(f"stages/*/{name}")}
    texts = {
        str(path.relative_to(workdir)): path.read_text() for path in sorted(files | set(workdir.rglob("layers.json")))
    }
    for path in workdir.glob("stages/*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{name: value for name, value in line.items() if name.startswith(("step", "train/"))} for line in lines]
        texts[str(path.relative_to(workdir))] = json.dumps(kept)
    return texts
