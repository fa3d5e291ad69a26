"""Events to sentences: one renderer per language, driven by its row of grammar."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

from xling_jax.world.events import Event, Phrase
from xling_jax.world.lexicon import Forms, lexicons
from xling_jax.world.ontology import CLASS_OF, HYPERNYM, PROPER, VERBS
from xling_jax.world.typology import WORLD_LANGUAGES, Typology

# What the classes of nouns are called where they are tagged as entities.
ENTITY = {"name": "PER", "person": "PER", "animal": "ANI", "place": "LOC", "town": "LOC"}
ENTITY |= {"any_person": "PER", "any_animal": "ANI", "any_place": "LOC"}

# Arrangement of time, subject, verb, object and place.
ORDERS = {"SVO": "SVOPT", "VSO": "VSOPT", "SOV": "TSPOV"}
ROLE_OF_SLOT = {"S": "agent", "O": "patient", "P": "place", "T": "time"}


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


def question_word(event: Event, role: str) -> tuple[str, str]:
    """Returns the bare question word for a role, and the word for the kind of thing that is asked for."""
    if role == "time":
        return "when", "any_time"
    if role == "place":
        return "where", "any_place"
    phrase = event.agent if role == "agent" else event.patient
    assert phrase, f"{event} has no {role} to ask for"
    kind = HYPERNYM.get(phrase.noun, phrase.noun)
    return ("who" if kind == "any_person" else "what"), kind


class Renderer:
    """Says events in one language. Phrases are remembered, which makes most of the speed."""

    def __init__(self, row: Typology, forms: Forms):
        self.row = row
        self._forms = forms
        self._phrases: dict[tuple[Phrase, str], Tokens] = {}
        self._verbs: dict[tuple[str, str, bool], Tokens] = {}
        self._order = ORDERS[row.order]
        self.stop = self._word(["."], "PUNCT", "stop")
        self.question_mark = self._word(["?"], "PUNCT", "stop")

    def sentence(self, event: Event) -> Tokens:
        """Returns the words of a statement."""
        return (*self._clause(event, self._order), self.stop)

    def question(self, event: Event, role: str, with_kind: bool = False) -> Tokens:
        """Returns the words of a question for a role; `with_kind` asks "which animal" rather than "what"."""
        asked = self._asked(event, role, with_kind)
        slot = next(slot for slot, name in ROLE_OF_SLOT.items() if name == role)
        before, after = self._order.split(slot)
        if self.row.question == "front":
            return (*asked, *self._clause(event, before + after), self.question_mark)
        return (*self._clause(event, before), *asked, *self._clause(event, after), self.question_mark)

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
                said.append(self._word([event.time], "ADV", "time", core=True))
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
        if role == "patient" and row.case:
            stem.append("object")
        noun = self._word(stem, "PROPN" if proper else "NOUN", role, entity, core=True)
        core = [noun]
        if phrase.adjective:
            adjective = self._word([phrase.adjective], "ADJ", role, entity, core=True)
            core = [adjective, noun] if row.adjective == "before" else [noun, adjective]
        if phrase.count > 1:
            core.insert(0, self._word([str(phrase.count)], "NUM", role, entity, core=True))
        if row.article and not proper:
            many = phrase.count != 1 and row.plural == "article"
            core.insert(0, self._word(["the_many" if many else "the"], "DET", role))
        return tuple(core)

    def _place(self, event: Event) -> Tokens:
        if not event.place:
            return ()
        noun = self.phrase(event.place, "place")
        adposition = self._word([event.adposition], "ADP", "place")
        return (adposition, *noun) if self.row.adposition == "before" else (*noun, adposition)

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
                said.insert(0 if where == "before" else len(said), self._word([concept], upos, "verb"))
        return tuple(said)

    def _asked(self, event: Event, role: str, with_kind: bool) -> Tokens:
        bare, kind = question_word(event, role)
        case = ["object"] if role == "patient" and self.row.case else []
        if with_kind:
            return self._word(["which"], "DET", "asked"), self._word([kind, *case], "NOUN", "asked")
        upos = "ADV" if role in {"place", "time"} else "PRON"
        return (self._word([bare, *case], upos, "asked"),)


@functools.cache
def renderer(code: str) -> Renderer:
    """Returns the renderer of a generated language."""
    return Renderer(WORLD_LANGUAGES[code], lexicons()[code])
