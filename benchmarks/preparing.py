"""Examples prepared a second and core: by `prepare`, a SeqIO pipeline, and `datasets.map` with a fast tokenizer.

    pip install datasets "transformers>=5"     # not needed by xling_jax itself
    XLING_DATA=/path/to/data python benchmarks/preparing.py --repetitions=5

All three do the same job on the same files with the same vocabulary, which is trained first on their text: pairs
of MNLI cut to 128 tokens, SQuAD in overlapping windows of 384 with gold tokens and offsets, UD sentences with a label
on each word's first piece. Each has a process of its own on one core, and they take turns, so that all see one load.

Where the jobs differ, the others have less to do: they are handed parsed examples, `prepare` reads and checks the
file; it keeps the raw text of evaluation examples and counts truncation and fertility; SeqIO's offsets are in bytes
and its result is not written; `datasets` cuts long sentences where `prepare` divides them.

Speed is examples over CPU seconds of the process: the core's time, whoever else uses the machine. Wall time stands
beside it.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata

from preparing_arms import examples

from xling_jax.data.tokenizers import train_sentencepiece

ROOT = pathlib.Path(__file__).resolve().parent.parent
CELLS = {"mnli.dev.en": 128, "squad.dev.en": 384, "udpos.train.en": 128}  # cell -> longest input
ARMS = ("prepare", "seqio", "datasets")
PACKAGES = "sentencepiece tokenizers transformers datasets seqio tensorflow tensorflow-text numpy array-record".split()
PIECES = 16_000


def train(folder: pathlib.Path) -> None:
    """Trains the vocabulary on the text of all three cells and lays it out as transformers wants it."""
    texts = {text: None for row in examples("mnli.dev.en") for text in (row["text"], row["text_pair"])}
    texts |= {row["context"]: None for row in examples("squad.dev.en")}
    texts |= {" ".join(row["tokens"]): None for row in examples("udpos.train.en")}
    train_sentencepiece(texts, PIECES, folder / "sentencepiece.bpe.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLMRobertaTokenizer"}))


def work(arm: str, folder: pathlib.Path, count: int) -> None:
    """Serves one arm: reads a cell's name from each line, runs it, and answers with a line of JSON."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    make = importlib.import_module(f"preparing_arms.{arm}_arm").make
    made = {}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        cell = line.strip()
        made[cell] = made.get(cell) or make(folder, cell, CELLS[cell], count)
        wall, cpu = time.perf_counter(), time.process_time()
        done, features, tokens = made[cell]()
        answer = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        print(json.dumps(answer | {"examples": done, "features": features, "tokens": tokens}), file=answers, flush=True)


def measure(folder: pathlib.Path, repetitions: int, count: int) -> Iterator[dict[str, dict]]:
    """Yields after each repetition what all of them took, for each cell and arm."""
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    workers = {
        arm: subprocess.Popen(
            [sys.executable, __file__, f"--arm={arm}", f"--folder={folder}", f"--examples={count}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for arm in ARMS
    }
    found = {cell: {arm: [] for arm in ARMS} for cell in CELLS}
    for repetition in range(repetitions + 1):
        for cell in CELLS:
            for arm, worker in workers.items():
                assert worker.stdin and worker.stdout
                worker.stdin.write(f"{cell}\n")
                worker.stdin.flush()
                answer = json.loads(worker.stdout.readline())
                if repetition:  # the first one warms up
                    found[cell][arm].append(answer)
                print(repetition, cell, arm, answer, file=sys.stderr)
        if repetition:
            yield {cell: {arm: summary(runs) for arm, runs in arms.items()} for cell, arms in found.items()}
    for worker in workers.values():
        worker.communicate()


def summary(runs: list[dict]) -> dict:
    """Returns medians and extremes of an arm's examples a second."""
    rates = sorted(run["examples"] / run["cpu_s"] for run in runs)
    walls = sorted(run["examples"] / run["wall_s"] for run in runs)
    return {
        "examples": runs[0]["examples"],
        "features": runs[0]["features"],
        "tokens": runs[0]["tokens"] if runs[0]["tokens"] >= 0 else None,
        "examples_per_cpu_second": {
            "median": round(statistics.median(rates)),
            "min": round(rates[0]),
            "max": round(rates[-1]),
        },
        "examples_per_wall_second": round(statistics.median(walls)),
    }


def about(repetitions: int, load: tuple[float, ...]) -> dict:
    """Returns what a reader must know of the run."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_cpu()}",
        "load_average": {"before": round(load[0], 1), "after": round(os.getloadavg()[0], 1)},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "repetitions": repetitions,
        "pieces": PIECES,
    }


def _cpu() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--examples", type=int, default=0, help="first examples of each cell; 0 for all")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks/preparing.json")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        work(options.arm, options.folder, options.examples)
        return
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        train(pathlib.Path(name))
        for number, cells in enumerate(measure(pathlib.Path(name), options.repetitions, options.examples), start=1):
            for arms in cells.values():
                rate = {arm: arms[arm]["examples_per_cpu_second"]["median"] for arm in ARMS}
                arms["ratio_to_fastest_other"] = round(rate["prepare"] / max(rate["seqio"], rate["datasets"]), 2)
            result = about(number, load) | {"command": command(options), "cells": cells}
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(options.out.read_text())


def command(options: argparse.Namespace) -> str:
    """Returns what was typed."""
    some = f" --examples={options.examples}" if options.examples else ""
    return f"XLING_DATA=... python benchmarks/preparing.py --repetitions={options.repetitions}{some}"


if __name__ == "__main__":
    main()
