"""Prepared cells: the name says what is in them, and what is not whole is never taken for it."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from xling_jax.data import prepare as module
from xling_jax.data.formats import format_of
from xling_jax.data.prepare import Prepared, Records, load, prepare, raw_examples
from xling_jax.data.records import pack_feature, unpack_feature
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.tables.tasks import TASKS, Cell, Split, parse_cells

ROOT = pathlib.Path(__file__).resolve().parents[2]
TAMIL = Part(Cell("udpos", "test", "ta"), 0, 0, 16)


def part(text="world_pos.dev.qen", first=0, count=20, max_length=12):
    return Part(*parse_cells(text), first, count, max_length)


def write_tamil(folder, content="a\tNOUN\nb\tVERB\n\nc\tX\n\nd\tX\n"):
    (folder / "udpos").mkdir(parents=True, exist_ok=True)
    (folder / "udpos/test-ta.tsv").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def prepared(tokenizer, tmp_path) -> Prepared:
    return prepare(part(), tokenizer, tmp_path / "prepared")


def test_what_is_prepared_is_what_the_format_makes(prepared, tokenizer):
    make = format_of("tagging").features
    examples = list(raw_examples(part(), None))
    expected = [(n, f) for n, example in enumerate(examples) for f in make(example, tokenizer, 12, TASKS["world_pos"])]
    found = Records(prepared).read(list(range(prepared.features)))
    assert prepared.examples == len(examples) == 20 and prepared.raw() == examples
    assert prepared.features == len(expected) > 20, "a sentence of more than 12 pieces is there"
    assert prepared.example_N.tolist() == [number for number, _ in expected]
    assert prepared.lengths_N.tolist() == [len(feature["input_ids"]) for _, feature in expected]
    for feature, (_, other) in zip(found, expected, strict=True):
        assert feature.keys() == other.keys()
        assert all(np.array_equal(feature[name], other[name]) for name in feature)


def test_records_come_in_the_order_asked_for(prepared):
    every = Records(prepared).read(list(range(prepared.features)))
    for number, feature in zip([7, 0, 7, 19], Records(prepared).read([7, 0, 7, 19]), strict=True):
        assert np.array_equal(feature["input_ids"], every[number]["input_ids"])


def test_a_part_is_a_slice_of_its_cell(tokenizer, tmp_path, prepared):
    middle = prepare(part(first=5, count=3), tokenizer, tmp_path)
    assert middle.raw() == prepared.raw()[5:8]
    assert prepare(part(first=298, count=9), tokenizer, tmp_path).examples == 2, "a count is a limit"
    assert prepare(part("world_pos.train.qen", count=2), tokenizer, tmp_path).raw() == [], "training keeps no text"


def test_the_name_changes_with_the_content(tokenizer, tmp_path, monkeypatch):
    root, data = tmp_path / "prepared", write_tamil(tmp_path / "data")
    row = TASKS["udpos"]

    def name(part=TAMIL, vocabulary=tokenizer, data_dir=data):
        return prepare(part, vocabulary, root, data_dir).path.name

    names = {
        "first": name(),
        "text": name(data_dir=write_tamil(tmp_path / "other", "a\tNOUN\nB\tVERB\n")),
        "vocabulary": name(vocabulary=PieceTokenizer(["a", "b"])),
        "length": name(dataclasses.replace(TAMIL, max_length=17)),
        "begin": name(dataclasses.replace(TAMIL, first=1)),
        "count": name(dataclasses.replace(TAMIL, count=1)),
    }
    with monkeypatch.context() as changed:
        changed.setitem(TASKS, "udpos", dataclasses.replace(row, labels=row.labels[::-1]))
        names["row"] = name()
    with monkeypatch.context() as changed:
        changed.setattr(module, "FORMAT_VERSION", -1)
        names["format"] = name()
    assert len(set(names.values())) == len(names), names
    assert all(found.startswith("udpos.test.ta-") for found in names.values())
    assert {path.name for path in root.iterdir()} == set(names.values()), "no drafts"


def test_the_name_does_not_change_with_what_is_not_in_it(tokenizer, tmp_path, monkeypatch):
    first = prepare(TAMIL, tokenizer, tmp_path / "prepared", write_tamil(tmp_path / "data"))
    moved = write_tamil(tmp_path / "moved")
    (moved / "udpos/test-ta.tsv").rename(moved / "tamil.tsv")
    beside = {"licence": "another", "source": "elsewhere", "head": "tags", "scorer": "another", "train_from": "x.y.z"}
    row = dataclasses.replace(TASKS["udpos"], splits={"test": Split("tamil.tsv", "ta")}, **beside)
    monkeypatch.setitem(TASKS, "udpos", row)
    elsewhere = prepare(TAMIL, tokenizer, tmp_path / "elsewhere", moved)
    assert elsewhere.path.name == first.path.name


def test_what_is_there_is_not_made_again(prepared, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("it was made again"))
    again = prepare(part(), tokenizer, tmp_path / "prepared")
    assert again.path == prepared.path and np.array_equal(again.lengths_N, prepared.lengths_N)


def test_the_slower_of_two_uses_what_the_faster_made(tokenizer, tmp_path, monkeypatch):
    write, made = module._write, []

    def write_slowly(*args):
        monkeypatch.setattr(module, "_write", write)
        made.append(prepare(part(), tokenizer, tmp_path))
        (made[0].path / "mark").touch()
        return write(*args)

    monkeypatch.setattr(module, "_write", write_slowly)
    slower = prepare(part(), tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [slower.path.name] == [made[0].path.name]
    assert (slower.path / "mark").exists(), "the faster one's folder was replaced"


PROGRAM = """
import pathlib, sys, time
from xling_jax import world
from xling_jax.data.prepare import Records, prepare
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Part
from xling_jax.tables.tasks import Cell
root, me = pathlib.Path(sys.argv[1]), sys.argv[2]
(root / f"ready-{me}").touch()
while len(list(root.glob("ready-*"))) < 2:
    time.sleep(0.001)
prepared = prepare(Part(Cell("world_qa", "dev", "qen"), 0, 100, 64), PieceTokenizer(world.pieces()), root / "prepared")
print(prepared.path.name, sum(int(feature["input_ids"].sum()) for feature in Records(prepared).read(list(range(100)))))
"""


def test_two_processes_at_once(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    both = [subprocess.Popen([*command, me], cwd=ROOT, stdout=subprocess.PIPE, text=True) for me in "ab"]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] != ""
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [said[0].split()[0]]


def test_a_writer_that_fails_leaves_nothing(tokenizer, tmp_path, monkeypatch):
    packed = []

    def pack_four(feature, table):
        packed.append(feature)
        if len(packed) > 4:
            raise OSError("disk full")
        return pack_feature(feature, table)

    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk full"):
        broken.setattr(module, "pack_feature", pack_four)
        prepare(part(), tokenizer, tmp_path)
    assert len(packed) == 5 and list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_not_taken_for_whole(prepared, tokenizer, tmp_path):
    whole = prepared.path
    draft = whole.rename(whole.with_name(f".{whole.name}.0123"))
    (draft / "data.arrayrecord").write_bytes(b"half")
    again = prepare(part(), tokenizer, tmp_path / "prepared")
    assert again.path == whole and len(Records(again).read(list(range(again.features)))) == prepared.features
    assert (draft / "data.arrayrecord").read_bytes() == b"half", "another process may still be at it"


DAMAGES = {"gone": lambda data: None, "empty": lambda data: b"", "cut": lambda data: data[: len(data) // 2]}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["meta.json", "index.npz", "data.arrayrecord", "examples.jsonl"])
def test_a_damaged_folder_is_named(prepared, name, damage):
    file = prepared.path / name
    left = DAMAGES[damage](file.read_bytes())
    file.unlink() if left is None else file.write_bytes(left)
    with pytest.raises(DataError) as caught:
        load(prepared.cell, prepared.path).raw()
    asked, allowed, where = str(caught.value).split("\n")
    assert asked.startswith(f"The prepared cell {prepared.path} is damaged (")
    assert allowed.startswith("Allowed: ") and where.startswith("Delete that folder;")


def test_a_changed_byte_is_noticed(prepared):
    file = prepared.path / "data.arrayrecord"
    data = bytearray(file.read_bytes())
    record = Records(prepared).bytes([3])[0]
    data[bytes(data).index(record) + len(record) // 2] ^= 1
    file.write_bytes(data)
    records = Records(load(prepared.cell, prepared.path))
    assert len(records.read([0, 1, 2])) == 3
    with pytest.raises(DataError, match="is damaged"):
        records.read([3])


SHAPES = {"mlm": (5,), "pair_classification": (7,), "span_qa": (6,), "tagging": (3,), "multiple_choice": (3, 4)}


@pytest.mark.parametrize("kind", SHAPES)
def test_a_feature_survives_packing(kind):
    table = format_of(kind).FEATURES
    sizes = dict(zip("LC", reversed(SHAPES[kind]), strict=False))
    shapes = {name: [sizes.get(axis) or int(axis) for axis in spec.axes] for name, spec in table.items()}
    rng = np.random.default_rng(0)
    feature = {name: rng.integers(-9, 2**31 - 1, shape).astype(np.int32) for name, shape in shapes.items()}
    found = unpack_feature(pack_feature(feature, table), table)
    assert list(found) == list(table)
    for name in table:
        assert found[name].dtype == np.int32 and np.array_equal(found[name], feature[name])
    with pytest.raises(ValueError, match="words"):
        unpack_feature(pack_feature(feature, table)[:-4], table)


def test_a_part_beyond_the_end_is_an_error(tokenizer, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare(part(first=300), tokenizer, tmp_path)
    assert "world_pos.dev.qen has no examples from number 300 on" in str(caught.value)
    assert "limits" in str(caught.value) and list(tmp_path.iterdir()) == []
