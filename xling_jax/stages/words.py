"""What is compiled to evaluate a target whose answers are said in words: the same dicts as heads give, or texts."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xling_jax.experiment import Target
from xling_jax.models.answers import make_rank_fn, make_write_fn
from xling_jax.models.decoding import NEVER
from xling_jax.protocol import Protocol, resolve
from xling_jax.tables.tasks import TASKS

Arrays = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Words:
    """What saying something asks of a vocabulary. `blank`: (task, form) -> the ids of its prompt without content."""

    eos: int
    pad: int
    blank: Callable[[str, str], np.ndarray]


def make_output_fn(model: Any, head: str, words: Words, target: Target) -> Callable[[Any, Arrays], Arrays]:
    """Returns (params, batch) -> what the target's evaluator wants: logits BxC of its answers, or what is written."""
    kind = TASKS[target.task].kind
    protocol = resolve(target.protocol, kind)
    if protocol.answer == "rank":
        return _ranking(model, head, protocol, lambda: words.blank(target.task, target.prompts))
    return _writing(model, head, words, protocol, windows=kind == "span_qa")


def _ranking(
    model: Any, head: str, protocol: Protocol, blank: Callable[[], np.ndarray]
) -> Callable[[Any, Arrays], Arrays]:
    rank = make_rank_fn(model, head)

    def output(params, batch):
        sums_BxC, tokens_BxC = rank(params, batch, batch["answers"])
        if protocol.score == "mean":
            sums_BxC = sums_BxC / jnp.maximum(tokens_BxC, 1)
        if protocol.score == "calibrated":
            blank_L = blank()
            blank_BxL = jnp.broadcast_to(blank_L[None], (len(sums_BxC), len(blank_L)))
            empty = {"input_ids": blank_BxL, "lengths": jnp.full(len(sums_BxC), len(blank_L), jnp.int32)}
            sums_BxC = sums_BxC - rank(params, empty, batch["answers"])[0]
        return {"logits": jnp.where(tokens_BxC > 0, sums_BxC, NEVER)}

    return output


def _writing(
    model: Any, head: str, words: Words, protocol: Protocol, *, windows: bool
) -> Callable[[Any, Arrays], Arrays]:
    """Returns texts BxT, -1 beyond their ends; of `windows` with their log-probabilities B, by which these compare."""
    rank = make_rank_fn(model, head)

    def output(params, batch):
        limit = batch["labels"].shape[1]
        write = make_write_fn(model, head, limit=limit, eos=words.eos, pad=words.pad, beams=protocol.beams)
        written_BxT = write(params, batch)
        score = {"score": rank(params, batch, written_BxT[:, None])[0][:, 0]} if windows else {}
        return {"text": written_BxT} | score | {name: batch[name] for name in ("words",) if name in batch}

    return output
