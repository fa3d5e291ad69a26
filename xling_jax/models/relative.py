"""T5's relative positions: a learned number for each head and each bucket of distances, added to attention scores.

Raffel et al. 2020 (arXiv 1910.10683), section 2.1. Half of the buckets are one distance each, the others grow
logarithmically up to the longest distance; an encoder has one set of buckets for each direction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from xling_jax import axes
from xling_jax.models.layers import normal


def bucket(offset: np.ndarray, buckets: int, longest: int, both_ways: bool) -> np.ndarray:
    """Returns the bucket of each offset, a key's place less the asking token's.

    In whole numbers: a logarithm in float32 puts distances that stand exactly at a border (16, 32, 64 of 128) into one
    bucket or the other by its rounding. They belong to the upper one.

    Args:
      offset: whole numbers of any shape.
      buckets: how many there are; an even number where `both_ways`.
      longest: the distance from which on all are in the last bucket.
      both_ways: later keys have buckets of their own; else they are as near as the token itself (and masked).
    """
    mine = buckets // 2 if both_ways else buckets
    single = mine // 2
    growing = (
        mine - single
    )  # bucket single + k begins where (distance / single) ** growing reaches (longest / single) ** k
    distances = range(single, longest + 1)
    begins = [
        next(d for d in distances if d**growing * single**k >= longest**k * single**growing) for k in range(1, growing)
    ]
    distance = np.abs(offset) if both_ways else np.maximum(-offset, 0)
    found = np.where(distance < single, distance, single + np.searchsorted(begins, distance, side="right"))
    return found + mine * (offset > 0) if both_ways else found


class RelativeBias(nn.Module):
    """The table of one layer (umT5) or of all layers of a stack (mT5)."""

    heads: int
    buckets: int
    longest: int
    both_ways: bool
    std: float

    @nn.compact
    def __call__(self, length: int, positions_B=None):
        """Returns what is added to the scores.

        Without positions HxLxL, for every token of a row and every other. It holds for packed rows too: within a
        segment, which stands in one piece, places differ as positions do. With positions BxHx1xP: for a single token
        at this position of each row, and the `length` places of a cache.
        """
        table_NxH = self.param("table", normal(None, axes.HEADS, std=self.std), (self.buckets, self.heads))
        furthest = length - 1
        offsets = np.arange(-furthest, furthest + 1) if positions_B is None else -np.arange(length)
        value_HxN = table_NxH[bucket(offsets, self.buckets, self.longest, self.both_ways)].T
        if positions_B is None:
            return _slide(value_HxN, length)
        distance_BxP = (positions_B[:, None] - jnp.arange(length)[None]).clip(0)  # later places hold nothing yet
        return value_HxN.T[distance_BxP].transpose(0, 2, 1)[:, :, None]


def _slide(value_HxN: jax.Array, length: int) -> jax.Array:
    """Returns HxLxL from the values of offsets 1-L ... L-1: each token's row is that of the one before, moved by one.

    Rows of 2L values that are read as rows of 2L-1 move by one each. A gather would say the same, but its gradient
    adds H * L * L numbers up one by one.
    """
    heads, width = len(value_HxN), 2 * length
    rows_HxN = jnp.tile(jnp.pad(value_HxN, ((0, 0), (0, 1))), (1, length))
    return rows_HxN[:, : length * (width - 1)].reshape(heads, length, width - 1)[:, :, length - 1 :]
