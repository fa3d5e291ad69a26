"""Texts of the jobs of `benchmarks/finetuning.py`: prepared for this program, and the same ids for its peer."""

import dataclasses
import os
import pathlib
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xling_jax.data.prepare import Prepared, Records, prepare, raw_examples
from xling_jax.data.tokenizers import SentencePieceTokenizer, train_sentencepiece
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells

VOCABULARY = 20_000  # pieces, trained on the texts themselves: in 15 languages words have about as many as in XLM-R's
FIELDS = ("text", "text_pair", "question", "context")


def parts_of(job: Any) -> list[Part]:
    """Returns the parts that a job reads."""
    return [Part(cell, 0, job.examples, job.max_length) for cell in parse_cells(job.cells)]


def make(folder: pathlib.Path, jobs: Mapping[str, Any]) -> None:
    """Makes a vocabulary, prepared cells, and a file of ids for each job."""
    for name, cells in prepared(folder, jobs).items():
        np.savez_compressed(folder / f"{name}.npz", **_ids(cells))
        there = [dataclasses.replace(cell, path=cell.path.relative_to(folder)) for cell in cells]
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(there))
        print(f"{name}: {sum(cell.features for cell in cells)} texts of {len(cells)} cells")


def prepared(folder: pathlib.Path, jobs: Mapping[str, Any]) -> dict[str, list[Prepared]]:
    """Returns the prepared cells of jobs, made the first time, as is a vocabulary of their texts."""
    data_dir, model = pathlib.Path(os.environ["XLING_DATA"]), folder / "vocabulary.model"
    parts = {name: parts_of(job) for name, job in jobs.items()}
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        every = dict.fromkeys(part for found in parts.values() for part in found)
        train_sentencepiece(dict.fromkeys(_texts(every, data_dir)), VOCABULARY, model)
    tokenizer = SentencePieceTokenizer(model)
    return {
        name: [prepare(part, tokenizer, folder / "prepared", data_dir) for part in found]
        for name, found in parts.items()
    }


def opened(folder: pathlib.Path, name: str) -> list[Prepared]:
    """Returns the prepared cells of a job, of which no data is needed any more."""
    cells = pickle.loads((folder / f"{name}.pickle").read_bytes())
    return [dataclasses.replace(cell, path=folder / cell.path) for cell in cells]


def _texts(parts: Iterable[Part], data_dir: pathlib.Path):
    for part in parts:
        for example in raw_examples(part, data_dir):
            yield from (example[name] for name in FIELDS if name in example)
            if "tokens" in example:
                yield " ".join(example["tokens"])


def _ids(cells: list[Prepared]) -> dict[str, np.ndarray]:
    """Returns flat `input_ids` and `lengths` of all features, and what is to be answered, as the formats have it."""
    features = [feature for cell in cells for feature in Records(cell).read(list(range(cell.features)))]
    found = {"lengths": np.array([len(feature["input_ids"]) for feature in features], np.int32)}
    for name in features[0]:
        if name in ("input_ids", "labels", "label", "start", "end"):
            found[name] = np.concatenate([np.atleast_1d(feature[name]) for feature in features]).astype(np.int32)
    return found
