"""What is counted in a batch, against batches small enough to count by eye, and against what batches are made of."""

import numpy as np
import pytest

from xling_jax import world
from xling_jax.data.batches import Batches, BatchPlan
from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import PieceTokenizer, load_tokenizer, train_vocabulary
from xling_jax.experiment import Part
from xling_jax.flops import Work
from xling_jax.stages.workload import load, text_lengths
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import parse_cells

EACH = Work(tokens=100, pairs=1, places=1000)


def test_rows_of_one_text():
    batch = {"input_ids": np.zeros((3, 8), np.int32), "lengths": np.array([8, 2, 5])}
    found = load(batch, "pair_classification", EACH)
    assert (found.steps, found.examples) == (1, 3)
    assert found.real == Work(tokens=15, pairs=64 + 4 + 25, crossing=15, places=3), "a text has one state that is asked"
    assert found.padded == Work(tokens=24, pairs=3 * 64, crossing=24, places=3)
    assert (found.flops, found.padded_flops) == (1500 + 93 + 3000, 2400 + 192 + 3000)
    packed = {"input_ids": np.zeros((1, 8), np.int32), "segments": np.array([[1, 1, 1, 2, 2, 0, 0, 0]])}
    packed["first"] = np.array([[0, 3, 0]])
    found = load(packed, "pair_classification", EACH)
    assert found.real == Work(tokens=5, pairs=9 + 4, crossing=5, places=2)
    assert found.padded == Work(tokens=8, pairs=64, crossing=8 * 3, places=3)


def test_choices():
    """Two examples of up to three choices; one of them has two."""
    batch = {"input_ids": np.zeros((2, 3, 4), np.int32), "lengths": np.array([[4, 3, 2], [1, 4, 0]])}
    found = load(batch, "multiple_choice", EACH)
    assert found.examples == 2
    assert found.real == Work(tokens=14, pairs=16 + 9 + 4 + 1 + 16, crossing=14, places=5)
    assert found.padded == Work(tokens=24, pairs=6 * 16, crossing=24, places=6)


def test_packed_rows():
    segments = np.array([[1, 1, 1, 2, 2, 0, 0, 0], [1, 1, 1, 1, 2, 3, 3, 0], [0] * 8])
    batch = {"input_ids": np.zeros((3, 8), np.int32), "segments": segments}
    assert text_lengths(batch).tolist() == [3, 2, 4, 1, 2]
    found = load(batch, "tagging", EACH)
    assert found.examples == 5
    assert found.real == Work(tokens=12, pairs=9 + 4 + 16 + 1 + 4)
    assert found.padded == Work(tokens=24, pairs=3 * 64)


def test_masked_words_ask_the_vocabulary():
    """15% of the tokens; of a row's places as many as are computed, which is that share rounded up."""
    batch = {"input_ids": np.zeros((2, 10), np.int32), "lengths": np.array([10, 6])}
    found = load(batch, "mlm", EACH)
    assert found.real.places == pytest.approx(0.15 * 16) and found.padded.places == 2 * 2
    assert found.flops == pytest.approx(1600 + 136 + 2400)


def test_answers_in_words():
    labels = np.array([[5, 6, -1, -1], [7, 8, 9, 1]])
    batch = {"input_ids": np.zeros((2, 6), np.int32), "lengths": np.array([6, 3]), "labels": labels}
    decoder = load(batch, "lm", EACH)
    assert decoder.real == Work(tokens=8 + 7, pairs=64 + 49, places=6), "behind their prompts, in one text"
    assert decoder.padded == Work(tokens=2 * 10, pairs=2 * 100, places=8)
    both = load(batch, "text_to_text", EACH)
    assert both.real == Work(tokens=9, pairs=36 + 9, targets=6, target_pairs=4 + 16, crossing=6 * 2 + 3 * 4, places=6)
    assert both.padded == Work(tokens=12, pairs=72, targets=8, target_pairs=32, crossing=48, places=8)


def test_an_empty_batch_of_packed_rows():
    batch = {"input_ids": np.zeros((2, 4), np.int32), "segments": np.zeros((2, 4), np.int32)}
    assert load(batch, "tagging", EACH).real == Work()


def packs(task: str) -> bool:
    (cell,) = parse_cells(f"{task}.qen")
    return KINDS[cell.row.kind].packs


TASKS = ("world_text.train", "world_nli.dev", "world_pos.dev", "world_qa.dev", "world_choice.dev")


@pytest.mark.parametrize(
    ("task", "packing"), [(task, packing) for task in TASKS for packing in (False, True)[: 1 + packs(task)]]
)
def test_real_batches(tmp_path, task, packing):
    """Over an epoch every feature comes once: the tokens that are counted are those that were prepared."""
    (cell,) = parse_cells(f"{task}.qen")
    prepared = prepare(Part(cell, 0, 48, 64), PieceTokenizer(world.pieces()), tmp_path)
    plan = BatchPlan(16, 0, (24, 32, 64), packing)
    steps = prepared.features // 16 if not packing else 3
    source = Batches([prepared], rates=[1], plan=plan, steps=steps)
    loads = [load(batch, cell.row.kind, EACH) for _, batch in source]
    examples = [len(source.identify(step)) for step in range(steps)]
    assert [found.examples for found in loads] == examples
    if prepared.features == sum(examples) and cell.row.kind != "multiple_choice":
        assert sum(found.real.tokens for found in loads) == prepared.lengths_N.sum()
    for found, (_, batch) in zip(loads, source, strict=True):
        assert found.real.tokens == (batch["input_ids"] != 1).sum(), "nothing but padding is id 1"
        assert found.padded.tokens == batch["input_ids"].size


@pytest.mark.parametrize("task", ["world_nli.dev", "world_pos.dev", "world_qa.dev"])
@pytest.mark.parametrize(("form", "kind"), [("plain", "lm"), ("mt5", "text_to_text")])
def test_real_batches_of_answers_in_words(tmp_path, task, form, kind):
    (cell,) = parse_cells(f"{task}.qen")
    train_vocabulary("qwen", ["True or False ? 0 1 2 NOUN VERB PROPN"] * 3, 280, tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", "qwen")
    prepared = prepare(Part(cell, 0, 32, 400, form, 40), tokenizer, tmp_path)
    source = Batches([prepared], rates=[1], plan=BatchPlan(8, 0, (200, 400)), steps=3)
    for _, batch in source:
        found = load(batch, kind, EACH)
        said = (batch["labels"] >= 0).sum()
        assert found.examples == 8 and found.real.places == said > 0
        assert found.real.tokens + found.real.targets == batch["lengths"].sum() + said
        assert found.padded.tokens + found.padded.targets == batch["input_ids"].size + batch["labels"].size
