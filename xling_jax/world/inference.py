"""world_nli: does the second sentence follow from the first?

The logic. A sentence reports one situation. Its phrases, place and time say which; its verb and negation say
what holds there. A hypothesis that describes the premise's situation with the same or fewer details, or with a
kind for a noun, is about that situation: then the same verb and sign, or both turned, is entailment, and one of
them turned is contradiction (of two opposite verbs exactly one is true). Otherwise it is neutral.

Hypotheses alone give away the label of crowd-written data (Gururangan et al. 2018; Poliak et al. 2018). Here
the label is drawn first, and everything that does not carry it is drawn in the same way for all labels: negation of
both sentences, what is left out, kinds for nouns. Both verbs of a pair are equally frequent in premises, so a turned
verb looks like any other. Some neutral hypotheses trade agent and patient, since word overlap would otherwise
find them all (McCoy et al. 2019).
"""

import random
from typing import NamedTuple

from xling_jax.tables.tasks import NLI
from xling_jax.world.events import (
    ALL_VERBS,
    SOCIAL,
    SOCIAL_VERBS,
    Event,
    Participant,
    Phrase,
    Style,
    contrary,
    deny,
    draw_event,
    draw_same_class,
    kind_of,
    put,
    shorten,
)
from xling_jax.world.ontology import HYPERNYM, VERBS, uniform
from xling_jax.world.render import Renderer, text_of

# How often the verb takes two animate participants, and a neutral hypothesis then trades them. Trading more leaves less
# to a bag of words.
SOCIAL_SHARE = 0.8
TRADED_SHARE = 0.6
# What is turned, (verb, negation), by label, and how often. Turning both is rare in entailment: as often as not, the
# label would be a parity, which gradients find late. Negation, which has a length, differs least between labels.
# Neutral pairs turn either as often as the other two do on average.
TURNS = {
    "entailment": ((0, 0),) * 8 + ((1, 1),) * 2,
    "contradiction": ((1, 0),) * 6 + ((0, 1),) * 4,
    "neutral": ((0, 0),) * 4 + ((1, 0),) * 3 + ((0, 1),) * 2 + ((1, 1),),
}
_STYLE = Style(negated=0.5)


class Pair(NamedTuple):
    premise: Event
    hypothesis: Event
    label: str


def relation(premise: Event, hypothesis: Event) -> str:
    """Returns the label by the logic of the world; the check on what `draw` makes."""
    details = ("agent", "patient", "place")
    same_situation = (
        VERBS[premise.verb].pair == VERBS[hypothesis.verb].pair
        and premise.tense == hypothesis.tense
        and hypothesis.time in {"", premise.time}
        and hypothesis.adposition in {"", premise.adposition}
        and all(_describes(getattr(hypothesis, role), getattr(premise, role)) for role in details)
    )
    if not same_situation:
        return "neutral"
    turned = (premise.verb != hypothesis.verb) + (premise.negated != hypothesis.negated)
    return "contradiction" if turned == 1 else "entailment"


def _describes(said: Phrase | None, meant: Phrase | None) -> bool:
    if said is None or meant is None:
        return said is None
    return (
        said.noun in {meant.noun, HYPERNYM.get(meant.noun)}
        and said.adjective in {"", meant.adjective}
        and said.count == meant.count
    )


def draw(rng: random.Random, split: str) -> Pair:
    """Returns a premise, a hypothesis and the label that the logic gives them."""
    social = rng.random() < SOCIAL_SHARE
    premise = draw_event(rng, split, SOCIAL_VERBS if social else ALL_VERBS, _STYLE)
    # Either verb of a pair as often as the other, so that a turned one is no rarer.
    premise = contrary(premise) if rng.random() < 0.5 else premise
    label = uniform(rng, NLI)
    said = shorten(rng, premise)
    # One participant keeps its noun, so that what is exchanged below stays visible.
    kept: Participant = "patient" if premise.patient and rng.random() < 0.5 else "agent"
    other: Participant = "agent" if kept == "patient" else "patient"
    if (phrase := getattr(said, other)) and rng.random() < 0.3:
        said = put(said, other, kind_of(phrase))
    if label == "neutral":
        said = _other_situation(rng, premise, said, kept)
    turn_verb, turn_sign = uniform(rng, TURNS[label])
    said = contrary(said) if turn_verb else said
    said = deny(said) if turn_sign else said
    return Pair(premise, said, label)


def _other_situation(rng: random.Random, premise: Event, said: Event, kept: Participant) -> Event:
    """Returns `said` with agent and patient traded, or with another noun of the class of the kept one's."""
    if premise.verb in SOCIAL and said.patient and rng.random() < TRADED_SHARE:
        return said._replace(agent=said.patient, patient=said.agent)
    phrase: Phrase = getattr(said, kept)
    unlike = (premise.agent.noun, premise.patient.noun if premise.patient else "")
    return put(said, kept, phrase._replace(noun=draw_same_class(rng, phrase.noun, unlike)))


def write(pair: Pair, speaker: Renderer) -> dict:
    return {
        "text": text_of(speaker.sentence(pair.premise)),
        "text_pair": text_of(speaker.sentence(pair.hypothesis)),
        "label": pair.label,
    }
