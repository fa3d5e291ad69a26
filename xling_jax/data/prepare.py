"""A cell, read and tokenised once, then kept as an ArrayRecord file under a name that says what is in it.

The definition of a task is its row: reader, format, vocabulary. `register.py` gives it to SeqIO; here the
same functions are run without TensorFlow, whose import alone takes longer than preparing a small cell. A
test holds the two against each other, example by example.
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import shutil
import uuid
import zipfile
from collections.abc import Iterator

import msgpack
import numpy as np
from array_record.python import array_record_module  # ty: ignore[import-not-found] - compiled, without stubs

from xling_jax.data.formats import Feature, format_of
from xling_jax.data.sources import checksum, read
from xling_jax.data.token_counts import TokenCounter, TokenCounts
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.tables.tasks import Cell

FORMAT_VERSION = 3  # raise it when a format's output changes
# Columns of a task row that decide what is prepared; licence and source do not.
DECIDING = ("kind", "reader", "labels", "pivot", "fields", "words")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared cell: where it lies and what was counted on the way.

    `lengths_N` and `example_N` have one entry for each feature: its tokens, and the number of the example
    it was made from. `pad` is the id that its inputs are padded with.
    """

    cell: Cell
    path: pathlib.Path
    checksum: str
    counts: TokenCounts
    max_length: int
    pad: int
    lengths_N: np.ndarray
    example_N: np.ndarray

    @property
    def examples(self) -> int:
        """Returns how many raw examples there are."""
        return self.counts.examples

    @property
    def features(self) -> int:
        """Returns how many features there are."""
        return len(self.lengths_N)

    @property
    def table(self) -> dict[str, Feature]:
        """Returns the arrays of a feature, with the padding of the tokenizer they were made with."""
        table = format_of(self.cell.row.kind).FEATURES
        return table | {"input_ids": dataclasses.replace(table["input_ids"], pad=self.pad)}

    def raw(self) -> list[dict]:
        """Returns the raw examples, in order. Training cells do not keep them."""
        try:
            with open(self.path / "examples.jsonl", encoding="utf-8") as lines:
                found = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise damaged(self.path, error) from error
        if _keeps_raw(self.cell) and len(found) != self.examples:
            raise damaged(self.path, f"examples.jsonl has {len(found)} examples of {self.examples}")
        return found


def damaged(path: pathlib.Path, found: object) -> DataError:
    """Returns the error for a prepared cell that is not what `prepare` left."""
    return DataError(
        f"The prepared cell {path} is damaged ({found}).\n"
        "Allowed: what `prepare` wrote.\n"
        "Delete that folder; it is made again from the data by the next run."
    )


def _keeps_raw(cell: Cell) -> bool:
    return cell.split != "train"


def raw_examples(part: Part, data_dir: pathlib.Path | None) -> Iterator[dict]:
    """Yields the raw examples of a part of a cell."""
    last = part.first + part.count if part.count else None
    return itertools.islice(read(part.cell, data_dir), part.first, last)


def pack_feature(feature: dict[str, np.ndarray]) -> bytes:
    """Returns a feature as bytes."""
    return msgpack.packb({name: (list(x.shape), x.astype("<i4").tobytes()) for name, x in feature.items()})


def unpack_feature(record: bytes) -> dict[str, np.ndarray]:
    """Returns the feature that `pack_feature` was given."""
    fields = msgpack.unpackb(record)
    return {name: np.frombuffer(data, "<i4").reshape(shape) for name, (shape, data) in fields.items()}


def _address(part: Part, tokenizer: Tokenizer, data: str) -> str:
    """Returns the hash of everything that decides a prepared part's content."""
    row = [repr(getattr(part.cell.row, column)) for column in DECIDING]
    decides = (FORMAT_VERSION, repr(part), row, tokenizer.fingerprint, data)
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:12]


def prepare(part: Part, tokenizer: Tokenizer, root: pathlib.Path, data_dir: pathlib.Path | None = None) -> Prepared:
    """Returns a prepared part of a cell, making it first if it is not there.

    It is written beside its place and moved there whole, so that a process that dies leaves nothing half
    done, and of two that work at once the slower one finds the place taken and uses what is there.

    Args:
      part: what to prepare.
      tokenizer: the vocabulary.
      root: folder of all that is prepared.
      data_dir: the data folder, for tasks that are read from files.

    Raises:
      DataError: a file is missing or broken, or the part begins beyond the end of the cell.
    """
    data = checksum(part.cell, data_dir)
    final = root / f"{part.cell}-{_address(part, tokenizer, data)}"
    if not final.exists():
        draft = root / f".{final.name}.{uuid.uuid4().hex}"  # process numbers are not unique on a shared disk
        draft.mkdir(parents=True)
        try:
            counts = _write(draft, part, raw_examples(part, data_dir), tokenizer)
            meta = {
                "cell": str(part.cell),
                "checksum": data,
                "counts": dataclasses.asdict(counts),
                "max_length": part.max_length,
                "pad": tokenizer.pad,
            }
            (draft / "meta.json").write_text(json.dumps(meta))
            draft.rename(final)
        except OSError:
            if not final.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return load(part.cell, final)


def _write(folder: pathlib.Path, part: Part, examples: Iterator[dict], tokenizer: Tokenizer) -> TokenCounts:
    """Writes all features of a part and returns what was counted on the way."""
    make = format_of(part.cell.row.kind).features
    keep_raw = _keeps_raw(part.cell)
    writer = array_record_module.ArrayRecordWriter(str(folder / "data.arrayrecord"), "group_size:1,uncompressed")
    lengths: list[int] = []
    example_of: list[int] = []
    counter = TokenCounter(part, tokenizer)
    with open(folder / "examples.jsonl", "w", encoding="utf-8") as raw:
        for number, example in enumerate(examples):
            made = make(example, tokenizer, part.max_length, part.cell.row)
            counter.add(example, made)
            for feature in made:
                writer.write(pack_feature(feature))
                lengths.append(feature["input_ids"].shape[-1])
                example_of.append(number)
            if keep_raw:
                raw.write(json.dumps(example, ensure_ascii=False) + "\n")
    writer.close()
    if not lengths:
        raise DataError(
            f"Cell {part.cell} has no examples from number {part.first} on.\n"
            "Allowed: a part of what is there; see `examples` of the stage and `limits` of the config."
        )
    np.savez(folder / "index.npz", lengths=np.array(lengths, np.int32), example=np.array(example_of, np.int32))
    return counter.counts


def load(cell: Cell, path: pathlib.Path) -> Prepared:
    """Returns what `prepare` left at a path. Raises DataError if a part of it is missing or broken."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        with np.load(path / "index.npz") as index:
            lengths_N, example_N = index["lengths"], index["example"]
        counts = TokenCounts(**meta["counts"])
        found = Prepared(cell, path, meta["checksum"], counts, meta["max_length"], meta["pad"], lengths_N, example_N)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error
    records = _reader(path).num_records()
    if records != found.features:
        raise damaged(path, f"data.arrayrecord has {records} features of {found.features}")
    return found


def _reader(path: pathlib.Path) -> array_record_module.ArrayRecordReader:
    """Returns the reader of a prepared cell's features; one of a missing or broken file has none."""
    return array_record_module.ArrayRecordReader(str(path / "data.arrayrecord"), "readahead_buffer_size:0")


class Records:
    """Random access to the features of a prepared cell."""

    def __init__(self, prepared: Prepared):
        self._prepared = prepared
        self._reader = None

    def read(self, numbers: list[int]) -> list[dict[str, np.ndarray]]:
        """Returns the features with these numbers, in this order. Raises DataError if their bytes have changed."""
        if self._reader is None:  # opened late, so that the object can be sent to another process
            self._reader = _reader(self._prepared.path)
        assert 0 <= min(numbers) <= max(numbers) < self._prepared.features, "a feature that is not there"
        try:
            return [unpack_feature(record) for record in self._reader.read(numbers)]
        except RuntimeError as error:  # the checksum of a block does not fit
            raise damaged(self._prepared.path, error) from error

    def __getstate__(self):
        return {"_prepared": self._prepared, "_reader": None}
