"""Submissions made up for tests: every task and language of a benchmark, right, wrong and awkward answers.

The same on every version of Python and NumPy, because the numbers are drawn by a few lines of our own. What answers
are made of is chosen to tell scorers apart: articles of every language, punctuation of every script, full-width
characters, letters whose small form is longer, marks apart from their letters, white space that is not a blank,
answers of nothing and no answer at all, several gold answers, adjacent equal tags, pairs that are said twice, and
blank lines.
"""

import json
import pathlib
from collections.abc import Sequence

from xling_jax.tables.benchmarks import Benchmark, Entry
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import TASKS


class Draw:
    """A linear congruential generator (Knuth's multiplier)."""

    def __init__(self, *names):
        self.state = 0
        for character in " ".join(map(str, names)):
            self.state = self._next(self.state + ord(character))

    @staticmethod
    def _next(state: int) -> int:
        return (state * 6364136223846793005 + 1442695040888963407) % 2**64

    def below(self, count: int) -> int:
        self.state = self._next(self.state)
        return (self.state >> 33) % count

    def one(self, choices: Sequence):
        return choices[self.below(len(choices))]

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent


# First and last letter.
LETTERS = {
    "Latin": "az",
    "Arabic": "اي",
    "Cyrillic": "ая",
    "Bengali": "কহ",
    "Greek": "αω",
    "Gujarati": "કહ",
    "Hebrew": "את",
    "Devanagari": "कह",
    "Japanese": "ぁん",
    "Georgian": "აჰ",
    "Hangul": "가힣",
    "Malayalam": "കഹ",
    "Myanmar": "ကအ",
    "Gurmukhi": "ਕਹ",
    "Tamil": "கஹ",
    "Telugu": "కహ",
    "Thai": "กฮ",
    "Han": "一龥",
}
ARTICLES = (
    "a an the The un una unos el la los las ein eine der die das dem của là cái chiếc những ال الكتاب بالقلم"
).split()
ODD = (
    *"3 1990 ３０００ ²³ ½ ß ẞ İ Σ ΟΔΟΣ ǅ ﬁ é 龦 龥 々 〇 カタカナ ー 𠀀 𠮷 नहीं กำ ເ ក".split(),
    "cái",  # the same letters as an article, the mark apart
    "e\u0301",
    "\u200b",
    "a_the",
    "the-end",
    "$5",
    "C++",
    "¿qué?",
    "«un»",
    "“der”",
    "3，000。",
    "؟،",
    "।",
    "—",
    "...",
    "_",
    "\x00",
    "\x85",
)
JOINS = (" ", " ", " ", "", "  ", "\u3000", "\u00a0", "\n", "\t", ", ", "-", "。")


def word(draw: Draw, code: str) -> str:
    """Returns a word in the language's script; few, so that answers share some."""
    first, last = LETTERS[LANGUAGES[code].script]
    size = ord(last) - ord(first) + 1
    if not LANGUAGES[code].spaced:
        return chr(ord(first) + draw.below(12) % size)
    mine = Draw(code, draw.below(12))
    text = "".join(chr(ord(first) + mine.below(size)) for _ in range(1 + mine.below(6)))
    return text.capitalize() if draw.chance(20) else text


def text(draw: Draw, code: str) -> str:
    parts = [""]
    for _ in range(draw.below(6)):
        kind = draw.below(10)
        part = word(draw, code) if kind < 6 else draw.one(ARTICLES) if kind < 8 else draw.one(ODD)
        parts += [draw.one(JOINS), part] if parts[1:] else [part]
    return "".join(parts)


def answer(draw: Draw, code: str, golds: Sequence[str]) -> str:
    """Returns a gold answer, one that is changed a little, another answer, or nothing."""
    gold = draw.one(golds)
    changed = (
        gold,
        gold,
        gold.upper(),
        f"the {gold}",
        f"{gold}.",
        f"（{gold}）",
        f"{gold} {word(draw, code)}",
        gold[: len(gold) // 2],
        " ".join(reversed(gold.split())),
        text(draw, code),
        "",
        draw.one(ARTICLES),
    )
    return draw.one(changed)


def ends(draw: Draw, lines: Sequence[str], last: str = "\n") -> str:
    """Returns lines with one of the ends of lines that there are, and with or without the last one."""
    end = draw.one(("\n", "\n", "\n", "\r\n"))
    return end.join(lines) + (last.replace("\n", end) if draw.chance(80) else "")


def labels(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    words = TASKS[entry.task].labels
    golds = [draw.one(words) for _ in range(size)]
    said = [gold if draw.chance(60) else draw.one(words) for gold in golds]
    padded = [f" {each}" if draw.chance(5) else f"{each}  " if draw.chance(5) else each for each in said]
    return ends(draw, golds), ends(draw, padded)


def tags(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    """Returns runs of few tags; changed tags, also 'O', and sentences without a word in both files."""
    words = TASKS[entry.task].labels
    golds: list[str] = []
    said: list[str] = []
    for _ in range(size):
        few = [draw.one(words) for _ in range(1 + draw.below(4))]
        for _ in range(draw.below(12) if draw.chance(95) else 0):
            golds.append(draw.one(few))
            said.append(golds[-1] if draw.chance(70) else "O" if draw.chance(10) else draw.one((*few, *words)))
        golds.append("")
        said.append("")
    golds.append(words[0])
    said.append(words[0])
    return ends(draw, golds, "\n\n"), ends(draw, said, "\n\n" if draw.chance(50) else "\n")


def numbers(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    golds = [str(draw.below(1000)) for _ in range(size)]
    return ends(draw, golds), ends(draw, [gold if draw.chance(50) else str(draw.below(1000)) for gold in golds])


def pairs(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    """Returns pairs, some of them twice, and blank lines that are in one file, in both, or in none."""
    golds = [f"{code}-{draw.below(size)}\ten-{draw.below(size)}" for _ in range(size)]
    said = [draw.one(golds) if draw.chance(50) else f"{code}-{draw.below(size)}\ten-0" for _ in range(size)]
    for each in (golds, said):
        each.extend([*[""] * draw.below(3), draw.one(each)])
    return ends(draw, golds), ends(draw, said)


def choices(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    golds = [draw.below(2) for _ in range(size)]
    rows = [
        {"premise": word(draw, code), "question": "cause", "label": gold, "idx": at} for at, gold in enumerate(golds)
    ]
    said = [{"label": gold if draw.chance(60) else 1 - gold} for gold in golds]
    return tuple(ends(draw, [json.dumps(row, ensure_ascii=draw.chance(50)) for row in each]) for each in (rows, said))


def answers(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    questions = []
    named = {}
    for number in range(size):
        golds = [text(draw, code) for _ in range(1 + draw.below(3))]
        golds += golds[:1] * draw.below(2)
        said = [{"text": gold, "answer_start": 0} for gold in golds]
        questions.append({"id": f"{code}-{number}", "question": "?", "answers": said})
        if number == 0 or draw.chance(95):
            named[f"{code}-{number}"] = answer(draw, code, golds)
    paragraphs = [{"context": "", "qas": questions[at : at + 3]} for at in range(0, size, 3)]
    document = {"version": "1.1", "data": [{"title": code, "paragraphs": [each]} for each in paragraphs]}
    as_ascii = draw.chance(50)
    return tuple(json.dumps(each, ensure_ascii=as_ascii, indent=draw.one((None, 1))) for each in (document, named))


def rankings(draw: Draw, entry: Entry, code: str, size: int) -> tuple[str, str]:
    """Returns one gold entity of a mention, and rankings of none to thirty, with one twice; some have none."""
    golds = {f"{code}{number}": [f"Q{draw.below(30)}"] for number in range(size)}
    said = {key: [f"Q{draw.below(30)}" for _ in range(draw.below(31))] for key in golds if draw.chance(95)}
    return json.dumps(golds), json.dumps(said, indent=1)


MAKERS = {
    "pair_classification": labels,
    "tagging": tags,
    "retrieval": numbers,
    "mining": pairs,
    "multiple_choice": choices,
    "span_qa": answers,
    "dual_encoder": rankings,
}
ENDINGS = {"span_qa": "json", "dual_encoder": "json", "multiple_choice": "jsonl"}


def write(row: Benchmark, seed: int, folder: pathlib.Path, size: int = 12) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes predictions and labels of a benchmark and returns their folders; LAReQA is left out.

    The published scorer fails where there is a folder of LAReQA.
    """
    sides = folder / "predictions", folder / "labels"
    for entry in row.entries:
        if not entry.groups:
            continue
        kind = TASKS[entry.task].kind
        for code in entry.languages.split():
            draw = Draw(row.name, seed, entry.name, code)
            gold, said = MAKERS[kind](draw, entry, code, size)
            for side, content in zip(sides, (said, gold), strict=True):
                path = side / entry.name / f"test-{code}.{ENDINGS.get(kind, 'tsv')}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode())
    return sides
