"""world_text, passages for masked language modelling, and world_choice, what follows from an event.

A passage is a pair of sentences in the pair format of the tasks, so that what pretraining meets is what fine-tuning
asks for. Each language draws its own: comparable corpora, never parallel ones.

A choice is one of four: two consequences, each with two participants, and only one is right in both. So no choice
is the odd one out, and the two consequences are an unordered pair drawn before it is decided which is right: choices
alone say nothing, as they did in COPA (Kavumba et al. 2019).
"""

import itertools
import random
from typing import NamedTuple

from xling_jax.world.events import (
    ALL_VERBS,
    SOCIAL,
    Event,
    Query,
    Style,
    Verbs,
    ask,
    consequence,
    draw_event,
    restate,
    split_of,
    take_part,
)
from xling_jax.world.ontology import CLASS_OF, VERBS, Ranked, uniform
from xling_jax.world.questions import answer_span
from xling_jax.world.render import Renderer, text_of

RESTATED, FOLLOWED, ASKED, SAME_AGENT = range(4)
_FORMS = (RESTATED,) * 7 + (FOLLOWED,) * 5 + (ASKED,) * 3 + (SAME_AGENT,) * 5
_STYLE = Style(kind=0.05)
_POSITIVE = _STYLE._replace(negated=0.0)
_CHOICE_STYLE = Style(negated=0.0)


class Passage(NamedTuple):
    first: Event
    second: Event | Query


def draw_passage(rng: random.Random, split: str) -> Passage:
    """Returns a passage all of whose events belong to the split."""
    while True:
        form = uniform(rng, _FORMS)
        if form == ASKED:
            first = draw_event(rng, split, ALL_VERBS, _STYLE)
            return Passage(first, ask(rng, first, with_kind=rng.random() < 0.3))
        if form == RESTATED:
            first = draw_event(rng, split, ALL_VERBS, _STYLE)
            return Passage(first, restate(rng, first))
        first = draw_event(rng, split, ALL_VERBS, _POSITIVE if form == FOLLOWED else _STYLE)
        if form == SAME_AGENT:
            if first.agent.noun in CLASS_OF:
                return Passage(first, draw_event(rng, split, ALL_VERBS, _STYLE, agent=first.agent))
        elif split_of(second := consequence(first)) == split:
            return Passage(first, second)


def write_passage(passage: Passage, speaker: Renderer) -> dict:
    first, second = speaker.sentence(passage.first), speaker.say(passage.second)
    if isinstance(passage.second, Query):
        answer = f" {answer_span(first, passage.second.role)[1]} {speaker.stop.word}"
        return {"text": text_of(first), "text_pair": text_of(second) + answer}
    return {"text": text_of(first), "text_pair": text_of(second)}


class Choice(NamedTuple):
    event: Event
    choices: tuple[Event, ...]
    label: int


def _script(verb: str) -> tuple[str, tuple[str, ...]]:
    follows, *roles = VERBS[verb].then
    return follows, tuple(roles)


_OTHER = {"agent": "patient", "patient": "agent"}
# Pairs of verbs whose consequences stand against each other. Only verbs with two animate participants can be asked.
_RIVALS = tuple(itertools.combinations(SOCIAL, 2))
_ONLY = {verb: Verbs(0.0, None, Ranked([verb])) for verb in SOCIAL}


def draw_choice(rng: random.Random, split: str) -> Choice:
    """Returns an event of two animate participants and four things that might follow from it."""
    one, two = uniform(rng, _RIVALS)
    right, wrong = (one, two) if rng.random() < 0.5 else (two, one)
    event = draw_event(rng, split, _ONLY[right], _CHOICE_STYLE)
    follows, roles = _script(right)
    options = [
        take_part(event, verb, said)
        for verb in (follows, _script(wrong)[0])
        for said in (roles, tuple(_OTHER[role] for role in roles))
    ]
    places = sorted(range(4), key=lambda _: rng.random())
    return Choice(event, tuple(options[place] for place in places), places.index(0))


def write_choice(choice: Choice, speaker: Renderer) -> dict:
    return {
        "text": text_of(speaker.sentence(choice.event)),
        "choices": [text_of(speaker.sentence(event)) for event in choice.choices],
        "label": choice.label,
    }
