"""Cells that tensorflow-datasets has prepared. Nothing is downloaded or prepared here.

What is there, how much and whether it changed is read from the `dataset_info.json` that it leaves beside the data;
only reading the data imports it, and TensorFlow with it.

Its order is not the publisher's, and where it keeps no ids, numbers in its order are the ids.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xling_jax.data.readers.files import File
from xling_jax.data.readers.records import read_records
from xling_jax.data.readers.squad import read_questions
from xling_jax.data.readers.tables import Record
from xling_jax.errors import DataError
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import Cell

DEFAULT_FOLDER = "~/tensorflow_datasets"  # its own default; TFDS_DATA_DIR names another

NLI = {"text": "premise", "text_pair": "hypothesis"}

# Data set -> where it has what a row's file has elsewhere: {field of the kind or column of the file: its own name}.
NAMES = {
    "multi_nli": NLI,
    "snli": NLI,
    "xnli": NLI,
    "anli": {"text": "context", "text_pair": "hypothesis"},
    "glue": {"text": "question1", "text_pair": "question2"},
    "paws_x_wiki": {"text": "sentence1", "text_pair": "sentence2"},
    "hellaswag": {"ctx": "context"},
    "tatoeba": {"text": "source_sentence", "text_pair": "target_sentence"},
}


@dataclasses.dataclass(frozen=True)
class Store:
    """A split that is prepared: its folder, data set, name, and what its `dataset_info.json` says of it."""

    folder: pathlib.Path
    dataset: str
    split: str
    said: dict

    @property
    def examples(self) -> int:
        """Returns how many records it has."""
        return sum(map(int, self.said["shardLengths"]))

    def checksum(self) -> str:
        """Returns the SHA-256 of what its `dataset_info.json` says; the data themselves may be terabytes."""
        said = json.dumps([self.dataset, self.folder.name, self.said], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def spec(cell: Cell) -> str:
    """Returns "name/config:version/split" for a cell; "" if its row names none."""
    row = LANGUAGES[cell.language]
    code = cell.row.codes.get(cell.language, cell.language)
    return cell.row.splits[cell.split].tfds.format(language=code, iso3=row.iso3, name=row.name)


def find(cell: Cell) -> Store | None:
    """Returns where a cell is prepared, or None. Raises DataError for a broken `dataset_info.json`."""
    name, _, rest = spec(cell).partition(":")
    version, _, split = rest.partition("/")
    root = pathlib.Path(os.environ.get("TFDS_DATA_DIR", DEFAULT_FOLDER)).expanduser()
    folder = root / name / version
    info = folder / "dataset_info.json"
    if not split or not info.is_file():
        return None
    try:
        splits = {entry["name"]: entry for entry in json.loads(info.read_text("utf-8"))["splits"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{info} is broken ({error}).\nAllowed: what tensorflow-datasets wrote.") from error
    return Store(folder, name.partition("/")[0], split, splits[split]) if split in splits else None


def read(cell: Cell, store: Store) -> Iterator[dict]:
    """Returns the raw examples of a prepared cell."""
    file = File(f"{store.folder}:{store.split}", b"")
    records = functools.partial(_records, store)
    if cell.row.kind == "span_qa":
        return read_questions(file, cell, (_question(record) for record in records([file], cell)))
    if cell.row.kind == "tagging":
        return ({"id": f"{cell.language}.{record.number}"} | _picked(record, cell) for record in records([file], cell))
    if cell.row.kind == "retrieval":
        return ({"id": f"{cell.language}.{record.number}"} | _picked(record, cell) for record in records([file], cell))
    return read_records(records, [file], cell)
