"""Floating-point operations of a program, counted in what JAX traced.

A compiler's own cost analysis counts the body of a loop once; here it counts as often as it runs. Only products count
(matrix products and convolutions, two operations for each multiplication): what is called model FLOPs, and what a
gradient computes again because it was not kept.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def count_flops(jaxpr: Any, loops: int = 1) -> int:
    """Returns the operations of all devices together. `loops`: how often a loop runs whose end is not known ahead."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum(_count(equation, loops) for equation in jaxpr.eqns)


def _count(equation: Any, loops: int) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _product(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [count_flops(each, loops) for each in _inside(params)]
    if name == "cond":
        return max(inner, default=0)  # one branch runs
    return sum(inner) * _times(name, params, loops)


def _times(name: str, params: dict[str, Any], loops: int) -> int:
    """Returns how often what is inside an operation runs."""
    if name == "scan":
        return params["length"]
    if name == "while":
        return loops
    if name == "shard_map":  # what is inside is of one device
        sizes = dict(params["mesh"].shape)
        return math.prod(sizes[axis] for axis in params.get("manual_axes", sizes))
    if name == "pallas_call":
        return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
    return 1


def _product(equation: Any) -> int:
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    first, second = (variable.aval.shape for variable in equation.invars[:2])
    shared = math.prod(first[axis] for axis in (*contracted, *batch))
    rows = math.prod(first) // max(shared, 1)
    return 2 * rows * math.prod(second)


def _convolution(equation: Any) -> int:
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    made = kernel[equation.params["dimension_numbers"].rhs_spec[0]]  # features of the output
    return 2 * math.prod(out) * math.prod(kernel) // made


def _inside(params: dict[str, Any]) -> Iterator[Any]:
    """Yields the programs among an operation's parameters."""
    for value in params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (core.Jaxpr, core.ClosedJaxpr)):
                yield each
