"""Languages: one row each, real ones first, then the generated ones.

Real rows are the union of XTREME and XTREME-R, then further languages that XNLI was translated to. Codes of
generated languages lie in qaa-qtz, which ISO 639-2 reserves for local use, so that no generated number can be mistaken
for a real one.

`resources` is the class of Joshi et al. 2020 (arXiv 2004.09095, table 1 and the list published with it, lang2tax.txt):
5 for the languages with most labelled and unlabelled text, 0 for those with almost none. The list has names and no
codes; a class stands here where one name of it is the language's and two copies of the list agree. It is None for
Haitian Creole and Guarani, which the list has under two spellings in two classes, and for languages whose entry could
not be confirmed: they are shown as unknown, not as 0. Generated languages have none.
"""

import dataclasses

from xling_jax.errors import choose


@dataclasses.dataclass(frozen=True)
class Language:
    """A language. `iso3` is the code the Tatoeba corpus uses; `spaced` says spaces divide words.

    `resources`: class 0 (least) to 5 (most) of Joshi et al. 2020, or None where it is not known or there is none.
    """

    code: str
    name: str
    iso3: str
    script: str
    family: str
    spaced: bool = True
    pretrained_in: str = "xlmr mt5"
    resources: int | None = None


_ROWS = (
    Language("af", "Afrikaans", "afr", "Latin", "Indo-European", resources=3),
    Language("ar", "Arabic", "ara", "Arabic", "Afro-Asiatic", resources=5),
    Language("az", "Azerbaijani", "aze", "Latin", "Turkic", resources=1),
    Language("bg", "Bulgarian", "bul", "Cyrillic", "Indo-European", resources=3),
    Language("bn", "Bengali", "ben", "Bengali", "Indo-European", resources=3),
    Language("de", "German", "deu", "Latin", "Indo-European", resources=5),
    Language("el", "Greek", "ell", "Greek", "Indo-European", resources=3),
    Language("en", "English", "eng", "Latin", "Indo-European", resources=5),
    Language("es", "Spanish", "spa", "Latin", "Indo-European", resources=5),
    Language("et", "Estonian", "est", "Latin", "Uralic", resources=3),
    Language("eu", "Basque", "eus", "Latin", "isolate", resources=4),
    Language("fa", "Persian", "pes", "Arabic", "Indo-European", resources=4),
    Language("fi", "Finnish", "fin", "Latin", "Uralic", resources=4),
    Language("fr", "French", "fra", "Latin", "Indo-European", resources=5),
    Language("gu", "Gujarati", "guj", "Gujarati", "Indo-European", resources=1),
    Language("he", "Hebrew", "heb", "Hebrew", "Afro-Asiatic", resources=3),
    Language("hi", "Hindi", "hin", "Devanagari", "Indo-European", resources=4),
    Language("ht", "Haitian Creole", "hat", "Latin", "French creole", pretrained_in="mt5"),
    Language("hu", "Hungarian", "hun", "Latin", "Uralic", resources=4),
    Language("id", "Indonesian", "ind", "Latin", "Austronesian", resources=3),
    Language("it", "Italian", "ita", "Latin", "Indo-European", resources=4),
    Language("ja", "Japanese", "jpn", "Japanese", "Japonic", spaced=False, resources=5),
    Language("jv", "Javanese", "jav", "Latin", "Austronesian", resources=1),
    Language("ka", "Georgian", "kat", "Georgian", "Kartvelian", resources=3),
    Language("kk", "Kazakh", "kaz", "Cyrillic", "Turkic", resources=3),
    Language("ko", "Korean", "kor", "Hangul", "Koreanic", resources=4),
    Language("lt", "Lithuanian", "lit", "Latin", "Indo-European", resources=3),
    Language("ml", "Malayalam", "mal", "Malayalam", "Dravidian", resources=1),
    Language("mr", "Marathi", "mar", "Devanagari", "Indo-European", resources=2),
    Language("ms", "Malay", "zsm", "Latin", "Austronesian", resources=3),
    Language("my", "Burmese", "mya", "Myanmar", "Sino-Tibetan", spaced=False, resources=1),
    Language("nl", "Dutch", "nld", "Latin", "Indo-European", resources=4),
    Language("pa", "Punjabi", "pan", "Gurmukhi", "Indo-European", resources=2),
    Language("pl", "Polish", "pol", "Latin", "Indo-European", resources=4),
    Language("pt", "Portuguese", "por", "Latin", "Indo-European", resources=4),
    Language("qu", "Quechua", "que", "Latin", "Quechuan", pretrained_in="", resources=1),
    Language("ro", "Romanian", "ron", "Latin", "Indo-European", resources=3),
    Language("ru", "Russian", "rus", "Cyrillic", "Indo-European", resources=4),
    Language("sw", "Swahili", "swh", "Latin", "Niger-Congo", resources=2),
    Language("ta", "Tamil", "tam", "Tamil", "Dravidian", resources=3),
    Language("te", "Telugu", "tel", "Telugu", "Dravidian", resources=1),
    Language("th", "Thai", "tha", "Thai", "Kra-Dai", spaced=False, resources=3),
    Language("tl", "Tagalog", "tgl", "Latin", "Austronesian", resources=3),
    Language("tr", "Turkish", "tur", "Latin", "Turkic", resources=4),
    Language("uk", "Ukrainian", "ukr", "Cyrillic", "Indo-European", resources=3),
    Language("ur", "Urdu", "urd", "Arabic", "Indo-European", resources=3),
    Language("vi", "Vietnamese", "vie", "Latin", "Austroasiatic", resources=4),
    Language("wo", "Wolof", "wol", "Latin", "Niger-Congo", pretrained_in="", resources=2),
    Language("yo", "Yoruba", "yor", "Latin", "Niger-Congo", pretrained_in="mt5", resources=2),
    Language("zh", "Chinese", "cmn", "Han", "Sino-Tibetan", spaced=False, resources=5),
    # Of XNLI's descendants.
    Language("aym", "Aymara", "aym", "Latin", "Aymaran", pretrained_in="", resources=1),
    Language("bzd", "Bribri", "bzd", "Latin", "Chibchan", pretrained_in=""),
    Language("cni", "Asháninka", "cni", "Latin", "Arawakan", pretrained_in=""),
    Language("gn", "Guarani", "grn", "Latin", "Tupian", pretrained_in=""),
    Language("hch", "Wixarika", "hch", "Latin", "Uto-Aztecan", pretrained_in=""),
    Language("hr", "Croatian", "hrv", "Latin", "Indo-European", pretrained_in="xlmr", resources=4),
    Language("nah", "Nahuatl", "nah", "Latin", "Uto-Aztecan", pretrained_in=""),
    Language("oto", "Otomí", "oto", "Latin", "Oto-Manguean", pretrained_in=""),
    Language("quy", "Ayacucho Quechua", "quy", "Latin", "Quechuan", pretrained_in=""),
    Language("shp", "Shipibo-Konibo", "shp", "Latin", "Panoan", pretrained_in=""),
    Language("tar", "Rarámuri", "tar", "Latin", "Uto-Aztecan", pretrained_in=""),
    # Generated; `world/typology.py` has one row of grammar for each.
    Language("qen", "generated source", "qen", "Latin", "generated", pretrained_in=""),
    Language("qnd", "generated near, same order", "qnd", "Latin", "generated", pretrained_in=""),
    Language("qnr", "generated near, noun first", "qnr", "Latin", "generated", pretrained_in=""),
    Language("qms", "generated middle, no shared words", "qms", "generated A", "generated", pretrained_in=""),
    Language("qda", "generated distant, verb first", "qda", "generated B", "generated", pretrained_in=""),
    Language("qdt", "generated distant, agglutinative", "qdt", "generated C", "generated", pretrained_in=""),
    Language("qmg", "generated middle, verb last", "qmg", "Latin", "generated", pretrained_in=""),
    Language("qdx", "generated distant, own names", "qdx", "generated D", "generated", pretrained_in=""),
)

LANGUAGES = {row.code: row for row in _ROWS}


def language(code: str, inside: str = "") -> Language:
    """Returns the row of a language code; ConfigError with suggestions if there is none."""
    return choose("language", code, LANGUAGES, "Languages are rows of xling_jax/tables/languages.py.", inside)
