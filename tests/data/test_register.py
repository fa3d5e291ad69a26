"""What a SeqIO user gets is what we train on: features, order, proportions, scores.

SeqIO takes many seconds to import, so everything that needs it is in this file.
"""

import collections
import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from xling_jax.data import register, text_tasks
from xling_jax.data.batches import Batches, BatchPlan
from xling_jax.data.formats import format_of
from xling_jax.data.prepare import Records, prepare, raw_examples
from xling_jax.data.register import register_all, register_cell, register_set, register_stage
from xling_jax.data.text_tasks import register_texts
from xling_jax.data.tokenizers import PieceTokenizer, train_vocabulary
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part, Stage
from xling_jax.mixing import Mixing
from xling_jax.scoring.metrics import SCORERS
from xling_jax.tables.sets import SETS
from xling_jax.tables.tasks import TASKS, cells, parse_cells
from xling_jax.world import pieces

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
        "bucc2018.dev.zh",
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


# Cells of one kind, one of which makes several features of an example; the first item has two cells.
DATA = ("world_qa.dev.qen+qda", "world_qa2.dev.qnd")
EXAMPLES = {"world_qa.dev.qen": 5, "world_qa.dev.qda": 40, "world_qa2.dev.qnd": 15}
MODES = {
    "proportional": Mixing(),
    "capped": Mixing(cap=20),
    "temperature": Mixing("temperature", temperature=1 / 0.3),
    "uniform": Mixing("uniform"),
    "rates": Mixing(rates=(0.7, 0.3)),
}
DRAWS = 100_000
SIGMAS = 4.5  # a multinomial share of 100,000 draws is further off than that in 7 of a million


def stage(mode="proportional", data=DATA, **changed):
    return Stage(data=data, mixing=MODES[mode], max_length=24, **changed)


@pytest.fixture
def unequal(monkeypatch):
    """Makes a stage of cells of unequal size: `Stage.parts` takes the same of all."""

    def parts(self, limits):
        return tuple(Part(cell, 0, EXAMPLES.get(str(cell), 10), self.lengths()[-1]) for cell in self.cells())

    monkeypatch.setattr(Stage, "parts", parts)


def off(counts, rates):
    """Returns how far counts are from what the rates say, in standard errors of a multinomial."""
    share = np.array(rates) / np.sum(rates)
    found = np.bincount(counts, minlength=len(share)) / len(counts)
    return np.abs(found - share) / np.sqrt(share * (1 - share) / len(counts))


def drawn_by_seqio(mixture, prepared, count):
    """Returns from which part each of `count` examples of a mixture is, by what it says."""
    part_of = {
        feature["input_ids"].tobytes(): number
        for number, each in enumerate(prepared)
        for feature in Records(each).read(list(range(each.features)))
    }
    dataset = mixture.get_dataset(None, "train", shuffle=False, seed=0, log_mixing_proportions=False)
    ids = dataset.map(lambda example: example["input_ids"]).take(count)
    return [part_of[each.tobytes()] for each in ids.as_numpy_iterator()]


@pytest.fixture
def numbered(seqio, monkeypatch):
    """Makes every SeqIO Task an endless row of its number in the sorted registry, so that many can be drawn soon."""
    import tensorflow as tf  # noqa: PLC0415

    def numbers(task, *_, **__):
        return tf.data.Dataset.from_tensors(
            {"input_ids": [sorted(seqio.TaskRegistry.names()).index(task.name)]}
        ).repeat()

    monkeypatch.setattr(seqio.Task, "get_dataset", numbers)


def drawn_by_us(prepared, rates, count, batch_size=50):
    """Returns from which cell each of `count` examples of our batches is, by what they say themselves."""
    plan = BatchPlan(batch_size, 0, (24,))
    source = Batches(prepared, rates=rates, plan=plan, steps=count // batch_size)
    names = [str(each.cell) for each in prepared]
    return [names.index(name.partition("#")[0]) for step in range(len(source)) for name in source.identify(step)]


SLOW = pytest.mark.slow  # ten seconds for each


def check_draws(found, mode, features):
    """Asserts that draws are within sampling error of a mode's rates, and of no other mode's."""
    assert len(found) == DRAWS
    for other in MODES:
        errors = off(found, stage(other).rates(features))
        assert (errors < SIGMAS).all() == (other == mode), f"{errors} standard errors from {other}"


@pytest.mark.parametrize("mode", [pytest.param(mode, marks=() if mode == "capped" else SLOW) for mode in MODES])
@pytest.mark.usefixtures("numbered", "unequal")
def test_seqio_draws_at_the_rates_of_a_stage(seqio, mode, tokenizer, tmp_path):
    parts = stage(mode).parts({})
    features = [prepare(each, tokenizer, tmp_path).features for each in parts]
    mixture = seqio.get_mixture_or_task(register_stage("mixed", stage(mode), {}, tokenizer, None))
    dataset = mixture.get_dataset(None, "train", shuffle=False, seed=0, log_mixing_proportions=False).batch(1000)
    numbers = [batch["input_ids"].ravel() for batch in dataset.take(DRAWS // 1000).as_numpy_iterator()]
    place = {f"mixed.{each.cell}": number for number, each in enumerate(parts)}
    places = np.array([place[name] for name in sorted(place)])
    check_draws(places[np.concatenate(numbers)], mode, features)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("unequal")
def test_our_batches_draw_at_the_rates_of_a_stage(mode, tokenizer, tmp_path):
    prepared = [prepare(each, tokenizer, tmp_path) for each in stage(mode).parts({})]
    features = [each.features for each in prepared]
    assert features[0] > EXAMPLES["world_qa.dev.qen"], "one text has become several features"
    rates = stage(mode).rates(features)
    found = drawn_by_us(prepared, rates, DRAWS)
    check_draws(found, mode, features)
    exact = DRAWS * np.array(rates) / np.sum(rates)
    assert (np.abs(np.bincount(found) - exact) <= 51).all(), "within one batch of its task, and one draw in that"


@pytest.mark.slow  # a minute for each: SeqIO makes about a thousand examples in a second
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("unequal")
def test_examples_of_seqio_are_drawn_at_the_rates_of_a_stage(seqio, mode, tokenizer, tmp_path):
    prepared = [prepare(each, tokenizer, tmp_path) for each in stage(mode).parts({})]
    mixture = seqio.get_mixture_or_task(register_stage("mixed", stage(mode), {}, tokenizer, None))
    check_draws(drawn_by_seqio(mixture, prepared, DRAWS), mode, [each.features for each in prepared])


def test_a_stage_of_several_kinds(seqio, tokenizer):
    """Whatever a stage trains on is one mixture: masked LM at a rate beside NLI and tags, from splits of any name."""
    data = ("world_nli.dev.qen", "world_text.train.qda", "world_pos.test.qnd")
    declared = Stage(data=data, examples=60, mixing=Mixing(rates=(0.6, 0.1, 0.3)), max_length=24)
    mixture = seqio.get_mixture_or_task(register_stage("several", declared, {"train": 30}, tokenizer, None))
    dataset = mixture.get_dataset(None, "train", shuffle=False, seed=0, log_mixing_proportions=False)
    found = collections.Counter()
    for example in dataset.take(1000).as_numpy_iterator():
        kind = ("world_nli", "world_pos", "world_text")[example["task"]]
        found[kind] += 1
        assert (example["label"] == -1) == (kind != "world_nli")
        assert (len(example["labels"]) == 0) == (kind != "world_pos")
        assert len(example["input_ids"]) > 2
    numbers = [0] * found["world_nli"] + [1] * found["world_text"] + [2] * found["world_pos"]
    assert (off(numbers, (0.6, 0.1, 0.3)) < SIGMAS).all(), found


def test_what_stages_cannot_be_a_mixture(seqio, tokenizer):
    choice = Stage(data=("world_nli.dev.qen", "world_choice.dev.qen"), max_length=24)
    with pytest.raises(ConfigError, match=r"(?s)Cannot mix world_nli\.dev\.qen and world_choice.*no multiple choice"):
        register_stage("choice", choice, {}, tokenizer, None)
    twice = Stage(data=("world_nli.dev.qen+qda", "world_nli.dev.qda"), max_length=24)
    with pytest.raises(ConfigError, match="a cell is twice in world_nli"):
        register_stage("twice", twice, {}, tokenizer, None)
    assert not seqio.TaskRegistry.names(), "nothing is registered by halves"


def test_every_cell_and_every_set_has_its_name(seqio, tokenizer):
    names = register_all(tokenizer, 32, None)
    tasks = [str(cell) for row in TASKS.values() for split in row.splits for cell in cells(row.name, split)]
    assert names == [*tasks, *SETS]
    assert names == register_all(tokenizer, 32, None), "registering twice is harmless"
    assert set(seqio.TaskRegistry.names()) == set(tasks) and set(seqio.MixtureRegistry.names()) == set(SETS)
    for name in tasks:
        task = seqio.get_mixture_or_task(name)
        assert task.splits == (name.split(".")[1],)
        table = format_of(TASKS[name.split(".")[0]].kind).FEATURES
        assert {array: feature.rank for array, feature in task.output_features.items()} == {
            array: len(spec.axes) for array, spec in table.items()
        }
        assert task.output_features["input_ids"].vocabulary.vocab_size == tokenizer.size
    for name, data in SETS.items():
        mixture = seqio.get_mixture_or_task(name)
        assert {task.name for task in mixture.tasks} == {str(cell) for text in data for cell in parse_cells(text)}


@pytest.mark.usefixtures("unequal")
def test_a_set_is_drawn_in_proportion(seqio, tokenizer, tmp_path):
    mixture = seqio.get_mixture_or_task(register_set("questions", DATA, 24, tokenizer, None))
    given = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    features = {str(each.cell): prepare(each, tokenizer, tmp_path).features for each in stage().parts({})}
    assert given == features and len(set(features.values())) == 3


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
    declared = stage(data=("world_qa.dev.qda",))
    for _ in range(2):
        assert register_stage("stage", declared, {"dev": 9}, tokenizer, None) == "stage"
    for other, limits in (
        (dataclasses.replace(declared, mixing=Mixing("uniform")), {"dev": 9}),
        (declared, {"dev": 8}),
    ):
        with pytest.raises(ConfigError, match="Cannot register 'stage"):
            register_stage("stage", other, limits, tokenizer, None)
    seqio.TaskRegistry.reset()
    seqio.TaskRegistry.add("world_qa.dev.qen", seqio.FunctionDataSource(lambda split, shuffle_files: None, ["dev"]), {})
    register._CONTENT.clear()
    with pytest.raises(ConfigError, match="something of another package"):
        register_cell(qa, tokenizer, None)


@pytest.mark.parametrize("other", ["world_nli.dev.qen", "world_ner.dev.qen", "world_pos.test.qen"])
def test_what_cannot_be_a_set_is_said(seqio, other, tokenizer):
    with pytest.raises(ConfigError) as caught:
        register_set("unlike", ("world_pos.dev.qen", other), 24, tokenizer, None)
    assert f"'unlike' as a SeqIO mixture of world_pos.dev.qen {other}" in str(caught.value)
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


def test_a_task_is_scored_by_the_rule_that_it_names(seqio, tokenizer):
    """MLQA's takes a Chinese character for a word."""
    for name, f1 in (("mlqa.test.zh", 80), ("xquad.test.zh", 0)):
        (metric,) = seqio.get_mixture_or_task(register_cell(part(name), tokenizer, None)).metric_fns
        assert metric(targets=[["北京市"]], predictions=["北京"])["f1"] == pytest.approx(f1)


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


# ---- Text to text ---------------------------------------------------------------------------------------------------

LENGTHS = {"inputs": 64, "targets": 16}


@pytest.fixture(scope="module")
def vocabulary(imported, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "spiece.model"
    texts = [" ".join(pieces()[at : at + 12]) for at in range(0, len(pieces()), 6)]
    train_vocabulary("mt5", texts * 3, 700, path)
    return imported.SentencePieceVocabulary(str(path), extra_ids=100)


@pytest.fixture
def texts(vocabulary):
    """Returns a function that registers cells as text-to-text tasks."""
    return lambda *data, **how: register_texts(data, LENGTHS, vocabulary, None, **how)


@pytest.fixture
def few(monkeypatch):
    """Leaves 30 examples of each cell."""

    def first(part, folder):
        return itertools.islice(raw_examples(part, folder), 30)

    monkeypatch.setattr(text_tasks, "raw_examples", first)


def ids(dataset, name="inputs"):
    return [example[name].tolist() for example in dataset.as_numpy_iterator()]


def test_a_text_task_has_the_features_that_t5x_wants(seqio, texts, few):
    task = seqio.get_mixture_or_task(texts("world_nli.dev.qda"))
    assert task.name == "t5.world_nli.dev.qda" and set(task.output_features) == {"inputs", "targets"}
    plain = task.get_dataset(LENGTHS, "dev", shuffle=False)
    (held,) = (content[0] for name, content in register._CONTENT.items() if name == task.name)
    tokenizer = text_tasks._tokenizer(task.output_features["inputs"].vocabulary.sentencepiece_model_file, 100)
    assert ids(plain) == [made["inputs"].tolist() for made in text_tasks._Texts(held, tokenizer, None).made]
    shuffled = [ids(task.get_dataset(LENGTHS, "dev", shuffle=True, seed=seed)) for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert sorted(shuffled[0]) == sorted(ids(plain)) != shuffled[0]
    assert texts("world_nli.dev.qda") == task.name, "again does nothing"


def test_texts_are_mixed_at_the_rates_of_a_stage(seqio, texts, few):
    name = texts("world_nli.train.qen", "world_qa.train.qen+qda", mixing=Mixing(rates=(0.5, 0.5)))
    assert name == "t5.world_nli.train.qen:world_qa.train.qen_qda"
    mixture = seqio.get_mixture_or_task(name)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates["t5.world_nli.train.qen"] == pytest.approx(0.5)
    assert rates["t5.world_qa.train.qen"] + rates["t5.world_qa.train.qda"] == pytest.approx(0.5)
    assert len(ids(mixture.get_dataset(LENGTHS, "train", shuffle=True, seed=0, num_epochs=None).take(200))) == 200
    with pytest.raises(ConfigError, match="Cannot register"):
        texts("world_nli.train.qen", "world_qa.train.qen+qda", mixing=Mixing("uniform"))


def test_spans_are_others_each_time_and_an_iterator_goes_on(seqio, texts, few, tmp_path):
    """The state of a shuffled and repeated dataset of corrupted text, saved and restored: t5x resumes by it."""
    import tensorflow as tf  # noqa: PLC0415

    task = seqio.get_mixture_or_task(texts("world_text.train.qen"))
    whole = ids(task.get_dataset(LENGTHS, "train", shuffle=False, seed=3, num_epochs=2))
    assert len(whole) == 60
    assert sum(one != other for one, other in zip(whole[:30], whole[30:], strict=True)) > 20
    assert whole == ids(task.get_dataset(LENGTHS, "train", shuffle=False, seed=3, num_epochs=2))

    def opened():
        dataset = task.get_dataset(LENGTHS, "train", shuffle=True, seed=3, num_epochs=2)
        iterator = iter(dataset)
        return iterator, tf.train.Checkpoint(iterator=iterator)

    iterator, checkpoint = opened()
    for _ in range(17):
        next(iterator)
    path = checkpoint.write(str(tmp_path / "state"))
    rest = [example["targets"].numpy().tolist() for example in iterator]
    again, checkpoint = opened()
    checkpoint.read(path).assert_consumed()
    assert [example["targets"].numpy().tolist() for example in again] == rest
    assert len(rest) == 43
