"""Our arm: both directions from the same products, on the CPU as one device. Compiling is part of the time."""

import os

import numpy as np
from timing import run

from xling_jax.eval.margin import best as best_by_margin
from xling_jax.eval.search import Nearest, build_index, search_both


def mine(language, pivot, k, sample):
    assert sample == len(language), "all, as both directions are one pass"
    forward, backward = search_both(language, build_index(pivot), k)
    found = {
        "forward_scores": forward.scores,
        "forward_numbers": forward.numbers,
        "backward_scores": backward.scores,
        "backward_numbers": backward.numbers,
    }
    return found, np.zeros(2)


def best(found):
    sides = [Nearest(found[f"{name}_scores"], found[f"{name}_numbers"]) for name in ("forward", "backward")]
    return best_by_margin(*sides, "ratio"), best_by_margin(*sides[::-1], "ratio")


if __name__ == "__main__":
    run("xling_jax", mine, best, {"threads": os.cpu_count()})
