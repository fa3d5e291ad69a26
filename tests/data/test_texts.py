"""Texts in rows to be read: every text of a cell once, its own tokens, and what an evaluator knows of them beside."""

import collections
import itertools
import weakref

import numpy as np
import pytest

from xling_jax.data import texts as module
from xling_jax.data.formats import format_of
from xling_jax.data.packing import count_rows
from xling_jax.data.prepare import Records, prepare
from xling_jax.data.records import Block, Texts, pack_feature
from xling_jax.data.texts import BESIDE, in_rows, rows_of, shapes, tokens_of, with_company
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells

CELLS = ("world_nli.dev.qen", "world_choice.dev.qda", "world_qa.dev.qen", "world_pos.dev.qen", "world_parallel.dev.qda")
COUNT = 60


@pytest.fixture(scope="module")
def open_cell(tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    return lambda text, length=48: prepare(Part(*parse_cells(text), 0, COUNT, length), tokenizer, root)


def texts_of(prepared):
    """Returns {number of a text: {array: entries of its tokens}}, read one feature at a time."""
    found = {}
    for at, feature in enumerate(Records(prepared).read(list(range(prepared.features)))):
        if not prepared.texts:
            found[at] = {name: feature[name] for name in ("input_ids", *BESIDE) if name in feature}
            continue
        for which, length in enumerate(feature["lengths"].tolist()):
            found[at * prepared.choices + which] = {"input_ids": feature["input_ids"][which, :length]}
    return found


def read_back(batches):
    """Returns the same of packed rows, by the cell's key, and checks what the rows say of themselves.

    The numbers of a batch's pieces are those of its segments, cell by cell.
    """
    cells = collections.defaultdict(dict)
    for asked in batches:
        batch = asked.arrays
        there = np.argwhere(batch["index"] >= 0)
        there = there[np.argsort(batch["cell"][tuple(there.T)], kind="stable")]
        assert np.concatenate([numbers for _, numbers in asked.pieces]).tolist() == [
            batch["index"][row, slot] for row, slot in there
        ]
        keys = [key for key, numbers in asked.pieces for _ in numbers]
        assert len({key for key, _ in asked.pieces}) == len(asked.pieces), "a cell is one piece of a batch"
        inside = np.zeros(batch["segments"].shape, bool)
        for key, (row, slot) in zip(keys, there, strict=True):
            found = cells[key]
            first, length = batch["first"][row, slot], batch["lengths"][row, slot]
            part = slice(first, first + length)
            assert not inside[row, part].any(), "two texts in one place"
            inside[row, part] = True
            assert (batch["segments"][row, part] == slot + 1).all()
            assert batch["positions"][row, part].tolist() == list(range(length))
            number = int(batch["index"][row, slot])
            assert number not in found, "a text comes once"
            found[number] = {name: batch[name][row, part] for name in ("input_ids", *BESIDE) if name in batch}
        assert ((batch["segments"] > 0) == inside).all() and (batch["input_ids"][~inside] == 1).all()
        assert all((batch[name][~inside] == -1).all() for name in BESIDE if name in batch)
    return cells


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for number, arrays in wanted.items():
        assert arrays.keys() == found[number].keys()
        for name, entries in arrays.items():
            np.testing.assert_array_equal(found[number][name], entries)


@pytest.mark.parametrize("window", [100, 1000, 1 << 20])
@pytest.mark.parametrize("text", CELLS)
def test_every_text_is_read_once_with_its_own_tokens(text, window, open_cell, monkeypatch):
    """Windows of seven features, whose last rows wait for the next window, of a few dozen, and of all."""
    monkeypatch.setattr(module, "READ", 7)
    monkeypatch.setattr(module, "WINDOW", window)
    cell = open_cell(text)
    batches = list(in_rows([("it", cell)], {24: 3, 48: 2}))
    found = read_back(batches)
    assert list(found) == ["it"]
    same(found["it"], texts_of(cell))
    shapes_found = {batch.arrays["input_ids"].shape for batch in batches}
    assert shapes_found <= {(3, 24), (2, 48)}, "one number of rows for a length"
    for batch in (asked.arrays for asked in batches):
        assert {name: batch[name].shape for name in ("input_ids", "segments", "positions", "first")} == shapes(
            *batch["input_ids"].shape
        )
        if batch["input_ids"].shape[1] == 48:
            longest_R = batch["lengths"].max(axis=1)[batch["lengths"].any(axis=1)]
            assert longest_R.min() > 24, "no long row for short texts alone"


@pytest.mark.parametrize("text", CELLS)
def test_only_the_end_of_a_cell_is_filled_up(text, open_cell):
    cell = open_cell(text)
    empty = [empty_rows(asked) for asked in in_rows([("it", cell)], {48: 4})]
    assert not any(empty[:-1]) and empty[-1] < 4
    lengths = np.array([len(arrays["input_ids"]) for arrays in texts_of(cell).values()])
    assert len(empty) == -(-count_rows(lengths, 48) // 4)


def test_a_text_that_is_as_long_as_the_row(open_cell):
    """Windows of a context are cut at 32 tokens, and many have exactly so many."""
    cell = open_cell("world_qa.dev.qen", 32)
    assert collections.Counter(cell.lengths_N.tolist())[32] > 1
    same(read_back(in_rows([("it", cell)], {31: 2, 32: 3}))["it"], texts_of(cell))


@pytest.mark.parametrize("window", [100, 2000, 1 << 20])
@pytest.mark.parametrize("rows", [{48: 1}, {48: 5}, {48: 1000}, {24: 3, 48: 2}, {24: 1000, 48: 5}])
def test_cells_are_one_stream(rows, window, open_cell, monkeypatch):
    """Of windows that are part of a cell, several cells, and all; of rows that never fill a batch, too."""
    monkeypatch.setattr(module, "READ", 7)
    monkeypatch.setattr(module, "WINDOW", window)
    given = [(language, open_cell(f"world_nli.dev.{language}")) for language in ("qen", "qda", "qen", "qnd", "qdt")]
    given = [(f"{at} {language}", cell) for at, (language, cell) in enumerate(given)]
    keys, drawn, batches = [key for key, _ in given], [], []
    most = max(tokens_of(cell) for _, cell in given)
    for asked in in_rows((drawn.append(each) or each for each in given), rows):
        batches.append(asked)
        ended = [key for batch in batches for key in batch.ended]
        assert ended == keys[: len(ended)], "in their order"
        waiting = sum(tokens_of(cell) for _, cell in drawn[len(ended) :])
        assert waiting <= 2 * (window + 7 * 64 + most), "nothing waits for more than the next window"
    found = read_back(batches)
    assert found.keys() == set(keys)
    for key, cell in given:
        same(found[key], texts_of(cell))
    last = {key: at for at, batch in enumerate(batches) for key, _ in batch.pieces}
    wanted = {key: max(last[before] for before in keys[: at + 1]) for at, key in enumerate(keys)}
    assert {key: at for at, batch in enumerate(batches) for key in batch.ended} == wanted, (
        "a cell ends with its last text, and those of the cells before it"
    )
    if rows == {48: 5} and window > 100:  # else a window has less than half a batch
        assert not any(map(empty_rows, batches[:-1])), "no rows are wasted between cells"
        assert any(len(batch.pieces) > 1 for batch in batches)


IDS = {"input_ids": format_of("pair_classification").FEATURES["input_ids"]}


class Some:
    """A prepared cell of texts of given lengths."""

    def __init__(self, lengths):
        self.lengths_N, self.features, self.choices = np.array(lengths), len(lengths), 1
        self.table = IDS


def padding(lengths, rows, monkeypatch):
    """Returns the share of places without a token, of cells whose texts have such lengths."""

    class Reader:
        def __init__(self, cell):
            self._lengths = cell.lengths_N

        def block(self, numbers):
            ids = [np.zeros(self._lengths[number], np.int32) for number in numbers]
            return Block.of([pack_feature({"input_ids": row}, IDS) for row in ids])

    monkeypatch.setattr(module, "Records", Reader)
    batches = [asked.arrays for asked in in_rows([(at, Some(cell)) for at, cell in enumerate(lengths)], rows)]
    tokens = sum(batch["lengths"].sum() for batch in batches)
    assert tokens == sum(map(sum, lengths))
    return 1 - tokens / sum(batch["input_ids"].size for batch in batches)


def test_texts_of_one_language_go_into_the_gaps_of_another(monkeypatch):
    long, short = [75, 80, 85] * 40, [40, 45, 50] * 40
    apart = [padding([cell], {128: 1}, monkeypatch) for cell in (long, short)]
    assert min(apart) > 0.05 and padding([long, short], {128: 1}, monkeypatch) < 0.03
    monkeypatch.setattr(module, "WINDOW", 80 * 40 * 3)
    assert padding([long, short], {128: 1}, monkeypatch) > 0.1, "one window for each"


def test_short_texts_go_into_the_gaps_of_long_rows(monkeypatch):
    """And into short rows where there are none."""
    cell = [300] * 20 + [80] * 30
    assert padding([cell], {384: 1}, monkeypatch) == pytest.approx(1 - sum(cell) / (384 * 23), abs=0.001)
    assert padding([cell], {128: 1, 384: 1}, monkeypatch) == pytest.approx(1 - 8400 / (384 * 20 + 128 * 10))


def test_short_texts_count_for_more(monkeypatch):
    """For what is answered of each may be large: as many are read together as of longer ones."""
    cells = [[2] * 50] * 4
    assert tokens_of(Some(cells[0])) == 50 * 64
    monkeypatch.setattr(module, "WINDOW", 100 * 64)
    keys = range(4)
    assert [*with_company(keys, [1], lambda at: Some(cells[at]))] == [0, 1]


def rows_of_texts(cells, rows):
    """Returns the rows of cells, by their keys: each a tuple of (key, number of a text)."""
    found = set()
    for asked in in_rows(cells, rows):
        index, cell = asked.arrays["index"], asked.arrays["cell"]
        keys = [key for key, _ in cells]
        for index_S, cell_S in zip(index, cell, strict=True):
            found.add(tuple((keys[at], number) for at, number in zip(cell_S, index_S, strict=True) if number >= 0))
    return found - {()}


@pytest.mark.parametrize("window", [1, 2000, 5000, 10_000, 1 << 20])
def test_cells_that_are_asked_again_have_the_company_they_had(window, open_cell, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", window)
    monkeypatch.setattr(module, "READ", 7)
    names = ("qen", "qda", "qnd", "qdt", "qdx", "qms")
    cells = {name: open_cell(f"world_nli.dev.{name}") for name in names}
    most, rows = max(map(tokens_of, cells.values())), {24: 3, 48: 2}
    assert 2000 < most < 5000, "windows that end within a cell, and others"
    whole = rows_of_texts([*cells.items()], rows)
    for asked in itertools.chain.from_iterable(itertools.combinations(names, count) for count in (1, 2, 5, 6)):
        again = [*with_company(names, asked, cells.__getitem__)]
        assert set(asked) <= set(again) and again == [name for name in names if name in again], "in their order"
        found = rows_of_texts([(name, cells[name]) for name in again], rows)
        mine = {row for row in whole if {name for name, _ in row} & set(asked)}
        assert mine <= found <= whole
        assert window > 1 or again == [*asked], "no others where each is read by itself"
        assert window < 1 << 20 or again == [*names]


def test_keys_of_cells_that_have_ended_are_let_go(open_cell, monkeypatch):
    """They are all outputs of a cell."""
    monkeypatch.setattr(module, "WINDOW", 1)

    class Key:
        pass

    alive, most = weakref.WeakSet(), 0

    def given():
        for language in ("qen", "qda", "qnd", "qdt", "qdx", "qen"):
            key = Key()
            alive.add(key)
            yield key, open_cell(f"world_nli.dev.{language}")
            del key

    for _ in in_rows(given(), {48: 5}):
        most = max(most, len(alive))
    assert most <= 3, "that of a batch, of the one before, and of what is read"


def empty_rows(asked):
    return int((asked.arrays["index"] < 0).all(axis=1).sum())


def test_fewer_choices_than_others_have():
    table = format_of("multiple_choice").FEATURES
    ids = np.arange(10, 22, dtype=np.int32).reshape(3, 4)
    features = [
        {"input_ids": ids, "lengths": np.array([4, 2, 3]), "label": np.array(0)},
        {"input_ids": ids[:2, :3], "lengths": np.array([3, 1]), "label": np.array(1)},
    ]
    block = Block.of([pack_feature(feature, table) for feature in features])
    found = Texts.of(block, table, 5, 3)
    assert found.number_T.tolist() == [15, 16, 17, 18, 19] and found.length_T.tolist() == [4, 2, 3, 3, 1]
    _, begin_T = found.begin["input_ids"]
    assert [found.words[at] for at in begin_T] == [10, 14, 18, 10, 14]


def test_rows_are_worth_their_examples():
    assert rows_of(32, 128) == 16 and rows_of(32, 384) == 6, "64 tokens an example"
    assert rows_of(32, 24) == 32 and rows_of(1, 512) == 1, "a row of its own where rows are shorter"
    assert rows_of(32, 384, 4) == 8 and rows_of(1, 128, 8) == 8, "a multiple of what a mesh divides"
