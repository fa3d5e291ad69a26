"""How much memory preparing takes, as the cell grows to a million examples.

    python benchmarks/memory.py WORKDIR

Writes memory.json beside this file. The file that is prepared is generated, in the format of MNLI; every size is
prepared by a process of its own, whose largest resident size is read when it is done. Some minutes.
"""

import json
import pathlib
import resource
import subprocess
import sys
import time

from subjects import conditions, write

from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Part
from xling_jax.tables.tasks import Cell

SIZES = (10_000, 100_000, 1_000_000)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [f"{one}{other}" for one in LETTERS for other in LETTERS]


def make(folder: pathlib.Path, size: int) -> None:
    """Writes so many pairs of 16 and 8 words, all different."""
    path = folder / "mnli/multinli_1.0_train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(size):
            words = [WORDS[(number * step + at) % len(WORDS)] for at, step in enumerate(range(7, 31))]
            row = {
                "sentence1": " ".join(words[:16]),
                "sentence2": " ".join(words[16:]),
                "gold_label": ("entailment", "neutral", "contradiction")[number % 3],
                "pairID": f"{number}n",
            }
            file.write(json.dumps(row) + "\n")


def measure(folder: pathlib.Path) -> None:
    """Prepares what lies there, and prints what that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    made = prepare(Part(Cell("mnli", "train", "en"), 0, 0, 128), PieceTokenizer(WORDS), folder / "prepared", folder)
    print(
        json.dumps(
            {
                "examples": made.examples,
                "file_mib": round((folder / "mnli/multinli_1.0_train.jsonl").stat().st_size / 2**20, 1),
                "prepared_mib": round(sum(path.stat().st_size for path in made.path.iterdir()) / 2**20, 1),
                "resident_before_mib": round(before / 1024, 1),
                "resident_most_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "cpu_s": round(time.process_time() - began, 1),
            }
        )
    )


def main() -> None:
    """Measures every size."""
    folder = pathlib.Path(sys.argv[1])
    found = []
    for size in SIZES:
        here = folder / str(size)
        make(here, size)
        output = subprocess.run(
            [sys.executable, __file__, str(here), "here"], capture_output=True, text=True, check=True
        )
        found.append(json.loads(output.stdout))
        print(found[-1], flush=True)
    small, large = found[0], found[-1]
    grown = (large["resident_most_mib"] - small["resident_most_mib"]) * 2**20
    record = {
        "what": "resident memory of preparing; what grows is the index, and the ids that a repeated one is found by",
        "bytes_more_for_each_example": round(grown / (large["examples"] - small["examples"]), 1),
        "sizes": found,
    }
    write(pathlib.Path(__file__).with_suffix(".json"), record | conditions("numpy", "array-record"))


if __name__ == "__main__":
    if sys.argv[2:] == ["here"]:
        measure(pathlib.Path(sys.argv[1]))
    else:
        main()
