"""Exact neighbours: against a slow reading, in both directions, with ties, on any mesh."""

import jax
import numpy as np
import pytest

from xling_jax.errors import NumericalError
from xling_jax.eval import search as module
from xling_jax.eval.search import Nearest, build_index, centred, check_vectors, search, search_both
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.tables.meshes import Mesh

MESHES = {1: Mesh("t", 1), 2: Mesh("t", 1, 2), 8: Mesh("t", 2, 2, 2)}


def mesh(devices: int) -> jax.sharding.Mesh:
    return build_mesh(MESHES[devices], jax.devices()[:devices])


def slow(queries: np.ndarray, candidates: np.ndarray, k: int) -> Nearest:
    """Returns the neighbours by sorting all cosines; the first of equals first."""

    def unit(x):
        x = x.astype(np.float64)
        return x / np.maximum(np.sqrt((x**2).sum(axis=1)), 1e-300)[:, None]

    cosines = unit(queries) @ unit(candidates).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Nearest(np.take_along_axis(cosines, order, axis=1), order)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same(found: Nearest, wanted: Nearest) -> None:
    assert found.numbers.tolist() == wanted.numbers.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=3e-7)  # float32 sums of 24 products


def several_chunks(monkeypatch) -> None:
    """Of 600 texts there are three then, and of 300 candidates on one device three groups, each a block of 128 rows."""
    monkeypatch.setattr(module, "SIZES", ((2000, 256, 128),))
    monkeypatch.setattr(module, "BLOCKS", 1)


# Of 128 rows there are 4 groups: more than k of them, as many, fewer; and all rows of a block or fewer are asked for.
@pytest.mark.parametrize("k", [1, 3, 4, 7, 200])
@pytest.mark.parametrize("devices", MESHES)
def test_both_directions_against_a_slow_reading(k, devices, monkeypatch):
    several_chunks(monkeypatch)
    queries, candidates = draw(0, 600, 24), draw(1, 300, 24)
    found, back = search_both(queries, build_index(candidates, mesh=mesh(devices)), k)
    same(found, slow(queries, candidates, k))
    same(back, slow(candidates, queries, k))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_equal_scores_stand_in_the_order_of_their_numbers(k, monkeypatch):
    """Of axes and their opposites all cosines are exactly 1, 0 or -1."""
    several_chunks(monkeypatch)
    rng = np.random.default_rng(2)
    queries, candidates = (np.eye(4)[rng.integers(0, 4, n)] * rng.choice([-1, 2], (n, 1)) for n in (500, 700))
    candidates[:9] = 0  # no direction: a cosine of 0 with everything
    for devices in MESHES:
        found, back = search_both(queries, build_index(candidates, mesh=mesh(devices)), k)
        assert found.numbers.tolist() == slow(queries, candidates, k).numbers.tolist()
        assert back.numbers.tolist() == slow(candidates, queries, k).numbers.tolist()


def test_equals_of_two_groups_stand_in_order_where_the_later_group_has_the_best():
    """40 is the best of all; 5 and 41 are equal, and 41 stands in the group of 40."""
    many = np.tile([[-1.0, 0.0]], (300, 1))
    many[[5, 41]], many[40] = (1, 1), (1, 0)
    one = np.array([[2.0, 0.0]])
    assert search(one, build_index(many), 3).numbers.tolist() == [[40, 5, 41]]
    assert search_both(many, build_index(one), 3)[1].numbers.tolist() == [[40, 5, 41]]


def test_every_mesh_gives_the_same_bits():
    queries, candidates = draw(3, 700, 96), draw(4, 900, 96)
    found = [search_both(queries, build_index(candidates, mesh=mesh(devices)), 4) for devices in MESHES]
    for other in found[1:]:
        for nearest, first in zip(other, found[0], strict=True):
            assert nearest.numbers.tobytes() == first.numbers.tobytes()
            assert nearest.scores.tobytes() == first.scores.tobytes()


def test_lengths_do_not_count_and_candidates_may_be_reordered():
    queries, candidates = draw(5, 40, 8), draw(6, 50, 8)
    wanted = search(queries, build_index(candidates), 5)
    lengths = np.exp(draw(7, 50, 1) * 9)
    found = search(queries * np.float32(1e-30), build_index(candidates * lengths), 5)
    same(found, wanted)
    order = np.random.default_rng(8).permutation(50)
    moved = search(queries, build_index(candidates[order]), 5)
    assert order[moved.numbers].tolist() == wanted.numbers.tolist()
    assert (np.abs(found.scores) <= 1 + 1e-6).all() and (np.diff(found.scores) <= 0).all()


def test_one_search_is_the_first_half_of_both():
    queries, index = draw(9, 20, 8), build_index(draw(10, 30, 8))
    assert search(queries, index, 3).numbers.tolist() == search_both(queries, index, 3)[0].numbers.tolist()


def test_fewer_candidates_than_are_asked_for():
    found, back = search_both(np.array([[1.0, 0.0]]), build_index(np.array([[-1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])), 9)
    assert found.numbers.tolist() == [[2, 1, 0]] and found.scores.tolist() == [[1, 0, -1]], "what fills up is not found"
    assert back.numbers.tolist() == [[0]] * 3 and back.scores.tolist() == [[-1], [0], [1]]


def test_parts_are_numbered_through():
    queries, candidates = draw(13, 9, 8), draw(14, 300, 8)
    found = search(queries, build_index(candidates[:7], candidates[7:200], candidates[200:]), 4)
    same(found, slow(queries, candidates, 4))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_vectors_that_are_not_numbers_are_named(wrong, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    vectors, names = draw(11, 6, 2, 4), [f"de.{at}" for at in range(6)]
    check_vectors(vectors, names)
    vectors[3, 1, 2] = wrong
    with pytest.raises(NumericalError, match=r"'de\.3' has values that are not finite"):
        check_vectors(vectors, names)


def test_centring_takes_the_mean_away():
    vectors = draw(12, 50, 3) + 1000
    assert np.abs(centred(vectors).mean(axis=0)).max() < 1e-3  # float32 numbers at 1000 are 6e-5 apart
    assert centred(vectors).dtype == np.float32
