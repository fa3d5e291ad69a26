"""Writes what XTREME's own scorer says of the submissions of submissions.py to tests/golden/published_scores.json.

    python tests/scoring/remake_published.py CHECKOUT

CHECKOUT is a copy of google-research/xtreme; its scorer needs NumPy and seqeval 0.0.12, which the project does not: run
this with a Python that has them, and with PYTHONPATH set to the root of this repository.
"""

import importlib
import json
import pathlib
import platform
import sys
import tempfile
from importlib import metadata

from submissions import write

from xling_jax.tables.benchmarks import BENCHMARKS

SEEDS = range(3)
DIGITS = 11  # after the point; scores are compared to 1e-9
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/published_scores.json"


def rounded(scores):
    """Returns the numbers of a nested dict, shorter."""
    return {key: rounded(value) if isinstance(value, dict) else round(value, DIGITS) for key, value in scores.items()}


def main() -> None:
    """Scores every submission."""
    checkout = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(checkout))
    published = importlib.import_module("evaluate")
    found: dict = {
        "made_with": {
            "scorer": "google-research/xtreme, evaluate.py",
            "python": platform.python_version(),
            "seqeval": metadata.version("seqeval"),
            "numpy": metadata.version("numpy"),
            "by": "tests/scoring/remake_published.py",
        }
    }
    for row in BENCHMARKS.values():
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                sides = write(row, seed, pathlib.Path(folder))
                overall, detailed = published.evaluate(*map(str, sides), row.name.replace("_", "-"))
            found[f"{row.name} {seed}"] = {"overall": rounded(overall), "detailed": rounded(detailed)}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in found.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
