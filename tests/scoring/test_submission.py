"""Submissions worked by hand: each kind of file, the rules of averages and groups, and what is passed over."""

import json

import pytest
from submissions import write

from xling_jax.errors import ConfigError, DataError, MissingError
from xling_jax.scoring import submission
from xling_jax.scoring.files import ScoreFile, _blanked, open_file, read_words
from xling_jax.scoring.layouts import LAYOUTS
from xling_jax.scoring.submission import evaluate, named
from xling_jax.tables.benchmarks import Benchmark, Entry
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS


def score(tmp_path, task, gold, found, language="en"):
    """Returns (published, corrected) of one file."""
    paths = tmp_path / "gold", tmp_path / "found"
    for path, content in zip(paths, (gold, found), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    row = TASKS[task]
    scored = LAYOUTS[row.kind].score(*map(open_file, paths), row, language)
    return scored.published, scored.corrected


def squad(golds):
    """Returns a label file: {id: gold answers}."""
    qas = [{"id": key, "answers": [{"text": text} for text in texts]} for key, texts in golds.items()]
    return {"data": [{"paragraphs": [{"context": "c", "qas": qas[:1]}, {"context": "d", "qas": qas[1:]}]}]}


def test_labels_are_strings(tmp_path):
    assert score(tmp_path, "pawsx", "1\n0\n1\n0", "1\n1\r\n 1 \n0\n") == ({"accuracy": 75}, {})
    gold = "entailment\nneutral\ncontradiction\n"
    assert score(tmp_path, "xnli", gold, "neutral\nneutral\nneutral\n")[0]["accuracy"] == pytest.approx(100 / 3)


def test_tags(tmp_path):
    """Runs of one tag are one chunk, but not over the end of a sentence; SCONJ is no run, and is not CCONJ."""
    gold = "NOUN\nNOUN\nVERB\n\nVERB\nSCONJ\nSCONJ\nCCONJ\n"
    found = "NOUN\nNOUN\nVERB\n\nNOUN\nSCONJ\nCCONJ\nCCONJ\n\n\n"
    published, corrected = score(tmp_path, "udpos", gold, found)
    # Gold: NN V | V S S C; found: NN V | N S CC. Right: NN, V, the first S.
    assert published == pytest.approx({"f1": 200 * 3 / 11, "precision": 100 * 3 / 5, "recall": 100 * 3 / 6})
    assert corrected == pytest.approx({"accuracy": 500 / 7})


def test_a_word_without_a_tag(tmp_path):
    """'O' may stand for a word that a model never saw; it is no chunk."""
    published, corrected = score(tmp_path, "udpos", "NOUN\nX\n", "NOUN\nO\n")
    assert published == pytest.approx({"f1": 200 / 3, "precision": 100, "recall": 50})
    assert corrected == {"accuracy": 50}
    assert score(tmp_path, "panx", "O\nO\n", "O\nO\n")[0] == {"f1": 0, "precision": 0, "recall": 0}


def test_a_sentence_without_a_word(tmp_path):
    assert score(tmp_path, "panx", "B-PER\n\n\nI-PER\n", "B-PER\n\n\nI-PER")[0]["f1"] == 100


def test_rows_of_sentences(tmp_path):
    assert score(tmp_path, "tatoeba", "3\n0\n12\n5\n", "3\n0\n1\n5\n", "af")[0] == {"accuracy": 75}


def test_pairs_are_a_set(tmp_path):
    """A pair that is said twice counts once, in any order; a blank line is a pair, if both have it a right one."""
    gold, found = "de-1\ten-1\nde-2\ten-2\nde-2\ten-3\n", "de-2\ten-2\nde-2\ten-2\nde-9\ten-9\nde-1\ten-1\n"
    assert score(tmp_path, "bucc2018", gold, found, "de")[0] == pytest.approx(dict.fromkeys(F1, 200 / 3))
    blank = score(tmp_path, "bucc2018", f"{gold}\n", f"\n\n{found}", "de")[0]
    assert blank == pytest.approx(dict.fromkeys(F1, 75))
    one_side = score(tmp_path, "bucc2018", gold, f"\n{found}", "de")[0]
    assert one_side == pytest.approx({"f1": 400 / 7, "precision": 50, "recall": 200 / 3})
    assert score(tmp_path, "bucc2018", gold, "de-1\ten-2\n", "de")[0] == dict.fromkeys(F1, 0)


F1 = ("f1", "precision", "recall")


def test_choices(tmp_path):
    gold = '{"premise": "x", "label": 0}\n{"label": 1, "idx": 1}\n{"label": 1}'
    assert score(tmp_path, "xcopa", gold, '{"label": 0}\n{"label": 0}\n{"label": 1}\n')[0] == {"accuracy": 200 / 3}


def test_answers_and_their_scripts(tmp_path):
    """XQuAD's own rule takes a Chinese answer for one word; beside it stands the one that takes characters."""
    golds, answers = squad({"a": ["北京市"], "b": ["the x", "y z"]}), {"b": "Y, z!", "a": "北京"}
    published, corrected = score(tmp_path, "xquad", golds, answers, "zh")
    assert published == {"exact_match": 50, "f1": 50}
    assert corrected == {"exact_match": 50, "f1": pytest.approx(90)}
    assert score(tmp_path, "xquad", golds, answers, "ru")[1] == {}, (
        "with spaces between words there is nothing to correct"
    )
    assert score(tmp_path, "mlqa", golds, answers, "zh")[0] == {"exact_match": 50, "f1": pytest.approx(90)}


@pytest.mark.parametrize(
    ("task", "language", "said", "expected"),
    [
        ("xquad", "de", ("der Hund", "Hund"), (0, 200 / 3)),  # German articles are words to SQuAD's rule
        ("mlqa", "de", ("der Hund", "Hund"), (100, 100)),
        ("tydiqa", "ar", ("الكتاب", "كتاب"), (0, 0)),
        ("mlqa", "ar", ("الكتاب", "كتاب"), (100, 100)),
        ("xquad", "zh", ("北京。", "北京"), (0, 0)),  # full-width punctuation stays
        ("mlqa", "zh", ("北京。", "北京"), (100, 100)),
        ("xquad", "en", ("the", ""), (100, 0)),  # both are nothing
        ("mlqa", "hi", ("।", ""), (100, 0)),
        ("tydiqa", "en", ("x", ""), (0, 0)),
    ],
)
def test_one_answer(tmp_path, task, language, said, expected):
    gold, answer = said
    published, _ = score(tmp_path, task, squad({"q": [gold]}), {"q": answer}, language)
    assert (published["exact_match"], published["f1"]) == pytest.approx(expected)


def test_label_files_are_read_however_they_are_written(tmp_path):
    """Contexts and questions are passed over, and may say anything; escapes, quotes and the words of keys, too."""
    said = 'a \\ "context": "x\\", "id": "q", \u0627 \U00020000\n{[" \\\\'
    document = squad({"q": ["text"], "context": ["question"]})
    for paragraph in document["data"][0]["paragraphs"]:
        paragraph["context"] = said
        for question in paragraph["qas"]:
            question |= {"question": said, "answers": [*question["answers"], {"text": said}]}
    for text in (
        json.dumps(document),
        json.dumps(document, ensure_ascii=False, indent=1),
        json.dumps(document["data"]),
    ):
        assert score(tmp_path, "tydiqa", text, {"q": said, "context": "question"})[0] == {"exact_match": 100, "f1": 100}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"c": "x", "d": "y"}', '{"c": "", "d": "y"}'),
        ('{"c" :\n"x\\"y", "d": "c"}', '{"c" :\n"", "d": "c"}'),  # a quote in a text
        ('{"c": "x\\\\", "d": "y"}', '{"c": "", "d": "y"}'),  # a backslash at its end
        ('{"c": "x\\\\\\"", "d": "y"}', '{"c": "", "d": "y"}'),  # both
        ('{"d": "\\"c\\": \\"", "c": ""}', '{"d": "\\"c\\": \\"", "c": ""}'),  # a key in a text
        ('{"c": ["x"], "d": {"c": 1}}', '{"c": ["x"], "d": {"c": 1}}'),  # texts only
        ('{"c": "x', '{"c": "x'),  # JSON says what is wrong
    ],
)
def test_texts_of_a_key_are_passed_over(text, expected):
    assert _blanked(text, ("c",)) == expected


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    assert score(tmp_path, "pawsx", "\ufeff1\n0\n", "1\n0\n")[0] == {"accuracy": 100}
    assert score(tmp_path, "tydiqa", squad({"q": ["x"]}), '\ufeff{"q": "x"}')[0] == {"exact_match": 100, "f1": 100}


def test_rankings(tmp_path):
    golds = {"q": ["a"], "r": ["a", "b", "c"], "s": ["z "]}
    ranked = {"q": ["x", "a", "a"], "r": ["a", "x", "b"], "s": [*"abcdefghijklmnopqrst", "z"]}
    found = score(tmp_path, "lareqa", golds, ranked)[0]
    assert found == {"map@20": pytest.approx(100 * (1 / 2 + (1 + 2 / 3) / 3 + 0) / 3)}
    assert score(tmp_path, "mewslix", {"q": [" a "]}, {"q": ["b", "a"]})[0] == {"map@20": 50}


def test_what_has_no_answer_scores_0_and_counts(tmp_path):
    """As published; how many there are is said."""
    golds = squad({"a": ["x y"], "b": ["the"], "c": ["z"]})
    assert score(tmp_path, "xquad", golds, {"a": "x y"})[0] == pytest.approx({"exact_match": 100 / 3, "f1": 100 / 3})
    assert score(tmp_path, "mlqa", golds, {"a": "x y"})[0] == pytest.approx({"exact_match": 100 / 3, "f1": 100 / 3})
    assert score(tmp_path, "xquad", golds, {"a": "x y"}, "th")[1] == pytest.approx(
        {"exact_match": 100 / 3, "f1": 100 / 3}
    )
    assert score(tmp_path, "mewslix", {"m": ["a"], "n": ["a"]}, {"m": ["a"]})[0] == {"map@20": 50}
    assert score(tmp_path, "mewslix", {"m": ["a"], "n": ["a"]}, {"m": ["a"], "n": []})[0] == {"map@20": 50}


QUERY, CANDIDATE = {"side": "query"}, {"side": "candidate", "gold": []}
EXAMPLES = {
    "pawsx": [{"label": "1"}, {"label": "0"}],
    "udpos": [{"tags": ["NOUN", "X"]}, {"tags": ["X"]}],
    "tatoeba": [{"text_pair": "b"}, {"text_pair": " a"}],
    "bucc2018": [{"id": "x", "gold": ["p", "q"]}, {"id": "y", "gold": []}, {"id": "p", "gold": []}],
    "xcopa": [{"id": "1", "label": 1}, {"id": "2", "label": 0}],
    "lareqa": [{"id": "q", "gold": ["th_1_0", "zh_1_0"], **QUERY}, {"id": "th_1_0", **CANDIDATE}],
}


@pytest.mark.parametrize("task", EXAMPLES)
def test_gold_files_score_100(tmp_path, task):
    text = LAYOUTS[TASKS[task].kind].gold(EXAMPLES[task])
    published, corrected = score(tmp_path, task, text, text)
    assert set((published | corrected).values()) == {100}


def test_what_gold_files_say():
    gold = {task: LAYOUTS[TASKS[task].kind].gold(examples) for task, examples in EXAMPLES.items()}
    assert gold["udpos"] == "NOUN\nX\n\nX\n\n"
    assert gold["tatoeba"] == "1\n0\n", "in the order of the English sentences"
    assert gold["bucc2018"] == "x\tp\nx\tq\n"
    assert json.loads(gold["lareqa"]) == {"q": ["th_1_0", "zh_1_0"]}
    answers = [{"text": "a", "start": 0}]
    examples = [
        {"id": key, "question": "?", "context": context, "answers": answers} for key, context in ("1x", "2x", "3y")
    ]
    paragraphs = json.loads(LAYOUTS["span_qa"].gold(examples))["data"][0]["paragraphs"]
    assert [(each["context"], len(each["qas"])) for each in paragraphs] == [("x", 2), ("y", 1)]
    assert paragraphs[1]["qas"] == [{"id": "3", "question": "?", "answers": [{"answer_start": 0, "text": "a"}]}]


ROW = Benchmark(
    "small",
    (
        Entry("pawsx", "pawsx", "de en", ("accuracy",), ("one",)),
        Entry("bucc2018", "bucc2018", "de", ("f1",), ("one", "two")),
        Entry("xquad", "xquad", "de zh", ("exact_match", "f1"), ("two",)),
    ),
)
FILES = {
    "pawsx/test-de.tsv": ("1\n0\n", "1\n1\n"),
    "pawsx/test-en.tsv": ("1\n0\n", "1\n0\n"),
    "bucc2018/test-de.tsv": ("de-1\ten-1\n", "de-1\ten-1\n"),
    "xquad/test-de.json": (json.dumps(squad({"q": ["x y"]})), '{"q": "x"}'),
    "xquad/test-zh.json": (json.dumps(squad({"q": ["北京"]})), '{"q": "北"}'),
}


@pytest.fixture
def sides(tmp_path):
    """Returns folders of predictions and labels of ROW."""
    folders = tmp_path / "predictions", tmp_path / "labels"
    for name, (gold, found) in FILES.items():
        for folder, content in zip(folders, (found, gold), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    return folders


def test_averages(sides):
    """A task's score is the mean of its metrics' means over languages, a group's the mean over tasks."""
    report = evaluate(ROW, *sides)
    assert report.detailed["pawsx"] == {"accuracy": {"de": 50, "en": 100}, "avg_accuracy": 75, "avg_metric": 75}
    xquad = report.detailed["xquad"]
    assert xquad["f1"] == pytest.approx({"de": 200 / 3, "zh": 0})
    assert (xquad["avg_f1"], xquad["avg_exact_match"]) == (pytest.approx(100 / 3), 0)
    assert xquad["avg_metric"] == pytest.approx(50 / 3)
    assert report.overall == pytest.approx(
        {"all_task": (75 + 100 + 50 / 3) / 3, "one": (75 + 100) / 2, "two": (100 + 50 / 3) / 2}
    )
    assert report.missing == report.not_scored == {}


def test_corrected_numbers_stand_apart(sides):
    """The published number keeps its key; the mean of the corrected ones is over all languages."""
    report = evaluate(ROW, *sides)
    assert report.corrected == {
        "xquad": {
            "f1": {"zh": pytest.approx(200 / 3)},
            "avg_f1": pytest.approx(200 / 3),
            "exact_match": {"zh": 0},
            "avg_exact_match": 0,
        }
    }
    assert report.scorers == {
        "pawsx": {"official": "accuracy"},
        "bucc2018": {"official": "bucc-pairs"},
        "xquad": {"official": "squad-v1.1", "corrected": "mixed segmentation"},
    }


def test_a_group_is_scored_only_whole(sides):
    for path in (sides[0] / "xquad").iterdir():
        path.unlink()
    (sides[0] / "xquad").rmdir()
    (sides[0] / "xqaud").mkdir()
    (sides[1] / "zzz").mkdir()
    (sides[1] / ".git").mkdir()
    report = evaluate(ROW, *sides)
    assert report.overall == {"one": 87.5}
    assert report.not_scored == {
        "xqaud": "no task of small; is it xquad?",
        "xquad": "no predictions",
        "zzz": "no task of small",
    }


def test_languages_that_are_missing_are_passed_over_only_if_asked(sides):
    (sides[1] / "pawsx/test-en.tsv").unlink()
    with pytest.raises(MissingError, match=r"There is no file .*labels/pawsx/test-en.tsv, and 0 others"):
        evaluate(ROW, *sides)
    report = evaluate(ROW, *sides, partial=True)
    assert report.missing == {"pawsx": ["en"]}
    assert report.detailed["pawsx"]["avg_metric"] == 50
    assert report.overall == {"two": pytest.approx((100 + 50 / 3) / 2)}
    (sides[0] / "pawsx/test-de.tsv").unlink()
    report = evaluate(ROW, *sides, partial=True)
    assert report.not_scored == {"pawsx": "no test file on both sides"} and "pawsx" not in report.detailed
    with pytest.raises(MissingError, match=r"There is no file .*predictions/.*dev-"):
        evaluate(ROW, *sides, split="dev", partial=True)


def test_languages_of_another_benchmark_are_passed_over_only_if_asked(tmp_path):
    """One folder of predictions serves both benchmarks; a language that neither has is always an error."""
    row = named("xtreme")
    for side in ("predictions", "labels"):
        (tmp_path / side / "udpos").mkdir(parents=True)
        for code in ("en", "pl"):
            (tmp_path / side / "udpos" / f"test-{code}.tsv").write_text("NOUN\n")
    sides = tmp_path / "predictions", tmp_path / "labels"
    with pytest.raises(DataError, match=r"test-pl.tsv: xtreme does not score udpos in 'pl'. xtreme_r has it"):
        evaluate(row, *sides)
    assert evaluate(row, *sides, partial=True).detailed["udpos"]["f1"] == {"en": 100.0}
    (sides[0] / "udpos" / "test-qz.tsv").write_text("NOUN\n")
    with pytest.raises(DataError, match=r"test-qz.tsv: xtreme does not score udpos in 'qz'"):
        evaluate(row, *sides, partial=True)


def test_questions_without_an_answer_are_counted(sides):
    (sides[1] / "xquad/test-de.json").write_text(json.dumps(squad({"q": ["x y"], "r": ["z"], "s": ["z"]})))
    report = evaluate(ROW, *sides)
    assert report.unanswered == {"xquad": {"de": 2}}
    assert report.detailed["xquad"]["f1"]["de"] == pytest.approx(200 / 9)


def test_another_split_and_files_beside(sides):
    """A run's own predictions have per-example scores beside them, and other splits."""
    for folder in sides:
        (folder / "pawsx/test-de.items.jsonl").write_text("{}")
        (folder / "pawsx/dev-ja.tsv").write_text("1")
        (folder / "README").write_text("")
    assert evaluate(ROW, *sides).detailed.keys() == {"pawsx", "bucc2018", "xquad"}
    with pytest.raises(DataError, match=r"dev-ja.tsv: small does not score pawsx in 'ja'"):
        evaluate(ROW, *sides, split="dev")


def test_xtreme_r_as_a_whole(tmp_path):
    """LAReQA is a task of its own, in no group; with it there is an overall score, the mean over ten tasks."""
    row = named("xtreme-r")
    sides = write(row, 7, tmp_path, size=4)
    before = evaluate(row, *sides)
    assert "all_task" not in before.overall
    for side, content in zip(sides, ('{"q": ["x", "a"]}', '{"q": ["a"]}'), strict=True):
        for code in next(entry for entry in row.entries if entry.name == "lareqa").languages.split():
            (side / "lareqa").mkdir(exist_ok=True)
            (side / f"lareqa/test-{code}.json").write_text(content)
    after = evaluate(row, *sides)
    scores = [detail["avg_metric"] for detail in after.detailed.values()]
    assert len(scores) == 10 and after.detailed["lareqa"]["avg_metric"] == 50
    assert after.overall == before.overall | {"all_task": pytest.approx(sum(scores) / 10)}
    xcopa, xnli = (after.detailed[name]["avg_metric"] for name in ("xcopa", "xnli"))
    assert after.overall["multi_choice"] == xcopa
    assert after.overall["classification"] == pytest.approx((xcopa + xnli) / 2)


def test_both_spellings_of_a_benchmark():
    assert named("xtreme-r") is named("xtreme_r") is not named("xtreme")
    with pytest.raises(ConfigError, match="Unknown benchmark 'xtreme_q'"):
        named("xtreme-q")


def test_every_task_of_a_benchmark_has_a_layout():
    for row in submission.BENCHMARKS.values():
        for entry in row.entries:
            assert TASKS[entry.task].kind in LAYOUTS, entry.name
    assert set(LAYOUTS) == {name for name, kind in KINDS.items() if kind.metrics}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a\nbb\n", [0, 1]),
        ("a\nbb", [0, 1]),
        ("\n\na\n\n", [-1, -1, 0, -1]),
        (" a\t\r\nbb\r\n", [0, 1]),
        ("a\rbb\r", [0, 1]),
        ("\u3000bb\u00a0\n", [1]),
        ("eight888\nsixteen-letters-\n", [2, 3]),
    ],
)
def test_words_of_lines(tmp_path, text, numbers):
    file = ScoreFile(tmp_path, text.encode())
    assert read_words(file, ("a", "bb", "eight888", "sixteen-letters-")).tolist() == numbers


@pytest.mark.parametrize(
    "line", ["b", "aa", "a\0", "\0", "eight8889", "eight8889" * 9, "sixteen-letters-x", "a b", "é"]
)
def test_words_that_are_not_known(tmp_path, line):
    file = ScoreFile(tmp_path / "x.tsv", f"a\n{line}\nbb\n".encode())
    with pytest.raises(DataError, match=r"x.tsv:2: '"):
        read_words(file, ("a", "bb", "eight888", "sixteen-letters-"))
