"""Answers in words as features: prompts, answers that can be read back, and what happens when there is no room."""

import unicodedata

import numpy as np
import pytest

from xling_jax.checks import MIN_ANSWER
from xling_jax.data.batches import Batches, BatchPlan, group_cells
from xling_jax.data.formats import format_of_part
from xling_jax.data.prepare import Records, prepare
from xling_jax.data.records import Block, Layout, lay_out, pack_feature, unpack_feature
from xling_jax.data.tokenizers import load_tokenizer, train_vocabulary
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.tables.prompts import ANSWERS, PROMPTS, prompt_of
from xling_jax.tables.tasks import TASKS, Cell, parse_cells

# One language after another, and what is awkward in them: no spaces, right to left, joined letters, pictures.
TEXTS = (
    "the cat sat on the mat , twice .",
    "ฉันรักแมวของฉัน มาก",
    "ذهبت القطة إلى البيت مساء",
    "我喜欢这只猫。它很好",
    "кошка сидит на окне",
    "🐱 loves 🐟🐟 !",
)
FAMILIES = {"mt5": 334, "llama": 350, "qwen": 310}
RAW = {
    "pair_classification": {"text": TEXTS[0], "text_pair": TEXTS[2]},
    "multiple_choice": {"text": TEXTS[4], "choices": [TEXTS[1], TEXTS[5], TEXTS[1][:4]], "label": 1},
    "span_qa": {"question": TEXTS[3], "context": " ".join(TEXTS), "answers": [{"text": TEXTS[4], "start": 0}]},
    "tagging": {"tokens": " ".join(TEXTS).split() * 2},
}
ROWS = {"pair_classification": "xnli", "multiple_choice": "xcopa", "span_qa": "squad", "tagging": "panx"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("vocabularies"), {}
    for family, size in FAMILIES.items():
        path = folder / ("tokenizer.json" if family == "qwen" else f"{family}.model")
        labels = " ".join(PROMPTS["plain"]["nli"].words.values())
        train_vocabulary(family, [*TEXTS * 3, *(f"{labels} {text}" for text in TEXTS)], size, path)
        found[family] = load_tokenizer(path, family)
    return found


def raw(kind):
    """Returns an example of a kind with the labels of its row."""
    example, row = {"id": "1"} | RAW[kind], TASKS[ROWS[kind]]
    if kind == "pair_classification":
        example["label"] = row.labels[1]
    if kind == "tagging":
        example["tags"] = [row.labels[number % 7] for number in range(len(example["tokens"]))]
    if kind == "span_qa":
        example["answers"] = [{"text": TEXTS[4], "start": example["context"].index(TEXTS[4])}]
    return example


def make(kind, tokenizer, form="mt5", length=200, answers=32, **changed):
    """Returns (the format, the features of an example)."""
    row = TASKS[changed.pop("task", ROWS[kind])]
    part = Part(Cell(row.name, next(iter(row.splits)), "en"), 0, 0, length, form, answers)
    made = format_of_part(part, tokenizer)
    return made, made.features(raw(kind) | changed, tokenizer, length, row)


@pytest.mark.parametrize("family", [*FAMILIES, "xlmr"])
def test_what_is_decoded_is_the_text(family, tokenizers, tmp_path):
    """Texts are composed and have single spaces: else what comes back is the text as the family normalises it."""
    if family == "xlmr":
        train_vocabulary(family, [*TEXTS] * 3, 73, tmp_path / "xlmr.model")
    tokenizer = tokenizers.get(family) or load_tokenizer(tmp_path / "xlmr.model")
    rng = np.random.default_rng(0)
    letters = sorted(set("".join(TEXTS)) - {" "})
    drawn = [
        " ".join("".join(rng.choice(letters, size=rng.integers(1, 6))) for _ in range(rng.integers(1, 5)))
        for _ in range(50)
    ]
    for text in [*TEXTS, *drawn]:
        ids = tokenizer.ids(text)
        written = [tokenizer.bos, *ids, tokenizer.eos, tokenizer.pad, *tokenizer.sentinels[:2], tokenizer.size + 9]
        found = tokenizer.decode(number for number in written if number >= 0)
        normal = text if family in ("qwen", "llama") else unicodedata.normalize("NFKC", text)
        assert found == normal, f"{family}: {text!r} comes back as {found!r}"
    assert tokenizer.decode([]) == tokenizer.decode(tokenizer.ids("")) == ""


def test_bytes_that_are_no_character_do_not_stop_anything(tokenizers):
    """A model may write any bytes."""
    rng = np.random.default_rng(1)
    for tokenizer in tokenizers.values():
        for _ in range(30):
            assert isinstance(tokenizer.decode(rng.integers(0, tokenizer.size + 50, 12)), str)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_parts_end_to_end_are_the_whole_prompt(kind, form, family, tokenizers):
    tokenizer, example = tokenizers[family], raw(kind)
    row = TASKS[ROWS[kind]]
    asked = prompt_of(row, form).template.format(
        **{name: " ".join(value) if name == "tokens" else value for name, value in example.items()}
    )
    _, made = make(kind, tokenizer, form, length=2000, answers=1500)
    (feature,) = made
    ends = [] if tokenizer.goes_on else [tokenizer.eos]
    begins = [tokenizer.bos] if tokenizer.bos >= 0 else []
    assert feature["input_ids"].tolist() == [*begins, *tokenizer.ids(asked).tolist(), *ends]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ANSWERS)
def test_the_label_is_the_gold_answer_and_an_end(kind, family, tokenizers):
    tokenizer = tokenizers[family]
    form, (feature,) = make(kind, tokenizer, length=2000, answers=1500)
    gold = {
        "pair_classification": "0",  # entailment
        "multiple_choice": TEXTS[5],
        "span_qa": TEXTS[4],
        "tagging": " ".join(raw("tagging")["tags"]),
    }[kind]
    labels = feature["labels"][feature["labels"] >= 0]
    assert labels[-1] == tokenizer.eos and tokenizer.decode(labels).strip() == gold == form.answer(feature["labels"])
    assert len(feature["labels"]) == form.answer_length
    if "answers" in feature:
        assert feature["labels"].tolist() in feature["answers"].tolist(), "the gold answer is among those ranked"
    if kind == "pair_classification":
        said = [form.answer(answer) for answer in feature["answers"]]
        assert said == ["2", "0", "1"], "in the order of the row's labels"
        assert form.answer_length == max((row >= 0).sum() for row in feature["answers"]), "as long as labels are"


def test_labels_that_are_withheld_are_no_labels(tokenizers):
    for kind, field in {"pair_classification": "label", "multiple_choice": "label", "tagging": "tags"}.items():
        _, made = make(kind, tokenizers["mt5"], **{field: None})
        assert all((feature["labels"] == -1).all() for feature in made), kind
        assert all((feature["answers"][:, 0] >= 0).all() for feature in made if "answers" in feature), "still ranked"
    row, tokenizer = TASKS["squad2"], tokenizers["mt5"]
    form, _ = make("span_qa", tokenizer, task="squad2")
    made = form.features(raw("span_qa") | {"answers": None}, tokenizer, 100, row)
    assert all((feature["labels"] == -1).all() for feature in made), "nor is there none"


@pytest.mark.parametrize("length", [28, 33, 47])
@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_nothing_is_longer_than_allowed(kind, form, length, tokenizers):
    tokenizer = tokenizers["qwen"]
    if kind == "pair_classification":
        form, length = "mt5", length + 20  # its plain prompt is longer than that
    made, features = make(kind, tokenizer, form, length, MIN_ANSWER + 6)
    assert max(len(feature["input_ids"]) for feature in features) <= length
    assert {feature["labels"].shape for feature in features} == {(made.answer_length,)}
    asked, lost = made.demand(raw(kind), features, tokenizer, length)
    assert 0 <= lost < asked


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_is_labelled_if_it_holds_the_answer(family, tokenizers):
    tokenizer = tokenizers[family]
    form, windows = make("span_qa", tokenizer, length=90)
    assert len(windows) > 1
    labelled = 0
    for window in windows:
        there = TEXTS[4] in tokenizer.decode(window["input_ids"])
        assert (form.said("", window) == TEXTS[4]) == there == (window["labels"][0] >= 0)
        labelled += there
    assert 0 < labelled < len(windows)
    together = "".join(tokenizer.decode(window["input_ids"]) for window in windows)
    assert all(word in together for word in " ".join(TEXTS).split()), "no part of the context is in no window"


def test_windows_without_the_answer_say_so_where_there_may_be_none(tokenizers):
    tokenizer = tokenizers["mt5"]
    form, windows = make("span_qa", tokenizer, length=90, task="squad2")
    said = {form.answer(window["labels"]) for window in windows}
    assert said == {TEXTS[4], "no answer"} and {form.said("", window) for window in windows} == {TEXTS[4], ""}
    row = TASKS["squad2"]
    none = form.features(raw("span_qa") | {"answers": []}, tokenizer, 90, row)
    assert {form.answer(window["labels"]) for window in none} == {"no answer"}


@pytest.mark.parametrize("answers", [8, 9, 14, 60])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", PROMPTS)
def test_every_word_is_in_one_feature_with_room_for_its_tag(form, family, answers, tokenizers):
    tokenizer = tokenizers[family]
    longest = "B-PER I-PER B-ORG I-ORG B-LOC I-LOC O".split()
    made, features = make("tagging", tokenizer, form, length=50, answers=answers)
    spans = [feature["words"].tolist() for feature in features]
    words, tags = raw("tagging")["tokens"], raw("tagging")["tags"]
    assert [at for begin, end in spans for at in range(begin, end)] == list(range(len(words)))
    assert set(tags) == set(longest)
    for feature, (begin, end) in zip(features, spans, strict=True):
        if (feature["labels"] == tokenizer.eos).any():  # else one word's tag alone is longer than an answer
            assert made.answer(feature["labels"]).split() == tags[begin:end]
        else:
            assert end == begin + 1
        said = tokenizer.decode(feature["input_ids"])
        assert all(word in said or len(word) > 8 for word in words[begin:end])


def test_a_sentence_without_words_has_a_feature(tokenizers):
    _, (feature,) = make("tagging", tokenizers["llama"], tokens=[], tags=[])
    assert feature["words"].tolist() == [0, 0]


def test_words_and_tags_must_be_as_many(tokenizers):
    with pytest.raises(DataError, match="2 words and 1 tags"):
        make("tagging", tokenizers["mt5"], tokens=["a", "b"], tags=["O"])


def test_an_answer_without_room_has_no_end(tokenizers):
    tokenizer = tokenizers["mt5"]
    _, (feature,) = make("multiple_choice", tokenizer, answers=5)
    assert (feature["labels"] >= 0).all() and tokenizer.eos not in feature["labels"]
    assert feature["labels"].tolist() == tokenizer.ids(TEXTS[5])[:5].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_without_content_is_its_words(family, tokenizers):
    tokenizer = tokenizers[family]
    form, _ = make("pair_classification", tokenizer)
    assert tokenizer.decode(form.blank()) == "xnli: premise: hypothesis:"
    row = TASKS["hellaswag"]
    part = Part(Cell("hellaswag", "train", "en"), 0, 0, 64, "plain", 8)
    assert len(format_of_part(part, tokenizer).blank()) == 1, f"{row.name} has no words, and a model reads a token"


@pytest.mark.parametrize("kind", ANSWERS)
def test_records_keep_features(kind, tokenizers):
    """Packed and unpacked one by one; and laid out together, where one has fewer choices than the other."""
    tokenizer = tokenizers["qwen"]
    form, features = make(kind, tokenizer)
    if kind == "multiple_choice":
        features += make(kind, tokenizer, choices=list(TEXTS[:2]))[1]
    sized = {name: type(spec)(spec.axes, spec.pad, form.answer_length) for name, spec in form.FEATURES.items()}
    records = [pack_feature(feature, sized) for feature in features]
    for record, feature in zip(records, features, strict=True):
        found = unpack_feature(record, sized)
        assert found.keys() == feature.keys() and all((found[name] == feature[name]).all() for name in found)
    choices = max(len(feature.get("answers", [0])) for feature in features)
    batch = lay_out(Block.of(records), sized, Layout(len(records), 300, np.arange(len(records))), choices)
    for row, feature in enumerate(features):
        for name, array in feature.items():
            padded = batch[name][row]
            inside = tuple(slice(0, size) for size in array.shape)
            assert (padded[inside] == array).all()
            outside = np.ones(padded.shape, bool)
            outside[inside] = False
            assert (padded[outside] == sized[name].pad).all()
        assert batch["lengths"][row] == len(feature["input_ids"])


def test_a_prepared_cell_says_its_form(tokenizers, tmp_path):
    (cell,) = parse_cells("world_choice.dev.qen")
    tokenizer = tokenizers["llama"]
    forms = [("heads",), ("mt5", 20), ("plain", 20), ("mt5", 24)]
    found = [prepare(Part(cell, 0, 6, 96, *form), tokenizer, tmp_path) for form in forms]
    assert len({prepared.path for prepared in found}) == 4
    assert [(each.form, each.answer_length, each.head) for each in found] == [
        ("heads", 0, "world_choice"),
        ("mt5", 20, "text"),
        ("plain", 20, "text"),
        ("mt5", 24, "text"),
    ]
    words = Records(found[1]).read([0])[0]
    assert words["answers"].shape == (4, 20) and found[1].choices == 4
    assert found[1].table["input_ids"].pad == tokenizer.pad


def test_a_prompt_is_a_part_of_the_address(tokenizers, tmp_path, monkeypatch):
    (cell,) = parse_cells("world_choice.dev.qen")
    part = Part(cell, 0, 2, 96, "mt5", 20)
    before = prepare(part, tokenizers["llama"], tmp_path).path
    changed = PROMPTS["mt5"] | {"multiple_choice": PROMPTS["plain"]["multiple_choice"]}
    monkeypatch.setitem(PROMPTS, "mt5", changed)
    assert prepare(part, tokenizers["llama"], tmp_path).path != before, "else old examples would be trained on"


def test_examples_of_one_kind_and_length_stand_in_a_batch(tokenizers, tmp_path):
    """One head says everything; what differs in shape is a batch of its own."""
    asked = [
        ("world_qa.train.qen", 20),
        ("world_qa.train.qda", 20),
        ("world_qa.train.qen", 24),
        ("world_pos.train.qen", 20),
    ]
    asked += [("world_nli.train.qen", 20), ("world_nli.train.qen", 24)]
    cells = [
        prepare(Part(*parse_cells(text), 0, 20, 128, "mt5", answers), tokenizers["mt5"], tmp_path)
        for text, answers in asked
    ]
    groups = [{(str(cell.cell), cell.max_length) for cell in members} for members, _ in group_cells(cells, [1.0] * 6)]
    assert sorted(map(len, groups)) == [1, 1, 1, 2], "labels take what they need: both cells of NLI are one"
    batches = Batches(cells, rates=[1.0] * 6, plan=BatchPlan(4, 0, (64, 128)), steps=12)
    for step in range(12):
        head, batch = batches[step]
        assert (
            head == "text"
            and len(batch["labels"]) == 4
            and batch["labels"].shape[1] in (20, 24, cells[4].answer_length)
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_spans_of_a_text_behind_another_are_those_of_the_text(family, tokenizers):
    tokenizer = tokenizers[family]
    for text in TEXTS:
        found = tokenizer.later(text)
        assert found.ids.tolist() == tokenizer.later_ids(text).tolist()
        covered = {at for begin, end in found.spans.tolist() for at in range(begin, end)}
        assert covered == {at for at, character in enumerate(text) if character != " "}
