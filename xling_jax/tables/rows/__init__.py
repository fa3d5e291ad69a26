"""The rows of the tasks, by kind; `tables/tasks.py` is where they are asked for."""

from xling_jax.tables.rows import choices, pairs, questions, raw_text, retrieval, tagged, text, world

MODULES = (world, text, raw_text, pairs, choices, questions, tagged, retrieval)
ROWS = tuple(row for module in MODULES for row in module.ROWS)
