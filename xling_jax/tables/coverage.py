"""The page that says which task is covered in which language, from where: made from the tables, never written.

A cell of its tables is never empty: where there is nothing, it says why.
"""

from collections.abc import Iterable

from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.rows.task import UNKNOWN, Split, Task
from xling_jax.tables.tasks import TASKS, parse_cells

HEAD = """# Tasks

Made by `xling data coverage > docs/tasks.md` from the tables in `xling_jax/tables`; a test holds both together. What
lies in a data folder is said by `xling data doctor`, what a cell looks like by `xling data show CELL`.

{tasks} tasks, {pairs} pairs of task and language, {languages} languages; and the generated ones, see
[world.md](world.md).
"""

TASKS_HEAD = "split, kind, benchmark, languages, examples, labels, read from, trained from, licence, published by"
BENCHMARKS_HEAD = "task, row, kind, metrics, groups, languages"


def page() -> str:
    """Returns the page, in Markdown."""
    rows = [row for row in TASKS.values() if row.reader != "world"]
    pairs = {(row.name, code) for row in rows for split in row.splits.values() for code in split.languages.split()}
    counts = {"tasks": len(rows), "pairs": len(pairs), "languages": len({code for _, code in pairs})}
    parts = [HEAD.format(**counts)]
    for name, kind in KINDS.items():
        of_kind = [row for row in rows if row.kind == name]
        metrics = ", ".join(kind.metrics) or "none: there is nothing to answer"
        parts.append(f"## {name}\n\nMetrics: {metrics}.\n")
        parts.append(_table(TASKS_HEAD, (line for row in of_kind for line in _lines(row))))
    for name, benchmark in BENCHMARKS.items():
        parts.append(f"## The benchmark `{name}`: {len(benchmark.languages())} languages\n")
        parts.append(_table(BENCHMARKS_HEAD, (_entry(entry) for entry in benchmark.entries)))
    return "\n".join(parts)


def _table(head: str, lines: Iterable[tuple[str, ...]]) -> str:
    names = head.split(", ")
    rows = [tuple(names), ("---",) * len(names), *lines]
    assert all(len(row) == len(names) and all(row) for row in rows), "a cell without a word"
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _lines(row: Task) -> list[tuple[str, ...]]:
    """Returns a line for each split of a task."""
    return [
        (
            f"{row.name}.{name}",
            row.kind,
            _benchmarks(row, name, split),
            _languages(split),
            _examples(split),
            _labels(row, split),
            _read_from(split),
            _trained_from(row, name),
            row.licence,
            row.source,
        )
        for name, split in row.splits.items()
    ]


def _benchmarks(row: Task, name: str, split: Split) -> str:
    """Returns the benchmarks that score a split or train on it; else why there is none."""
    entries = [(each.name, entry) for each in BENCHMARKS.values() for entry in each.entries]
    scoring = dict.fromkeys(title for title, entry in entries if (entry.task, entry.split) == (row.name, name))
    training = dict.fromkeys(
        f"{title} (to train {entry.name})"
        for title, entry in entries
        if any((cell.task, cell.split) == (row.name, name) for cell in _train_cells(entry.task))
    )
    among = [other for other, split in row.splits.items() if split.among == name]
    if scoring or training:
        return ", ".join((*scoring, *training))
    if among:
        return f"searched for {', '.join(among)}"
    if split.labels == "withheld":
        return "none: its labels are withheld"
    if row.kind == "mlm":
        return "none: text to pretrain on"
    return "none: an intermediate task" if name.startswith("train") else "none: beyond the benchmarks"


def _train_cells(task: str) -> list:
    return [cell for text in TASKS[task].train_from.split() for cell in parse_cells(text)]


def _languages(split: Split) -> str:
    return f"{len(split.languages.split())}: {split.languages}"


def _examples(split: Split) -> str:
    """Returns the counts that are published: one for all languages, or one for each."""
    counts = split.examples.split()
    if not counts:
        return "not known"
    if len(counts) == 1:
        return f"{int(counts[0]):,}" + (" each" if len(split.languages.split()) > 1 else "")
    known = [f"{code} {count}" for code, count in zip(split.languages.split(), counts, strict=True) if count != UNKNOWN]
    unknown = len(counts) - len(known)
    return ", ".join(known) + (f"; {unknown} not known" if unknown else "")


def _labels(row: Task, split: Split) -> str:
    return "none: text" if row.kind == "mlm" else split.labels


def _read_from(split: Split) -> str:
    """Returns the files of a split, and where tensorflow-datasets has it."""
    files = split.path.split()
    shown = [f"`{file}`" for file in files[:3]] + [f"and {len(files) - 3} more like it"] * (len(files) > 3)
    return "; ".join([*shown, *([f"TFDS `{split.tfds}`"] if split.tfds else [])])


def _trained_from(row: Task, name: str) -> str:
    if row.train_from and not name.startswith("train"):
        return row.train_from
    if not KINDS[row.kind].trained:
        return "nothing: compared by vectors"
    return "itself" if any(split.startswith("train") for split in row.splits) or row.kind == "mlm" else "not prescribed"


def _entry(entry) -> tuple[str, ...]:
    """Returns a line of a benchmark's table."""
    groups = ", ".join(entry.groups) or "none: its published scorer has none"
    kind = TASKS[entry.task].kind
    codes = entry.languages.split()
    return (
        entry.name,
        f"{entry.task}.{entry.split}",
        kind,
        ", ".join(entry.metrics),
        groups,
        f"{len(codes)}: {' '.join(codes)}",
    )
