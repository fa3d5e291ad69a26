"""Adafactor (Shazeer and Stern 2018, arXiv 1804.04235) as T5 uses it, for parameters whose layers are stacked.

optax.adafactor takes a leaf's two longest axes for a matrix, and a whole leaf for one parameter. Here a kernel may have
its heads on two axes, and all layers stacked; so what is a row, a column or a matrix of its own is told by the names of
the axes, as in t5x. Each layer's matrix is then treated as optax treats a matrix.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from xling_jax import axes

DECAY = 0.8  # the average of squares forgets by 1 - step ** -DECAY
SMALLEST = 128  # rows and columns that a matrix must have; smaller ones are not worth factoring
TINY = 1e-30  # added to squares
LEAST_SCALE = 1e-3  # of a parameter that is all zeros, say
CLIP = 1.0  # root mean square of an update before the parameter's scale

Names = tuple[str | None, ...]
Axes = tuple[int, ...]


class AdafactorState(NamedTuple):
    """Averages of squared gradients: of factored parameters over columns and over rows, of others whole."""

    count: jax.Array
    rows: dict
    columns: dict
    whole: dict


def _roles(names: Names, shape: tuple[int, ...]) -> tuple[Axes, Axes, Axes]:
    """Returns the axes that are (averaged over inside one parameter, rows, columns); no rows if it is not factored."""
    own = tuple(at for at, name in enumerate(names) if name != axes.LAYERS)
    rows = tuple(at for at in own if names[at] == axes.EMBED)
    columns = tuple(at for at in own if at not in rows)
    sizes = [_size(shape, part) for part in (rows, columns)]
    return (own, rows, columns) if rows and columns and min(sizes) >= SMALLEST else (own, (), ())


def _size(shape: tuple[int, ...], of: Axes) -> int:
    size = 1
    for at in of:
        size *= shape[at]
    return size


def _without(leaf, gone: Axes):
    """Returns float32 zeros with some axes left out. A box keeps the names of those that stay."""
    boxed = isinstance(leaf, nn.Partitioned)
    shape = leaf.value.shape if boxed else leaf.shape
    stay = [at for at in range(len(shape)) if at not in gone]
    zeros = jnp.zeros([shape[at] for at in stay], jnp.float32)
    return leaf.replace(value=zeros, names=tuple(leaf.names[at] for at in stay)) if boxed else zeros


def _rms(x: jax.Array, over: Axes) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x), axis=over, keepdims=True))


def scale_by_adafactor(names: Mapping[str, Names]) -> optax.GradientTransformation:
    """Returns Adafactor without momentum and without learning rate. `names`: of each parameter's axes, by its path."""

    def init(params):
        rows, columns, whole = {}, {}, {}
        for path, leaf in flatten_dict(params, sep="/").items():
            _, row_axes, column_axes = _roles(names[path], nn.meta.unbox(leaf).shape)
            if row_axes:
                rows[path], columns[path] = _without(leaf, column_axes), _without(leaf, row_axes)
            else:
                whole[path] = _without(leaf, ())
        trees = (unflatten_dict(part, sep="/") for part in (rows, columns, whole))
        return AdafactorState(jnp.zeros((), jnp.int32), *trees)

    def update(updates, state, params=None):
        decay = 1.0 - (state.count + 1.0) ** -DECAY
        flat = [flatten_dict(tree, sep="/") for tree in (params, *state[1:])]
        values, *averages = flat
        steps: dict = {}
        for path, gradient in flatten_dict(updates, sep="/").items():
            own, row_axes, column_axes = _roles(names[path], gradient.shape)
            squares = jnp.square(gradient) + TINY

            def averaged(number, over, path=path, squares=squares):
                """Returns the new average over some axes, which stay in it with size 1, and keeps it."""
                old = averages[number][path]
                new = decay * old + (1.0 - decay) * squares.mean(axis=over)
                averages[number][path] = new
                return jnp.expand_dims(new, over)

            if row_axes:
                row, column = averaged(0, column_axes), averaged(1, row_axes)
                step = gradient * jax.lax.rsqrt(row / row.mean(axis=row_axes, keepdims=True)) * jax.lax.rsqrt(column)
            else:
                step = gradient * jax.lax.rsqrt(averaged(2, ()))
            step = step / jnp.maximum(1.0, _rms(step, own) / CLIP)
            steps[path] = step * jnp.maximum(LEAST_SCALE, _rms(values[path], own))
        trees = (unflatten_dict(part, sep="/") for part in averages)
        return unflatten_dict(steps, sep="/"), AdafactorState(state.count + 1, *trees)

    return optax.GradientTransformation(init, update)
