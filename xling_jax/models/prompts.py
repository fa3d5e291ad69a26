"""What a decoder says after a prompt: texts that it writes, and how likely it finds given answers.

Prompts stand at the beginning of their rows, whatever their lengths: a row goes on at its own place, so no padding on
the left is needed. All functions are pure; under `jit` the model, limits and numbers of beams are static.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xling_jax.models.build import Model
from xling_jax.models.decoding import NEVER, beam, greedy, log_likelihood


def _begun(
    model: Model, params: Any, head: str, prompt_BxL: jax.Array, lengths_B: jax.Array, *, room: int
) -> tuple[Callable, Any, jax.Array, jax.Array]:
    """Returns (step, cache, the last tokens of the prompts, their places): what a search begins with."""
    variables = {"params": params}

    def step(cache, tokens_N, places_N):
        return model.apply(variables, head, cache, tokens_N, places_N, method=Model.step)

    cache = model.apply(variables, prompt_BxL, lengths_B, room, method=Model.prefill)
    last_B = lengths_B - 1
    return step, cache, jnp.take_along_axis(prompt_BxL, last_B[:, None], axis=1)[:, 0], last_B


def generate(
    model: Model,
    params: Any,
    head: str,
    prompt_BxL: jax.Array,
    lengths_B: jax.Array,
    *,
    limit: int,
    eos: int | tuple[int, ...],
    pad: int,
    beams: int = 1,
    penalty: float = 1.0,
) -> jax.Array:
    """Returns the texts BxT, T = limit, that the model writes after prompts: greedily, or the best of a beam search.

    Args:
      model: a decoder with a language-model head.
      params: its parameters.
      head: the name of that head.
      prompt_BxL: prompts, at the beginning of their rows.
      lengths_B: their lengths, one at least.
      limit: the most tokens to write.
      eos: the token that ends a text, or several.
      pad: what stands after it.
      beams: of the search; 1 for none.
      penalty: see `decoding.beam`.
    """
    step, cache, start_B, places_B = _begun(model, params, head, prompt_BxL, lengths_B, room=limit)
    if beams == 1:
        return greedy(step, cache, start_B, limit=limit, eos=eos, pad=pad, positions_N=places_B)
    how = {"limit": limit, "eos": eos, "pad": pad, "positions_B": places_B}
    return beam(step, cache, start_B, beams=beams, penalty=penalty, **how)[0][:, 0]


def rank(
    model: Model, params: Any, head: str, prompt_BxL: jax.Array, lengths_B: jax.Array, *, answers_BxCxT: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the summed log-probabilities BxC of each prompt's answers, and how many tokens BxC each has.

    A prompt is read once; its answers are read side by side, a token at a time. They end in the end of text, if it is
    to count, and in -1 up to T. An answer without tokens, of a prompt with fewer than others, has a sum that is never
    the best.
    """
    choices, length = answers_BxCxT.shape[1:]
    step, cache, start_B, places_B = _begun(model, params, head, prompt_BxL, lengths_B, room=length)
    cache = jax.tree.map(lambda leaf: jnp.repeat(leaf, choices, axis=1), cache)
    start_N, places_N = jnp.repeat(start_B, choices), jnp.repeat(places_B, choices)

    def read(state, labels_N):
        cache, tokens_N, places_N, sums_N = state
        logits_NxV, cache = step(cache, tokens_N, places_N)
        sums_N = sums_N + log_likelihood(logits_NxV[:, None], labels_N[:, None])
        return (cache, labels_N.clip(0).astype(tokens_N.dtype), places_N + 1, sums_N), None

    first = (cache, start_N, places_N, jnp.zeros(start_N.shape, jnp.float32))
    (*_, sums_N), _ = jax.lax.scan(read, first, answers_BxCxT.reshape(-1, length).T)
    count_BxC = (answers_BxCxT >= 0).sum(axis=-1)
    return jnp.where(count_BxC > 0, sums_N.reshape(count_BxC.shape), NEVER), count_BxC
