"""The exact nearest neighbours by cosine, on a mesh: nothing is approximated, and no N x M matrix is ever held.

Candidates are split over the devices of the mesh, in groups of blocks; queries come a chunk at a time and meet one
group after the other. Chunks and blocks have few sizes, so that languages with more texts and with fewer share what is
compiled. Of each product of a chunk and a block the best k are kept: the k groups of columns with the greatest maxima
hold them, and only those are looked into (`lax.top_k` of whole rows takes about as long as a product of vectors of
width 256). `search_both` takes the k nearest of rows and of columns from the same products, so that both directions
cost half of two searches.

Products are of float32 at the highest precision. Their shapes do not depend on the number of devices, and among equals
the first wins: so neighbours and scores are the same on any mesh.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xling_jax.errors import NumericalError
from xling_jax.partitioning.feed import BATCH_SPEC, batch_multiple, everywhere, fetch, put
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.tables.meshes import MESHES

GROUP = 32  # scores whose maximum is looked at before themselves
MOST = 4096  # rows of a chunk or a block at most
BLOCKS = 8  # of a group, or as many more as devices have one each
# Up to so many texts on either side: rows of a chunk, and of a block.
SIZES = ((1024, 1024, 128), (8192, 1024, 1024))


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The k nearest of each of N texts, NxK: their cosines and numbers, the best first, the lowest of equals first."""

    scores: np.ndarray
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True)
class Index:
    """Candidates on a mesh: unit vectors, in blocks of one size; behind the last of `count` the rows are zeros."""

    groups: tuple[jax.Array, ...]  # each blocks x rows x D
    count: int
    mesh: Mesh

    def most(self, k: int) -> int:
        """Returns how many neighbours there are, if k are asked for."""
        return min(k, self.count)


def check_vectors(vectors: np.ndarray, names: Sequence[str]) -> None:
    """Raises NumericalError naming the first example whose vectors Nx... are not all finite."""
    for begin in range(0, len(vectors), MOST):  # of a million vectors a mask would be a quarter of their size
        part = vectors[begin : begin + MOST]
        wrong_N = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if wrong_N.any():
            raise NumericalError(
                f"The vector of example '{names[begin + int(wrong_N.argmax())]}' has values that are not finite.\n"
                "Allowed: numbers. The checkpoint is broken, or its states overflow (`dtype` of the config)."
            )


def centred(vectors_NxD: np.ndarray) -> np.ndarray:
    """Returns vectors without their mean."""
    return vectors_NxD - vectors_NxD.mean(axis=0, dtype=np.float64, keepdims=True).astype(vectors_NxD.dtype)


def build_index(*parts_MxD: np.ndarray, mesh: Mesh | None = None) -> Index:
    """Returns candidates, numbered through all parts, to be searched as often as one likes.

    The length of a vector does not count; one of no length is equally far from all queries. No mesh means one device.
    """
    mesh = mesh or build_mesh(MESHES["one"])
    count, width = sum(map(len, parts_MxD)), parts_MxD[0].shape[1]
    assert count, "an index of nothing"
    _, size = _sizes(count)
    blocks = BLOCKS + -BLOCKS % batch_multiple(mesh)
    groups = -(-count // (blocks * size))
    rows = np.zeros((groups, blocks, size, width), np.float32)
    flat_MxD, at = rows.reshape(-1, width), 0
    for part_MxD in parts_MxD:
        for unit in _units(part_MxD, MOST):
            flat_MxD[at : at + len(unit)] = unit
            at += len(unit)
    return Index(tuple(put(group, NamedSharding(mesh, BATCH_SPEC)) for group in rows), count, mesh)


def search(queries_NxD: np.ndarray, index: Index, k: int) -> Nearest:
    """Returns the k nearest candidates of each query, or all of fewer."""
    return _search(queries_NxD, index, k, both=False)[0]


def search_both(queries_NxD: np.ndarray, index: Index, k: int) -> tuple[Nearest, Nearest]:
    """Returns what `search` does, and the k nearest queries of each candidate."""
    return _search(queries_NxD, index, k, both=True)


def _search(queries_NxD: np.ndarray, index: Index, k: int, both: bool) -> tuple[Nearest, Nearest]:
    blocks, size, _ = index.groups[0].shape
    total, (chunk, _) = len(queries_NxD), _sizes(max(len(queries_NxD), index.count))
    mine, theirs = index.most(k), min(k, total) if both else 0
    program, whole = _program(index.mesh, mine, theirs), everywhere(index.mesh)
    best = [put(_nothing((blocks, size, theirs)), NamedSharding(index.mesh, BATCH_SPEC)) for _ in index.groups]
    parts, sent = [], None
    for number, unit in enumerate(_units(queries_NxD, chunk)):
        queries, found = put(_filled(unit, chunk), whole), put(_nothing((chunk, mine)), whole)
        for group, rows in enumerate(index.groups):
            bounds = (number * chunk, total, group * blocks * size, index.count)
            found, best[group] = program(queries, found, rows, best[group], tuple(map(np.int32, bounds)))
        if sent is not None:  # fetched while the next chunk is computed, and no more than two are under way
            parts.append(jax.device_get(sent))
        sent = found
    parts.append(jax.device_get(sent))
    nearest = Nearest(*(np.concatenate(arrays)[:total] for arrays in zip(*parts, strict=True)))
    columns, rows = zip(*(fetch(group, index.mesh) for group in best), strict=True), len(best) * blocks * size
    return nearest, Nearest(*(np.concatenate(arrays).reshape(rows, theirs)[: index.count] for arrays in columns))


def _sizes(count: int) -> tuple[int, int]:
    """Returns the rows of a chunk and of a block for so many texts."""
    return next(((chunk, block) for most, chunk, block in SIZES if count <= most), (MOST, MOST))


def _filled(rows_NxD: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows_NxD, ((0, size - len(rows_NxD)), (0, 0)))


def _units(vectors_NxD: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    """Yields unit vectors in float32, so many at a time; zeros stay zeros."""
    for begin in range(0, len(vectors_NxD), chunk):
        part_NxD = vectors_NxD[begin : begin + chunk].astype(np.float64)  # whose squares do not overflow
        length_N = np.sqrt(np.einsum("nd,nd->n", part_NxD, part_NxD))
        assert np.isfinite(length_N).all(), "vectors that `check_vectors` does not let pass"
        yield (part_NxD / np.where(length_N, length_N, 1.0)[:, None]).astype(np.float32)


def _nothing(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and numbers of no neighbours yet."""
    return np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int32)


Best = tuple[jax.Array, jax.Array]  # scores and numbers, ordered by score, and by number among equals


@functools.cache
def _program(mesh: Mesh, mine: int, theirs: int) -> Callable:
    """Returns a compiled search of a chunk of queries in a group: the `mine` nearest of each, also of those so far.

    With `theirs`, each candidate's so many nearest in the chunks so far are brought up to date, too. `bounds` are the
    number of the chunk's first query, how many queries there are in all, the group's first candidate, and how many
    candidates there are in all.
    """

    def of_device(queries_NxD, rows, best, firsts, bounds):
        begin, total, _, count = bounds

        def of_block(found: Best, block):
            rows_MxD, best_MxK, first = block
            scores_NxM = jnp.matmul(queries_NxD, rows_MxD.T, precision=lax.Precision.HIGHEST)
            found = _merged(found, _best_of_rows(scores_NxM, first, count, mine))
            if theirs:
                best_MxK = _merged(best_MxK, _best_of_columns(scores_NxM, begin, total, theirs))
            return found, best_MxK

        none = jax.tree.map(jnp.asarray, _nothing((len(queries_NxD), mine)))
        return lax.scan(of_block, none, (rows, best, firsts))

    def run(queries_NxD, so_far: Best, rows, best, bounds):
        firsts = bounds[2] + jnp.arange(rows.shape[0], dtype=jnp.int32) * rows.shape[1]
        inside = (PartitionSpec(), BATCH_SPEC, BATCH_SPEC, BATCH_SPEC, PartitionSpec())
        outside = (PartitionSpec(None, *BATCH_SPEC), BATCH_SPEC)  # what each device found of the queries, side by side
        sharded = jax.shard_map(of_device, mesh=mesh, in_specs=inside, out_specs=outside, check_vma=False)
        (scores_NxK, numbers_NxK), best = sharded(queries_NxD, rows, best, firsts, bounds)
        return _merged(so_far, _top(scores_NxK, numbers_NxK, mine)), best

    placed = everywhere(mesh), NamedSharding(mesh, BATCH_SPEC)
    return jax.jit(run, donate_argnums=3, out_shardings=placed)


def _top(scores_NxM: jax.Array, numbers_NxM: jax.Array, k: int) -> Best:
    """Returns the k best of each row. Equal scores stand in the order of their numbers, before and after."""
    scores_NxK, at_NxK = lax.top_k(scores_NxM, k)
    return scores_NxK, jnp.take_along_axis(numbers_NxM, at_NxK, axis=1)


def _merged(best: Best, more: Best) -> Best:
    """Returns the best of those so far, and of others whose numbers are greater."""
    scores, numbers = (jnp.concatenate(pair, axis=1) for pair in zip(best, more, strict=True))
    return _top(scores, numbers, best[0].shape[1])


def _best_of_rows(scores_NxM: jax.Array, first: jax.Array, count: jax.Array, k: int) -> Best:
    """Returns the k best columns of each row, whose numbers count from `first`; from `count` on there are none."""
    rows, columns = scores_NxM.shape
    number_1xM = first + jnp.arange(columns, dtype=jnp.int32)[None]
    scores_NxM = jnp.where(number_1xM < count, scores_NxM, -jnp.inf)
    groups = columns // GROUP
    if groups <= k:
        return _top(scores_NxM, jnp.broadcast_to(number_1xM, scores_NxM.shape), min(k, columns))
    grouped = scores_NxM.reshape(rows, groups, GROUP)
    which_NxK = _groups(grouped.max(axis=2), k)
    some = jnp.take_along_axis(grouped, which_NxK[:, :, None], axis=1)
    return _top(some.reshape(rows, -1), _numbers(which_NxK, first), k)


def _best_of_columns(scores_NxM: jax.Array, first: jax.Array, count: jax.Array, k: int) -> Best:
    """Returns the same of the rows of each column. The product is not transposed, which would take long."""
    rows, columns = scores_NxM.shape
    number_Nx1 = first + jnp.arange(rows, dtype=jnp.int32)[:, None]
    scores_NxM = jnp.where(number_Nx1 < count, scores_NxM, -jnp.inf)
    groups = rows // GROUP
    if groups <= k:
        return _top(scores_NxM.T, jnp.broadcast_to(number_Nx1.T, (columns, rows)), min(k, rows))
    grouped = scores_NxM.reshape(groups, GROUP, columns)
    which_MxK = _groups(grouped.max(axis=1).T, k)
    some = jnp.take_along_axis(grouped, which_MxK.T[:, None], axis=0)
    return _top(some.transpose(2, 0, 1).reshape(columns, -1), _numbers(which_MxK, first), k)


def _groups(maxima_NxG: jax.Array, k: int) -> jax.Array:
    """Returns the k groups of each row that hold its k best, in the order of their numbers, so that ties keep theirs.

    An element of another group is beaten by one of each of these, by its score, or by its number at equal scores.
    """
    return jnp.sort(lax.top_k(maxima_NxG, k)[1], axis=1)


def _numbers(which_NxK: jax.Array, first: jax.Array) -> jax.Array:
    inside = jnp.arange(GROUP, dtype=jnp.int32)[None, None]
    return (first + which_NxK[:, :, None] * GROUP + inside).reshape(len(which_NxK), -1)
