"""Checksums of published files: `checksums.tsv`, path<TAB>SHA-256, made by `xling data doctor --record`."""

import importlib.resources
import pathlib
from collections.abc import Mapping

from xling_jax.errors import broken_line


def load_checksums(path: pathlib.Path | None = None) -> dict[str, str]:
    """Returns {path below the data folder: SHA-256}, by default of the table that comes with the package.

    Raises DataError for a line that does not say so.
    """
    place = path or importlib.resources.files("xling_jax.tables") / "checksums.tsv"
    found = {}
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), start=1):
        name, tab, value = line.partition("\t")
        if not tab or len(value) != 64:
            raise broken_line(str(place), number, f"'{line[:40]}'", "path<TAB>SHA-256 in 64 hexadecimal digits")
        found[name] = value
    return found


def save_checksums(found: Mapping[str, str], path: pathlib.Path) -> None:
    """Writes a table that `load_checksums` reads."""
    path.write_text("".join(f"{name}\t{found[name]}\n" for name in sorted(found)), encoding="utf-8")
