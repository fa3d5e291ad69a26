"""world_qa and world_qa2: which words of the context answer the question?

A context is two or three sentences over different verbs; the question asks for one part of one of them, so that
the verb says where to look and the question word what for. The asked sentence is drawn uniformly, so its position
says nothing. world_qa asks who, what, where, when; world_qa2, the smaller target, asks "which person", "which
place", "which time": the same skill through other words.

An answer is whole words: the noun phrase without article and adposition, with the case suffix where a language has it.
"""

import random
from typing import NamedTuple

from xling_jax.world.events import ALL_VERBS, Event, Style, draw_event, shorten
from xling_jax.world.ontology import VERBS, uniform
from xling_jax.world.render import Renderer, Tokens, text_of

# Question and context in pieces, by an upper bound over all languages.
ROOM = 40
_STYLE = Style(adjective=0.25, plural=0.1, number=0.1, place=0.45, time=0.35, negated=0.15)
ROLES = ("agent", "patient", "place", "time")


class Question(NamedTuple):
    context: tuple[Event, ...]
    asked: int
    shown: Event
    role: str


def most_pieces(event: Event) -> int:
    """Returns an upper bound, over languages, of the pieces of an event's sentence."""
    phrases = [phrase for phrase in (event.agent, event.patient) if phrase]
    said = sum(2 + bool(phrase.adjective) + (phrase.count != 1) + (phrase.count > 1) for phrase in phrases)
    return said + 1 + (event.tense != "present") + event.negated + 3 * bool(event.place) + bool(event.time) + 1


def draw(rng: random.Random, split: str) -> Question:
    """Returns a context of events of the split, and what is asked of it."""
    while True:
        count = 2 if rng.random() < 0.6 else 3
        context = tuple(draw_event(rng, split, ALL_VERBS, _STYLE) for _ in range(count))
        if len({VERBS[event.verb].pair for event in context}) < count:
            continue
        asked = int(rng.random() * count)
        event = context[asked]
        role = uniform(rng, tuple(role for role in ROLES if getattr(event, role)))
        shown = shorten(rng, event)
        # The asked part comes back, so that it can be replaced by the question word.
        shown = shown._replace(**{role: getattr(event, role)})
        if sum(map(most_pieces, (*context, shown))) <= ROOM:
            return Question(context, asked, shown, role)


def answer_span(tokens: Tokens, role: str) -> tuple[int, str]:
    """Returns where the words of a role begin in a sentence, in characters, and the words."""
    start, found = 0, []
    for token in tokens:
        if token.role == role and token.core:
            found.append(token.word)
        elif not found:
            start += len(token.word) + 1
    return start, " ".join(found)


def _write(question: Question, speaker: Renderer, with_kind: bool) -> dict:
    sentences = [speaker.sentence(event) for event in question.context]
    texts = [text_of(sentence) for sentence in sentences]
    start, words = answer_span(sentences[question.asked], question.role)
    start += sum(len(text) + 1 for text in texts[: question.asked])
    return {
        "question": text_of(speaker.question(question.shown, question.role, with_kind)),
        "context": " ".join(texts),
        "answers": [{"text": words, "start": start}],
    }


def write(question: Question, speaker: Renderer) -> dict:
    return _write(question, speaker, with_kind=False)


def write_which(question: Question, speaker: Renderer) -> dict:
    return _write(question, speaker, with_kind=True)
