"""Span corruption, with which T5, mT5 and umT5 are pretrained (Raffel et al. 2020, section 3.1.4; Xue et al. 2021).

Of a text's tokens 15% go, in spans of 3 on average. Each span leaves its sentinel behind; what is to be said are the
sentinels, each with its span. T5's own code always ends in a span that goes, which matters little in its texts of 512
tokens; of a line with one span it would always be the end, so here a text may begin and end with either.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

DENSITY = 0.15  # of tokens that go
MEAN_SPAN = 3.0
FEWEST = 2  # tokens of a text of which one can go and one stay


def _runs(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns `count` lengths of 1 or more that add up to `total`, every division as likely as another."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def corrupt(
    ids: np.ndarray, sentinels: Sequence[int], eos: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (what is read, what is to be said) of a text of at least `FEWEST` ids, each with its end.

    There are never more spans than sentinels; then they are longer.
    """
    gone = min(max(round(len(ids) * DENSITY), 1), len(ids) - 1)
    spans = min(max(round(gone / MEAN_SPAN), 1), len(ids) - gone, len(sentinels))
    stay = _runs(len(ids) - gone + 2, spans + 1, rng) - np.eye(spans + 1, dtype=int)[[0, -1]].sum(0)
    lengths = np.zeros(2 * spans + 1, int)
    lengths[::2], lengths[1::2] = stay, _runs(gone, spans, rng)
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    read: list[Any] = [parts[0]]
    said: list[Any] = []
    for sentinel, left, kept in zip(sentinels, parts[1::2], parts[2::2], strict=False):
        read += [[sentinel], kept]
        said += [[sentinel], left]
    return np.concatenate([*read, [eos]], dtype=np.int32), np.concatenate([*said, [eos]], dtype=np.int32)
