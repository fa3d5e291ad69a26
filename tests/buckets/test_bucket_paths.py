"""A folder on a bucket does what one on a disk does: files are whole or not there, nothing is lost or made twice."""

import concurrent.futures
import importlib.util
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys

import pytest
from stand_in import BUCKET, Refused

from xling_jax import cli, disk
from xling_jax.disk import as_path, reach
from xling_jax.errors import BucketError, ConfigError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def key(path: pathlib.Path) -> str:
    return str(path).removeprefix(f"gs://{BUCKET}/")


@pytest.fixture
def impatient(monkeypatch):
    """Lets gcsfs try again at once."""
    retry = pytest.importorskip("gcsfs.retry")

    async def at_once(seconds):
        del seconds

    monkeypatch.setattr(retry.asyncio, "sleep", at_once)


def test_a_file_is_written_read_and_removed(shelf):
    path = shelf / "a" / "b.txt"
    assert not path.exists() and not shelf.exists() and not path.is_file()
    disk.write_text(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n" and path.read_text(encoding="utf-8") == "ä\n"
    assert path.is_file() and path.exists() and not path.is_dir()
    assert shelf.is_dir() and shelf.exists() and not shelf.is_file() and (shelf / "a").is_dir()
    assert [*shelf.iterdir()] == [shelf / "a"] and [*shelf.glob("*/*.txt")] == [path]
    with path.open("rb") as file:
        assert file.read() == b"\xc3\xa4\n"
    path.unlink()
    assert not path.exists() and not shelf.exists()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        path.read_text()


def test_it_is_a_path_like_another(shelf):
    path = shelf / "stages" / "a-1"
    assert str(path) == f"{shelf}/stages/a-1" and path.parent.parent == shelf and path.name == "a-1"
    assert path.absolute() is path and path.resolve() is path, "etils makes one of the working directory"
    assert pickle.loads(pickle.dumps(path)) == path and type(pickle.loads(pickle.dumps(path))) is type(path)
    assert type(path.with_name("b")) is type(path.parent) is type(path), "or requests would go another way"
    assert as_path(path) == as_path(str(path)) == path


def test_a_file_without_a_suffix_of_its_own_is_not_its_neighbour(shelf):
    """Names that begin alike are no folder and no file."""
    disk.write_text(shelf / "checkpoints" / "100", "x")
    disk.write_text(shelf / "checkpoints" / "10-old" / "y", "x")
    assert not (shelf / "checkpoints" / "10").exists()
    assert not (shelf / "checkpoints" / "1").is_dir()


def test_a_list_is_never_remembered(shelf, stand_in):
    """Other processes write, too."""
    assert [*shelf.iterdir()] == [] if shelf.exists() else True
    disk.write_text(shelf / "one", "")
    assert [path.name for path in shelf.iterdir()] == ["one"]
    stand_in.put(BUCKET, key(shelf / "two"), b"", {})
    assert [path.name for path in shelf.iterdir()] == ["one", "two"]
    assert sorted(path.name for path in shelf.glob("*")) == ["one", "two"]
    del stand_in.objects[BUCKET, key(shelf / "one")]
    assert not (shelf / "one").exists() and [path.name for path in shelf.iterdir()] == ["two"]


@pytest.mark.parametrize(
    "size", [10, pytest.param(60 << 20, marks=pytest.mark.slow)], ids=["in one request", "in pieces"]
)
def test_what_is_not_whole_is_not_seen(shelf, stand_in, size):
    """An upload that is broken off leaves the old file."""
    path, new = shelf / "results.jsonl", b"x" * size
    disk.write_text(path, "old")
    pieces = []

    def refuse(method, what, name):
        if what == "write":
            pieces.append(name)
            if len(pieces) == (2 if size > 1 << 20 else 1):
                raise Refused(400, "broken off")

    stand_in.refuse = refuse
    with pytest.raises(Exception, match="broken off"):
        disk.write_bytes(path, new)
    assert path.read_text() == "old" and pieces
    stand_in.refuse = lambda *_: None
    disk.write_bytes(path, new)
    assert path.read_bytes() == new and [*path.parent.iterdir()] == [path]


def test_of_many_that_make_a_file_one_does(shelf):
    def make(number):
        return disk.create(shelf / "claims" / "a.0", f"worker {number}".encode())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = [*pool.map(make, range(8))]
    assert made.count(True) == 1
    assert (shelf / "claims" / "a.0").read_text() == f"worker {made.index(True)}"


def test_who_has_made_a_file_knows_it_even_if_the_answer_is_lost(shelf, stand_in, impatient):
    lost = []
    stand_in.lose = lambda method, what, name: what == "write" and not lost and not lost.append(name)
    assert disk.create(shelf / "a.0", b"mine") and lost, "the request that was sent again found what the first had made"
    assert not disk.create(shelf / "a.0", b"another's")
    assert (shelf / "a.0").read_bytes() == b"mine"


def test_a_stamp_changes_the_time_alone(shelf):
    path = shelf / "a.0"
    with pytest.raises(FileNotFoundError):
        disk.stamp(path)
    assert not path.exists()
    disk.write_text(path, "mine")
    before = path.stat()
    disk.stamp(path)
    after = path.stat()
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_ino == before.st_ino
    assert path.read_text() == "mine"
    disk.write_text(path, "mine")
    assert path.stat().st_ino != after.st_ino, "that is another file, whatever it holds"


def test_a_file_that_grows(shelf, stand_in, monkeypatch):
    """It is whole when it is kept, and by itself every half minute."""
    path = shelf / "metrics.jsonl"
    file = disk.growing(path)
    file.write(b"1\n")
    assert not path.exists()
    file.keep()
    assert path.read_bytes() == b"1\n"
    file.write(b"2\n")
    monkeypatch.setattr("xling_jax.bucket.KEPT_EVERY", 0.0)
    file.write(b"3\n")
    assert path.read_bytes() == b"1\n2\n3\n"
    stand_in.requests.clear()
    file.keep()
    assert stand_in.requests == [], "there is nothing new"
    file.close()
    again = disk.growing(path)
    again.write(b"4\n")
    again.close()
    disk.cut(path, 6)
    assert path.read_bytes() == b"1\n2\n3\n"


def test_folders_are_moved_removed_and_copied(shelf, stand_in, tmp_path):
    for name in ("commit", "params/d/x", "meta"):
        disk.write_text(shelf / "5" / name, name)
    stand_in.requests.clear()
    disk.move(shelf / "5", shelf / "damaged" / "5", first="commit")
    removed = [name for _, what, name in stand_in.requests if what == "delete"]
    assert removed[0] == key(shelf / "5" / "commit"), "or half of it would be taken for whole"
    assert not (shelf / "5").exists() and (shelf / "damaged" / "5" / "params" / "d" / "x").read_text() == "params/d/x"
    disk.remove(shelf / "damaged")
    disk.remove(shelf / "damaged")
    assert not shelf.exists()
    for name in ("meta.json", "index.npz", "z"):
        (tmp_path / name).write_text(name)
    stand_in.requests.clear()
    disk.send(tmp_path, shelf / "cell", last="meta.json")
    assert [name for _, what, name in stand_in.requests if what == "write"][-1] == key(shelf / "cell" / "meta.json")
    disk.write_text(shelf / "cell" / "below" / "x", "")
    (tmp_path / "copy").mkdir()
    disk.fetch(shelf / "cell", tmp_path / "copy")
    assert {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()} == {
        name: name for name in ("meta.json", "index.npz", "z")
    }


@pytest.mark.parametrize(
    "named",
    ["s3://b/w", "file:///tmp/w", "memory://w", "gs://", "gs:///w", "http://b/w", "gs:/b/w", "GS://b/w", "gs://b/w[1]"],
)
def test_other_places_are_refused(named):
    with pytest.raises(ConfigError, match="no folder that can be worked in") as error:
        as_path(named)
    assert named in str(error.value) and "gs://BUCKET/FOLDER" in str(error.value)


@pytest.mark.parametrize("named", ["work/a", "/tmp/a b", "a:b", "..", "gs"])
def test_a_disk_is_a_disk(named):
    assert as_path(named) == pathlib.Path(named) and not disk.on_bucket(as_path(named))


@pytest.mark.parametrize(
    "words",
    [
        ["data", "list", "--data_dir=gs://shelf/data"],
        ["score", "--benchmark=xtreme", "--predictions=gs://shelf/p", "--labels=l"],
        ["convert", "from-hf", "gs://shelf/model", "out"],
        ["data", "labels", "--benchmark=xtreme", "--out=gs://shelf/l"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_has_to_be_on_a_disk(stand_in, capsys, words):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    said = capsys.readouterr().err
    assert left.value.code == 2 and re.match(r"error: gs://shelf/\w+ is on a bucket\.\nAllowed: a folder", said), said


def test_without_gcsfs_its_extra_is_named(monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gcsfs" else real(name))
    with pytest.raises(SystemExit) as left:
        cli.main(["report", "gs://shelf/w"])
    said = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in said
    assert said.splitlines()[0] == "error: gs://shelf/w is on a bucket, and gcsfs is not installed."
    assert "pip install 'xling_jax[gcs]'" in said


def test_a_bucket_that_is_not_there(stand_in):
    with pytest.raises(ConfigError, match="gs://another/w cannot be read: there is no such bucket"):
        reach("gs://another/w")
    assert reach(f"gs://{BUCKET}") == as_path(f"gs://{BUCKET}")


def refusing(code: int, why: str):
    def refuse(method, what, name):
        raise Refused(code, why)

    return refuse


def test_a_bucket_that_may_not_be_read(shelf, stand_in):
    stand_in.refuse = refusing(403, "you do not have storage.objects.get access")
    with pytest.raises(ConfigError, match=r"cannot be read: Forbidden: .* you do not have storage\.objects\.get"):
        reach(str(shelf))


@pytest.mark.parametrize(
    "case", ["401 2 The bucket refuses: ", "403 2 The bucket refuses: ", "503 75 The bucket does not answer: "]
)
def test_no_traceback_where_a_bucket_fails_later(shelf, stand_in, impatient, capsys, case):
    """What may help is to run again (75) where it does not answer, and not where it refuses (2)."""
    code, exit_code, said = case.split(maxsplit=2)
    stand_in.refuse = refusing(int(code), "why")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr("xling_jax.doors.report.main", lambda argv: (shelf / "x").read_bytes())
        cli.main(["report"])
    assert left.value.code == int(exit_code)
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_other_errors_are_not_the_buckets(stand_in):
    assert disk.lost(ValueError("no")) == "" and disk.lost(FileNotFoundError("x")) == ""
    assert isinstance(disk.unreached(ValueError("UNAVAILABLE: all are busy")), BucketError)
    assert isinstance(disk.unreached(ValueError("PERMISSION_DENIED: no")), ConfigError)


def test_neither_tensorflow_nor_the_bucket_is_imported_for_nothing(stand_in):
    """A folder of a disk costs nothing; one on a bucket takes no TensorFlow."""
    program = """
import json, sys
from xling_jax import cli
from xling_jax.disk import as_path, write_text
as_path("work")
before = sorted({"etils", "fsspec", "gcsfs", "xling_jax.bucket"} & set(sys.modules))
write_text(as_path("gs://shelf/in another process/x"), "y")
assert as_path("gs://shelf/in another process/x").read_text() == "y"
from etils import epath
assert epath.Path("gs://shelf/in another process/x").read_text() == "y", "as Orbax and JAX read it"
print(json.dumps([before, "tensorflow" in sys.modules]))
"""
    env = {name: value for name, value in os.environ.items() if name != "EPATH_USE_TF"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout) == [[], False]
