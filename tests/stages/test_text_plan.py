"""Experiments whose answers are texts: what is refused, what a stage's name depends on, what is handed over."""

import copy

import pytest

from xling_jax.errors import CheckpointError, ConfigError
from xling_jax.experiment import Handover, Part, from_config
from xling_jax.models.build import HeadSpec
from xling_jax.models.card import Card
from xling_jax.stages.asking import asked
from xling_jax.stages.plan import SPEAKERS, Start, describe, make_plan
from xling_jax.stages.transfer import merge, named_here, plan_loading, source_tree
from xling_jax.tables.models import MODELS
from xling_jax.tables.prompts import PROMPTS, Prompt

LM, NLI = SPEAKERS["decoder"], HeadSpec("nli", "pair_classification", 3)


def stage(*data, **more):
    return {"data": data, "steps": 2, "batch_size": 8, "max_length": 32, "answer_length": 16, **more}


SPEAKING = {
    "name": "words",
    "model": "tiny_mt5",
    "vocabulary": {"kind": "mt5", "size": 400, "data": ("world_text.train.qen",)},
    "pretrain": stage("world_nli.train.qen"),
    "arms": {"none": {}, "pos": {"stage": stage("world_pos.train.qen")}},
    "targets": {
        "nli": {"task": "world_nli", "languages": "qda", "max_length": 32},
        "qa": {"task": "world_qa", "languages": "qda", "stage": stage("world_qa.train.qen")},
        "parallel": {"task": "world_parallel", "languages": "qda", "max_length": 32},
    },
    "baseline": "none",
    "source_language": "qen",
}
DECODER = {"model": "tiny_decoder", "form": "text"}


def fields(**more):
    return copy.deepcopy(SPEAKING) | more


def plan_of(checkpoint=None, **more):
    return make_plan(from_config(fields(**more)), "v", str, checkpoint)


def hashes(**more):
    return {node.name: node.hash for node in plan_of(**more).nodes}


def protocol(target, **found):
    targets = fields()["targets"]
    targets[target]["protocol"] = found
    return {"targets": targets}


WRONG = {
    "words of an encoder": ({"model": "tiny", "form": "text"}, "form='text'.\nAllowed: heads;"),
    "heads of an encoder-decoder": ({"form": "heads"}, "form='heads'.\nAllowed: text;"),
    "prompts for heads": (
        {"model": "tiny_decoder", "prompts": "plain"},
        "form='heads' with prompts='plain'.\nAllowed: heads text",
    ),
    "a form": ({"form": "word"}, "Unknown value 'word'.*heads"),
    "prompts": ({"prompts": "t5"}, "Unknown value 't5'.*mt5 plain"),
    "text without answers": (
        {"pretrain": stage("world_text.train.qen")},
        "stage 'pretrain' is of kind 'mlm'.\nAllowed: pair",
    ),
    "packing": ({"pretrain": stage("world_nli.train.qen", packing=True)}, "packing=True, and its answers are texts"),
    "no room behind a prompt": (
        DECODER | {"pretrain": stage("world_qa.train.qen", answer_length=33)},
        "answer_length=33 tokens, behind prompts of 32.\nAllowed: 2 or more; of a decoder.* 64 positions",
    ),
    "an answer of nothing": (
        {"pretrain": stage("world_choice.train.qen", answer_length=1)},
        "answer_length=1 tokens.*Allowed: 2 or more",
    ),
    "ranking spans": (protocol("qa", answer="rank"), "answer=rank, and the answers of kind 'span_qa'.*generate"),
    "a span's protocol": (protocol("qa", max_answer=9), "max_answer=9, which kind 'span_qa' has no use for"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_config_is_one_clear_error(case):
    change, words = WRONG[case]
    with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
        from_config(fields(**change))
    assert str(caught.value).count("\n") <= 3


def test_heads_have_no_use_for_a_protocol_of_words():
    with pytest.raises(ConfigError, match="score=mean, which kind 'pair_classification' has no use for"):
        from_config(fields(**DECODER | {"form": "heads", "arms": {"none": {}}} | protocol("nli", score="mean")))
    assert from_config(fields(**DECODER | protocol("nli", score="mean"))).form == "text", "and labels need no room"


def test_a_plan_says_what_is_asked(tmp_path):
    plan = plan_of()
    lines = list(describe(plan, tmp_path))
    assert lines[0].endswith("; answers in words, prompts 'mt5'")
    assert any("body keep; seed" in line for line in lines), "no head is handed over by itself"
    assert plan.form == "mt5" and {head for node in plan.nodes for head in node.heads} == {SPEAKERS["seq2seq"]}
    parts = {str(part.cell): part for part in plan.parts()}
    cell = parts["world_qa.train.qen"].cell
    assert parts["world_qa.train.qen"] == Part(cell, 0, 0, 32, "mt5", 16)
    assert parts["world_nli.test.qda"].answer_length == 64, "that of a stage by default, as it has none"
    assert parts["world_parallel.test.qda"].form == "heads", "vectors are no words"
    heads = plan_of(model="tiny", vocabulary={}, pretrain=stage("world_nli.train.qen"), arms={"none": {}})
    assert {part.form for part in heads.parts()} == {"heads"}


def test_what_decides_a_stage(monkeypatch):
    before = hashes()
    assert hashes(prompts="mt5") == hashes(form="text") == before
    assert not set(hashes(prompts="plain").values()) & set(before.values())
    longer = hashes(pretrain=stage("world_nli.train.qen", answer_length=17))
    assert longer["pretrain"] != before["pretrain"]
    monkeypatch.setitem(PROMPTS["mt5"], "span_qa", Prompt("{question} {context}"))
    changed = {name for name, found in hashes().items() if found != before[name]}
    assert changed == {"none_qa_s0", "pos_qa_s0"}, "a prompt decides the stages that ask with it, and no others"


def test_heads_are_trained_anew_for_nothing():
    """How long answers in words are says nothing where answers are no words."""

    def heads(length):
        pretrain = stage("world_nli.train.qen", answer_length=length)
        return hashes(model="tiny_decoder", pretrain=pretrain, arms={"none": {}})

    assert heads(16) == heads(40)
    assert heads(16)["pretrain"] != hashes(**DECODER)["pretrain"]


def test_what_says_answers_goes_with_the_body():
    before = (LM, NLI)
    for head in ("reinit", "keep"):
        loading = plan_loading(Handover("keep", head), (LM,), before)
        assert loading.loaded == {"body": "body", "head_lm": "head_lm"} and loading.skipped == ("head_nli",)
    fresh = plan_loading(Handover("reinit", "reinit"), (LM,), before)
    assert fresh.loaded == {} and fresh.fresh == ("body", "head_lm")
    with pytest.raises(CheckpointError, match=r"Head 'lm' .* is to be keep: 0 heads"):
        plan_loading(Handover("keep", "reinit"), (LM,), (NLI,))
    speaker = SPEAKERS["seq2seq"]
    assert str(plan_loading(Handover(), (speaker,), (speaker,))) == "loaded body; fresh nothing; skipped nothing"


def test_a_head_without_parameters_is_no_part_of_a_tree():
    """Where the output matrix is the embeddings."""
    loading = plan_loading(Handover(), (LM,), (LM,))
    assert source_tree(loading, {"body": {"word": 1}}) == {"body": {"word": 1}}
    assert merge({"body": {"word": 1}}, named_here(loading, {"body": {"word": 2}})) == {"body": {"word": 2}}


@pytest.mark.parametrize("heads", [(), (NLI,)])
def test_a_checkpoint_must_have_what_says_answers(heads, tmp_path):
    changed = {"name": "from_there", "form": "text", "pretrain": None, "model": "", "vocabulary": None}
    declared = {name: value for name, value in fields(**changed).items() if value}
    declared["arms"] = {"none": {}}
    start = Start(tmp_path, 0, Card(MODELS["tiny_decoder"], heads, {}, None), None, "f")  # ty: ignore[invalid-argument-type]
    experiment = from_config(declared | {"checkpoint": "there"})
    with pytest.raises(ConfigError, match="Target 'nli' is answered by head 'lm', and the checkpoint has: "):
        make_plan(experiment, "v", str, start)
    both = Start(tmp_path, 0, Card(MODELS["tiny_decoder"], (LM,), {}, None), None, "f")  # ty: ignore[invalid-argument-type]
    assert make_plan(experiment, "v", str, both).form == "plain"


def test_a_checkpoint_is_asked_in_its_familys_way():
    """What `xling eval` asks."""

    def ask(model, heads=(), form="", **fields):
        card = Card(MODELS[model], heads, {}, None)
        return asked(["world_nli"], "qda", card=card, fields=fields, data_dir=None, form=form).targets["world_nli.test"]

    assert ask("tiny_mt5", score="mean").protocol.score == "mean"
    assert ask("tiny_decoder", (LM,), "text", answer="generate").protocol.answer == "generate"
    with pytest.raises(ConfigError, match="answered by head 'world_nli', and the checkpoint has: lm"):
        ask("tiny_decoder", (LM,))
    with pytest.raises(ConfigError, match="answered by head 'lm', and the checkpoint has: none"):
        ask("tiny_decoder", (), "text")
    with pytest.raises(ConfigError, match="score, which no task asked here has a use for"):
        ask("tiny_decoder", (HeadSpec("world_nli", "pair_classification", 3),), score="mean")


def test_prompts_are_the_whole_experiments():
    targets = fields()["targets"]
    targets["nli"]["prompts"] = "mt5"
    with pytest.raises(ConfigError, match=r"'targets.nli' has prompts='mt5'.\nAllowed: prompts of the whole"):
        from_config(fields(targets=targets))
    plan = plan_of()
    assert {target.prompts for target in plan.experiment.targets.values()} == {"mt5"}
    assert {node.stage.prompts for node in plan.nodes} == {"mt5"}


def test_what_is_remembered_is_asked_in_words():
    plan = plan_of(remember=("world_nli.dev.qen",))
    found = {node.name: plan.remembered(node) for node in plan.nodes}
    for name, remembered in found.items():
        (target, owner) = remembered["world_nli.dev.qen"]
        assert (target.prompts, target.answers()) == ("mt5", 16) and owner.name == name, "each stage answers by itself"
    part = next(part for part in plan.parts() if str(part.cell) == "world_nli.dev.qen")
    assert part.form == "mt5"
