"""The real files, read to the end: counts as their publishers state them, offsets, tags, characters.

They need the folder that XLING_DATA names; without it they are skipped.
"""

import collections
import itertools
import pathlib
import sys
import unicodedata

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import speaking

from xling_jax.data.formats import format_of_part
from xling_jax.data.sources import checksum, is_there, read
from xling_jax.data.tokenizers import load_tokenizer, train_sentencepiece
from xling_jax.experiment import Part
from xling_jax.scoring.metrics import score, value
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import cells

UDPOS_TEST = {"af": 425, "ar": 1680, "en": 5440, "mr": 47, "ta": 654, "te": 146, "th": 1000, "yo": 318, "zh": 3455}


def examples(task, split, language, data_dir):
    (cell,) = cells(task, split, language)
    return list(read(cell, data_dir))


@pytest.mark.parametrize(("split", "count", "articles"), [("dev", 10570, 2067), ("train44", 11877, None)])
def test_squad(data_dir, split, count, articles):
    found = examples("squad", split, "en", data_dir)
    assert len(found) == len({example["id"] for example in found}) == count
    for example in found:
        for answer in example["answers"]:
            assert example["context"][answer["start"] :][: len(answer["text"])] == answer["text"]
    if articles:
        assert len({example["context"] for example in found}) == articles, "distinct paragraphs"


def test_mnli(data_dir):
    labels = collections.Counter(example["label"] for example in examples("mnli", "dev", "en", data_dir))
    assert labels == {"entailment": 3479, "contradiction": 3213, "neutral": 3123}


@pytest.mark.parametrize(("language", "count"), UDPOS_TEST.items())
def test_udpos(data_dir, language, count):
    found = examples("udpos", "test", language, data_dir)
    assert len(found) == count
    assert found[-1]["id"] == f"{language}.{count}"
    script = LANGUAGES[language].script.upper().replace("HAN", "CJK UNIFIED IDEOGRAPH")
    letters = [letter for example in found for token in example["tokens"] for letter in token if letter.isalpha()]
    share = sum(unicodedata.name(letter, "").startswith(script) for letter in letters) / len(letters)
    assert share > 0.9, f"{share:.0%} of the letters are {script}: another language's file, or another encoding"


def test_udpos_training_sentences(data_dir):
    assert len(examples("udpos", "train", "en", data_dir)) == 21787
    assert len(examples("udpos", "dev", "en", data_dir)) == 3974


def test_tatoeba_counts(data_dir):
    there = [cell for cell in cells("tatoeba", "test") if is_there(cell, data_dir)]
    assert len(there) == 36, "XTREME's languages"
    for cell in there:
        assert sum(1 for _ in read(cell, data_dir)) == cell.row.splits["test"].published(cell.language), cell


def test_xnli_text_is_parallel_by_id(data_dir):
    english, thai = ({row["id"] for row in examples("xnli_text", "test", code, data_dir)} for code in ("en", "th"))
    assert len(english) == 6679 and len(thai) == 6679
    assert len(english & thai) > 6600, "an id is the same for translations"
    everything = [row["text"] for row in examples("xnli_text", "test", "zh", data_dir)]
    assert len(everything) == len(set(everything)) == 6677


def test_checksums_differ_between_languages(data_dir):
    sums = {checksum(cell, data_dir) for cell in cells("tatoeba", "test", "th ta te zh")}
    assert len(sums) == 4


def test_spans_of_real_sentences(data_dir, tmp_path):
    """Trains a small vocabulary on ten scripts and slices every sentence of Tatoeba in them by its spans."""
    codes = "en th zh ar hi ta ja ka ko fa"
    texts = [row["text"] for cell in cells("tatoeba", "test", codes[3:]) for row in read(cell, data_dir)]
    train_sentencepiece(texts[::4], 3000, tmp_path / "small.model")
    tokenizer = load_tokenizer(tmp_path / "small.model")
    for text in texts:
        spans = tokenizer.encode(text).spans
        assert (spans[1:] >= spans[:-1]).all(), text
        covered = {position for begin, end in spans.tolist() for position in range(begin, end)}
        uncovered = {text[position] for position in set(range(len(text))) - covered}
        assert all(c.isspace() or unicodedata.category(c) in ("Cf", "Cc") for c in uncovered), (text, uncovered)


# Bytes say everything; what is composed differently in a context and its answer comes back as one of them.
SAID = {
    "xnli.th": 100,
    "pawsx.ko": 100,
    "xcopa.zh": 100,
    "udpos.ar": 100,
    "panx.en": 100,
    "xquad.zh": 100,
    "xquad.hi": 97,
}


@pytest.mark.parametrize("name", SAID)
def test_gold_answers_can_be_said_in_words(name, data_dir, tmp_path):
    """Of 100 examples: sentences divided, windows, and no answer longer than the room for it."""
    task, language = name.split(".")
    (cell,) = cells(task, "test", language)
    tokenizer, part = speaking.tokenizer(tmp_path), Part(cell, 0, 100, 512, "plain", 200)
    form, found = format_of_part(part, tokenizer), list(itertools.islice(read(cell, data_dir), 100))
    features = [form.features(example, tokenizer, 512, cell.row) for example in found]
    answers, legal = speaking.read_back(cell.row, found, features, tokenizer, "plain")
    assert min(value(pairs) for pairs in score(cell.row.kind, found, answers).values()) >= SAID[name]
    assert all(legal) and len(found) == 100
