"""Claims on a bucket: one worker has a thing at a time, and one run a folder, whatever happens to them."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
from stand_in import Refused

from xling_jax import disk
from xling_jax.errors import ConfigError
from xling_jax.ledger import TIME, Ledger, read_lines, worker_ledger
from xling_jax.processes import me
from xling_jax.stages import claims as module
from xling_jax.stages.claims import ClaimLost, Claims, Owner, held

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHORT = 1.2  # seconds a claim lives; a beat is 100 ms, a request a few


class Silent(Claims):
    """A worker whose machine is paused: it gives no sign of life."""

    def _live(self) -> None:
        pass


@pytest.fixture
def foreign(monkeypatch):
    """Makes every process one of another machine, of which nobody knows whether it is there or has ended."""
    monkeypatch.setattr(module, "is_gone", lambda process: False)
    monkeypatch.setattr(module, "is_here", lambda process: False)


def test_one_has_it_until_it_is_given_back(shelf):
    with Claims(shelf) as first, Claims(shelf) as second:
        claim = first.take("a")
        assert claim is not None and second.take("a") is None and first.take("a") is None
        assert second.owner("a").pid == os.getpid()
        first.give_back(claim)
        assert second.owner("a") is None and second.is_free("a")
        assert second.take("a") is not None and first.take("a") is None
    assert [path.name for path in (shelf / "claims").iterdir()] == ["a.3"], "of all that happened the last file is left"


@pytest.mark.slow
def test_signs_of_life_keep_it(shelf, foreign):
    with Claims(shelf, SHORT) as first, Claims(shelf, SHORT) as second:
        claim = first.take("a")
        until = time.monotonic() + 1.5 * SHORT
        while time.monotonic() < until:
            assert second.take("a") is None
            time.sleep(SHORT / 20)
        claim.check()


def test_a_stale_one_is_taken_over_and_its_owner_told(shelf, foreign):
    with Silent(shelf, SHORT / 2) as first, Claims(shelf, SHORT) as second:
        claim = first.take("a")
        assert second.take("a") is None, "it is watched first"
        time.sleep(0.6 * SHORT)
        taken = second.take("a")
        assert taken is not None
        with pytest.raises(ClaimLost, match="taken over 'a'"):
            claim.check()
        first.give_back(claim)  # which changes nothing
        taken.renew()
        second.give_back(taken)
        assert second.owner("a") is None


def test_of_many_that_take_over_at_once_one_wins(shelf, foreign):
    """Each round makes a stale claim, and lets eight threads go at the same moment."""
    for round_ in range(2):
        name = f"stage{round_}"
        with Silent(shelf, 0.0) as first:
            assert first.take(name)
            first._mine.clear()  # it is never given back
        workers = [Claims(shelf, 60.0) for _ in range(8)]
        together, won = threading.Barrier(len(workers)), []

        def go(worker, together=together, won=won, name=name):
            together.wait()
            claim = worker.take(name)
            if claim:
                won.append(claim)

        threads = [threading.Thread(target=go, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, f"round {round_}"
        won[0].renew()


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_for_a_while_is_no_loss(shelf, stand_in):
    with Silent(shelf, SHORT) as claims:
        claim = claims.take("a")

        def refuse(method, what, name):
            raise Refused(418, "no")

        stand_in.refuse = refuse
        claim.renew()
        time.sleep(1.1 * SHORT)
        with pytest.raises(ClaimLost):
            claim.renew()  # another worker may have it by now


KILLED = """
import os, sys
from xling_jax.disk import as_path
from xling_jax.stages.claims import Claims, held
with held(as_path(sys.argv[1]), sys.argv[2] == "shared", print):
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["alone", "shared"])
def test_a_folder_is_free_as_soon_as_its_process_was_killed(shelf, how):
    """At once, without waiting for its claim to be old; and nothing is left of it."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(shelf), how], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == -9
    with held(shelf, False, pytest.fail):
        pass
    assert [path.name for path in (shelf / "claims").iterdir()] == [f"alone.{2 if how == 'alone' else 1}"]


@pytest.mark.parametrize(
    ("there", "comes", "allowed"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_who_may_share_a_folder(shelf, there, comes, allowed, monkeypatch):
    """Workers of a study do; a run does not, nor a worker beside a run."""
    with held(shelf, there, pytest.fail) as check:
        monkeypatch.setattr(module, "me", lambda: "another-1-1")
        if allowed:
            with held(shelf, comes, pytest.fail):
                check()
        else:
            with pytest.raises(ConfigError, match="Another process is running in gs://") as error:
                held(shelf, comes, pytest.fail).__enter__()
            assert f"process {os.getpid()} on " in str(error.value)
        check()


@pytest.mark.slow
def test_two_runs_of_other_machines_do_not_share_a_folder(shelf, foreign, monkeypatch):
    """The one that is there gives a sign of life while the other one waits for it."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    said = []
    with Claims(shelf, SHORT) as first:
        assert first.take("alone")
        with pytest.raises(ConfigError, match="Another process is running"):
            held(shelf, False, said.append).__enter__()
    assert len(said) <= 1


@pytest.mark.slow
def test_a_folder_whose_run_was_killed_elsewhere_is_waited_for(shelf, foreign, monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    said = []
    with Silent(shelf, SHORT / 2) as first:
        claim = first.take("alone")
        with held(shelf, False, said.append) as check:
            assert len(said) == 1 and f"was at work in {shelf}: waiting for a sign of life, at most 0.6 s" in said[0]
            check()
            with pytest.raises(ClaimLost):
                claim.renew()


def test_the_ledgers_of_two_workers(shelf):
    """Each has a file of its own; whoever reads one reads all, whatever was killed."""
    with worker_ledger(shelf) as path, Ledger(path) as ledger, ledger.event("train", "a-1", 0) as event:
        event.mark(5, always=True)
        assert read_lines(shelf / TIME) == []
        ledger.keep()
        assert [line.get("step") for line in read_lines(shelf / TIME)] == [0, 5], "what was saved has its mark"
    ledger.write({"at": 1e9})  # after the end: the report of a run
    assert path.name.endswith(f"{me()}.jsonl")
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert "end" in lines[-2] and lines[-1] == {"session": 0, "at": 1e9}
    with Ledger(path) as again:
        assert again.session == 1


def test_an_owner_is_read_whole_or_not_at_all(shelf):
    """On a disk a claim may be there before it says whose it is; on a bucket it is not."""
    disk.write_text(shelf / "claims" / "a.0", "{")
    with Claims(shelf, SHORT) as claims:
        assert claims.take("a") is None and claims.owner("a") == Owner()
