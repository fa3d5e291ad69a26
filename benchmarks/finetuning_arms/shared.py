"""What `benchmarks/finetuning.py` and its arms share: jobs, the clock, turns, the peak of a matrix product.

Standard library only: the peer has an environment of its own.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterable

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent
PEERS = ("grouped", "tuned", "compiled", "default")
PAIRS = "packed:grouped,packed:default"
SIZE = 4096  # of a square product; on a CPU half of it
Turn = Callable[[], tuple[list[int], int]]  # the lengths of all texts, and places with padding


@dataclasses.dataclass(frozen=True)
class Job:
    """What is done with which cells: `train` or `infer`; the longest text, and lengths to pad to without packing."""

    does: str
    cells: str
    max_length: int
    buckets: tuple[int, ...]
    examples: int = 4096  # at most of a cell


XNLI = "xnli.dev.ar+bg+de+el+en+es+fr+hi+ru+sw+th+tr+ur+vi+zh"
XQUAD = "xquad.test.ar+de+el+en+es+hi+ru+th+tr+vi+zh"
JOBS = {
    "mnli": Job("train", "mnli.dev.en", 128, (24, 32, 40, 48, 64, 80, 96, 128)),
    "squad": Job("train", "squad.train44.en", 384, (128, 160, 192, 224, 256, 320, 384)),
    "udpos": Job("train", "udpos.train.en", 128, (8, 16, 24, 32, 40, 48, 64, 80, 96, 128)),
    "mlm": Job("train", "xnli_text.dev.en", 128, (16, 24, 32, 40, 48, 64, 80, 96, 128)),
    "xnli": Job("infer", XNLI, 128, (), 512),
    "xquad": Job("infer", XQUAD, 384, (), 48),
}


def parser(what: str | None = None) -> argparse.ArgumentParser:
    """Returns what is asked for; the arms take the same."""
    asked = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=pathlib.Path)
    asked.add_argument("--make", action="store_true", help="make the inputs and stop")
    asked.add_argument("--jobs", default="mnli,xnli", help=f"of {' '.join(JOBS)}")
    asked.add_argument("--pairs", default=PAIRS, help="of arms, OURS:PEER")
    asked.add_argument("--model", default="xlmr_base", help="a row of xling_jax/tables/models.py")
    asked.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    asked.add_argument("--peer", default="", help="the Python of the peer's environment")
    asked.add_argument("--rounds", type=int, default=2)
    asked.add_argument("--turns", type=int, default=3)
    asked.add_argument("--steps", type=int, default=3, help="of training in a turn")
    asked.add_argument("--batch", type=int, default=32, help="examples of a training step")
    asked.add_argument("--eval_batch", type=int, default=16)
    asked.add_argument("--out", type=pathlib.Path, default=BENCHMARKS / "finetuning.json")
    asked.add_argument("--arm", help=argparse.SUPPRESS)
    asked.add_argument("--job", help=argparse.SUPPRESS)
    return asked


def answers():
    """Returns where answers go: what libraries print is none."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def matmul_peak(product: Callable[[], None], size: int) -> float:
    """Returns the FLOP/s of the fastest of some square products."""
    best = float("inf")
    for _ in range(12):
        began = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def serve(out, about: dict, turn: Turn, flops: Callable[[Iterable[int]], float], memory: Callable[[], int] | None):
    """Says what this arm is, and does a turn for each line that it is given."""
    print(json.dumps(about), file=out, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        lengths, places = turn()
        done = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        done |= {"tokens": sum(lengths), "places": places, "flops": flops(lengths)}
        held = memory() if memory else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(done | {"memory": held}), file=out, flush=True)


def flops_of(layers: int, width: int, mlp: int, times: int) -> Callable[[Iterable[int]], float]:
    """Returns lengths of texts -> FLOPs of their products with the layers' matrices and of attention, padding left out.

    One count for all arms, of all layers and all tokens: not what an arm computes, but what it is worth. `times` is 3
    for training. The output matrix of a masked-LM is left out.
    """
    weights = layers * (4 * width * width + 2 * width * mlp)

    def flops(lengths):
        tokens, squares = float(sum(lengths)), float(sum(length * length for length in lengths))
        return times * (2 * weights * tokens + 4 * layers * width * squares)

    return flops
