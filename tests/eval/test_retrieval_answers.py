"""Retrieval: which side asks, margins, centring, the layout of XTREME, all layers at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.errors import NumericalError
from xling_jax.eval import retrieval
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting
from xling_jax.experiment import Target
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.protocol import ALL, Protocol
from xling_jax.scoring.metrics import score, value
from xling_jax.stages.reading import Ask, of_texts
from xling_jax.tables.meshes import Mesh

RAW = [{"id": name} for name in "abc"]


def setting(**fields) -> Setting:
    return Setting(Target(task="tatoeba", protocol=Protocol(**fields)))


def outputs_of(vectors: np.ndarray) -> Outputs:
    made = Outputs(np.arange(len(vectors)), len(vectors))
    made.add(np.arange(len(vectors)), {"vectors": vectors})
    return made


def answers(language, pivot, how, raw=RAW):
    vectors = np.stack([np.asarray(language, np.float32), np.asarray(pivot, np.float32)], axis=1)
    return retrieval.answers(outputs_of(vectors), raw[: len(vectors)], how)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_side_that_asks_decides():
    """Both pivot texts point at b; the texts of the language both point at a."""
    language, pivot = [[1, 0], [1, 0.6]], [[1, 0.5], [1, 2]]
    assert answers(language, pivot, setting(centre=False)) == ["b", "b"]
    assert answers(language, pivot, setting(centre=False, queries="language")) == ["a", "a"]


def test_centring_takes_a_language_out_of_its_vectors():
    language = np.array([[5.0, 1.0], [5.0, -1.0], [6.0, 0.0]])
    pivot = language + np.array([[-11.0, 9.0]])
    assert answers(language, pivot, setting(centre=True)) == ["a", "b", "c"]
    assert answers(language, pivot, setting(centre=False)) != ["a", "b", "c"]


@pytest.mark.parametrize("margin", ["distance", "ratio"])
def test_a_margin_passes_over_what_is_near_to_everything(margin):
    """c, between all others, is nearest to most; what it is to them all is no sign of a translation."""
    language = [[1, 0, 0.5], [0, 1, 0.5], [1, 1, 2]]
    pivot = [[1, 0, 1.5], [0, 1, 1.5], [1, 1, 4]]
    assert answers(language, pivot, setting(centre=False)) == ["c", "c", "c"]
    assert answers(language, pivot, setting(centre=False, margin=margin, k=3)) == ["a", "b", "c"]


def test_a_margin_looks_at_k_neighbours_and_no_further():
    how = {"centre": False, "margin": "ratio"}
    language, pivot = draw(0, 40, 6) + 1, draw(1, 40, 6) + 1
    raw = [{"id": str(at)} for at in range(40)]
    found = {k: answers(language, pivot, setting(k=k, **how), raw) for k in (1, 4, 40, 99)}
    assert found[1] == answers(language, pivot, setting(centre=False), raw), "of one neighbour the margin is no choice"
    assert found[4] != found[1] and found[99] == found[40]


def test_the_file_is_in_the_order_of_the_sorted_pivot_as_xtreme_has_it():
    """XTREME sorts the English lines, without the space around them, and leaves the others where they are."""
    raw = [{"id": f"x{at}", "text_pair": text} for at, text in enumerate(["You.", " A b.", "A b.", "Z", "I"])]
    gold = [example["id"] for example in raw]
    assert retrieval.submission(gold, raw) == ("tsv", "1\n2\n4\n0\n3\n"), "equal lines keep their order"
    assert retrieval.submission(["x3", "x0", "x0", "x0", "x1"], raw)[1] == "0\n0\n1\n3\n0\n"


def test_right_vectors_score_100_and_copies_find_the_first():
    raw = [{"id": str(at)} for at in range(50)]
    language, pivot = draw(2, 50, 8), draw(2, 50, 8) * 7
    assert value(score("retrieval", raw, answers(language, pivot, setting(), raw))["accuracy"]) == 100
    language[7] = language[3]
    pivot[7] = pivot[3]
    found = answers(language, pivot, setting(), raw)
    assert found[7] == found[3] == "3"


def test_all_layers_at_once_answer_as_each_of_them():
    """Ten rows of four texts, both texts of two pairs."""
    vectors = draw(3, 4, 20, 2, 8) + draw(4, 1, 20, 1, 8)
    raw = [{"id": str(at)} for at in range(20)]
    index = np.arange(40).reshape(10, 4)
    batch = {"input_ids": np.zeros((10, 24)), "index": index, "first": 6 * (index % 4), "lengths": np.full((10, 4), 6)}
    batch["cell"] = np.where(index < 0, -1, 0)

    def outputs(how, answer):
        made = Outputs(np.arange(20), 20, (2,))
        fetched = Ask.of(how.target).device(jnp.asarray(answer))
        made.add(np.arange(40), of_texts({name: np.asarray(array) for name, array in fetched.items()}, batch))
        return made

    everything = outputs(setting(layer=ALL), vectors.reshape(4, 10, 4, 8))
    assert everything.stack("vectors").shape == (20, 2, 4, 8)
    found = retrieval.layer_scores(everything, raw, setting(layer=ALL))
    for layer in range(4):
        one = outputs(setting(layer=layer), vectors[layer].reshape(10, 4, 8))
        np.testing.assert_array_equal(one.stack("vectors"), vectors[layer])
        assert found[layer] == retrieval.answers(one, raw, setting(layer=layer))
    assert len({str(answer) for answer in found.values()}) > 1


def test_every_mesh_finds_the_same():
    language, pivot = draw(5, 300, 8), draw(5, 300, 8) + draw(6, 300, 8)
    raw = [{"id": str(at)} for at in range(300)]
    for how in (setting(), setting(margin="ratio")):
        found = []
        for devices in (1, 2, 8):
            mesh = build_mesh(Mesh("t", devices), jax.devices()[:devices])
            found.append(answers(language, pivot, dataclasses.replace(how, mesh=mesh), raw))
        assert found[0] == found[1] == found[2]


def test_a_vector_that_is_no_number_names_its_pair():
    pivot = draw(7, 3, 4)
    pivot[1, 1] = np.inf
    with pytest.raises(NumericalError, match="'b'"):
        answers(draw(8, 3, 4), pivot, setting())
