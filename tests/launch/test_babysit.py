"""The babysitter, around a stand-in program, on a cloud in a folder."""

import signal
import time

import pytest

WHAT = ("--zone=us-west4-a", "--type=v5e-8", "--spot", "--bucket=gs://mine/runs", "--poll=0.1", "--every=1")
COMMAND = ("--", "xling", "run", "--workdir=work/w")
ROWS = "".join(f"step {step}\n" for step in range(1, 11))


def results(place, name="first"):
    """Returns what the bucket says is whole."""
    folder = place.bucket / "mine" / "runs" / name / "workdir"
    return (folder / (folder / "whole").read_text() / "results.jsonl").read_text()


def wait_for(what, seconds=30):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def is_at(place, step, name="first"):
    path = place.vms / name / "0" / "xling" / name / "code" / "work" / "w" / "results.jsonl"
    return lambda: path.exists() and f"step {step}\n" in path.read_text()


def test_a_run_to_its_end(place):
    said = place.run("babysit", "first", *WHAT, *COMMAND)
    assert "WAITING_FOR_RESOURCES" in said and "started on 1 hosts" in said and "ended with exit code 0" in said
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 1


def test_one_preemption(place):
    process = place.start("babysit", "first", *WHAT, *COMMAND, "SCRIPT=slow")
    wait_for(is_at(place, 3))
    place.preempt("first", signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "SUSPENDED" in said, said
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 2
