"""Goodput of a small run with checkpoints and evaluations, and how long it takes from nothing to the first step.

    python benchmarks/goodput.py WORKDIR [SEEDS]

Writes goodput.json beside this file. About 12 minutes with the five seeds it has by default; the machine should have
nothing else to do. WORKDIR is made, and should not be there yet: what is left in it from before is not cold.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

from subjects import conditions, write

from xling_jax.goodput import Goodput, goodput
from xling_jax.ledger import TIME, read_lines

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEEDS = 5
REPEATS = 3
PATIENCE = 1200.0  # seconds to the first step
RUN = (sys.executable, "-m", "xling_jax", "run", "--config=configs/quickstart.py")
SAVES = (
    "--config.pretrain.save_every=250",
    *(f"--config.arms.{arm}.stage.save_every=250" for arm in ("english", "multilingual")),
    *(f"--config.targets.{target}.stage.save_every=100" for target in ("qa2", "pos", "nli")),
)
FIRST = ("--config.pretrain.save_every=1", "--jobs=1")  # a step that is saved has a line in the ledger
CONDITIONS = {
    "cold": "no cell prepared, nothing compiled before",
    "warm cache": "no cell prepared, everything in the compilation cache",
    "again": "the same folder again: cells prepared, everything in the cache, a checkpoint to go on from",
}


def environment(cache: pathlib.Path) -> dict[str, str]:
    """Returns an environment whose programs are kept in a folder, on whatever devices there are."""
    mine = {"JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | mine


def first_step(workdir: pathlib.Path, cache: pathlib.Path) -> dict[str, float]:
    """Returns the seconds from the start of the process until a step is done, by what they went to; ends the run."""
    before = len(read_lines(workdir / TIME))
    process = subprocess.Popen(
        [*RUN, *FIRST, f"--workdir={workdir}"], cwd=ROOT, env=environment(cache), stdout=subprocess.DEVNULL
    )
    try:
        lines = _until_marked(workdir / TIME, before, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    part = workdir / "until-first-step.jsonl"
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = goodput(part)
    assert found is not None, "a ledger without a line"
    return {"all": found.wall, **found.seconds}


def _until_marked(path: pathlib.Path, before: int, process: subprocess.Popen) -> list[dict]:
    """Returns the lines of the newest session up to the first mark of a step."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        lines = [line for line in read_lines(path)[before:] if not line.get("killed")]
        for number, line in enumerate(lines):
            if "at" in line and line.get("step", 0) > 0:
                return lines[: number + 1]
        time.sleep(0.05)
    raise RuntimeError(f"no step was done within {PATIENCE:.0f} s; the process ended with {process.poll()}")


def start_up(workdir: pathlib.Path) -> dict:
    """Returns the median seconds to the first step and their parts, under each of the conditions."""
    found: dict[str, list[dict]] = {name: [] for name in CONDITIONS}
    for repeat in range(REPEATS):
        cache = workdir / f"cache-{repeat}"
        places = {name: workdir / f"{name.replace(' ', '-')}-{repeat}" for name in ("cold", "warm cache")}
        for name, place in (*places.items(), ("again", places["warm cache"])):
            found[name].append(first_step(place, cache))
            print(name, found[name][-1], flush=True)
    return {name: {"what": CONDITIONS[name], **_medians(each)} for name, each in found.items()}


def _medians(each: list[dict[str, float]]) -> dict:
    names = sorted({name for parts in each for name in parts}, key=lambda name: name != "all")
    medians = {name: round(statistics.median(parts.get(name, 0.0) for parts in each), 3) for name in names}
    return {"seconds": medians, "seconds_of_each_repetition": [round(parts["all"], 3) for parts in each]}


def whole_run(workdir: pathlib.Path, seeds: int) -> tuple[list[str], Goodput]:
    """Returns (the command, what its time went to) of a run from beginning to end."""
    given = f"--config.seeds=({','.join(map(str, range(seeds)))},)"
    command = [*RUN, *SAVES, given, f"--workdir={workdir / 'run'}"]
    subprocess.run(command, cwd=ROOT, env=environment(workdir / "cache-run"), check=True, stdout=subprocess.DEVNULL)
    found = goodput(workdir / "run" / TIME)
    assert found is not None, "a run without a ledger"
    return command, found


def main() -> None:
    """Measures start-up, then a run."""
    workdir, seeds = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS
    began = conditions("jax", "flax", "orbax-checkpoint", "grain", "numpy")
    starts = start_up(workdir)
    command, found = whole_run(workdir, seeds)
    metrics = (workdir / "run" / "stages").glob("*/metrics.jsonl")
    steps = sum(json.loads(path.read_text().splitlines()[-1])["step"] for path in metrics)
    record = {
        "what": "share of wall time in training steps of a run from nothing to its report, and what the rest went to; "
        "seconds from the start of a process to the first step done, and their parts (medians)",
        "command": ["xling", *command[3:-1]],
        "wall_seconds": round(found.wall, 1),
        "goodput": round(found.goodput, 4),
        "shares": {name: round(found.share(name), 4) for name in found.seconds},
        "steps": steps,
        "programs": {"compiled": found.compiled, "read_from_cache": found.cached},
        "start_to_first_step": starts,
    }
    write(pathlib.Path(__file__).with_suffix(".json"), record | began)


if __name__ == "__main__":
    main()
