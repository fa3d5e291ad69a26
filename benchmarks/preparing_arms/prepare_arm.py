"""Our own way: the file read, tokenised and written."""

import pathlib
import shutil

from preparing_arms import DATA, Run
from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import load_tokenizer
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells


def make(folder: pathlib.Path, cell: str, length: int, count: int) -> Run:
    """Returns what is timed."""
    part = Part(parse_cells(cell)[0], 0, count, length)

    def run() -> tuple[int, int, int]:
        tokenizer = load_tokenizer(folder)  # anew, so that nothing is remembered
        made = prepare(part, tokenizer, folder / "prepared", DATA)
        shutil.rmtree(folder / "prepared")
        return made.examples, made.features, int(made.lengths_N.sum())

    return run
