"""Rows are valid, and the errors about rows finish the sentence."""

import collections
import dataclasses
import pathlib
import re

import pytest

from xling_jax.errors import ConfigError
from xling_jax.tables import benchmarks, kinds, languages, tasks
from xling_jax.tables.benchmarks import BENCHMARKS, benchmark
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.rows.task import FAULTS, UNKNOWN
from xling_jax.tables.tasks import TASKS, cells, parse_cells

ALL_CELLS = [cell for row in TASKS.values() for split in row.splits for cell in cells(row.name, split)]
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def repeated(words):
    return [word for word, count in collections.Counter(words).items() if count > 1]


def is_reserved(code: str) -> bool:
    """Whether a code lies in qaa-qtz, which ISO 639-2 sets aside for local use."""
    return len(code) == 3 and "qaa" <= code <= "qtz"


def sources(row: tasks.Task, cell: tasks.Cell) -> str:
    """Returns the place a cell is read from; `{side}` stays, because both sides are one cell."""
    split, language = row.splits[cell.split], LANGUAGES[cell.language]
    path = split.path or split.tfds
    places = {"language": language.code, "iso3": language.iso3, "name": language.name, "english": language.name.lower()}
    column = f", {row.fields['language']} {cell.language}" if "language" in row.fields else ""
    return path.format(**places, side="{side}") + column


@pytest.mark.parametrize(
    ("rows", "table", "key"),
    [
        (languages._ROWS, LANGUAGES, lambda row: row.code),
        (kinds._ROWS, KINDS, lambda row: row.name),
        (tasks.ROWS, TASKS, lambda row: row.name),
        (benchmarks._ROWS, BENCHMARKS, lambda row: row.name),
    ],
    ids=["languages", "kinds", "tasks", "benchmarks"],
)
def test_no_row_hides_another(rows, table, key):
    assert repeated(key(row) for row in rows) == []
    assert len(table) == len(rows)


def test_iso3_codes_are_unique():
    assert repeated(row.iso3 for row in LANGUAGES.values()) == []


@pytest.mark.parametrize("row", LANGUAGES.values(), ids=LANGUAGES)
def test_language_row(row):
    assert re.fullmatch(r"[a-z]{2,3}", row.code)
    assert re.fullmatch(r"[a-z]{3}", row.iso3)
    assert row.name and row.script and row.family
    assert set(row.pretrained_in.split()) <= {"xlmr", "mt5"}
    generated = row.family == "generated"
    assert is_reserved(row.code) == is_reserved(row.iso3) == generated, "generated codes, and only they, are in qaa-qtz"
    assert not (generated and row.pretrained_in), "no public model was pretrained in a generated language"
    assert row.resources is None or (row.resources in range(6) and not generated)


def test_resource_classes():
    """Joshi et al. 2020, table 1: how many languages the classes have; those of class 5 are named there."""
    classes = collections.Counter(row.resources for row in LANGUAGES.values())
    assert all(classes[number] <= count for number, count in {2: 19, 3: 28, 4: 18, 5: 7}.items())
    winners = [code for code, row in LANGUAGES.items() if row.resources == 5]
    assert winners == ["ar", "de", "en", "es", "fr", "ja", "zh"]
    assert {LANGUAGES[code].resources for code in ("ht", "gn", "shp")} == {None}, "the list does not settle these"


def test_reserved_codes():
    assert [code for code in ("qaa", "qen", "qtz", "qua", "que", "qu", "zh") if is_reserved(code)] == [
        "qaa",
        "qen",
        "qtz",
    ]


@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_kind_row(row):
    assert NAME.fullmatch(row.name)
    assert row.fields and not repeated(row.fields)
    assert row.metrics or row.name == "mlm", "only language modelling has no answer to score"


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_task_row(row):
    assert NAME.fullmatch(row.name)
    assert row.kind in KINDS
    assert row.pivot in LANGUAGES
    assert row.splits and all(NAME.fullmatch(split) for split in row.splits)
    assert not repeated(row.labels)
    assert bool(row.labels) == (row.kind in ("pair_classification", "tagging")), (
        "labels are words of heads that have words"
    )
    assert KINDS[row.kind].trained or "train" not in row.splits
    assert (row.choices > 1) == (row.kind == "multiple_choice"), "questions have as many choices as their row says"
    assert set(row.faults.split()) <= set(FAULTS)
    assert row.reader == "world" or (row.licence and row.source), "what may be done with it, and where it is from"


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_counts_of_a_split(row):
    """One count for all languages or one for each; and each is that of its language."""
    for name, split in row.splits.items():
        counts, codes = split.examples.split(), split.languages.split()
        assert len(counts) in (0, 1, len(codes)), name
        assert all(count == UNKNOWN or count.isdecimal() for count in counts), name
        assert split.labels in ("there", "withheld"), name
        by_hand = dict(zip(codes, counts if len(counts) > 1 else counts * len(codes), strict=bool(counts)))
        for code in codes:
            count = by_hand.get(code, UNKNOWN)
            assert split.published(code) == (None if count == UNKNOWN else int(count)), (name, code)


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_words_lead_to_labels(row):
    """A file's words mean a label, a choice by its number, or that there is no agreed label."""
    meant = set(row.labels) or {str(number) for number in range(row.choices)}
    assert set(row.words.values()) <= meant | {""}


def test_tasks_of_one_head_have_the_same_labels():
    for head in {row.head for row in TASKS.values() if row.head}:
        alike = {(row.kind, row.labels) for row in TASKS.values() if row.head == head}
        assert len(alike) == 1, head


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_what_a_benchmark_trains_on_is_the_source_language(row):
    """Zero-shot: none of the cells that a task is trained from is in a language it is evaluated in, but the source."""
    for text in row.train_from.split():
        for cell in parse_cells(text):
            assert cell.language == row.pivot, text
            assert cell.split.startswith("train"), text
            assert cell.row.kind == row.kind and (cell.row.head or cell.row.name) == (row.head or row.name), (
                "its head answers the task"
            )


# Pairs of task and language, and languages, as the published scorer counts them; LAReQA's by its own files.
@pytest.mark.parametrize(("name", "tasks", "pairs", "codes"), [("xtreme", 9, 162, 40), ("xtreme_r", 10, 203, 50)])
def test_a_benchmark_is_whole(name, tasks, pairs, codes):
    row = BENCHMARKS[name]
    assert len(row.entries) == len({entry.name for entry in row.entries}) == tasks
    assert sum(len(entry.languages.split()) for entry in row.entries) == pairs
    assert len(row.languages()) == codes
    assert not [entry.name for entry in row.entries if repeated(entry.languages.split())]


def test_groups_of_the_benchmarks():
    assert BENCHMARKS["xtreme"].groups() == {
        "classification": ("xnli", "pawsx"),
        "tagging": ("udpos", "panx"),
        "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("bucc2018", "tatoeba"),
    }
    assert BENCHMARKS["xtreme_r"].groups() == {
        "classification": ("xnli", "xcopa"),
        "multi_choice": ("xcopa",),
        "tagging": ("udpos", "panx"),
        "qa": ("xquad", "mlqa", "tydiqa"),
        "retrieval": ("mewslix", "tatoeba"),
    }


ENTRIES = [(row.name, entry) for row in BENCHMARKS.values() for entry in row.entries]


@pytest.mark.parametrize(("name", "entry"), ENTRIES, ids=[f"{name}-{entry.name}" for name, entry in ENTRIES])
def test_an_entry_has_its_cells_and_its_training(name, entry):
    row = TASKS[entry.task]
    assert len(cells(entry.task, entry.split, entry.languages)) == len(entry.languages.split())
    assert row.train_from or not KINDS[row.kind].trained, "what its benchmark trains it on"


def test_an_unknown_benchmark():
    with pytest.raises(ConfigError, match=r"Unknown benchmark 'xtreem'\.\nDid you mean: xtreme"):
        benchmark("xtreem")


def one_answer(rows) -> bool:
    """Whether one head can answer tasks: what it says means the same in all of them."""
    return len({(row.kind, row.labels) for row in rows}) == 1


@pytest.mark.parametrize("head", sorted({row.head_name for row in TASKS.values()}))
def test_tasks_of_a_head_have_one_answer(head):
    rows = [TASKS[name] for name in tasks.tasks_of_head(head)]
    assert rows and one_answer(rows), f"tasks with head '{head}' differ in kind, labels or the labels' order"


def test_labels_in_another_order_are_another_answer():
    row = TASKS["mnli"]
    assert not one_answer([row, dataclasses.replace(row, labels=row.labels[::-1])])
    assert not one_answer([row, TASKS["world_qa"]])
    assert dataclasses.replace(row, head="nli").head_name == "nli" and row.head_name == (row.head or "mnli")


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_languages_of_cells_are_rows(row):
    for name, split in row.splits.items():
        codes = split.languages.split()
        assert codes and set(codes) <= set(LANGUAGES), name
        assert not repeated(codes), f"{row.name}.{name} lists a language twice"


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_a_path_keeps_its_languages_apart(row):
    """A path for several languages has a place for the language; one for a single language needs none."""
    for name, split in row.splits.items():
        path = split.path or split.tfds
        if row.reader != "world" and len(split.languages.split()) > 1:
            assert re.search("{(language|iso3|english)}", path) or "language" in row.fields, (
                f"{row.name}.{name} reads one file for all languages"
            )
        assert set(re.findall(r"{(\w+)}", path)) <= {"language", "iso3", "name", "english", "side"}, path
        assert not pathlib.PurePosixPath(split.path).is_absolute() and ".." not in split.path


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_splits_never_share_a_source(row):
    """Not even in part: what is evaluated on was not trained on. The world draws each split from a seed of its own."""
    if row.reader == "world":
        assert all(split.path.isdecimal() for split in row.splits.values()), "a generated split's path is its size"
        return
    read = [sources(row, cell) for cell in ALL_CELLS if cell.task == row.name]
    assert repeated(read) == []


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_what_queries_are_searched_among(row):
    """Only dual encoders have such splits: candidates, which are nobody's queries."""
    for name, split in row.splits.items():
        assert not split.among or (row.kind == "dual_encoder" and not row.splits[split.among].among), name


@pytest.mark.parametrize("row", TASKS.values(), ids=TASKS)
def test_what_tensorflow_datasets_has(row):
    """A name, a version and a split; and nowhere else to read from only if the reader says so."""
    for name, split in row.splits.items():
        assert re.fullmatch(r"([\w{}/.]+:\d+\.\d+\.\d+/[\w{}-]+)?", split.tfds), name
        assert bool(split.path) == (row.reader != "tfds") and (split.path or split.tfds), name
    assert set(row.codes) <= {code for split in row.splits.values() for code in split.languages.split()}


def test_cells_name_themselves():
    assert repeated(map(str, ALL_CELLS)) == []
    assert [parse_cells(str(cell)) for cell in ALL_CELLS] == [(cell,) for cell in ALL_CELLS]


def test_languages_of_a_cell_may_be_several_or_all():
    assert list(map(str, parse_cells("udpos.dev.lt+wo"))) == ["udpos.dev.lt", "udpos.dev.wo"]
    assert parse_cells("udpos.dev.all") == cells("udpos", "dev")
    assert cells("udpos", "dev", "lt wo") == parse_cells("udpos.dev.lt+wo")
    assert parse_cells("mnli.dev.en")[0].row is TASKS["mnli"]


WHERE_TASKS = "Tasks are rows of xling_jax/tables/rows."
WHERE_LANGUAGES = "Languages are rows of xling_jax/tables/languages.py."


@pytest.mark.parametrize(
    ("text", "first", "guess", "last"),
    [
        ("mnil.dev.en", "Unknown task 'mnil' in config.stages.", "mnli", WHERE_TASKS),
        ("udpos.tset.ta", "Unknown split 'tset' in task 'udpos'.", "test", WHERE_TASKS),
        ("udpos.test.qenn", "Unknown language 'qenn' in config.stages.", "qen", WHERE_LANGUAGES),
        ("udpos.test.sw", "Unknown language 'sw' in cell 'udpos.test'.", None, WHERE_TASKS),
    ],
    ids=["task", "split", "language", "language without data"],
)
def test_errors_finish_the_sentence(text, first, guess, last):
    with pytest.raises(ConfigError) as caught:
        parse_cells(text, "config.stages")
    asked, found, where = str(caught.value).splitlines()
    assert caught.value.exit_code == 2
    assert asked == first
    assert re.search(r"Known: .+ \(\d+ [a-z]+s\)\.$", found)
    assert guess is None or re.match(rf"Did you mean: [^?]*\b{guess}\b[^?]*\? ", found)
    assert where == last


@pytest.mark.parametrize("text", ["", "mnli", "mnli.dev", "mnli.dev.", "mnli.dev.+", "mnli.dev.en.extra"])
def test_what_is_not_a_cell(text):
    with pytest.raises(ConfigError, match=r"is not a cell\.\nA cell is task\.split\.language") as caught:
        parse_cells(text)
    assert caught.value.exit_code == 2
