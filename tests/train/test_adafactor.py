"""Adafactor against optax's, one layer's matrix at a time; and what is kept of squares, under which names."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from xling_jax.optim import Optim
from xling_jax.train.adafactor import LEAST_SCALE, scale_by_adafactor
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf

RATE = 0.05
LAYERS = ("layers",)


def draw(seed: int):
    """Returns (parameters, names of their axes, three axes or more as rows x columns): sizes around the smallest."""
    rng = np.random.default_rng(seed)
    width, mlp, heads = (int(rng.integers(*bounds)) for bounds in ((128, 200), (128, 200), (9, 16)))
    layers = int(rng.integers(2, 4))
    kinds = {
        "word/embedding": ((int(rng.integers(128, 300)), width), ("vocab", "embed")),
        "layers/query/kernel": ((layers, width, heads, 16), (*LAYERS, "embed", "heads", "kv")),
        "layers/out/kernel": ((layers, heads, 16, width), (*LAYERS, "heads", "kv", "embed")),
        "layers/mlp/kernel": ((layers, width, mlp), (*LAYERS, "embed", "mlp")),
        "layers/mlp/bias": ((layers, mlp), (*LAYERS, "mlp")),
        "layers/small/kernel": ((layers, width, 127), (*LAYERS, "embed", "mlp")),
        "head/kernel": ((width, 3), ("embed", "labels")),
        "zeros/kernel": ((width, 130), ("embed", "mlp")),
    }
    params = {path: rng.normal(0, 0.5, shape).astype(np.float32) for path, (shape, _) in kinds.items()}
    params["zeros/kernel"][:] = 0
    return params, {path: names for path, (_, names) in kinds.items()}, rng


def apart(tree, names):
    """Returns each layer's parameter by itself, heads and their width on one axis."""
    found = {}
    for path, leaf in tree.items():
        matrices = leaf if names[path][0] == "layers" else leaf[None]
        own = [name for name in names[path] if name != "layers"]
        for number, matrix in enumerate(matrices):
            shape = (-1, matrix.shape[-1]) if own[-1] == "embed" else (matrix.shape[0], -1)
            found[f"{path}/{number}"] = matrix.reshape(shape) if len(own) == 3 else matrix
    return found


def nested(flat):
    tree: dict = {}
    for path, leaf in flat.items():
        *folders, last = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = leaf
    return tree


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (14, 159))])
def test_it_is_optax_adafactor_on_each_matrix(seed, steps):
    params, names, rng = draw(seed)

    # Of very different sizes, so that clipping matters in some steps and not in others.
    def gradient():
        scales = {path: 10.0 ** rng.integers(-4, 3) for path in params}
        return {path: rng.normal(0, scales[path], leaf.shape).astype(np.float32) for path, leaf in params.items()}

    gradients = [gradient() for _ in range(steps)]
    mine = scale_by_adafactor(names)
    theirs = optax.adafactor(RATE, min_dim_size_to_factor=128, decay_rate=0.8, weight_decay_rate=None)
    ours, state = nested(params), mine.init(nested(params))
    optax_params = apart(params, names)
    optax_state = theirs.init(optax_params)
    update, reference = jax.jit(mine.update), jax.jit(theirs.update)
    for each in gradients:
        updates, state = update(nested(each), state, ours)
        ours = jax.tree.map(lambda p, u: p - RATE * u, ours, updates)
        updates, optax_state = reference(apart(each, names), optax_state, optax_params)
        optax_params = optax.apply_updates(optax_params, updates)
    found = apart(flatten_dict(ours, sep="/"), names)
    for path, expected in optax_params.items():
        before = apart(params, names)[path]
        assert np.abs(expected - before).max() > 1e-6, f"{path} has moved"
        # float32: rsqrt for a power of -1/2, and means over two axes for one; relative to the size of a step.
        np.testing.assert_allclose(found[path], expected, atol=2e-5 * RATE * steps, rtol=1e-5, err_msg=path)


def test_what_is_kept():
    params, names, _ = draw(3)
    state = scale_by_adafactor(names).init(nested(params))
    layers, width, heads, _ = params["layers/query/kernel"].shape
    query, out = ("layers/query/kernel", "layers/out/kernel")
    rows, columns, whole = (flatten_dict(part, sep="/") for part in state[1:])
    assert rows[query].shape == rows[out].shape == (layers, width)
    assert columns[query].shape == columns[out].shape == (layers, heads, 16)
    assert set(whole) == {"layers/mlp/bias", "layers/small/kernel", "head/kernel"} and set(rows) == set(columns)
    assert not set(whole) & set(rows) and set(whole) | set(rows) == set(params)


def test_averages_keep_the_names_of_their_axes():
    params, names, _ = draw(3)
    boxed = nested({path: nn.LogicallyPartitioned(leaf, names[path]) for path, leaf in params.items()})
    state = jax.eval_shape(scale_by_adafactor(names).init, boxed)
    rows, columns, whole = (flatten_dict(part, sep="/") for part in state[1:])
    assert rows["layers/out/kernel"].names == ("layers", "embed")
    assert columns["layers/out/kernel"].names == ("layers", "heads", "kv")
    assert columns["word/embedding"].names == ("vocab",)
    assert whole["layers/mlp/bias"].names == ("layers", "mlp")


def test_a_parameter_of_zeros_moves():
    _, names, _ = draw(3)
    zeros = {"zeros": {"kernel": jnp.zeros((130, 130))}}
    gradient = {"zeros": {"kernel": jnp.full((130, 130), -3.0)}}
    optimizer = scale_by_adafactor(names)
    updates, _ = optimizer.update(gradient, optimizer.init(zeros), zeros)
    np.testing.assert_allclose(updates["zeros"]["kernel"], -LEAST_SCALE, rtol=1e-5)


def test_a_stage_has_it_by_name():
    """Clipped before and decayed after, as AdamW is, with the rate outside."""
    params, names, rng = draw(3)
    leaves = {path: Leaf(axes) for path, axes in names.items()}
    optimizer = make_optimizer(Optim(name="adafactor", clip=0.0, weight_decay=0.5), leaves)
    tree, gradient = nested(params), nested({p: rng.normal(size=x.shape).astype(np.float32) for p, x in params.items()})
    updates, _ = optimizer.update(gradient, optimizer.init(tree), tree)
    plain, _ = scale_by_adafactor(names).update(gradient, scale_by_adafactor(names).init(tree), tree)
    added = jax.tree.map(lambda a, b: a - b, updates, plain)
    np.testing.assert_allclose(added["word"]["embedding"], 0.5 * params["word/embedding"], atol=1e-6)
    assert (added["layers"]["mlp"]["bias"] == 0).all()
    with pytest.raises(AssertionError, match="names of axes"):
        make_optimizer(Optim(name="adafactor"))
