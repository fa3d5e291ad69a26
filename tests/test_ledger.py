"""The ledger of wall time: what its lines say, threads, and a process that is killed while it writes."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from xling_jax import ledger as ledger_module
from xling_jax.goodput import goodput
from xling_jax.ledger import KINDS, Ledger, current, process_began, read_lines, worker_ledger

ROOT = pathlib.Path(__file__).resolve().parent.parent


def lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_an_event_has_a_line_where_it_begins_and_one_where_it_ends(tmp_path):
    path = tmp_path / "work" / "time.jsonl"
    with Ledger(path) as ledger, ledger.event("train", "qa-1f", 20) as event:
        assert current() is event
        event.spend("input", 0.25)
        event.spend("input", 0.5)
        event.count("compiled")
        event.mark(30, always=True)
        event.mark(30, always=True)  # nothing new
        event.mark(40)  # too soon after the last one
        with ledger.event("save", "qa-1f"):
            assert current() is not event
    assert current() is None
    found = lines(path)
    times = [line.pop(next(name for name in ("begin", "at", "end") if name in line)) for line in found]
    assert times == sorted(times) and abs(times[0] - time.time()) < 60
    facts = {"spent": {"input": 0.75}, "counts": {"compiled": 1}}
    assert found == [
        {"session": 0, "id": 1, "name": "train", "lane": 0, "stage": "qa-1f", "step": 20},
        {"session": 0, "id": 1, "step": 30, **facts},
        {"session": 0, "id": 2, "name": "save", "lane": 0, "stage": "qa-1f"},
        {"session": 0, "id": 2, "spent": {}, "counts": {}},
        {"session": 0, "id": 1, "step": 40, **facts},
    ]


def test_marks_come_so_often_and_no_more(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(ledger_module, "now", lambda: clock[0])
    ledger = Ledger(tmp_path / "time.jsonl")
    with ledger, ledger.event("train", "qa", 0) as event:
        for step in range(1, 31):
            clock[0] += 1
            event.mark(step)
    marks = [line["step"] for line in lines(tmp_path / "time.jsonl") if "at" in line]
    assert marks == [10, 20, 30], "every MARK seconds"


def test_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "PULSE", 0.01)
    path = tmp_path / "time.jsonl"
    with Ledger(path):
        until = time.monotonic() + 10
        while time.monotonic() < until and len(read_lines(path)) < 3:
            time.sleep(0.01)
    assert len(read_lines(path)) >= 3 and all(set(line) == {"session", "at"} for line in read_lines(path)[:3])


def test_threads_have_lanes_and_events_of_their_own(tmp_path):
    path, together = tmp_path / "time.jsonl", threading.Barrier(2)
    with Ledger(path) as ledger:

        def work(name):
            with ledger.event("train", name, 0) as event:
                together.wait(10)
                assert current() is event
                together.wait(10)

        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    begun = [line for line in lines(path) if "begin" in line]
    assert len({line["lane"] for line in begun}) == 2 and len({line["id"] for line in begun}) == 2
    assert current() is None


def test_an_error_ends_what_it_ends(tmp_path, monkeypatch):
    path = tmp_path / "time.jsonl"
    ledger = Ledger(path)
    with pytest.raises(KeyError, match="news"), ledger, ledger.event("train", "a", 0), ledger.event("save", "a"):
        raise KeyError("news")
    assert [line["id"] for line in lines(path) if "end" in line] == [2, 1], "the inner one first"
    assert current() is None
    with pytest.raises(KeyError, match="news"), ledger.event("train", "a", 0):
        monkeypatch.setattr(ledger, "write", lambda line: (_ for _ in ()).throw(OSError("the disk is full")))
        raise KeyError("news")


def test_what_happened_before_there_was_a_ledger(tmp_path):
    with Ledger(tmp_path / "time.jsonl") as ledger:
        ledger.record("startup", 100.0, 107.5)
        ledger.record("plan", 107.5, 108.0)
    first = read_lines(tmp_path / "time.jsonl")[:4]
    assert [(line.get("name"), line.get("begin", line.get("end"))) for line in first] == [
        ("startup", 100.0),
        (None, 107.5),
        ("plan", 107.5),
        (None, 108.0),
    ]


def test_without_a_file_events_still_count():
    with Ledger() as ledger, ledger.event("train", "a", 0) as event:
        event.mark(5, always=True)
        assert current() is event and event.step == 5


KILLED = """
import os, pathlib, signal, sys
from xling_jax.ledger import Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
with ledger.event("train", "a", 0) as event:
    event.mark(10, always=True)
    with ledger.event("save", "a"):
        open(sys.argv[1], "a").write('{"session": 0, "id": 2, "en')
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_closed_by_the_next(tmp_path):
    path = tmp_path / "time.jsonl"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -9 and not path.read_bytes().endswith(b"\n")
    last = max(line.get("begin", line.get("at")) for line in read_lines(path))
    with Ledger(path) as ledger:
        assert ledger.session == 1
        with ledger.event("train", "a", 10):
            pass
    found = read_lines(path)
    assert [line for line in found if line.get("killed")] == [
        {"session": 0, "id": 2, "end": last, "killed": True},
        {"session": 0, "id": 1, "end": last, "killed": True},
    ]
    assert [line["session"] for line in found][-2:] == [1, 1], "the half line has not swallowed what came behind it"
    with Ledger(path) as ledger:
        assert ledger.session == 2
    assert len(read_lines(path)) == len(found), "what is closed is closed once"
    assert goodput(path).killed == 1


def test_the_process_began_before_this_test():
    assert time.time() - 3600 < process_began() < time.time()
    code = "import time; from xling_jax.ledger import process_began; print(time.time() - process_began())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60)
    assert 0 < float(done.stdout) < 50, "seconds since this process was started"


def test_every_kind_is_explained():
    assert all(name.islower() and words for name, words in KINDS.items())
    assert {"steps", "lost", "other"} <= set(KINDS) and "train" not in KINDS


def test_workers_have_a_file_each_and_are_read_together(tmp_path):
    """Sessions are numbered in the order they began; a worker that comes again takes up the file it has left."""
    with worker_ledger(tmp_path) as first, worker_ledger(tmp_path) as second:
        assert first != second
        with Ledger(first) as one, Ledger(second) as two:
            with one.event("plan"):
                pass
            with two.event("train", "stage", 0), one.event("prepare"):
                pass
    with worker_ledger(tmp_path) as again:
        assert again == first
        with Ledger(again) as three, three.event("report"):
            pass
    lines_ = read_lines(tmp_path / "time.jsonl")
    begun = [(line["session"], line["name"]) for line in lines_ if "begin" in line]
    assert begun == [(0, "plan"), (0, "prepare"), (1, "train"), (2, "report")]
    found = goodput(tmp_path / "time.jsonl")
    assert found.sessions == 3 and set(found.seconds) <= {"plan", "prepare", "steps", "report", "other"}
