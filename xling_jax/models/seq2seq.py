"""The encoder-decoder of mT5 and umT5: T5 in its version 1.1.

Raffel et al. 2020 (arXiv 1910.10683) with gated GELU and an output matrix of its own, as mT5 has it (Xue et al. 2021,
arXiv 2010.11934); umT5 (Chung et al. 2023, "UniMax") has relative positions in every layer instead of one table for
all. Scores of attention are not scaled, no projection has a bias, norms stand before blocks and only scale. The
weights of attention are not dropped (T5 drops them): fused kernels have no such thing.

Padding is token 0, which also begins a target.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.attention import attend
from xling_jax.models.heads import without_spare
from xling_jax.models.layers import Dense, Dropout, RmsNorm, along_row, gelu, normal, numbered, stack, whole
from xling_jax.models.relative import RelativeBias
from xling_jax.optim import Lora

Arrays = dict[str, jax.Array]
KEY_AXES = (axes.BATCH, axes.LENGTH, axes.HEADS, axes.KV)


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes and numerics of an encoder-decoder.

    `layers` are the encoder's. `relative`: "shared", one table of relative positions for each of encoder and decoder,
    or "layer", one for each layer. `buckets` of distances, of which the last begins at `longest`. `dtype` is that of
    the matrix products; parameters, what is carried from layer to layer, and logits stay float32. `spare`: rows that
    the vocabulary has beyond its pieces, so that it divides among devices.
    """

    layers: int
    decoder_layers: int
    width: int
    heads: int
    head_width: int
    mlp: int
    vocab: int
    relative: str = "shared"
    buckets: int = 32
    longest: int = 128
    spare: int = 0
    pad: int = 0
    eos: int = 1
    eps: float = 1e-6
    gelu: str = "tanh"
    dropout: float = 0.1
    dtype: str = "float32"
    remat: str = "none"
    frozen: int = 0
    unroll: bool = False
    lora: Lora = dataclasses.field(default_factory=Lora)


def relative_bias(config: Seq2SeqConfig, decoder: bool, name: str | None = None) -> RelativeBias:
    """Returns the relative positions of one layer or stack."""
    sizes = (config.heads, config.buckets, config.longest)
    return RelativeBias(*sizes, both_ways=not decoder, std=config.width**-0.5, name=name)


class Layer(nn.Module):
    """A layer: attention among the tokens of a row, in the decoder attention to the encoder's states, a gated MLP.

    `does` is "all" for whole rows; in a decoder with a cache also "remember", for keys and values of the encoder's
    states, and "step", for one token of each row.
    """

    config: Seq2SeqConfig
    decoder: bool
    does: str
    deterministic: bool

    def setup(self):
        config = self.config
        each, heads = (config.heads, config.head_width), (axes.HEADS, axes.KV)
        dense = functools.partial(Dense, config, bias=False)
        for kind in ("", "memory_") if self.decoder else ("",):
            for name in ("query", "key", "value"):
                # Scores are not divided by the root of the head width: fresh queries are smaller instead.
                fan = config.width * (config.head_width if name == "query" else 1)
                setattr(self, kind + name, dense(each, outputs=heads, std=fan**-0.5))
            inner = config.heads * config.head_width
            out = dense((config.width,), heads, (axes.EMBED,), std=inner**-0.5)
            setattr(self, f"{kind or 'attention_'}out", out)
            setattr(self, f"{kind or 'attention_'}norm", RmsNorm(config.eps))
        self.mlp_gate, self.mlp_in = (dense((config.mlp,), std=config.width**-0.5) for _ in range(2))
        self.mlp_out = dense((config.width,), (axes.MLP,), (axes.EMBED,), std=config.mlp**-0.5)
        self.mlp_norm = RmsNorm(config.eps)
        if config.relative == "layer":
            self.relative = relative_bias(config, self.decoder)
        self.dropout = Dropout(config.dropout)

    def __call__(self, x_BxLxD, here: dict[str, Any], held: Any = None):
        """Returns (output, what is kept of this layer: `state` BxLxD, or keys and values).

        Args:
          x_BxLxD: what is carried.
          here: what every layer sees: segments, index and positions BxL, bias of the scores; in the decoder memory
            BxLxD and memory_segments BxL.
          held: for a step: key and value BxPxHxK so far, and memory_key and memory_value BxLxHxK.
        """
        if self.does == "remember":
            return x_BxLxD, self._memory_keys(here["memory"])
        own: Arrays = {}

        def block(x, norm, function):
            y = self._drop(function(norm(x).astype(self.config.dtype)), here)
            return nn.with_logical_constraint(x + y.astype(jnp.float32), (axes.BATCH, axes.LENGTH, axes.EMBED))

        def attention(x):
            query, key, value = self.query(x), self.key(x), self.value(x)
            if self.does == "step":
                at = here["positions"]
                own.update(key=_write(held["key"], key, at), value=_write(held["value"], value, at))
                return self.attention_out(self._look_back(query, own, here))
            bias = self.relative(x.shape[1]) if self.config.relative == "layer" else here["bias"]
            y = attend(query, key, value, here["segments"], causal=self.decoder, bias_HxLxP=bias, scale=1.0)
            return self.attention_out(y)

        def memory(x):
            keys = held if self.does == "step" else self._memory_keys(here["memory"])
            return self.memory_out(_over_memory(self.memory_query(x), keys, here))

        def mlp(x):
            h_BxLxF = gelu(self.mlp_gate(x), self.config) * self.mlp_in(x)
            h_BxLxF = nn.with_logical_constraint(h_BxLxF, (axes.BATCH, axes.LENGTH, axes.MLP))
            return self.mlp_out(self._drop(h_BxLxF, here))

        x_BxLxD = block(x_BxLxD, self.attention_norm, attention)
        if self.decoder:
            x_BxLxD = block(x_BxLxD, self.memory_norm, memory)
        x_BxLxD = block(x_BxLxD, self.mlp_norm, mlp)
        return x_BxLxD, own or {"state": x_BxLxD}

    def _drop(self, x, here):
        return self.dropout(x, here["index"], here["positions"], self.deterministic)

    def _memory_keys(self, memory_BxLxD) -> Arrays:
        keys = {"memory_key": self.memory_key(memory_BxLxD), "memory_value": self.memory_value(memory_BxLxD)}
        return {name: nn.with_logical_constraint(part, KEY_AXES) for name, part in keys.items()}

    def _look_back(self, query_Nx1xHxK, own, here):
        """Attention of one token of each row to the places of the cache up to its own."""
        position_N, length = here["positions"][:, 0], own["key"].shape[1]
        bias = self.relative(length, position_N) if self.config.relative == "layer" else here["bias"]
        written_NxP = (jnp.arange(length)[None] <= position_N[:, None]).astype(jnp.int32)

        def one(query, key, value, written, bias):  # rows stand at places of their own, so each has its own bias
            row = (query[None], key[None], value[None], jnp.ones((1, 1), jnp.int32), written[None])
            return attend(*row, bias_HxLxP=bias, scale=1.0)[0]

        return jax.vmap(one)(query_Nx1xHxK, own["key"], own["value"], written_NxP, bias)


def _write(held_NxPxHxK, new_Nx1xHxK, positions_Nx1):
    """Returns the cache with each row's new entry at its position.

    A selection and not a scatter: it is split over devices as the cache is, and the scan over layers copies anyway.
    """
    here_NxP = jnp.arange(held_NxPxHxK.shape[1])[None] == positions_Nx1
    return nn.with_logical_constraint(jnp.where(here_NxP[..., None, None], new_Nx1xHxK, held_NxPxHxK), KEY_AXES)


def _over_memory(query_NxTxHxK, keys: Arrays, here):
    """Attention to the encoder's states, which N / B rows of the decoder in turn share (beams, answers).

    As nothing is causal here, the rows that share an example are one long row.
    """
    segments_BxL = here["memory_segments"]
    rows, length = query_NxTxHxK.shape[:2]
    joined = (len(segments_BxL), rows // len(segments_BxL) * length)
    query_BxTxHxK = query_NxTxHxK.reshape(*joined, *query_NxTxHxK.shape[2:])
    of_query_BxT = here["segments"].reshape(joined)
    y = attend(query_BxTxHxK, keys["memory_key"], keys["memory_value"], of_query_BxT, segments_BxL, scale=1.0)
    return y.reshape(query_NxTxHxK.shape)


class Stack(nn.Module):
    """The encoder or the decoder: layers, and the norm after them."""

    config: Seq2SeqConfig  # `layers` are this stack's
    decoder: bool

    @nn.compact
    def __call__(
        self,
        x_BxLxD,
        here: dict[str, Any],
        held: Any = None,
        does: str = "all",
        deterministic: bool = True,
        *,
        keep: Callable = whole,
    ):
        """Returns (last state BxLxD, what the layers kept, stacked); for the arguments see `Layer` and `stack`.

        `held` has the layers of a cache on the first axis.
        """
        config = self.config
        drop = functools.partial(Dropout(config.dropout), deterministic=deterministic)
        if config.relative == "shared" and does != "remember":
            places = (x_BxLxD.shape[1],) if does == "all" else (held["key"].shape[2], here["positions"][:, 0])
            here = here | {"bias": relative_bias(config, self.decoder, name="relative")(*places)}
        layers = stack(Layer, config, self.decoder, does, deterministic, inputs=1, stacked=1, keep=keep)
        last_BxLxD, kept = layers(drop(x_BxLxD, here["index"], here["positions"]), here, held)
        last_BxLxD = drop(RmsNorm(config.eps, name="norm")(last_BxLxD), here["index"], here["positions"])
        return last_BxLxD, kept


class Output(nn.Module):
    """The product with the vocabulary, in float32 whatever the dtype, as T5 has it."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self, last_NxTxD):
        """Returns logits NxTxV."""
        kernel_VxD = self.param("kernel", normal(axes.VOCAB, axes.EMBED, std=self.shape[1] ** -0.5), self.shape)
        # See MlmHead: without it a mesh with fsdp and tensor axes gets a wrong gradient of everything below.
        last_NxTxD = nn.with_logical_constraint(last_NxTxD, (axes.BATCH, axes.LENGTH, axes.EMBED))
        logits_NxTxV = jnp.einsum("ntd,vd->ntv", last_NxTxD, kernel_VxD)
        return nn.with_logical_constraint(logits_NxTxV, (axes.BATCH, axes.LENGTH, axes.VOCAB))


class Seq2Seq(nn.Module):
    """Tokens to states of the encoder; these and tokens to states of the decoder, and to logits."""

    config: Seq2SeqConfig

    def setup(self):
        config = self.config
        rows = config.vocab + config.spare
        self.word = nn.Embed(rows, config.width, embedding_init=normal(axes.VOCAB, axes.EMBED, std=1.0))
        self.encoder = Stack(config, decoder=False)
        self.decoder = Stack(dataclasses.replace(config, layers=config.decoder_layers, frozen=0), decoder=True)
        self.output = Output((rows, config.width))

    def _embed(self, tokens_BxL):
        return nn.with_logical_constraint(self.word(tokens_BxL), (axes.BATCH, axes.LENGTH, axes.EMBED))

    def encode(
        self,
        tokens_BxL,
        segments_BxL=None,
        positions_BxL=None,
        index_BxL=None,
        deterministic: bool = True,
        *,
        keep: Callable = whole,
    ):
        """Returns (last state BxLxD, states (layers+1)xBxLxD with the embeddings as number 0).

        Args:
          tokens_BxL: token ids.
          segments_BxL: 0 for padding, else the number of the segment a token belongs to; None: one segment.
          positions_BxL: positions inside the segment, from 0; None: along the row. They say where dropout is drawn;
            what attention knows of places it takes from the row, where a segment stands in one piece.
          index_BxL: the number in the global batch of the example a token belongs to, for dropout; None: the row's.
          deterministic: no dropout.
          keep: makes of a state BxLxD what comes back in its place.
        """
        if segments_BxL is None:
            segments_BxL = (tokens_BxL != self.config.pad).astype(jnp.int32)
        here = {"segments": segments_BxL} | _places(tokens_BxL, positions_BxL, index_BxL)
        return _run(self.encoder, self._embed(tokens_BxL), here, deterministic, keep=keep)

    def decode(
        self,
        tokens_NxT,
        memory_BxLxD,
        memory_segments_BxL,
        segments_NxT=None,
        *,
        positions_NxT=None,
        index_NxT=None,
        deterministic: bool = True,
    ):
        """Returns (last state NxTxD, states (layers+1)xNxTxD) of targets, each token seeing those before it.

        N is B, or a multiple of it: then N / B targets one after another belong to the same example.

        Args:
          tokens_NxT: what the decoder reads: the target behind the token that begins it.
          memory_BxLxD: the encoder's last states.
          memory_segments_BxL: the segments of its tokens, 0 for padding.
          segments_NxT: of the target's tokens; None: all 1, for nothing before it sees padding at its end.
          positions_NxT: as in `encode`.
          index_NxT: as in `encode`.
          deterministic: no dropout.
        """
        segments_NxT = jnp.ones_like(tokens_NxT) if segments_NxT is None else segments_NxT
        here = {"segments": segments_NxT, "memory": memory_BxLxD.astype(self.config.dtype)}
        here |= {"memory_segments": memory_segments_BxL} | _places(tokens_NxT, positions_NxT, index_NxT)
        return _run(self.decoder, self._embed(tokens_NxT), here, deterministic)

    def logits(self, last_NxTxD):
        """Returns NxTxV in float32; rows beyond the vocabulary's pieces get no weight."""
        return without_spare(self.output(last_NxTxD), self.config.vocab)

    def remember(self, memory_BxLxD) -> Arrays:
        """Returns the decoder's keys and values of the encoder's states, layers first: what no step changes."""
        here = {"memory": memory_BxLxD.astype(self.config.dtype), "index": None, "positions": None}
        return self.decoder(memory_BxLxD, here, does="remember")[1]

    def step(self, tokens_N, positions_N, cache: Arrays, memory: Arrays, memory_segments_BxL):
        """Returns (logits NxV of the next token, the cache with this one).

        Args:
          tokens_N: the token that each row has come to.
          positions_N: its place in its row.
          cache: see `empty_cache`.
          memory: see `remember`; N is B, or a multiple of it as in `decode`.
          memory_segments_BxL: of the encoder's tokens.
        """
        here = {"segments": jnp.ones_like(tokens_N)[:, None], "memory_segments": memory_segments_BxL}
        here |= {"positions": positions_N[:, None], "index": None}
        last_Nx1xD, cache = self.decoder(self._embed(tokens_N[:, None]), here, cache | memory, does="step")
        return self.logits(last_Nx1xD)[:, 0], cache


def _places(tokens_BxL, positions_BxL, index_BxL) -> Arrays:
    """Returns positions and index, by default those of rows that are one example each."""
    row_BxL = jnp.broadcast_to(jnp.arange(len(tokens_BxL))[:, None], tokens_BxL.shape)
    return {
        "positions": along_row(tokens_BxL) if positions_BxL is None else positions_BxL,
        "index": row_BxL if index_BxL is None else index_BxL,
    }


def _run(module: Stack, x_BxLxD, here, deterministic: bool, *, keep: Callable = whole):
    last_BxLxD, kept = module(x_BxLxD, here, deterministic=deterministic, keep=lambda kept: keep(kept["state"]))
    return last_BxLxD, numbered(keep(x_BxLxD), kept)


def empty_cache(config: Seq2SeqConfig, rows: int, places: int) -> Arrays:
    """Returns the decoder's keys and values of targets of which nothing is written: layers x N x P x H x K."""
    shape = (config.decoder_layers, rows, places, config.heads, config.head_width)
    zeros = nn.with_logical_constraint(jnp.zeros(shape, config.dtype), (axes.LAYERS, *KEY_AXES))
    return {"key": zeros, "value": zeros}
