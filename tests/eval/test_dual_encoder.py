"""Queries among the candidates of all languages, which are encoded once."""

import collections
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answered import Given, answers

from xling_jax.errors import NumericalError
from xling_jax.eval.suite import Evaluator, OpenCell, Setting
from xling_jax.experiment import Target
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.scoring.metrics import CUT
from xling_jax.tables.meshes import Mesh
from xling_jax.tables.tasks import Cell, cells

LANGUAGES = [cell.language for cell in cells("lareqa", "candidates")]
QUESTIONS = 40
MEANT = np.random.default_rng(0).standard_normal((QUESTIONS, 32)).astype(np.float32)  # of a question and its answers


def candidates(language: str) -> list[dict]:
    """Returns as many sentences as questions; sentence number n answers question n."""
    return [{"id": f"{language}_{at}", "side": "candidate", "gold": []} for at in range(QUESTIONS)]


def questions() -> list[dict]:
    gold = [[f"{code}_{at}" for code in LANGUAGES] for at in range(QUESTIONS)]
    return [{"id": f"q{at}", "side": "query", "gold": gold[at]} for at in range(QUESTIONS)]


def vectors(cell: Cell) -> np.ndarray:
    """Returns what a head says that knows what is meant, and a little of the language."""
    seed = 1 + LANGUAGES.index(cell.language) + 100 * (cell.split == "test")
    return MEANT + 0.1 * np.random.default_rng(seed).standard_normal(MEANT.shape).astype(np.float32)


def evaluator(opened: collections.Counter, change=lambda x, cell: x, devices: int = 1, **fields) -> Evaluator:
    target = Target(task="lareqa")

    def open_cell(cell):
        opened[str(cell)] += 1
        raw = questions() if cell.split == "test" else candidates(cell.language)
        given = change(vectors(cell), cell)[:, None]
        return OpenCell(cell, raw, Given({"v": given}, 16), {}, {})

    mesh = build_mesh(Mesh("t", devices), jax.devices()[:devices])
    said = answers(lambda batch: {"vectors": jnp.asarray(batch["v"])})
    return Evaluator(Setting(target, mesh, **fields), said, open_cell)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predictions")


def test_answers_of_all_languages_are_found_and_encoded_once(folder):
    opened = collections.Counter()
    evaluate = evaluator(opened, probabilities=True)
    found = list(evaluate([Cell("lareqa", "test", code) for code in ("th", "en")], folder))
    assert [values for values, _ in found] == [{"map@20": 100.0}] * 2
    assert [cell.cell.language for _, cell in found] == ["th", "en"]
    assert opened == {f"lareqa.candidates.{code}": 1 for code in LANGUAGES} | {"lareqa.test.th": 1, "lareqa.test.en": 1}


def test_the_file_has_twenty_candidates_of_each_query(folder):
    found = json.loads((folder / "lareqa" / "test-th.json").read_text())
    assert list(found) == [f"q{at}" for at in range(QUESTIONS)]
    assert {len(ids) for ids in found.values()} == {CUT}
    assert set(found["q7"][:11]) == {f"{code}_7" for code in LANGUAGES}
    items = [json.loads(line) for line in (folder / "lareqa" / "test-th.items.jsonl").read_text().splitlines()]
    scores = items[0]["scores"]
    assert len(scores) == CUT and scores == sorted(scores, reverse=True) and 0.9 < scores[0] <= 1.000001


def test_a_model_that_knows_its_own_language_only_finds_one_in_eleven(tmp_path):
    def lost(given, cell):
        return given if cell.language == "th" else -given

    ((values, _),) = evaluator(collections.Counter(), lost)([Cell("lareqa", "test", "th")], tmp_path)
    ranked = json.loads((tmp_path / "lareqa" / "test-th.json").read_text())
    assert [ids[0] for ids in ranked.values()] == [f"th_{at}" for at in range(QUESTIONS)]
    assert values["map@20"] == pytest.approx(100 / 11)


def test_every_mesh_ranks_the_same(tmp_path):
    def blurred(given, cell):
        return given * (np.arange(32) < 5)

    files, values = [], []
    for devices in (1, 2, 8):
        ((value, _),) = evaluator(collections.Counter(), blurred, devices)([Cell("lareqa", "test", "de")], tmp_path)
        values.append(value["map@20"])
        files.append((tmp_path / "lareqa" / "test-de.json").read_text())
    assert files[0] == files[1] == files[2]
    assert values[0] == values[1] == values[2] < 100


def test_probabilities_that_are_not_asked_for_are_not_written(tmp_path):
    assert len([*evaluator(collections.Counter())([Cell("lareqa", "test", "de")], tmp_path)]) == 1
    lines = (tmp_path / "lareqa" / "test-de.items.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"id": "q0", "map@20": [1.0, 1.0]}


def test_a_candidate_that_is_no_number_is_named():
    def broken(given, cell):
        given[3] = np.nan if cell.language == "hi" else given[3]
        return given

    with pytest.raises(NumericalError, match="'hi_3'"):
        next(evaluator(collections.Counter(), broken)([Cell("lareqa", "test", "de")]))
