"""A cell, read and tokenised once, then kept as an ArrayRecord file under a name that says what is in it.

The definition of a task is its row: reader, format, vocabulary. `register.py` gives it to SeqIO; here the
same functions are run without TensorFlow, whose import alone takes longer than preparing a small cell. A
test holds the two against each other, example by example.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import msgpack
import numpy as np
from array_record.python import array_record_module

from xling_jax.data.formats import format_of
from xling_jax.data.sources import checksum, read
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import DataError
from xling_jax.tables.tasks import Cell

FORMAT_VERSION = 1  # raise it when a format's output changes


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared cell: where it lies and what was counted on the way.

    `lengths_N` and `example_N` have one entry for each feature: its tokens, and the number of the example
    it was made from.
    """

    cell: Cell
    path: pathlib.Path
    checksum: str
    examples: int
    lengths_N: np.ndarray
    example_N: np.ndarray

    def raw(self) -> list[dict]:
        """Returns the raw examples, in order. Training cells do not keep them."""
        with open(self.path / "examples.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def raw_examples(cell: Cell, data_dir: pathlib.Path | None, limit: int) -> Iterator[dict]:
    """Yields the first `limit` raw examples of a cell, all of them if it is 0."""
    return itertools.islice(read(cell, data_dir), limit or None)


def pack_feature(feature: dict[str, np.ndarray]) -> bytes:
    """Returns a feature as bytes."""
    return msgpack.packb({name: (list(x.shape), x.astype("<i4").tobytes()) for name, x in feature.items()})


def unpack_feature(record: bytes) -> dict[str, np.ndarray]:
    """Returns the feature that `pack_feature` was given."""
    fields = msgpack.unpackb(record)
    return {name: np.frombuffer(data, "<i4").reshape(shape) for name, (shape, data) in fields.items()}


def _address(cell: Cell, tokenizer: Tokenizer, max_length: int, data: str, limit: int) -> str:
    """Returns the hash of everything that decides a prepared cell's content."""
    row = dataclasses.replace(cell.row, splits={})  # the path of a file does not change what is in it
    decides = (FORMAT_VERSION, str(cell), repr(row), tokenizer.fingerprint, max_length, data, limit)
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:12]


def prepare(
    cell: Cell,
    tokenizer: Tokenizer,
    max_length: int,
    root: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    limit: int = 0,
) -> Prepared:
    """Returns a prepared cell, making it first if it is not there.

    It is written beside its place and moved there whole, so that a process that dies leaves nothing half
    done, and of two that work at once the slower one finds the place taken and uses what is there.

    Args:
      cell: what to prepare.
      tokenizer: the vocabulary.
      max_length: tokens of a feature, special ones included.
      root: folder of all prepared cells.
      data_dir: the data folder, for tasks that are read from files.
      limit: examples to take from the beginning; 0 for all.
    """
    data = checksum(cell, data_dir)
    final = root / f"{cell}-{_address(cell, tokenizer, max_length, data, limit)}"
    if not final.exists():
        part = root / f".{final.name}.{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _write(part, cell, tokenizer, max_length, data_dir, limit, data)
            part.rename(final)
        except OSError:
            if not final.exists():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return load(cell, final)


def _write(part, cell, tokenizer, max_length, data_dir, limit, data) -> None:
    make = format_of(cell.row.kind).features
    keep_raw = cell.split != "train"
    writer = array_record_module.ArrayRecordWriter(str(part / "data.arrayrecord"), "group_size:1")
    lengths: list[int] = []
    example_of: list[int] = []
    count = 0
    with open(part / "examples.jsonl", "w", encoding="utf-8") as raw:
        for count, example in enumerate(raw_examples(cell, data_dir, limit), start=1):
            for feature in make(example, tokenizer, max_length, cell.row):
                writer.write(pack_feature(feature))
                lengths.append(feature["input_ids"].shape[-1])
                example_of.append(count - 1)
            if keep_raw:
                raw.write(json.dumps(example, ensure_ascii=False) + "\n")
    writer.close()
    np.savez(part / "index.npz", lengths=np.array(lengths, np.int32), example=np.array(example_of, np.int32))
    (part / "meta.json").write_text(json.dumps({"cell": str(cell), "examples": count, "checksum": data}))


def load(cell: Cell, path: pathlib.Path) -> Prepared:
    """Returns what `prepare` left at a path. Raises DataError if a part of it is missing or broken."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        with np.load(path / "index.npz") as index:
            lengths_N, example_N = index["lengths"], index["example"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The prepared cell {path} is damaged ({error}).\n"
            "Delete that folder; it is made again from the data by the next run."
        ) from error
    return Prepared(cell, path, meta["checksum"], meta["examples"], lengths_N, example_N)


class Records:
    """Random access to the features of a prepared cell."""

    def __init__(self, prepared: Prepared):
        self._prepared = prepared
        self._reader = None

    def read(self, numbers: list[int]) -> list[dict[str, np.ndarray]]:
        """Returns the features with these numbers, in this order."""
        if self._reader is None:  # opened late, so that the object can be sent to another process
            path = str(self._prepared.path / "data.arrayrecord")
            self._reader = array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")
        return [unpack_feature(record) for record in self._reader.read(numbers)]

    def __getstate__(self):
        return {"_prepared": self._prepared, "_reader": None}
