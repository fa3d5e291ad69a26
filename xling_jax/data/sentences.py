"""Where the sentences of an English text begin and end.

For retrieval from SQuAD, whose files have no sentence breaks; where a publisher gives them, his are used.
"""

import bisect
import re

# A full stop, question or exclamation mark, whatever closes behind it, white space, and something that can begin.
_BREAK = re.compile(r"""[.?!](?:["'”’)\]]|\[[^\[\]]{1,20}\])*(\s+)(?=["'“‘(\[]*[A-Z0-9À-Þ])""")
_ABBREVIATIONS = frozenset(
    "Mr Mrs Ms Dr Prof Rev Fr St Sr Jr Gen Col Maj Capt Lt Sgt Adm Gov Sen Rep Pres Hon Jan Feb Aug Sept Oct Nov Dec "
    "Mt Ft No Vol Art Sec Op vs v ca c cf approx pp p e.g i.e a.k.a al d b r fl etc".split()
)
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]+$")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Returns [begin, end) of each sentence, in order; together they hold all characters but white space."""
    cuts = [found.span(1) for found in _BREAK.finditer(text) if not _is_abbreviation(text, found.start())]
    begins = [0, *(after for _, after in cuts)]
    ends = [*(before for before, _ in cuts), len(text)]
    spans = [_stripped(text, begin, end) for begin, end in zip(begins, ends, strict=True)]
    return [(begin, end) for begin, end in spans if begin < end]


def sentence_at(spans: list[tuple[int, int]], position: int) -> tuple[int, int] | None:
    """Returns the span that holds a character; None if it stands between sentences."""
    number = bisect.bisect_right(spans, position, key=lambda span: span[0]) - 1
    return spans[number] if number >= 0 and position < spans[number][1] else None


def _is_abbreviation(text: str, stop: int) -> bool:
    """Says if the full stop at `stop` only ends a title, a shortened word or an initial."""
    word = _LAST_WORD.search(text, max(0, stop - 20), stop)
    if text[stop] != "." or not word:
        return False
    return word[0] in _ABBREVIATIONS or (len(word[0]) == 1 and word[0].isupper())


def _stripped(text: str, begin: int, end: int) -> tuple[int, int]:
    inside = text[begin:end]
    return begin + len(inside) - len(inside.lstrip()), begin + len(inside.rstrip())
