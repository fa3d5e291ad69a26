"""A cell, read and tokenised once, then kept as an ArrayRecord file under a name that says what is in it.

The definition of a task is its row: reader, format, vocabulary. `register.py` gives it to SeqIO; here the
same functions are run without TensorFlow, whose import alone takes longer than preparing a small cell. A
test holds the two against each other, example by example.
"""

import array
import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import json
import mmap
import operator
import os
import pathlib
import shutil
import socket
import time
import uuid
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np
from array_record.python import array_record_module  # ty: ignore[import-not-found] - compiled, without stubs

from xling_jax.data.formats import Feature, format_of, format_of_part
from xling_jax.data.formats.text import TABLES
from xling_jax.data.records import Block, choices_of, pack_feature, unpack_feature
from xling_jax.data.sources import checksum, read
from xling_jax.data.token_counts import TokenCounter, TokenCounts
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.disk import fetch, here, on_bucket, send, writing
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.tables.prompts import HEADS, prompt_of
from xling_jax.tables.tasks import Cell

FORMAT_VERSION = 6  # raise it when a format's output changes
# Columns of a task row that decide what is in a cell; licence and source do not.
CONTENT = ("kind", "reader", "labels", "pivot", "fields", "words", "choices", "faults", "unanswerable")
CHUNK = 256  # examples that are made at once
STALE = 24 * 3600.0  # seconds after which whoever wrote a draft is dead
YOUNG = 2.0  # seconds until which a draft of this machine may not be locked yet
META = "meta.json"  # written last, so where it is there is all of a cell
LAZY = 64 << 20  # bytes of raw examples above which they stay on disk


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared cell: where it lies and what was counted on the way.

    `lengths_N` and `example_N` have one entry for each feature: its tokens, and the number of the example
    it was made from. `choices` is the largest number of choices of an example, 1 where a kind has none. `pad` is the
    id that its inputs are padded with. `form` and `answer_length` are those of a `Part`; the latter is what its answers
    take.
    """

    cell: Cell
    path: pathlib.Path
    checksum: str
    counts: TokenCounts
    max_length: int
    pad: int
    lengths_N: np.ndarray
    example_N: np.ndarray
    choices: int = 1
    form: str = HEADS
    answer_length: int = 0
    first: int = 0  # number in the cell of the first example

    @property
    def head(self) -> str:
        """Returns what trains with it: the head of its task, or the one way to say everything."""
        return self.cell.row.head_name if self.form == HEADS else "text"

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
        return table_of(self.cell.row.kind, self.form, self.pad, self.answer_length)

    @property
    def texts(self) -> tuple[int, ...]:
        """Returns the axes that the texts of a feature are on, none where its format has one: (4,) of four choices."""
        return (self.choices,) if "C" in self.table["input_ids"].axes else ()

    def raw(self) -> Sequence[dict]:
        """Returns the raw examples, in order; many are read as they are asked for. Training cells keep none."""
        path = self.path / "examples.jsonl"
        try:
            found = RawExamples(path) if path.stat().st_size > LAZY else [*map(json.loads, path.open("rb"))]
        except (OSError, ValueError) as error:
            raise damaged(self.path, error) from error
        if keeps_raw(self.cell) and len(found) != self.examples:
            raise damaged(self.path, f"examples.jsonl has {len(found)} examples of {self.examples}")
        return found


def table_of(kind: str, form: str, pad: int, answer_length: int) -> dict[str, Feature]:
    """Returns the arrays of a feature: with heads, or in words with answers of a length. `pad`: of its ids."""
    table = format_of(kind).FEATURES if form == HEADS else TABLES[kind]
    sized = {name: dataclasses.replace(spec, answer_length=answer_length) for name, spec in table.items()}
    return sized | {"input_ids": dataclasses.replace(table["input_ids"], pad=pad)}


class RawExamples(Sequence):
    """The examples of a file of JSON lines, each parsed when it is asked for."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ends = array.array("q")
        while (end := self._bytes.find(b"\n", ends[-1] if ends else 0)) >= 0:
            ends.append(end + 1)
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        try:
            return json.loads(self._bytes[self._ends[at - 1] if at else 0 : self._ends[at]])
        except ValueError as error:
            raise damaged(self._path.parent, f"line {at + 1} of examples.jsonl: {error}") from error


def damaged(path: pathlib.Path, found: object) -> DataError:
    """Returns the error for a prepared cell that is not what `prepare` left."""
    return DataError(
        f"The prepared cell {path} is damaged ({found}).\n"
        "Allowed: what `prepare` wrote.\n"
        "Delete that folder; it is made again from the data by the next run."
    )


def keeps_raw(cell: Cell) -> bool:
    """Whether a cell's raw examples are kept beside what is prepared; a training set's are read again if need be."""
    return cell.split != "train"


def raw_examples(part: Part, data_dir: pathlib.Path | None) -> Iterator[dict]:
    """Yields the raw examples of a part of a cell; where two collections are mined, so many of each."""
    last = part.first + part.count if part.count else None
    examples = read(part.cell, data_dir)
    if part.cell.row.kind == "mining":
        for _, side in itertools.groupby(examples, key=operator.itemgetter("side")):
            yield from itertools.islice(side, part.first, last)
    else:
        yield from itertools.islice(examples, part.first, last)


def _address(part: Part, tokenizer: Tokenizer, data: str) -> str:
    """Returns the hash of everything that decides a prepared part's content."""
    row = {name: getattr(part.cell.row, name) for name in CONTENT}
    row = {name: sorted(column.items()) if isinstance(column, Mapping) else column for name, column in row.items()}
    asked = () if part.form == HEADS else (repr(prompt_of(part.cell.row, part.form)),)
    decides = (FORMAT_VERSION, repr(part), row, tokenizer.fingerprint, data, *asked)
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:12]


def place(part: Part, tokenizer: Tokenizer, root: pathlib.Path, data_dir: pathlib.Path | None) -> pathlib.Path:
    """Returns where a part lies once it is prepared."""
    return root / f"{part.cell}-{_address(part, tokenizer, checksum(part.cell, data_dir))}"


def is_prepared(part: Part, tokenizer: Tokenizer, root: pathlib.Path, data_dir: pathlib.Path | None) -> bool:
    """Whether a part is there, where all who work in a folder find it."""
    folder = place(part, tokenizer, root, data_dir)
    return (folder / META).is_file() if on_bucket(folder) else folder.exists()


def prepare(
    part: Part,
    tokenizer: Tokenizer,
    root: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    each: Callable = map,
) -> Prepared:
    """Returns a prepared part of a cell, making it first if it is not there.

    It is written beside its place and moved there whole, so that a process that dies leaves nothing half
    done, and of two that work at once the slower one finds the place taken and uses what is there. Files are read
    from a disk: where `root` is on a bucket, they are copied to and from it.

    Args:
      part: what to prepare.
      tokenizer: the vocabulary.
      root: folder of all that is prepared.
      data_dir: the data folder, for tasks that are read from files.
      each: `map`, or one like it that divides the work (see `prepare_all`) and keeps the order.

    Raises:
      DataError: a file is missing or broken, or the part begins beyond the end of the cell.
    """
    data = checksum(part.cell, data_dir)
    kept = root / f"{part.cell}-{_address(part, tokenizer, data)}"
    final = here(kept)
    there = on_bucket(kept) and (kept / META).is_file()
    if not final.exists():
        sweep(root)
        # Process numbers are not unique on a shared disk.
        draft = final.parent / f".{final.name}.{socket.gethostname()}-{uuid.uuid4().hex}"
        try:
            with writing(final), _locked(draft):
                if there:
                    fetch(kept, draft)
                else:
                    counts = _write(draft, part, raw_examples(part, data_dir), tokenizer, each)
                    (draft / META).write_text(json.dumps(_about(part, tokenizer, data, counts)))
                draft.rename(final)
        except OSError:
            if not final.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if not there:
        send(final, kept, last=META)
    return dataclasses.replace(load(part.cell, final), first=part.first)


def _about(part: Part, tokenizer: Tokenizer, data: str, counts: TokenCounts) -> dict:
    """Returns what is said of a prepared part; `data` is the checksum of its source."""
    return {
        "cell": str(part.cell),
        "checksum": data,
        "counts": dataclasses.asdict(counts),
        "max_length": part.max_length,
        "pad": tokenizer.pad,
        "form": part.form,
        "answer_length": format_of_part(part, tokenizer).answer_length if part.form != HEADS else 0,
    }


def sweep(root: pathlib.Path) -> None:
    """Removes drafts of processes that died: of this machine, nobody locks them; of any, nobody has written for a day.

    Locks do not reach other machines on every shared disk. What was killed a moment ago stays for the next time.
    """
    for draft in here(root).glob(".*-*.*"):
        try:
            touched = max(path.stat().st_mtime for path in [draft, *draft.iterdir()])
        except OSError:  # just moved to its place, or removed by another process
            continue
        age = time.time() - touched
        if age > STALE or (age > YOUNG and f".{socket.gethostname()}-" in draft.name and not _is_locked(draft)):
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _locked(draft: pathlib.Path) -> Generator[None]:
    """Makes a folder, and holds a lock on it while the block runs, or its process lives."""
    draft.mkdir(parents=True)
    handle = os.open(draft, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a disk without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_locked(draft: pathlib.Path) -> bool:
    try:
        handle = os.open(draft, os.O_RDONLY)
    except OSError:  # just moved to its place
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Features of some examples, ready to be written: a record, a length and a number of choices for each feature."""

    counts: TokenCounts
    records: list[bytes]
    lengths: list[int]
    choices: list[int]
    made_of: list[int]  # features of each example


def make_chunk(examples: list[dict], part: Part, tokenizer: Tokenizer) -> Chunk:
    """Returns the features of some examples of a part."""
    form, row = format_of_part(part, tokenizer), part.cell.row
    made = [form.features(example, tokenizer, part.max_length, row) for example in examples]
    counter = TokenCounter(part, tokenizer)
    for example, several in zip(examples, made, strict=True):
        counter.add(example, several)
    features = [feature for several in made for feature in several]
    return Chunk(
        counter.counts,
        [pack_feature(feature, form.FEATURES) for feature in features],
        [feature["input_ids"].shape[-1] for feature in features],
        [choices_of(feature, form.FEATURES) for feature in features],
        [len(several) for several in made],
    )


def _chunks(examples: Iterable[dict], keep: Callable[[str], object] | None) -> Iterator[list[dict]]:
    """Yields examples by the chunk, and gives each of them to `keep` as a line of JSON."""
    examples = iter(examples)
    while chunk := list(itertools.islice(examples, CHUNK)):
        if keep is not None:
            keep("".join(json.dumps(example, ensure_ascii=False) + "\n" for example in chunk))
        yield chunk


def _write(
    folder: pathlib.Path, part: Part, examples: Iterable[dict], tokenizer: Tokenizer, each: Callable
) -> TokenCounts:
    """Writes all features of a part and returns what was counted on the way."""
    writer = array_record_module.ArrayRecordWriter(str(folder / "data.arrayrecord"), "group_size:1,uncompressed")
    lengths, choices, made_of = (array.array("i") for _ in range(3))
    counts = TokenCounts()
    with open(folder / "examples.jsonl", "w", encoding="utf-8") as raw:
        chunks = _chunks(examples, raw.write if keeps_raw(part.cell) else None)
        for chunk in each(make_chunk, chunks, itertools.repeat(part), itertools.repeat(tokenizer)):
            for record in chunk.records:
                writer.write(record)
            counts += chunk.counts
            lengths.extend(chunk.lengths)
            choices.extend(chunk.choices)
            made_of.extend(chunk.made_of)
    writer.close()
    if not lengths:
        raise DataError(
            f"Cell {part.cell} has no examples from number {part.first} on.\n"
            "Allowed: a part of what is there; see `examples` of the stage and `limits` of the config."
        )
    example_N = np.repeat(np.arange(len(made_of), dtype=np.int32), made_of)
    np.savez(folder / "index.npz", lengths=np.array(lengths), example=example_N, choices=np.array(choices))
    return counts


def load(cell: Cell, path: pathlib.Path) -> Prepared:
    """Returns what `prepare` left at a path. Raises DataError if a part of it is missing or broken."""
    try:
        meta = json.loads((path / META).read_text())
        with np.load(path / "index.npz") as index:
            lengths_N, example_N, choices_N = index["lengths"], index["example"], index["choices"]
        choices, counts = int(choices_N.max(initial=1)), TokenCounts(**meta["counts"])
        sizes = {name: meta[name] for name in ("checksum", "max_length", "pad", "form", "answer_length")}
        found = Prepared(cell, path, counts=counts, lengths_N=lengths_N, example_N=example_N, choices=choices, **sizes)
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
        self.prepared = prepared
        self._reader = None

    def bytes(self, numbers: list[int]) -> list[bytes]:
        """Returns the records with these numbers, in this order. Raises DataError if their bytes have changed.

        A call costs as much as some hundred records: ask for many at once.
        """
        if self._reader is None:  # opened late, so that the object can be sent to another process
            self._reader = _reader(self.prepared.path)
        assert 0 <= min(numbers) <= max(numbers) < self.prepared.features, "a feature that is not there"
        try:
            return self._reader.read(numbers)
        except RuntimeError as error:  # the checksum of a block does not fit
            raise damaged(self.prepared.path, error) from error

    def block(self, numbers: np.ndarray) -> Block:
        """Returns the same as one block, to be laid out."""
        return Block.of(self.bytes(numbers.tolist()))

    def read(self, numbers: list[int]) -> list[dict[str, np.ndarray]]:
        """Returns the features themselves."""
        try:
            return [unpack_feature(record, self.prepared.table) for record in self.bytes(numbers)]
        except ValueError as error:
            raise damaged(self.prepared.path, error) from error

    def __getstate__(self):
        return self.__dict__ | {"_reader": None}
