"""The doctor: every way a file can be broken is found in one pass, and what leaks is named."""

import json

import pytest

from xling_jax.data import doctor, overlaps
from xling_jax.data.doctor import BROKEN, MISSING, THERE, examine
from xling_jax.data.overlaps import Texts, is_for_training
from xling_jax.errors import DataError
from xling_jax.tables.checksums import load_checksums, save_checksums
from xling_jax.tables.leaks import KIN
from xling_jax.tables.tasks import TASKS, parse_cells

NAMES = (
    "udpos.test.ta udpos.test.te udpos.test.yo mnli.dev.en squad.dev.en squad.train44.en xquad.test.en tatoeba.test.th "
    "ocnli.test.zh text_lines.train.ta"
)
TAMIL = "".join(f"தமிழ்ச்சொற்கள்{n}\tNOUN\nபலவாகும்{n}\tVERB\n\n" for n in range(654))


def question(name, context, start=2):
    answers = [{"text": context[2:6], "answer_start": start}]
    found = {"id": name, "question": f"What flew over the hills, {name}?", "answers": answers}
    return json.dumps({"data": [{"title": "", "paragraphs": [{"context": context, "qas": [found]}]}]})


def nli(count, label="neutral"):
    row = {"sentence1": "a", "sentence2": "b", "gold_label": label}
    return "".join(json.dumps(row | {"pairID": str(number)}) + "\n" for number in range(count))


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Returns a function of files and checksums to {cell: finding}, over a few cells only, and the report."""
    cells = [cell for text in NAMES.split() for cell in parse_cells(text)]
    monkeypatch.setattr(doctor, "all_cells", lambda: cells)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))

    def run(files, checksums=None):
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        report = examine(tmp_path, checksums or {})
        return {str(found.cell): found for found in report.findings}, report

    return run


def test_all_that_is_broken_is_found_in_one_pass(look):
    found, report = look(
        {
            "udpos/test-ta.tsv": "a\tNOMEN\n",
            "udpos/test-te.tsv": b"a\tNOUN\n\xff\tNOUN\n",
            "udpos/test-yo.tsv": "",
            "mnli/multinli_1.0_dev_matched.jsonl": nli(1)[:-9],
            "squad/dev-v1.1.json": question("q1", "A kiwi flew.", start=3),
            "xquad/xquad.en.json": question("q1", "A kiwi flew.")[:-3],
            "tatoeba/v1/tatoeba.tha-eng.tha": "ก\n",
            "tatoeba/v1/tatoeba.tha-eng.eng": "a\nb\n",
        }
    )
    places = {
        "udpos.test.ta": "test-ta.tsv:1: tag 'NOMEN'",
        "udpos.test.te": "test-te.tsv:2: byte 0xff",
        "udpos.test.yo": "test-yo.tsv:1: the file is empty",
        "mnli.dev.en": "dev_matched.jsonl:1: column",
        "squad.dev.en": "answer 'kiwi' at character 3",
        "xquad.test.en": "xquad.en.json:1: column",
        "tatoeba.test.th": "the file ends",
    }
    assert {str(finding.cell) for finding in report.broken} == set(places)
    for cell, words in places.items():
        assert found[cell].state == BROKEN and words in found[cell].error
    assert found["ocnli.test.zh"].state == found["squad.train44.en"].state == MISSING, "missing is not broken"


def test_a_file_that_ends_early_is_broken_unless_the_table_knows_it(look):
    found, _ = look({"udpos/test-ta.tsv": TAMIL})
    assert found["udpos.test.ta"].state == THERE and found["udpos.test.ta"].examples == 654
    short = "\n\n".join(TAMIL.split("\n\n")[:300]) + "\n"  # it ends where a sentence ends
    found, report = look({"udpos/test-ta.tsv": short})
    assert found["udpos.test.ta"].state == BROKEN
    assert "300 examples.\nAllowed: 654, as published" in found["udpos.test.ta"].error
    table = report.files()
    found, _ = look({"udpos/test-ta.tsv": short}, table)
    assert (found["udpos.test.ta"].state, found["udpos.test.ta"].checksums) == (THERE, "listed")


def test_one_other_byte_is_another_file(look):
    _, report = look({"udpos/test-ta.tsv": TAMIL})
    found, _ = look({"udpos/test-ta.tsv": TAMIL.replace("1", "2", 1)}, report.files())
    assert found["udpos.test.ta"].state == BROKEN and "by its SHA-256" in found["udpos.test.ta"].error


def test_labels_that_are_withheld_and_what_the_row_says_are_in_the_report(look):
    found, _ = look({})
    said = found["ocnli.test.zh"].as_json()
    assert (
        said["labels"] == "withheld" and said["licence"] == "CC BY-NC 2.0" and said["expected"] == ["ocnli/test.json"]
    )
    assert json.dumps(said), "it is JSON"


def test_what_two_splits_share_is_named(look, monkeypatch):
    monkeypatch.setattr(overlaps, "LEAST", 1)
    long = "A kiwi flew over the hills of the north, and back."
    found, report = look(
        {
            "squad/dev-v1.1.json": question("q1", long),
            "xquad/xquad.en.json": question("q2", long.replace(" ", "  ")),
            "squad/train-v1.1.subset44.json": question("q3", "Another context, of which nobody else knows at all."),
            "udpos/test-ta.tsv": TAMIL,
            "text/ta.txt": "தமிழ்ச்சொற்கள்7 பலவாகும்7\nதமிழ்ச்சொற்கள்8பலவாகும்8\nபுதிய வாக்கியம் ஒன்று இங்கே உள்ளது\n",
        }
    )
    named = {(row.first, row.second): row for row in report.overlaps}
    assert set(named) == {("text_lines.train", "udpos.test"), ("squad.dev", "xquad.test")}
    trained, both = named["text_lines.train", "udpos.test"], named["squad.dev", "xquad.test"]
    assert (trained.texts, trained.trains, trained.languages) == (2, True, ("ta",)), "spacing does not count"
    assert trained.percent == round(100 * 2 / 654, 2)
    assert (both.texts, both.trains) == (1, False), "the context; the questions differ"
    assert found["xquad.test.en"].state == BROKEN, "one question of 1190, and yet its text is compared"


def test_short_and_single_texts_prove_nothing():
    texts = Texts()
    first, second = parse_cells("udpos.dev.en") + parse_cells("udpos.test.en")
    for cell, words in ((first, ("Thank you.", *"abcd")), (second, ("Thank you.", *"abcd"))):
        for word in words:
            texts.add(cell, {"id": "1", "tokens": [word, *(["word"] * 8 if len(word) == 1 else [])]})
        texts.close(cell)
    assert texts.overlaps() == [], "four sentences are fewer than five, and the fifth is short"


def test_what_is_to_train_on():
    cells = parse_cells("squad.train44.en") + parse_cells("xnli_text.test.th") + parse_cells("squad.dev.en")
    assert [is_for_training(cell) for cell in cells] == [True, True, False]


@pytest.mark.parametrize("kin", KIN, ids=lambda kin: kin.name)
def test_families_name_splits_that_are_there(kin):
    for name in kin.splits.split():
        task, split = name.split(".")
        assert split in TASKS[task].splits, name


def test_every_real_cell_is_looked_at():
    cells = doctor.all_cells()
    assert len(cells) == len(set(cells)) > 900
    assert {cell.task for cell in cells} == {name for name, row in TASKS.items() if row.reader != "world"}


def test_the_table_of_checksums_is_of_files_that_are_read():
    table = load_checksums()
    assert len(table) > 300 and set(table) <= {
        path for cell in doctor.all_cells() for path in doctor.sources.paths(cell)
    }


@pytest.fixture(scope="module")
def real(data_dir):
    """Examines some real cells that share content, and some that the table of checksums vouches for."""
    names = "squad.dev.en xquad.test.en+th lareqa.test.en lareqa.candidates.en pawsx.test.all qqp.dev.en udpos.test.de"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "all_cells", lambda: [cell for text in names.split() for cell in parse_cells(text)])
        return examine(data_dir, load_checksums())


def test_real_files_are_those_of_the_table(real):
    found = {str(finding.cell): finding for finding in real.findings}
    assert real.broken == () and found["udpos.test.de"].state == MISSING
    assert {finding.checksums for finding in real.findings if finding.state == THERE} == {"listed"}
    fewer = found["pawsx.test.en"]
    assert (fewer.examples, fewer.published, fewer.state) == (1983, 2000, THERE)


def test_xquad_is_found_inside_squad_dev(real):
    named = {(row.first, row.second): row for row in real.overlaps}
    assert named["squad.dev", "xquad.test"].percent == named["squad.dev", "lareqa.test"].percent == 100.0
    assert named["squad.dev", "xquad.test"].languages == ("en",)
    assert "SQuAD v1.1 dev" in {kin.name for kin in real.kin} and "MLQA" not in {kin.name for kin in real.kin}


def test_a_table_of_checksums(tmp_path):
    save_checksums({"b/x y.tsv": "1" * 64, "a.json": "0" * 64}, tmp_path / "sums.tsv")
    assert (tmp_path / "sums.tsv").read_text().splitlines()[0] == f"a.json\t{'0' * 64}"
    assert load_checksums(tmp_path / "sums.tsv") == {"a.json": "0" * 64, "b/x y.tsv": "1" * 64}
    (tmp_path / "sums.tsv").write_text(f"a.json\t{'0' * 64}\nb\t0\n")
    with pytest.raises(DataError, match=r"sums\.tsv:2: 'b\t0'"):
        load_checksums(tmp_path / "sums.tsv")
