"""How a target is answered, besides model and data: what published numbers of one model differ by.

Every result prints the fields that its kind of task uses. XTREME's code and paper do not agree on the layer and the
pooling of its retrieval tasks, so there is no default that is right: they are chosen, and said.
"""

import dataclasses
from typing import Any

from xling_jax.errors import ConfigError, unknown

WHERE = "Fields are declared in xling_jax/protocol.py."
ALL = -1  # a layer that stands for all hidden states, where code compares them; no config can say it


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The choices of an evaluation. A kind of task uses some of them; the others stay at their defaults.

    Vectors of texts:
      layer: the hidden state; 0 is the embeddings.
      layer_from: the cells it was chosen on, where a sweep over all layers chose it; no config says it.
      pooling: mean of the tokens, the first one (an encoder's <s>), or the last one (of a decoder).
      special: the mean counts special tokens too.
      centre: each language's mean vector is subtracted first.

    Search:
      queries: the side whose texts look for their translation on the other one; "both": two texts that are each
        other's best. "" is the kind's own.
      margin: what is compared: the cosine ("absolute"), or its "distance" from or "ratio" to the mean cosine of both
        texts' k nearest (Artetxe and Schwenk 2019, arXiv 1811.01136). "" is the kind's own.
      k: those nearest.
      threshold: of mining: "dev", the best one on the pairs of the dev cell of the same language, or a number. Where
        the dev cell itself is scored, one half of it is answered with the best threshold of the other half, and the
        result says "crossfit".

    Spans:
      max_answer: the most tokens of an answer.
      null_threshold: where questions may have no answer: how much better none must score than the best one.

    Texts, of models that answer in words:
      answer: "rank" the possible answers, or "generate" one. "" is the kind's own.
      score: of a ranked answer: the "sum" of its tokens' log-probabilities, or their "mean"; or "calibrated", the sum
        less what it is behind a prompt without content (Holtzman et al. 2021, arXiv 2104.08315).
      beams: of a generated answer; 1 is greedy.
    """

    layer: int = 0
    layer_from: str = ""
    pooling: str = "mean"
    special: bool = False
    centre: bool = True
    queries: str = ""
    margin: str = ""
    k: int = 4
    threshold: str = "dev"
    max_answer: int = 30
    null_threshold: float = 0.0
    answer: str = ""
    score: str = "sum"
    beams: int = 1


CHOICES = {
    "pooling": ("mean", "first", "last"),
    "queries": ("", "pivot", "language", "both"),
    "margin": ("", "absolute", "distance", "ratio"),
    "answer": ("", "rank", "generate"),
    "score": ("sum", "mean", "calibrated"),
}
_VECTORS = ("layer", "layer_from", "pooling", "special", "centre")
_SEARCH = ("queries", "margin", "k")
FIELDS = {
    "retrieval": (*_VECTORS, *_SEARCH),
    "mining": (*_VECTORS, *_SEARCH, "threshold"),
    "span_qa": ("max_answer", "null_threshold"),
}
TUNED_ON = "dev"  # the split that thresholds are tuned on
TEXT_FIELDS = ("answer", "score", "beams")
OWN = {  # what "" is
    "retrieval": {"queries": "pivot", "margin": "absolute"},  # as XTREME scores Tatoeba
    "mining": {"queries": "both", "margin": "ratio"},  # as XTREME mines BUCC
    "pair_classification": {"answer": "rank"},
    "multiple_choice": {"answer": "rank"},
    "span_qa": {"answer": "generate"},
    "tagging": {"answer": "generate"},
}


def resolve(protocol: Protocol, kind: str) -> Protocol:
    """Returns a protocol with what "" means for a kind of task."""
    own = {name: value for name, value in OWN.get(kind, {}).items() if not getattr(protocol, name)}
    return dataclasses.replace(protocol, **own)


def fields_of(kind: str, text: bool) -> tuple[str, ...]:
    """Returns the fields that a kind of task uses, of models that answer in words (`text`) or with heads."""
    vectors = "layer" in FIELDS.get(kind, ())
    return TEXT_FIELDS if text and not vectors else FIELDS.get(kind, ())


def describe(protocol: Protocol, kind: str, text: bool = False, unanswerable: bool = False, split: str = "") -> str:
    """Returns a protocol as results of a split print it: name=value of what decides the number, "" if nothing does."""
    protocol = resolve(protocol, kind)
    if crossfits(protocol, split):
        protocol = dataclasses.replace(protocol, threshold="crossfit")
    idle = {
        "layer_from": not protocol.layer_from,
        "k": protocol.margin == "absolute",
        "null_threshold": not unanswerable,
        "score": protocol.answer != "rank",
        "beams": protocol.answer != "generate",
    }
    names = [name for name in fields_of(kind, text) if not idle.get(name)]
    return " ".join(f"{name}={_said(getattr(protocol, name))}" for name in names)


def crossfits(protocol: Protocol, split: str) -> bool:
    """Whether the threshold would be tuned on the very pairs that are scored, if it were not for two halves."""
    return split == TUNED_ON == protocol.threshold


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_protocol(protocol: Protocol, kind: str, where: str, text: bool = False) -> None:
    """Raises ConfigError for a value that is not allowed, and for a field that a kind of task has no use for."""
    for name, allowed in CHOICES.items():
        if getattr(protocol, name) not in allowed:
            raise unknown(
                "value", getattr(protocol, name), [word for word in allowed if word], WHERE, f"{name} of {where}"
            )
    used = fields_of(kind, text)
    for field in dataclasses.fields(protocol):
        if field.name not in used and getattr(protocol, field.name) != field.default:
            raise ConfigError(
                f"The protocol of {where} has {field.name}={getattr(protocol, field.name)}, which kind '{kind}' has no "
                f"use for.\nAllowed: {' '.join(used) or 'no field'}.\n{WHERE}"
            )
    least = {"layer": 0, "k": 1, "max_answer": 1, "beams": 1}
    for name, bound in least.items():
        if getattr(protocol, name) < bound:
            raise ConfigError(
                f"The protocol of {where} has {name}={getattr(protocol, name)}.\nAllowed: {bound} or more.\n{WHERE}"
            )
    if text and protocol.answer == "rank" and OWN.get(kind, {}).get("answer") == "generate":
        raise ConfigError(
            f"The protocol of {where} has answer=rank, and the answers of kind '{kind}' are no list.\n"
            f"Allowed: generate.\n{WHERE}"
        )
    if protocol.threshold != TUNED_ON:
        _number(protocol.threshold, where)
    if kind == "retrieval" and protocol.queries == "both":
        raise ConfigError(
            f"The protocol of {where} has queries=both.\n"
            f"Allowed: pivot, language. Each query of retrieval has one answer; mining has both.\n{WHERE}"
        )


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"The protocol of {where} has threshold='{text}'.\nAllowed: dev, or a number.\n{WHERE}"
        ) from error
