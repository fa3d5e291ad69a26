"""Counts of what tokenising does, against hand-worked examples of each kind; and the report of them."""

import dataclasses
import json

import pytest

from xling_jax.data import token_report
from xling_jax.data.formats import format_of
from xling_jax.data.prepare import Prepared, load, prepare
from xling_jax.data.token_counts import TokenCounter, TokenCounts
from xling_jax.data.token_report import row_of, write_report
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Part
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, Cell, parse_cells

ROW_OF_KIND = {kind: next(row for row in TASKS.values() if row.kind == kind) for kind in KINDS}


@pytest.fixture(scope="module")
def letters():
    """Returns a tokenizer that makes a piece of every letter but z."""
    alphabet = "abcdefghijklmnopqrstuvwxy"
    return PieceTokenizer([*alphabet, *(f"##{letter}" for letter in alphabet)])


def count(kind, tokenizer, max_length, *examples):
    row = ROW_OF_KIND[kind]
    counter = TokenCounter(Part(Cell(row.name, "test", "en"), 0, 0, max_length), tokenizer)
    for example in examples:
        counter.add(example, format_of(kind).features(example, tokenizer, max_length, row))
    return {name: number for name, number in dataclasses.asdict(counter.counts).items() if number}


LABEL = {kind: row.labels[0] for kind, row in ROW_OF_KIND.items() if row.labels}
CASES = {
    # <s> abcd </s></s> ef </s> are 10 tokens: two too many for 8. Two words, six letters.
    "pair that is cut": (
        "pair_classification",
        8,
        {"text": "abcd", "text_pair": "ef", "label": LABEL["pair_classification"]},
        {"tokens": 6, "cut": 1, "lost": 2, "pieces": 6, "words": 2, "characters": 6},
    ),
    "pair that fits, with a word that is unknown": (
        "pair_classification",
        64,
        {"text": "ab zz", "text_pair": "ef", "label": LABEL["pair_classification"]},
        {"tokens": 5, "pieces": 5, "unknown": 1, "words": 3, "characters": 6},
    ),
    # The text stands with each choice: 3 + 2 and 3 + 1 tokens with four special ones, in 8.
    "choices": (
        "multiple_choice",
        8,
        {"text": "abc", "choices": ["de", "f"], "label": 0},
        {"tokens": 9, "cut": 1, "lost": 1, "pieces": 6, "words": 3, "characters": 6},
    ),
    # The translation is in the pivot language: neither its words nor its loss are this language's.
    "retrieval": (
        "retrieval",
        6,
        {"text": "abcdef", "text_pair": "abcdefghi jk"},
        {"tokens": 6, "cut": 1, "lost": 2, "pieces": 6, "words": 1, "characters": 6},
    ),
    "text that becomes three": (
        "mlm",
        6,
        {"text": "abcd efgh ij"},
        {"features": 3, "tokens": 10, "pieces": 10, "words": 3, "characters": 10},
    ),
    "pair of texts": (
        "mlm",
        8,
        {"text": "abc", "text_pair": "defg"},
        {"tokens": 7, "cut": 1, "lost": 3, "pieces": 3, "words": 1, "characters": 3},
    ),
    # Words are those of the data: 'a b' is one.
    "tags": (
        "tagging",
        5,
        {"tokens": ["ab", "zz", "c"], "tags": [LABEL["tagging"]] * 3},
        {"features": 2, "tokens": 4, "pieces": 4, "unknown": 1, "words": 3, "characters": 5},
    ),
    # Half of the room for two texts in 12 is 4: the question loses 2.
    "question that is cut": (
        "span_qa",
        12,
        {"question": "abcdef", "context": "gh ij", "answers": [{"text": "ij", "start": 3}]},
        {"tokens": 10, "cut": 1, "lost": 2, "pieces": 10, "words": 3, "characters": 10, "gold": 1},
    ),
    "answer that is part of a piece": (
        "span_qa",
        64,
        {"question": "a", "context": "bc zzz", "answers": [{"text": "zz", "start": 3}]},
        {"tokens": 4, "pieces": 4, "unknown": 1, "words": 3, "characters": 6, "gold": 1, "inexact": 1},
    ),
    "question without an answer": (
        "span_qa",
        64,
        {"question": "a", "context": "bc", "answers": []},
        {"tokens": 3, "pieces": 3, "words": 2, "characters": 3},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_counts_of_one_example(case, letters):
    kind, max_length, example, expected = CASES[case]
    assert count(kind, letters, max_length, {"id": "1"} | example) == {"examples": 1, "features": 1} | expected


def test_an_answer_longer_than_a_window_is_outside(letters):
    context = " ".join("bcdefghi")
    example = {"id": "1", "question": "a", "context": context, "answers": [{"text": context, "start": 0}]}
    found = count("span_qa", letters, 10, example)
    assert (found["gold"], found["outside"], found.get("inexact", 0)) == (1, 1, 0)
    assert found["features"] > 1 and "lost" not in found, "every token is in a window, the answer in none"


def test_a_shared_context_counts_for_each_question(letters):
    example = {"id": "1", "question": "a", "context": "bc zz", "answers": []}
    once, thrice = count("span_qa", letters, 64, example), count("span_qa", letters, 64, *[example] * 3)
    assert thrice == {name: 3 * number for name, number in once.items()}


def test_counts_add_up(tokenizer, tmp_path):
    (cell,) = parse_cells("world_qa.dev.qdt")
    whole, first, second = (
        prepare(Part(cell, *part, 24), tokenizer, tmp_path) for part in ((0, 50), (0, 20), (20, 30))
    )
    assert first.counts + second.counts == whole.counts
    assert (whole.counts.examples, whole.counts.features) == (50, whole.features) and whole.counts.gold == 50
    assert load(whole.cell, whole.path).counts == whole.counts


def made(cell, counts, folder, max_length=64):
    nothing = [0] * counts.features
    return Prepared(*parse_cells(cell), folder / cell, "", counts, max_length, 1, nothing, nothing)


def test_shares_of_a_row(tmp_path):
    counts = TokenCounts(
        examples=4,
        features=6,
        tokens=200,
        cut=1,
        lost=5,
        pieces=90,
        unknown=9,
        words=30,
        characters=60,
        gold=4,
        outside=1,
    )
    english, thai = (row_of(made(f"udpos.test.{code}", counts, tmp_path)) for code in ("en", "th"))
    assert (english["inputs_per_example"], english["cut"], english["lost"]) == (1.5, 25.0, 2.5)
    assert (english["unknown"], english["outside"], english["inexact"]) == (10.0, 25.0, 0.0)
    assert (english["pieces_per"], english["unit"], thai["pieces_per"], thai["unit"]) == (3.0, "word", 1.5, "character")
    empty = row_of(made("udpos.test.en", TokenCounts(), tmp_path))
    assert [empty[name] for name in ("cut", "lost", "pieces_per", "unknown", "outside")] == [None] * 5


def test_the_report_is_a_table_and_json(tmp_path):
    counts = TokenCounts(examples=4, features=6, tokens=200, pieces=90, words=30, characters=60)
    cells = [made(cell, counts, tmp_path) for cell in ("udpos.test.th", "squad.dev.en", "udpos.test.en")]
    text = write_report(cells, tmp_path / "prepared")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1, "the columns are aligned"
    assert [line.split()[1] for line in table[2:]] == ["squad.dev.en", "udpos.test.en", "udpos.test.th"]
    assert (tmp_path / "prepared/report.md").read_text(encoding="utf-8") == text
    rows = json.loads((tmp_path / "prepared/report.json").read_text())
    assert [row["cell"] for row in rows] == ["squad.dev.en", "udpos.test.en", "udpos.test.th"]
    assert rows[0]["counts"]["tokens"] == 200 and rows[0]["outside"] is None
    assert all(f"`{word}" in token_report.NOTE for word in "cut lost pieces unknown outside inexact".split())


def test_padding_is_the_tokenizers(tokenizer, tmp_path):
    prepared = prepare(Part(*parse_cells("world_choice.dev.qen"), 0, 5, 64), tokenizer, tmp_path)
    assert prepared.pad == prepared.table["input_ids"].pad == tokenizer.pad == 1
    other = dataclasses.replace(prepared, pad=7)
    assert other.table["input_ids"].pad == 7 and other.table["label"] == prepared.table["label"]
