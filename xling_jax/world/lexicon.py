"""The words of each language: a form for every concept, made once from stable seeds.

No form is used twice, in one language or across two, but for cognates, names and digits, which are shared on
purpose: a chance homograph of a function word would look like transfer.
"""

import functools
import random
import zlib

from xling_jax.world.ontology import CONTENT, COUNTS, PROPER_NOUNS, TENSES, uniform
from xling_jax.world.typology import ALPHABETS, SOURCE, WORLD_LANGUAGES, Alphabet, Typology

ARTICLES = ("the", "the_many")
QUESTION_WORDS = ("who", "what", "where", "when", "which")
FUNCTION = (*ARTICLES, *QUESTION_WORDS, "not", "in", "near", "behind", *(t for t in TENSES if t != "present"))
SUFFIXES = ("plural", "object")
PUNCTUATION = (".", "?")
DIGITS = tuple(str(count) for count in COUNTS)

# Shapes of words, in consonants and vowels. Function words are short, names are long.
CONTENT_SHAPES = ("CVCV", "CVCVC", "CVCCV")
FUNCTION_SHAPES = ("CVC",)
NAME_SHAPES = ("CVCVCV",)
SUFFIX_SHAPES = ("VC", "V")

Forms = dict[str, str]


def _spell(rng: random.Random, shapes: tuple[str, ...], alphabet: Alphabet) -> str:
    letters = {"C": tuple(alphabet.consonants), "V": tuple(alphabet.vowels)}
    return "".join(uniform(rng, letters[kind]) for kind in uniform(rng, shapes))


def _coin(seed: str, shapes: tuple[str, ...], alphabet: Alphabet, used: set[str], prefix: str = "") -> str:
    """Returns a new form and notes it in `used`."""
    rng = random.Random(seed)
    while (form := prefix + _spell(rng, shapes, alphabet)) in used:
        pass
    used.add(form)
    return form


def cognates(row: Typology) -> frozenset[str]:
    """Returns the content concepts whose form in the source is also the language's own."""
    ordered = sorted(CONTENT, key=lambda concept: (zlib.crc32(f"{row.code}/{concept}".encode()), concept))
    return frozenset(ordered[: round(row.cognates * len(CONTENT))])


def function_words(row: Typology) -> tuple[str, ...]:
    """Returns the function words that the grammar has, free words and suffixes, in a stable order."""
    lacking = set() if row.marking == "article" else {"the", "the_many"}
    if row.plural != "article":
        lacking.add("the_many")
    suffixes = ["plural"] * (row.plural == "suffix") + ["object"] * (row.marking == "case")
    return tuple(word for word in FUNCTION if word not in lacking) + tuple(suffixes)


def is_suffix(row: Typology, word: str) -> bool:
    """Says whether a function word is glued to the end of another word."""
    if word in TENSES:
        return row.tense == "suffix"
    return word in SUFFIXES or (word == "not" and row.negation == "suffix")


def _coin_function_word(row: Typology, word: str, used: set[str]) -> str:
    alphabet, seed = ALPHABETS[row.alphabet], f"{row.code}/function/{word}"
    if is_suffix(row, word):
        return _coin(seed, SUFFIX_SHAPES, alphabet, used, prefix=f"##{alphabet.mark}")
    return _coin(seed, FUNCTION_SHAPES, alphabet, used)


@functools.cache
def lexicons() -> dict[str, Forms]:
    """Returns each language's form of every concept, function word, name and digit; suffixes begin with '##'."""
    used: set[str] = set()
    names = {name: _coin(name, NAME_SHAPES, ALPHABETS["latin"], used) for name in PROPER_NOUNS}
    found: dict[str, Forms] = {}
    for code, row in WORLD_LANGUAGES.items():
        alphabet, inherited = ALPHABETS[row.alphabet], cognates(row)
        forms = {sign: sign for sign in (*PUNCTUATION, *DIGITS)}
        forms |= {word: _coin_function_word(row, word, used) for word in function_words(row)}
        forms |= {
            name: _coin(f"{code}/{name}", NAME_SHAPES, alphabet, used) if row.names == "own" else names[name]
            for name in PROPER_NOUNS
        }
        for concept in CONTENT:
            if concept in inherited and code != SOURCE:
                forms[concept] = found[SOURCE][concept]
            else:
                forms[concept] = _coin(f"{code}/{concept}", CONTENT_SHAPES, alphabet, used)
        found[code] = forms
    return found


@functools.cache
def pieces() -> tuple[str, ...]:
    """Returns every piece of the shared vocabulary, in a stable order.

    Words are cut by taking the longest piece that fits, again and again; pieces inside a word begin with '##'.
    """
    return tuple(dict.fromkeys(form for forms in lexicons().values() for form in forms.values()))
