"""Mining 100,000 x 100,000 sentence vectors on a CPU: the neighbours of both sides, here and with faiss.

    python benchmarks/mining.py PYTHON_WITH_FAISS [--width 1024 ...] [--count 100000] [--sample 4096]

Each arm runs in a process of its own, on as many threads, with the same vectors: the 4 nearest of each sentence of one
side on the other one and back, and the ratio of margins of each sentence's best. faiss has one index for each
direction, as XTREME's code. Writes mining.json beside this file. PYTHON_WITH_FAISS is the interpreter of an environment
with faiss-cpu, which is nothing that `xling_jax` needs. Twenty minutes on two idle cores. With --sample faiss searches
for so many sentences of each side only, and its time is multiplied: it takes them in blocks, one like another.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from subjects import conditions, write

HERE = pathlib.Path(__file__).resolve().parent
K = 4
ARMS = {"faiss": "faiss_arm.py", "xling_jax": "xling_jax_arm.py"}


def draw(count: int, width: int, folder: pathlib.Path) -> None:
    """Writes vectors of unit length of two sides; a tenth of them are translations, at a cosine of about 0.7."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((count, width), dtype=np.float32) for _ in range(2))
    second[: count // 10] += first[: count // 10]
    for name, side in (("language", first), ("pivot", second)):
        np.save(folder / f"{name}.npy", side / np.linalg.norm(side, axis=1, keepdims=True))


def run(arm: str, python: str, folder: pathlib.Path, sample: int) -> dict:
    """Returns what an arm says of itself: seconds, memory, versions. Its neighbours lie in the folder."""
    command = [python, str(HERE / "mining_arms" / ARMS[arm]), str(folder), str(K), str(sample)]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "PYTHONPATH": str(HERE.parent),
        "JAX_PLATFORMS": "cpu",
    }
    before = os.getloadavg()[0]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(found.stdout.splitlines()[-1]) | {"load_before": round(before, 2)}


def differences(folder: pathlib.Path) -> dict:
    """Returns how far the neighbours of both arms agree: where they differ their cosines are as good as equal."""
    one, other = (np.load(folder / f"{arm}.npz") for arm in ARMS)
    found = {}
    for side in ("forward", "backward"):
        count = len(one[f"{side}_numbers"])  # of a sample
        differ = one[f"{side}_numbers"] != other[f"{side}_numbers"][:count]
        gap = np.abs(one[f"{side}_scores"] - other[f"{side}_scores"][:count])
        found[side] = {
            "neighbours": int(differ.size),
            "other_numbers": int(differ.sum()),
            "largest_difference_of_cosines": float(gap.max()),
        }
        assert gap.max() < 1e-5, "neighbours that are not as near"  # sums of 1024 products in float32
    return found


def measure(count: int, width: int, pythons: dict[str, str], sample: int) -> dict:
    """Returns both arms' measurements of one size; `sample` is of faiss, 0 for all."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        draw(count, width, folder)
        sizes = {"faiss": sample or count, "xling_jax": count}
        arms = {arm: run(arm, python, folder, sizes[arm]) for arm, python in pythons.items()}
        seconds = {arm: found["seconds"] for arm, found in arms.items()}
        return {
            "count": [count, count],
            "width": width,
            **arms,
            "times_as_fast_as_faiss": round(seconds["faiss"] / seconds["xling_jax"], 2),
            "agreement": differences(folder),
        }


def main() -> None:
    """Measures every width."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("python", help="an interpreter with faiss-cpu")
    flags.add_argument("--width", type=int, nargs="+", default=[256, 1024])
    flags.add_argument("--count", type=int, default=100_000)
    flags.add_argument("--sample", type=int, default=0)
    given = flags.parse_args()
    pythons = {"faiss": given.python, "xling_jax": sys.executable}
    record = {
        "what": f"the {K} nearest of both sides, and each sentence's best by ratio; goal: no slower than faiss",
        "peak_mb": "of the whole process, the vectors of both sides in it",
        "searched_for": "of each side; where it is not all, seconds are scaled up to all",
        "load_before": "of the machine; above its cores both arms got a part of them, and ratios are rough",
        "sizes": [measure(given.count, width, pythons, given.sample) for width in given.width],
    }
    write(HERE / "mining.json", record | conditions("jax", "jaxlib", "numpy"))


if __name__ == "__main__":
    main()
