"""The encoder of XLM-R: base and large (post-norm), XL and XXL (pre-norm); only the size row differs.

Follows the architecture of Conneau et al. 2020 (arXiv 1911.02116) and, for pre-norm, Goyal et al. 2021
(arXiv 2105.00572). Parameters of all layers are stacked on a leading `layers` axis in every size, so a
checkpoint has one tree whether the layers were scanned or unrolled.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.attention import attend
from xling_jax.models.layers import (
    Dense,
    Dropout,
    Words,
    along_row,
    gelu,
    layer_norm,
    normal,
    numbered,
    stack,
    take_places,
    whole,
)
from xling_jax.optim import Lora

PAD_ID = 1


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes and numerics of an encoder.

    `dtype` is that of the matrix products; parameters stay float32. `spare`: rows that the vocabulary has beyond its
    pieces, so that it divides among devices; no input has them and no output may be one of them.
    """

    layers: int
    width: int
    heads: int
    mlp: int
    positions: int
    vocab: int
    spare: int = 0
    pad: int = 1
    norm: str = "post"
    eps: float = 1e-5
    gelu: str = "erf"
    dropout: float = 0.1
    dtype: str = "float32"
    remat: str = "none"
    frozen: int = 0
    unroll: bool = False
    lora: Lora = dataclasses.field(default_factory=Lora)


class Layer(nn.Module):
    """One transformer layer, post- or pre-norm."""

    config: EncoderConfig
    deterministic: bool

    @nn.compact
    def __call__(self, x_BxLxD, segments_BxL, index_BxL, positions_BxL, places_BxS=None):
        """Returns (output, output): what the next layer gets, and what is kept as this layer's state.

        With places that is BxSxD, of the tokens there, which alone ask all others; no next layer gets them.
        """
        config = self.config
        pre, keys_BxL = config.norm == "pre", None
        taken = lambda x: x if places_BxS is None else take_places(x, places_BxS)  # noqa: E731
        if places_BxS is not None:
            keys_BxL, segments_BxL = segments_BxL, taken(segments_BxL)
            index_BxL, positions_BxL = taken(index_BxL), taken(positions_BxL)

        def block(x, function, norm, before):
            inside = norm(x) if pre else x
            y = function(inside.astype(config.dtype))
            y = Dropout(config.dropout)(y, index_BxL, positions_BxL, self.deterministic)
            y = y.astype(jnp.float32) + before(x)
            return y if pre else norm(y)

        def attention(x):
            width = config.width // config.heads
            heads = (axes.HEADS, axes.KV)
            project = functools.partial(Dense, config, (config.heads, width), outputs=heads)
            qkv = [project(name=name)(given) for name, given in (("query", taken(x)), ("key", x), ("value", x))]
            y_BxLxHxK = attend(*qkv, segments_BxL, keys_BxL)
            return Dense(config, (config.width,), heads, (axes.EMBED,), name="attention_out")(y_BxLxHxK)

        def mlp(x):
            h_BxLxF = gelu(Dense(config, (config.mlp,), name="mlp_in")(x), config)
            h_BxLxF = nn.with_logical_constraint(h_BxLxF, (axes.BATCH, axes.LENGTH, axes.MLP))
            return Dense(config, (config.width,), (axes.MLP,), (axes.EMBED,), name="mlp_out")(h_BxLxF)

        y_BxLxD = block(x_BxLxD, attention, layer_norm("attention_norm", config.eps), taken)
        y_BxLxD = block(y_BxLxD, mlp, layer_norm("mlp_norm", config.eps), lambda x: x)
        y_BxLxD = nn.with_logical_constraint(y_BxLxD, (axes.BATCH, axes.LENGTH, axes.EMBED))
        return (y_BxLxD if places_BxS is None else x_BxLxD), y_BxLxD


class Encoder(nn.Module):
    """Tokens to hidden states.

    Dropout stands where XLM-R has it, but for the weights of attention, which are kept: fused kernels never have them.
    """

    config: EncoderConfig

    def setup(self):
        config = self.config
        self.first_position = config.pad + 1  # XLM-R numbers positions from the padding id upwards
        table = functools.partial(nn.Embed, features=config.width, dtype=jnp.float32)
        words = functools.partial(Words, features=config.width, dtype=jnp.float32)
        self.word = words(config.vocab + config.spare, embedding_init=normal(axes.VOCAB, axes.EMBED))
        self.position = table(self.first_position + config.positions, embedding_init=normal(None, axes.EMBED))
        self.token_type = table(1, embedding_init=normal(None, axes.EMBED))
        self.norm = layer_norm("norm", config.eps)
        self.dropout = Dropout(config.dropout)

    def embed(self, tokens_BxL, positions_BxL, index_BxL, deterministic):
        """Returns BxLxD: word, position and the single token-type embedding, summed."""
        x_BxLxD = self.word(tokens_BxL) + self.position(self.first_position + positions_BxL)
        x_BxLxD = x_BxLxD + self.token_type(jnp.zeros_like(tokens_BxL))
        x_BxLxD = self.norm(x_BxLxD) if self.config.norm == "post" else x_BxLxD
        x_BxLxD = self.dropout(x_BxLxD, index_BxL, positions_BxL, deterministic)
        return nn.with_logical_constraint(x_BxLxD, (axes.BATCH, axes.LENGTH, axes.EMBED))

    @nn.compact
    def __call__(
        self,
        tokens_BxL,
        segments_BxL=None,
        positions_BxL=None,
        index_BxL=None,
        *,
        deterministic: bool = True,
        places_BxS=None,
        keep: Callable = whole,
    ):
        """Returns (last state BxLxD, states (layers+1)xBxLxD with the embeddings as number 0).

        With places: (last state BxSxD of the tokens there, None). The last layer does the less for it.

        Args:
          tokens_BxL: token ids.
          segments_BxL: 0 for padding, else the number of the segment a token belongs to; None: one segment.
          positions_BxL: positions inside the segment, from 0; None: along the row.
          index_BxL: the number in the global batch of the example a token belongs to, for dropout; None: the row's.
          deterministic: no dropout.
          places_BxS: tokens whose last states are wanted; None: all.
          keep: makes of a state BxLxD what comes back in its place.
        """
        config = self.config
        if segments_BxL is None:
            segments_BxL = (tokens_BxL != config.pad).astype(jnp.int32)
        if positions_BxL is None:
            # Padding stays at the last position that exists, which nothing attends to.
            positions_BxL = along_row(tokens_BxL)
        if index_BxL is None:
            index_BxL = jnp.broadcast_to(jnp.arange(tokens_BxL.shape[0])[:, None], tokens_BxL.shape)
        x_BxLxD = self.embed(tokens_BxL, positions_BxL, index_BxL, deterministic)
        layers = stack(Layer, config, deterministic, inputs=3, keep=keep)
        at_end = () if places_BxS is None else (places_BxS,)
        last_BxLxD, after = layers(x_BxLxD, segments_BxL, index_BxL, positions_BxL, at_end=at_end)
        # As published code counts them, the last state is the normed one: what heads and sentence vectors get.
        last_BxLxD = self.norm(last_BxLxD) if config.norm == "pre" else last_BxLxD
        if places_BxS is not None:
            return last_BxLxD, None
        return last_BxLxD, numbered(keep(x_BxLxD), after, keep(last_BxLxD) if config.norm == "pre" else None)
