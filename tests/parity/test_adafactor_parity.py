"""Adafactor against transformers', where both say the same.

They differ in what they factor: transformers every matrix, ours (as T5 and optax) those with at least 128 rows and
columns; and transformers decays by weight_decay * rate * the parameter's scale, ours by weight_decay * rate. So
matrices are large here, and nothing is decayed. PyTorch's matrices are ours turned, which changes nothing:
rows and columns are treated alike.
"""

import jax
import numpy as np
import pytest
from drawn import SEED

from xling_jax.optim import Optim
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf

torch = pytest.importorskip("torch", reason="the extra 'parity' is not installed")
optimization = pytest.importorskip("transformers.optimization", reason="the extra 'parity' is not installed")

RATE = 0.02


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("seed", [2, 71, SEED])
def test_it_is_transformers_adafactor(seed, steps):
    rng = np.random.default_rng(seed)
    width, mlp = (int(size) for size in rng.integers(128, 300, 2))
    leaves = {"kernel": Leaf(("embed", "mlp")), "bias": Leaf(("mlp",))}
    params = {
        "kernel": rng.normal(0, 0.3, (width, mlp)).astype(np.float32),
        "bias": np.zeros(mlp, np.float32),
    }
    gradients = [
        {name: rng.normal(0, scale, leaf.shape).astype(np.float32) for name, leaf in params.items()}
        for scale in 10.0 ** rng.integers(-3, 3, steps)
    ]
    theirs = {name: torch.nn.Parameter(torch.tensor(leaf.T)) for name, leaf in params.items()}
    reference = optimization.Adafactor(
        list(theirs.values()), lr=RATE, scale_parameter=True, relative_step=False, warmup_init=False, weight_decay=0.0
    )
    optimizer = make_optimizer(Optim(name="adafactor", weight_decay=0.0, clip=0.0), leaves)
    ours, state = params, optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, ours)
        ours = jax.tree.map(lambda p, u: p - RATE * u, ours, updates)
        for name, leaf in theirs.items():
            leaf.grad = torch.tensor(gradient[name].T)
        reference.step()
    for name, leaf in theirs.items():
        expected = leaf.detach().numpy().T
        assert np.abs(expected - params[name]).max() > 1e-6
        # float32, relative to the size of a step.
        np.testing.assert_allclose(ours[name], expected, atol=2e-5 * RATE * steps, rtol=1e-5, err_msg=name)
