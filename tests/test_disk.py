"""Files are whole or not there; a disk without room is an error that says so."""

import errno
import os
import pathlib

import pytest

from xling_jax import cli, disk
from xling_jax.errors import DiskError


def full(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture
def no_space(monkeypatch):
    """Lets a file take three bytes, and no more."""

    def write(path, content):
        with open(path, "wb") as file:
            file.write(content[:3])
        raise full()

    monkeypatch.setattr(pathlib.Path, "write_bytes", write)


def test_a_file_is_written_with_its_folder(tmp_path):
    disk.write_text(tmp_path / "a" / "b.txt", "ä\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\xc3\xa4\n"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_what_does_not_fit_leaves_the_old_file(tmp_path, no_space):
    path = tmp_path / "results.jsonl"
    path.write_text("old")
    with pytest.raises(DiskError) as error:
        disk.write_text(path, "what is new")
    first, _, last = str(error.value).splitlines()
    assert first.startswith(f"{path} was not written: the disk is full (") and first.endswith(" free there now).")
    assert last == "Make room, and run the same command again to go on."
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == [path.name]
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (full(), "the disk is full"),
        (full(errno.EDQUOT), "the disk is full to this process: disk quota exceeded"),
        (full(errno.EFBIG), "the disk is full to this process: file too large"),
        (RuntimeError("RESOURCE: write() failed: No space left on device; writing x"), "the disk is full"),
        (OSError(errno.EACCES, "Permission denied"), ""),
        (ValueError("no"), ""),
    ],
)
def test_a_full_disk_is_known_by_number_or_words(error, said):
    assert disk.reason(error) == said
    assert disk.reason(ValueError("Orbax says something else")) == ""
    wrapped = ValueError("Orbax says something else")
    wrapped.__cause__ = error
    assert disk.reason(wrapped) == said


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match="no"), disk.writing(tmp_path):
        raise ValueError("no")


def test_the_file_that_is_named_first_is_the_one(tmp_path):
    """A file that is closed afterwards fails again; the news is what failed before."""
    with pytest.raises(DiskError, match=r"first was not written"), disk.writing(tmp_path / "second"):
        try:
            with disk.writing(tmp_path / "first"):
                raise full()
        finally:
            raise full()


def test_room_is_told_where_a_path_would_lie(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: asked.append(path) or os.statvfs_result)
    monkeypatch.setattr(os.statvfs_result, "free", 12_345_678, raising=False)
    assert disk.free(tmp_path / "not" / "there") == "12.3 MB" and asked == [tmp_path]


def test_no_traceback_at_the_door(monkeypatch, capsys):
    """Whatever file it was: the message, and its code."""

    def door(argv):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/x")

    monkeypatch.setattr("xling_jax.doors.report.main", door)
    with pytest.raises(SystemExit) as left:
        cli.main(["report"])
    assert left.value.code == 3
    assert capsys.readouterr().err.startswith("error: /somewhere/x was not written: the disk is full (")
