"""Where files lie: beside each other or in an archive; what is said when they are not there."""

import hashlib
import pathlib
import sys
import tarfile
import types

import pytest

from xling_jax.data.sources import checksum, paths, read
from xling_jax.errors import DataError
from xling_jax.tables.tasks import TASKS, Cell, cells

TAMIL = Cell("udpos", "test", "ta")
CONTENT = "a\tNOUN\n"


def write(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def archive(folder, members):
    """Packs {name: content} into extras/udpos.tar.xz."""
    (folder / "extras").mkdir(exist_ok=True)
    with tarfile.open(folder / "extras/udpos.tar.xz", "w:xz") as tar:
        for name, content in members.items():
            write(folder / "packed", content)
            tar.add(folder / "packed", name)


def test_an_archive_stands_in_for_a_file(tmp_path):
    archive(tmp_path, {"udpos/test-ta.tsv": CONTENT, "udpos/test-te.tsv": "b\tVERB\n"})
    assert [example["tokens"] for example in read(TAMIL, tmp_path)] == [["a"]]
    assert [example["tags"] for example in read(Cell("udpos", "test", "te"), tmp_path)] == [["VERB"]]
    packed = checksum(TAMIL, tmp_path)
    write(tmp_path / "udpos/test-ta.tsv")
    assert checksum(TAMIL, tmp_path) == packed == hashlib.sha256(CONTENT.encode()).hexdigest()
    write(tmp_path / "udpos/test-ta.tsv", "plain\tX\n")
    assert next(read(TAMIL, tmp_path))["tokens"] == ["plain"], "the plain file comes first"
    assert checksum(TAMIL, tmp_path) != packed


def test_a_broken_line_in_an_archive_is_named(tmp_path):
    archive(tmp_path, {"udpos/test-ta.tsv": "a\n"})
    with pytest.raises(DataError, match=r"extras/udpos\.tar\.xz/udpos/test-ta\.tsv:1: 1 column"):
        list(read(TAMIL, tmp_path))


@pytest.mark.parametrize("lost", [1, 40, 150])
def test_a_truncated_archive_is_an_error(lost, tmp_path):
    archive(tmp_path, {"udpos/test-ta.tsv": CONTENT * 1000})
    path = tmp_path / "extras/udpos.tar.xz"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"udpos\.tar\.xz is not a whole \.tar\.xz archive"):
        read(TAMIL, tmp_path)


@pytest.mark.parametrize("get", [read, checksum])
def test_missing_data_says_what_was_expected_and_where_to_say_it(get, tmp_path):
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as caught:
            get(TAMIL, folder)
        message = str(caught.value)
        assert "'udpos.test.ta'" in message and "<data folder>/udpos/test-ta.tsv" in message
        assert "extras/udpos.tar.xz" in message and "--data_dir" in message and "XLING_DATA" in message
    archive(tmp_path, {"udpos/test-te.tsv": CONTENT})
    with pytest.raises(DataError, match=r"has no member udpos/test-ta\.tsv"):
        get(TAMIL, tmp_path)


def test_the_checksum_of_two_files_is_of_both(tmp_path):
    cell = Cell("tatoeba", "test", "sw")
    assert paths(cell) == ("tatoeba/v1/tatoeba.swh-eng.swh", "tatoeba/v1/tatoeba.swh-eng.eng")
    for path in paths(cell):
        write(tmp_path / path, "a\n")
    before = checksum(cell, tmp_path)
    write(tmp_path / paths(cell)[1], "b\n")
    assert checksum(cell, tmp_path) != before


def test_the_world_is_asked_for_its_examples(monkeypatch):
    world = types.ModuleType("xling_jax.world")
    world.__dict__.update(VERSION="7", read=lambda *asked: [{"id": "1", "asked": asked}])
    monkeypatch.setitem(sys.modules, "xling_jax.world", world)
    (cell,) = cells("world_pos", "test", "qda")
    assert next(read(cell, None))["asked"] == ("world_pos", "test", "qda", 300)
    assert paths(cell) == ()
    first = checksum(cell, None)
    assert first == checksum(cell, pathlib.Path("ignored")) != checksum(Cell("world_pos", "dev", "qda"), None)
    world.__dict__["VERSION"] = "8"
    assert checksum(cell, None) != first


@pytest.mark.parametrize("name", TASKS)
def test_every_cell_has_whole_paths(name):
    for split in TASKS[name].splits:
        for cell in cells(name, split):
            assert all(path and "{" not in path and not path.startswith("/") for path in paths(cell))
