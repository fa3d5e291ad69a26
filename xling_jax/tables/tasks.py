"""Tasks: one row per data set. Cells, readers, heads, evaluators and coverage follow from the rows.

A cell is `task.split.language`, for example `udpos.test.ta`. Split names are ours; a row maps each to
the place where the publisher put it and to the languages that exist there.
"""

import dataclasses
from collections.abc import Mapping

from xling_jax.errors import ConfigError, choose, unknown
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import LANGUAGES, language

WHERE = "Tasks are rows of xling_jax/tables/tasks.py."

UPOS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
NLI = ("contradiction", "entailment", "neutral")
NER = tuple("O B-PER I-PER B-ANI I-ANI B-LOC I-LOC".split())

WORLD = "qen qnd qnr qms qda qdt qmg qdx"
XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh"
UDPOS_TEST = "af ar bg el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh"
TATOEBA = "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi zh"


@dataclasses.dataclass(frozen=True)
class Split:
    """Where a split lies: a path below the data folder, or for the world a name and a size.

    `examples` is what its publisher counts: one number for every language, or one for each in their order.
    `labels` are "there", or "withheld": then there are predictions to hand in and nothing to score.
    `tfds` is the data set and split of tensorflow-datasets that has the same examples, "name:version/split".
    """

    path: str
    languages: str
    examples: str = ""
    labels: str = "there"
    tfds: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """One data set. `reader` names the parser in `data/sources.py`; `labels` the words of its answers.

    `fields` says where a reader of records finds each field of the kind: {"text": "sentence1"}, or the number
    of a column where a table has no header. `words` maps the file's words for labels to those of `labels`.
    Tasks with the same `head` are answered by the same head of a model; "" is a head of the task's own.
    `scorer` is the rule its answers are scored by, "" for the kind's. `train_from` are the training cells that
    its benchmark prescribes for it. `licence` and `source` say on what terms and where it is published.
    """

    name: str
    kind: str
    reader: str
    splits: Mapping[str, Split]
    labels: tuple[str, ...] = ()
    pivot: str = "en"
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    head: str = ""
    scorer: str = ""
    train_from: str = ""
    licence: str = ""
    source: str = ""

    @property
    def head_name(self) -> str:
        """Returns the name of the head that answers the task."""
        return self.head or self.name


def _world(name: str, kind: str, train: int, test: int, labels: tuple[str, ...] = ()) -> Task:
    sizes = {"train": train, "dev": test, "test": test}
    splits = {split: Split(str(size), WORLD) for split, size in sizes.items() if size}
    return Task(name, kind, "world", splits, labels, pivot="qen")


_ROWS = (
    # The generated world. A split's path is its size: examples per language.
    _world("world_text", "mlm", train=20_000, test=0),
    _world("world_nli", "pair_classification", train=12_000, test=500, labels=NLI),
    _world("world_qa", "span_qa", train=12_000, test=500),
    _world("world_qa2", "span_qa", train=3_000, test=500),
    _world("world_pos", "tagging", train=6_000, test=300, labels=UPOS),
    _world("world_ner", "tagging", train=6_000, test=300, labels=NER),
    _world("world_choice", "multiple_choice", train=12_000, test=500),
    _world("world_parallel", "retrieval", train=0, test=256),
    # Real data, in the publishers' formats below the data folder.
    # Text of the XNLI files, to pretrain on where XNLI itself is not a target; splits are named by their files.
    Task(
        "xnli_text",
        "mlm",
        "tsv_text",
        {"test": Split("xnli/test-{language}.tsv", XNLI), "dev": Split("xnli/dev-{language}.tsv", XNLI)},
    ),
    Task(
        "mnli",
        "pair_classification",
        "jsonl_nli",
        {
            "train": Split("mnli/multinli_1.0_train.jsonl", "en"),
            "dev": Split("mnli/multinli_1.0_dev_matched.jsonl", "en"),
        },
        labels=NLI,
    ),
    Task(
        "squad",
        "span_qa",
        "squad_json",
        {
            "train": Split("squad/train-v1.1.json", "en"),
            "train44": Split("squad/train-v1.1.subset44.json", "en"),  # 44 of the 442 training articles
            "dev": Split("squad/dev-v1.1.json", "en"),
        },
    ),
    Task(
        "udpos",
        "tagging",
        "tagged_tsv",
        {
            "train": Split("udpos/train-{language}.tsv", "en"),
            "dev": Split("udpos/dev-{language}.tsv", "en lt pl ro uk wo"),
            "test": Split("udpos/test-{language}.tsv", UDPOS_TEST),
        },
        labels=UPOS,
    ),
    Task(
        "tatoeba",
        "retrieval",
        "tatoeba",
        {"test": Split("tatoeba/v1/tatoeba.{iso3}-eng.{side}", TATOEBA)},
    ),
)

TASKS = {row.name: row for row in _ROWS}


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One language of one split of one task: the unit that is prepared, trained on, evaluated."""

    task: str
    split: str
    language: str

    def __str__(self) -> str:
        return f"{self.task}.{self.split}.{self.language}"

    @property
    def row(self) -> Task:
        return TASKS[self.task]


def task(name: str, inside: str = "") -> Task:
    """Returns the row of a task name; ConfigError with suggestions if there is none."""
    return choose("task", name, TASKS, WHERE, inside)


def tasks_of_head(head: str) -> tuple[str, ...]:
    """Returns the names of the tasks that a head answers."""
    return tuple(row.name for row in TASKS.values() if row.head_name == head)


def cells(name: str, split: str, languages: str = "all", inside: str = "") -> tuple[Cell, ...]:
    """Returns the cells of a task's split in the named languages.

    Args:
      name: a task.
      split: one of the row's splits.
      languages: codes separated by spaces or '+'; "all" means every language the split exists in.
      inside: where the names come from, for the error.
    """
    row = task(name, inside)
    if split not in row.splits:
        raise unknown("split", split, row.splits, WHERE, f"task '{name}'")
    there = row.splits[split].languages.split()
    asked = there if languages == "all" else languages.replace("+", " ").split()
    for code in asked:
        language(code, inside or f"task '{name}'")
        if code not in there:
            raise unknown("language", code, there, WHERE, f"cell '{name}.{split}'")
    return tuple(Cell(name, split, code) for code in asked)


def parse_cells(text: str, inside: str = "") -> tuple[Cell, ...]:
    """Returns the cells of `task.split.language`, where language is codes joined by '+', or 'all'."""
    parts = text.split(".")
    if len(parts) != 3 or not parts[2].strip("+ "):
        raise ConfigError(
            f"'{text}'{' in ' + inside if inside else ''} is not a cell.\n"
            f"A cell is task.split.language, for example mnli.dev.en or world_qa.train.qen+qnd.\n{WHERE}"
        )
    return cells(parts[0], parts[1], parts[2], inside)


assert all(row.kind in KINDS for row in _ROWS), "a task of an unknown kind"
assert all(code in LANGUAGES for row in _ROWS for split in row.splits.values() for code in split.languages.split())
