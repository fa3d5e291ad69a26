"""Raw examples of a cell: where its files lie, what they hold, and a checksum of both.

A file lies at `<data folder>/<path>`, or, if it is not there, as the member `<path>` of the archive
`<data folder>/extras/<first folder of path>.tar.xz`, which is read in memory.
"""

import functools
import hashlib
import importlib
import io
import lzma
import pathlib
import tarfile
import types
from collections.abc import Iterator

from xling_jax.data import readers
from xling_jax.errors import DataError
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import TASKS, Cell

READERS = {
    "tsv_text": readers.read_tsv_text,
    "jsonl_nli": readers.read_jsonl_nli,
    "squad_json": readers.read_squad_json,
    "tagged_tsv": readers.read_tagged_tsv,
    "tatoeba": readers.read_tatoeba,
}
assert {row.reader for row in TASKS.values()} <= {*READERS, "world"}, "a task with an unknown reader"


def read(cell: Cell, data_dir: pathlib.Path | None) -> Iterator[dict]:
    """Returns the raw examples of a cell, in the publisher's order; `tables/kinds.py` has their fields.

    Args:
      cell: the cell.
      data_dir: the data folder; not used by the generated world.

    Raises:
      DataError: at once if a file is missing; while iterating if a line is broken.
    """
    if cell.row.reader == "world":
        return iter(_world().read(cell.task, cell.split, cell.language, _size(cell)))
    return READERS[cell.row.reader](_load(cell, data_dir), cell)


def checksum(cell: Cell, data_dir: pathlib.Path | None) -> str:
    """Returns the SHA-256 of a cell's files, or, for the world, of its version, the cell and its size."""
    if cell.row.reader == "world":
        return hashlib.sha256(f"world {_world().VERSION} {cell} {_size(cell)}".encode()).hexdigest()
    found = hashlib.sha256()
    for file in _load(cell, data_dir):
        with file.open() as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def size(cell: Cell, data_dir: pathlib.Path | None) -> int:
    """Returns how many bytes a cell is read from, or, for the world, about how many it would be."""
    if cell.row.reader == "world":
        return 200 * _size(cell)
    return sum(file.size for file in _load(cell, data_dir))


def paths(cell: Cell) -> tuple[str, ...]:
    """Returns the paths of a cell's files below the data folder: none for the world, two for a parallel text."""
    if cell.row.reader == "world":
        return ()
    pattern = cell.row.splits[cell.split].path
    iso3 = LANGUAGES[cell.language].iso3
    sides = (iso3, LANGUAGES[cell.row.pivot].iso3) if "{side}" in pattern else ("",)
    return tuple(pattern.format(language=cell.language, iso3=iso3, side=side) for side in sides)


def is_there(cell: Cell, data_dir: pathlib.Path | None) -> bool:
    """Whether a cell can be read: its files lie in the data folder or in an archive there."""
    try:
        return cell.row.reader == "world" or bool(_load(cell, data_dir))
    except DataError:
        return False


def _world() -> types.ModuleType:
    """Returns the package of the generated world, which real data does not need."""
    return importlib.import_module("xling_jax.world")


def _size(cell: Cell) -> int:
    return int(cell.row.splits[cell.split].path)


def _load(cell: Cell, data_dir: pathlib.Path | None) -> list[readers.File]:
    if data_dir is None:
        raise _missing(cell, paths(cell)[0], "no data folder was named")
    return [_load_file(cell, path, pathlib.Path(data_dir)) for path in paths(cell)]


def _archive(path: str) -> str:
    return f"extras/{path.partition('/')[0]}.tar.xz"


def _load_file(cell: Cell, path: str, data_dir: pathlib.Path) -> readers.File:
    plain = data_dir / path
    if plain.is_file():
        return readers.File(str(plain), plain)
    archive = data_dir / _archive(path)
    if not archive.is_file():
        raise _missing(cell, path, f"neither {plain} nor {archive} is there")
    members = _members(archive, archive.stat().st_mtime_ns)
    if path not in members:
        raise _missing(cell, path, f"{plain} is not there, and {archive} has no member {path}")
    return readers.File(f"{archive}/{path}", members[path])


@functools.lru_cache(maxsize=1)
def _members(archive: pathlib.Path, _mtime_ns: int) -> dict[str, bytes]:
    """Returns the files of an archive. One archive is kept, because its cells are read one after another."""
    try:
        unpacked = lzma.decompress(archive.read_bytes())  # all of it: tarfile would not notice a missing end
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            opened = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
            return {name: file.read() for name, file in opened if file}
    except (tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(f"{archive} is not a whole .tar.xz archive ({error}).\nCopy it again.") from error


def _missing(cell: Cell, path: str, found: str) -> DataError:
    return DataError(
        f"No data for cell '{cell}': {found}.\n"
        f"Expected: <data folder>/{path}, or that member of <data folder>/{_archive(path)}.\n"
        f"Say where the data folder is with --data_dir or the environment variable XLING_DATA."
    )
