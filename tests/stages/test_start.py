"""An experiment that starts from an imported checkpoint, and what is refused before anything runs."""

import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "convert"))

import hub_folders

from xling_jax.convert.importing import Options, bring_in, plan_import
from xling_jax.convert.to_hf import Options as Export
from xling_jax.convert.to_hf import to_hf
from xling_jax.data.prepare import raw_examples
from xling_jax.data.tokenizers import train_sentencepiece
from xling_jax.errors import CheckpointError, ConfigError
from xling_jax.experiment import Part, from_config
from xling_jax.models.card import NAME, as_text, read_card
from xling_jax.models.weights.folder import open_tensors
from xling_jax.results import read_results
from xling_jax.stages.plan import describe
from xling_jax.stages.run import Run
from xling_jax.stages.start import open_start
from xling_jax.tables.models import Model
from xling_jax.tables.tasks import TASKS, parse_cells
from xling_jax.train.writer import Display

ROW = Model("", layers=2, width=16, heads=2, mlp=32, positions=48, vocab=120)
LABELS = ("neutral", "contradiction", "entailment")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as published: a tiny XLM-R with a head for NLI, and a vocabulary of the generated languages."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    hub_folders.publish(folder, row=ROW, kind="pair_classification", labels=LABELS)
    cells = parse_cells("world_text.train.qen+qda")
    texts = [example["text"] for cell in cells for example in raw_examples(Part(cell, 0, 300, 0), None)]
    train_sentencepiece(texts, 118, folder / "sentencepiece.bpe.model")
    return folder


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "tiny"
    bring_in(plan_import(published, Options(task="world_nli")), out, Display())
    return out


def stage(data, **more):
    return {"data": (data,), "steps": 2, "batch_size": 8, "max_length": 44, "log_every": 1, **more}


def experiment(checkpoint, **more):
    fields = {
        "name": "started",
        "checkpoint": str(checkpoint),
        "limits": {"train": 60, "test": 16, "dev": 16},
        "arms": {"none": {}},  # NLI is answered by the checkpoint's own head: no stage comes between
        "targets": {
            "pos": {"task": "world_pos", "languages": "qda", "stage": stage("world_pos.train.qen")},
            "nli": {"task": "world_nli", "languages": "qda", "max_length": 44},
            "parallel": {"task": "world_parallel", "languages": "qda", "max_length": 44, "protocol": {"layer": 1}},
        },
        "source_language": "qen",
        "baseline": "none",
        "eval_batch_size": 16,
    }
    return from_config(fields | more)


@pytest.fixture(scope="module")
def finished(imported, tmp_path_factory):
    run = Run(experiment(imported, mesh="one"), tmp_path_factory.mktemp("one"), None)
    run(jobs=1)
    return run


def results(run):
    return {
        (node.name, row.task, row.metric): row.value
        for node in run.plan.nodes
        for row in read_results(run.workdir / "stages" / node.folder / "results.jsonl")
    }


@pytest.mark.slow
def test_it_runs_to_the_end_on_eight_devices_as_on_one(finished, imported, tmp_path):
    """With parameters divided among the eight."""
    one, eight = finished, Run(experiment(imported, mesh="data2_fsdp4", strategy="fsdp"), tmp_path, None)
    eight(jobs=1)
    assert [node.folder for node in eight.plan.nodes] == [node.folder for node in one.plan.nodes]
    found = results(eight)
    assert {task for _, task, _ in found} == {"world_pos", "world_nli", "world_parallel"}
    untrained = {key for key in found if key[0] == "checkpoint"}
    assert len(untrained) >= 2, "the checkpoint is evaluated as it is"
    assert {key: found[key] for key in untrained} == {key: results(one)[key] for key in untrained}


def test_the_head_that_was_imported_answers(finished, imported):
    """Its labels are in the order of the task, and its answers those of the numbers that came in."""
    run = finished
    node = run.plan.nodes[0]
    assert node.imported and [head.name for head in node.heads] == [TASKS["world_nli"].head_name]
    assert read_card(imported).labels[node.heads[0].name] == ("contradiction", "entailment", "neutral")
    assert not (run.workdir / "stages" / node.folder / "checkpoints").exists(), "it is not copied"


def test_a_finished_run_does_nothing_wherever_the_checkpoint_lies_now(finished, imported, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(imported, moved)
    run = finished
    again = Run(experiment(moved, mesh="one"), run.workdir, None)
    assert [node.folder for node in again.plan.nodes] == [node.folder for node in run.plan.nodes]
    before = {path: path.stat().st_mtime_ns for path in run.workdir.glob("stages/*/results.jsonl")}
    again(jobs=1)
    assert {path: path.stat().st_mtime_ns for path in run.workdir.glob("stages/*/results.jsonl")} == before


def test_another_checkpoint_is_another_stage_and_another_run(published, finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(published, other)
    tensors = {name: stored.read() for name, stored in open_tensors(published).items()}
    tensors["classifier.out_proj.bias"] = tensors["classifier.out_proj.bias"] + np.float32(1e-3)
    hub_folders.write_tensors(other, tensors)
    bring_in(plan_import(other, Options(task="world_nli")), tmp_path / "out", Display())
    run = finished
    changed = Run(experiment(tmp_path / "out", mesh="one"), run.workdir, None)
    assert not {node.hash for node in changed.plan.nodes} & {node.hash for node in run.plan.nodes}
    with pytest.raises(ConfigError, match="Fields that differ: checkpoint"):
        changed(jobs=1)


def test_a_stage_goes_out_as_a_folder_that_comes_in_again(finished, tmp_path):
    run = finished
    node = run.plan.nodes[-1]
    folder = run.workdir / "stages" / node.folder
    to_hf(folder, tmp_path / "hub", Export(), Display())
    said = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert said["architectures"] == ["XLMRobertaForTokenClassification"] and "NOUN" in said["label2id"]
    assert (said["vocab_size"], said["bos_token_id"], said["eos_token_id"]) == (120, 0, 2)
    bring_in(plan_import(tmp_path / "hub", Options()), tmp_path / "back", Display())
    first, second = read_card(folder), read_card(tmp_path / "back")
    assert dataclasses.replace(first.model, name="") == dataclasses.replace(second.model, name="")
    assert first.vocabulary and second.vocabulary
    assert first.vocabulary.fingerprint == second.vocabulary.fingerprint


def test_a_stage_is_a_start_too(finished):
    run = finished
    folder = run.workdir / "stages" / run.plan.nodes[-1].folder
    start = open_start(experiment(folder, targets={"parallel": {"task": "world_parallel", "max_length": 44}}))
    assert start is not None and start.card.model.vocab == 120
    (folder / "DONE").unlink()
    try:
        with pytest.raises(CheckpointError, match="is a stage that is not done"):
            open_start(experiment(folder))
    finally:
        (folder / "DONE").write_text("")


def test_the_plan_says_where_it_starts(finished, tmp_path):
    lines = list(describe(finished.plan, tmp_path))
    assert lines[0].endswith("model imported, 2 layers of width 16; 2 stages")
    assert lines[1] == f"  {finished.plan.nodes[0].folder} [to do]: imported"
    assert any("from checkpoint-" in line and "body keep" in line for line in lines)


def test_parameters_kept_as_bfloat16_are_a_start(published, tmp_path):
    bring_in(plan_import(published, Options(dtype="bfloat16", task="world_nli")), tmp_path / "narrow", Display())
    target = {"task": "world_parallel", "languages": "qda", "max_length": 44}
    run = Run(experiment(tmp_path / "narrow", mesh="one", targets={"parallel": target}), tmp_path / "work", None)
    run(jobs=1)
    assert {key[1] for key in results(run)} == {"world_parallel"}


def spoiled(change):
    def spoil(folder):
        (folder / NAME).write_text(as_text(change(read_card(folder))))

    return spoil


WRONG = {
    "no such folder": (shutil.rmtree, {}, CheckpointError, "has no model.json, so it is no checkpoint"),
    "no parameters": (lambda f: shutil.rmtree(f / "checkpoints"), {}, CheckpointError, "has no checkpoint"),
    "no vocabulary": (
        spoiled(lambda card: dataclasses.replace(card, vocabulary=None)),
        {},
        CheckpointError,
        "has no vocabulary, so no text can be put into it.\nAllowed: .*--tokenizer",
    ),
    "another vocabulary": (
        spoiled(lambda c: dataclasses.replace(c, vocabulary=dataclasses.replace(c.vocabulary, fingerprint="x"))),
        {},
        CheckpointError,
        "is not the vocabulary that .* was made with",
    ),
    "inputs that are too long": (
        lambda f: None,
        {"targets": {"nli": {"task": "world_nli", "max_length": 49}}},
        ConfigError,
        "the 48 positions of the model",
    ),
    "a head that it has not": (
        lambda f: None,
        {"targets": {"qa": {"task": "world_qa", "max_length": 44}}},
        ConfigError,
        "is answered by head '.*', and the checkpoint has: ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_start_is_one_clear_error(imported, tmp_path, case):
    spoil, fields, kind, words = WRONG[case]
    copy = tmp_path / "copy"
    shutil.copytree(imported, copy)
    spoil(copy)
    with pytest.raises(kind, match=f"(?s){words}"):
        Run(experiment(copy, **fields), tmp_path / "work", None)
    assert not (tmp_path / "work" / "experiments").exists()


def test_labels_in_another_order_are_not_shared(published, tmp_path):
    """Without --task the head keeps the publisher's order, which is not that of the task."""
    bring_in(plan_import(published, Options()), tmp_path / "out", Display())
    shared = stage("world_nli.train.qen", handover={"body": "keep", "head": "share"})
    target = {"task": "world_nli", "languages": "qda", "stage": shared}
    asked = experiment(tmp_path / "out", mesh="one", targets={"nli": target})
    with pytest.raises(
        CheckpointError, match=r"(?s)answers neutral, contradiction, entailment, and head .*--task=NAME"
    ):
        Run(asked, tmp_path / "work", None)(jobs=1)
