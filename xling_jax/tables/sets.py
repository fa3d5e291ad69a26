"""Sets: cells that are used together, by name. Each is a SeqIO Mixture of that name.

Every split of every task is a set over all its languages, `xnli.test`. Sets of several tasks are rows.
"""

from xling_jax.tables.tasks import TASKS

_ROWS = {
    "world_questions.train": ("world_qa.train.all", "world_qa2.train.all"),
}

SETS: dict[str, tuple[str, ...]] = {
    f"{row.name}.{split}": (f"{row.name}.{split}.all",) for row in TASKS.values() for split in row.splits
} | _ROWS
