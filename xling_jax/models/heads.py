"""Heads: hidden states to answers, one class per kind of task, each as the family's published code has it.

Every head takes states of the last layer and returns float32. Its size is the number of its labels.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.encoder import EncoderConfig
from xling_jax.models.layers import Dense, Dropout, layer_norm, normal, zeros

FIRST_SCALE = 100.0


def _output(size: int, config: EncoderConfig):
    return Dense(config, (size,), outputs=(axes.LABELS,), name="output")


def _pooler(config: EncoderConfig):
    """Returns BERT's pooler, to be used on first tokens: dense and tanh."""
    dense = Dense(config, (config.width,), name="dense")
    return lambda first_BxD: jnp.tanh(dense(first_BxD))


class ClassificationHead(nn.Module):
    """Dense, tanh, dropout and output on the state of an example's first token <s>: logits BxY, or BxSxY.

    `drop_first`: its input is dropped, too.
    """

    config: EncoderConfig
    size: int
    drop_first: bool = True

    @nn.compact
    def __call__(self, first_BxD, index_B, deterministic):
        drop = functools.partial(
            Dropout(self.config.dropout), index=index_B, position=jnp.zeros_like(index_B), deterministic=deterministic
        )
        x_BxD = _pooler(self.config)(drop(first_BxD) if self.drop_first else first_BxD)
        return _output(self.size, self.config)(drop(x_BxD)).astype(jnp.float32)


class ChoiceHead(nn.Module):
    """One score for a choice, whatever the number of choices: BCx1 from the choices' first tokens.

    In published code this is BERT's pooler, whose input is not dropped.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, first_BCxD, index_BC, deterministic):
        return ClassificationHead(self.config, 1, drop_first=False, name="score")(first_BCxD, index_BC, deterministic)


class DualHead(nn.Module):
    """Vectors of unit length from BERT's pooler, NxD in float32, and the learned scale of their products.

    As XTREME-R trains LAReQA's and Mewsli-X's encoders: the scale itself is the parameter, not its logarithm, and
    begins at 100.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, first_NxD):
        x_NxD = _pooler(self.config)(first_NxD).astype(jnp.float32)
        length_Nx1 = jnp.sqrt(jnp.square(x_NxD).sum(axis=-1, keepdims=True))
        scale = nn.with_logical_partitioning(nn.initializers.constant(FIRST_SCALE), (None,))
        return x_NxD / jnp.maximum(length_Nx1, 1e-12), self.param("logit_scale", scale, (1,))


class TokenHead(nn.Module):
    """Labels of tokens: logits BxLxY. Spans are two such labels, start and end."""

    config: EncoderConfig
    size: int

    @nn.compact
    def __call__(self, last_BxLxD, index_BxL, positions_BxL, deterministic):
        x_BxLxD = Dropout(self.config.dropout)(last_BxLxD, index_BxL, positions_BxL, deterministic)
        return _output(self.size, self.config)(x_BxLxD).astype(jnp.float32)


class ScoreHead(nn.Module):
    """Logits BxY, BxSxY, or the one score of a choice, BCx1, from the state of an example's last token.

    As decoders have it: one product, without a bias or anything before it but dropout.
    """

    config: Any
    size: int

    @nn.compact
    def __call__(self, last_BxD, index_B, deterministic):
        x_BxD = Dropout(self.config.dropout)(last_BxD, index_B, jnp.zeros_like(index_B), deterministic)
        score = Dense(self.config, (self.size,), outputs=(axes.LABELS,), bias=False, name="output")
        return score(x_BxD).astype(jnp.float32)


class LmHead(nn.Module):
    """The next token's logits BxMxV, of M places only: the product with the vocabulary costs as much as many layers.

    The matrix is the word embeddings or, where they are not tied, one of its own.
    """

    config: Any

    @nn.compact
    def __call__(self, states_BxMxD, embedding_VxD):
        config = self.config
        if config.tied:
            output_VxD = embedding_VxD
        else:
            shape = (config.vocab + config.spare, config.width)
            output_VxD = self.param("kernel", normal(axes.VOCAB, axes.EMBED), shape)
        states_BxMxD = nn.with_logical_constraint(
            states_BxMxD.astype(config.dtype), (axes.BATCH, axes.LENGTH, axes.EMBED)
        )
        logits_BxMxV = by_rows(states_BxMxD, output_VxD.astype(config.dtype))
        return without_spare(logits_BxMxV.astype(jnp.float32), config.vocab)


class MlmHead(nn.Module):
    """Dense, exact GELU, norm, then the word embeddings as output matrix with a bias of its own: logits BxMxV.

    It is given the states of the M masked positions only, because the product with the vocabulary is the
    most expensive one of the model. Rows beyond the pieces of the vocabulary, if it has such, are never the answer.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, masked_BxMxD, embedding_VxD):
        x_BxMxD = jax.nn.gelu(Dense(self.config, (self.config.width,), name="dense")(masked_BxMxD), approximate=False)
        x_BxMxD = layer_norm("norm", self.config.eps)(x_BxMxD).astype(self.config.dtype)
        # Not an optimisation: with this axis left to the compiler, JAX 0.10.2 on a mesh with fsdp and tensor
        # axes computes the right loss and a wrong gradient of everything below.
        x_BxMxD = nn.with_logical_constraint(x_BxMxD, (axes.BATCH, axes.LENGTH, axes.EMBED))
        bias_V = self.param("bias", zeros(axes.VOCAB), (self.config.vocab + self.config.spare,))
        logits_BxMxV = by_rows(x_BxMxD, embedding_VxD.astype(self.config.dtype))
        logits_BxMxV = logits_BxMxV.astype(jnp.float32) + bias_V[None, None]
        return without_spare(logits_BxMxV, self.config.vocab)


def by_rows(states_BxMxD: jax.Array, output_VxD: jax.Array) -> jax.Array:
    """Returns BxMxV: the product with each row, as one of two matrices (see `layers.product`)."""
    flat_NxV = jnp.einsum("nd,vd->nv", states_BxMxD.reshape(-1, states_BxMxD.shape[-1]), output_VxD)
    return flat_NxV.reshape(*states_BxMxD.shape[:-1], -1)


def without_spare(logits_BxMxV: jax.Array, vocab: int) -> jax.Array:
    """Returns logits that give no weight to the rows of a vocabulary beyond its pieces.

    They stay in the array, because an array cut to the number of pieces would not divide among devices.
    """
    if logits_BxMxV.shape[-1] == vocab:
        return logits_BxMxV
    piece_V = jnp.arange(logits_BxMxV.shape[-1]) < vocab
    return jnp.where(piece_V[None, None], logits_BxMxV, -1e9)
