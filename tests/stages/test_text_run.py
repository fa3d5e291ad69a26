"""Experiments whose answers are texts, from the data to the results: of encoder-decoders and decoders."""

import dataclasses
import json
import pathlib
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "convert"))

import hub_folders

from xling_jax.convert.importing import Options, bring_in, plan_import
from xling_jax.convert.to_hf import Options as Export
from xling_jax.convert.to_hf import to_hf
from xling_jax.data.formats import format_of_part
from xling_jax.data.prepare import raw_examples
from xling_jax.data.tokenizers import load_tokenizer, train_vocabulary
from xling_jax.errors import Interrupted
from xling_jax.experiment import Part, from_config
from xling_jax.models.build import Model, build_config, init_params
from xling_jax.models.card import TOKENIZER, read_card
from xling_jax.models.prompts import rank
from xling_jax.results import read_results
from xling_jax.stages.run import Run
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS, parse_cells
from xling_jax.train.checkpoint import CHECKPOINTS, Checkpoints
from xling_jax.train.writer import Display

PIECES = 480
LENGTH, ANSWERS = 48, 24
LIMITS = {"train": 300, "test": 12, "dev": 8}
VOCABULARY = {"size": PIECES, "data": ("world_text.train.qen+qda",)}
KINDS = {"choice": "world_choice", "qa": "world_qa", "pos": "world_pos"}


def stage(data, **more):
    lengths = {"max_length": LENGTH, "answer_length": ANSWERS, "log_every": 1}
    return {"data": (data,), "steps": 2, "batch_size": 8, "optim": {"learning_rate": 3e-3}, **lengths, **more}


def target(task, **more):
    return {"task": task, "languages": "qen qda", "max_length": LENGTH, "answer_length": ANSWERS, **more}


def vectors(layer=1):
    return {"task": "world_parallel", "languages": "qda", "max_length": LENGTH, "protocol": {"layer": layer}}


def experiment(targets, **more):
    fields = {
        "name": "words",
        "synthetic": True,
        "model": "tiny_mt5",
        "limits": LIMITS,
        "vocabulary": VOCABULARY | {"kind": "mt5"},
        "pretrain": stage("world_nli.train.qen"),
        "arms": {"none": {}},
        "targets": targets,
        "baseline": "none",
        "source_language": "qen",
        "eval_batch_size": 8,
        "mesh": "one",
    }
    return from_config({name: value for name, value in (fields | more).items() if value is not None})


def run(made, folder, stop_asked=lambda: False):
    done = Run(made, folder, None)
    done(stop_asked, jobs=1)
    return done


def rows(done):
    """Returns every result, by stage and what it is of."""
    return {
        (node.name, row.task, row.language, row.metric, row.protocol): row
        for node in done.plan.nodes
        for row in read_results(done.workdir / "stages" / node.folder / "results.jsonl")
    }


def values(done):
    return {key: row.value for key, row in rows(done).items()}


def files(done):
    """Returns what was written of each cell, by its place in a stage's folder."""
    folders = [done.workdir / "stages" / node.folder for node in done.plan.nodes]
    return {
        str(path.relative_to(folder.parent)): path.read_text()
        for folder in folders
        for path in sorted((folder / "predictions").rglob("*"))
        if path.is_file()
    }


def apart(done):
    """Returns (files of answers, files of mean probabilities)."""
    found = files(done)
    priors = {name: text for name, text in found.items() if name.endswith("priors.json")}
    return {name: text for name, text in found.items() if name not in priors}, priors


def items(done, task, language="qda"):
    (found,) = [text for name, text in files(done).items() if name.endswith(f"{task}/test-{language}.items.jsonl")]
    return [json.loads(line) for line in found.splitlines()]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A tiny mT5, trained to say what follows from what, and asked for it in two languages by ranking."""
    targets = {"nli": target("world_nli"), "parallel": vectors()}
    return run(experiment(targets), tmp_path_factory.mktemp("ranked"))


def test_an_encoder_decoder_is_trained_and_evaluated_in_words(ranked):
    found = rows(ranked)
    assert {(task, language) for _, task, language, *_ in found} == {
        ("world_nli", "qen"),
        ("world_nli", "qda"),
        ("world_parallel", "qda"),
    }
    for (_, task, *_), row in found.items():
        assert row.n == LIMITS["test"] and row.scorer == "accuracy"
        assert row.protocol.startswith("prompts=mt5 answer=rank" if task == "world_nli" else "layer=1 pooling=mean")
    (node,) = ranked.plan.nodes
    folder = ranked.workdir / "stages" / node.folder
    losses = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["train/text/weight"] > 8 for row in losses] == [True, True], "each token of an answer counts"
    priors = json.loads((folder / "predictions/world_nli/test-qda.priors.json").read_text())
    assert set(priors) == set(TASKS["world_nli"].labels) and sum(priors.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_the_same_items_however_they_are_answered(ranked, tmp_path):
    """By ranking, by writing, and with an encoder's head."""
    written = {"nli": target("world_nli", protocol={"answer": "generate"})}
    writing = run(experiment(written), tmp_path / "written")
    head = experiment(
        {"nli": target("world_nli", answer_length=0)},
        model="tiny",
        vocabulary=None,
        pretrain=stage("world_nli.train.qen"),
    )
    heading = run(head, tmp_path / "head")
    for language in ("qen", "qda"):
        ids = [item["id"] for item in items(ranked, "world_nli", language)]
        assert len(ids) == LIMITS["test"] == len(set(ids))
        for other in (writing, heading):
            assert [item["id"] for item in items(other, "world_nli", language)] == ids
    assert {row.n for done in (ranked, writing, heading) for row in rows(done).values()} == {LIMITS["test"]}
    sources = {key[2]: row.data_checksum for key, row in rows(ranked).items() if key[1] == "world_nli"}
    for other in (writing, heading):
        assert {key[2]: row.data_checksum for key, row in rows(other).items()} == sources
    assert all(set(item) == {"id", "accuracy", "legal"} for item in items(writing, "world_nli"))


def published(tmp_path_factory, row, family, kind):
    """Returns a folder of a tiny checkpoint with a vocabulary, imported."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    row = dataclasses.replace(hub_folders.ROWS[row], layers=2, positions=256, vocab=PIECES)
    hub_folders.publish(folder, row=row, kind=kind)
    cells = parse_cells("world_text.train.qen+qda")
    texts = [example["text"] for cell in cells for example in raw_examples(Part(cell, 0, 300, 0), None)]
    name = "tokenizer.json" if family == "qwen" else "spiece.model"
    train_vocabulary(family, texts, PIECES, folder / name)
    out = folder.with_name("imported")
    bring_in(plan_import(folder, Options()), out, Display())
    return out


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return published(tmp_path_factory, "qwen2", "qwen", "lm")


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory):
    return published(tmp_path_factory, "mt5", "mt5", "text_to_text")


IMPORTED = {"model": None, "vocabulary": None, "pretrain": None}


def prompted(checkpoint, **more):
    fields = IMPORTED | {"checkpoint": str(checkpoint), "form": "text"} | more
    return experiment(fields.pop("targets", {"nli": target("world_nli", max_length=128)}), **fields)


@pytest.mark.slow
def test_a_decoder_is_prompted_without_any_training(decoder, tmp_path):
    """Its answers are the likeliest behind each example's own prompt, computed one by one."""
    done = run(prompted(decoder), tmp_path)
    assert {key[4] for key in rows(done)} == {"prompts=plain answer=rank score=sum"}
    card, tokenizer = read_card(decoder), load_tokenizer(decoder / TOKENIZER)
    model = Model(build_config(card.model, PIECES), card.heads)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), nn.meta.unbox(boxed)
    )
    checkpoints = Checkpoints(decoder / CHECKPOINTS, background=False)
    params = checkpoints.restore_params(0, shapes)
    checkpoints.close()
    (cell,) = parse_cells("world_nli.test.qda")
    part = Part(cell, 0, 4, 128, "plain", ANSWERS)
    form, answers = format_of_part(part, tokenizer), []
    for example in raw_examples(part, None):
        (feature,) = form.features(example, tokenizer, 128, cell.row)
        ids = jnp.asarray(feature["input_ids"])[None]
        wide = jnp.pad(ids, ((0, 0), (0, 128 - ids.shape[1])))
        given = {"lengths_B": jnp.asarray([ids.shape[1]]), "answers_BxCxT": jnp.asarray(feature["answers"])[None]}
        sums, _ = rank(model, params, "lm", wide, **given)
        answers.append(cell.row.labels[int(sums[0].argmax())])
    (text,) = [text for name, text in files(done).items() if name.endswith("test-qda.tsv")]
    assert text.splitlines()[: len(answers)] == answers


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("family", "vocabulary"), [("tiny_mt5", "mt5"), ("tiny_decoder", "llama")])
def test_every_kind_is_trained_and_killed_and_goes_on(family, vocabulary, tmp_path, monkeypatch):
    """Stopped again and again, a run ends with the same results and the same files; it goes out as published."""
    monkeypatch.setitem(MODELS, family, dataclasses.replace(MODELS[family], positions=LENGTH + ANSWERS))
    targets = {name: target(task, stage=stage(f"{task}.train.qen")) for name, task in KINDS.items()}
    targets["nli"] = target("world_nli", protocol={"score": "calibrated"})
    targets["parallel"] = vectors()
    several = {"pretrain": stage("world_nli.train.qen") | {"data": ("world_nli.train.qen", "world_qa.train.qen")}}
    made = experiment(targets, model=family, form="text", vocabulary=VOCABULARY | {"kind": vocabulary}, **several)
    straight = run(made, tmp_path / "straight")
    found = rows(straight)
    assert {(key[1], key[2]) for key in found if key[1] != "world_parallel"} == {
        (task, language) for task in ("world_nli", *KINDS.values()) for language in ("qen", "qda")
    }
    assert all(row.n == LIMITS["test"] for row in found.values())
    assert {row.ceiling for key, row in found.items() if key[1] == "world_qa"} == {100.0}, (
        "what labels say is the answer"
    )
    tags = items(straight, "world_pos")
    assert all(isinstance(item["legal"], bool) for item in tags) and len(tags) == LIMITS["test"]

    times = 0
    while times < 50:
        # One for each prepared cell, and each time one batch further.
        chances = iter(range(len(straight.plan.parts()) + 2 + times))
        try:
            again = run(made, tmp_path / "again", lambda chances=chances: next(chances, None) is None)
            break
        except Interrupted:
            times += 1
    assert 5 < times < 50, "it was stopped in the middle of most of what there is to do, and came to its end"
    assert values(again) == values(straight) and files(again) == files(straight)

    node = next(node for node in straight.plan.nodes if "qa" in node.name)
    to_hf(straight.workdir / "stages" / node.folder, tmp_path / "out", Export(), Display())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    ending = {"tiny_mt5": "MT5ForConditionalGeneration", "tiny_decoder": "LlamaForCausalLM"}[family]
    assert config["architectures"] == [ending]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", ["decoder", "encoder_decoder"])
def test_eight_devices_answer_as_one(which, request, tmp_path):
    """Ranked, written, and from windows; with batches that 8 divides and a cell that it does not."""
    checkpoint = request.getfixturevalue(which)
    targets = {
        "nli": target("world_nli", max_length=96, protocol={"score": "calibrated"}),
        "qa": target("world_qa", max_length=96, protocol={"beams": 2}),
        "pos": target("world_pos", max_length=96),
        "parallel": vectors() | {"max_length": 96},
    }
    limits = {"limits": {"test": 9}}
    one, eight = (
        run(prompted(checkpoint, targets=targets, mesh=mesh, strategy="fsdp", **limits), tmp_path / mesh)
        for mesh in ("one", "data2_fsdp4")
    )
    assert values(one) == values(eight)
    (mine, priors), (theirs, others) = map(apart, (one, eight))
    assert mine == theirs, "the same answers, word by word"
    for name, found in priors.items():  # float32, divided over devices and summed in another order
        assert json.loads(found) == pytest.approx(json.loads(others[name]), abs=1e-3), name
    assert {row.n for row in rows(eight).values()} == {9}
    written = [text for name, text in files(one).items() if name.endswith("world_qa/test-qda.json")]
    assert len(set(json.loads(written[0]).values())) > 1, "random parameters say different things of different texts"
    assert np.isfinite(list(values(eight).values())).all()
