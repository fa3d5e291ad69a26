"""What a SeqIO user gets is what we train on: features, order, proportions, scores.

SeqIO takes many seconds to import, so everything that needs it is in this file.
"""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from xling_jax.data import register
from xling_jax.data.batches import interleave
from xling_jax.data.formats import format_of
from xling_jax.data.prepare import Records, prepare, raw_examples
from xling_jax.data.register import register_all, register_cell, register_stage
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part
from xling_jax.scoring.metrics import SCORERS
from xling_jax.tables.tasks import TASKS, cells, parse_cells

WORLD = (
    "world_text.train.qen world_nli.dev.qda world_qa.dev.qen world_pos.dev.qdt world_choice.dev.qnd "
    "world_parallel.test.qms"
)


@pytest.fixture(scope="module")
def imported():
    pytest.importorskip("seqio")
    import seqio  # noqa: PLC0415 - only where it is needed

    return seqio


@pytest.fixture
def seqio(imported):
    """Returns SeqIO with nothing registered."""
    imported.TaskRegistry.reset()
    imported.MixtureRegistry.reset()
    return imported


def part(text, count=30, max_length=24, first=0):
    return Part(*parse_cells(text), first, count, max_length)


def check_same(seqio, part, tokenizer, root, data_dir=None):
    """Asserts that SeqIO's features of a part are the prepared ones, and returns how many there are."""
    name = register_cell(part, tokenizer, data_dir)
    task = seqio.get_mixture_or_task(name)
    given = list(task.get_dataset(split=part.cell.split, shuffle=False, sequence_length=None).as_numpy_iterator())
    prepared = prepare(part, tokenizer, root, data_dir)
    ours = Records(prepared).read(list(range(prepared.features)))
    assert len(given) == len(ours)
    for number, (one, other) in enumerate(zip(given, ours, strict=True)):
        assert one.keys() == other.keys() == format_of(part.cell.row.kind).FEATURES.keys()
        for array in one:
            assert one[array].dtype == other[array].dtype == np.int32, f"{array} of feature {number}"
            assert np.array_equal(one[array], other[array]), f"{array} of feature {number} of {name}"
    return len(given)


@pytest.mark.parametrize("cell", WORLD.split())
def test_a_user_of_seqio_gets_what_was_prepared(seqio, cell, tokenizer, tmp_path):
    assert check_same(seqio, part(cell), tokenizer, tmp_path) >= 30


def test_texts_that_become_several_features(seqio, tokenizer, tmp_path):
    assert check_same(seqio, part("world_qa.dev.qen", max_length=20), tokenizer, tmp_path) > 30
    assert check_same(seqio, part("world_pos.dev.qdt", max_length=9, first=7), tokenizer, tmp_path) > 30


@pytest.mark.parametrize(
    "cell",
    [
        "udpos.test.ta",
        "squad.dev.en",
        "bucc.dev.zh",
        "lareqa.candidates.th",
        "squad_retrieval.train44.en",
        "ud_text.pud.th",
    ],
)
def test_real_cells(seqio, cell, data_dir, tokenizer, tmp_path):
    assert check_same(seqio, part(cell, count=50, max_length=64), tokenizer, tmp_path, data_dir) >= 50


def test_an_epoch_of_seqio_is_shuffled_and_whole(seqio, tokenizer, tmp_path):
    name = register_cell(part("world_nli.dev.qen"), tokenizer, None)
    task = seqio.get_mixture_or_task(name)
    plain, shuffled = (
        [
            each["input_ids"].tolist()
            for each in task.get_dataset(None, "dev", shuffle=mixed, seed=1).as_numpy_iterator()
        ]
        for mixed in (False, True)
    )
    assert plain != shuffled and sorted(plain) == sorted(shuffled)


@pytest.fixture
def unequal():
    """Returns parts of two tasks of a kind, one of which makes several features of an example."""
    return [part("world_qa.dev.qen", 5), part("world_qa.dev.qda", 40), part("world_qa2.dev.qnd", 15)]


@pytest.mark.parametrize("mixing", ["proportional", "uniform"])
def test_proportions_of_a_mixture(seqio, mixing, unequal, tokenizer, tmp_path):
    name = register_stage("mixed", unequal, tokenizer, None, mixing)
    mixture = seqio.get_mixture_or_task(name)
    features = [prepare(each, tokenizer, tmp_path).features for each in unequal]
    rates = features if mixing == "proportional" else [1] * 3
    shares = np.bincount(interleave(rates, 20_000)) / 20_000
    given = [mixture.get_rate(seqio.TaskRegistry.get(str(each.cell))) / mixture.total_rate for each in unequal]
    np.testing.assert_allclose(given, shares, atol=1e-4)  # interleave is within one draw of 20,000


def test_draws_of_a_mixture(seqio, unequal, tokenizer, tmp_path):
    """SeqIO draws at random what `interleave` spreads evenly: 1000 draws agree within 4 standard errors."""
    mixture = seqio.get_mixture_or_task(register_stage("drawn", unequal, tokenizer, None, "proportional"))
    prepared = [prepare(each, tokenizer, tmp_path) for each in unequal]
    from_part = {
        tuple(feature["input_ids"].tolist()): number
        for number, each in enumerate(prepared)
        for feature in Records(each).read(list(range(each.features)))
    }
    dataset = mixture.get_dataset(None, "dev", shuffle=False, seed=0, log_mixing_proportions=False).take(1000)
    drawn = [from_part[tuple(example["input_ids"].tolist())] for example in dataset.as_numpy_iterator()]
    share = np.bincount(interleave([each.features for each in prepared], 1000)) / 1000
    error = np.abs(np.bincount(drawn) / 1000 - share) / np.sqrt(share * (1 - share) / 1000)
    assert (error < 4).all(), f"{error} standard errors"


def test_every_cell_of_every_row_has_its_name(seqio, tokenizer):
    names = register_all(tokenizer, 32, None)
    assert names == [str(cell) for row in TASKS.values() for split in row.splits for cell in cells(row.name, split)]
    assert names == register_all(tokenizer, 32, None), "registering twice is harmless"
    assert set(seqio.TaskRegistry.names()) == set(names)
    for name in names:
        task = seqio.get_mixture_or_task(name)
        assert task.splits == (name.split(".")[1],)
        table = format_of(TASKS[name.split(".")[0]].kind).FEATURES
        assert {array: feature.rank for array, feature in task.output_features.items()} == {
            array: len(spec.axes) for array, spec in table.items()
        }
        assert task.output_features["input_ids"].vocabulary.vocab_size == tokenizer.size


def test_another_part_of_a_cell_has_a_name_of_its_own(seqio, tokenizer):
    whole, short = part("world_qa.dev.qen", 0), part("world_qa.dev.qen", 3, first=2, max_length=16)
    assert register_cell(whole, tokenizer, None) == "world_qa.dev.qen"
    for _ in range(2):
        assert register_cell(short, tokenizer, None) == "world_qa.dev.qen.2_3_16"
        assert register_cell(whole, tokenizer, None) == "world_qa.dev.qen"
    assert len(seqio.TaskRegistry.names()) == 2


def test_a_name_stands_for_one_thing(seqio, tokenizer, tmp_path):
    qa = part("world_qa.dev.qen")
    register_cell(qa, tokenizer, None)
    with pytest.raises(ConfigError, match=r"Cannot register 'world_qa\.dev\.qen'"):
        register_cell(qa, PieceTokenizer(["another"]), None)
    with pytest.raises(ConfigError, match="Use one vocabulary and one data folder"):
        register_cell(qa, tokenizer, tmp_path)
    assert register_stage("stage", [qa], tokenizer, None, "uniform") == "stage"
    assert register_stage("stage", [qa], tokenizer, None, "uniform") == "stage"
    for parts, mixing in (([qa], "proportional"), ([dataclasses.replace(qa, count=1)], "uniform")):
        with pytest.raises(ConfigError, match="Cannot register 'stage'"):
            register_stage("stage", parts, tokenizer, None, mixing)
    seqio.TaskRegistry.reset()
    seqio.TaskRegistry.add("world_qa.dev.qen", seqio.FunctionDataSource(lambda split, shuffle_files: None, ["dev"]), {})
    register._CONTENT.clear()
    with pytest.raises(ConfigError, match="something of another package"):
        register_cell(qa, tokenizer, None)


@pytest.mark.parametrize("other", ["world_nli.dev.qen", "world_ner.dev.qen", "world_pos.test.qen"])
def test_what_seqio_cannot_mix_is_said(seqio, other, tokenizer):
    with pytest.raises(ConfigError) as caught:
        register_stage("unlike", [part("world_pos.dev.qen"), part(other)], tokenizer, None, "uniform")
    assert f"'unlike' as a SeqIO mixture of world_pos.dev.qen, {other}" in str(caught.value)
    assert "same kind and labels" in str(caught.value)
    assert not seqio.TaskRegistry.names(), "nothing is registered by halves"


@pytest.mark.parametrize("kind", sorted({row.kind for row in TASKS.values() if row.reader == "world"} & set(SCORERS)))
def test_scores_of_gold_and_wrong_answers(seqio, kind, tokenizer):
    row = next(row for row in TASKS.values() if row.kind == kind)
    split = next(iter(row.splits))
    cell = part(f"{row.name}.{split}.qen")
    (metric,) = seqio.get_mixture_or_task(register_cell(cell, tokenizer, None)).metric_fns
    targets = [SCORERS[kind].target(example) for example in raw_examples(cell, None)]
    gold = [target[0] for target in targets] if kind == "span_qa" else targets
    wrong = [["X"] * len(tags) for tags in targets] if kind == "tagging" else ["?"] * len(targets)
    assert set(metric(targets=targets, predictions=gold).values()) == {100.0}
    assert set(metric(targets=targets, predictions=wrong).values()) == {0.0}


def test_nothing_is_read_before_it_is_asked_for(seqio, tokenizer, tmp_path):
    name = register_cell(part("udpos.test.ta"), tokenizer, tmp_path)
    (tmp_path / "udpos").mkdir()
    (tmp_path / "udpos/test-ta.tsv").write_text("a\tNOUN\n")
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, "test", shuffle=False)
    assert len(list(dataset.as_numpy_iterator())) == 1


def test_nothing_is_registered_at_import():
    program = "import sys, xling_jax.data.register; print({'seqio', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"
