"""kill -9 of a run whose seeds are one program: gone on with, every seed has the results of a run with nothing wrong.

But for rounding: whoever was killed between two saves takes some steps alone. So an answer may be another one where two
are as likely, a few of 24 of them.
"""

import json
import random
import re
import subprocess

import pytest
from harness import LIMIT, finish, interrupt, left_over

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5 * LIMIT)]

SEEDS = ("--config.seeds=(0,1,2)", "--jobs=1")
AWAY = 13.0  # points: three answers of 24, and somewhat more of an F1


def rows(workdir):
    """Returns the scores that say nothing of which checkpoint was chosen."""
    found = {}
    for path in workdir.glob("stages/*/results.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            names = ("stage", "seed", "policy", "task", "language", "split", "metric")
            found[tuple(row[name] for name in names)] = row["value"], row["n"]
    return found


def test_killed_at_any_moment_each_seed_goes_on(tmp_path):
    straight, killed, rng = tmp_path / "straight", tmp_path / "killed", random.Random(0)
    finish(straight, *SEEDS, "--trials=3")
    said = ""
    for doing in ("training", "evaluating", "saving", "saving", "training", "saving"):
        process = interrupt(killed, doing, rng, subprocess.Popen.kill, *SEEDS, "--trials=3", most=4)
        said += process.communicate(timeout=LIMIT)[0]
    said += finish(killed, *SEEDS, "--trials=3")
    assert len(re.findall(r"_s\d goes on from its checkpoint", said)) >= 3
    ours, theirs = rows(killed), rows(straight)
    assert set(ours) == set(theirs) and len(ours) > 20 and left_over(killed) == []
    assert all(ours[name][1] == n and abs(ours[name][0] - value) <= AWAY for name, (value, n) in theirs.items())
    same = sum(ours[name] == theirs[name] for name in theirs)
    assert same > 0.8 * len(theirs), "most scores are the same to the bit"
