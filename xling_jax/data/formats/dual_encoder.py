"""A query and what answers it, each for an encoder of its own that shares its weights with the other.

A candidate in a context is joined with it, and the longer of the two is cut, as XTREME-R does for LAReQA; queries
are cut at 96 tokens there.
"""

import numpy as np

from xling_jax.data.formats import Feature, join, specials, truncate
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

MAX_QUERY = 96  # tokens

# C is 2 to train on, query and candidate; 1 to evaluate.
FEATURES = {"input_ids": Feature("CL", 1)}


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns one feature: a row for each text of the example, a query first."""
    rows = []
    if example.get("side") != "candidate":
        room = min(MAX_QUERY, max_length) - specials(1)
        rows.append(join(tokenizer, tokenizer.encode(example["text"]).ids[:room]))
    if example.get("side") != "query":
        candidate = example["text_pair"] if "text_pair" in example else example["text"]
        rows.append(_candidate(candidate, example.get("context", ""), tokenizer, max_length))
    ids_CxL = np.full((len(rows), max(map(len, rows))), tokenizer.pad, np.int32)
    for ids_L, row_ids in zip(ids_CxL, rows, strict=True):
        ids_L[: len(row_ids)] = row_ids
    return [{"input_ids": ids_CxL}]


def _candidate(text: str, context: str, tokenizer: Tokenizer, max_length: int) -> np.ndarray:
    ids = tokenizer.encode(text).ids
    if not context:
        return join(tokenizer, ids[: max_length - specials(1)])
    return join(tokenizer, *truncate(ids, tokenizer.encode(context).ids, max_length - specials(2)))
