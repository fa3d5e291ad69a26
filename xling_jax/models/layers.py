"""What layers of every family are made of: projections, norms, dropout, and the stack of layers itself."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax import axes
from xling_jax.models.lora import SCALE, A, B

# What a layer keeps of its own forward pass for its gradient; the rest is computed again. "none" keeps everything.
REMAT = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keeps products with parameters
    "full": jax.checkpoint_policies.nothing_saveable,
}
ROWS = "rows"  # a collection of variables: of an embedding, rows "embedding" UxD and their "ids" U, sorted
# To write down what lies between their input and output, and to read it again, costs more than to compute it again.
CheapNorm = nn.remat(nn.LayerNorm, prevent_cse=False)
CHEAP = functools.partial(jax.checkpoint, prevent_cse=False)
SCAN_FROM = 5  # up to four layers, unrolled code is faster and compiles in the same time


def normal(*names: str | None, std: float = 0.02):
    """Returns an initializer from a normal distribution, named for sharding."""
    return nn.with_logical_partitioning(nn.initializers.normal(std), names)


def zeros(*names: str):
    """Returns an initializer of zeros, named for sharding."""
    return nn.with_logical_partitioning(nn.initializers.zeros, names)


def ones(*names: str):
    """Returns an initializer of ones, named for sharding."""
    return nn.with_logical_partitioning(nn.initializers.ones, names)


def product(x: jax.Array, kernel: jax.Array, count: int) -> jax.Array:
    """Returns the last `count` axes of x times the first ones of a kernel, as one product of two matrices.

    With several axes of tokens, XLA's CPU compiler would transpose both operands of the kernel's gradient beforehand.
    """
    size = math.prod(kernel.shape[:count])
    flat = x.reshape(-1, size) @ kernel.reshape(size, -1)
    return flat.reshape(*x.shape[: x.ndim - count], *kernel.shape[count:])


class Dense(nn.Module):
    """A projection from the last axes to new ones, named for sharding; with adapters if the config's `lora` says so.

    Flax's own DenseGeneral makes its kernel flat and gives it a shape afterwards, and under a mesh the
    flat kernel is refused by the sharding meant for the other shape.
    """

    config: Any  # the family's configuration: `dtype` is that of the product, `lora` says which have adapters
    features: tuple[int, ...]
    inputs: tuple[str, ...] = (axes.EMBED,)
    outputs: tuple[str, ...] = (axes.MLP,)
    bias: bool = True
    std: float = 0.02  # of a fresh kernel

    @nn.compact
    def __call__(self, x):
        """Returns x with its last `len(inputs)` axes projected to `features`."""
        shape = (*x.shape[-len(self.inputs) :], *self.features)
        kernel = self.param("kernel", normal(*self.inputs, *self.outputs, std=self.std), shape)
        dtype = self.config.dtype
        y = product(x.astype(dtype), kernel.astype(dtype), len(self.inputs))
        if self.bias:
            bias = self.param("bias", zeros(*self.outputs), self.features)
            y = y + jnp.broadcast_to(bias.astype(dtype), y.shape)
        return y + self._adapted(x) if self.config.lora.adapts(self.name) else y

    @nn.nowrap
    def _adapted(self, x):
        """Returns (x A) B * alpha / rank, which is zero at first; no product is larger than x or the output.

        A is drawn as the authors' code draws it, uniform with a third of the variance 1 / inputs.
        """
        lora, dtype, count = self.config.lora, self.config.dtype, len(self.inputs)
        draw = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=tuple(range(count)))
        named = nn.with_logical_partitioning
        a: Any = self.param(A, named(draw, (*self.inputs, axes.RANK)), (*x.shape[-count:], lora.rank))
        b: Any = self.param(B, zeros(axes.RANK, *self.outputs), (lora.rank, *self.features))
        scale: Any = self.param(SCALE, named(nn.initializers.constant(lora.alpha / lora.rank), ()), ())
        if lora.dropout and self.has_rng("dropout"):  # which only training has
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - lora.dropout, (*a.shape[:-1], 1))
            a = jnp.where(kept, a / (1 - lora.dropout), 0)
        inside = product(x.astype(dtype), a.astype(dtype), count)
        return product(inside, b.astype(dtype), 1) * scale.astype(dtype)


def take_places(values: jax.Array, places_BxS: jax.Array) -> jax.Array:
    """Returns BxS... of BxL...: the values at places of their rows."""
    return jnp.take_along_axis(values, places_BxS.reshape(*places_BxS.shape, *(1,) * (values.ndim - 2)), axis=1)


class Words(nn.Embed):
    """Embeddings of tokens; looked up among a few rows where these are given, beside the parameters, as ROWS.

    So the gradient of a step can be that of the rows of its tokens, of which all must be given.
    """

    def __call__(self, inputs):
        """Returns (..., D) of integers."""
        if not self.has_variable(ROWS, "embedding"):
            return super().__call__(inputs)
        rows_UxD: Any = self.get_variable(ROWS, "embedding")
        return rows_UxD.astype(self.dtype)[jnp.searchsorted(self.get_variable(ROWS, "ids"), inputs)]


def layer_norm(name: str, eps: float):
    """Returns a layer norm in float32; `eps` is added to the variance. For its gradient it keeps its input alone."""
    return CheapNorm(eps, dtype=jnp.float32, scale_init=ones(axes.EMBED), bias_init=zeros(axes.EMBED), name=name)


class RmsNorm(nn.Module):
    """Division by the root mean square, in float32, and a learned scale; no mean is subtracted and nothing added."""

    eps: float
    axis: str = axes.EMBED  # the name of the one it norms over

    @nn.compact
    def __call__(self, x):
        """Returns float32 of the shape of x, normed over its last axis."""
        x = x.astype(jnp.float32)
        scale = self.param("scale", ones(self.axis), x.shape[-1:])
        x = x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + self.eps)
        return x * jnp.broadcast_to(scale, x.shape)


def gelu(x: jax.Array, config: Any) -> jax.Array:
    """Returns GELU, exact (erf, as XLM-R) or by tanh, computed in float32. For its gradient it keeps its input alone.

    The exact one is written as PyTorch has it; by erfc, as JAX does, it takes three passes on a CPU.
    """

    def function(x):
        x_float = x.astype(jnp.float32)
        y = jax.nn.gelu(x_float) if config.gelu == "tanh" else 0.5 * x_float * (1 + jax.lax.erf(x_float * 0.5**0.5))
        return y.astype(x.dtype)

    return CHEAP(function)(x)


def along_row(like_BxL: jax.Array) -> jax.Array:
    """Returns positions 0, 1, 2 ... in every row."""
    return jnp.broadcast_to(jnp.arange(like_BxL.shape[1])[None, :], like_BxL.shape)


def along(index_B: jax.Array, tokens_BxL: jax.Array) -> jax.Array:
    """Returns each token's example, where a row is one example."""
    return jnp.broadcast_to(index_B[:, None], tokens_BxL.shape)


def of_segment(value_BxS: jax.Array, segments_BxL: jax.Array) -> jax.Array:
    """Returns for each token the value of its segment; for padding that of some segment."""
    return jnp.take_along_axis(value_BxS, jnp.maximum(segments_BxL - 1, 0), axis=1)


class Dropout(nn.Module):
    """Dropout whose mask is drawn per example and position.

    So it depends neither on the mesh nor on accumulation, nor on where in a packed row an example stands.
    """

    rate: float

    @nn.compact
    def __call__(self, x, index, position, deterministic: bool):
        """Returns x with its elements dropped.

        Args:
          x: states, (..., D).
          index: of the same shape without D, the example's number in the global batch.
          position: of that shape, the token's place in its example.
          deterministic: drop nothing.
        """
        if deterministic or self.rate == 0.0:
            return x
        key = self.make_rng("dropout")

        def draw(index, position):
            return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, index), position), (2,), jnp.uint32)

        for _ in index.shape:
            draw = jax.vmap(draw)
        kept = _kept(draw(index, position), x.shape[-1], 1.0 - self.rate)
        return jnp.where(kept, x * (1.0 / (1.0 - self.rate)), 0).astype(x.dtype)


def _kept(words: jax.Array, width: int, share: float) -> jax.Array:
    """Returns (..., width): whether each element of a token is kept, from two random words (..., 2) of the token.

    JAX's generator takes some forty operations for each element, in passes that a CPU writes down, a tenth of a step.
    Here it draws the words alone. Elements are numbered from the first one, and each number is mixed, with the second
    word between, by a function of which every bit of its result depends on every bit of what it gets.
    """

    def mixed(word):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            word = (word ^ (word >> shift)) * jnp.uint32(factor)
        return word ^ (word >> 16)

    first, second = words[..., :1], words[..., 1:]
    elements = first + jax.lax.broadcasted_iota(jnp.uint32, (*first.shape[:-1], width), first.ndim - 1)
    return mixed(mixed(elements) ^ second) < jnp.uint32(min(share * 2**32, 2**32 - 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Unstacked:
    """A parameter of all layers as one array for each, of which no part has to be copied out; for a stack unrolled."""

    layers: tuple[jax.Array, ...]

    @classmethod
    def of(cls, leaf: jax.Array) -> "Unstacked":
        """Returns the layers of a stacked parameter."""
        return cls(tuple(leaf))

    @classmethod
    def is_one(cls, leaf: Any) -> bool:
        """Whether a part of a tree is such a parameter."""
        return isinstance(leaf, cls)

    def __getitem__(self, part: slice) -> jax.Array:
        """Returns the parameter of one layer as a stack of it."""
        (layer,) = self.layers[part]
        return layer[None]


def whole(state: Any) -> Any:
    """Returns a hidden state as it is: what a stack keeps of each, if it is told nothing else."""
    return state


def numbered(first: Any, after: Any, last: Any = None) -> Any:
    """Returns what is kept of hidden states on one axis: of the embeddings, number 0, and of what each layer made.

    `last` stands in the place of what is kept of the last layer, where a norm follows it.
    """

    def joined(first, after, *last):
        return jnp.concatenate([first[None], after[:-1], last[0][None]] if last else [first[None], after])

    return jax.tree.map(joined, first, after, *(() if last is None else (last,)))


def stack(
    layer: type[nn.Module],
    config: Any,
    *fields: Any,
    inputs: int,
    stacked: int = 0,
    keep: Callable[[Any], Any] = whole,
    name: str = "layers",
) -> Any:
    """Returns `config.layers` layers as one function, one after another, their parameters stacked on a leading axis.

    The tree is the same whether the layers are scanned or, where they are few, unrolled. Through the first
    `config.frozen` layers no gradient is computed: they run before the others, and what they give is a constant. The
    last layer alone gets what is called `at_end` as further inputs; then what it keeps is returned as carried, for that
    may have another shape, and kept is None. With `config.unroll` layers follow one another in a longer program.

    Args:
      layer: called as (carried, *inputs, *stacked) -> (carried, kept); what is kept comes back stacked.
      config: has `layers`, `frozen`, `remat` and `unroll`.
      fields: of the module, after its config.
      inputs: how many inputs every layer gets beside what is carried.
      stacked: how many more follow of which each layer gets its own part, by the first axis (a cache). None is allowed.
      keep: makes of what a layer keeps what comes back of it, layer by layer, so that no more than that is ever held.
      name: of the module.
    """
    if config.remat != "none":
        layer = nn.remat(layer, prevent_cse=config.unroll, policy=REMAT[config.remat])
    module = layer(config, *fields, name=name)
    in_axes = (nn.broadcast,) * inputs + (0,) * stacked

    def one(module, *given):
        carried, kept = module(*given)
        return carried, keep(kept)

    def run(first, last, carried, *given):
        """Runs the layers from one number up to another; those below `config.frozen` as constants."""
        of_inputs = in_axes + (nn.broadcast,) * (len(given) - len(in_axes))
        scan = nn.scan(
            one,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=of_inputs,
            length=last - first,
            unroll=last - first if config.layers < SCAN_FROM else 1,
            metadata_params={nn.PARTITION_NAME: axes.LAYERS},
        )
        if module.is_initializing() or (last - first == config.layers > 1 and not config.frozen):
            return scan(module, carried, *given)  # all of several, which are one stack then
        constant = jax.lax.stop_gradient if last <= config.frozen else lambda tree: tree

        def cut(tree):
            return constant(jax.tree.map(lambda leaf: leaf[first:last], tree, is_leaf=Unstacked.is_one))

        given = tuple(cut(part) if axis == 0 else part for axis, part in zip(of_inputs, given, strict=True))
        return nn.map_variables(scan, "params", trans_in_fn=cut)(module, *constant((carried, *given)))

    def call(carried, *given, at_end=()):
        if module.is_initializing():
            return run(0, config.layers, carried, *given)
        kept, bounds = [], {0, config.frozen, config.layers - bool(at_end), config.layers}
        if config.unroll and not jax.tree.leaves(given[inputs:]):  # for of a cache a loop writes what changes
            bounds |= set(range(config.layers))
        for first, last in itertools.pairwise(sorted(bounds)):
            carried, found = run(first, last, carried, *given, *(at_end if last == config.layers else ()))
            kept.append(found)
        if at_end:
            return jax.tree.map(lambda leaf: leaf[0], kept[-1]), None
        return carried, jax.tree.map(lambda *parts: jnp.concatenate(parts), *kept)

    return call
