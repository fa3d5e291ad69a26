"""Answers to span questions, compared as bags of words: by SQuAD's rules, by MLQA's, and segmented in every script.

Many answers are normalised at once, joined by a character that no rule touches, because a call for each answer takes
longer than what it does.
"""

import dataclasses
import re
import string
import unicodedata
from collections.abc import Sequence

from xling_jax.errors import choose

_SEPARATORS = "\x00\x01\x02\x03"  # neither white space, nor punctuation, nor part of a word
_ASCII_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]+")

# What is written without spaces: Han, kana, Thai, Lao, Burmese, Khmer. A mark belongs to the character before it.
_UNSPACED = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_MARKS = "".join(
    character for character in map(chr, range(0x0E00, 0x3100)) if unicodedata.category(character)[0] == "M"
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an answer becomes words: small letters, no punctuation, no articles, then words between white space.

    `ascii_only`: only ASCII's punctuation goes, else Unicode's class P with it. `articles` become a space. `word` is
    the pattern of a word where white space is not enough to tell.
    """

    ascii_only: bool
    articles: re.Pattern | None = None
    word: re.Pattern | None = None


def _whole(words: str) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b")


# In every language, as XQuAD and TyDiQA are scored (Rajpurkar et al. 2016, arXiv 1606.05250).
SQUAD = Rule(ascii_only=True, articles=_whole("a an the"))

# Lewis et al. 2020, arXiv 1910.07475; mlqa_evaluation_v1.py. Arabic's article goes wherever its letters stand; Chinese
# is segmented at U+4E00 to U+9FA5 alone.
MLQA = {
    "ar": Rule(ascii_only=False, articles=re.compile("ال")),
    "de": Rule(ascii_only=False, articles=_whole("ein eine einen einem eines einer der die das den dem des")),
    "en": Rule(ascii_only=False, articles=_whole("a an the")),
    "es": Rule(ascii_only=False, articles=_whole("un una unos unas el la los las")),
    "hi": Rule(ascii_only=False),
    "vi": Rule(ascii_only=False, articles=_whole("của là cái chiếc những")),
    "zh": Rule(ascii_only=False, word=re.compile(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+")),
}

# Each character of a script without spaces is a word, runs of others are words, as CMRC 2018's scorer has it for
# Chinese (Cui et al. 2019, arXiv 1810.07366). No articles: the languages it is for have none.
MIXED = Rule(ascii_only=False, word=re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\s{_UNSPACED}]+"))


def mlqa_rule(language: str) -> Rule:
    """Returns MLQA's rule for a language; ConfigError for one it has none for, as its scorer fails there, too."""
    return choose("language", language, MLQA, "MLQA's rules are those of xling_jax/scoring/spans.py.", "MLQA's scorer")


def words(answers: Sequence[str], rule: Rule) -> list[list[str]]:
    """Returns the words of each answer."""
    every = "".join(answers)
    separator = next((mark for mark in _SEPARATORS if mark not in every), None)
    if separator is None and len(answers) > 1:
        return [words([answer], rule)[0] for answer in answers]
    separator = separator or _SEPARATORS[0]
    text = separator.join(answers).lower()
    text = (_ASCII_PUNCTUATION if rule.ascii_only else _punctuation_of(text)).sub("", text)
    if rule.articles:
        text = rule.articles.sub(" ", text)
    parts = text.split(separator) if len(answers) != 1 else [text]
    return [rule.word.findall(part) if rule.word else part.split() for part in parts][: len(answers)]


def _punctuation_of(text: str) -> re.Pattern:
    """Returns the pattern of the punctuation in a text: looking at its few characters spares a table of Unicode's."""
    found = (character for character in set(text) if unicodedata.category(character)[0] == "P")
    return re.compile(f"[{re.escape(string.punctuation + ''.join(sorted(found)))}]+")


def compare(
    golds: Sequence[Sequence[str]], answers: Sequence[str | None], rule: Rule
) -> tuple[list[float], list[float]]:
    """Returns (F1, exact match) of each answer, the best over its gold answers; an answer that is None scores 0.

    If both answers have no words, exact match is 1 and F1 is 0, as the published scorers have it.
    """
    said = dict.fromkeys(text for texts in golds for text in texts)
    said |= dict.fromkeys(answer for answer in answers if answer is not None)
    words_of = dict(zip(said, words(list(said), rule), strict=True))
    best, exact = [0.0] * len(answers), [0.0] * len(answers)
    for at, (texts, answer) in enumerate(zip(golds, answers, strict=True)):
        if answer is None:
            continue
        mine = words_of[answer]
        theirs = [words_of[gold] for gold in texts]
        if mine in theirs:
            best[at], exact[at] = float(bool(mine)), 1.0
        else:
            best[at] = max(word_f1(gold, mine) for gold in theirs)
    return best, exact


def word_f1(gold: list[str], found: list[str]) -> float:
    """Returns the F1 of two bags of words; 0 if they share none."""
    one, other = set(gold), set(found)
    shared = len(one & other)
    if shared and len(one) < len(gold) and len(other) < len(found):  # both repeat a word
        shared = sum(min(gold.count(word), found.count(word)) for word in one & other)
    return 2 * shared / (len(gold) + len(found)) if shared else 0.0
