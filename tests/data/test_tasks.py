"""Every labelled task on raw examples in its published format: read, formatted, answered.

The examples lie in `tests/data/examples`, laid out as a data folder. They are made up. Two things are packed here
rather than there, so that all of them can be read: folders named `*.zip`, and files named `*.bz2`.
"""

import bz2
import collections
import pathlib
import re
import shutil
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import speaking

from xling_jax.data.formats import format_of, format_of_part
from xling_jax.data.readers.squad import _nearest
from xling_jax.data.sources import faults, is_there, load_files, paths, read
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.scoring.answers import tag_words
from xling_jax.scoring.metrics import score, value
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.prompts import PROMPTS
from xling_jax.tables.tasks import TASKS, cells, parse_cells

EXAMPLES = pathlib.Path(__file__).parent / "examples"
LENGTH = 96
KINDS_HERE = ("pair_classification", "multiple_choice", "span_qa", "tagging")
ROWS = [name for name, row in TASKS.items() if row.kind in KINDS_HERE and row.reader != "world"]


IN_ONE_FILE = {"americasnli": ("aym", "gn", "nah")}  # languages that the example of a row for several has


def every_cell(name):
    return [cell for split in TASKS[name].splits for cell in cells(name, split)]


def cells_there(name, folder, labels):
    """Returns the cells of a row that the examples have, of splits whose labels are as asked."""
    row = TASKS[name]
    some = [cell for cell in every_cell(name) if row.splits[cell.split].labels == labels and is_there(cell, folder)]
    return [cell for cell in some if cell.language in IN_ONE_FILE.get(name, (cell.language,))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns the data folder that the examples make, with what is packed in a publication packed."""
    made = tmp_path_factory.mktemp("data")
    shutil.copytree(EXAMPLES, made, dirs_exist_ok=True)
    for path in list(made.rglob("*.zip")):
        shutil.move(path, path.with_suffix(".unpacked"))
        shutil.make_archive(str(path.with_suffix("")), "zip", path.with_suffix(".unpacked"))
    for path in made.rglob("*.bz2"):
        path.write_bytes(bz2.compress(path.read_bytes()))
    return made


@pytest.fixture(scope="module")
def letters():
    """Returns a tokenizer that makes a piece of every character of the examples, so that every answer is reachable."""
    text = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*") if path.is_file())
    seen = sorted({character for character in text if not character.isspace()})
    return PieceTokenizer([*seen, *(f"##{character}" for character in seen)])


def answer(features, example, row):
    """Returns what a head that is always right would answer, from the labels in an example's features alone."""
    if row.kind == "span_qa":
        for feature in features:
            if feature["start"] > 0:
                return example["context"][feature["spans"][feature["start"], 0] : feature["spans"][feature["end"], 1]]
        return ""
    if row.kind == "tagging":
        label, word = (np.concatenate([feature[name] for feature in features]) for name in ("labels", "word"))
        return tag_words(label, word, word >= 0, len(example["tokens"]), row.labels)
    (feature,) = features
    return int(feature["label"]) if row.kind == "multiple_choice" else row.labels[int(feature["label"])]


def another(right, row):
    """Returns a wrong answer."""
    if row.kind == "span_qa":
        return "x"
    if row.kind == "tagging":
        return [next(label for label in row.labels if label != right[0]), *right[1:]]
    if row.kind == "multiple_choice":
        return (right + 1) % row.choices
    return next(label for label in row.labels if label != right)


def labels_of(example):
    return [example[name] for name in ("label", "tags", "answers") if name in example]


@pytest.mark.parametrize("name", ROWS)
def test_gold_answers_are_right_and_others_are_not(name, folder, letters):
    row = TASKS[name]
    labelled = cells_there(name, folder, "there")
    assert labelled, f"tests/data/examples has no file of {name}, for example {paths(every_cell(name)[0])}"
    for cell in labelled:
        examples = list(read(cell, folder))
        assert len(examples) >= 2
        assert all({"id", *KINDS[row.kind].fields} == example.keys() - {"source_id"} for example in examples)
        features = [format_of(row.kind).features(example, letters, LENGTH, row) for example in examples]
        gold = [answer(made, example, row) for made, example in zip(features, examples, strict=True)]
        for number, example in enumerate(examples):
            if example.get("answers") == []:  # SQuAD v1.1's scorer knows no such question
                assert gold[number] == "" and all(f["start"] == f["end"] == 0 for f in features[number])
        kept = [number for number, example in enumerate(examples) if example.get("answers") != []]
        examples, gold = ([some[number] for number in kept] for some in (examples, gold))
        metric = KINDS[row.kind].metrics[0]
        assert value(score(row.kind, examples, gold)[metric]) == 100.0, cell
        for number in range(len(gold)):
            wrong = [*gold[:number], another(gold[number], row), *gold[number + 1 :]]
            assert value(score(row.kind, examples, wrong)[metric]) < 100.0, f"{cell}: example {number}"


@pytest.mark.parametrize("name", [name for name in ROWS if "withheld" in str(TASKS[name].splits)])
def test_labels_that_are_withheld_are_no_labels(name, folder, letters):
    row = TASKS[name]
    blind = cells_there(name, folder, "withheld")
    assert blind, f"tests/data/examples has no split of {name} without labels"
    for cell in blind:
        examples = list(read(cell, folder))
        assert [labels_of(example) for example in examples] == [[None]] * len(examples) and examples
        for example in examples:
            (feature,) = format_of(row.kind).features(example, letters, LENGTH, row)
            labels = feature.get("label", feature.get("start", feature.get("labels")))
            assert (labels == -1).all()
        with pytest.raises(DataError, match=f"of {len(examples)} examples are withheld"):
            score(row.kind, examples, ["0"] * len(examples))


# What stands in the examples, field by field, where the row does more than name a column.
SHOWN = {
    "hellaswag.dev.en": {"id": "24", "text": "Baking bread: A woman kneads dough. she", "label": 2},
    "hellaswag.dev_text.en": {"id": "1", "text": "Baking bread: A woman kneads dough. she", "label": 2},
    "xcopa.test.th": {
        "id": "0",
        "text": "แก้วตกจากโต๊ะ What was the effect?",
        "choices": ["แก้วแตก", "แก้วร้องเพลง"],
    },
    "copa.dev.en": {"text": "The glass fell from the table. What was the effect?"},
    "siqa.train.en": {
        "text": "Mia lent Tom her umbrella. How would Tom feel?",
        "choices": ["thankful", "angry", "wet"],
    },
    "cosmosqa.dev.en": {"text": "I missed the bus , so I walked . Why did I walk ?", "label": 1},
    "commonsenseqa.dev.en": {"choices": ["pen", "river", "cloud", "shoe", "bread"], "label": 0},
    "xstorycloze.test.zh": {"text": "小明想学骑车。 他借了一辆车。 他摔了很多次。 他没有放弃。", "label": 0},
    "pawsx.test.ko": {"text": "다리는 1900년 이후 에이다가 지었다 .", "label": "1"},
    "cxnli.dev.hr": {"text": 'Rekao je: "Evo me, mama."'},
    "kornli.dev.ko": {"text": '그가 말했다, "나 왔어."'},
    "americasnli.dev.gn": {"id": "gn.1", "label": "contradiction"},
    "anli_r2.dev.en": {"id": "r2-a", "label": "contradiction"},
    "xnli_eu.test.eu": {"label": "contradiction"},
    "ccg.dev.en": {"tokens": ["Birds", "sing", "."], "tags": ["0", "1", "3"]},
    "ud_ewt.dev.en": {"id": "web-1", "tokens": ["Do", "n't", "go", "."], "tags": ["AUX", "PART", "VERB", "PUNCT"]},
    "ud_pud.test.ar": {"id": "n01"},
    "ud_pud.test.zh": {"id": "n01"},
}


@pytest.mark.parametrize("text", SHOWN)
def test_what_a_row_makes_of_a_record(text, folder):
    (cell,) = parse_cells(text)
    first = next(read(cell, folder))
    assert {name: first[name] for name in SHOWN[text]} == SHOWN[text]


# How often each known fault of a publisher's files stands in the examples, and what is left of the rows.
FAULTS_SHOWN = {
    "americasnli.dev.nah": ({"blank texts": 1}, 2),
    "indonli.dev.id": ({"ids that repeat": 1}, 3),
    "parsinlu_choice.dev.fa": ({"blank texts": 1}, 2),
    "xnli_translated.train.th": ({"rows left out": 1}, 2),
    "pawsx_translated.train.ja": ({"rows left out": 1}, 2),
    "tydiqa.train.en": ({"ids that repeat": 1}, 2),
    "cmrc2018.dev.zh": ({"answers moved": 1, "answers not in their context": 1}, 2),
    "squad_translated.train.zh": ({"answers moved": 1}, 2),
    "parsinlu_qa.test.fa": ({"blank answers left out": 1}, 2),
}


@pytest.mark.parametrize("text", FAULTS_SHOWN)
def test_known_faults_are_counted(text, folder):
    (cell,) = parse_cells(text)
    counted, left = FAULTS_SHOWN[text]
    assert faults(cell, folder) == counted
    examples = list(read(cell, folder))
    assert len(examples) == len({example["id"] for example in examples}) == left


def test_an_answer_is_moved_to_where_it_stands_nearest(folder):
    examples = {example["id"]: example for example in read(*parse_cells("cmrc2018.dev.zh"), folder)}
    first, second = examples["DEV_0_QUERY_0"], examples["DEV_0_QUERY_1"]
    assert [first["context"][answer["start"] :][: len(answer["text"])] for answer in first["answers"]] == [
        "1820年",
        "建于1820年",
    ]
    assert [answer["start"] for answer in second["answers"]] == [second["context"].index("黑麦"), -1]
    assert score("span_qa", [second], ["磨坊磨黑麦。"])["f1"].tolist() == [[1.0, 1.0]], "its words still count"


@pytest.mark.parametrize(
    ("start", "nearest"),
    [(0, 0), (1, 0), (2, 0), (3, 4), (6, 4), (7, 8), (30, 8), (-1, 0)],  # of two as near, the first
)
def test_the_nearest_of_several_places(start, nearest):
    assert _nearest("ab..ab..ab", "ab", start) == nearest
    assert _nearest("ab..ab..ab", "ba", start) == -1


@pytest.mark.parametrize(
    ("task", "split", "here", "there"),
    [("xnli_translated", "train", "th", "ar"), ("squad_translated", "train", "th", "zh")],
)
def test_translations_of_one_example_have_one_source(task, split, here, there, folder):
    """Also where the files are not in the same order."""
    sides = [list(read(*cells(task, split, code), folder)) for code in (here, there)]
    sources = [[example["source_id"] for example in side] for side in sides]
    assert sources[0] != sources[1] and sorted(sources[0]) == sorted(sources[1])
    assert len(set(sources[0])) == len(sources[0])
    if task == "xnli_translated":
        labels = [{example["source_id"]: example["label"] for example in side} for side in sides]
        assert labels[0] == labels[1]


def test_quotation_marks_that_a_table_needs_are_not_text(folder):
    for split in ("test", "test_blind"):
        texts = [example["text"] for example in read(*cells("pawsx", split, "ko"), folder)]
        assert texts == ["다리는 1900년 이후 에이다가 지었다 .", '에이다는 "벤"을 만났다 .']


def test_parallel_files_have_the_same_ids(folder):
    for text in ("xnli.test.en+th+ar+zh", "xquad.test.en+th+zh+ar", "pawsx.test.en+ja+ko", "xcopa.test.th+qu"):
        ids = {tuple(example["id"] for example in read(cell, folder)) for cell in parse_cells(text)}
        assert len(ids) == 1, text


def test_the_examples_are_all_of_rows():
    """A file that no row reads is a mistake in one of the two."""
    known = {path.split(".zip/")[0] for name in TASKS for cell in every_cell(name) for path in paths(cell)}
    lying = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert {path.split(".zip/")[0] for path in lying} <= known


# --- bad input -----------------------------------------------------------------------------------------------------


def broken(folder, tmp_path, text, change):
    """Returns the error of reading a cell whose first file `change` has changed, and that file's path."""
    (cell,) = parse_cells(text)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / paths(cell)[0]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        list(read(cell, tmp_path))
    return str(caught.value).replace(str(path), "FILE")


def put(old, new, count=1):
    def change(data):
        assert old.encode() in data, "the example has changed"
        return data.replace(old.encode(), new.encode(), count)

    return change


def cut(share):
    return lambda data: data[: int(len(data) * share)]


BAD = [
    ("qqp.dev.en", put("7\t1\t2\t", "7\t1\t"), "FILE:2: 5 columns, 0 of them empty"),
    ("qqp.dev.en", put("\tis_duplicate", "\tlabel"), "FILE:2: no field 'is_duplicate'"),
    ("qqp.dev.en", put("\t1\n", "\t2\n"), "FILE:2: label '2'"),
    ("qqp.dev.en", put("\n8\t", "\n7\t"), "FILE:3: id '7' of line 2 again"),
    ("qqp.dev.en", lambda data: data.split(b"\n")[0], "FILE:1: no example for cell qqp.dev.en"),
    ("qqp.dev.en", lambda data: b"", "FILE:1: the file is empty"),
    ("qqp.dev.en", lambda data: data.replace(b"sky", b"\xffky"), "FILE:3: byte 0xff is not UTF-8"),
    ("xnli.test.th", lambda data: data.replace(b"\tentailment", b""), "FILE:1: 2 columns"),
    ("xnli.test.th", put("\tentailment", ""), "XTREME's own download leaves the labels"),
    ("xnli.test.th", put("entailment", "entails"), "FILE:1: label 'entails'"),
    ("xnli.test.th", put("เขาอยู่ที่บ้าน", " "), "FILE:1: field '1' is blank"),
    ("anli_r1.dev.en", put('"e"', '"x"'), "FILE:1: label 'x'"),
    ("anli_r1.dev.en", put('"label": "e", ', ""), "FILE:1: no field 'label'"),
    ("anli_r1.dev.en", put("r1-b", "r1-a"), "FILE:2: id 'r1-a' of line 1 again"),
    ("anli_r1.dev.en", cut(0.9), "FILE:2: column"),
    ("klue_nli.dev.ko", cut(0.7), "FILE:"),
    ("klue_nli.dev.ko", lambda data: b"{}", "FILE: document: {}"),
    ("klue_nli.dev.ko", lambda data: b"[3]", "FILE: element 1: 3"),
    ("klue_nli.dev.ko", put("dev_00001", "dev_00000"), "FILE: element 2: id"),
    ("klue_nli.dev.ko", put('"neutral"', '"no"'), "FILE: element 2: label 'no'"),
    ("cxnli.dev.hr", put('"Kiša, snijeg\ni vjetar."', '"Kiša, snijeg'), "FILE:3: unexpected end of data"),
    ("cxnli.dev.hr", put(",Sunčano je.", ""), "FILE:3: 5 columns"),
    ("cxnli.dev.hr", put("contradiction", "c"), "FILE:3: label 'c'"),
    ("commonsenseqa.dev.en", put('{"label": "E", "text": "bread"}', ""), "FILE:1: column"),
    ("commonsenseqa.dev.en", put(', {"label": "E", "text": "bread"}', ""), "FILE:1: 4 choices"),
    ("commonsenseqa.dev.en", put('"answerKey": "A"', '"answerKey": ""'), "FILE:1: label ''"),
    ("commonsenseqa.dev.en", put(', "answerKey": "A"', ""), "FILE:1: no field 'answerKey'"),
    ("hellaswag.dev.en", put('"label": 2', '"label": 4'), "FILE:1: label '4'"),
    ("hellaswag.dev.en", put('"label": 2', '"label": -1'), "FILE:1: label '-1'"),
    ("hellaswag.dev.en", put('"label": 2', '"label": ""'), "FILE:1: label ''"),
    ("hellaswag.dev.en", put('["flies away.", ', "["), "FILE:1: 3 choices"),
    ("hellaswag.dev_text.en", cut(0.5), "FILE is not a whole .bz2 file"),
    ("siqa.dev.en", put('"correct": "A"', '"correct": "0"'), "FILE:1: label '0'"),
    ("xcopa.test.th", put('"label": 0', '"label": 2'), "FILE:1: label '2'"),
    ("parsinlu_choice.dev.fa", put('"answer": "2"', '"answer": "0"'), "FILE:1: label '0'"),
    ("squad2.dev.en", put('"is_impossible": true', '"is_impossible": false'), "question 'v2': no answer"),
    ("squad2.dev.en", put('"is_impossible": false', '"is_impossible": true'), "'v1': 1 answers to a question"),
    ("korquad.dev.ko", put('"answer_start": 9', '"answer_start": 8'), "question '65-0-0': answer"),
    ("jsquad.dev.ja", put('"text": "ライ麦"', '"text": ""'), "question 'a1p0q1': answer ''"),
    ("tydiqa.test.te", put('"text": "రై"', '"text": ""'), "XTREME's own download"),
    ("xquad.test.ar", put('"x2"', '"x1"'), "question 'x1': this id is there twice"),
    ("xquad.test.ar", cut(0.6), "FILE:"),
    ("ud_ewt.dev.en", put("3\tgo\t_\t", "3\tgo\t"), "FILE:6: 9 columns"),
    ("ud_ewt.dev.en", put("3\tgo", "4\tgo"), "FILE:6: word '4'"),
    (
        "ud_ewt.dev.en",
        put("\tVERB\t_\t_\t0\tdep\t_\tSpaceAfter", "\tVB\t_\t_\t0\tdep\t_\tSpaceAfter"),
        "FILE:6: tag 'VB'",
    ),
    ("ud_ewt.dev.en", put("web-2", "web-1"), "FILE:9: sent_id 'web-1' of line 1 again"),
    ("ud_ewt.dev.en", put("5.1\t", "9.1\t"), "FILE:16: word '9.1'"),
    ("ud_ewt.dev.en", put("# sent_id", "# a comment\n\n# sent_id"), "FILE:1: a sentence without words"),
    ("panx.dev.gu", put("B-PER", "PER"), "FILE:1: tag 'PER'"),
    ("panx.dev.gu", put("\tB-PER", ""), "XTREME's own download"),
    ("ccg.dev.en", put("\tS\\NP", "\tS/NP"), "FILE:2: category 'S/NP'"),
    ("ccg.dev.en", put("\tS\\NP", ""), "FILE:2: 1 column"),
]


@pytest.mark.parametrize(("text", "change", "message"), BAD, ids=range(len(BAD)))
def test_a_broken_file_is_one_error_with_its_place(text, change, message, folder, tmp_path):
    found = broken(folder, tmp_path, text, change)
    assert message in found and "FILE" in found.splitlines()[0]
    assert found.splitlines()[-1].startswith(("Allowed: ", "Copy it again"))


def test_labels_beside_must_be_as_many(folder, tmp_path):
    (cell,) = parse_cells("siqa.train.en")
    plain = tmp_path / "siqa/socialiqa-train-dev.zip"
    shutil.copytree(EXAMPLES / "siqa/socialiqa-train-dev.zip", tmp_path / "siqa/inside")
    (tmp_path / "siqa/inside/socialiqa-train-dev/train-labels.lst").write_text("1\n")
    shutil.make_archive(str(plain.with_suffix("")), "zip", tmp_path / "siqa/inside")
    with pytest.raises(DataError, match=r"train-labels\.lst:2: 1 labels for the 2 lines"):
        list(read(cell, tmp_path))
    plain.write_bytes(plain.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"zip has no whole member"):
        list(read(cell, tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [("NP\nNP\n", ":2: category 'NP' again"), ("NP\n\n.\n", ":2: a blank line")],
)
def test_categories_differ(content, message, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "ccg/categories.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        list(read(*parse_cells("ccg.dev.en"), tmp_path))
    (tmp_path / "ccg/categories.txt").write_text("".join(f"X{n}\n" for n in range(1364)))
    with pytest.raises(DataError, match=r":1364: category 'X1363'.\nAllowed: at most 1363 categories"):
        list(read(*parse_cells("ccg.dev.en"), tmp_path))


# --- the real files ------------------------------------------------------------------------------------------------

# Files that hold less than their publisher's count: parts of a split, or rows whose labels could not be restored.
IN_PART = {
    "anli_r3.dev.en": 1198,
    "qqp.train.en": 1802,
    "qqp.dev.en": 1202,
    **dict.fromkeys([f"pawsx.test.{code}" for code in ("en", "es", "fr", "ja", "ko")], 1983),
}
# Known faults of the publishers' files, as often as they are met.
FAULTS_MET = {
    "americasnli.test.nah": {"blank texts": 3},
    "arcd.test.ar": {"answers not in their context": 3},
    "arcd.train.ar": {"answers not in their context": 3},
    "cmrc2018.dev.zh": {"answers not in their context": 193, "answers moved": 7},
    "cmrc2018.trial.zh": {"answers moved": 5},
    "indonli.dev.id": {"ids that repeat": 1},
    "indonli.test.id": {"ids that repeat": 2},
    "parsinlu_choice.dev.fa": {"blank texts": 6},
    "parsinlu_choice.test.fa": {"blank texts": 26},
    "parsinlu_choice.train.fa": {"blank texts": 33},
    "parsinlu_qa.test.fa": {"blank answers left out": 1},
    "tydiqa.train.en": {"ids that repeat": 3607},
    "tydiqa.train.ko": {"ids that repeat": 1531},
    "tydiqa.train.sw": {"ids that repeat": 2681},
}


def check_labels(cell, examples):
    """Checks that a real split's labels are all there are, or none; one label in a whole file is a stand-in."""
    row = cell.row
    if row.splits[cell.split].labels == "withheld":
        assert all(labels_of(example) == [None] for example in examples)
    elif row.kind == "span_qa":
        for example in examples:
            for gold in example["answers"]:
                there = example["context"][gold["start"] :][: len(gold["text"])]
                assert gold["start"] == -1 or there == gold["text"], example["id"]
    elif row.kind == "tagging":
        assert len({tag for example in examples for tag in example["tags"]}) > 1
    else:
        texts = [text for example in examples for text in (example["text"], *example.get("choices", ()))]
        if not row.reader.startswith("json"):  # two of those were made from a table, quotation marks and all
            assert not [text for text in texts if re.fullmatch('".*"".*"', text)], (
                "quotation marks of a table, not a text"
            )
        used = collections.Counter(example["label"] for example in examples)
        assert len(used) == (row.choices or len(row.labels)), f"{cell}: {used}"


@pytest.mark.parametrize("name", ROWS)
def test_whole_files(name, data_dir):
    there = [cell for cell in every_cell(name) if is_there(cell, data_dir)]
    if not there:
        pytest.skip(f"no file of {name} in the data folder")
    for cell in there:
        examples = list(read(cell, data_dir))
        published = IN_PART.get(str(cell)) or cell.row.splits[cell.split].published(cell.language)
        assert len(examples) == len({example["id"] for example in examples}) == published, cell
        assert faults(cell, data_dir) == FAULTS_MET.get(str(cell), {}), cell
        check_labels(cell, examples)


def test_xquad_is_squad(data_dir):
    """The same questions, by id, in eleven languages and in SQuAD's dev set, which must not be trained on."""
    ids = {cell.language: {example["id"] for example in read(cell, data_dir)} for cell in cells("xquad", "test")[:11]}
    assert len(ids) == 11 and len(set(map(frozenset, ids.values()))) == 1
    assert ids["th"] < {example["id"] for example in read(*cells("squad", "dev"), data_dir)}


def test_hellaswag_is_the_same_in_both_formats(data_dir):
    text, lines = (list(read(*cells("hellaswag", split), data_dir)) for split in ("dev_text", "dev_first"))
    assert [{**example, "id": ""} for example in text[:1000]] == [{**example, "id": ""} for example in lines]


@pytest.mark.parametrize("text", ["ud_ewt.train.en", "ud_pud.test.ja", "ud_pud.test.de", "ud_ttb.train.ta"])
def test_conllu_words_are_the_text(text, data_dir):
    """Without spaces, words put together are the sentence, where no token stands for several words."""
    (cell,) = parse_cells(text)
    (file,) = load_files(cell, data_dir)
    compared = 0
    for example, sentence in zip(read(cell, data_dir), file.text().strip().split("\n\n"), strict=True):
        (said,) = re.findall("^# text = (.+)$", sentence, re.MULTILINE)
        if not re.search(r"^\d+-\d+\t", sentence, re.MULTILINE):
            compared += 1
            assert "".join("".join(example["tokens"]).split()) == "".join(said.split()), example["id"]
    assert compared > 100


@pytest.fixture(scope="module")
def byte_pieces(tmp_path_factory):
    return speaking.tokenizer(tmp_path_factory.mktemp("vocabulary"))


@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("name", ROWS)
def test_gold_answers_said_in_words_are_right_and_others_are_not(name, form, folder, byte_pieces):
    row, metric = TASKS[name], KINDS[TASKS[name].kind].metrics[0]
    for cell in cells_there(name, folder, "there"):
        examples = [example for example in read(cell, folder) if example.get("answers") != []]
        made = format_of_part(Part(cell, 0, 0, 200, form, 120), byte_pieces)
        features = [made.features(example, byte_pieces, 200, row) for example in examples]
        answers, legal = speaking.read_back(row, examples, features, byte_pieces, form)
        assert value(score(row.kind, examples, answers)[metric]) == 100.0, f"{cell}: {answers}"
        slices = [not e.get("answers") or e["answers"][0]["start"] >= 0 for e in examples]
        assert all(said or not there for said, there in zip(legal, slices, strict=True)), f"{cell}: {answers}"
        nothing = byte_pieces.ids("?!")
        broken = [[feature | {"labels": nothing} for feature in several] for several in features]
        wrong, legal = speaking.read_back(row, examples, broken, byte_pieces, form)
        assert value(score(row.kind, examples, wrong)[metric]) == 0.0 and not any(legal), cell
