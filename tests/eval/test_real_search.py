"""BUCC and LAReQA as they were published: what knows the answers scores 100, and what guesses next to nothing."""

import numpy as np
import pytest

from xling_jax.data.sources import read
from xling_jax.eval import dual_encoder, mining
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target
from xling_jax.protocol import Protocol
from xling_jax.scoring.metrics import score, value
from xling_jax.tables.tasks import Cell, cells, parse_cells


def outputs_of(vectors: np.ndarray) -> Outputs:
    made = Outputs(np.arange(len(vectors)), len(vectors))
    made.add(np.arange(len(vectors)), {"vectors": vectors})
    return made


def draw(seed: int, count: int, width: int) -> np.ndarray:
    """Returns vectors of a length of about 1."""
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32) / np.float32(width**0.5)


@pytest.mark.slow
def test_bucc(data_dir):
    (cell,) = parse_cells("bucc2018.dev.zh")
    raw = list(read(cell, data_dir))
    number = {example["id"]: at for at, example in enumerate(raw)}
    vectors, pairs = draw(0, len(raw), 64), [(at, number[name]) for at, e in enumerate(raw) for name in e["gold"]]
    language, pivot = np.array(pairs).T
    setting = Setting(Target(task="bucc2018", split="dev", protocol=Protocol(margin="ratio")))

    def f1(vectors):
        return value(score("mining", raw, mining.answers(outputs_of(vectors), raw, setting))["f1"])

    assert f1(vectors) < 1
    vectors[pivot] = vectors[language] + 0.1 * vectors[pivot]
    assert f1(vectors) == 100
    vectors[pivot] = np.roll(vectors[pivot], 1, axis=0)
    assert f1(vectors) < 1, "each sentence has the vector of another's translation"


@pytest.mark.slow
def test_lareqa(data_dir):
    """A candidate's vector is the sum of those of the questions it answers; most answer one, and some five."""
    found = {cell: list(read(cell, data_dir)) for cell in cells("lareqa", "candidates")}
    at = {example["id"]: (cell, place) for cell, raw in found.items() for place, example in enumerate(raw)}
    vectors = {cell: draw(seed, len(raw), 512) for seed, (cell, raw) in enumerate(found.items())}
    questions = list(read(Cell("lareqa", "test", "en"), data_dir))
    asked = draw(99, len(questions), 512)
    for question, vector in zip(questions, asked, strict=True):
        for name in question["gold"]:
            cell, place = at[name]
            vectors[cell][place] += 4 * vector
    setting = Setting(Target(task="lareqa"))
    candidates = {cell: (outputs_of(vectors[cell][:, None]), raw) for cell, raw in found.items()}
    beside = dual_encoder.gather(candidates, setting)
    assert beside.index.count == 13014

    def average_precision(asked, raw):
        answers = dual_encoder.answers(outputs_of(asked[:, None]), raw, Setting(setting.target, beside=beside))
        return value(score("dual_encoder", raw, answers)["map@20"])

    for code in ("en", "th"):
        raw = list(read(Cell("lareqa", "test", code), data_dir))
        assert [example["id"] for example in raw] == [example["id"] for example in questions]
        assert average_precision(asked, raw) == 100
        assert average_precision(np.roll(asked, 500, axis=0), raw) < 1
