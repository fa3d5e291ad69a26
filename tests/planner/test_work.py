"""What an experiment does is counted without its data, and its batches have the shapes that training has."""

import dataclasses
import math

import pytest
from small_plans import fields

from xling_jax.data.batches import Batches, BatchPlan, blank
from xling_jax.data.prepare import prepare
from xling_jax.data.texts import in_rows
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part, from_config
from xling_jax.planner.planning import open_plan
from xling_jax.planner.work import CHECKPOINT, counter, work_of
from xling_jax.stages.reading import sent
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.prompts import HEADS
from xling_jax.tables.tasks import Cell
from xling_jax.world import pieces


def by_name(plan, count, only=""):
    return {stage.name: stage for stage in work_of(plan, count, only)}


def test_steps_and_batches(plan, count):
    stages = by_name(plan, count)
    assert {name: stage.trained for name, stage in stages.items()} == {
        "pretrain": 1,
        "arms.nli": 2,  # seeds
        "targets.pos": 4,  # seeds and arms
    }
    assert {name: [one.steps for one in stage.trainings] for name, stage in stages.items()} == {
        "pretrain": [50],
        "arms.nli": [1500],  # twice 12,000 examples of 16
        "targets.pos": [30],
    }
    asked = {name: {one.name: one.batches for one in stage.askings} for name, stage in stages.items()}
    assert asked == {
        # Eight languages of 256 pairs, of the one checkpoint that both seeds have; 64 rows of a batch hold a text each.
        "pretrain": {"retrieval": 8 * 8},
        "arms.nli": {"retrieval": 2 * 8 * 8},
        "targets.pos": {"pos": 4 * 2 * 5},
    }


def test_one_stage(plan, count):
    assert [*by_name(plan, count, "targets.pos")] == ["targets.pos"]
    with pytest.raises(ConfigError, match=r"Unknown stage 'target.pos'.\nDid you mean: targets.pos"):
        work_of(plan, count, "target.pos")


def test_a_checkpoint_is_evaluated_and_not_trained(count):
    experiment = from_config(fields(model="", pretrain={}, checkpoint="work/tiny"))
    stages = by_name(open_plan(experiment), count)
    assert stages[CHECKPOINT].trained == 0 and not stages[CHECKPOINT].trainings
    assert [one.name for one in stages[CHECKPOINT].askings] == ["retrieval"]


def test_selection_is_evaluation(count):
    stage = fields()["arms"]["nli"]["stage"] | {"selection": {"policies": ("source_dev",), "dev": "world_nli.dev.qen"}}
    stages = by_name(open_plan(from_config(fields(arms={"none": {}, "nli": {"stage": stage}}))), count)
    (judged,) = (one for one in stages["arms.nli"].askings if "selection" in one.name)
    assert judged.batches == 2 * 4 * 8, "two seeds, four checkpoints, 500 examples in batches of 64"


def test_tasks_share_the_steps(count):
    data = ("world_nli.train.qen", "world_pos.train.qen")
    stage = {"data": data, "steps": 90, "batch_size": 16, "max_length": 16}
    stages = by_name(open_plan(from_config(fields(arms={"none": {}, "nli": {"stage": stage}}))), count)
    assert {one.kind: one.steps for one in stages["arms.nli"].trainings} == {"pair_classification": 60, "tagging": 30}


def test_examples_that_nobody_counts(count):
    stage = {"data": (next(unpublished()),), "epochs": 1.0, "batch_size": 16, "max_length": 16}
    changed = fields(arms={"none": {}, "nli": {"stage": stage}}, model="", pretrain={}, checkpoint="work/xlmr_base")
    del changed["targets"]["pos"]
    with pytest.raises(ConfigError, match=r"(?s)is not published, and its files are not here.*--data_dir=DIR"):
        work_of(open_plan(from_config(changed)), count)
    changed["arms"]["nli"]["stage"] = stage | {"epochs": 0.0, "steps": 7}
    assert by_name(open_plan(from_config(changed)), count)["arms.nli"].trainings[0].steps == 7


def unpublished():
    """Yields training cells of masked language modelling, whose texts nobody counts."""
    from xling_jax.tables.tasks import TASKS  # noqa: PLC0415

    for row in TASKS.values():
        for split, source in row.splits.items():
            if row.kind == "mlm" and row.reader != "world" and not source.examples and split == "train":
                yield f"{row.name}.{split}.{source.languages.split()[0]}"


CELLS = [
    Cell("world_text", "train", "qen"),
    Cell("world_nli", "train", "qen"),
    Cell("world_pos", "train", "qen"),
    Cell("world_qa", "train", "qen"),
    Cell("world_choice", "train", "qen"),
]


def described(batch):
    return {name: (rows.shape, rows.dtype) for name, rows in batch.items()}


@pytest.mark.parametrize(
    ("cell", "packing"),
    [(cell, packing) for cell in CELLS for packing in (False, KINDS[cell.row.kind].packs)],
    ids=lambda value: getattr(value, "task", None),
)
def test_a_blank_batch_is_like_one_of_training(cell, packing, tmp_path):
    made = prepare(Part(cell, 0, 64, 24), PieceTokenizer(pieces()), tmp_path)
    batches = Batches([made], rates=(1.0,), plan=BatchPlan(16, 0, (24,), packing), steps=2, multiple=4)
    _, batch = batches[0]
    table, rows = made.table, len(batch["input_ids"])
    assert described(blank(table, rows, 24, choices=made.choices, packed=packing)) == described(batch)


def test_asked_batches_are_those_of_evaluation(plan, count, tmp_path):
    """The longest text has 24 tokens, so all stand in rows of 24, of which a batch of 64 examples has as many."""
    (asking,) = by_name(plan, count)["arms.nli"].askings
    made = prepare(Part(Cell("world_parallel", "test", "qdt"), 0, 64, 16), PieceTokenizer(pieces()), tmp_path)
    batch = next(in_rows([("", made)], {24: 64})).arrays
    arrays = {name: (shape, dtype) for name, shape, dtype in asking.batch.arrays}
    assert arrays == {name: (rows.shape, str(rows.dtype)) for name, rows in sent(batch).items()}
    assert asking.batch.tokens == 64 * 24


def test_short_texts_share_the_rows_of_long_ones(count):
    """Of 8 languages 256 pairs of up to 8 tokens, three of them in a row of 24, 64 rows in a batch; one stream."""
    targets = fields()["targets"]
    shorter = {**targets, "retrieval": targets["retrieval"] | {"max_length": 8}}
    stages = by_name(open_plan(from_config(fields(targets=shorter))), count)
    assert stages["pretrain"].askings[0].batches == math.ceil(8 * 512 / (3 * 64))


def test_answers_in_words_are_part_of_a_batch(count):
    target = {"task": "xnli", "languages": "de", "stage": None, "max_length": 64}
    stage = {"data": ("mnli.train.en",), "epochs": 1.0, "batch_size": 16, "max_length": 64, "answer_length": 8}
    changed = {"checkpoint": "work/mt5_small", "form": "text", "arms": {"nli": {"stage": stage}}, "baseline": "nli"}
    experiment = from_config(
        {"name": "words", "seeds": (0,), "targets": {"xnli": target}, "eval_batch_size": 32, **changed}
    )
    (stage_work,) = work_of(open_plan(experiment), count)
    (training,), (asking,) = stage_work.trainings, stage_work.askings
    shapes = {name: shape for name, shape, _ in training.batch.arrays}
    assert shapes["labels"] == (16, 8) and shapes["answers"] == (16, 3, 8) and training.head.kind == "text_to_text"
    assert training.steps == round(392_702 / 16) and asking.batches == -(-5010 // 32)
    assert asking.target.speaks and HEADS not in asking.target.prompts


def test_counts_are_limited(count):
    part = Part(Cell("mnli", "train", "en"), 0, 0, 128)
    assert count(part) == 392_702 and count(dataclasses.replace(part, count=100)) == 100
    assert counter(None)(Part(Cell("world_nli", "test", "qen"), 0, 0, 16)) == 500
