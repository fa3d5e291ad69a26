"""Batches: the same ones for whoever asks, every feature in its turn, and rows that are what they say."""

import collections
import hashlib
import itertools
import threading

import numpy as np
import pytest

from xling_jax.data import order as module
from xling_jax.data.batches import Batches, BatchPlan, bucket, in_order, stream, widen
from xling_jax.data.formats import format_of
from xling_jax.data.order import interleave
from xling_jax.data.prepare import Records, prepare
from xling_jax.data.records import Layout, lay_out
from xling_jax.experiment import Part
from xling_jax.mixing import Mixing, cell_rates
from xling_jax.tables.tasks import parse_cells

BUCKETS = (16, 24, 32, 64)
PROPORTIONAL, UNIFORM = Mixing(), Mixing("uniform")
MODES = {  # of the cells of SMALL, each an item of its own
    "proportional": PROPORTIONAL,
    "capped": Mixing(cap=20),
    "temperature": Mixing("temperature", temperature=1 / 0.3),
    "uniform": UNIFORM,
    "rates": Mixing(rates=(1.0, 2.0, 3.0, 1.5)),
}
STEPS = 12  # of a short run
SMALL = ("world_nli.dev.qen", 60), ("world_nli.dev.qda", 25), ("world_pos.dev.qen", 40), ("world_choice.dev.qen", 15)


@pytest.fixture(scope="module")
def open_cell(tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    return lambda text, count: prepare(Part(*parse_cells(text), 0, count, 64), tokenizer, root)


@pytest.fixture(scope="module")
def cells(open_cell):
    return [open_cell(*cell) for cell in SMALL]


def batches(cells, steps=24, batch_size=8, mixing=PROPORTIONAL, **changed):
    """Returns batches of cells, each of which is an item of data of its own."""
    rates = cell_rates(mixing, [cell.features for cell in cells], range(len(cells)))
    plan = BatchPlan(batch_size, changed.pop("seed", 3), changed.pop("buckets", BUCKETS), changed.pop("packing", False))
    return Batches(cells, rates=rates, plan=plan, steps=steps, **changed)


def same(one, other):
    """Says whether two (task, batch) are equal."""
    return (
        one[0] == other[0]
        and one[1].keys() == other[1].keys()
        and all(np.array_equal(one[1][name], other[1][name]) for name in one[1])
    )


def all_same(one, other):
    return all(same(*pair) for pair in itertools.zip_longest(one, other))


# ---- the order -----------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [[1.0], [1, 1], [5, 3, 2], [1000, 1], [0.1, 0.2, 0.7], [1] * 7])
def test_interleave_is_even(rates):
    draws = interleave(rates, 1000)
    shares = np.array(rates) / np.sum(rates)
    taken = np.cumsum(draws[:, None] == np.arange(len(rates)), axis=0)
    assert len(draws) == 1000
    assert (np.abs(taken - shares * np.arange(1, 1001)[:, None]) <= 1).all(), "within one draw of its share, always"


@pytest.mark.parametrize("count", [0, 1, 7, 100, 999])
def test_interleave_is_a_prefix_of_itself(count):
    assert np.array_equal(interleave([5, 3, 2.5], count), interleave([5, 3, 2.5], 1000)[:count])


def test_rates_of_many_draws():
    found = np.bincount(interleave([7, 2, 0.5, 0.5], 100_000)) / 100_000
    np.testing.assert_allclose(found, [0.7, 0.2, 0.05, 0.05], atol=1e-5)  # one draw of 100,000


def counts_of(source):
    """Returns how many examples of each cell a stage draws."""
    names = [name for step in range(len(source)) for name in source.identify(step)]
    return collections.Counter(name.partition("#")[0] for name in names)


@pytest.mark.parametrize(("mixing", "shares"), [(PROPORTIONAL, [60 / 85, 25 / 85]), (UNIFORM, [0.5, 0.5])])
def test_mixing(cells, mixing, shares):
    found = counts_of(batches(cells[:2], steps=100, mixing=mixing))
    for cell, share in zip(cells, shares, strict=False):
        assert abs(found[str(cell.cell)] - 800 * share) <= 1, found


@pytest.mark.parametrize(("mixing", "shares"), [(PROPORTIONAL, [15, 85, 40]), (UNIFORM, [1, 2, 1])])
def test_tasks_take_turns_in_proportion(cells, mixing, shares):
    source = batches(cells, steps=100, mixing=mixing)
    tasks = [source[step][0] for step in range(100)]
    order = ["world_choice", "world_nli", "world_pos"]
    for steps in (20, 50, 100):
        for name, share in zip(order, shares, strict=True):
            assert abs(tasks[:steps].count(name) - steps * share / sum(shares)) <= 1, name
    for step, name in enumerate(tasks):
        assert {found.split(".")[0] for found in source.identify(step)} == {name}, "a batch is of one task"


@pytest.mark.parametrize("batch_size", [4, 10, 25])
@pytest.mark.parametrize("count", [20, 100, 340, 500])
def test_an_epoch_has_every_feature_once(open_cell, count, batch_size):
    cell = open_cell("world_nli.dev.qnd", count)
    for epochs in (1, 3):
        steps = -(-epochs * count // batch_size)
        source = batches([cell], steps=steps, batch_size=batch_size)
        found = collections.Counter(name for step in range(steps) for name in source.identify(step))
        again = steps * batch_size - epochs * count  # to fill up the last batch
        assert sorted(found.values()) == [epochs] * (count - again) + [epochs + 1] * again


def test_a_part_of_an_epoch_has_no_feature_twice(cells):
    for steps in range(1, 8):
        source = batches(cells[:1], steps=steps)
        names = [name for step in range(steps) for name in source.identify(step)]
        assert len(set(names)) == len(names) == 8 * steps, f"{steps} of 7 steps of an epoch"


def test_epochs_and_seeds_differ(cells):
    def order(**changed):
        source = batches(cells[:1], steps=12, batch_size=10, **changed)
        return [frozenset(source.identify(step)) for step in range(12)]

    first, second = order()[:6], order()[6:]
    assert order() == order()
    assert set(order()) != set(order(seed=4)), "another seed has other batches"
    assert set(first) != set(second), "another epoch has other batches"
    assert frozenset.union(*first) == frozenset.union(*second) and len(frozenset.union(*first)) == 60


def test_cells_are_not_shuffled_alike(open_cell, monkeypatch):
    """Translations of one example have the same number, and must not be drawn together for that."""
    monkeypatch.setattr(module, "WINDOW", 1)  # nor sorted together by their length
    source = batches([open_cell("world_nli.dev.qen", 200), open_cell("world_nli.dev.qda", 200)], steps=50)
    numbers = [[name.partition("#")[2] for name in source.identify(step)] for step in range(50)]
    met = sum(len(found) - len(set(found)) for found in numbers)
    assert met < 20, f"{met} of 200 examples meet their translation; chance is about 4"


# ---- who asks ------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_resuming_at_every_step(cells, threads):
    source = batches(cells, steps=12)
    whole = list(stream(source, threads=threads))
    assert len(whole) == len(source) == 12
    assert all_same(whole, [source[step] for step in range(12)]), "Grain's order is that of the steps"
    for start in range(13):
        assert all_same(stream(batches(cells, steps=12), start, threads), whole[start:]), f"resumed at {start}"


@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("mode", MODES)
def test_every_host_resumes_at_every_step(cells, mode, hosts):
    def read(start, host):
        return list(stream(batches(cells, steps=STEPS, mixing=MODES[mode], host=host, hosts=hosts), start))

    whole = [batches(cells, steps=STEPS, mixing=MODES[mode])[step] for step in range(STEPS)]
    assert len({task for task, _ in whole}) == 3, "tasks take turns"
    assert len({batch["input_ids"].shape[-1] for _, batch in whole}) > 1, "batches are of several lengths"
    for start in range(STEPS + 1):
        shares = [read(start, host) for host in range(hosts)]
        assert all(len(share) == STEPS - start for share in shares)
        for step, (task, batch) in enumerate(whole[start:]):
            found = [share[step] for share in shares]
            together = {name: np.concatenate([rows[name] for _, rows in found]) for name in batch}
            assert {name for name, _ in found} == {task} and same((task, together), (task, batch)), (start, step)


def test_resuming_with_processes_that_read(cells):
    """Two processes, resumed in the middle; the slow test beside it has every step, mode and number of them."""
    whole = [batches(cells, steps=STEPS)[step] for step in range(STEPS)]
    assert all_same(stream(batches(cells, steps=STEPS), 3, readers=2), whole[3:])


@pytest.mark.slow  # a process takes seconds to start
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("readers", [1, 2, 4])
def test_resuming_at_every_step_with_processes_that_read(cells, readers):
    ways = itertools.cycle([{"mixing": mixing} for mixing in MODES.values()] + [{"packing": True}])
    for start, way in zip(range(STEPS + 1), ways, strict=False):
        whole = [batches(cells, steps=STEPS, **way)[step] for step in range(STEPS)]
        found = stream(batches(cells, steps=STEPS, **way), start, readers=readers)
        assert all_same(found, whole[start:]), f"resumed at {start}, {way}"


def test_a_stream_that_is_left_is_closed(cells):
    before = set(threading.enumerate())
    steps = stream(batches(cells), threads=4)
    next(steps)
    started = set(threading.enumerate()) - before
    assert started
    steps.close()
    for thread in started:
        thread.join(30)  # Grain tells its threads to end and does not wait for them
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_put_together_are_the_batch(cells, hosts):
    whole = batches(cells)
    shares = [batches(cells, host=host, hosts=hosts) for host in range(hosts)]
    for step in range(len(whole)):
        found = [share[step] for share in shares]
        assert {task for task, _ in found} == {whole[step][0]}
        together = {name: np.concatenate([rows[name] for _, rows in found]) for name in found[0][1]}
        assert same((whole[step][0], together), whole[step]), step
        assert together["index"].tolist() == list(range(8))
        assert all(share.identify(step) == whole.identify(step) for share in shares)


def pad(features, table, length):
    """Returns features padded one by one, by the table's words: what `lay_out` does at once."""
    batch = {}
    for name, spec in table.items():
        inside = [
            length if axis == "L" else size for axis, size in zip(spec.axes, features[0][name].shape, strict=True)
        ]
        batch[name] = np.full((len(features), *inside), spec.pad, np.int32)
        for row, feature in enumerate(features):
            batch[name][(row, *(slice(0, size) for size in feature[name].shape))] = feature[name]
    lengths = np.array([feature["input_ids"].shape[-1] for feature in features], np.int32)
    return {"lengths": lengths} | batch


def content(batch, row):
    """Returns what one row of a batch says, whatever it is padded to."""
    ids = batch["input_ids"][row]
    return tuple(ids[ids != 1].tolist()), *(int(batch[name][row]) for name in ("label",) if name in batch)


@pytest.mark.parametrize("threads", [1, 8])
def test_rows_are_what_identify_says(cells, threads):
    """Each row against the record that is named, read by itself, while several threads read for the batches."""
    known = collections.defaultdict(set)
    for cell in cells:
        table = format_of(cell.cell.row.kind).FEATURES
        for number, feature in zip(cell.example_N, Records(cell).read(list(range(cell.features))), strict=True):
            known[f"{cell.cell}#{number}"].add(content(pad([feature], table, 64), 0))
    source = batches(cells, steps=150)
    for step, (_, batch) in enumerate(stream(source, threads=threads)):
        for row, name in enumerate(source.identify(step)):
            assert content(batch, row) in known[name], f"row {row} of step {step} is not {name}"


# ---- padding -------------------------------------------------------------------------------


def test_bucket():
    assert [bucket(length, BUCKETS) for length in (1, 16, 17, 33, 64)] == [16, 16, 24, 64, 64]


@pytest.mark.parametrize("cell", range(len(SMALL)))
def test_padding_is_what_the_table_says(cells, cell):
    table = format_of(cells[cell].cell.row.kind).FEATURES
    records = Records(cells[cell])
    features = records.read([0, 1, 2, 3])
    block = records.block(np.arange(4))
    batch = lay_out(block, table, Layout(4, 64, np.arange(4)), cells[cell].choices)
    for name, spec in table.items():
        for row, feature in zip(batch[name], features, strict=True):
            inside = tuple(slice(0, size) for size in feature[name].shape)
            assert np.array_equal(row[inside], feature[name]), name
            outside = np.ones(row.shape, bool)
            outside[inside] = False
            assert (row[outside] == spec.pad).all() and row.dtype == np.int32, name
        assert batch[name].shape[1:] == tuple(
            64 if axis == "L" else size for axis, size in zip(spec.axes, features[0][name].shape, strict=True)
        )


@pytest.mark.parametrize("name", ["world_nli", "world_pos", "world_choice", "world_qa"])
def test_a_batch_is_widened_to_what_it_would_have_been(open_cell, name):
    cell = open_cell(f"{name}.dev.qen", 15)
    table, block, rows = format_of(cell.cell.row.kind).FEATURES, Records(cell).block(np.arange(4)), np.arange(4)
    wide, narrow = (lay_out(block, table, Layout(4, length, rows), cell.choices) for length in (64, 60))
    assert same(("", widen(narrow, table, 64)), ("", wide)) and not same(("", narrow), ("", wide))
    assert widen(wide, table, 60) is wide, "nothing is cut"


def test_packed_batches_have_one_length(cells):
    source = batches(cells[:1], packing=True)
    _, batch = source[0]
    assert same(("", source.widened(0, batch, 99)), ("", batch))


def test_seeds_have_batches_of_one_shape_or_are_known_not_to(cells):
    """Whose patterns are equal has the same head and, lengths aside, the same shapes at every step."""

    def shapes(source):
        heads = [
            (head, sorted((name, len(rows)) for name, rows in batch.items()))
            for head, batch in map(source.__getitem__, range(24))
        ]
        return heads

    sources = [batches(cells, seed=seed, packing=packing) for seed in (1, 2) for packing in (False, True)]
    sources += [batches(cells, steps=25), batches(cells, batch_size=9), batches(cells[:3])]
    assert sources[0].pattern == sources[2].pattern, "nothing is packed, and seeds are alike"
    for one, other in itertools.combinations(sources, 2):
        if one.pattern == other.pattern:
            assert shapes(one) == shapes(other)
    assert len({source.pattern for source in sources}) >= 5


def padding(source):
    """Returns the share of padding in all ids of a stage."""
    ids = [source[step][1]["input_ids"] for step in range(len(source))]
    return sum(int((x == 1).sum()) for x in ids) / sum(x.size for x in ids)


def test_buckets_pad_less(open_cell):
    cell = open_cell("world_nli.dev.qen", 500)
    longest = int(cell.lengths_N.max())
    plain = padding(batches([cell], steps=62, buckets=(64,)))
    cut = padding(batches([cell], steps=62, buckets=(longest,)))
    bucketed = padding(batches([cell], steps=62, buckets=(*range(8, longest, 4), longest)))
    assert plain > cut > 2 * bucketed, (plain, cut, bucketed)


# ---- evaluation ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_in_order_covers_everything_and_fills_up(cells, batch_size):
    cell = cells[0]
    records = Records(cell)
    seen, lengths = [], []
    ended = []
    for asked in in_order([("it", cell)], batch_size, BUCKETS):
        ((key, numbers),), batch = asked.pieces, asked.arrays
        assert key == "it" and asked.count == len(numbers)
        ended.append(list(asked.ended))
        assert len(batch["input_ids"]) == batch_size, "every batch is full"
        features = records.read([*numbers.tolist(), *[int(numbers[-1])] * (batch_size - len(numbers))])
        length = batch["input_ids"].shape[1]
        assert length == bucket(int(cell.lengths_N[numbers].max()), BUCKETS)
        assert same(("", batch), ("", pad(features, format_of("pair_classification").FEATURES, length)))
        seen += numbers.tolist()
        lengths.append(length)
    assert sorted(seen) == list(range(cell.features))
    assert lengths == sorted(lengths), "the shortest come first"
    assert ended == [[]] * (len(ended) - 1) + [["it"]]


def test_cells_in_order_come_one_after_another(cells):
    asked = list(in_order(enumerate(cells), 7, BUCKETS))
    keys = [batch.pieces[0][0] for batch in asked]
    assert keys == sorted(keys) and [key for batch in asked for key in batch.ended] == list(range(len(cells)))
    assert all(batch.ended == [batch.pieces[0][0]] for batch in asked if batch.ended)


def test_the_order_of_a_stage_is_golden(cells):
    """Fails when the order of training changes: then no earlier run can be repeated or resumed exactly."""
    names = [name for step in range(24) for name in batches(cells).identify(step)]
    found = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    assert found == "6905bfde7c88a6c5", (
        "The order has changed, or the generated world has. If that was meant, raise STAGE_VERSION in "
        "xling_jax/stages/plan.py or the world's VERSION, and write the new hash here."
    )
