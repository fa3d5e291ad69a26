"""Grammar of the generated languages: one row of typological parameters each.

The parameters are those along which zero-shot transfer is known to fall: word order, adpositions,
morphology, script and shared vocabulary (Pires et al. 2019; K et al. 2020; Dufter and Schutze 2020).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Typology:
    """A language's grammar.

    `distance` is the language's distance from the source: source, near, middle or distant.
    `order` arranges subject, verb and object; `adposition` and `adjective` stand "pre" or "post" their noun.
    `tense` is a particle "pre" or "post" the verb or a "suffix" of it; `negation` likewise.
    `plural` is marked on the "article" or by a "suffix" of the noun.
    `marking` says what else a noun phrase bears: an "article", a "case" suffix on objects, or "none".
    `question` puts the asked phrase in "front" or leaves it in "place".
    `cognates` is the share of content words that have the form they have in the source.
    `names` are "shared" by all languages or a language's "own".
    """

    code: str
    distance: str
    order: str
    adposition: str
    adjective: str
    tense: str
    negation: str
    plural: str
    question: str
    alphabet: str
    cognates: float
    marking: str
    names: str = "shared"


SOURCE = "qen"

# fmt: off
_ROWS = (
    #        code   distance   order  adpos.  adj.    tense     negation  plural     question alphabet shared marking
    Typology("qen", "source",  "SVO", "pre",  "pre",  "pre",    "pre",    "article", "front", "latin", 1.0, "article"),
    Typology("qnd", "near",    "SVO", "pre",  "pre",  "suffix", "pre",    "suffix",  "front", "latin", 0.6, "article"),
    Typology("qnr", "near",    "SVO", "pre",  "post", "suffix", "pre",    "suffix",  "front", "latin", 0.4, "article"),
    Typology("qms", "middle",  "SVO", "pre",  "pre",  "suffix", "pre",    "suffix",  "front", "A",     0.0, "none"),
    Typology("qda", "distant", "VSO", "pre",  "post", "post",   "pre",    "article", "front", "B",     0.0, "article"),
    Typology("qdt", "distant", "SOV", "post", "pre",  "suffix", "suffix", "suffix",  "place", "C",     0.0, "case"),
    Typology("qmg", "middle",  "SOV", "post", "pre",  "suffix", "post",   "suffix",  "front", "latin", 0.3, "none"),
    Typology("qdx", "distant", "SOV", "post", "post", "suffix", "suffix", "suffix",  "place", "D",     0.0, "case",
             names="own"),
)
# fmt: on

WORLD_LANGUAGES = {row.code: row for row in _ROWS}


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """Letters a language spells with. `mark` begins every suffix and occurs nowhere else.

    So the parts of a word can be told apart by the letters alone: no stem of any language runs on into
    a suffix, and the longest piece that fits is always the intended one.
    """

    consonants: str
    vowels: str
    mark: str


# A to D are Greek, Cyrillic, Armenian and Georgian letters. None is upper case,
# and neither lower-casing nor Unicode normalisation changes any.
ALPHABETS = {
    "latin": Alphabet("bdfgklmnprstvz", "aeiou", "y"),
    "A": Alphabet("βγδζθκλμνπρστφ", "αεηιου", "ψ"),
    "B": Alphabet("бвгджзклмнпрст", "аеиоу", "щ"),
    "C": Alphabet("բգդզլխկհմնպռստ", "աեիօը", "ջ"),
    "D": Alphabet("ბგდვზკლმნპრსტხ", "აეიოუ", "ჯ"),
}
