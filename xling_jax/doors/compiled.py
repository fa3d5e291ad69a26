"""Compiled programs that a killed process, or a full disk, left half-written.

JAX warns of such an entry in every run, compiles again, and never replaces it, because something is there.
"""

import importlib.util
import pathlib
import zlib

ENTRIES = "*-cache"
CHECKED = ".checked"  # touched when all entries before were whole
PIECE = 1 << 20  # bytes
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how its frames begin; JAX takes it where it is installed, else zlib


def remove_halves(folder: pathlib.Path) -> list[pathlib.Path]:
    """Removes what is not whole of the entries that came since this was asked last, and returns it."""
    if not folder.is_dir():
        return []
    stamp = folder / CHECKED
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()  # before entries are read: what another process adds meanwhile is looked at the next time
    new = [path for path in folder.glob(ENTRIES) if path.stat().st_mtime_ns >= since]
    halves = [path for path in new if not _whole(path)]
    for path in halves:
        path.unlink(missing_ok=True)
    return halves


def _whole(path: pathlib.Path) -> bool:
    """Whether a compressed file has an end. One that cannot be read here is taken for whole."""
    with open(path, "rb") as file:
        start = file.read(len(ZSTANDARD))
        file.seek(0)
        if start == ZSTANDARD and importlib.util.find_spec("zstandard") is None:
            return True
        unpack, errors = _unpacker(start)
        try:
            while not unpack.eof and (piece := file.read(PIECE)):
                unpack.decompress(piece)
        except errors:
            return False
    return unpack.eof


def _unpacker(start: bytes):
    """Returns (what reads a compressed file that begins so, its errors)."""
    if start == ZSTANDARD:
        import zstandard  # noqa: PLC0415 # ty: ignore[import-not-found] - no package of ours needs it

        return zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
    return zlib.decompressobj(), zlib.error
