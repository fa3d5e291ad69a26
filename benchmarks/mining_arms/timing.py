"""What both arms of `benchmarks/mining.py` share: reading vectors, the clock, the record."""

import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

Found = dict[str, np.ndarray]  # forward and backward, _scores and _numbers


def now() -> np.ndarray:
    """Returns seconds of the clock, and of the processors."""
    return np.array([time.perf_counter(), time.process_time()])


def run(arm: str, mine: Callable[..., tuple[Found, np.ndarray]], best: Callable[[Found], object], about: dict) -> None:
    """Times an arm on the vectors of a folder, and prints its measurements as a line of JSON.

    The last argument is how many sentences of each side are searched for. If not all are, the time is scaled up but for
    that of making indices, which `mine` returns beside what it found.
    """
    folder, k, sample = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    language, pivot = (np.load(folder / f"{side}.npy") for side in ("language", "pivot"))
    begin = now()
    found, once = mine(language, pivot, k, sample)
    if sample == len(language):
        best(found)
    seconds, processor = once + (now() - begin - once) * len(language) / sample
    record = {
        "searched_for": sample,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    np.savez(folder / f"{arm}.npz", **found)
    print(json.dumps(record | about))
