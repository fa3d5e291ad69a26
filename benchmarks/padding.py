"""The share of padding in an epoch of training batches: padded to one length, bucketed, and packed.

    XLING_DATA=... python benchmarks/padding.py WORKDIR

Writes padding.json beside this file. WORKDIR keeps the vocabulary and the prepared cells. A minute on one core.
"""

import os
import pathlib
import sys

from subjects import SUBJECTS, VOCABULARY, conditions, open_subjects, write

from xling_jax.data.batches import Batches, BatchPlan, examples_of_step

BATCH = 32  # examples


def measure(cell, **how) -> dict:
    """Returns the share of padding, the shapes that are compiled, and how large batches are."""
    plan = BatchPlan(BATCH, 0, **how)
    source = Batches([cell], rates=[1], plan=plan, steps=round(cell.features / examples_of_step([cell], [1], plan)))
    tokens = padded = examples = 0
    shapes = set()
    for step in range(len(source)):
        ids = source[step][1]["input_ids"]
        shapes.add(ids.shape)
        tokens += int((ids != 1).sum())
        padded += ids.size
        examples += len(source.identify(step))
    return {
        "padding": round(1 - tokens / padded, 4),
        "shapes": len(shapes),
        "steps": len(source),
        "examples_of_a_step": round(examples / len(source), 2),
        "tokens_of_a_step_with_padding": round(padded / len(source)),
    }


def main() -> None:
    """Measures every subject."""
    cells = open_subjects(pathlib.Path(sys.argv[1]), pathlib.Path(os.environ["XLING_DATA"]))
    found = {}
    for name, cell in cells.items():
        length = SUBJECTS[name].max_length
        found[name] = {
            "cell": SUBJECTS[name].cell,
            "features": cell.features,
            "mean_length": round(float(cell.lengths_N.mean()), 2),
            "max_length": length,
            "padded": measure(cell, buckets=(length,)),
            "bucketed": {"buckets": SUBJECTS[name].buckets} | measure(cell, buckets=SUBJECTS[name].buckets),
            "packed": measure(cell, buckets=(length,), packing=True),
        }
    record = {
        "what": "share of padding among all tokens of an epoch; goal: under 0.03 packed",
        "batch_size": BATCH,
        "vocabulary": f"SentencePiece, {VOCABULARY} pieces, trained on the text measured",
        "subjects": found,
    }
    write(pathlib.Path(__file__).with_suffix(".json"), record | conditions("numpy", "array-record", "sentencepiece"))


if __name__ == "__main__":
    main()
