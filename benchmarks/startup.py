"""Seconds until something can be used: import, help, and the peer's import; processes of their own, in turns.

    python benchmarks/startup.py [PYTHON of an environment with torch and transformers]

Writes startup.json beside this file: medians of wall seconds and of processor seconds. Two minutes. What a run takes to
its first step, cold, with a compilation cache, and again, is in goodput.json.
"""

import pathlib
import resource
import statistics
import subprocess
import sys
import time

from subjects import conditions, write

TIMES = 9
OURS = {
    "python alone": ("-c", "pass"),
    "import xling_jax": ("-c", "import xling_jax"),
    "xling --help": ("-m", "xling_jax", "--help"),
    "xling run --help": ("-m", "xling_jax", "run", "--help"),
    "import jax": ("-c", "import jax"),
    "what trains and evaluates": ("-c", "import xling_jax.stages.run"),
}
PEERS = {"import torch": ("-c", "import torch"), "transformers' Trainer": ("-c", "from transformers import Trainer")}


def once(command: list[str]) -> tuple[float, float]:
    """Returns (wall seconds, processor seconds) of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures what there is."""
    commands = {name: [sys.executable, *words] for name, words in OURS.items()}
    commands |= {name: [python, *words] for python in sys.argv[1:2] for name, words in PEERS.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(TIMES + 1):
        for name, command in commands.items():
            took = once(command)
            if number:  # the first one reads files from the disk
                found[name].append(took)
    median = lambda column: round(statistics.median(column), 3)  # noqa: E731
    seconds = {}
    for name, took in found.items():
        wall, cpu = zip(*took, strict=True)
        seconds[name] = {"wall": median(wall), "cpu": median(cpu)}
    write(pathlib.Path(__file__).with_suffix(".json"), {"seconds": seconds, "times": TIMES} | conditions("jax", "flax"))


if __name__ == "__main__":
    main()
