"""`xling score` and `xling data labels`: tables, JSON, and one error for each thing that can be wrong."""

import json
import pathlib
import subprocess
import sys

import pytest

from xling_jax import cli
from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.tasks import TASKS

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "data/examples"
UDPOS = next(entry for entry in BENCHMARKS["xtreme"].entries if entry.name == "udpos")
SQUAD = '{"data": [{"paragraphs": [{"context": "a b", "qas": [\n{"id": "q1", "answers": [{"text": "a"}]},\n'
SQUAD += '{"id": "q2", "answers": [{"text": "b"}]}]}]}]}\n'
GOOD = {
    "pawsx": ("1\n0\n1\n", "1\n0\n0\n"),
    "udpos": ("NOUN\nVERB\n\nADJ\nX\nX\n", "NOUN\nVERB\n\nADJ\nX\nNOUN\n"),
    "tatoeba": ("0\n1\n2\n", "0\n1\n1\n"),
    "bucc2018": ("x-1\ten-1\nx-2\ten-2\n", "x-1\ten-1\n"),
    "tydiqa": (SQUAD, '{"q1": "a",\n"q2": "c"}\n'),
    "xcopa": ('{"label": 0}\n{"label": 1}\n', '{"label": 0}\n{"label": 0}\n'),
    "mewslix": ('{"m1": ["Q1"],\n"m2": ["Q2"]}\n', '{"m1": ["Q1"],\n"m2": ["Q1", "Q2"]}\n'),
}
ENDINGS = {"tydiqa": "json", "mewslix": "json", "xcopa": "jsonl"}
BENCHMARK = {name: "xtreme-r" if name in ("xcopa", "mewslix") else "xtreme" for name in GOOD}


@pytest.fixture
def folder(tmp_path):
    """Returns a function that lays out both sides of one task, all languages alike, and returns the folder."""

    def lay(task, gold=None, found=None):
        row = BENCHMARKS[BENCHMARK[task].replace("-", "_")]
        (entry,) = [entry for entry in row.entries if entry.name == task]
        for side, content in (("labels", gold or GOOD[task][0]), ("predictions", found or GOOD[task][1])):
            (tmp_path / side / task).mkdir(parents=True, exist_ok=True)
            for code in entry.languages.split():
                path = tmp_path / side / task / f"test-{code}.{ENDINGS.get(task, 'tsv')}"
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return lay


@pytest.fixture
def xling(capsys, monkeypatch):
    """Returns a function of arguments to (exit code, standard output, standard error)."""
    monkeypatch.delenv("XLING_DATA", raising=False)

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in argv])
        return left.value.code, *capsys.readouterr()

    return run


def flags(folder, task):
    return (f"--benchmark={BENCHMARK[task]}", f"--predictions={folder}/predictions", f"--labels={folder}/labels")


@pytest.mark.parametrize("task", GOOD)
def test_what_is_laid_out_here_is_scored(xling, folder, task):
    """So that each error below is of what was changed for it."""
    code, out, err = xling("score", *flags(folder(task), task), "--json")
    assert (code, err) == (0, "")
    assert 0 < json.loads(out)["detailed"][task]["avg_metric"] < 100


# task: {what is wrong: (labels or None, predictions or None, words of the error)}
WRONG = {
    "pawsx": {
        "a line too few": (None, "1\n0\n", "test-de.tsv:3: there are 2 lines, but 3 in"),
        "a line too many": (None, "1\n0\n1\n1\n", "test-de.tsv:4: there are 4 lines, but 3 in"),
        "another label": (None, "1\n2\n1\n", "predictions/pawsx/test-de.tsv:2: '2'"),
        "a number that looks the same": (None, "1.0\n0\n1\n", "predictions/pawsx/test-de.tsv:1: '1.0'"),
        "a label that is not a number": (None, "1\n0\nnan\n", "predictions/pawsx/test-de.tsv:3: 'nan'"),
        "a blank line": (None, "1\n\n1\n", "predictions/pawsx/test-de.tsv:2: a blank line"),
        "another label among the labels": ("1\nyes\n1\n", None, "labels/pawsx/test-de.tsv:2: 'yes'"),
        "labels beside their texts": ("1\tx\n0\ty\n1\tz\n", None, "labels/pawsx/test-de.tsv:1: '1\tx'"),
        "empty": (None, b"\n", "predictions/pawsx/test-de.tsv:1: the file is empty"),
        "no labels": (b" \n\n", None, "labels/pawsx/test-de.tsv:1: the file is empty"),
        "not UTF-8": (None, b"1\n0\n\xff\n", "predictions/pawsx/test-de.tsv:3: byte 0xff is not UTF-8"),
        "UTF-16": (None, "1\n0\n1\n".encode("utf-16"), "predictions/pawsx/test-de.tsv:1: byte 0xff is not UTF-8"),
    },
    "udpos": {
        "as many tags in all, another sentence": (
            None,
            "NOUN\n\nVERB\nADJ\nX\nX\n",
            "test-af.tsv:2: sentence 1 has 1 tag, but 2 in",
        ),
        "a tag too few": (None, "NOUN\nVERB\n\nADJ\nX\n", "test-af.tsv:6: sentence 2 has 2 tags, but 3 in"),
        "a tag too many": (None, "NOUN\nVERB\nX\n\nADJ\nX\nX\n", "test-af.tsv:3: sentence 1 has 3 tags, but 2 in"),
        "a sentence too few": (None, "NOUN\nVERB\n", "test-af.tsv:3: 1 sentence, but 2 in"),
        "a sentence too many": (None, "NOUN\nVERB\n\nADJ\nX\nX\n\nX\n", "test-af.tsv:7: 3 sentences, but 2 in"),
        "another tag": (None, "NOUN\nVERB\n\nADJ\nB-PER\nX\n", "predictions/udpos/test-af.tsv:5: 'B-PER'"),
        "tokens beside tags": (None, "a\tNOUN\n", "predictions/udpos/test-af.tsv:1: 'a\tNOUN'"),
        "a label that is none": ("NOUN\nO\n\nADJ\nX\nX\n", None, "labels/udpos/test-af.tsv:2: 'O'"),
    },
    "tatoeba": {
        "a line too few": (None, "0\n1\n", "test-af.tsv:3: there are 2 lines, but 3 in"),
        "no number": (None, "0\nfoo\n1\n", "predictions/tatoeba/test-af.tsv:2: 'foo'"),
        "a number of another form": (None, "0\n01\n1\n", "predictions/tatoeba/test-af.tsv:2: '01'"),
        "below zero": (None, "0\n-1\n1\n", "predictions/tatoeba/test-af.tsv:2: '-1'"),
        "nothing": (None, "0\n\n1\n", "predictions/tatoeba/test-af.tsv:2: ''"),
    },
    "bucc2018": {
        "one column": (None, "x-1\ten-1\nx-2 en-2\n", "predictions/bucc2018/test-de.tsv:2: 1 column"),
        "a score beside": (None, "x-1\ten-1\t0.9\n", "predictions/bucc2018/test-de.tsv:1: 3 columns"),
    },
    "tydiqa": {
        "no answer": (None, "{}", "test-ar.json:1: no answer to any of 2 in"),
        "another question": (None, '{"q1": "a", "q2": "b",\n"q3": "c"}', "test-ar.json:2: 'q3' is no id of"),
        "an answer twice": (None, '{"q1": "a",\n"q2": "b",\n"q1": "c"}', "test-ar.json:3: 'q1' again"),
        "an answer that is none": (None, '{"q1": "a",\n"q2": null}', "test-ar.json:2: the answer to 'q2' is null"),
        "several answers": (None, '{"q1": ["a"],\n"q2": "a"}', "test-ar.json:1: the answer to 'q1' is [\"a\"]"),
        "NaN": (None, '{"q1": "NaN",\n"q2": NaN}', "test-ar.json:2: NaN, which is no answer"),
        "JSON that ends": (None, '{"q1": "a",\n"q2": ', "test-ar.json:2: column 7: Expecting value"),
        "no object": (None, '["a", "b"]', "test-ar.json:1: a list"),
        "nothing but brackets": (None, "[" * 100_000, "test-ar.json:1: "),
        "a number without end": (None, f'{{"q1": {"1" * 5000}}}', "test-ar.json:1: Exceeds the limit"),
        "labels that end": (SQUAD[:-4], None, "labels/tydiqa/test-ar.json:3: column"),
        "labels that end in a text": ('{"data": [{"paragraphs": [{"context": "a\\"', None, "test-ar.json:1: column"),
        "a question twice": (SQUAD.replace("q2", "q1"), None, "labels/tydiqa/test-ar.json:3: question 'q1' again"),
        "withheld": (
            SQUAD.replace('"text": "a"', '"text": ""').replace('"text": "b"', '"text": ""'),
            None,
            "labels/tydiqa/test-ar.json:1: all gold answers are empty",
        ),
        "no gold answer": (SQUAD.replace('{"text": "b"}', ""), None, "labels/tydiqa/test-ar.json:3: "),
        "a gold answer that is a number": (SQUAD.replace('"b"}', "1}"), None, "labels/tydiqa/test-ar.json:3: "),
        "no id": (SQUAD.replace('"id": "q1", ', ""), None, "is no question"),
        "predictions for labels": (
            '{"q1": "a", "q2": "b"}',
            None,
            "labels/tydiqa/test-ar.json:1: no list of questions",
        ),
        "no question": ('{"data": []}', None, "labels/tydiqa/test-ar.json:1: no question"),
        "not UTF-8": (None, b'{"q1": "a",\n"q2": "\xe9"}', "test-ar.json:2: byte 0xe9 is not UTF-8"),
        "a context that is not UTF-8": (SQUAD.encode().replace(b"a b", b"\xe9"), None, "test-ar.json:1: byte 0xe9"),
    },
    "xcopa": {
        "a line too few": (None, '{"label": 0}\n', "test-et.jsonl:2: there are 1 lines, but 2 in"),
        "a third choice": (None, '{"label": 0}\n{"label": 2}\n', "test-et.jsonl:2: label 2"),
        "no number": (None, '{"label": 0}\n{"label": NaN}\n', "test-et.jsonl:2: label NaN"),
        "true": (None, '{"label": true}\n{"label": 1}\n', "test-et.jsonl:1: label true"),
        "no label": (None, '{"label": 0}\n{"idx": 1}\n', "test-et.jsonl:2: no label"),
        "a number alone": (None, "0\n1\n", "test-et.jsonl:1: no label"),
        "no JSON": (None, '{"label": 0}\n{label: 1}\n', "test-et.jsonl:2: Expecting property name"),
    },
    "mewslix": {
        "no ranking": (None, "{}", "test-ar.json:1: no answer to any of 2 in"),
        "another mention": (None, '{"m1": [], "m2": [],\n"m3": []}', "test-ar.json:2: 'm3' is no id of"),
        "an id alone": (None, '{"m1": ["Q1"],\n"m2": "Q1"}', "test-ar.json:2: 'm2' is \"Q1\""),
        "numbers": (None, '{"m1": [1], "m2": ["Q1"]}', "test-ar.json:1: 'm1' is [1]"),
        "no gold entity": ('{"m1": ["Q1"],\n"m2": []}', None, "labels/mewslix/test-ar.json:2: query 'm2' without"),
    },
}


@pytest.mark.parametrize(("task", "what"), [(task, what) for task, wrong in WRONG.items() for what in wrong])
def test_one_error_with_file_and_line(xling, folder, task, what):
    gold, found, words = WRONG[task][what]
    code, out, err = xling("score", *flags(folder(task, gold, found), task))
    assert (code, out) == (3, ""), err
    assert words in err
    assert err.startswith("error: /") and len(err.splitlines()) == 2, "file and line first, then what is allowed"


def test_files_too_few_and_too_many(xling, folder):
    here = folder("udpos")
    (here / "predictions/udpos/test-zh.tsv").rename(here / "predictions/udpos/test-zh.txt")
    code, _, err = xling("score", *flags(here, "udpos"))
    assert code == 3 and "There is no file" in err and "test-zh.tsv" in err and "test-zh.txt is there" in err
    assert xling("score", *flags(here, "udpos"), "--partial")[0] == 0
    (here / "predictions/udpos/test-zh.txt").rename(here / "predictions/udpos/test-zh.tsv")
    (here / "labels/udpos/test-wo.tsv").write_text("X\n")
    code, _, err = xling("score", *flags(here, "udpos"))
    assert code == 3 and "labels/udpos/test-wo.tsv: xtreme does not score udpos in 'wo'. xtreme_r has it." in err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ((), 2, "--benchmark is not given"),
        (("--benchmark=xtrem", "--predictions=a", "--labels=b"), 2, "Did you mean: xtreme"),
        (("--benchmark=xtreme", "--labels=b"), 2, "--predictions is not given"),
        (("--benchmark=xtreme", "--predictions=nowhere", "--labels=b"), 3, "There is no folder nowhere"),
        (("--benchmark=xtreme", "--predictions=DIR", "--labels=DIR"), 3, "No task of xtreme has a folder in both"),
        (("xtreme",), 2, "takes flags only"),
    ],
)
def test_wrong_flags(xling, tmp_path, argv, code, words):
    found, _, err = xling("score", *(word.replace("DIR", str(tmp_path)) for word in argv))
    assert found == code and words in err


def test_tables(xling, folder):
    code, out, _ = xling("score", *flags(folder("udpos"), "udpos"), "--verbose")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    # Gold: N V | A XX, found: N V | A X N; three of four chunks, and of five.
    assert ["udpos", "f1", "mean", "of", "33", "66.67", "chunk-f1/seqeval-0.0.12"] in lines
    assert ["udpos", "accuracy", "mean", "of", "33", "80.00", "corrected:", "token", "accuracy"] in lines
    assert ["udpos", "score", "66.67"] in lines
    assert sum(line[:1] == ["zh"] for line in lines) == 4, "a row for each metric, published or corrected"
    assert "No overall score: not all tasks of xtreme are there whole." in out
    quiet = xling("score", *flags(folder("udpos"), "udpos"))[1]
    assert "\n" in quiet and not any(line.split()[:1] == ["zh"] for line in quiet.splitlines())


def test_questions_without_an_answer_are_named(xling, folder):
    here = folder("tydiqa", found='{"q1": "a"}')
    code, out, _ = xling("score", *flags(here, "tydiqa"))
    assert code == 0 and "tydiqa: without an answer, which scores 0: 1 of ar, 1 of bn" in out
    assert json.loads(xling("score", *flags(here, "tydiqa"), "--json")[1])["unanswered"]["tydiqa"]["te"] == 1


def test_json_goes_where_it_is_sent(xling, folder):
    here = folder("tydiqa")
    (here / "predictions/xqaud").mkdir()
    code, out, _ = xling("score", *flags(here, "tydiqa"), f"--json={here}/scores.json")
    assert code == 0 and "tydiqa" in out and "not scored: xqaud: no task of xtreme; is it xquad?" in out
    written = json.loads((here / "scores.json").read_text())
    assert written["overall"] == {} and written["corrected"] == {}
    assert written["detailed"]["tydiqa"]["exact_match"]["sw"] == 50
    assert xling("score", *flags(here, "tydiqa"), f"--json={here}/nowhere/scores.json")[0] == 3
    assert json.loads(xling("score", *flags(here, "tydiqa"), "--json")[1]) == written


def test_the_scorer_needs_neither_jax_nor_the_data_layer(folder):
    here = folder("pawsx")
    program = (
        "import sys; from xling_jax.doors import score; "
        f"score.main({[*flags(here, 'pawsx'), '--json']!r}); "
        "print(*[name for name in ('jax', 'flax', 'tensorflow', 'seqeval', 'grain') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("}\n\n")


def test_labels_from_published_files(xling, tmp_path):
    """Every label file scores 100 as its own prediction; what is not there is named with its reason."""
    code, out, err = xling(
        "data", "labels", "--benchmark=xtreme-r", f"--out={tmp_path}/labels", f"--data_dir={EXAMPLES}"
    )
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(BENCHMARKS["xtreme_r"].entries) + 1
    assert "files missing" in out
    written = sorted(path.relative_to(tmp_path / "labels") for path in (tmp_path / "labels").rglob("test-*"))
    assert {path.parts[0] for path in written} == {"xnli", "xcopa", "udpos", "panx", "xquad", "tydiqa"}
    for path in written:
        gold = tmp_path / "labels" / path
        target = tmp_path / "predictions" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(as_prediction(gold))
    code, out, err = xling("score", *flags(tmp_path, "mewslix"), "--json", "--partial")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert [detail["avg_metric"] for detail in report["detailed"].values()] == [100] * 6


def as_prediction(gold):
    """Returns the gold answers of a label file as a system's."""
    document = json.loads(gold.read_text()) if gold.suffix == ".json" else {}
    if "data" not in document:
        return gold.read_text()
    questions = [q for article in document["data"] for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    return json.dumps({question["id"]: question["answers"][0]["text"] for question in questions})


def test_tatoeba_is_asked_in_the_order_of_english(xling, tmp_path):
    """XTREME sorts the English sentences; label j is the number of the sentence that translates the j-th of them."""
    for name, content in (("afr", "drie\neen\nvier\ntwee\n"), ("eng", "three\none\nthree\n two\n")):
        path = tmp_path / f"tatoeba/v1/tatoeba.afr-eng.{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    code, *_ = xling("data", "labels", "--benchmark=xtreme", f"--out={tmp_path}/out", f"--data_dir={tmp_path}")
    assert code == 0
    assert (tmp_path / "out/tatoeba/test-af.tsv").read_text().split() == ["1", "0", "2", "3"]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("--benchmark=xtreme",), 2, "--out is not given"),
        (("--out=DIR",), 2, "--benchmark is not given"),
        (("--benchmark=xtreme", "--out=DIR/out", "--split=tset"), 2, "Did you mean: test"),
        (("--benchmark=xtreme", "--out=DIR/out", "--data_dir=DIR"), 3, "There are no labels of xtreme"),
        (("--benchmark=xtreme", "--out=DIR/out", "--data_dir=DIR/nowhere"), 3, "There is no data folder"),
    ],
)
def test_wrong_flags_of_labels(xling, tmp_path, argv, code, words):
    found, _, err = xling("data", "labels", *(word.replace("DIR", str(tmp_path)) for word in argv))
    assert found == code and words in err


def test_labels_that_are_withheld_are_named(xling, tmp_path):
    _, out, _ = xling("data", "labels", "--benchmark=xtreme", f"--out={tmp_path}", f"--data_dir={EXAMPLES}")
    assert TASKS["bucc2018"].splits["test"].labels == "withheld"
    assert "bucc2018    0 of  4 languages written; labels withheld: de fr ru zh" in out.replace("0 of 4", "0 of  4")
