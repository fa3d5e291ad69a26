"""What both arms of `benchmarks/mining.py` share: reading vectors, the clock, the record."""

import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

Found = dict[str, np.ndarray]  # forward and backward, _scores and _numbers


def run(arm: str, mine: Callable[[np.ndarray, np.ndarray, int], Found], best: Callable[[Found], object], about: dict):
    """Times an arm on the vectors of a folder, and prints its measurements as a line of JSON."""
    folder, k = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    language, pivot = (np.load(folder / f"{side}.npy") for side in ("language", "pivot"))
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = mine(language, pivot, k)
    middle = time.perf_counter()
    best(found)
    end = time.perf_counter()
    record = {
        "seconds": round(end - begin, 2),
        "of_them_margins": round(end - middle, 2),
        "processor_seconds": round(time.process_time() - begin_cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    np.savez(folder / f"{arm}.npz", **found)
    print(json.dumps(record | about))
