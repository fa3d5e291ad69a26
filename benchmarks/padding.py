"""The share of padding in an epoch of training batches: padded to one length, bucketed, and packed.

And of rows that all languages of XNLI's dev files and of XQuAD are evaluated in: each language alone, and all together.

    XLING_DATA=... python benchmarks/padding.py WORKDIR

Writes padding.json beside this file. WORKDIR keeps vocabularies and prepared cells. A few minutes on one core.
"""

import dataclasses
import os
import pathlib
import sys

from finetuning_arms.inputs import VOCABULARY as OF_LANGUAGES
from finetuning_arms.inputs import prepared
from finetuning_arms.shared import JOBS
from subjects import SUBJECTS, VOCABULARY, conditions, open_subjects, write

from xling_jax.data.batches import Batches, BatchPlan, examples_of_step
from xling_jax.data.texts import in_rows, rows_of
from xling_jax.experiment import Experiment, Target

BATCH = 32  # examples
EVALUATED = {name: dataclasses.replace(JOBS[name], examples=0) for name in ("xnli", "xquad")}  # all of them
EVAL_BATCH = 16


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


def read(cells, job) -> dict:
    """Returns the share of padding of rows that cells are evaluated in."""
    target = Target(cells[0].cell.task, max_length=job.max_length)
    lengths = Experiment(targets={"target": target}).lengths_of(target)
    rows = {length: rows_of(EVAL_BATCH, length) for length in lengths}
    tokens = sum(int(cell.lengths_N.sum()) for cell in cells)

    def padding(streams) -> float:
        batches = (batch for stream in streams for batch in in_rows(enumerate(stream), rows))
        return round(1 - tokens / sum(batch.arrays["input_ids"].size for batch in batches), 4)

    return {
        "rows": lengths,
        "texts": sum(cell.features for cell in cells),
        "tokens": tokens,
        "alone": padding([cell] for cell in cells),
        "together": padding([cells]),
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
    texts = prepared(pathlib.Path(sys.argv[1]) / "languages", EVALUATED)
    record = {
        "what": "share of padding among all tokens of an epoch; goal: under 0.03 packed",
        "batch_size": BATCH,
        "vocabulary": f"SentencePiece, {VOCABULARY} pieces, trained on the text measured",
        "subjects": found,
        "eval_batch_size": EVAL_BATCH,
        "vocabulary_of_languages": f"SentencePiece, {OF_LANGUAGES} pieces, trained on the text measured",
        "evaluated": {name: {"cells": job.cells} | read(texts[name], job) for name, job in EVALUATED.items()},
    }
    write(pathlib.Path(__file__).with_suffix(".json"), record | conditions("numpy", "array-record", "sentencepiece"))


if __name__ == "__main__":
    main()
