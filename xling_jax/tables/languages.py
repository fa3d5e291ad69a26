"""Languages: one row each, real ones first, then the generated ones.

Real rows are the union of XTREME and XTREME-R, then further languages that XNLI was translated to. Codes of
generated languages lie in qaa-qtz, which ISO 639-2 reserves for local use, so that no generated number can be mistaken
for a real one.
"""

import dataclasses

from xling_jax.errors import choose


@dataclasses.dataclass(frozen=True)
class Language:
    """A language. `iso3` is the code the Tatoeba corpus uses; `spaced` says spaces divide words."""

    code: str
    name: str
    iso3: str
    script: str
    family: str
    spaced: bool = True
    pretrained_in: str = "xlmr mt5"


_ROWS = (
    Language("af", "Afrikaans", "afr", "Latin", "Indo-European"),
    Language("ar", "Arabic", "ara", "Arabic", "Afro-Asiatic"),
    Language("az", "Azerbaijani", "aze", "Latin", "Turkic"),
    Language("bg", "Bulgarian", "bul", "Cyrillic", "Indo-European"),
    Language("bn", "Bengali", "ben", "Bengali", "Indo-European"),
    Language("de", "German", "deu", "Latin", "Indo-European"),
    Language("el", "Greek", "ell", "Greek", "Indo-European"),
    Language("en", "English", "eng", "Latin", "Indo-European"),
    Language("es", "Spanish", "spa", "Latin", "Indo-European"),
    Language("et", "Estonian", "est", "Latin", "Uralic"),
    Language("eu", "Basque", "eus", "Latin", "isolate"),
    Language("fa", "Persian", "pes", "Arabic", "Indo-European"),
    Language("fi", "Finnish", "fin", "Latin", "Uralic"),
    Language("fr", "French", "fra", "Latin", "Indo-European"),
    Language("gu", "Gujarati", "guj", "Gujarati", "Indo-European"),
    Language("he", "Hebrew", "heb", "Hebrew", "Afro-Asiatic"),
    Language("hi", "Hindi", "hin", "Devanagari", "Indo-European"),
    Language("ht", "Haitian Creole", "hat", "Latin", "French creole", pretrained_in="mt5"),
    Language("hu", "Hungarian", "hun", "Latin", "Uralic"),
    Language("id", "Indonesian", "ind", "Latin", "Austronesian"),
    Language("it", "Italian", "ita", "Latin", "Indo-European"),
    Language("ja", "Japanese", "jpn", "Japanese", "Japonic", spaced=False),
    Language("jv", "Javanese", "jav", "Latin", "Austronesian"),
    Language("ka", "Georgian", "kat", "Georgian", "Kartvelian"),
    Language("kk", "Kazakh", "kaz", "Cyrillic", "Turkic"),
    Language("ko", "Korean", "kor", "Hangul", "Koreanic"),
    Language("lt", "Lithuanian", "lit", "Latin", "Indo-European"),
    Language("ml", "Malayalam", "mal", "Malayalam", "Dravidian"),
    Language("mr", "Marathi", "mar", "Devanagari", "Indo-European"),
    Language("ms", "Malay", "zsm", "Latin", "Austronesian"),
    Language("my", "Burmese", "mya", "Myanmar", "Sino-Tibetan", spaced=False),
    Language("nl", "Dutch", "nld", "Latin", "Indo-European"),
    Language("pa", "Punjabi", "pan", "Gurmukhi", "Indo-European"),
    Language("pl", "Polish", "pol", "Latin", "Indo-European"),
    Language("pt", "Portuguese", "por", "Latin", "Indo-European"),
    Language("qu", "Quechua", "que", "Latin", "Quechuan", pretrained_in=""),
    Language("ro", "Romanian", "ron", "Latin", "Indo-European"),
    Language("ru", "Russian", "rus", "Cyrillic", "Indo-European"),
    Language("sw", "Swahili", "swh", "Latin", "Niger-Congo"),
    Language("ta", "Tamil", "tam", "Tamil", "Dravidian"),
    Language("te", "Telugu", "tel", "Telugu", "Dravidian"),
    Language("th", "Thai", "tha", "Thai", "Kra-Dai", spaced=False),
    Language("tl", "Tagalog", "tgl", "Latin", "Austronesian"),
    Language("tr", "Turkish", "tur", "Latin", "Turkic"),
    Language("uk", "Ukrainian", "ukr", "Cyrillic", "Indo-European"),
    Language("ur", "Urdu", "urd", "Arabic", "Indo-European"),
    Language("vi", "Vietnamese", "vie", "Latin", "Austroasiatic"),
    Language("wo", "Wolof", "wol", "Latin", "Niger-Congo", pretrained_in=""),
    Language("yo", "Yoruba", "yor", "Latin", "Niger-Congo", pretrained_in="mt5"),
    Language("zh", "Chinese", "cmn", "Han", "Sino-Tibetan", spaced=False),
    # Of XNLI's descendants.
    Language("aym", "Aymara", "aym", "Latin", "Aymaran", pretrained_in=""),
    Language("bzd", "Bribri", "bzd", "Latin", "Chibchan", pretrained_in=""),
    Language("cni", "Asháninka", "cni", "Latin", "Arawakan", pretrained_in=""),
    Language("gn", "Guarani", "grn", "Latin", "Tupian", pretrained_in=""),
    Language("hch", "Wixarika", "hch", "Latin", "Uto-Aztecan", pretrained_in=""),
    Language("hr", "Croatian", "hrv", "Latin", "Indo-European", pretrained_in="xlmr"),
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
