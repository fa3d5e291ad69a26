"""Sets: cells that are used together, by name. Each is a SeqIO Mixture of that name.

Every split of every task is a set over all its languages ("xnli.test"), and every task of a benchmark one over the
languages of the benchmark ("xtreme.xnli.test"). Sets of several tasks are rows.
"""

from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.tasks import TASKS

_ROWS = {
    # The intermediate task ANLI+ of Phang et al. 2020: all three under one head, in proportion to their size.
    "anli_plus.train": (
        "snli.train.en",
        "mnli.train.en",
        "anli_r1.train.en",
        "anli_r2.train.en",
        "anli_r3.train.en",
    ),
    "world_questions.train": ("world_qa.train.all", "world_qa2.train.all"),
}


def _of_task(name: str, split: str, languages: str = "all") -> tuple[str, ...]:
    return (f"{name}.{split}.{languages.replace(' ', '+')}",)


SETS: dict[str, tuple[str, ...]] = (
    {f"{row.name}.{split}": _of_task(row.name, split) for row in TASKS.values() for split in row.splits}
    | {
        f"{row.name}.{entry.name}.{entry.split}": _of_task(entry.task, entry.split, entry.languages)
        for row in BENCHMARKS.values()
        for entry in row.entries
        if entry.task in TASKS
    }
    | _ROWS
)
