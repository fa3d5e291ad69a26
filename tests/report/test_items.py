"""What is read of the items besides their score: what is right, rankings, and answers that are all alike."""

import json

import numpy as np
import pytest

from xling_jax.errors import DataError
from xling_jax.report.items import FEWEST_ANSWERS, read_items


def written(folder, lines, **files):
    """The items of a cell, and files beside them by their endings."""
    path = folder / "stages" / "x" / "predictions" / "t" / "test-qen.items.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"id": str(n)} | line) + "\n" for n, line in enumerate(lines)))
    for ending, text in files.items():
        path.with_name(f"test-qen.{ending}").write_text(text, encoding="utf-8")
    return path


def test_right_is_the_exact_match_or_the_whole_sentence(tmp_path):
    questions = [{"f1": [0.5, 1], "exact_match": [0, 1]}, {"f1": [1, 1], "exact_match": [1, 1]}]
    assert read_items(written(tmp_path / "qa", questions), "f1").right_N.tolist() == [False, True]
    sentences = [
        {"f1": [2, 3], "accuracy": [2, 3]},
        {"f1": [0, 0], "accuracy": [3, 3]},
        {"f1": [4, 4], "accuracy": [2, 3]},
    ]
    assert read_items(written(tmp_path / "pos", sentences), "f1").right_N.tolist() == [False, True, False]
    only = [{"map@20": [0.5, 1]}, {"map@20": [1, 1]}]
    assert read_items(written(tmp_path / "map", only), "map@20").right_N.tolist() == [False, True]


def test_rankings_may_differ_in_length(tmp_path):
    lines = [{"accuracy": [1, 1], "ranking": ranking} for ranking in ([1, 0], [2, 0, 1])]
    found = read_items(written(tmp_path, lines), "accuracy").ranking_NxC
    assert np.array_equal(found, [[1, 0, -1], [2, 0, 1]])


@pytest.mark.parametrize("ranking", [[0, 0, 1], [0, 1, 3], [], "012", [0, "1"], None, [[0], 1], [0.5, 1]])
def test_what_is_no_ranking_is_named_by_line(tmp_path, ranking):
    path = written(tmp_path, [{"accuracy": [1, 1], "ranking": [0, 1]}, {"accuracy": [1, 1], "ranking": ranking}])
    with pytest.raises(DataError, match=r"items\.jsonl:2: ranking .* is not an order of candidates\.\nAllowed: "):
        read_items(path, "accuracy")


def test_rankings_of_some_items_only(tmp_path):
    path = written(tmp_path, [{"accuracy": [1, 1], "ranking": [0, 1]}, {"accuracy": [1, 1]}])
    with pytest.raises(DataError, match=r"items\.jsonl:2: rankings of some items only"):
        read_items(path, "accuracy")


def test_an_exact_match_that_is_no_ratio(tmp_path):
    path = written(tmp_path, [{"f1": [1, 1], "exact_match": [1]}])
    with pytest.raises(DataError, match=r"items\.jsonl:1: .* is not an item of f1"):
        read_items(path, "f1")


@pytest.mark.parametrize(("others", "constant"), [(0, True), (1, True), (2, False)])
def test_one_label_first_in_99_of_100(tmp_path, others, constant):
    rankings = [[0, 1, 2]] * others + [[2, 0, 1]] * (100 - others)
    items = read_items(written(tmp_path, [{"accuracy": [1, 1], "ranking": r} for r in rankings]), "accuracy")
    assert items.constant is constant
    assert items.share == (100 - others) / 100


@pytest.mark.parametrize(
    ("ending", "text", "share"),
    [
        ("tsv", "NOUN\nNOUN\n\nNOUN\nVERB\n" * 5, 0.75),
        ("tsv", "B-PER\n" * 12, 1.0),
        ("json", json.dumps({str(n): "" for n in range(12)}), 1.0),
        ("json", json.dumps({str(n): "x" * (n % 2) for n in range(12)}), 0.5),
        ("json", json.dumps({str(n): ["one", "list"] for n in range(12)}), None),
        ("json", json.dumps(["a", "list"]), None),
        ("jsonl", "{}\n" * 12, None),
    ],
)
def test_answers_of_kinds_without_candidates(tmp_path, ending, text, share):
    """Tags of all sentences, or texts of all answers, of which the empty one is one."""
    items = read_items(written(tmp_path, [{"f1": [0, 1]}] * 12, **{ending: text}), "f1")
    assert items.share == share
    assert items.constant is (share == 1.0)


def test_too_few_answers_say_nothing(tmp_path):
    for count, share in ((FEWEST_ANSWERS - 1, None), (FEWEST_ANSWERS, 1.0)):
        path = written(tmp_path / str(count), [{"accuracy": [1, 1], "ranking": [1, 0]}] * count)
        assert read_items(path, "accuracy").share == share


def test_a_broken_file_of_answers(tmp_path):
    path = written(tmp_path, [{"f1": [0, 1]}] * 12, json='{"0": ')
    with pytest.raises(DataError, match=r"test-qen\.json is not JSON"):
        read_items(path, "f1")
