"""Grammar, words and what the world says of itself."""

import collections
import itertools

import pytest

from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import WORLD
from xling_jax.world import events, lexicon, ontology, pieces, read
from xling_jax.world.events import Event, Phrase, Query
from xling_jax.world.examples import meanings
from xling_jax.world.lexicon import cognates, lexicons
from xling_jax.world.render import renderer, text_of
from xling_jax.world.stories import SOCIAL
from xling_jax.world.typology import ALPHABETS, SOURCE, WORLD_LANGUAGES

VOCABULARY = frozenset(pieces())
CODES = tuple(WORLD_LANGUAGES)


def cut(word):
    """Cuts a word by the rule of the vocabulary: the longest piece that fits, again and again."""
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        for stop in range(len(word), start, -1):
            if mark + word[start:stop] in VOCABULARY:
                break
        else:
            raise AssertionError(f"no piece fits '{word[start:]}' in '{word}'")
        found.append(mark + word[start:stop])
        start = stop
    return tuple(found)


def sentences(language, count=3_000):
    speaker = renderer(language)
    return [speaker.say(said) for said in itertools.islice(meanings("world_pos", "train", language), count)]


def test_rows_are_the_declared_languages():
    assert " ".join(CODES) == WORLD
    letters = {"latin": "Latin"}
    for code, row in WORLD_LANGUAGES.items():
        assert LANGUAGES[code].script == letters.get(row.alphabet, f"generated {row.alphabet}"), code
        assert row.distance in LANGUAGES[code].name, code


@pytest.mark.parametrize("language", CODES)
def test_longest_match_finds_the_intended_pieces(language):
    for sentence in sentences(language):
        for token in sentence:
            assert cut(token.word) == token.pieces, f"'{token.word}' in '{text_of(sentence)}'"


@pytest.mark.parametrize("language", CODES)
def test_every_stem_takes_every_suffix(language):
    """No chance of the draw: all stems before all suffixes, not just those that were rendered."""
    forms = set(lexicons()[language].values())
    suffixes = {form for form in forms if form.startswith("##")}
    mark = ALPHABETS[WORLD_LANGUAGES[language].alphabet].mark
    assert all(form.rindex(mark) == 2 for form in suffixes), "a suffix begins with the mark, and has no other"
    assert not any(mark in form for form in forms - suffixes), "a stem has the letter that tells suffixes apart"
    for stem, one, two in itertools.product(forms - suffixes, suffixes, suffixes):
        assert cut(stem + one[2:] + two[2:]) == (stem, one, two)


def test_vocabulary_is_small_and_without_homographs():
    assert len(VOCABULARY) == len(pieces()) <= 2_500
    owners = collections.defaultdict(set)
    for code, forms in lexicons().items():
        assert len(set(forms.values())) == len(forms), f"{code} has two words of one form"
        for concept, form in forms.items():
            owners[form].add(concept)
    assert all(len(concepts) == 1 for concepts in owners.values()), "a form means two things in two languages"


@pytest.mark.parametrize("language", CODES)
def test_share_of_cognates_is_the_declared_one(language):
    own, source = lexicons()[language], lexicons()[SOURCE]
    shared = [concept for concept in ontology.CONTENT if own[concept] == source[concept]]
    assert abs(len(shared) / len(ontology.CONTENT) - WORLD_LANGUAGES[language].cognates) < 1 / len(ontology.CONTENT)
    assert set(shared) == cognates(WORLD_LANGUAGES[language])
    for word in lexicon.function_words(WORLD_LANGUAGES[language]):
        assert language == SOURCE or own[word] != source.get(word), f"function word '{word}' is shared"


@pytest.mark.parametrize("language", CODES)
def test_letters_survive_lower_casing(language):
    alphabet = ALPHABETS[WORLD_LANGUAGES[language].alphabet]
    letters = alphabet.consonants + alphabet.vowels + alphabet.mark
    assert letters == letters.lower() and letters.isalpha() and len(set(letters)) == len(letters)


# "Two small dogs did not see a cat in Norvik at noon", one line per word order; the pieces of each word by concept.
EVENT = Event("love", Phrase("dog", "small", 2), Phrase("cat"), Phrase("town0"), "in", "noon", "past", True)
EXPECTED = {
    "qen": "the_many 2 small dog not past love the cat in town0 noon .",
    "qnd": "the 2 small dog+plural not love+past the cat in town0 noon .",
    "qnr": "the 2 dog+plural small not love+past the cat in town0 noon .",
    "qms": "2 small dog+plural not love+past cat in town0 noon .",
    "qda": "not love past the_many 2 dog small the cat in town0 noon .",
    "qdt": "noon 2 small dog+plural town0 in cat+object love+past+not .",
    "qmg": "noon 2 small dog+plural town0 in cat love+past not .",
    "qdx": "noon 2 dog+plural small town0 in cat+object love+past+not .",
}


def gloss(language, tokens):
    concepts = {form: concept for concept, form in lexicons()[language].items()}
    return " ".join("+".join(concepts[piece] for piece in token.pieces) for token in tokens)


@pytest.mark.parametrize("language", CODES)
def test_sentence_follows_the_grammar(language):
    assert gloss(language, renderer(language).sentence(EVENT)) == EXPECTED[language]


QUESTIONS = {
    ("qen", False): "what past love the dog ?",
    ("qen", True): "which any_thing past love the dog ?",
    ("qda", False): "what love past the dog ?",
    ("qdt", False): "what dog+object love+past ?",
}


@pytest.mark.parametrize(("language", "with_kind"), QUESTIONS)
def test_question_follows_the_grammar(language, with_kind):
    query = Query(Event("love", Phrase("any_thing"), Phrase("dog"), tense="past"), "agent", with_kind)
    assert gloss(language, renderer(language).question(query)) == QUESTIONS[language, with_kind]


def test_case_is_on_the_question_word():
    query = Query(Event("love", Phrase("dog"), Phrase("any_person")), "patient", False)
    assert gloss("qdt", renderer("qdt").question(query)) == "dog who+object love ?"
    assert (
        gloss("qdt", renderer("qdt").question(query._replace(with_kind=True))) == "dog which any_person+object love ?"
    )


def test_nouns_of_a_class_follow_zipf():
    """Frequencies in text, where 1 / (rank + 1.5) is drawn; a fifth of the cores is kept back for dev and test."""
    words = collections.Counter()
    for row in read("world_text", "train", SOURCE, 6_000):
        words.update(row["text"].split())
    for name in ("animal", "food", "place"):
        nouns = ontology.NOUNS[name]
        counts = [words[lexicons()[SOURCE][noun]] for noun in nouns]
        weights = [1 / (rank + 1.5) for rank in range(len(nouns))]
        for measured, weight in zip(counts, weights, strict=True):
            share, declared = measured / sum(counts), weight / sum(weights)
            assert abs(share / declared - 1) < 0.35, f"{name}: {share:.3f}, declared {declared:.3f}"


def obeys(event):
    """Says whether agent and patient are of the sorts that the verb asks for, and adjectives suit their nouns."""
    verb = ontology.VERBS[event.verb]
    roles = ((event.agent, verb.subject), (event.patient, verb.object))
    for phrase, sort in roles:
        if (phrase is None) != (not sort):
            return False
        if phrase and ontology.CLASS_OF[phrase.noun] not in ontology.SORTS[sort]:
            return False
        scales = ontology.SCALES_OF.get(ontology.CLASS_OF[phrase.noun], ()) if phrase else ()
        if phrase and phrase.adjective and not any(phrase.adjective in ontology.SCALES[scale] for scale in scales):
            return False
    return True


def test_choices_obey_the_selection_rules():
    for choice in itertools.islice(meanings("world_choice", "train", SOURCE), 2_000):
        assert obeys(choice.event) and all(map(obeys, choice.choices)), choice
        assert choice.choices[choice.label] == events.consequence(choice.event)
        assert len(set(choice.choices)) == 4
        assert choice.event.verb in SOCIAL and not choice.event.negated


def test_every_verb_has_a_consequence_that_obeys_the_rules():
    for verb in ontology.VERBS.values():
        for agent, patient in itertools.product(classes(verb.subject), classes(verb.object)):
            event = Event(verb.name, Phrase(agent), Phrase(patient) if patient else None)
            assert obeys(events.consequence(event)), event
        assert ontology.VERBS[verb.opposite].opposite == verb.name


def classes(sort):
    return [ontology.NOUNS[name][0] for name in ontology.SORTS[sort]] if sort else [""]
