"""The graph of stages: what is shared, and what a stage's name depends on."""

import dataclasses
import importlib.util
import itertools
import json
import pathlib

import pytest

from xling_jax.experiment import Arm, as_json, from_config, seen_languages
from xling_jax.mixing import Mixing
from xling_jax.optim import Lora
from xling_jax.stages.plan import describe, heads_of, make_plan
from xling_jax.tables.tasks import TASKS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "configs" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return from_config(module.get_config("test").to_dict())


def hashes(experiment, vocabulary="v", checksum=str):
    return {node.name: node.hash for node in make_plan(experiment, vocabulary, checksum).nodes}


def with_optim(experiment, **fields):
    """Returns the experiment with other fields of its pretraining's optimiser."""
    stage = experiment.pretrain
    optim = dataclasses.replace(stage.optim, **fields)
    return dataclasses.replace(experiment, pretrain=dataclasses.replace(stage, optim=optim))


def test_tasks_share_a_head(experiment, monkeypatch):
    """World QA and QA2 under one head: one is trained, the other evaluated with it, and both names say so."""
    before = hashes(experiment)
    for name in ("world_qa", "world_qa2"):
        monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], head="span"))
    both = dataclasses.replace(experiment.pretrain, data=("world_qa.train.qen", "world_qa2.train.qen"))
    assert [head.name for head in heads_of(both)] == ["span"]
    fields = json.loads(as_json(experiment))
    fields["targets"]["qa2"]["stage"]["data"] = ["world_qa.train.qen"]
    assert from_config(fields).targets["qa2"].task == "world_qa2", "a target whose head another task trains"
    changed = {name for name, found in hashes(experiment).items() if found != before[name]}
    assert {"english_s0", "none_qa2_s0"} <= changed and "none_pos_s0" not in changed, "a head decides a result"


def test_stages_are_shared(experiment):
    plan = make_plan(experiment, "v", str)
    assert len(plan.nodes) == 1 + 2 * (
        2 + 3 * 3
    )  # pretraining; for each seed two arms with a stage, three targets each
    assert len({node.folder for node in plan.nodes}) == len(plan.nodes)
    retrieval = [e for e in plan.evaluations if e.target == "retrieval" and e.arm == "none"]
    assert [e.node.name for e in retrieval] == ["pretrain", "pretrain"]  # both seeds stand on one model


def test_equal_arms_are_one_stage(experiment):
    arms = dict(experiment.arms) | {"again": experiment.arms["english"]}
    assert len(make_plan(dataclasses.replace(experiment, arms=arms), "v", str).nodes) == 23


def test_parents_come_first(experiment):
    seen = set()
    for node in make_plan(experiment, "v", str).nodes:
        assert node.parent is None or node.parent.folder in seen
        seen.add(node.folder)


def test_the_baseline_runs_first(experiment):
    names = [node.name for node in make_plan(experiment, "v", str).nodes]
    assert names[0] == "pretrain" and names[1].startswith("none_")


def test_a_name_depends_on_what_decides_the_result(experiment):
    before = hashes(experiment)
    stage = experiment.pretrain
    changed = {
        "steps": dataclasses.replace(experiment, pretrain=dataclasses.replace(stage, steps=21)),
        "data": dataclasses.replace(experiment, pretrain=dataclasses.replace(stage, data=stage.data * 2)),
        "mixing": dataclasses.replace(experiment, pretrain=dataclasses.replace(stage, mixing=Mixing("uniform"))),
        "optim": dataclasses.replace(
            experiment, pretrain=dataclasses.replace(stage, optim=dataclasses.replace(stage.optim, clip=2.0))
        ),
        "lora": with_optim(experiment, lora=Lora(2)),
        "frozen layers": with_optim(experiment, freeze_layers=1),
        "layer decay": with_optim(experiment, layer_decay=0.9),
        "optimiser": with_optim(experiment, name="adafactor"),
        "limits": dataclasses.replace(experiment, limits={"train": 401, "test": 40}),
        "model": dataclasses.replace(experiment, model="small"),
        "dtype": dataclasses.replace(experiment, dtype="bfloat16"),
        "seed": dataclasses.replace(experiment, pretrain_seed=1),
    }
    for name, other in changed.items():
        assert hashes(other)["pretrain"] != before["pretrain"], name
        assert hashes(other)["none_pos_s0"] != before["none_pos_s0"], f"{name} of the parent"
    assert hashes(experiment, vocabulary="w")["pretrain"] != before["pretrain"]
    assert hashes(experiment, checksum=lambda cell: f"{cell}!")["pretrain"] != before["pretrain"]


def test_a_name_does_not_depend_on_anything_else(experiment):
    stage = dataclasses.replace(experiment.pretrain, save_every=7, log_every=3)
    other = dataclasses.replace(
        experiment,
        pretrain=stage,
        name="other",
        question="?",
        eval_batch_size=3,
        strategy="fsdp",
        mesh="one",
        readers=2,
    )
    assert hashes(other) == hashes(experiment)


def test_a_seed_changes_its_own_stages_only(experiment):
    before, after = hashes(experiment), hashes(dataclasses.replace(experiment, seeds=(0, 5)))
    same = {name for name in before if before[name] == after.get(name)}
    assert same == {name for name in before if not name.endswith("_s1")}


def test_parts_of_the_multilingual_stage_do_not_overlap(experiment):
    parts = experiment.arms["multilingual"].stage.parts(experiment.limits)
    spans = sorted((part.first, part.first + part.count) for part in parts)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    english = experiment.arms["english"].stage.parts(experiment.limits)
    assert sum(part.count for part in english) - sum(part.count for part in parts) < len(parts)


def test_the_plan_prints_itself(experiment, tmp_path):
    plan = make_plan(experiment, "v", str)
    text = "\n".join(describe(plan, tmp_path))
    assert all(node.folder in text for node in plan.nodes) and "[done]" not in text
    done = tmp_path / "stages" / plan.nodes[0].folder
    done.mkdir(parents=True)
    (done / "DONE").touch()
    assert f"{plan.nodes[0].folder} [done]" in "\n".join(describe(plan, tmp_path))


def test_the_plan_says_how_a_stage_is_mixed(experiment, tmp_path):
    stage = dataclasses.replace(experiment.pretrain, mixing=Mixing("temperature", temperature=4.0))
    plain, mixed = (
        "\n".join(describe(make_plan(dataclasses.replace(experiment, pretrain=each), "v", str), tmp_path))
        for each in (experiment.pretrain, stage)
    )
    assert "mixing" not in plain
    assert "mixing: rule temperature, temperature 4.0" in mixed


def test_the_plan_says_what_is_trained(experiment, tmp_path):
    def text(**fields):
        return "\n".join(describe(make_plan(with_optim(experiment, **fields), "v", str), tmp_path))

    assert "adamw" not in text()
    assert "      adafactor\n" in text(name="adafactor")
    found = text(freeze_layers=2, layer_decay=0.9, lora=Lora(4))
    assert "adamw, LoRA of rank 4 on query value, embeddings frozen, layers 1 to 2 frozen, rates fall by 0.9 a" in found


def test_languages_are_seen_where_there_were_labels(experiment):
    """Masked-LM text is not labels: what pretraining read stays unseen."""
    assert seen_languages(experiment, "none") == ()
    assert seen_languages(experiment, "english") == ("qen",)
    assert seen_languages(experiment, "multilingual") == ("qen", "qnd", "qnr", "qms", "qda", "qdt")
    seen = {node.name: node.seen_languages() for node in make_plan(experiment, "v", str).nodes}
    assert seen["pretrain"] == () and seen["none_pos_s0"] == ("qen",)
    assert seen["multilingual_s0"] == seen["multilingual_pos_s0"] == seen_languages(experiment, "multilingual")
    text = dataclasses.replace(experiment.arms["english"].stage, data=("world_qa.train.qnd", "world_text.train.qda"))
    assert text.labelled_languages() == ("qnd",)


def test_an_arm_without_a_stage_is_the_pretrained_model(experiment):
    only = dataclasses.replace(experiment, arms={"none": Arm()}, comparisons=(), headline=())
    assert all(e.node.parent is None or e.node.parent.name == "pretrain" for e in make_plan(only, "v", str).evaluations)
