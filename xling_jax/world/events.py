"""Events: who does what to whom, where and when. Drawing them, keeping splits apart, changing them.

Tense belongs to the event and not to its adverb of time, so that leaving the adverb out changes nothing else.
"""

import functools
import random
import zlib
from typing import Literal, NamedTuple

from xling_jax.world.ontology import (
    ADPOSITIONS,
    CLASS_OF,
    COUNTS,
    HYPERNYM,
    NOUNS,
    PROPER,
    SCALES,
    SCALES_OF,
    SORTS,
    TENSES,
    TIMES,
    VERBS,
    Ranked,
    uniform,
)


class Phrase(NamedTuple):
    """A noun phrase. `count` is 1, a number that is said, or 0 for a plural without number."""

    noun: str
    adjective: str = ""
    count: int = 1


class Event(NamedTuple):
    """One situation. `place` and `time` may be missing, and `patient` where the verb takes none."""

    verb: str
    agent: Phrase
    patient: Phrase | None = None
    place: Phrase | None = None
    adposition: str = ""
    time: str = ""
    tense: str = "present"
    negated: bool = False


class Query(NamedTuple):
    """A question for `role` of an event, where a kind stands for what is asked.

    `with_kind` asks "which animal" rather than "what".
    """

    event: Event
    role: str
    with_kind: bool


class Style(NamedTuple):
    """How much is said of an event: probabilities of the details, and of a kind ("animal") for a noun ("dog")."""

    adjective: float = 0.35
    plural: float = 0.15
    number: float = 0.1
    place: float = 0.4
    time: float = 0.35
    negated: float = 0.2
    kind: float = 0.0


class Verbs(NamedTuple):
    """A set of verbs to draw from: `intransitive` is the share of those without an object."""

    intransitive: float
    alone: Ranked[str] | None
    with_object: Ranked[str]

    def draw(self, rng: random.Random) -> str:
        if self.alone and rng.random() < self.intransitive:
            return self.alone.draw(rng)
        return self.with_object.draw(rng)


_ALONE = [verb.name for verb in VERBS.values() if not verb.object]
_WITH_OBJECT = [verb.name for verb in VERBS.values() if verb.object]
# Verbs whose agent and patient can change places: a bag of words does not tell who did it.
SOCIAL = tuple(verb.name for verb in VERBS.values() if verb.subject == verb.object == "animate")

ALL_VERBS = Verbs(0.3, Ranked(_ALONE), Ranked(_WITH_OBJECT))
SOCIAL_VERBS = Verbs(0.0, None, Ranked(SOCIAL))

PLAIN = Style()

_NOUNS = {name: Ranked(nouns) for name, nouns in NOUNS.items()}
_ADJECTIVES = {
    name: Ranked([word for scale in scales for word in SCALES[scale]]) for name, scales in SCALES_OF.items() if scales
}
_PLACES = Ranked(ADPOSITIONS)
_TIMES = Ranked(TIMES)
_TENSES = Ranked(TENSES)


def draw_noun(rng: random.Random, sort: str) -> str:
    """Returns a noun of a sort: one of its classes, then Zipf inside the class."""
    return _NOUNS[uniform(rng, SORTS[sort])].draw(rng)


def draw_same_class(rng: random.Random, noun: str, unlike: tuple[str, ...]) -> str:
    """Returns another noun of the noun's class, none of those in `unlike`."""
    while True:
        drawn = _NOUNS[CLASS_OF[noun]].draw(rng)
        if drawn not in unlike:
            return drawn


def describe(rng: random.Random, noun: str, style: Style) -> Phrase:
    """Returns a noun phrase around a noun: perhaps an adjective its class takes, perhaps a number."""
    kind = CLASS_OF[noun]
    if kind in PROPER:
        return Phrase(noun)
    draw = rng.random()
    count = 1
    if draw < style.plural:
        count = 0
    elif draw < style.plural + style.number:
        count = uniform(rng, COUNTS)
    adjective = _ADJECTIVES[kind].draw(rng) if kind in _ADJECTIVES and rng.random() < style.adjective else ""
    if style.kind and rng.random() < style.kind:
        noun = HYPERNYM[noun]
    return Phrase(noun, adjective, count)


@functools.cache
def _split_of_core(pair: str, nouns: tuple[str, ...]) -> str:
    bucket = zlib.crc32(f"{pair}/{'/'.join(nouns)}".encode()) % 10
    return {8: "dev", 9: "test"}.get(bucket, "train")


def split_of(event: Event) -> str:
    """Returns the split an event belongs to, in all tasks: train, dev or test (80/10/10).

    The key is the pair of opposite verbs and the unordered nouns of agent and patient. So saying the
    contrary, trading roles or leaving out details stays in the split.
    """
    nouns = (event.agent.noun, event.patient.noun) if event.patient else (event.agent.noun,)
    return _split_of_core(VERBS[event.verb].pair, tuple(sorted(nouns)))


def draw_event(
    rng: random.Random, split: str, verbs: Verbs = ALL_VERBS, style: Style = PLAIN, agent: Phrase | None = None
) -> Event:
    """Returns an event of a split; `agent` fixes who does it, and must suit some verb of `verbs`."""
    while True:
        verb = VERBS[verbs.draw(rng)]
        doer = agent.noun if agent else draw_noun(rng, verb.subject)
        if agent and CLASS_OF[doer] not in SORTS[verb.subject]:
            continue
        done_to = draw_noun(rng, verb.object) if verb.object else ""
        nouns = (doer, done_to) if done_to else (doer,)
        if doer != done_to and _split_of_core(verb.pair, tuple(sorted(nouns))) == split:
            break
    place = Phrase(draw_noun(rng, "site")) if rng.random() < style.place else None
    return Event(
        verb.name,
        agent or describe(rng, doer, style),
        describe(rng, done_to, style) if done_to else None,
        place,
        _PLACES.draw(rng) if place else "",
        _TIMES.draw(rng) if rng.random() < style.time else "",
        _TENSES.draw(rng),
        rng.random() < style.negated,
    )


def bare(phrase: Phrase) -> Phrase:
    """Returns the phrase without its adjective."""
    return phrase._replace(adjective="")


def kind_of(phrase: Phrase) -> Phrase:
    """Returns the phrase with the word for all members of its class; a name or a kind stays as it is."""
    if CLASS_OF.get(phrase.noun, "name") in PROPER:
        return phrase
    return phrase._replace(noun=HYPERNYM[phrase.noun])


def shorten(rng: random.Random, event: Event, rate: float = 0.5) -> Event:
    """Returns the event with each adjective, its place and its time left out at a rate."""
    agent = bare(event.agent) if rng.random() < rate else event.agent
    patient = event.patient
    if patient and rng.random() < rate:
        patient = bare(patient)
    no_place, no_time = rng.random() < rate, rng.random() < rate
    return event._replace(
        agent=agent,
        patient=patient,
        place=None if no_place else event.place,
        adposition="" if no_place else event.adposition,
        time="" if no_time else event.time,
    )


Participant = Literal["agent", "patient"]


def put(event: Event, role: Participant, phrase: Phrase | None) -> Event:
    """Returns the event with another participant."""
    return event._replace(agent=phrase) if role == "agent" and phrase else event._replace(patient=phrase)


def ask(rng: random.Random, event: Event, with_kind: bool) -> Query:
    """Returns a question for one of the parts that are told of an event; other details may be left out."""
    parts = ("agent", "patient", "place", "time")
    role = uniform(rng, tuple(part for part in parts if getattr(event, part)))
    shown = shorten(rng, event)
    if role == "time":
        return Query(shown._replace(time="any_time"), role, with_kind)
    if role == "place":
        return Query(shown._replace(place=Phrase("any_place"), adposition=""), role, with_kind)
    noun = getattr(event, role).noun
    kind = HYPERNYM.get(noun, noun)
    if not with_kind and kind != "any_person":
        kind = "any_thing"
    return Query(put(shown, "agent" if role == "agent" else "patient", Phrase(kind)), role, with_kind)


def contrary(event: Event) -> Event:
    """Returns the event with the opposite verb. With the negation turned as well it says the same."""
    return event._replace(verb=VERBS[event.verb].opposite)


def deny(event: Event) -> Event:
    """Returns the event with its negation turned."""
    return event._replace(negated=not event.negated)


def restate(rng: random.Random, event: Event) -> Event:
    """Returns the same situation in other words: less detail, a kind for a noun, or not the opposite."""
    said = shorten(rng, event)
    draw = rng.random()
    if draw < 0.25:
        said = said._replace(agent=kind_of(said.agent))
    elif draw < 0.5 and said.patient:
        said = said._replace(patient=kind_of(said.patient))
    return deny(contrary(said)) if rng.random() < 0.4 else said


def consequence(event: Event) -> Event:
    """Returns what follows from an event that is not negated, by the script of its verb."""
    verb, *roles = VERBS[event.verb].then
    return take_part(event, verb, tuple(roles))


def take_part(event: Event, verb: str, roles: tuple[str, ...]) -> Event:
    """Returns an event of the same tense in which the participants in `roles` do `verb`."""
    taken = [phrase for phrase in ({"agent": event.agent, "patient": event.patient}[role] for role in roles) if phrase]
    assert len(taken) == len(roles), f"{event} lacks one of {roles}"
    return Event(verb, bare(taken[0]), bare(taken[1]) if len(taken) > 1 else None, tense=event.tense)
