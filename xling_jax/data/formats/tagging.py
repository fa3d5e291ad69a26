"""A label for every word, carried by the word's first piece (Devlin et al. 2019, section 5.3)."""

import itertools

import numpy as np

from xling_jax.data.formats import Feature, join, specials, whole_demand
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import DataError
from xling_jax.tables.tasks import Task

# `labels` are -1 where tags are withheld, and on pieces without a tag of their own.
# `word`: the number of the word whose first piece stands there, -1 elsewhere.
FEATURES = {"input_ids": Feature("L", 1), "labels": Feature("L", -1), "word": Feature("L", -1)}
OWN = ("tokens",)


def _cuts(word_of_piece_N: np.ndarray, room: int) -> list[int]:
    """Returns where to cut N pieces into runs of at most `room`, at word borders where one is near enough."""
    cuts, at = [0], 0
    while len(word_of_piece_N) - at > room:
        end = at + room
        border = end
        while border > at and word_of_piece_N[border] == word_of_piece_N[border - 1]:
            border -= 1
        at = border if border > at else end  # a word longer than the room is cut through
        cuts.append(at)
    return [*cuts, len(word_of_piece_N)]


def check(example: dict, row: Task) -> None:
    """Raises DataError if there is not one tag for each word."""
    words, tags = example["tokens"], example["tags"]
    if tags is not None and len(words) != len(tags):
        raise DataError(
            f"Example '{example['id']}' of task '{row.name}' has {len(words)} words and {len(tags)} tags.\n"
            "Allowed: one tag for each word."
        )


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns as many features as the sentence needs; every word is in exactly one of them.

    Raises DataError if there is not one tag for each word.
    """
    check(example, row)
    words, tags = example["tokens"], example["tags"]
    ids, word, first = tokenizer.encode_words(words)
    tag_of_word = np.array([-1] * len(words) if tags is None else [row.number_of[tag] for tag in tags], np.int32)
    labels = np.where(first, tag_of_word[word], -1).astype(np.int32)
    cuts = _cuts(word, max_length - specials(tokenizer, 1))
    word = np.where(first, word, -1).astype(np.int32)
    before, after = (np.full(len(edge), -1, np.int32) for edge in (tokenizer.frame.before, tokenizer.frame.after))
    return [
        {
            "input_ids": join(tokenizer, ids[begin:end]),
            "labels": np.concatenate([before, labels[begin:end], after]),
            "word": np.concatenate([before, word[begin:end], after]),
        }
        for begin, end in itertools.pairwise(cuts)
    ]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of the words, of which none is lost."""
    return whole_demand(made, tokenizer)
