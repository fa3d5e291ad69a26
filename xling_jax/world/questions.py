"""world_qa and world_qa2: which words of the context answer the question?

A context is two or three sentences; the question asks for one part of one of them, drawn uniformly, so that its
position says nothing. Mostly another sentence is a twin of the asked one: the same verb, and where the verb allows
it one of its participants in the other role. So the words that question and sentence share do not find the answer;
who does it to whom must be read off the grammar, which is what differs between languages.
world_qa asks who, what, where, when; world_qa2, the smaller target, asks "which person", "which
place", "which time": the same skill through other words.

An answer is whole words: the noun phrase without article and adposition, with the case suffix where a language has it.
"""

import random
from typing import NamedTuple

from xling_jax.world.events import (
    ALL_VERBS,
    SOCIAL,
    SOCIAL_VERBS,
    Event,
    Query,
    Style,
    ask,
    describe,
    draw_event,
    draw_same_class,
    split_of,
)
from xling_jax.world.ontology import VERBS
from xling_jax.world.render import Renderer, Tokens, text_of

# Question and context in pieces, by an upper bound over all languages.
ROOM = 40
_TWINS = 0.8  # share of the contexts with a twin
_SOCIAL = 0.6  # share of the questions on verbs whose participants can change places
_THIRD = 0.3  # share with a third sentence, as far as there is room
_STYLE = Style(adjective=0.25, plural=0.1, number=0.1, place=0.45, time=0.35, negated=0.15)


class Question(NamedTuple):
    """A context, which of its events is asked about, and the question."""

    context: tuple[Event, ...]
    asked: int
    query: Query


def most_pieces(event: Event) -> int:
    """Returns an upper bound, over languages, of the pieces of an event's sentence."""
    phrases = [phrase for phrase in (event.agent, event.patient) if phrase]
    said = sum(2 + bool(phrase.adjective) + (phrase.count != 1) + (phrase.count > 1) for phrase in phrases)
    return said + 1 + (event.tense != "present") + event.negated + 3 * bool(event.place) + bool(event.time) + 1


def _twin(rng: random.Random, event: Event, role: str, split: str) -> Event | None:
    """Returns an event of the split with the verb of another; None if the draw fails.

    Where the verb allows it, the participant that the question shows is there in the role that it asks for.
    Otherwise the twin shares one participant, so that what was done, or where, has to tell the two apart.
    """
    agent, patient = event.agent.noun, event.patient.noun if event.patient else ""
    if event.verb in SOCIAL and role == "agent":
        agent, patient = patient, draw_same_class(rng, patient, (agent, patient))
    elif event.verb in SOCIAL and role == "patient":
        agent, patient = draw_same_class(rng, agent, (agent, patient)), agent
    elif role == "patient" or not patient:
        agent = draw_same_class(rng, agent, (agent, patient))
    else:
        patient = draw_same_class(rng, patient, (agent, patient))
    other = draw_event(rng, split, style=_STYLE)
    twin = event._replace(
        agent=describe(rng, agent, _STYLE),
        patient=describe(rng, patient, _STYLE) if patient else None,
        place=other.place,
        adposition=other.adposition,
        time=other.time,
        negated=other.negated,
    )
    return twin if split_of(twin) == split else None


def _draw_context(rng: random.Random, split: str, query: Query, told: Event, with_twin: bool) -> list[Event] | None:
    """Returns the sentences beside the one that is asked about; None if they would not do."""
    if with_twin:
        twin = _twin(rng, told, query.role, split)
        if twin is None or (query.role == "agent" and not told.patient):
            return None
        others = [twin]
    else:
        others = [draw_event(rng, split, style=_STYLE)]
    if rng.random() < _THIRD:
        others.append(draw_event(rng, split, style=_STYLE))
    unlike = others[with_twin:]
    if any(VERBS[event.verb].pair == VERBS[told.verb].pair for event in unlike):
        return None
    return others


def _draw(rng: random.Random, split: str, with_kind: bool) -> Question:
    # Decided once: what is easier to draw must not become more frequent.
    with_twin = rng.random() < _TWINS
    verbs = SOCIAL_VERBS if rng.random() < _SOCIAL else ALL_VERBS
    while True:
        told = draw_event(rng, split, verbs, _STYLE)
        query = ask(rng, told, with_kind)
        others = _draw_context(rng, split, query, told, with_twin)
        if others is None:
            continue
        asked = int(rng.random() * (len(others) + 1))
        context = (*others[:asked], told, *others[asked:])
        if sum(map(most_pieces, (*context, query.event))) + with_kind <= ROOM:
            return Question(context, asked, query)


def draw(rng: random.Random, split: str) -> Question:
    """Returns a context of events of the split, and who, what, where or when is asked of it."""
    return _draw(rng, split, with_kind=False)


def draw_which(rng: random.Random, split: str) -> Question:
    """Returns the same with a question for the kind of thing."""
    return _draw(rng, split, with_kind=True)


def answer_span(tokens: Tokens, role: str) -> tuple[int, str]:
    """Returns where the words of a role begin in a sentence, in characters, and the words."""
    start, found = 0, []
    for token in tokens:
        if token.role == role and token.core:
            found.append(token.word)
        elif not found:
            start += len(token.word) + 1
    return start, " ".join(found)


def write(question: Question, speaker: Renderer) -> dict:
    sentences = [speaker.sentence(event) for event in question.context]
    texts = [text_of(sentence) for sentence in sentences]
    start, words = answer_span(sentences[question.asked], question.query.role)
    start += sum(len(text) + 1 for text in texts[: question.asked])
    return {
        "question": text_of(speaker.question(question.query)),
        "context": " ".join(texts),
        "answers": [{"text": words, "start": start}],
    }
