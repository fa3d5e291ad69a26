"""A claim is had by one worker at a time, whatever happens to it."""

import concurrent.futures
import errno
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from xling_jax.disk import write_text
from xling_jax.processes import is_gone, me
from xling_jax.stages import claims as module
from xling_jax.stages.claims import ClaimLost, Claims, Owner

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHORT = 0.36  # seconds a claim lives; a beat is 30 ms


class Silent(Claims):
    """A worker whose machine is paused: it gives no sign of life."""

    def _live(self) -> None:
        pass


@pytest.fixture
def foreign(monkeypatch):
    """Makes every process one of another machine, of which nobody knows whether it has ended."""
    monkeypatch.setattr(module, "is_gone", lambda process: False)


def numbers(folder):
    return sorted(path.name for path in (folder / "claims").glob("[!.]*"))


def test_one_has_it_until_it_is_given_back(tmp_path):
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        claim = first.take("a")
        assert claim is not None and second.take("a") is None and first.take("a") is None
        assert second.owner("a").pid == os.getpid() and str(os.getpid()) in str(second.owner("a"))
        first.give_back(claim)
        assert second.owner("a") is None
        assert second.take("a") is not None and first.take("a") is None
    assert numbers(tmp_path) == ["a.3"], "of all that happened the last file is left"


def test_leaving_gives_everything_back(tmp_path):
    with pytest.raises(KeyError), Claims(tmp_path) as first:
        assert first.take("a") and first.take("b")
        raise KeyError
    with Claims(tmp_path) as second:
        assert second.take("a") and second.take("b")


def test_signs_of_life_keep_it(tmp_path, foreign):
    with Claims(tmp_path, SHORT) as first, Claims(tmp_path, SHORT) as second:
        claim = first.take("a")
        until = time.monotonic() + 3 * SHORT
        while time.monotonic() < until:
            assert second.take("a") is None
            time.sleep(SHORT / 20)
        claim.check()


def test_a_stale_one_is_taken_over_and_its_owner_told(tmp_path, foreign, monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY", 0.0)
    with Silent(tmp_path, SHORT) as first, Claims(tmp_path, SHORT) as second:
        claim = first.take("a")
        until = time.monotonic() + 0.7 * SHORT
        while time.monotonic() < until:
            assert second.take("a") is None, "it is not old yet, however long it was watched"
        time.sleep(0.4 * SHORT)
        taken = second.take("a")
        assert taken is not None
        with pytest.raises(ClaimLost, match="taken over 'a'"):
            claim.check()
        second.give_back(taken)
        with pytest.raises(ClaimLost):
            claim.renew()
        first.give_back(claim)  # which changes nothing
        assert second.owner("a") is None
    assert ClaimLost("").exit_code == 75


def test_who_has_been_taken_over_and_not_yet_been_removed_is_told(tmp_path):
    with Claims(tmp_path) as first:
        claim = first.take("a")
        (tmp_path / "claims" / "a.1").touch()  # by another worker, which is about to remove the one before
        with pytest.raises(ClaimLost):
            claim.renew()


def test_an_old_claim_is_watched_before_it_is_taken_over(tmp_path, foreign):
    """Whatever the clocks say: an owner who gives signs of life while one looks keeps it."""
    with Claims(tmp_path, SHORT) as first, Claims(tmp_path, SHORT) as second:
        claim = first.take("a")
        for _ in range(20):
            os.utime(tmp_path / "claims" / "a.0", (1, 1))  # ages old, as by a clock that is far behind
            assert second.take("a") is None
            claim.renew()
        time.sleep(0.01)
        claim.renew()


def test_of_many_that_take_over_at_once_one_wins(tmp_path, foreign):
    """Each round makes a stale claim, and lets eight threads go at the same moment."""
    for round_ in range(25):
        name = f"stage{round_}"
        with Silent(tmp_path, 0.0) as first:
            assert first.take(name)
            first._mine.clear()  # it is never given back
        workers = [Claims(tmp_path, 60.0) for _ in range(8)]
        time.sleep(0.002)
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


def test_who_looked_long_ago_does_not_take_what_another_one_has(tmp_path, foreign, monkeypatch):
    """It looked at number 0; since then that was taken over, given back, and taken by a third one."""
    with (
        Silent(tmp_path, 0.0) as first,
        Claims(tmp_path) as slow,
        Claims(tmp_path) as second,
        Claims(tmp_path) as third,
    ):
        assert first.take("a")
        real = slow._is_open

        def look(files, number):
            found = real(files, number)
            second.give_back(second.take("a"))
            third.take("a")
            return found

        time.sleep(0.01)
        monkeypatch.setattr(slow, "_is_open", look)
        assert slow.take("a") is None
        third._mine["a"].renew()
        assert numbers(tmp_path) == ["a.3"]
        first._mine.clear()


def test_a_claim_that_was_just_begun_is_somebodys(tmp_path):
    with Claims(tmp_path, SHORT) as claims:
        (tmp_path / "claims" / "a.0").touch()  # made, and not yet written
        assert claims.take("a") is None
        assert claims.owner("a") == Owner() and "has not said who it is" in str(claims.owner("a"))


def test_a_process_that_has_ended_keeps_nothing(tmp_path):
    """At once, without waiting for its claim to be old."""
    program = f"""
import os, pathlib
from xling_jax.stages.claims import Claims
claims = Claims(pathlib.Path({str(tmp_path)!r})).__enter__()
assert claims.take("a")
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == -9
    with Claims(tmp_path) as claims:
        assert claims.owner("a") is not None
        assert claims.take("a") is not None


def test_a_disk_that_does_not_answer_for_a_while_is_no_loss(tmp_path, monkeypatch):
    with Silent(tmp_path, SHORT) as claims:
        claim = claims.take("a")

        def fail(path):
            raise OSError(errno.EIO, "no answer")

        monkeypatch.setattr(module.os, "utime", fail)
        claim.renew()
        time.sleep(1.1 * SHORT)
        with pytest.raises(ClaimLost):
            claim.renew()


def test_of_a_process_it_is_known_whether_it_has_ended():
    assert not is_gone(me()) and not is_gone("other-1-1") and not is_gone("nonsense")
    machine = me().split("-")[0]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_gone(f"{machine}-{child.pid}-{born}")
    assert is_gone(f"{machine}-{child.pid}-{int(born) - 1}"), "another process had that number"
    child.communicate(b"\n")
    assert is_gone(f"{machine}-{child.pid}-{born}")


def test_files_that_several_write_at_once_are_whole(tmp_path):
    path, together = tmp_path / "x.json", threading.Barrier(6)

    def write(number):
        together.wait()
        for _ in range(50):
            write_text(path, json.dumps([number] * 2000))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))  # and what one of them raises
    assert len(set(json.loads(path.read_text()))) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    machine = me().split("-")[0]
    for name in (f"{machine}-999999999-1-0", "other-5-5-0", f"{me()}-0"):
        (tmp_path / f"x.json.{name}.part").touch()
    write_text(tmp_path / "x.json", "{}")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"x.json", "x.json.other-5-5-0.part", f"x.json.{me()}-0.part"}


def test_a_vocabulary_that_two_make_at_once_is_one(tmp_path):
    """It is under no claim: both make the same file, and whoever reads it finds it whole."""
    from xling_jax.data.tokenizers import load_tokenizer, train_vocabulary  # noqa: PLC0415

    texts = [f"the {colour} thing has number {number}" for number in range(120) for colour in ("red", "blue")]
    path, together, found = tmp_path / "made.model", threading.Barrier(3), []

    def make():
        together.wait()
        train_vocabulary("xlmr", iter(texts), 40, path)
        found.append(load_tokenizer(str(path), "xlmr").fingerprint)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train_vocabulary("xlmr", iter(texts), 40, tmp_path / "alone.model")
    assert found == [load_tokenizer(str(tmp_path / "alone.model"), "xlmr").fingerprint] * 3
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alone.model", "made.model"]
