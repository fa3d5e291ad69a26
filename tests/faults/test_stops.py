"""Asked to stop at any moment, a run saves, says how to go on, and leaves with the code for that."""

import random
import signal
import subprocess
import time

import pytest
from harness import LIMIT, ended, finish, interrupt, left_over, results, start, wait_for

from xling_jax.errors import EXIT_INTERRUPTED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * LIMIT)]

AGAIN = "Run the same command again to go on."


def terminate(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)


def test_at_every_moment(straight, tmp_path):
    """One run, stopped in each of its parts."""
    rng = random.Random(0)
    for doing in ("preparing", "training", "saving", "evaluating", "between"):
        output = ended(interrupt(tmp_path, doing, rng, terminate, "--jobs=1"), EXIT_INTERRUPTED)
        assert "asked to stop: saving first; Ctrl-C stops at once" in output and AGAIN in output, doing
        assert left_over(tmp_path) == [], doing
    finish(tmp_path, "--jobs=1")
    assert results(tmp_path) == results(straight)


def test_before_there_is_anything_to_stop(tmp_path):
    """As soon as the door is open: nothing is done, and that is no failure."""
    process = start(tmp_path)
    while process.poll() is None and not caught(process.pid):
        time.sleep(0.01)
    terminate(process)
    assert AGAIN in ended(process, EXIT_INTERRUPTED)
    assert not list(tmp_path.glob("stages/*/DONE"))


def caught(pid: int) -> bool:
    """Whether a process handles SIGTERM itself (proc(5), SigCgt)."""
    with open(f"/proc/{pid}/status") as lines:
        masks = dict(line.split(":", 1) for line in lines if line.startswith("SigCgt"))
    return bool(int(masks["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


def test_asked_again_while_it_saves_it_still_saves(tmp_path):
    def twice(process):
        for _ in range(3):
            terminate(process)
            time.sleep(0.02)

    output = ended(interrupt(tmp_path, "saving", random.Random(1), twice, "--jobs=1"), EXIT_INTERRUPTED)
    assert output.count("asked to stop") == 1 and AGAIN in output
    saved = [path for path in tmp_path.glob("stages/pretrain-*/checkpoints/*") if path.name.isdigit()]
    assert len(saved) == 1 and left_over(tmp_path) == []


def test_the_second_interrupt_from_the_keyboard_ends_it_at_once(straight, tmp_path):
    process = start(tmp_path)
    assert wait_for(process, tmp_path, "training", 1)
    process.send_signal(signal.SIGINT)
    while "asked to stop" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, EXIT_INTERRUPTED), "ended, unless it had saved already"
    finish(tmp_path)
    assert results(tmp_path) == results(straight)
