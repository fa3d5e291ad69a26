"""Words of answers by the rules of SQuAD, of MLQA in its seven languages, and segmented; hand-worked."""

import itertools
import random
import string
import unicodedata

import pytest

from xling_jax.errors import ConfigError
from xling_jax.scoring.metrics import mlqa, score, value
from xling_jax.scoring.spans import MIXED, MLQA, SQUAD, compare, mlqa_rule, word_f1, words

MLQA_CASES = [
    ("en", "The  Cat's “paw”, a paw.", ["cats", "paw", "paw"]),
    ("en", "theatre Ana", ["theatre", "ana"]),
    ("en", "3，000。 $5 C++", ["3000", "5", "c"]),  # full-width punctuation goes, and ASCII's symbols
    ("en", "½ € ²", ["½", "€", "²"]),  # other symbols stay
    ("es", "Los unos y las otras; el «Sol»", ["y", "otras", "sol"]),
    ("es", "the la", ["the"]),  # English articles are words here
    ("es", "¿El qué?", ["qué"]),
    ("de", "Der Dem-Mann einer einem", ["demmann"]),  # punctuation goes first, and makes one word of two
    ("de", "die Straße dereinst", ["straße", "dereinst"]),
    ("vi", "Cái nhà của những người là", ["nhà", "người"]),
    ("vi", "ca\u0301i nha\u0300", ["ca\u0301i", "nha\u0300"]),  # marks apart from their letters: no article
    ("ar", "الكتاب", ["كتاب"]),
    ("ar", "بالقلم", ["ب", "قلم"]),  # wherever the letters stand, and a space in their place
    ("ar", "هل؟، قال", ["هل", "ق"]),  # also at the end of a word of another kind
    ("hi", "the नहीं।", ["the", "नहीं"]),  # no articles; the danda is punctuation, marks are not
    ("zh", "北京市3号 Line", ["北", "京", "市", "3", "号", "line"]),
    ("zh", "（北京）。", ["北", "京"]),
    ("zh", "𠀀𠮷 カナ北", ["𠀀𠮷", "カナ", "北"]),  # only U+4E00 to U+9FA5 stand apart
    ("zh", "龥龦", ["龥", "龦"]),  # 龦 is U+9FA6: a word by what stands beside it, not by itself
    ("zh", "龦龦", ["龦龦"]),
    ("zh", "the 3。", ["the", "3"]),
]


@pytest.mark.parametrize(("language", "answer", "expected"), MLQA_CASES)
def test_words_of_mlqa(language, answer, expected):
    assert words([answer], MLQA[language]) == [expected]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("北京市3号 Line", ["北", "京", "市", "3", "号", "line"]),
        ("𠀀𠮷カナー", ["𠀀", "𠮷", "カ", "ナ", "ー"]),
        ("กำแพง the 3", ["ก", "ำ", "แ", "พ", "ง", "the", "3"]),
        ("นี้", ["นี้"]),  # a letter and its two marks
        ("café über", ["café", "über"]),
        ("（北京）。", ["北", "京"]),
        ("မြန်", ["မြ", "န်"]),
    ],
)
def test_words_where_scripts_have_no_spaces(answer, expected):
    assert words([answer], MIXED) == [expected]


def slow_words(answer, language):
    """Reads MLQA's rule off its description, a character at a time."""
    text = "".join(
        character
        for character in answer.lower()
        if not unicodedata.category(character).startswith("P") and character not in string.punctuation
    )
    if language == "ar":
        text = text.replace("ال", " ")
    articles = {
        "en": "a an the",
        "es": "un una unos unas el la los las",
        "de": "ein eine einen einem eines einer der die das den dem des",
        "vi": "của là cái chiếc những",
    }
    runs = itertools.groupby(text, key=str.isalnum)  # letters and digits, and what stands between, marks among it
    parts = ["".join(run) for _, run in runs]
    text = "".join(" " if part in articles.get(language, "").split() else part for part in parts)
    found, word = [], ""
    for character in f"{text} ":
        if character.isspace() or (language == "zh" and "\u4e00" <= character <= "\u9fa5"):
            found += [word] * bool(word) + [character] * (not character.isspace())
            word = ""
        else:
            word += character
    return found


@pytest.mark.parametrize("language", MLQA)
def test_many_answers_at_once_are_as_each_alone(language):
    """Also where an answer holds what others are joined by, and where it is empty."""
    rng = random.Random(language)
    letters = "aÀ一龥龦𠀀 \u3000\n\t.,。،الcáiÉßΣς北นี้नहीं"
    answers = ["".join(rng.choice(letters) for _ in range(rng.randrange(9))) for _ in range(300)]
    assert words(answers, MLQA[language]) == [slow_words(answer, language) for answer in answers]
    for rule in (SQUAD, MIXED, MLQA[language]):
        alone = [words([answer], rule)[0] for answer in answers]
        assert words(answers, rule) == alone
        marks = ["\x00", "b\x01 c", "\x02", "d\x03"]
        assert words([*answers, *marks], rule) == [*alone, *(words([mark], rule)[0] for mark in marks)]
    assert words([], SQUAD) == []
    assert words([""], SQUAD) == [[]]


def test_the_small_form_of_a_letter_depends_on_its_own_answer_only():
    """A Greek sigma at the end of a word has another small form; the next answer is no part of the word."""
    assert words(["ΟΔΟΣ", "ΟΔΟΣ", "Σ", "ΑΣΑ"], SQUAD) == [["οδος"], ["οδος"], ["σ"], ["ασα"]]


@pytest.mark.parametrize(
    ("language", "golds", "answer", "expected"),
    [
        ("en", ["the Eiffel Tower"], "Eiffel tower!", (100, 100)),
        ("zh", ["北京市"], "北京", (80, 0)),  # 2 of 2 characters, 2 of 3
        ("zh", ["北京市"], "京北市", (100, 0)),  # a bag of characters
        ("es", ["la"], "el", (0, 100)),  # both are nothing: exact match 1, F1 0
        ("ar", ["ال"], "", (0, 100)),
        ("hi", ["। ।"], "", (0, 100)),
        ("vi", ["cái"], "nhà", (0, 0)),
        ("de", ["der Hund", "ein Hund bellt"], "Hund bellt", (100, 100)),  # the best gold
        ("de", ["Hund"], "", (0, 0)),
        ("de", ["Hund"], None, (0, 0)),
    ],
)
def test_mlqa(language, golds, answer, expected):
    pairs = mlqa([golds], [answer], language)
    assert (value(pairs["f1"]), value(pairs["exact_match"])) == pytest.approx(expected)


def test_a_task_names_its_rule():
    examples = [{"answers": [{"text": "北京市", "start": 0}]}]
    assert value(score("span_qa", examples, ["北京"])["f1"]) == 0
    assert value(score("span_qa", examples, ["北京"], language="zh")["f1"]) == 0, "the kind's own rule has no languages"
    assert value(score("span_qa", examples, ["北京"], language="zh", rule="mlqa")["f1"]) == pytest.approx(80)
    with pytest.raises(ConfigError, match="Unknown scorer 'mlqs'"):
        score("span_qa", examples, ["北京"], language="zh", rule="mlqs")


@pytest.mark.parametrize("language", ["fr", "th", ""])
def test_a_language_that_mlqa_has_no_rule_for(language):
    with pytest.raises(ConfigError, match=f"Unknown language '{language}' in MLQA's scorer"):
        mlqa_rule(language)


def test_f1_of_words():
    assert word_f1(list("aab"), list("aac")) == pytest.approx(2 / 3)  # a twice in both
    assert word_f1(list("aab"), list("ab")) == pytest.approx(4 / 5)
    assert word_f1(list("ab"), list("cd")) == 0
    assert word_f1([], []) == 0


def test_compare_is_symmetric_in_one_gold_and_one_answer():
    rng = random.Random(0)
    texts = [" ".join(rng.choice("a b the c. d".split()) for _ in range(rng.randrange(6))) for _ in range(200)]
    golds, answers = texts[:100], texts[100:]
    assert compare([[gold] for gold in golds], answers, SQUAD) == compare([[each] for each in answers], golds, SQUAD)
    best, exact = compare([golds] * 100, answers, SQUAD)
    for at in range(0, 100, 7):
        alone = compare([[gold] for gold in golds], [answers[at]] * 100, SQUAD)
        assert (best[at], exact[at]) == tuple(map(max, alone)), "the best over gold answers, each for itself"
