"""world_qa and world_qa2: which words of the context answer the question?

A context is two or three sentences over different verbs; the question asks for one part of one of them, so that
the verb says where to look and the question word what for. The asked sentence is drawn uniformly, so its position
says nothing. world_qa asks who, what, where, when; world_qa2, the smaller target, asks "which person", "which
place", "which time": the same skill through other words.

An answer is whole words: the noun phrase without article and adposition, with the case suffix where a language has it.
"""

import random
from typing import NamedTuple

from xling_jax.world.events import Event, Query, Style, ask, draw_event
from xling_jax.world.ontology import VERBS
from xling_jax.world.render import Renderer, Tokens, text_of

# Question and context in pieces, by an upper bound over all languages.
ROOM = 40
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


def _draw(rng: random.Random, split: str, with_kind: bool) -> Question:
    while True:
        count = 2 if rng.random() < 0.6 else 3
        context = tuple(draw_event(rng, split, style=_STYLE) for _ in range(count))
        if len({VERBS[event.verb].pair for event in context}) < count:
            continue
        asked = int(rng.random() * count)
        query = ask(rng, context[asked], with_kind)
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
