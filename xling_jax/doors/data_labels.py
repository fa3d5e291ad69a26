"""`xling data labels`: label files of a benchmark, as its scorer wants them, from the published data files."""

import pathlib

from xling_jax.data.sources import read
from xling_jax.disk import write_text
from xling_jax.errors import DataError, MissingError, unknown
from xling_jax.scoring.layouts import LAYOUTS
from xling_jax.tables.benchmarks import Benchmark, Entry
from xling_jax.tables.tasks import TASKS, Cell


def run(row: Benchmark, out: pathlib.Path, split: str, data_dir: pathlib.Path | None) -> None:
    """Writes OUT/<task>/<split>-<language>.<ending> for each cell that is there with labels; says which are not.

    Raises DataError if none is there, or a file is broken.
    """
    written = 0
    for entry in row.entries:
        there, missing = _write(entry, out, split, data_dir)
        written += len(there)
        print(f"{entry.name:10} {len(there):2} of {len(entry.languages.split())} languages written", end="")
        print("".join(f"; {why}: {' '.join(codes)}" for why, codes in missing.items()))
    if not written:
        raise DataError(
            f"There are no labels of {row.name}, split '{split}'.\n"
            "Allowed: a data folder with published files; `xling data list` says which are there.\n"
            "It is named by --data_dir or the environment variable XLING_DATA."
        )
    print(f"labels: {out}")


def _write(
    entry: Entry, out: pathlib.Path, split: str, data_dir: pathlib.Path | None
) -> tuple[list[str], dict[str, list[str]]]:
    """Returns the languages that were written, and the others by the reason why not."""
    task = TASKS[entry.task]
    there: list[str] = []
    missing: dict[str, list[str]] = {}
    for code in entry.languages.split():
        why = _without(entry.task, split, code)
        if not why:
            try:
                examples = list(read(Cell(entry.task, split, code), data_dir))
            except MissingError:
                why = "files missing"
            else:
                path = out / entry.name / f"{split}-{code}.{LAYOUTS[task.kind].ending}"
                write_text(path, LAYOUTS[task.kind].gold(examples))
                there.append(code)
        if why:
            missing.setdefault(why, []).append(code)
    return there, missing


def _without(task: str, split: str, code: str) -> str:
    """Returns why a cell has no labels by its row; "" if it has."""
    splits = TASKS[task].splits
    if split not in splits or code not in splits[split].languages.split():
        return f"no split {split}"
    return "labels withheld" if splits[split].labels == "withheld" else ""


def check_split(row: Benchmark, split: str) -> None:
    """Raises ConfigError for a split that no task of the benchmark has."""
    known = {name for entry in row.entries for name in TASKS[entry.task].splits}
    if split not in known:
        raise unknown("split", split, known, "Splits are columns of xling_jax/tables/rows.", row.name)
