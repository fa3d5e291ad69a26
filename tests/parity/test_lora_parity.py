"""A projection with adapters against one written out in PyTorch: output, gradients, and a step of AdamW on them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import SEED

from xling_jax.models.build import build_config
from xling_jax.models.layers import Dense
from xling_jax.models.lora import merge_lora
from xling_jax.optim import Lora, Optim
from xling_jax.tables.models import MODELS
from xling_jax.train.optimizer import make_optimizer

torch = pytest.importorskip("torch", reason="the extra 'parity' is not installed")

RATE = 0.01


class Projection(torch.nn.Module):
    """A linear layer that is frozen, and what Hu et al. 2021 add to it."""

    def __init__(self, weight, bias, a, b, alpha):
        super().__init__()
        self.weight, self.bias = torch.tensor(weight), torch.tensor(bias)
        self.a, self.b = torch.nn.Parameter(torch.tensor(a)), torch.nn.Parameter(torch.tensor(b))
        self.scale = alpha / len(a)

    def forward(self, x):
        return x @ self.weight.T + self.bias + (x @ self.a.T @ self.b.T) * self.scale


class Alone(nn.Module):
    """The projection by itself."""

    config: object
    heads: int
    width: int

    @nn.compact
    def __call__(self, x):
        return Dense(self.config, (self.heads, self.width), outputs=("heads", "kv"), name="query")(x)


@pytest.mark.parametrize("seed", [5, 77, SEED])
def test_output_gradients_and_a_step(seed):
    rng = np.random.default_rng(seed)
    inputs, heads, width, rank = (int(rng.integers(*bounds)) for bounds in ((8, 40), (1, 5), (2, 9), (1, 8)))
    alpha = float(rng.uniform(1, 32))
    kernel, bias, a, b, x, wanted = (
        rng.normal(size=shape).astype(np.float32)
        for shape in (
            (heads * width, inputs),
            (heads * width,),
            (rank, inputs),
            (heads * width, rank),
            (2, 3, inputs),
            (2, 3, heads * width),
        )
    )
    theirs = Projection(kernel, bias, a, b, alpha)
    model = Alone(dataclasses.replace(build_config(MODELS["tiny"], 40), lora=Lora(rank, alpha)), heads, width)
    params = {
        "query": {
            "kernel": kernel.T.reshape(inputs, heads, width),
            "bias": bias.reshape(heads, width),
            "lora_a": a.T,
            "lora_b": b.T.reshape(rank, heads, width),
            "lora_scale": np.float32(alpha / rank),
        }
    }
    made = jax.eval_shape(lambda: nn.meta.unbox(model.init(jax.random.key(0), x))["params"])
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, made)

    def loss(adapters):
        y = model.apply({"params": {"query": params["query"] | adapters}}, x)
        return ((y.reshape(wanted.shape) - wanted) ** 2).mean(), y

    adapters = {name: jnp.asarray(params["query"][name]) for name in ("lora_a", "lora_b")}
    (value, y), gradient = jax.value_and_grad(loss, has_aux=True)(adapters)
    torch_loss = ((theirs(torch.tensor(x)) - torch.tensor(wanted)) ** 2).mean()
    torch_loss.backward()
    found = np.asarray(y).reshape(wanted.shape)
    # float32: sums of up to 40 terms, relative to the largest.
    close = lambda mine, other: np.testing.assert_allclose(mine, other, atol=1e-5 * np.abs(other).max())  # noqa: E731
    close(found, theirs(torch.tensor(x)).detach().numpy())
    np.testing.assert_allclose(float(value), float(torch_loss), rtol=1e-5)
    close(gradient["lora_a"], theirs.a.grad.numpy().T)
    close(gradient["lora_b"].reshape(rank, -1), theirs.b.grad.numpy().T)

    merged = merge_lora(params)["query"]["kernel"].reshape(inputs, -1)
    close(merged, (kernel + alpha / rank * b @ a).T)

    optimizer = make_optimizer(Optim(weight_decay=0.1, clip=0.0))
    updates, _ = optimizer.update(gradient, optimizer.init(adapters), adapters)
    torch.optim.AdamW(theirs.parameters(), lr=RATE, weight_decay=0.1).step()
    for name, leaf in (("lora_a", theirs.a), ("lora_b", theirs.b)):
        after = np.asarray(adapters[name] - RATE * updates[name]).reshape(leaf.shape[::-1])
        np.testing.assert_allclose(after, leaf.detach().numpy().T, atol=1e-4 * RATE, err_msg=name)
