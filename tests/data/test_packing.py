"""Packed batches: rows without waste, and in them the same examples that were prepared, each once an epoch."""

import collections
import itertools
import pickle

import numpy as np
import pytest

from xling_jax.data import order as module
from xling_jax.data.batches import Batches, BatchPlan, examples_of_step, group_cells, stream
from xling_jax.data.formats import format_of
from xling_jax.data.order import Draws, Packed, _rows_of_batch, interleave
from xling_jax.data.packing import count_rows, pack, room_of
from xling_jax.data.prepare import Records, prepare
from xling_jax.experiment import Part
from xling_jax.tables.kinds import SHORTEST
from xling_jax.tables.tasks import parse_cells

ROOM = 64
CELLS = {
    "pair_classification": ("world_nli.dev.qen", 200),
    "tagging": ("world_pos.dev.qen", 150),
    "span_qa": ("world_qa.dev.qen", 100),
    "mlm": ("world_text.train.qen", 200),
}


@pytest.fixture(scope="module")
def open_cell(tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    return lambda text, count: prepare(Part(*parse_cells(text), 0, count, ROOM), tokenizer, root)


@pytest.fixture(scope="module")
def cells(open_cell):
    return {kind: open_cell(*cell) for kind, cell in CELLS.items()}


def batches(cells, steps=20, epochs=0.0, mixing="proportional", **changed):
    names = {"batch_size": 24, "seed": 3, "buckets": (ROOM,), "packing": True}
    plan = BatchPlan(**{name: changed.pop(name, value) for name, value in names.items()})
    rates = [cell.features if mixing == "proportional" else 1.0 for cell in cells]
    if epochs:
        steps = round(epochs * sum(cell.features for cell in cells) / examples_of_step(cells, rates, plan))
    return Batches(cells, rates=rates, plan=plan, steps=steps, **changed)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# ---- which examples share a row ------------------------------------------------------------


def first_fit_decreasing(lengths, room):
    """The textbook's algorithm, example by example."""
    rows = []
    for length in sorted((max(length, SHORTEST) for length in lengths), reverse=True):
        row = next((row for row in rows if sum(row) + length <= room), None)
        if row is None:
            rows.append(row := [])
        row.append(length)
    return sorted(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("most", "room"), [(6, 12), (64, 64), (30, 64), (90, 128)])
def test_rows_are_those_of_first_fit_decreasing(seed, most, room):
    lengths = np.random.default_rng(seed).integers(1, most + 1, 150)
    row_of = pack(lengths, room)
    rows = collections.defaultdict(list)
    for length, row in zip(room_of(lengths).tolist(), row_of.tolist(), strict=True):
        rows[row].append(length)
    assert sorted(sorted(row, reverse=True) for row in rows.values()) == first_fit_decreasing(lengths, room)
    assert sorted(rows) == list(range(count_rows(lengths, room)))


def test_packing_nothing_and_one():
    assert count_rows(np.zeros(0, int), 64) == 0
    assert pack(np.array([64]), 64).tolist() == [0]
    assert pack(np.array([1] * 11), 64).tolist() == [0] * 10 + [1], "a row of 64 has at most 64 // SHORTEST examples"


@pytest.mark.parametrize(
    ("examples", "per_row"), [*itertools.product([1, 8, 32, 100, 256, 1024], [1.0, 2.7, 3.4, 6.1])]
)
def test_rows_of_a_batch_are_about_its_examples(examples, per_row):
    rows, exact = _rows_of_batch(examples, per_row), examples / per_row
    assert abs(rows - exact) <= max(exact / 16, 0.5) or rows == 1
    assert rows < 128 or rows % 16 == 0, "a large batch is a number that meshes divide"


# ---- the order -----------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [[1.0], [5, 3, 2], [1000, 1], [0.1, 0.2, 0.7]])
def test_draws_from_the_middle_are_those_of_the_whole(rates):
    whole = interleave(rates, 1000)
    for first in (0, 1, 2, 7, 333, 998):
        before, middle = module._interleave(rates, first, min(100, 1000 - first))
        assert np.array_equal(middle, whole[first : first + 100])
        assert np.array_equal(before, np.bincount(whole[:first], minlength=len(rates)))


@pytest.mark.parametrize("window", [16, 50, 4096])
def test_an_epoch_has_every_example_once(cells, monkeypatch, window):
    monkeypatch.setattr(module, "PACKED", window)
    parts = cells["pair_classification"], cells["span_qa"]
    draws = Draws([part.lengths_N for part in parts], [part.features for part in parts], 3)
    order = Packed(draws, 24, 0, ROOM)
    size = sum(part.features for part in parts)
    found, at = [], 0
    while sum(map(len, found)) < 3 * size:
        rows = order.window(at)
        found.append(list(zip(rows.source_N.tolist(), rows.number_N.tolist(), strict=True)))
        at += 1
    drawn = list(itertools.chain(*found))
    for epoch in range(3):
        here = drawn[epoch * size : (epoch + 1) * size]
        assert len(set(here)) == len(here) == size, f"epoch {epoch}"
    assert drawn[:size] != drawn[size : 2 * size], "another epoch has another order"
    assert max(map(len, found)) <= window


@pytest.mark.parametrize("batch_size", [5, 24, 60])
def test_a_stage_has_about_an_epoch(cells, batch_size):
    cell = cells["pair_classification"]
    source = batches([cell], batch_size=batch_size, epochs=2.0)
    names = collections.Counter(name for step in range(len(source)) for name in source.identify(step))
    per_step = sum(names.values()) / len(source)
    assert abs(per_step - batch_size) <= max(batch_size / 16, 1.5), "examples of a step"
    assert abs(sum(names.values()) - 2 * cell.features) <= per_step, "two epochs, to within a step"
    assert set(names.values()) <= {1, 2, 3}


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("mixing", ["proportional", "uniform"])
def test_examples_are_drawn_at_their_rates(cells, mixing, packing):
    """Heads take turns by the batch, and packed batches of two heads differ a little in size."""
    parts = [cells["pair_classification"], cells["span_qa"]]
    source = batches(parts, steps=60, mixing=mixing, packing=packing)
    drawn = collections.Counter(name.partition(".")[0] for step in range(60) for name in source.identify(step))
    share = parts[0].features / (parts[0].features + parts[1].features) if mixing == "proportional" else 0.5
    assert abs(drawn["world_nli"] / sum(drawn.values()) - share) < 1 / 60, "to within a batch of 60"
    assert share != 0.5 or mixing == "uniform"


def test_seeds_and_epochs_differ(cells):
    cell = cells["pair_classification"]

    def names(seed):
        return [tuple(batches([cell], steps=8, seed=seed).identify(step)) for step in range(8)]

    assert names(3) == names(3) and set(names(3)).isdisjoint(names(4))


# ---- what stands in the rows ---------------------------------------------------------------


def segments_of(batch):
    """Yields (index, {name: array}) of the examples of a packed batch, taken apart again."""
    for row, slot in itertools.product(range(len(batch["first"])), range(batch["first"].shape[1])):
        inside = batch["segments"][row] == slot + 1
        if inside.any():
            positions = batch["positions"][row][inside]
            assert np.array_equal(positions, np.arange(inside.sum())), "positions from 0 in each segment"
            assert np.flatnonzero(inside)[0] == batch["first"][row, slot]
            assert np.ptp(np.flatnonzero(inside)) == inside.sum() - 1, "a segment is whole"
            found = {}
            for name, value in batch.items():
                if name not in ("segments", "positions", "first", "index"):
                    found[name] = value[row][inside] if value.shape[1] == ROOM else value[row, slot]
            yield int(batch["index"][row, slot]), found


@pytest.mark.parametrize("kind", CELLS)
def test_segments_are_the_examples_that_identify_names(cells, kind):
    cell = cells[kind]
    known = collections.defaultdict(list)
    for number, feature in zip(cell.example_N, Records(cell).read(list(range(cell.features))), strict=True):
        known[f"{cell.cell}#{number}"].append(feature)
    source = batches([cell], steps=10)
    for step in range(10):
        head, batch = source[step]
        assert head == cell.cell.task
        found = list(segments_of(batch))
        assert [index for index, _ in found] == list(range(len(found))), "numbered through the global batch"
        for (_, segment), name in zip(found, source.identify(step), strict=True):
            assert any(same(segment, feature) for feature in known[name]), f"{name} of step {step}"
        nothing = batch["segments"].max(axis=1)[:, None] <= np.arange(ROOM // SHORTEST)[None]
        for name, spec in format_of(kind).FEATURES.items():
            if "L" in spec.axes:
                assert (batch[name][batch["segments"] == 0] == spec.pad).all(), name
            else:
                assert (batch[name][nothing] == -1).all(), f"{name}: what is not there is not scored"


def test_one_shape_for_a_stage(cells):
    for kind, cell in cells.items():
        source = batches([cell], steps=20)
        shapes = {tuple((name, value.shape) for name, value in source[step][1].items()) for step in range(20)}
        assert len(shapes) == 1, kind


def test_tasks_of_one_head_mix_in_a_row(cells, open_cell, monkeypatch):
    other = open_cell("world_ner.dev.qda", 150)
    assert len(group_cells([cells["tagging"], other], [1, 1])) == 2
    row = type(other.cell.row)
    monkeypatch.setattr(row, "head_name", property(lambda self: "tags"))
    assert len(group_cells([cells["tagging"], other], [1, 1])) == 1
    source = batches([cells["tagging"], other], steps=5)
    for step in range(5):
        head, _ = source[step]
        assert head == "tags"
        assert {name.partition(".")[0] for name in source.identify(step)} == {"world_pos", "world_ner"}


def test_choices_are_not_packed_and_not_mixed_with_fewer_choices(open_cell, cells, monkeypatch):
    choice = open_cell("world_choice.dev.qen", 15)
    source = batches([choice, cells["tagging"]], steps=20, buckets=(16, 32, ROOM))
    found = dict(source[step] for step in range(20))
    assert "first" not in found["world_choice"] and found["world_choice"]["input_ids"].ndim == 3
    assert "first" in found["world_pos"]
    two = type(choice)(**{**vars(choice), "choices": 2})
    assert [len(part) for part, _ in group_cells([choice, two, choice], [1, 1, 1])] == [1, 2]


# ---- who asks ------------------------------------------------------------------------------


def all_cells(cells):
    return list(cells.values())


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("window", [20, 4096])
def test_resuming_at_every_step(cells, monkeypatch, threads, window):
    monkeypatch.setattr(module, "PACKED", window)
    source = batches(all_cells(cells), steps=12)
    whole = [source[step] for step in range(12)]
    for start in range(13):
        found = list(stream(batches(all_cells(cells), steps=12), start, threads))
        assert len(found) == 12 - start
        for (head, batch), (expected_head, expected) in zip(found, whole[start:], strict=True):
            assert head == expected_head and same(batch, expected), f"resumed at {start}"


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_put_together_are_the_batch(cells, monkeypatch, hosts, multiple):
    monkeypatch.setattr(module, "PACKED", 50)
    whole = batches(all_cells(cells), multiple=multiple)
    shares = [batches(all_cells(cells), multiple=multiple, host=host, hosts=hosts) for host in range(hosts)]
    for step in range(len(whole)):
        head, expected = whole[step]
        found = [share[step] for share in shares]
        assert {name for name, _ in found} == {head}
        assert same({name: np.concatenate([rows[name] for _, rows in found]) for name in expected}, expected), step
        assert all(share.identify(step) == whole.identify(step) for share in shares)
        assert len(expected["input_ids"]) % multiple == 0


def test_a_mesh_changes_no_example(cells):
    alone, filled = (batches(all_cells(cells), multiple=multiple) for multiple in (1, 8))
    for step in range(20):
        assert alone.identify(step) == filled.identify(step)
        (_, one), (_, other) = alone[step], filled[step]
        rows = len(one["input_ids"])
        assert same(one, {name: value[:rows] for name, value in other.items()})
        assert not other["segments"][rows:].any()


def test_a_host_reads_its_own_rows_only(cells, monkeypatch):
    read = []
    original = Records.bytes
    monkeypatch.setattr(Records, "bytes", lambda self, numbers: read.extend(numbers) or original(self, numbers))
    cell = cells["pair_classification"]
    counts = []
    for hosts in (1, 4):
        read.clear()
        source = batches([cell], steps=8, batch_size=24, multiple=4, host=0, hosts=hosts)
        list(stream(source))
        counts.append(len(read))
    assert counts[1] < 0.4 * counts[0], counts


def test_batches_can_be_sent_to_another_process(cells):
    source = batches(all_cells(cells), steps=4)
    source[0]
    again = pickle.loads(pickle.dumps(source))
    assert all(same(again[step][1], source[step][1]) for step in range(4))
