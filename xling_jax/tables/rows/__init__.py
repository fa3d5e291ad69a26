"""The rows of the tasks, by kind; `tables/tasks.py` is where they are asked for."""

from xling_jax.tables.rows import choices, pairs, questions, raw_text, retrieval, tagged, text, world

ROWS = (*world.ROWS, *text.ROWS, *pairs.ROWS, *choices.ROWS, *questions.ROWS, *tagged.ROWS, *retrieval.ROWS, *raw_text.ROWS)
