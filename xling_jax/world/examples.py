"""The door: raw examples of a task, a split and a language of the generated world.

Every example follows from stable seeds, so nothing is stored: the first `size` of a cell are the same on every
machine and in every run. All tasks but world_text are parallel: the example of a given id means the same in every
language, so a training set of another language is a perfect translation and test items can be paired.
"""

import itertools
import random
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from xling_jax.errors import ConfigError, DataError, unknown
from xling_jax.world import inference, labelling, questions, stories
from xling_jax.world.lexicon import pieces
from xling_jax.world.render import Renderer, renderer
from xling_jax.world.typology import WORLD_LANGUAGES

__all__ = ["VERSION", "pieces", "read"]

# Part of the address of prepared data: raise it whenever any example changes.
VERSION = "6"

WHERE = "Tasks of the generated world are rows of xling_jax/world/examples.py."
# In so small a world an event comes back soon: this many in a row, and a split has been used up.
PATIENCE = 5_000


class Recipe(NamedTuple):
    """How a task is made: `draw` a meaning in no language, then `write` it in one.

    Parallel tasks draw the same meanings for every language, each once; the others draw their own.
    """

    draw: Callable[[random.Random, str], Hashable]
    write: Callable[..., dict]
    splits: tuple[str, ...] = ("train", "dev", "test")
    parallel: bool = True


RECIPES = {
    "world_text": Recipe(stories.draw_passage, stories.write_passage, splits=("train",), parallel=False),
    "world_nli": Recipe(inference.draw, inference.write),
    "world_qa": Recipe(questions.draw, questions.write),
    "world_qa2": Recipe(questions.draw_which, questions.write),
    "world_pos": Recipe(labelling.draw, labelling.write_pos),
    "world_ner": Recipe(labelling.draw, labelling.write_ner),
    "world_choice": Recipe(stories.draw_choice, stories.write_choice),
    "world_parallel": Recipe(labelling.draw_statement, labelling.write_parallel),
}


def read(task: str, split: str, language: str, size: int) -> Iterator[dict]:
    """Returns the first `size` raw examples of a cell, in the schema of `tables/kinds.py`.

    Wrong arguments are refused here and now, not at the first example.
    """
    if task not in RECIPES:
        raise unknown("task", task, RECIPES, WHERE, "the generated world")
    recipe = RECIPES[task]
    if split not in recipe.splits:
        raise unknown("split", split, recipe.splits, WHERE, f"task '{task}'")
    if language not in WORLD_LANGUAGES:
        where = "Generated languages are rows of xling_jax/world/typology.py."
        raise unknown("language", language, WORLD_LANGUAGES, where, f"task '{task}'")
    if size < 1:
        raise ConfigError(f"Size {size} of cell '{task}.{split}.{language}'.\nA size is 1 or more.\n{WHERE}")
    return _written(task, split, renderer(language), size)


def _written(task: str, split: str, speaker: Renderer, size: int) -> Iterator[dict]:
    recipe, stem = RECIPES[task], _stem(task, split, speaker.row.code)
    for number, meaning in enumerate(itertools.islice(meanings(task, split, speaker.row.code), size)):
        yield {"id": f"{stem}.{number}", **recipe.write(meaning, speaker)}


def meanings(task: str, split: str, language: str) -> Iterator[Hashable]:
    """Returns what the examples of a cell mean, without end; the same for all languages if the task is parallel."""
    recipe, stem = RECIPES[task], _stem(task, split, language)
    drawn = _all(recipe, split, stem)
    return _distinct(drawn, stem) if recipe.parallel else drawn


def _stem(task: str, split: str, language: str) -> str:
    return f"{task}.{split}" if RECIPES[task].parallel else f"{task}.{split}.{language}"


def _all(recipe: Recipe, split: str, stem: str) -> Iterator[Hashable]:
    rng = random.Random(f"{VERSION}/{stem}")
    while True:
        yield recipe.draw(rng, split)


def _distinct(drawn: Iterator[Hashable], stem: str) -> Iterator[Hashable]:
    seen: set[Hashable] = set()
    in_vain = 0
    for meaning in drawn:
        if meaning in seen:
            in_vain += 1
            if in_vain == PATIENCE:
                raise DataError(f"Cell '{stem}' has no more than about {len(seen)} different examples.\nAsk for fewer.")
            continue
        in_vain = 0
        seen.add(meaning)
        yield meaning
