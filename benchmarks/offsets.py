"""Every gold span of the question files at hand, tokenised, windowed and taken back out of its context.

    python -m benchmarks.offsets --data_dir=DIR     # writes docs/results/offsets.md; some minutes on one core

The vocabulary is trained on the contexts themselves, so it is finer than XLM-R's, whose 250,000 pieces are longer:
the share of answers that end inside a piece depends on the vocabulary, the exactness of offsets must not.
"""

import argparse
import datetime
import pathlib
import tempfile

import sentencepiece

from xling_jax.data.reach import WAYS, count_ways
from xling_jax.data.sources import is_there, read
from xling_jax.data.tokenizers import load_tokenizer, train_sentencepiece
from xling_jax.tables.tasks import TASKS, Cell, cells

LENGTH = 384  # tokens, as the published recipes for questions have it
PIECES = 32_000
OUT = pathlib.Path(__file__).resolve().parent.parent / "docs/results/offsets.md"

HEAD = """# Gold answers that pieces and windows can say

Over every gold answer of the question files at hand (each distinct answer of a question once): the slice of the
context from the first piece of the label to the last one, in inputs of {length} tokens, against the published answer.

```
python -m benchmarks.offsets --data_dir=DIR
```

{date}, sentencepiece {version}, a vocabulary of {pieces} pieces trained on the contexts of these cells. Only `exact`
is reached; every other answer is counted as unreachable, by its reason:

{ways}

Most of what is `wider` comes from pieces in which the vocabulary joined figures or brackets with punctuation, as
`2018.` or `(118`.

| cell | answers | {columns} | reached |
|---|---|{dashes}|---|
{rows}

Not counted, because their answers are withheld: {withheld}.
"""


def question_cells(folder: pathlib.Path) -> tuple[list[Cell], list[Cell]]:
    """Returns the cells of real span questions that are there: with answers, and without."""
    rows = [row for row in TASKS.values() if row.kind == "span_qa" and row.reader != "world"]
    every = [cell for row in rows for split in row.splits for cell in cells(row.name, split)]
    there = [cell for cell in every if is_there(cell, folder)]
    state = {cell: cell.row.splits[cell.split].labels for cell in there}
    return [cell for cell in there if state[cell] == "there"], [cell for cell in there if state[cell] != "there"]


def render(rows: list[tuple[str, list[int]]], withheld: list[Cell]) -> str:
    """Returns the page of counts; a row is (cell, a count for each of WAYS)."""
    total = [sum(column) for column in zip(*(counts for _, counts in rows), strict=True)]
    lines = []
    for name, counts in [*rows, ("all", total)]:
        cells_of_row = " | ".join(f"{count:,}" for count in counts)
        lines.append(f"| {name} | {sum(counts):,} | {cells_of_row} | {counts[0] / sum(counts):.2%} |")
    return HEAD.format(
        length=LENGTH,
        date=datetime.date.today().isoformat(),
        version=sentencepiece.__version__,
        pieces=f"{PIECES:,}",
        ways="\n".join(f"- `{name}`: {meaning}" for name, meaning in WAYS.items()),
        columns=" | ".join(WAYS),
        dashes="---|" * (len(WAYS) - 1) + "---",
        rows="\n".join(lines),
        withheld=", ".join(sorted({f"{cell.task}.{cell.split}" for cell in withheld})) or "none",
    )


def main() -> None:
    """Trains the vocabulary, counts, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    folder = parser.parse_args().data_dir
    answered, withheld = question_cells(folder)
    contexts = sorted({example["context"] for cell in [*answered, *withheld] for example in read(cell, folder)})
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "contexts.model"
        train_sentencepiece(contexts, PIECES, path)
        tokenizer = load_tokenizer(path)
    rows = []
    for number, cell in enumerate(answered, start=1):
        counts = count_ways(list(read(cell, folder)), tokenizer, LENGTH, cell.row).tolist()
        rows.append((str(cell), counts))
        print(f"{number} of {len(answered)}: {cell} {counts}", flush=True)
    OUT.write_text(render(rows, withheld), encoding="utf-8")


if __name__ == "__main__":
    main()
