"""Preparing with several processes: the same files, one error, and nothing half done whenever it is killed."""

import concurrent.futures
import fcntl
import multiprocessing
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from xling_jax.data import prepare as prepare_module
from xling_jax.data import workers
from xling_jax.data.prepare import STALE, prepare
from xling_jax.data.workers import prepare_all
from xling_jax.errors import DataError, Interrupted
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells

ROOT = pathlib.Path(__file__).resolve().parents[2]


def part(text, count, max_length=64):
    return Part(*parse_cells(text), 0, count, max_length)


# The first is larger than half of all, and is divided; the other ones are done side by side.
PARTS = [
    part("world_nli.train.qen", 1500),
    part("world_pos.dev.qen", 40),
    part("world_choice.dev.qda", 15),
    part("world_qa.dev.qnd", 30),
]


def content(root):
    """Returns the bytes of every file of every prepared cell."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(workers, "SMALL", 0)
    monkeypatch.setattr(prepare_module, "CHUNK", 64)  # so many that results are waited for before all are asked for


def test_processes_make_the_same_files(tokenizer, tmp_path, at_once):
    told = []
    prepare_all([*PARTS, PARTS[1]], tokenizer, tmp_path / "many", jobs=2, tell=told.append)
    for each in PARTS:
        prepare(each, tokenizer, tmp_path / "one")
    assert told[0] == PARTS[0] and set(told) == set(PARTS) and len(told) == len(PARTS), "each once, the large one first"
    found, expected = content(tmp_path / "many"), content(tmp_path / "one")
    assert found.keys() == expected.keys() and len(found) == 4 * len(PARTS)
    assert all(found[name] == expected[name] for name in found if not name.endswith(".npz")), "their index has a date"


def test_what_is_there_needs_no_process(tokenizer, tmp_path, at_once, monkeypatch):
    prepare_all(PARTS[1:], tokenizer, tmp_path, jobs=1)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(workers, "SMALL", 1)
    told = []
    prepare_all(PARTS[1:], tokenizer, tmp_path, jobs=2, tell=told.append)
    assert set(told) == set(PARTS[1:])


def test_an_error_in_a_process_is_the_readers_own(tokenizer, tmp_path, at_once):
    (tmp_path / "udpos").mkdir()
    (tmp_path / "udpos/test-ta.tsv").write_text("a\tNOUN\n\n" * 400 + "b\tNUON\n")
    (tmp_path / "udpos/test-te.tsv").write_text("a\tNOUN\n")
    for parts in ([part("udpos.test.ta", 0)], [part("udpos.test.ta", 0), part("udpos.test.te", 0), PARTS[0]]):
        with pytest.raises(DataError, match=r"test-ta\.tsv:801: tag 'NUON'"):
            prepare_all(parts, tokenizer, tmp_path / "prepared", tmp_path, jobs=2)
    left = [path.name for path in (tmp_path / "prepared").iterdir()]
    assert not [name for name in left if name.startswith("udpos.test.ta")], left


def test_a_process_that_dies_is_an_error(tokenizer, tmp_path, at_once):
    with pytest.raises(DataError, match="was killed") as caught:
        prepare_all([part("world_nli.train.qen", 1500)], Deadly(tokenizer), tmp_path, jobs=2)
    assert str(caught.value).count("\n") == 2 and list(tmp_path.iterdir()) == []


class Deadly:
    """A tokenizer that kills the process it is used in."""

    def __init__(self, tokenizer):
        self.fingerprint = tokenizer.fingerprint

    def ids(self, text):
        os.kill(os.getpid(), signal.SIGKILL)


PROGRAM = """
import pathlib, sys
from xling_jax import world
from xling_jax.data import workers
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Part
from xling_jax.tables.tasks import Cell
workers.SMALL = 0
if __name__ == "__main__":
    parts = [Part(Cell("world_nli", "train", "qen"), 0, 1500, 64), Part(Cell("world_pos", "dev", "qen"), 0, 40, 64)]
    print("begins", flush=True)
    workers.prepare_all(parts, PieceTokenizer(world.pieces()), pathlib.Path(sys.argv[1]), jobs=2)
"""


def start(tmp_path, root):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True)


def alive_in_session(session):
    return [int(stat.parent.name) for stat in pathlib.Path("/proc").glob("[0-9]*/stat") if _session(stat) == session]


def _session(stat):
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] == "Z" else int(fields[3])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_at_any_moment(tokenizer, tmp_path):
    """What counts as done is whole; what does not is made again; no process stays behind."""
    root, expected = tmp_path / "prepared", tmp_path / "expected"
    parts = [part("world_nli.train.qen", 1500), part("world_pos.dev.qen", 40)]
    prepare_all(parts, tokenizer, expected)
    wait = random.Random(0)
    for _ in range(4):
        process = start(tmp_path, root)
        assert process.stdout.readline() == "begins\n"
        time.sleep(wait.uniform(0.0, 2.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until = time.monotonic() + 30
        while alive_in_session(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert alive_in_session(process.pid) == [], "workers outlived the process that started them"
        for path in root.glob("[!.]*"):
            assert (path / "data.arrayrecord").read_bytes() == (expected / path.name / "data.arrayrecord").read_bytes()
    assert start(tmp_path, root).wait(120) == 0
    assert {path.name for path in root.glob("[!.]*")} == {path.name for path in expected.iterdir()}


@pytest.mark.timeout(240)
def test_two_programs_at_once(tmp_path):
    root = tmp_path / "prepared"
    both = [start(tmp_path, root) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(list(root.iterdir())) == 2, "two cells, and no drafts"


def test_it_can_be_ended_within_a_cell(tokenizer, tmp_path, monkeypatch):
    """Asked between two chunks; what was under way leaves nothing."""
    monkeypatch.setattr(workers, "ASK_EVERY", 0.0)

    def stop():
        raise Interrupted("Stopped within a cell.")

    with pytest.raises(Interrupted):
        prepare_all([part("world_nli.train.qen", 600)], tokenizer, tmp_path, pause=stop)
    assert not list(tmp_path.iterdir()), "no cell, and no draft"


def test_the_processes_leave_stopping_to_who_started_them():
    """A signal to all processes of a group ends none of them before their parent, which has to save, ends them."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, workers._begin, (None,)) as pool:
        pid = pool.submit(os.getpid).result()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
        assert pool.submit(os.getpid).result() == pid


def test_stale_drafts_are_removed(tokenizer, tmp_path, monkeypatch):
    prepared = prepare(PARTS[1], tokenizer, tmp_path)
    old, young = (tmp_path / f".{prepared.path.name}.{name}" for name in ("0123", "4567"))
    for draft in (old, young):
        draft.mkdir()
        (draft / "data.arrayrecord").write_bytes(b"half")
        past = time.time() - 2 * STALE
        os.utime(draft, (past, past))
    os.utime(old / "data.arrayrecord", (past, past))
    prepare(PARTS[2], tokenizer, tmp_path)
    assert not old.exists(), "nobody has written there for a day"
    assert young.exists() and prepared.path.exists(), "somebody writes there"


def test_drafts_of_killed_processes_of_this_machine_are_removed_at_once(tokenizer, tmp_path):
    """A lock says that somebody lives who writes there; of another machine's drafts it says nothing."""
    here = socket.gethostname()
    names = {"dead": f"{here}-0123", "alive": f"{here}-4567", "just begun": f"{here}-89ab", "elsewhere": "other-0123"}
    drafts = {what: tmp_path / f".world_pos.dev.qen-0123.{name}" for what, name in names.items()}
    for what, draft in drafts.items():
        draft.mkdir()
        before = time.time() - (0.0 if what == "just begun" else 60.0)
        os.utime(draft, (before, before))
    lock = os.open(drafts["alive"], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    prepare(PARTS[1], tokenizer, tmp_path)
    os.close(lock)
    assert [what for what, draft in drafts.items() if draft.exists()] == ["alive", "just begun", "elsewhere"]


def test_a_draft_is_locked_while_it_is_written(tokenizer, tmp_path):
    found = []

    def each(function, *items):
        (draft,) = tmp_path.glob(".*")
        found.append(prepare_module._is_locked(draft))
        return map(function, *items)

    prepare(PARTS[1], tokenizer, tmp_path, each=each)
    assert found == [True]


def test_examples_are_not_held(tokenizer, tmp_path):
    """The most memory that preparing takes does not grow with the cell, but for a few bytes an example."""
    import tracemalloc  # noqa: PLC0415

    text = " ".join(["ba"] * 400)

    def peak(count):
        examples = ({"id": str(n), "text": text, "text_pair": text, "label": "neutral"} for n in range(count))
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        prepare_module._write(folder, part("world_nli.dev.qen", 0), examples, tokenizer, map)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(300)  # caches
    grown = peak(3000) - peak(1000)
    assert grown < 2000 * 200, f"{grown / 2000:.0f} bytes an example; its text has {2 * len(text)}"


def test_many_raw_examples_stay_on_disk(tokenizer, tmp_path, monkeypatch):
    prepared = prepare(PARTS[3], tokenizer, tmp_path)
    held = prepared.raw()
    assert isinstance(held, list) and len(held) == 30
    monkeypatch.setattr(prepare_module, "LAZY", 100)
    lazy = prepared.raw()
    assert not isinstance(lazy, list) and len(lazy) == 30
    assert list(lazy) == held and lazy[7] == held[7] and lazy[-1] == held[-1] and lazy[3:6] == held[3:6]
    with pytest.raises(IndexError):
        lazy[30]
    raw = prepared.path / "examples.jsonl"
    raw.write_bytes(raw.read_bytes().replace(b'{"id', b'"{id', 1))
    with pytest.raises(DataError, match=r"is damaged \(line 1 of examples\.jsonl"):
        prepared.raw()[0]
    raw.write_bytes(raw.read_bytes()[:-10])
    with pytest.raises(DataError, match="has 29 examples of 30"):
        prepared.raw()
