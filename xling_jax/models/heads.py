"""Heads: hidden states to answers, one class per kind of task, each as XLM-R's published code has it.

Every head takes states of the last layer and returns float32. Its size is the number of its labels.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.encoder import EncoderConfig
from xling_jax.models.layers import Dense, Dropout, gelu, layer_norm, zeros


def _output(size: int, config: EncoderConfig):
    return Dense(config, (size,), outputs=(axes.LABELS,), name="output")


class ClassificationHead(nn.Module):
    """Dense, tanh, dropout and output on the state of an example's first token <s>: logits BxY, or BxSxY."""

    config: EncoderConfig
    size: int

    @nn.compact
    def __call__(self, first_BxD, index_B, deterministic):
        drop = functools.partial(
            Dropout(self.config.dropout), index=index_B, position=jnp.zeros_like(index_B), deterministic=deterministic
        )
        x_BxD = jnp.tanh(Dense(self.config, (self.config.width,), name="dense")(drop(first_BxD)))
        return _output(self.size, self.config)(drop(x_BxD)).astype(jnp.float32)


class ChoiceHead(nn.Module):
    """One score for a choice, whatever the number of choices: BCx1 from the choices' first tokens."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, first_BCxD, index_BC, deterministic):
        return ClassificationHead(self.config, 1, name="score")(first_BCxD, index_BC, deterministic)


class TokenHead(nn.Module):
    """Labels of tokens: logits BxLxY. Spans are two such labels, start and end."""

    config: EncoderConfig
    size: int

    @nn.compact
    def __call__(self, last_BxLxD, index_BxL, positions_BxL, deterministic):
        x_BxLxD = Dropout(self.config.dropout)(last_BxLxD, index_BxL, positions_BxL, deterministic)
        return _output(self.size, self.config)(x_BxLxD).astype(jnp.float32)


class MlmHead(nn.Module):
    """Dense, GELU, norm, then the word embeddings as output matrix with a bias of its own: logits BxMxV.

    It is given the states of the M masked positions only, because the product with the vocabulary is the
    most expensive one of the model. Rows beyond the pieces of the vocabulary, if it has such, are never the answer.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, masked_BxMxD, embedding_VxD):
        x_BxMxD = gelu(Dense(self.config, (self.config.width,), name="dense")(masked_BxMxD), self.config)
        x_BxMxD = layer_norm("norm", self.config.eps)(x_BxMxD).astype(self.config.dtype)
        # Not an optimisation: with this axis left to the compiler, JAX 0.10.2 on a mesh with fsdp and tensor
        # axes computes the right loss and a wrong gradient of everything below.
        x_BxMxD = nn.with_logical_constraint(x_BxMxD, (axes.BATCH, axes.LENGTH, axes.EMBED))
        bias_V = self.param("bias", zeros(axes.VOCAB), (self.config.vocab + self.config.spare,))
        logits_BxMxV = jnp.einsum("bmd,vd->bmv", x_BxMxD, embedding_VxD.astype(self.config.dtype))
        logits_BxMxV = logits_BxMxV.astype(jnp.float32) + bias_V[None, None]
        return without_spare(logits_BxMxV, self.config.vocab)


def without_spare(logits_BxMxV: jax.Array, vocab: int) -> jax.Array:
    """Returns logits that give no weight to the rows of a vocabulary beyond its pieces.

    They stay in the array, because an array cut to the number of pieces would not divide among devices.
    """
    if logits_BxMxV.shape[-1] == vocab:
        return logits_BxMxV
    piece_V = jnp.arange(logits_BxMxV.shape[-1]) < vocab
    return jnp.where(piece_V[None, None], logits_BxMxV, -1e9)


def pool(states_BxLxD: jax.Array, mask_BxL: jax.Array, pooling: str) -> jax.Array:
    """Returns sentence vectors BxD in float32: the mean over tokens where the mask is set, or the first token."""
    states_BxLxD = states_BxLxD.astype(jnp.float32)
    if pooling == "first":
        return states_BxLxD[:, 0]
    weights_BxLx1 = mask_BxL[..., None].astype(jnp.float32)
    return (states_BxLxD * weights_BxLx1).sum(axis=1) / jnp.maximum(weights_BxLx1.sum(axis=1), 1.0)
