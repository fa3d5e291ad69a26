"""The decoder of Llama 2, Qwen2.5 and Qwen3, and of every checkpoint of that shape; only the size row differs.

Pre-norm by root mean square, rotary positions, keys and values shared by groups of heads, a gated feed-forward layer
(Touvron et al. 2023, arXiv 2307.09288; Qwen 2024, arXiv 2412.15115; Qwen 2025, arXiv 2505.09388). Qwen2.5 has biases
of queries, keys and values, Qwen3 norms of queries and keys. A token sees those before it in its segment, and none
after it. Padding is told by segments and never by an id: Qwen's padding is its end of text.

To continue a prompt, `prefill` makes a cache of keys and values, and `step` adds a token to each of its rows.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.attention import attend
from xling_jax.models.layers import Dense, Dropout, RmsNorm, Words, along_row, normal, numbered, stack, whole
from xling_jax.models.rope import rotate, turns
from xling_jax.optim import Lora

# key and value, (layers)xBxPxJxK: what each layer has of the tokens so far
Cache = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes and numerics of a decoder.

    `groups` of heads share keys and values; `bias` is "none", "qkv" (queries, keys, values) or "all" (the output of
    attention, too). `rope` has the fields of a config file's scaling of positions, as pairs; () for none. `tied`: the
    language-model head's matrix is that of the embeddings. `spare`: rows that the vocabulary has beyond its pieces, so
    that it divides among devices. `dtype` is that of the matrix products; parameters stay float32.
    """

    layers: int
    width: int
    heads: int
    groups: int
    head_width: int
    mlp: int
    positions: int
    vocab: int
    spare: int = 0
    eps: float = 1e-6
    theta: float = 10_000.0
    rope: tuple[tuple[str, Any], ...] = ()
    bias: str = "none"
    qk_norm: bool = False
    tied: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    remat: str = "none"
    frozen: int = 0
    unroll: bool = False
    lora: Lora = dataclasses.field(default_factory=Lora)


class Rows(flax.struct.PyTreeNode):
    """What all layers are told of the tokens: BxL; cosines and sines BxLxN; places B, only where there is a cache."""

    segments: jax.Array
    positions: jax.Array
    index: jax.Array
    cosines: jax.Array
    sines: jax.Array
    places: Any = None


def write(cache_BxP: jax.Array, new_Bx1: jax.Array, places_B: jax.Array) -> jax.Array:
    """Returns the cache with one new entry in each row, at a place of the row's own; more axes may follow."""
    return jax.vmap(functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=0))(cache_BxP, new_Bx1, places_B)


class Layer(nn.Module):
    """One layer. What it keeps is its output, or, if `caching`, its keys and values."""

    config: DecoderConfig
    deterministic: bool
    caching: bool

    @nn.compact
    def __call__(self, x_BxLxD, rows: Rows, cache: Any):
        """Returns (output, what is kept). `cache` has the keys and values BxPxJxK of this layer, or is None."""
        config = self.config
        norm = functools.partial(RmsNorm, config.eps)

        def add(x, y):
            y = Dropout(config.dropout)(y, rows.index, rows.positions, self.deterministic)
            return y.astype(jnp.float32) + x

        y_BxLxD, entries = self._attention(norm(name="attention_norm")(x_BxLxD), rows, cache)
        x_BxLxD = add(x_BxLxD, y_BxLxD)
        x_BxLxD = add(x_BxLxD, self._mlp(norm(name="mlp_norm")(x_BxLxD)))
        x_BxLxD = nn.with_logical_constraint(x_BxLxD, (axes.BATCH, axes.LENGTH, axes.EMBED))
        return x_BxLxD, entries if self.caching else x_BxLxD

    @nn.nowrap
    def _attention(self, x_BxLxD, rows: Rows, cache):
        """Returns (BxLxD, the keys and values of the tokens)."""
        config, heads = self.config, (axes.HEADS, axes.KV)

        def project(count, name):
            biased = config.bias != "none"
            return Dense(config, (count, config.head_width), outputs=heads, bias=biased, name=name)(x_BxLxD)

        query, key = project(config.heads, "query"), project(config.groups, "key")
        value = project(config.groups, "value")
        if config.qk_norm:
            query = RmsNorm(config.eps, axes.KV, name="query_norm")(query)
            key = RmsNorm(config.eps, axes.KV, name="key_norm")(key)
        query, key = (rotate(x, rows.cosines, rows.sines).astype(config.dtype) for x in (query, key))
        if cache is None:
            y_BxLxHxK = attend(query, key, value, rows.segments, causal=True)
        else:
            seen_BxP = jnp.arange(cache["key"].shape[1])[None] <= rows.places[:, None]
            keys, values = write(cache["key"], key, rows.places), write(cache["value"], value, rows.places)
            y_BxLxHxK = attend(query, keys, values, rows.segments, seen_BxP.astype(jnp.int32))
        out = Dense(config, (config.width,), heads, (axes.EMBED,), bias=config.bias == "all", name="attention_out")
        return out(y_BxLxHxK), {"key": key, "value": value}

    @nn.nowrap
    def _mlp(self, x_BxLxD):
        config = self.config
        gate_BxLxF, h_BxLxF = (
            Dense(config, (config.mlp,), bias=False, name=name)(x_BxLxD) for name in ("mlp_gate", "mlp_in")
        )
        h_BxLxF = nn.with_logical_constraint(nn.silu(gate_BxLxF) * h_BxLxF, (axes.BATCH, axes.LENGTH, axes.MLP))
        return Dense(config, (config.width,), (axes.MLP,), (axes.EMBED,), bias=False, name="mlp_out")(h_BxLxF)


class Decoder(nn.Module):
    """Tokens to hidden states, each of them of its token and those before it."""

    config: DecoderConfig

    def setup(self):
        config = self.config
        rows, table = config.vocab + config.spare, normal(axes.VOCAB, axes.EMBED)
        self.word = Words(rows, config.width, dtype=jnp.float32, embedding_init=table)
        self.norm = RmsNorm(config.eps)

    @nn.compact
    def _layers(self, tokens_BxL, rows: Rows, cache, deterministic: bool, caching: bool, *, keep: Callable = whole):
        """Returns (embeddings BxLxD, last state before its norm BxLxD, what the layers keep, stacked)."""
        x_BxLxD = nn.with_logical_constraint(self.word(tokens_BxL), (axes.BATCH, axes.LENGTH, axes.EMBED))
        layers = stack(Layer, self.config, deterministic, caching, inputs=1, stacked=1, keep=keep)
        return x_BxLxD, *layers(x_BxLxD, rows, cache)

    def _rows(self, segments_BxL, positions_BxL, index_BxL, places_B=None) -> Rows:
        angles = turns(self.config, positions_BxL, segments_BxL)
        return Rows(segments_BxL, positions_BxL, index_BxL, *angles, places_B)

    def __call__(
        self,
        tokens_BxL,
        segments_BxL=None,
        positions_BxL=None,
        index_BxL=None,
        deterministic: bool = True,
        *,
        keep: Callable = whole,
    ):
        """Returns (last state BxLxD, states (layers+1)xBxLxD with the embeddings as number 0 and the last one normed).

        Args:
          tokens_BxL: token ids.
          segments_BxL: 0 for padding, else the number of the segment a token belongs to; None: one, without padding.
          positions_BxL: positions inside the segment, from 0; None: along the row.
          index_BxL: the number in the global batch of the example a token belongs to, for dropout; None: the row's.
          deterministic: no dropout.
          keep: makes of a state BxLxD what comes back in its place.
        """
        if segments_BxL is None:
            segments_BxL = jnp.ones_like(tokens_BxL)
        if positions_BxL is None:
            positions_BxL = along_row(tokens_BxL)
        if index_BxL is None:
            index_BxL = jnp.broadcast_to(jnp.arange(tokens_BxL.shape[0])[:, None], tokens_BxL.shape)
        rows = self._rows(segments_BxL, positions_BxL, index_BxL)
        first_BxLxD, last_BxLxD, after = self._layers(tokens_BxL, rows, None, deterministic, False, keep=keep)
        last_BxLxD = self.norm(last_BxLxD)
        return last_BxLxD, numbered(keep(first_BxLxD), after, keep(last_BxLxD))

    def prefill(self, tokens_BxL, lengths_B, room: int) -> Cache:
        """Returns the cache of prompts that fill the first `lengths_B` places of their rows, with room for more tokens.

        What stands after a prompt is never seen: a row's own tokens take those places, one by one.
        """
        places_BxL = along_row(tokens_BxL)
        segments_BxL = (places_BxL < jnp.broadcast_to(lengths_B[:, None], places_BxL.shape)).astype(jnp.int32)
        rows = self._rows(segments_BxL, places_BxL, places_BxL)
        _, _, entries = self._layers(tokens_BxL, rows, None, True, True)
        cache = {name: jnp.pad(part, [(0, 0), (0, 0), (0, room), (0, 0), (0, 0)]) for name, part in entries.items()}
        return jax.tree.map(_constrained, cache)

    def step(self, cache: Cache, tokens_B, places_B) -> tuple[jax.Array, Cache]:
        """Returns (the states BxD of the tokens, the cache with them in it). Each stands at a place of its own row."""
        one_Bx1 = jnp.ones_like(tokens_B)[:, None]
        rows = self._rows(one_Bx1, places_B[:, None], one_Bx1, places_B)
        _, last_Bx1xD, entries = self._layers(tokens_B[:, None], rows, cache, True, True)
        at_each_layer = jax.vmap(write, in_axes=(0, 0, None))
        cache = {name: _constrained(at_each_layer(cache[name], entries[name], places_B)) for name in cache}
        return self.norm(last_Bx1xD)[:, 0], cache


def _constrained(cache: jax.Array) -> jax.Array:
    """Returns keys or values (layers)xBxPxJxK, split like those of a row of tokens."""
    return nn.with_logical_constraint(cache, (axes.LAYERS, axes.BATCH, axes.LENGTH, axes.HEADS, axes.KV))
