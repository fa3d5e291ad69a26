"""An experiment with a decoder whose padding is its end of text: told by lengths, from the data to the answers."""

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
from xling_jax.data.prepare import raw_examples
from xling_jax.data.tokenizers import load_tokenizer, train_byte_level
from xling_jax.experiment import Part, from_config
from xling_jax.models.build import Model, build_config, init_params
from xling_jax.models.card import TOKENIZER, read_card
from xling_jax.results import read_results
from xling_jax.stages.run import Run
from xling_jax.tables.tasks import TASKS, parse_cells
from xling_jax.train.checkpoint import CHECKPOINTS, Checkpoints
from xling_jax.train.writer import Display

VOCAB = 300
ROW = dataclasses.replace(hub_folders.ROWS["qwen2"], layers=2, positions=400, vocab=VOCAB)
LABELS = ("entailment", "neutral", "contradiction")
LIMITS = {"train": 60, "test": 16, "dev": 16}
LENGTHS = (320, 384)  # of rows; no text is longer
ALONE = 4  # examples that are compiled each for its own length


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    hub_folders.publish(folder, row=ROW, kind="pair_classification", labels=LABELS)
    (cell,) = parse_cells("world_text.train.qen")
    texts = [example["text"] for example in raw_examples(Part(cell, 0, 300, 0), None)]
    train_byte_level(texts, VOCAB, folder / "tokenizer.json")
    out = folder.with_name("imported")
    bring_in(plan_import(folder, Options(task="world_nli")), out, Display())
    return out


def experiment(checkpoint, length):
    trained = {"steps": 2, "batch_size": 8, "log_every": 1, "max_length": length}
    fields = {
        "name": "decoder",
        "checkpoint": str(checkpoint),
        "limits": LIMITS,
        "arms": {"none": {}},
        "targets": {
            "pos": {"task": "world_pos", "languages": "qda", "stage": {"data": ("world_pos.train.qen",), **trained}},
            "qa": {"task": "world_qa2", "languages": "qda", "stage": {"data": ("world_qa2.train.qen",), **trained}},
            "nli": {"task": "world_nli", "languages": "qda", "max_length": length},
            "parallel": {
                "task": "world_parallel",
                "languages": "qda",
                "protocol": {"layer": 1, "pooling": "last"},
                "max_length": length,
            },
        },
        "source_language": "qen",
        "baseline": "none",
        "eval_batch_size": 16,
        "mesh": "one",
    }
    return from_config(fields)


@pytest.fixture(scope="module")
def narrow(imported, tmp_path_factory):
    run = Run(experiment(imported, LENGTHS[0]), tmp_path_factory.mktemp("narrow"), None)
    run(jobs=1)
    return run


def results(run):
    return {
        (node.name, row.task, row.metric): row.value
        for node in run.plan.nodes
        for row in read_results(run.workdir / "stages" / node.folder / "results.jsonl")
    }


def losses(run):
    found = []
    for node in run.plan.nodes[1:]:
        lines = (run.workdir / "stages" / node.folder / "metrics.jsonl").read_text().splitlines()
        found += [value for line in lines for name, value in json.loads(line).items() if name.endswith("/loss")]
    return found


def test_its_padding_is_its_end_of_text(imported):
    tokenizer = load_tokenizer(imported / TOKENIZER)
    assert tokenizer.pad == tokenizer.eos, "as Qwen2.5's vocabulary has it without a tokenizer_config.json"


@pytest.mark.slow
def test_padding_changes_nothing(narrow, imported, tmp_path):
    """Two steps of training, and every answer."""
    wide = Run(experiment(imported, LENGTHS[1]), tmp_path, None)
    wide(jobs=1)
    assert {task for _, task, _ in results(wide)} == {"world_pos", "world_qa2", "world_nli", "world_parallel"}
    assert results(wide) == results(narrow)
    assert len(losses(wide)) == 4
    np.testing.assert_allclose(losses(wide), losses(narrow), rtol=1e-5)  # float32: sums over more or fewer tokens


def test_answers_are_those_of_texts_without_padding(narrow, imported):
    """Each example alone, as long as it is."""
    card, tokenizer = read_card(imported), load_tokenizer(imported / TOKENIZER)
    checkpoints = Checkpoints(imported / CHECKPOINTS, background=False)
    model = Model(build_config(card.model, VOCAB), card.heads)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), nn.meta.unbox(boxed)
    )
    params = checkpoints.restore_params(0, shapes)
    checkpoints.close()
    (cell,) = parse_cells("world_nli.test.qda")
    frame, words = tokenizer.frame, TASKS["world_nli"].labels
    answers = []
    for example in raw_examples(Part(cell, 0, ALONE, 0), None):
        first, second = (tokenizer.ids(example[name]) for name in ("text", "text_pair"))
        ids = np.concatenate([frame.before, first, frame.between, second, frame.after])
        logits = model.apply({"params": params}, card.heads[0].name, {"input_ids": jnp.asarray(ids[None])})
        answers.append(words[int(logits[0].argmax())])
    node = narrow.plan.nodes[0]
    written = narrow.workdir / "stages" / node.folder / "predictions" / "world_nli" / "test-qda.tsv"
    assert written.read_text().splitlines()[:ALONE] == answers and len(set(answers)) > 1
