"""Text to text: an encoder-decoder that is trained on targets, writes them, and ranks given answers."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax.models.decoding import NEVER, beam, greedy, log_likelihood
from xling_jax.models.layers import along, of_segment
from xling_jax.models.pooling import keeper, vector
from xling_jax.models.seq2seq import Seq2Seq, Seq2SeqConfig, empty_cache

INIT_LENGTH = 4  # any length: no parameter's shape depends on it


class TextToText(nn.Module):
    """An encoder-decoder where `build.Model` is an encoder with heads. Parameters: {"body": ...}.

    Its answers are texts, whatever the task, so it has no heads; the name of one says nothing to it.
    """

    config: Seq2SeqConfig

    def setup(self):
        self.body = Seq2Seq(self.config)

    def __call__(self, head: str, batch: dict, deterministic: bool = True) -> jax.Array:
        """Returns logits BxTxV of the targets' tokens.

        `batch` has input_ids BxL and labels BxT; negative labels are not scored, and read as padding. A packed batch
        also has segments and positions BxL, target_segments and target_positions BxT, and its index is BxS.
        """
        tokens, labels = batch["input_ids"], batch["labels"]
        index = batch.get("index", jnp.arange(len(tokens)))
        packed = "target_segments" in batch
        of = of_segment if packed else along
        segments = batch.get("segments", (tokens != self.config.pad).astype(jnp.int32))
        targets = batch.get("target_segments", jnp.ones_like(labels))
        positions, target_positions = batch.get("positions"), batch.get("target_positions")
        memory, _ = self.body.encode(tokens, segments, positions, of(index, segments), deterministic)
        inputs = shifted(labels, self.config.pad, target_positions)
        place = {"positions_NxT": target_positions, "index_NxT": of(index, targets)}
        last, _ = self.body.decode(inputs, memory, segments, targets, **place, deterministic=deterministic)
        return self.body.logits(last)

    def read(self, texts: dict, asks: Mapping[str, tuple]) -> dict[str, jax.Array]:
        """Returns by name the vectors that are asked of texts, as `build.Model.read` does; there are no heads.

        They are of the encoder's states. The end of text is its only special token.
        """
        tokens_BxL = texts["input_ids"]
        keep = keeper(texts, tokens_BxL != self.config.eos, {how[1:] for how in asks.values()})
        _, kept = self.body.encode(tokens_BxL, texts["segments"], texts["positions"], keep=keep)
        return {name: vector(kept, *how) for name, how in asks.items()}

    def rank(self, tokens_BxL: jax.Array, answers_BxCxT: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the summed log-probabilities BxC of each example's answers, and how many tokens BxC each has.

        Every text is encoded once. Answers end in the end of text, if it is to count, and in -1 up to T. An answer
        without tokens, of an example with fewer than others, has a sum that is never the best.
        """
        segments_BxL = (tokens_BxL != self.config.pad).astype(jnp.int32)
        memory_BxLxD, _ = self.body.encode(tokens_BxL, segments_BxL)
        answers_NxT = answers_BxCxT.reshape(-1, answers_BxCxT.shape[-1])
        last, _ = self.body.decode(shifted(answers_NxT, self.config.pad), memory_BxLxD, segments_BxL)
        sums_BxC = self._likelihood(last, answers_NxT).reshape(answers_BxCxT.shape[:2])
        count_BxC = (answers_BxCxT >= 0).sum(axis=-1)
        return jnp.where(count_BxC > 0, sums_BxC, NEVER), count_BxC

    def _likelihood(self, last_NxTxD: jax.Array, answers_NxT: jax.Array) -> jax.Array:
        """Returns the summed log-probabilities N of answers: a token at a time, for NxTxV logits may be many GB."""

        def add(model, sums_N, part):
            last_NxD, answers_N = part
            return sums_N + log_likelihood(model.body.logits(last_NxD[:, None]), answers_N[:, None]), None

        scan = nn.scan(add, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, jnp.zeros(len(answers_NxT)), (last_NxTxD.swapaxes(0, 1), answers_NxT.T))[0]

    def remembered(self, tokens_BxL: jax.Array):
        """Returns (what steps look up of the texts, the segments BxL of these)."""
        segments_BxL = (tokens_BxL != self.config.pad).astype(jnp.int32)
        return self.body.remember(self.body.encode(tokens_BxL, segments_BxL)[0]), segments_BxL

    def step(self, *given):
        """See `Seq2Seq.step`."""
        return self.body.step(*given)

    def initialise(self):
        """Runs everything once, so that every parameter exists."""
        tokens = jnp.full((1, INIT_LENGTH), 2, jnp.int32)
        self("", {"input_ids": tokens, "labels": tokens})


def generate(
    config: Seq2SeqConfig, params: Any, tokens_BxL: jax.Array, *, limit: int, beams: int = 1, penalty: float = 1.0
) -> jax.Array:
    """Returns the targets BxT, T = limit, that the model writes for texts: greedily, or the best of a beam search.

    Pure; under `jit`, config, limit, beams and penalty are static.
    """
    apply = functools.partial(TextToText(config).apply, {"params": params})
    memory, segments_BxL = apply(tokens_BxL, method="remembered")

    def step(cache, tokens_N, positions_N):
        return apply(tokens_N, positions_N, cache, memory, segments_BxL, method="step")

    cache, start_B = empty_cache(config, len(tokens_BxL), limit), jnp.full(len(tokens_BxL), config.pad, jnp.int32)
    ends: dict[str, Any] = {"limit": limit, "eos": config.eos, "pad": config.pad}
    if beams == 1:
        return greedy(step, cache, start_B, **ends)
    return beam(step, cache, start_B, beams=beams, penalty=penalty, **ends)[0][:, 0]


def shifted(labels_BxT: jax.Array, start: int, positions_BxT: jax.Array | None = None) -> jax.Array:
    """Returns what the decoder reads: each label one place later, behind the token that begins a target.

    `positions_BxT`: of a packed row, in which several targets begin.
    """
    before_BxT = jnp.pad(labels_BxT, ((0, 0), (1, 0)), constant_values=start)[:, :-1]
    if positions_BxT is not None:
        before_BxT = jnp.where(positions_BxT == 0, start, before_BxT)
    return jnp.where(before_BxT < 0, start, before_BxT)
