"""Raw examples of a cell: where its files lie, what they hold, and a checksum of both.

A file lies at `<data folder>/<path>`, or, if it is not there, as the member `<path>` of the archive
`<data folder>/extras/<first folder of path>.tar.xz`, which is read in memory. `a.zip/b` is the member b of a.zip.
"""

import collections
import functools
import hashlib
import importlib
import io
import lzma
import pathlib
import tarfile
import types
import zipfile
import zlib
from collections.abc import Iterator

from xling_jax.data import tfds
from xling_jax.data.readers import READERS, File
from xling_jax.errors import DataError, MissingError
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import TASKS, Cell

assert {row.reader for row in TASKS.values()} <= {*READERS, "world", "tfds"}, "a task with an unknown reader"


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
    store = stored(cell, data_dir)
    return tfds.read(cell, store) if store else READERS[cell.row.reader](load_files(cell, data_dir), cell)


def stored(cell: Cell, data_dir: pathlib.Path | None) -> tfds.Store | None:
    """Returns where tensorflow-datasets has a cell prepared; None if it has not, or if the cell's files are there."""
    store = tfds.find(cell)
    try:
        return None if store is None or load_files(cell, data_dir) else store
    except MissingError:
        return store


def faults(cell: Cell, data_dir: pathlib.Path | None) -> collections.Counter:
    """Returns how often each known fault of the publisher's files was met, reading the cell to its end."""
    if not cell.row.faults or stored(cell, data_dir):
        return collections.Counter()
    files = load_files(cell, data_dir)
    collections.deque(READERS[cell.row.reader](files, cell), maxlen=0)
    return sum((file.faults for file in files), collections.Counter())


def checksum(cell: Cell, data_dir: pathlib.Path | None) -> str:
    """Returns the SHA-256 of a cell's files, or, for the world, of its version, the cell and its size.

    Of a cell that tensorflow-datasets has prepared it is that of its description.
    """
    if cell.row.reader == "world":
        return hashlib.sha256(f"world {_world().VERSION} {cell} {_size(cell)}".encode()).hexdigest()
    store = stored(cell, data_dir)
    if store:
        return store.checksum()
    found = hashlib.sha256()
    for file in load_files(cell, data_dir):
        for block in file.blocks():
            found.update(block)
    return found.hexdigest()


def size(cell: Cell, data_dir: pathlib.Path | None, most: int = 0) -> int:
    """Returns how many bytes a cell is read from; about how many for (the first `most` of) the world, 0 for TFDS's."""
    if cell.row.reader == "world":
        return 200 * min(most or _size(cell), _size(cell))
    if stored(cell, data_dir):
        return 0
    return sum(file.size for file in load_files(cell, data_dir))


def paths(cell: Cell) -> tuple[str, ...]:
    """Returns the paths of a cell's files below the data folder: none for the world, two for a parallel text.

    Where a publisher has a code of its own for the language, the path has that one.
    """
    if cell.row.reader == "world":
        return ()
    patterns = cell.row.splits[cell.split].path
    row = LANGUAGES[cell.language]
    sides = (row.iso3, LANGUAGES[cell.row.pivot].iso3) if "{side}" in patterns else ("",)
    code = cell.row.codes.get(cell.language, cell.language)
    known = {"language": code, "iso3": row.iso3, "name": row.name, "english": row.name.lower()}
    return tuple(pattern.format(**known, side=side) for pattern in patterns.split() for side in sides)


def is_there(cell: Cell, data_dir: pathlib.Path | None) -> bool:
    """Whether a cell can be read: its files lie in the data folder, or tensorflow-datasets has it."""
    try:
        return cell.row.reader == "world" or stored(cell, data_dir) is not None or bool(load_files(cell, data_dir))
    except DataError:
        return False


def _world() -> types.ModuleType:
    """Returns the package of the generated world, which real data does not need."""
    return importlib.import_module("xling_jax.world")


def _size(cell: Cell) -> int:
    return int(cell.row.splits[cell.split].path)


def load_files(cell: Cell, data_dir: pathlib.Path | None) -> list[File]:
    """Returns a cell's files. Raises MissingError if one is not there, DataError for a broken archive."""
    if not paths(cell):
        raise _missing(cell, "", "its row names no files")
    if data_dir is None:
        raise _missing(cell, paths(cell)[0], "no data folder was named")
    return [_load_file(cell, path, pathlib.Path(data_dir)) for path in paths(cell)]


def _archive(path: str) -> str:
    return f"extras/{path.partition('/')[0]}.tar.xz"


def _load_file(cell: Cell, path: str, data_dir: pathlib.Path) -> File:
    if ".zip/" in path:
        packed, member = path.split(".zip/", 1)
        return _unzip(_load_file(cell, f"{packed}.zip", data_dir), member)
    plain = data_dir / path
    if plain.is_file():
        return File(str(plain), plain)
    archive = data_dir / _archive(path)
    if not archive.is_file():
        raise _missing(cell, path, f"neither {plain} nor {archive} is there")
    members = _members(archive, archive.stat().st_mtime_ns)
    if path not in members:
        raise _missing(cell, path, f"{plain} is not there, and {archive} has no member {path}")
    return File(f"{archive}/{path}", members[path])


def _unzip(file: File, member: str) -> File:
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            return File(f"{file.path}/{member}", archive.read(member))  # which checks its CRC-32
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataError(f"{file.path} has no whole member {member} ({error}).\nCopy it again.") from error


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


def _missing(cell: Cell, path: str, found: str) -> MissingError:
    places = [f"<data folder>/{path}, or that member of <data folder>/{_archive(path)}"] if path else []
    places += [f"tensorflow-datasets' {tfds.spec(cell)} prepared below TFDS_DATA_DIR"] if tfds.spec(cell) else []
    return MissingError(
        f"No data for cell '{cell}': {found}.\n"
        f"Expected: {'; or '.join(places)}.\n"
        f"Say where the data folder is with --data_dir or the environment variable XLING_DATA."
    )
