"""Reads every cell to its end and says what is there, what is missing, what is broken, and what leaks.

A broken cell does not stop it: all are found in one pass.
"""

import collections
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xling_jax.data import sources
from xling_jax.data.overlaps import Overlap, Texts
from xling_jax.data.readers import READERS, File
from xling_jax.errors import DataError, MissingError
from xling_jax.tables.leaks import KIN, Kin
from xling_jax.tables.tasks import TASKS, Cell, cells

THERE, MISSING, BROKEN = "there", "missing", "broken"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of a cell.

    `state` is there, missing or broken; `files` are {path below the data folder: SHA-256}, `where` they were read
    from; `published` is None where no count is known. `checksums` is "listed" if all files are in the table, as they
    are, and "unlisted" if one is not in it. `faults` count what the row says is wrong with the publisher's files.
    """

    cell: Cell
    state: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    where: str = ""
    examples: int | None = None
    published: int | None = None
    checksums: str = ""
    faults: Mapping[str, int] = dataclasses.field(default_factory=dict)
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Returns all of it, and what the row says of the cell."""
        row, split = self.cell.row, self.cell.row.splits[self.cell.split]
        said = {"kind": row.kind, "labels": split.labels, "licence": row.licence, "source": row.source}
        return dataclasses.asdict(self) | {"cell": str(self.cell), "expected": list(sources.paths(self.cell))} | said


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that was found."""

    findings: tuple[Finding, ...]
    overlaps: tuple[Overlap, ...]
    kin: tuple[Kin, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Returns the findings of what is there and not as it should be."""
        return tuple(finding for finding in self.findings if finding.state == BROKEN)

    def files(self) -> dict[str, str]:
        """Returns the checksums of all files that could be read to their end."""
        read = (found for found in self.findings if found.examples is not None)
        return {path: value for found in read for path, value in found.files.items()}


def all_cells() -> list[Cell]:
    """Returns every cell that is read from files or TFDS, those of one archive one after another."""
    real = [row for row in TASKS.values() if row.reader != "world"]
    every = [cell for row in real for split in row.splits for cell in cells(row.name, split)]
    return sorted(every, key=lambda cell: (sources.paths(cell) or ("",))[0].partition("/")[0])


def examine(
    data_dir: pathlib.Path | None,
    checksums: Mapping[str, str],
    progress: Callable[[Iterable[Cell]], Iterable[Cell]] = iter,
) -> Report:
    """Returns what is found of all cells.

    Args:
      data_dir: the data folder.
      checksums: {path below it: SHA-256} of published files.
      progress: shows how far an iteration has come.
    """
    texts = Texts()
    findings = tuple(_examine_cell(cell, data_dir, checksums, texts) for cell in progress(all_cells()))
    return Report(findings, tuple(texts.overlaps()), tuple(kin for kin in KIN if _has_two(kin, findings)))


def _has_two(kin: Kin, findings: tuple[Finding, ...]) -> bool:
    """Whether more than one cell of a family is there."""
    names = kin.splits.split()
    return sum(found.state == THERE and f"{found.cell.task}.{found.cell.split}" in names for found in findings) > 1


def _examine_cell(cell: Cell, data_dir: pathlib.Path | None, checksums: Mapping[str, str], texts: Texts) -> Finding:
    published = cell.row.splits[cell.split].published(cell.language)
    try:
        store = sources.stored(cell, data_dir)
        if store:  # which may be terabytes: its own description has the count
            return _judged(Finding(cell, THERE, {}, str(store.folder), store.examples, published, "unlisted"), {})
        files = sources.load_files(cell, data_dir)
    except MissingError:
        return Finding(cell, MISSING, published=published)
    except DataError as error:
        return Finding(cell, BROKEN, published=published, error=str(error))
    return _read(cell, files, published, checksums, texts)


def _read(cell: Cell, files: list[File], published: int | None, checksums: Mapping[str, str], texts: Texts) -> Finding:
    """Returns the finding of a cell whose files are there."""
    sums = {path: hashlib.sha256(file.data).hexdigest() for path, file in zip(sources.paths(cell), files, strict=True)}
    found = Finding(cell, THERE, sums, files[0].path, None, published)
    examples = 0
    try:
        for example in READERS[cell.row.reader](files, cell):
            examples += 1
            texts.add(cell, example)
    except DataError as error:
        return dataclasses.replace(found, state=BROKEN, error=str(error))
    finally:
        texts.close(cell)
    faults = sum((file.faults for file in files), collections.Counter())
    return _judged(dataclasses.replace(found, examples=examples, faults=dict(faults)), checksums)


def _judged(found: Finding, checksums: Mapping[str, str]) -> Finding:
    """Returns a finding with what is said by the checksums of its files and by its number of examples.

    A file that the table has may hold fewer examples than were published: the table vouches for it.
    """
    other = [path for path, value in found.files.items() if checksums.get(path, value) != value]
    if other:
        error = (
            f"{', '.join(other)}: another file than the one in the table, by its SHA-256.\n"
            "Allowed: the files of xling_jax/tables/checksums.tsv, or of the table that --checksums names."
        )
        return dataclasses.replace(found, state=BROKEN, error=error)
    listed = bool(found.files) and set(found.files) <= set(checksums)
    if not listed and found.published not in (None, found.examples):
        error = f"{found.where}: {found.examples} examples.\nAllowed: {found.published}, as published."
        return dataclasses.replace(found, state=BROKEN, error=error)
    return dataclasses.replace(found, checksums="listed" if listed else "unlisted")
