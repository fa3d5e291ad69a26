"""What a work folder on a bucket costs: requests of a run, counted where they arrive, and what their waiting takes.

    python benchmarks/buckets.py WORKDIR

Writes buckets.json beside this file. The test size of the default experiment is run in a folder, then against the
stand-in for Google Cloud Storage of tests/buckets, which answers at once, then with 30 ms before each answer; then the
last run's command again, which finds everything done, and its report. One stage at a time, so that checkpoints are
saved in the background. Needs gcsfs. Some minutes.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from subjects import conditions

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "buckets"))
from stand_in import BUCKET, environment, served  # noqa: E402 - a test's, which is no package

RUN = ("run", "--config=configs/quickstart.py:test", "--jobs=1")
SLOW = 0.03  # seconds
# As Google bills them, from dear to free.
CLASSES = {"A": ("write", "begin", "list", "stamp", "copy"), "B": ("look", "read", "bucket"), "free": ("delete",)}
PARTS = {
    "checkpoints": r"stages/[^/]+/checkpoints.*",
    "results, predictions, marks of stages": r"stages/[^/]*(/.*)?|submissions.*|experiments.*",
    "prepared examples": r"prepared.*",
    "compiled programs": r"compiled.*",
    "curves, time": r"tensorboard.*|time.*",
    "claims": r"claims.*",
}


def xling(folder: pathlib.Path, *words: str, address: str = "") -> float:
    """Runs a command, and returns how many seconds it took."""
    began = time.monotonic()
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")}
    env |= environment(address) if address else {}
    with open(folder / "log", "a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "xling_jax", *words]
        subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=log, stderr=subprocess.STDOUT)
    return round(time.monotonic() - began, 1)


def counted(requests: list[tuple[str, str, str]], workdir: str) -> dict[str, dict[str, int]]:
    """Returns how many requests of each class there were, by what they were for."""
    begin = f"{workdir.removeprefix(f'gs://{BUCKET}/')}/"
    found: dict[str, collections.Counter] = {}
    for _, what, key in requests:
        name = key.removeprefix(begin)
        part = next((part for part, pattern in PARTS.items() if re.fullmatch(pattern, name)), "everything else")
        of_class = next(name for name, kinds in CLASSES.items() if what in kinds)
        found.setdefault(part, collections.Counter())[of_class] += 1
    whole = sum(found.values(), collections.Counter())
    return {part: dict(sorted(counts.items())) for part, counts in [*sorted(found.items()), ("all", whole)]}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    done: dict[str, dict] = {"in a folder": {"seconds": xling(folder, *RUN, f"--workdir={folder / 'work'}")}}

    def measure(name: str, workdir: str, *words: str) -> None:
        service.requests.clear()
        seconds = xling(folder, *words, address=address)
        done[name] = {"seconds": seconds, "requests": counted(service.requests, workdir)}
        print(name, done[name], flush=True)

    with served() as (service, address):
        there = f"gs://{BUCKET}/at_once"
        measure("on a bucket that answers at once", there, *RUN, f"--workdir={there}")
        stages = len([key for key in service.keys("at_once/stages/") if key.endswith("/DONE")])
        service.refuse = lambda *_: time.sleep(SLOW)
        there = f"gs://{BUCKET}/slow"
        measure(f"on one that takes {1000 * SLOW:.0f} ms", there, *RUN, f"--workdir={there}")
        measure("the same command again", there, *RUN, f"--workdir={there}")
        measure("its report", there, "report", there)
    record = {"what": "requests of a run on a bucket, by Google's classes", "stages": stages, "runs": done}
    text = json.dumps(record | conditions("gcsfs", "tensorstore", "orbax-checkpoint", "jax"), indent=1)
    (pathlib.Path(__file__).with_suffix(".json")).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
