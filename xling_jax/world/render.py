"""Events to sentences: one renderer per language, driven by its row of grammar."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

from xling_jax.world.events import Event, Phrase, Query
from xling_jax.world.lexicon import Forms, lexicons
from xling_jax.world.ontology import ADPOSITIONS, CLASS_OF, PROPER, TIMES, VERBS
from xling_jax.world.typology import WORLD_LANGUAGES, Typology

# What the classes of nouns are called where they are tagged as entities.
ENTITY = {"name": "PER", "person": "PER", "animal": "ANI", "place": "LOC", "town": "LOC"}
ENTITY |= {"any_person": "PER", "any_animal": "ANI", "any_place": "LOC"}

# Arrangement of time, subject, verb, object and place.
ORDERS = {"SVO": "SVOPT", "VSO": "VSOPT", "SOV": "TSPOV"}
SLOT_OF_ROLE = {"agent": "S", "patient": "O", "place": "P", "time": "T"}


class Token(NamedTuple):
    """A word: its text, the pieces it is made of, its tags, and the part of the event it tells.

    `core` is true of the words that make a mention or an answer: a noun phrase without article and adposition.
    """

    word: str
    pieces: tuple[str, ...]
    upos: str
    entity: str
    role: str
    core: bool = False


Tokens = tuple[Token, ...]


def text_of(tokens: Iterable[Token]) -> str:
    """Returns the words joined by single spaces."""
    return " ".join([token.word for token in tokens])


class Renderer:
    """Says events in one language. Phrases are remembered, which makes most of the speed."""

    def __init__(self, row: Typology, forms: Forms):
        self.row = row
        self._forms = forms
        self._phrases: dict[tuple[Phrase, str], Tokens] = {}
        self._verbs: dict[tuple[str, str, bool], Tokens] = {}
        self._order = ORDERS[row.order]
        self._times = {time: self._word([time], "ADV", "time", core=True) for time in TIMES}
        self._adpositions = {word: self._word([word], "ADP", "place") for word in ADPOSITIONS}
        self.stop = self._word(["."], "PUNCT", "stop")
        self.question_mark = self._word(["?"], "PUNCT", "stop")

    def say(self, said: Event | Query) -> Tokens:
        """Returns the words of a statement or a question."""
        return self.question(said) if isinstance(said, Query) else self.sentence(said)

    def sentence(self, event: Event) -> Tokens:
        return (*self._clause(event, self._order), self.stop)

    def question(self, query: Query) -> Tokens:
        asked = self._asked(query)
        before, after = self._order.split(SLOT_OF_ROLE[query.role])
        if self.row.question == "front":
            return (*asked, *self._clause(query.event, before + after), self.question_mark)
        return (*self._clause(query.event, before), *asked, *self._clause(query.event, after), self.question_mark)

    def _word(self, concepts: list[str], upos: str, role: str, entity: str = "", core: bool = False) -> Token:
        pieces = tuple(self._forms[concept] for concept in concepts)
        return Token("".join(piece.removeprefix("##") for piece in pieces), pieces, upos, entity, role, core)

    def _clause(self, event: Event, order: str) -> Tokens:
        said: list[Token] = []
        for slot in order:
            if slot == "V":
                said += self._verb(event.verb, event.tense, event.negated)
            elif slot == "S":
                said += self.phrase(event.agent, "agent")
            elif slot == "O":
                said += self.phrase(event.patient, "patient") if event.patient else ()
            elif slot == "P":
                said += self._place(event)
            elif event.time:
                said.append(self._times[event.time])
        return tuple(said)

    def phrase(self, phrase: Phrase, role: str) -> Tokens:
        """Returns the words of a noun phrase in a role."""
        key = (phrase, role)
        if key not in self._phrases:
            self._phrases[key] = self._make_phrase(phrase, role)
        return self._phrases[key]

    def _make_phrase(self, phrase: Phrase, role: str) -> Tokens:
        row = self.row
        proper = CLASS_OF.get(phrase.noun) in PROPER
        entity = ENTITY.get(CLASS_OF.get(phrase.noun, phrase.noun), "")
        stem = [phrase.noun]
        if phrase.count != 1 and row.plural == "suffix":
            stem.append("plural")
        if role == "patient" and row.marking == "case":
            stem.append("object")
        noun = self._word(stem, "PROPN" if proper else "NOUN", role, entity, core=True)
        core = [noun]
        if phrase.adjective:
            adjective = self._word([phrase.adjective], "ADJ", role, entity, core=True)
            core = [adjective, noun] if row.adjective == "pre" else [noun, adjective]
        if phrase.count > 1:
            core.insert(0, self._word([str(phrase.count)], "NUM", role, entity, core=True))
        if row.marking == "article" and not proper:
            many = phrase.count != 1 and row.plural == "article"
            core.insert(0, self._word(["the_many" if many else "the"], "DET", role))
        return tuple(core)

    def _place(self, event: Event) -> Tokens:
        if not event.place:
            return ()
        noun = self.phrase(event.place, "place")
        adposition = self._adpositions[event.adposition]
        return (adposition, *noun) if self.row.adposition == "pre" else (*noun, adposition)

    def _verb(self, verb: str, tense: str, negated: bool) -> Tokens:
        key = (verb, tense, negated)
        if key not in self._verbs:
            self._verbs[key] = self._make_verb(*key)
        return self._verbs[key]

    def _make_verb(self, verb: str, tense: str, negated: bool) -> Tokens:
        row = self.row
        assert verb in VERBS, f"'{verb}' is not a verb"
        stem = [verb]
        if tense != "present" and row.tense == "suffix":
            stem.append(tense)
        if negated and row.negation == "suffix":
            stem.append("not")
        said = [self._word(stem, "VERB", "verb")]
        marks = ((tense != "present", row.tense, tense, "AUX"), (negated, row.negation, "not", "PART"))
        for present, where, concept, upos in marks:
            if present and where != "suffix":
                said.insert(0 if where == "pre" else len(said), self._word([concept], upos, "verb"))
        return tuple(said)

    def _asked(self, query: Query) -> Tokens:
        event, role = query.event, query.role
        phrase = {"agent": event.agent, "patient": event.patient, "place": event.place}.get(role)
        kind = phrase.noun if phrase else "any_time"
        case = ["object"] if role == "patient" and self.row.marking == "case" else []
        if query.with_kind:
            return self._word(["which"], "DET", "asked"), self._word([kind, *case], "NOUN", "asked")
        if role in {"place", "time"}:
            return (self._word(["where" if role == "place" else "when"], "ADV", "asked"),)
        return (self._word(["who" if kind == "any_person" else "what", *case], "PRON", "asked"),)


@functools.cache
def renderer(code: str) -> Renderer:
    """Returns the renderer of a generated language."""
    return Renderer(WORLD_LANGUAGES[code], lexicons()[code])
