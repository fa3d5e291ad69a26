"""What a row of the tasks says: a data set, its splits, how it is read, answered and scored."""

import dataclasses
import functools
from collections.abc import Mapping

UPOS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
NLI = ("contradiction", "entailment", "neutral")

UNKNOWN = "-"  # a count that is not published, among counts that are

# What is known to be wrong in a publisher's own files, and what a reader does about it. It counts each case.
FAULTS = {
    "offsets": "an answer that does not stand where its offset says is taken where it stands nearest; "
    "one that is nowhere in the context has start -1: its text still counts when answers are scored",
    "ids": "ids repeat: the number of the example stands in for them",
    "blank": "a text may be blank",
    "answers": "a blank answer that stands beside another is left out",
    "rows": "a row that is not what the format promises is left out",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Where a split lies: a path below the data folder, or for the world a name and a size.

    A path may have the places {language}, {iso3}, {name} of the language's row, {english} for that name in small
    letters, and {side} for two files that are parallel. Files that are read together are divided by a space; `a.zip/b`
    is the member b of a.zip.
    `examples` is what its publisher counts: one number for every language, or one for each in their order, "-"
    where it is not known. Rows without an agreed label are not counted.
    `labels` are "there", or "withheld": then there are predictions to hand in and nothing to score.
    `tfds` is the data set and split of tensorflow-datasets that has the same examples, "name:version/split".
    `among` is the split whose texts, in all its languages together, the queries of this one are searched among.
    """

    path: str
    languages: str
    examples: str = ""
    labels: str = "there"
    tfds: str = ""
    among: str = ""

    def published(self, code: str) -> int | None:
        """Returns how many examples the publisher counts in a language; None if that is not known."""
        counts = self.examples.split()
        if len(counts) > 1:
            counts = counts[self.languages.split().index(code) :]
        return int(counts[0]) if counts and counts[0] != UNKNOWN else None


@dataclasses.dataclass(frozen=True)
class Task:
    """One data set. `reader` names the parser in `data/sources.py`; `labels` the words of its answers.

    `fields` says where a reader of records finds each field of the kind: the name of a column, the number of a
    column where a table has no header, "a.b" for b inside a, or words around columns in braces: "{context}
    {question}". `choices` are several columns with spaces between, or one that holds a list. Three more may be there:
    `id`, else the number of the record is the id; `language`, the column that says whose record it is; `source`, the
    columns of the text that this one was translated from.
    `words` maps the file's words for labels to those of `labels`, or to the number of the right choice, from 0; a
    label that no word maps to is its own word, and a word that maps to "" means that there is no agreed label, so that
    its row is left out.
    `choices` is how many choices every question has; `unanswerable` says that some questions have no answer.
    `faults` are names of FAULTS.
    Tasks with the same `head` are answered by the same head of a model; "" is a head of the task's own.
    `scorer` is the rule its answers are scored by, "" for the kind's. `train_from` are the training cells that
    its benchmark prescribes for it. `codes` are the publisher's codes of languages where they are not ours.
    `licence` and `source` say on what terms and where it is published.
    """

    name: str
    kind: str
    reader: str
    splits: Mapping[str, Split]
    labels: tuple[str, ...] = ()
    pivot: str = "en"
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    choices: int = 0
    unanswerable: bool = False
    faults: str = ""
    head: str = ""
    scorer: str = ""
    train_from: str = ""
    codes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    licence: str = ""
    source: str = ""

    @property
    def head_name(self) -> str:
        """Returns the name of the head that answers the task."""
        return self.head or self.name

    @functools.cached_property
    def number_of(self) -> Mapping[str, int]:
        """Returns the number of each label. A lookup in `labels` itself takes long where there are 1,363 of them."""
        return {label: number for number, label in enumerate(self.labels)}
