"""Real label files: as their own predictions they score 100 in every language, shuffled what chance says."""

import collections
import json
import pathlib
import random

import numpy as np
import pytest

from xling_jax.doors.data_labels import run
from xling_jax.scoring.submission import evaluate
from xling_jax.tables.benchmarks import BENCHMARKS, Benchmark

XTREME, XTREME_R = (BENCHMARKS[name].entries for name in ("xtreme", "xtreme_r"))
# All tasks of both, in the languages of the larger; then what has labels in other splits alone, in some languages.
ROWS = {
    "test": Benchmark("both", (*XTREME_R, *(entry for entry in XTREME if entry.name in ("pawsx", "bucc2018")))),
    "dev": Benchmark("dev", tuple(entry for entry in XTREME if entry.name in ("panx", "mlqa", "bucc2018"))),
    "train": Benchmark("train", tuple(entry for entry in XTREME if entry.name == "tydiqa")),
}
EXPECTED = {
    "test": {"xnli": 15, "xcopa": 11, "udpos": 32, "panx": 6, "xquad": 11, "lareqa": 11, "tatoeba": 36, "pawsx": 7},
    "dev": {"panx": 39, "mlqa": 7, "bucc2018": 1},
    "train": {"tydiqa": 3},
}
# How many artificial legs had he? "Una": one of the 500 answers is an article to MLQA's rule and nothing else, and what
# is nothing on both sides has an F1 of 0.
LESS = {("mlqa", "f1", "es"): 99.8}


@pytest.fixture(scope="module")
def labels(data_dir, tmp_path_factory):
    """Returns a function that writes the labels of a split once, and returns their folder."""
    made: dict[str, pathlib.Path] = {}

    def make(split):
        if split not in made:
            made[split] = tmp_path_factory.mktemp(split)
            run(ROWS[split], made[split], split, data_dir)
        return made[split]

    return make


def questions(path):
    """Returns the questions of a label file of SQuAD's JSON; None if it is something else."""
    document = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}
    if "data" not in document:
        return None
    return [each for article in document["data"] for paragraph in article["paragraphs"] for each in paragraph["qas"]]


def predict(folder, out, answer):
    """Writes a file of predictions for each of labels: `answer` takes its lines, questions or {id: candidates}."""
    for path in folder.rglob("*-*"):
        if path.is_file():
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(answer(path), encoding="utf-8")


def gold_answers(path):
    asked = questions(path)
    if asked is None:
        return path.read_text(encoding="utf-8")
    return json.dumps({question["id"]: question["answers"][0]["text"] for question in asked})


@pytest.mark.parametrize(
    "split", [pytest.param(name, marks=pytest.mark.slow if name == "test" else ()) for name in ROWS]
)
def test_gold_answers_score_100(labels, tmp_path, split):
    folder = labels(split)
    predict(folder, tmp_path, gold_answers)
    report = evaluate(ROWS[split], tmp_path, folder, split, partial=True)
    there = {
        task: len(next(by for by in detail.values() if isinstance(by, dict)))
        for task, detail in report.detailed.items()
    }
    assert there == EXPECTED[split]
    assert less_than_100(report.detailed) == (LESS if split == "dev" else {})
    assert less_than_100(report.corrected) == {}


def less_than_100(part):
    """Returns {(task, metric, language): percent}."""
    every = {
        (task, metric, code): percent
        for task, detail in part.items()
        for metric, by in detail.items()
        if isinstance(by, dict)
        for code, percent in by.items()
    }
    return {key: percent for key, percent in every.items() if percent != 100}


def shuffled(path):
    """Returns the lines of a file of labels in another order, sentences of tags with theirs within the file."""
    rng = random.Random(path.name)
    lines = path.read_text(encoding="utf-8").splitlines()
    order = [line for line in lines if line]
    rng.shuffle(order)
    order = iter(order)
    return "".join(f"{next(order) if line else ''}\n" for line in lines)


def said(line):
    """Returns the label of a line: of XCOPA's without its id."""
    return json.loads(line)["label"] if line.startswith("{") else line


@pytest.mark.slow
@pytest.mark.parametrize("task", ["xnli", "xcopa", "pawsx", "udpos", "tatoeba"])
def test_shuffled_labels_score_what_chance_says(labels, tmp_path, task):
    """Of n labels c are one word, and a shuffled label stands at one of their places with probability c / n.

    So the expected share of right ones is the sum of squared shares, exactly. Its variance is that of a sum over a
    random permutation (Hoeffding 1951, A combinatorial central limit theorem); five standard deviations are
    allowed, which one of the hundred languages leaves in one of 20,000 orders, and the order is always the same.
    """
    folder = labels("test") / task
    predict(folder, tmp_path / task, shuffled)
    report = evaluate(ROWS["test"], tmp_path, folder.parent, partial=True)
    part = report.corrected if task == "udpos" else report.detailed
    for code, percent in part[task]["accuracy"].items():
        (path,) = folder.glob(f"test-{code}.*")
        counts = collections.Counter(said(line) for line in path.read_text().splitlines() if line)
        total = counts.total()
        share_Y = np.array(list(counts.values())) / total
        expected = (share_Y**2).sum()
        centred_YxY = np.eye(len(share_Y)) - share_Y[:, None] - share_Y[None, :] + expected
        variance = (np.outer(share_Y, share_Y) * centred_YxY**2).sum() / (total - 1)
        assert abs(percent / 100 - expected) < 5 * np.sqrt(variance), (code, percent, 100 * expected)


@pytest.mark.slow
def test_shuffled_answers_score_next_to_nothing(labels, tmp_path):
    """XQuAD's answers, each given to another question: what is left is answers that are alike, of the same length."""

    def turn(path):
        asked = questions(path)
        if asked is None:
            return path.read_text(encoding="utf-8")
        texts = [question["answers"][0]["text"] for question in asked]
        return json.dumps({question["id"]: texts[at - 400] for at, question in enumerate(asked)})

    folder = labels("test")
    predict(folder, tmp_path, turn)
    report = evaluate(ROWS["test"], tmp_path, folder, partial=True)
    for metric in ("f1", "exact_match"):
        assert all(percent < 10 for percent in report.detailed["xquad"][metric].values()), metric
    assert all(percent > 0 for percent in report.detailed["xquad"]["f1"].values())
