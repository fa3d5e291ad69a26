"""Cells that tensorflow-datasets has prepared: small data sets, written by it, read by us. Slow to import."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from xling_jax.data.sources import checksum, is_there, read, stored
from xling_jax.data.tfds import spec
from xling_jax.errors import DataError, MissingError
from xling_jax.tables.tasks import Cell, parse_cells


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def folder(library, tmp_path_factory):
    """Writes small data sets in the shape of the published ones, under their names."""
    root = tmp_path_factory.mktemp("tensorflow_datasets")
    f = library.features

    def write(name, config, version, features, splits):
        place = root / name / (config or "") / version
        place.mkdir(parents=True)
        identity = library.core.dataset_info.DatasetIdentity(name, version, str(place), "", config_name=config)
        info = library.core.DatasetInfo(builder=identity, features=f.FeaturesDict(features))
        writer = library.core.SequentialWriter(info, max_examples_per_shard=2)
        writer.initialize_splits(list(splits))
        writer.add_examples(splits)
        writer.close_all()

    nli = f.ClassLabel(names=["entailment", "neutral", "contradiction"])
    write(
        "snli", None, "1.1.0", {"premise": f.Text(), "hypothesis": f.Text(), "label": nli},
        {
            "train": [{"premise": "a", "hypothesis": "b", "label": 2}, {"premise": "c", "hypothesis": "d", "label": 1}],
            "validation": [
                {"premise": "e", "hypothesis": "f", "label": -1},  # no agreed label
                {"premise": "g", "hypothesis": "h", "label": 0},
            ],
        },
    )  # fmt: skip
    write(
        "xnli", None, "1.1.0",
        {
            "premise": f.Translation(["en", "th"]),
            "hypothesis": f.TranslationVariableLanguages(["en", "th"]),
            "label": nli,
        },
        {"test": [{"premise": {"en": "One", "th": "หนึ่ง"}, "hypothesis": {"en": "Two", "th": "สอง"}, "label": 1}]},
    )  # fmt: skip
    answers = f.Sequence({"text": f.Text(), "answer_start": np.int32})
    squad = {"id": f.Text(), "title": f.Text(), "context": f.Text(), "question": f.Text(), "answers": answers}

    def question(name, start=2):
        found = {"text": ["กีวี"], "answer_start": [start]}
        return {"id": name, "title": "", "context": "นกกีวี", "question": "?", "answers": found}

    write("squad", "v1.1", "3.0.0", squad, {"validation": [question("q1"), question("q2", start=1)]})
    write("tydi_qa", "goldp", "3.0.0", squad, {"validation": [question("thai-1"), question("telugu-1")]})
    write(
        "tatoeba", "tatoeba_th", "1.0.0", {"source_sentence": f.Text(), "target_sentence": f.Text()},
        {"train": [{"source_sentence": "ก", "target_sentence": "a"}]},
    )  # fmt: skip
    write("wikipedia", "20230601.yo", "1.0.0", {"title": f.Text(), "text": f.Text()},
          {"train": [{"title": "", "text": f"Ẹ kú {number}"} for number in range(3)]})  # fmt: skip
    write("c4", "multilingual", "3.1.0", {"text": f.Text()}, {"iw": [{"text": "שלום"}]})
    copa = {name: f.Text() for name in ("premise", "choice1", "choice2", "question")}
    rain = {"premise": "It rained.", "question": "cause", "choice1": "a", "choice2": "b", "label": 1, "idx": 7}
    write(
        "super_glue", "copa", "1.0.2", copa | {"label": f.ClassLabel(names=["choice1", "choice2"]), "idx": np.int32},
        {"train": [rain]},
    )  # fmt: skip
    return root


@pytest.fixture
def examples(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))

    def get(text, data_dir=None):
        (cell,) = parse_cells(text)
        return list(read(cell, data_dir))

    return get


def test_splits_are_mapped(examples):
    assert examples("snli.train.en") == [
        {"id": "1", "text": "a", "text_pair": "b", "label": "contradiction"},
        {"id": "2", "text": "c", "text_pair": "d", "label": "neutral"},
    ]
    (agreed,) = examples("snli.dev.en")
    assert agreed["label"] == "entailment", "a row without an agreed label is left out"
    with pytest.raises(MissingError, match=r"tensorflow-datasets' snli:1\.1\.0/test prepared below TFDS_DATA_DIR"):
        examples("snli.test.en")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("xnli.test.th", {"id": "1", "text": "หนึ่ง", "text_pair": "สอง", "label": "neutral"}),
        ("xnli.test.en", {"id": "1", "text": "One", "text_pair": "Two", "label": "neutral"}),
        ("tatoeba.test.th", {"id": "th.1", "text": "ก", "text_pair": "a"}),
        ("mc4.train.he", {"id": "1", "text": "שלום"}),
        (
            "copa.train.en",
            {"id": "7", "text": "It rained. What was the cause?", "choices": ["a", "b"], "label": 1},
        ),
    ],
)
def test_examples_are_those_of_the_files(cell, expected, examples):
    (example,) = examples(cell)
    assert example == expected


def test_many_records_in_order(examples):
    assert [example["text"] for example in examples("wikipedia.train.yo")] == ["Ẹ kú 0", "Ẹ kú 1", "Ẹ kú 2"]


def test_answers_are_slices_of_their_context(examples):
    with pytest.raises(DataError, match=r"squad/v1\.1/3\.0\.0: validation: question 'q2': answer 'กีวี' at character 1"):
        examples("squad.dev.en")
    (telugu,) = examples("tydiqa.test.te")
    assert telugu["id"] == "telugu-1" and telugu["answers"] == [{"text": "กีวี", "start": 2}]


def test_a_file_comes_first(examples, tmp_path):
    thai = Cell("tatoeba", "test", "th")
    before = checksum(thai, tmp_path)
    assert is_there(thai, tmp_path) and stored(thai, tmp_path).examples == 1
    for side, text in (("tha", "ข\nค\n"), ("eng", "b\nc\n")):
        path = tmp_path / f"tatoeba/v1/tatoeba.tha-eng.{side}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert [example["text"] for example in examples("tatoeba.test.th", tmp_path)] == ["ข", "ค"]
    assert stored(thai, tmp_path) is None and checksum(thai, tmp_path) != before


def test_a_broken_description_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    info = tmp_path / "snli/1.1.0/dataset_info.json"
    info.parent.mkdir(parents=True)
    info.write_text('{"splits": [')
    with pytest.raises(DataError, match=r"dataset_info\.json is broken"):
        read(Cell("snli", "train", "en"), None)


def test_codes_of_the_publisher():
    assert spec(Cell("mc4", "validation", "tl")) == "c4/multilingual:3.1.0/fil-validation"
    assert spec(Cell("udpos", "test", "ta")) == ""


def test_nothing_slow_is_imported_to_look():
    program = (
        "import sys, pathlib; from xling_jax.data.sources import is_there; from xling_jax.tables.tasks import Cell;"
        "is_there(Cell('snli', 'train', 'en'), None); print({'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
