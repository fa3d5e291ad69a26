"""Texts from a model that gives the logits of the next token: greedy and beam search with a cache; likelihoods.

A search calls `step(cache, tokens_N, positions_N) -> (logits_NxV float32, cache)`: the tokens that the rows have come
to and their places. A cache is a tree of arrays whose second axis is the rows (layers x N x ...); what does not change
from step to step is the step's own business. Rows may stand at places of their own, so prompts of several lengths
need no padding on the left. Shapes are fixed by `limit`, and a search ends when all of its rows have.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Cache = Any
Step = Callable[[Cache, jax.Array, jax.Array], tuple[jax.Array, Cache]]
NEVER = -1e9  # the score of what may not be chosen


def _ends(eos: int | Sequence[int]) -> tuple[int, ...]:
    return (eos,) if isinstance(eos, int) else tuple(eos)


def _is_end(tokens: jax.Array, eos: int | Sequence[int]) -> jax.Array:
    return jnp.isin(tokens, jnp.array(_ends(eos), tokens.dtype))


def greedy(
    step: Step,
    cache: Cache,
    start_N: jax.Array,
    *,
    limit: int,
    eos: int | Sequence[int],
    pad: int,
    positions_N: jax.Array | None = None,
) -> jax.Array:
    """Returns tokens NxT, T = limit: at each place the most likely one, up to the first `eos`, then `pad`.

    Args:
      step: see above.
      cache: before the first step.
      start_N: the token each row begins from: one that begins targets, or the last of a prompt.
      limit: the most tokens to write.
      eos: the token that ends a text, or several.
      pad: what stands after it.
      positions_N: the place of the first tokens; None: 0.
    """
    positions_N = jnp.zeros_like(start_N) if positions_N is None else positions_N

    def going(state):
        number, *_, done_N, _ = state
        return (number < limit) & ~done_N.all()

    def extend(state):
        number, tokens_N, written_NxT, done_N, cache = state
        logits_NxV, cache = step(cache, tokens_N, positions_N + number)
        tokens_N = jnp.where(done_N, pad, logits_NxV.argmax(axis=-1).astype(tokens_N.dtype))
        written_NxT = written_NxT.at[:, number].set(tokens_N)
        return number + 1, tokens_N, written_NxT, done_N | _is_end(tokens_N, eos), cache

    written_NxT = jnp.full((len(start_N), limit), pad, start_N.dtype)
    first = (jnp.zeros((), jnp.int32), start_N, written_NxT, jnp.zeros(start_N.shape, bool), cache)
    return jax.lax.while_loop(going, extend, first)[2]


def beam(
    step: Step,
    cache: Cache,
    start_B: jax.Array,
    *,
    limit: int,
    eos: int | Sequence[int],
    pad: int,
    beams: int,
    penalty: float = 1.0,
    positions_B: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the best texts BxWxT, T = limit, best first, and their scores BxW; W = beams.

    A text's score is the sum of the log-probabilities of its tokens over the number of these to the power of
    `penalty`. The search is the one `transformers` makes with early_stopping=False: texts that end, or reach the
    limit, count if they are among the W best extensions of their step; an example is finished when its best open text
    would no longer be among the best W, were it to end now. An example with fewer than W texts has scores of about
    NEVER after them.

    Args:
      step: see above; it is called with N = B * W rows, those of an example one after another.
      cache: before the first step, of B rows.
      start_B: as in `greedy`; so are limit, eos and pad.
      beams: how many texts are kept.
      penalty: 0 prefers short texts, a large one long texts.
      positions_B: as in `greedy`.
    """
    rows, ends = len(start_B), _ends(eos)
    kept = max(2, 1 + len(ends)) * beams  # so that W are left to go on with if all of the best W end
    positions_B = jnp.zeros_like(start_B) if positions_B is None else positions_B
    positions_N = jnp.repeat(positions_B, beams)

    def going(state):
        return state["open"].any() & (state["number"] < limit)

    def extend(state):
        number = state["number"]
        logits_NxV, cache = step(state["cache"], state["tokens"], positions_N + number)
        logs_BxWxV = jax.nn.log_softmax(logits_NxV.astype(jnp.float32)).reshape(rows, beams, -1)
        scores_BxWV = (logs_BxWxV + state["running"][..., None]).reshape(rows, -1)
        score_BxC, choice_BxC = jax.lax.top_k(scores_BxWV, kept)
        parent_BxC, token_BxC = jnp.divmod(choice_BxC, logs_BxWxV.shape[-1])
        text_BxCxT = _pick(state["written"], parent_BxC).at[:, :, number].set(token_BxC.astype(start_B.dtype))
        end_BxC = _is_end(token_BxC, eos) | (number + 1 >= limit)

        running_BxW, chosen_BxW = jax.lax.top_k(score_BxC + NEVER * end_BxC, beams)
        parent_BxW = _pick(parent_BxC, chosen_BxW)
        length = (number + 1).astype(jnp.float32) ** penalty
        counts_BxC = end_BxC & (jnp.arange(kept)[None] < beams) & state["open"][:, None]
        finished = _best(
            state["finished"],
            {"score": jnp.where(counts_BxC, score_BxC / length, NEVER), "text": text_BxCxT, "there": counts_BxC},
        )
        worst_B = jnp.where(finished["there"].all(axis=1), finished["score"].min(axis=1), NEVER)
        return {
            "number": number + 1,
            "cache": jax.tree.map(lambda leaf: _pick_rows(leaf, parent_BxW), cache),
            "tokens": _pick(token_BxC, chosen_BxW).reshape(-1).astype(start_B.dtype),
            "running": running_BxW,
            "written": _pick(text_BxCxT, chosen_BxW),
            "finished": finished,
            "open": state["open"] & (running_BxW[:, 0] / length > worst_B),
        }

    empty_BxWxT = jnp.full((rows, beams, limit), pad, start_B.dtype)
    finished = jax.lax.while_loop(going, extend, _first(cache, start_B, empty_BxWxT))["finished"]
    return finished["text"], finished["score"]


def _first(cache: Cache, start_B: jax.Array, empty_BxWxT: jax.Array) -> dict[str, Any]:
    """Returns the state of a beam search before its first step."""
    rows, beams = empty_BxWxT.shape[:2]
    nothing_BxW = jnp.full((rows, beams), NEVER, jnp.float32)
    return {
        "number": jnp.zeros((), jnp.int32),
        "cache": jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=1), cache),
        "tokens": jnp.repeat(start_B, beams),
        "running": nothing_BxW.at[:, 0].set(0.0),  # all beams begin alike: only one of them counts
        "written": empty_BxWxT,
        "finished": {"score": nothing_BxW, "text": empty_BxWxT, "there": nothing_BxW > 0},
        "open": jnp.ones(rows, bool),
    }


def _best(finished: dict[str, jax.Array], more: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the best of the texts that have ended, so many as there were, best first."""
    both = {name: jnp.concatenate([finished[name], part], axis=1) for name, part in more.items()}
    best_BxW = jax.lax.top_k(both["score"], finished["score"].shape[1])[1]
    return {name: _pick(part, best_BxW) for name, part in both.items()}


def _pick(values_BxC: jax.Array, numbers_BxW: jax.Array) -> jax.Array:
    """Returns the values of these numbers, each example's own; more axes may follow."""
    return jax.vmap(lambda values, numbers: values[numbers])(values_BxC, numbers_BxW)


def _pick_rows(leaf: jax.Array, parent_BxW: jax.Array) -> jax.Array:
    """Returns a leaf of the cache whose rows are those of the parents: no example takes rows of another."""
    layers, _, *rest = leaf.shape
    apart = leaf.reshape(layers, *parent_BxW.shape, *rest)
    return jax.vmap(_pick, in_axes=(0, None))(apart, parent_BxW).reshape(leaf.shape)


def log_likelihood(logits_BxLxV: jax.Array, labels_BxL: jax.Array) -> jax.Array:
    """Returns the summed log-probabilities B, in float32, of the labels that are not negative."""
    labels_BxL, counted_BxL = labels_BxL.clip(0), labels_BxL >= 0
    logits_BxLxV = logits_BxLxV.astype(jnp.float32)
    picked_BxL = jnp.take_along_axis(logits_BxLxV, labels_BxL[..., None], axis=-1)[..., 0]
    return jnp.where(counted_BxL, picked_BxL - jax.nn.logsumexp(logits_BxLxV, axis=-1), 0.0).sum(axis=-1)
