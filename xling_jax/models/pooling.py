"""Sentence vectors of texts that share rows: what is kept of each hidden state, as the layers make them.

The states of a row take at least six times the memory of the vectors of its segments (`SHORTEST` of tables/kinds.py).
So they are pooled inside the layers' loop, and none outlives its layer.
"""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp

from xling_jax.models.layers import take_places

Way = tuple[str, bool]  # of pooling, and whether special tokens count


def keeper(texts: Mapping[str, jax.Array], ordinary_BxL: jax.Array, ways: Iterable[Way]) -> Callable:
    """Returns what makes of a hidden state BxLxD its vectors by way, BxSxD; nothing where no way is asked for.

    Args:
      texts: segments BxL, and first BxS: the token that a segment begins at.
      ordinary_BxL: the tokens that are not special. Padding belongs to no segment, and need not be told.
      ways: "mean" of a segment's tokens, the "first" or the "last" of them.
    """
    first_BxS = texts["first"]
    number_1xSx1 = jnp.arange(1, first_BxS.shape[1] + 1)[None, :, None]
    inside_BxSxL = texts["segments"][:, None] == number_1xSx1
    own = {way: inside_BxSxL if way[1] else inside_BxSxL & ordinary_BxL[:, None] for way in ways}

    def keep(states_BxLxD: jax.Array) -> dict[Way, jax.Array]:
        return {way: pool(states_BxLxD, own_BxSxL, first_BxS, way[0]) for way, own_BxSxL in own.items()}

    return keep


def pool(states_BxLxD: jax.Array, own_BxSxL: jax.Array, first_BxS: jax.Array, pooling: str) -> jax.Array:
    """Returns vectors of segments BxSxD in float32: the mean of a segment's own tokens, its first token, or the last
    one of its own. A segment without such tokens has zeros for a mean.
    """
    states_BxLxD = states_BxLxD.astype(jnp.float32)
    if pooling == "mean":
        own_BxSxL = own_BxSxL.astype(jnp.float32)
        sums_BxSxD = jnp.einsum("bsl,bld->bsd", own_BxSxL, states_BxLxD, precision=jax.lax.Precision.HIGHEST)
        return sums_BxSxD / jnp.maximum(own_BxSxL.sum(axis=-1, keepdims=True), 1.0)
    at_BxS = first_BxS
    if pooling == "last":
        places_1x1xL = jnp.arange(own_BxSxL.shape[-1])[None, None]
        at_BxS = jnp.maximum(jnp.where(own_BxSxL, places_1x1xL, 0).max(axis=-1), first_BxS)
    return take_places(states_BxLxD, at_BxS)


def vector(kept: Mapping[Way, jax.Array], layer: int | None, pooling: str, special: bool) -> jax.Array:
    """Returns the vectors BxSxD of a hidden state, or, of all, ExBxSxD, of what `keeper` kept."""
    vectors_ExBxSxD = kept[pooling, special]
    return vectors_ExBxSxD if layer is None else vectors_ExBxSxD[layer]
