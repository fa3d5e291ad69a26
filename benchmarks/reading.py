"""How fast prepared examples are read, batch assembly included, against what a training step of XLM-R Large consumes.

    XLING_DATA=... python benchmarks/reading.py WORKDIR

Writes reading.json beside this file. WORKDIR keeps the vocabulary and the prepared cells. A few minutes; the machine
should have nothing else to do, and the CPU seconds say what it would do then.
"""

import os
import pathlib
import statistics
import sys
import time

from subjects import SUBJECTS, VOCABULARY, conditions, open_subjects, write

from xling_jax.data.batches import Batches, BatchPlan, stream
from xling_jax.tables.models import MODELS

BATCH = 256  # examples of a global batch; smaller ones are measured beside it
SMALL_BATCH = 32
TOKENS = 4_000_000  # that are read each time
REPEATS = 5
PEAK, SHARE = 989e12, 0.4  # bf16 FLOP/s of an H100 SXM (an H200 has the same), and the share that a step reaches
GOAL = 10


def consumption() -> dict:
    """Returns the tokens a second that one accelerator trains XLM-R Large on, by the usual 6 FLOPs a parameter."""
    row = MODELS["xlmr_large"]
    layers = row.layers * (4 * row.width**2 + 2 * row.width * row.mlp)  # the embeddings are looked up, not multiplied
    return {
        "formula": "tokens/s = peak * share / (6 * N), N the parameters of the layers' matrix products",
        "N": layers,
        "peak_flops": PEAK,
        "share": SHARE,
        "tokens_per_s": round(PEAK * SHARE / (6 * layers)),
    }


def make(cell, threads: int, batch_size: int, **how):
    """Returns the batches of a stage of about so many tokens, to be read once."""
    steps = max(8, int(TOKENS / (batch_size * cell.lengths_N.mean())))
    return stream(Batches([cell], rates=[1], plan=BatchPlan(batch_size, 0, **how), steps=steps), 0, threads)


def count(batches) -> tuple[int, int]:
    """Returns (examples, tokens)."""
    examples = tokens = 0
    for _, batch in batches:
        tokens += int((batch["input_ids"] != 1).sum())
        examples += (
            int((batch["positions"] == 0).sum() - (batch["segments"] == 0).sum())
            if "first" in batch
            else len(batch["input_ids"])
        )
    return examples, tokens


def read(*given, **how) -> tuple[float, float]:
    """Returns (seconds, CPU seconds) of laying out a stage and reading all of it."""
    began, used = time.perf_counter(), time.process_time()
    for _ in make(*given, **how):
        pass
    return time.perf_counter() - began, time.process_time() - used


def measure(cell, need: float, threads: int, batch_size: int, **how) -> dict:
    """Returns the median rates of several repetitions, and their spread."""
    examples, tokens = count(make(cell, threads, batch_size, **how))  # which also warms the page cache
    found = [read(cell, threads, batch_size, **how) for _ in range(REPEATS)]
    rates = [tokens / seconds for seconds, _ in found]
    per_cpu = statistics.median(tokens / used for _, used in found)
    return {
        "examples_per_s": round(statistics.median(examples / seconds for seconds, _ in found)),
        "tokens_per_s": round(statistics.median(rates)),
        "tokens_per_s_of_each_repetition": [round(rate) for rate in rates],
        "tokens_per_cpu_s": round(per_cpu),
        "times_one_accelerator": round(statistics.median(rates) / need, 1),
        "times_one_accelerator_per_cpu_s": round(per_cpu / need, 1),
    }


def main() -> None:
    """Measures every subject, packed and bucketed, with one thread and with two."""
    cells = open_subjects(pathlib.Path(sys.argv[1]), pathlib.Path(os.environ["XLING_DATA"]))
    need = consumption()
    found = {}
    for name, cell in cells.items():
        subject = SUBJECTS[name]
        ways = {"packed": {"buckets": (subject.max_length,), "packing": True}, "bucketed": {"buckets": subject.buckets}}
        found[name] = {
            f"{way}, {threads} thread{'s' * (threads > 1)}, batch {batch_size}": measure(
                cell, need["tokens_per_s"], threads, batch_size, **how
            )
            for way, how in ways.items()
            for threads in (1, 2)
            for batch_size in (SMALL_BATCH, BATCH)
        }
        print(name, found[name], flush=True)
    alone = [rates for ways in found.values() for way, rates in ways.items() if "1 thread" in way]
    record = {
        "what": f"tokens read a second, padding not counted; goal: {GOAL} times what one H100 consumes, from one "
        "process with one thread, as training reads; a second thread is measured beside it, and only takes turns",
        "vocabulary": f"SentencePiece, {VOCABULARY} pieces, trained on the text read",
        "consumption": need,
        "subjects": found,
        "goal_met": {
            "wall": all(rates["times_one_accelerator"] >= GOAL for rates in alone),
            "cpu": all(rates["times_one_accelerator_per_cpu_s"] >= GOAL for rates in alone),
        },
    }
    versions = conditions("numpy", "array-record", "grain", "sentencepiece")
    write(pathlib.Path(__file__).with_suffix(".json"), record | versions)


if __name__ == "__main__":
    main()
