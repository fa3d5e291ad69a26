"""Grammar of the generated languages: one row of typological parameters each.

The parameters are those along which zero-shot transfer is known to fall: word order, adpositions,
morphology, script and shared vocabulary (Pires et al. 2019; K et al. 2020; Dufter and Schutze 2020).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Typology:
    """A language's grammar.

    `distance` is the language's distance from the source, "qen": source, near, middle or distant.
    `order` arranges subject, verb and object; `adposition` and `adjective` stand before or after their noun.
    `tense` is a particle "before" or "after" the verb or a "suffix"; `negation` likewise.
    `plural` is marked on the "article" or by a "suffix"; `case` marks the object by a suffix.
    `question` puts the asked phrase in "front" or leaves it in "place".
    `cognates` is the share of content words that have the form they have in the source.
    """

    code: str
    distance: str
    order: str
    adposition: str
    adjective: str
    article: bool
    tense: str
    negation: str
    plural: str
    case: bool
    question: str
    alphabet: str
    cognates: float = 0.0
    own_names: bool = False


SOURCE = "qen"

_ROWS = (
    # code, distance, order, adposition, adjective, article, tense, negation, plural, case, question, alphabet
    Typology("qen", "source", "SVO", "before", "before", True, "before", "before", "article", False, "front", "latin"),
    Typology("qnd", "near", "SVO", "before", "before", True, "suffix", "before", "suffix", False, "front", "latin", 0.6),
    Typology("qnr", "near", "SVO", "before", "after", True, "suffix", "before", "suffix", False, "front", "latin", 0.4),
    Typology("qms", "middle", "SVO", "before", "before", False, "suffix", "before", "suffix", False, "front", "greek"),
    Typology("qda", "distant", "VSO", "before", "after", True, "after", "before", "article", False, "front", "cyrillic"),
    Typology("qdt", "distant", "SOV", "after", "before", False, "suffix", "suffix", "suffix", True, "place", "armenian"),
    Typology("qmg", "middle", "SOV", "after", "before", False, "suffix", "after", "suffix", False, "front", "latin", 0.3),
    Typology(
        "qdx", "distant", "SOV", "after", "after", False, "suffix", "suffix", "suffix", True, "place", "georgian",
        own_names=True,
    ),
)  # fmt: skip

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


# Real letters, without upper case among them, so that lower-casing and Unicode normalisation change nothing.
ALPHABETS = {
    "latin": Alphabet("bdfgklmnprstvz", "aeiou", "y"),
    "greek": Alphabet("βγδζθκλμνπρστφ", "αεηιου", "ψ"),
    "cyrillic": Alphabet("бвгджзклмнпрст", "аеиоу", "щ"),
    "armenian": Alphabet("բգդզլխկհմնպռստ", "աեիօը", "ջ"),
    "georgian": Alphabet("ბგდვზკლმნპრსტხ", "აეიოუ", "ჯ"),
}
