"""How near translations lie, against vectors whose neighbours are known."""

import numpy as np
import pytest

from xling_jax.errors import NumericalError
from xling_jax.eval.alignment import alignments, derangement
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.tables.meshes import MESHES

NAMES = [f"cell#{number}" for number in range(200)]


def found(vectors, centre=False, layers=(), mesh="one"):
    return alignments(vectors, NAMES[: len(vectors)], centre=centre, layers=layers, mesh=build_mesh(MESHES[mesh]))


def pairs(texts, pivots):
    """Returns one hidden state of pairs, Nx1x2xD."""
    return np.stack([np.asarray(texts, np.float32), np.asarray(pivots, np.float32)], axis=1)[:, None]


def test_directions_by_hand():
    """Four pairs on a circle. Pivot 3 lies beside text 0: it finds it, and no text finds pivot 3."""
    angles = np.radians([0, 90, 180, 270])
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    pivots = circle.copy()
    pivots[3] = [np.cos(0.1), np.sin(0.1)]
    (one,) = found(pairs(circle, pivots)).values()
    # Pivots find texts 0, 1, 2 and 0; texts find pivots 0, 1, 2, and text 3 the pivot 0 that is nearest among its own.
    assert one.accuracy == 75


def test_the_two_directions_are_averaged():
    """All pivots lie beside text 0: the pivots find it, one rightly; each text finds its own by a hair."""
    texts = np.eye(4)
    pivots = np.eye(4)[[0, 0, 0, 0]] + 0.01 * np.eye(4)
    (one,) = found(pairs(texts, pivots)).values()
    assert one.accuracy == pytest.approx(100 * (1 / 4 + 1) / 2)


def test_similarity_by_hand():
    """Translations at 60 degrees, all others at right angles: 0.5 less 0."""
    texts = np.hstack([np.eye(3), np.zeros((3, 3))])
    pivots = np.hstack([0.5 * np.eye(3), np.sqrt(0.75) * np.eye(3)])
    (one,) = found(pairs(texts, pivots)).values()
    assert one.accuracy == 100 and one.similarity == pytest.approx(0.5)


def test_lengths_do_not_count():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(50, 1, 2, 8)).astype(np.float32)
    longer = vectors * random.uniform(0.5, 4, size=(50, 1, 2, 1)).astype(np.float32)
    mine, theirs = found(vectors)[0], found(longer)[0]
    assert mine.accuracy == theirs.accuracy and mine.similarity == pytest.approx(theirs.similarity, abs=1e-6)


def test_what_all_have_in_common_is_no_similarity():
    """Vectors that have nothing to do with each other, all drawn in one direction: near 1 both, their difference 0."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(200, 1, 2, 16)).astype(np.float32) + 30
    assert abs(found(vectors)[0].similarity) < 0.01 and found(vectors)[0].accuracy < 3


def test_each_side_is_centred_alone():
    """A language that lies elsewhere as a whole is found once its mean is taken away."""
    random = np.random.default_rng(1)
    texts = random.normal(size=(50, 8)).astype(np.float32)
    moved = pairs(texts, texts + 20 * random.normal(size=8))
    assert found(moved, centre=True)[0].accuracy == 100
    assert found(moved, centre=True)[0].similarity == pytest.approx(1, abs=0.2)
    assert found(moved)[0].accuracy < 50


def test_layers():
    random = np.random.default_rng(1)
    same = random.normal(size=(50, 8))
    vectors = np.stack([pairs(same, random.normal(size=(50, 8)))[:, 0], pairs(same, same)[:, 0]], axis=1)
    assert {layer: one.accuracy == 100 for layer, one in found(vectors).items()} == {0: False, 1: True}
    assert [*found(vectors, layers=(1,))] == [1]


def test_any_mesh():
    vectors = np.random.default_rng(1).normal(size=(50, 2, 2, 8)).astype(np.float32)
    assert found(vectors, mesh="any") == found(vectors)


def test_what_is_not_finite_is_named():
    vectors = np.ones((4, 2, 2, 8), np.float32)
    vectors[2, 1, 0, 3] = np.nan
    with pytest.raises(NumericalError, match="example 'cell#2' has values that are not finite"):
        found(vectors)


@pytest.mark.parametrize("count", [2, 3, 10, 501])
def test_nobody_is_in_its_own_place(count):
    order = derangement(count)
    assert sorted(order) == [*range(count)] and not (order == np.arange(count)).any()
    assert (order == derangement(count)).all(), "the same every time"
