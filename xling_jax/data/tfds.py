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
from collections.abc import Iterator
from typing import Any

import numpy as np

from xling_jax.data.readers.files import File
from xling_jax.data.readers.records import read_records
from xling_jax.data.readers.squad import read_questions
from xling_jax.data.readers.tables import Record
from xling_jax.errors import DataError
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import Cell

DEFAULT_FOLDER = "~/tensorflow_datasets"  # its own default; TFDS_DATA_DIR names another

NLI = {"text": "premise", "text_pair": "hypothesis", "label": "label"}

# Data set -> where it has what a row's file has elsewhere: {field of the kind or column of the file: its own name}.
NAMES = {
    "multi_nli": NLI,
    "snli": NLI,
    "xnli": NLI,
    "anli": {"text": "context", "text_pair": "hypothesis", "label": "label"},
    "glue": {"text": "question1", "text_pair": "question2", "label": "label"},
    "paws_x_wiki": {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
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
    """Returns the raw examples of a prepared cell; `tables/kinds.py` has their fields."""
    file = File(f"{store.folder}: {store.split}", b"")
    records = [file], cell
    if cell.row.kind == "span_qa":
        return read_questions(file, cell, (_question(record) for record in _records(store, *records)))
    if cell.row.kind in ("tagging", "retrieval"):
        names = KINDS[cell.row.kind].fields
        return (
            {"id": f"{cell.language}.{record.number}"} | {name: record.columns[name] for name in names}
            for record in _records(store, *records)
        )
    return read_records(functools.partial(_records, store), *records)


def _records(store: Store, files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the records of a split, with columns named as in the row's own file."""
    import tensorflow_datasets as tfds  # noqa: PLC0415 - many seconds

    builder = tfds.builder_from_directory(store.folder)
    features = builder.info.features
    config = tfds.ReadConfig(interleave_cycle_length=1)  # one file after another: the same order each time
    dataset = builder.as_dataset(split=store.split, shuffle_files=False, read_config=config)  # ty: ignore[missing-argument] - wrapped
    names = NAMES.get(store.dataset, {})
    for number, values in enumerate(tfds.as_numpy(dataset), start=1):
        columns = {name: _plain(value, features[name], cell) for name, value in values.items()}
        renamed = {cell.row.fields.get(ours, ours): columns[theirs] for ours, theirs in names.items()}
        if _is_in_language(columns, store, cell):
            yield Record(files[0], 0, number, columns | renamed)


def _plain(value: Any, feature: Any, cell: Cell) -> Any:
    """Returns a value of NumPy's as Python's; a class by its word, a text of several languages in the cell's."""
    if isinstance(value, dict):
        if "translation" in value:
            value = dict(zip(_plain(value["language"], None, cell), value["translation"], strict=True))
        if cell.language in value:
            return _plain(value[cell.language], None, cell)
        return {name: _plain(inner, None, cell) for name, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    feature = getattr(feature, "feature", feature)
    if isinstance(value, np.ndarray):
        return [_plain(inner, feature, cell) for inner in value]
    return _word(int(value), feature, cell) if isinstance(value, np.integer) else value


def _word(number: int, feature: Any, cell: Cell) -> str | int:
    """Returns the word of a class as the row knows it: the data set's name of it, or its number; "-" for none."""
    if not hasattr(feature, "int2str"):
        return number
    if number < 0:
        return "-"
    word = feature.int2str(number)
    return word if word in cell.row.labels or word in cell.row.words else str(number)


def _is_in_language(columns: dict, store: Store, cell: Cell) -> bool:
    """Says whether a record is in the cell's language; TyDi QA says so only in its ids."""
    name = LANGUAGES[cell.language].name.lower()
    return store.dataset != "tydi_qa" or str(columns["id"]).startswith(f"{name}-")


def _question(record: Record) -> tuple[str, str, dict]:
    """Returns (where it is, context, question as SQuAD's JSON has it)."""
    columns = record.columns
    answers = [
        {"text": text, "answer_start": start}
        for text, start in zip(columns["answers"]["text"], columns["answers"]["answer_start"], strict=True)
    ]
    return f"record {record.number}", columns["context"], {**columns, "answers": answers}
