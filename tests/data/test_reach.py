"""Which gold answers pieces and windows can say, on made-up texts and on every gold answer of real ones."""

import json

import numpy as np
import pytest

from benchmarks.offsets import render
from xling_jax.data.reach import WAYS, _compare, count_ways, way
from xling_jax.data.sources import is_there, read
from xling_jax.data.tokenizers import Encoding, PieceTokenizer, load_tokenizer, train_sentencepiece
from xling_jax.tables.tasks import TASKS, parse_cells

CONTEXT = "on the ferry of 1912 sailed two cooks"
WORDS = PieceTokenizer([*CONTEXT.split(), "who"])


def gold(text, start=None):
    return {"text": text, "start": CONTEXT.index(text) if start is None else start}


def example(*golds):
    return {"id": "1", "question": "who", "context": CONTEXT, "answers": list(golds)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (gold("ferry of 1912"), "exact"),
        (gold(" ferry of "), "blank ends"),
        (gold("191"), "wider"),
        (gold("rry of 1912 sailed tw"), "wider"),
        (gold("the ferry of 1912 sailed two cooks"), "no window"),
        (gold("the ship", start=-1), "no slice"),
    ],
)
def test_ways(answer, expected):
    assert way(example(answer), answer, WORDS, 10, TASKS["squad"]) == expected


def test_invisible_ends_are_blank():
    answer = {"text": "\u200ede Norfolk\u200b", "start": 3}
    assert _compare("ir \u200ede Norfolk\u200b.", 4, 14, answer) == "blank ends"
    assert _compare("ir \u200ede Norfolk\u200b.", 4, 13, answer) == "wrong"


class Shifted(PieceTokenizer):
    """Says that every piece ends one character before it does."""

    def encode(self, text):
        made = super().encode(text)
        return Encoding(made.ids, made.spans - np.array([0, 1], np.int32))


def test_a_slice_that_lacks_a_part_is_wrong():
    shifted = Shifted([*CONTEXT.split(), "who"])
    assert way(example(gold("ferry of 1912")), gold("ferry of 1912"), shifted, 32, TASKS["squad"]) == "wrong"


def test_an_answer_is_counted_once_for_each_question():
    golds = [gold("1912"), gold("1912"), gold("two"), gold("coo")]
    made = dict(zip(WAYS, count_ways([example(*golds), example(gold("1912"))], WORDS, 32, TASKS["squad"]), strict=True))
    assert {name: count for name, count in made.items() if count} == {"exact": 3, "wider": 1}


def test_the_page_has_a_row_for_each_cell_and_a_sum():
    page = render([("a.test.th", [3, 0, 1, 0, 0, 0]), ("b.test.en", [1, 1, 0, 2, 0, 0])], [])
    assert "| a.test.th | 4 | 3 | 0 | 1 | 0 | 0 | 0 | 75.00% |" in page
    assert "| all | 8 | 4 | 1 | 1 | 2 | 0 | 0 | 50.00% |" in page


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("xquad.test.ar+de+el+en+es+hi+ru+th+tr+vi+zh", marks=pytest.mark.slow),
        "mlqa.dev.all",
        "tydiqa.train.en+ko+sw",
        pytest.param("squad.dev.en", marks=pytest.mark.slow),
    ],
)
def test_every_gold_span_is_exact_or_counted(text, data_dir, tmp_path):
    """No slice lacks a part of its answer, in any script; what is not exact is wider, or held by no window."""
    cells = [cell for cell in parse_cells(text) if is_there(cell, data_dir)]
    assert len(cells) == len(parse_cells(text))
    examples = {cell: list(read(cell, data_dir)) for cell in cells}
    contexts = sorted({made["context"] for some in examples.values() for made in some})
    train_sentencepiece(contexts[:: max(1, len(contexts) // 1000)], 8000, tmp_path / "small.model")
    tokenizer = load_tokenizer(tmp_path / "small.model")
    for cell, some in examples.items():
        counts = dict(zip(WAYS, count_ways(some, tokenizer, 384, cell.row).tolist(), strict=True))
        golds = {(made["id"], json.dumps(answer)) for made in some for answer in made["answers"]}
        assert sum(counts.values()) == len(golds)
        assert counts["wrong"] == counts["no slice"] == 0, (cell, counts)
        assert counts["exact"] > 0.85 * len(golds), (cell, counts)
