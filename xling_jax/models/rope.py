"""Rotary positions (Su et al. 2021, arXiv 2104.09864), and the ways of config files to stretch them over longer inputs.

A head's width is split in two halves; number i of the first and number i of the second turn together, by an angle of
the position times a frequency. Angles are float32 whatever the products are in: in bfloat16, positions beyond 256
would be rounded. Each scaling is what `transformers` computes for a config file that names it.

A model's configuration has `head_width`; `theta`, the base of the frequencies; `rope`, their scaling: the fields of a
config file as pairs, `rope_type` among them, or () for none; and `positions`, the longest input without scaling.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Asked:
    """What frequencies are asked for: a configuration, its fields by name, and tokens: positions and segments BxL."""

    config: Any
    fields: Mapping[str, Any]
    positions_BxL: jax.Array
    segments_BxL: jax.Array


Frequencies = tuple[Any, float]  # N of them, or BxLxN; and what the vectors are multiplied by


def _plain(asked: Asked) -> Frequencies:
    """As they are without scaling; N is half of a head's width."""
    width = asked.config.head_width
    return asked.config.theta ** -(np.arange(0, width, 2) / width), 1.0


def _linear(asked: Asked) -> Frequencies:
    """Divides all positions (Chen et al. 2023, arXiv 2306.15595)."""
    return _plain(asked)[0] / asked.fields["factor"], 1.0


def _dynamic(asked: Asked) -> Frequencies:
    """Stretches as far as the text is long (NTK-aware scaling).

    `transformers` takes the longest position of a batch, and of a text that is being generated the longest so far.
    Here it is that of the token's own segment, so that a text's states do not depend on its neighbours; for a batch of
    one they are the same.
    """
    width, original, factor = asked.config.head_width, asked.config.positions, asked.fields["factor"]
    over_BxL = jnp.maximum(_longest(asked.positions_BxL, asked.segments_BxL), original).astype(jnp.float32) / original
    base_BxL = asked.config.theta * (factor * over_BxL - (factor - 1)) ** (width / (width - 2))
    share_N = jnp.arange(0, width, 2, dtype=jnp.float32) / width
    return base_BxL[..., None] ** -share_N[None, None], 1.0


def _longest(positions_BxL: jax.Array, segments_BxL: jax.Array) -> jax.Array:
    """Returns for each token how long its segment is: the last position in it and one."""
    same_BxLxL = segments_BxL[:, :, None] == segments_BxL[:, None, :]
    return 1 + jnp.where(same_BxLxL, positions_BxL[:, None, :], 0).max(axis=-1)


def _llama3(asked: Asked) -> Frequencies:
    """Divides the low frequencies, leaves the high ones, and goes from one to the other between (Llama 3.1)."""
    inverse_N, fields = _plain(asked)[0], asked.fields
    turns_N = fields["original_max_position_embeddings"] * inverse_N / (2 * math.pi)
    low, high = fields["low_freq_factor"], fields["high_freq_factor"]
    kept_N = np.clip((turns_N - low) / (high - low), 0.0, 1.0)
    return inverse_N * (kept_N + (1 - kept_N) / fields["factor"]), 1.0


def _yarn(asked: Asked) -> Frequencies:
    """Divides by dimension, between two numbers of turns, and lengthens the vectors (Peng et al. 2023, 2309.00071)."""
    inverse_N, fields = _plain(asked)[0], asked.fields
    original, count = fields["original_max_position_embeddings"], len(inverse_N)

    def dimension(turns: float) -> float:
        return count * math.log(original / (turns * 2 * math.pi)) / math.log(asked.config.theta)

    low, high = dimension(fields.get("beta_fast", 32)), dimension(fields.get("beta_slow", 1))
    if fields.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * count - 1)
    divided_N = np.clip((np.arange(count) - low) / ((high - low) or 0.001), 0.0, 1.0)
    return inverse_N * (1 - divided_N + divided_N / fields["factor"]), _yarn_length(fields)


def _yarn_length(fields: Mapping[str, Any]) -> float:
    """Returns what YaRN multiplies rotated vectors by."""

    def length(weight: float) -> float:
        return 0.1 * weight * math.log(fields["factor"]) + 1.0 if fields["factor"] > 1 else 1.0

    over, under = fields.get("mscale"), fields.get("mscale_all_dim")
    return fields.get("attention_factor", length(over) / length(under) if over and under else length(1.0))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A way to stretch positions: the fields that it needs, and those that it may have."""

    frequencies: Callable[[Asked], Frequencies]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


_ORIGINAL = "original_max_position_embeddings"
_YARN = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")
SCALINGS = {
    "default": Scaling(_plain),
    "linear": Scaling(_linear, ("factor",)),
    "dynamic": Scaling(_dynamic, ("factor",)),
    "llama3": Scaling(_llama3, ("factor", _ORIGINAL, "low_freq_factor", "high_freq_factor")),
    "yarn": Scaling(_yarn, ("factor", _ORIGINAL), _YARN),
}


def turns(config: Any, positions_BxL: jax.Array, segments_BxL: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (cosines, sines) BxLxN of the angles of each token, N being half of a head's width.

    Args:
      config: see above.
      positions_BxL: places of the tokens in their segments.
      segments_BxL: of the tokens.
    """
    fields = dict(config.rope)
    scaling = SCALINGS[fields.get("rope_type", "default")]
    inverse, length = scaling.frequencies(Asked(config, fields, positions_BxL, segments_BxL))
    inverse = jnp.asarray(inverse, jnp.float32)
    angles_BxLxN = positions_BxL[..., None].astype(jnp.float32) * (inverse if inverse.ndim > 1 else inverse[None, None])
    return jnp.cos(angles_BxLxN) * length, jnp.sin(angles_BxLxN) * length


def rotate(x_BxLxHxK: jax.Array, cosines_BxLxN: jax.Array, sines_BxLxN: jax.Array) -> jax.Array:
    """Returns the vectors turned, in float32."""
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    cosines, sines = (jnp.broadcast_to(x[:, :, None], first.shape) for x in (cosines_BxLxN, sines_BxLxN))
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
