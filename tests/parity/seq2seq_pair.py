"""Random tiny mT5 and umT5 of `transformers`, and the same weights here."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.text import TextToText
from xling_jax.models.weights.mt5 import config_of, row_from, tensors
from xling_jax.models.weights.tensors import names, read_tree, to_theirs
from xling_jax.tables.models import Model

CLASSES = {
    "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
    "umt5": (transformers.UMT5Config, transformers.UMT5ForConditionalGeneration),
}
# Longest distances of which none stands at a border of buckets: there the logarithm in float32 of `transformers`
# decides by its rounding. The published sizes, which have such borders, have a test of their own.
PRIMES = (23, 37, 61, 127)


@dataclasses.dataclass
class Pair:
    """A model there and here. `rng` draws what a test needs."""

    theirs: Any
    model: TextToText
    params: Any
    rng: np.random.Generator

    @property
    def config(self):
        return self.model.config

    def tokens(self, rows: int, length: int) -> np.ndarray:
        """Returns texts without padding."""
        return self.rng.integers(2, self.config.vocab, (rows, length)).astype(np.int32)

    def here(self, function, *given):
        """Returns function(bound model, *given), compiled."""
        run = jax.jit(
            lambda params, *given: nn.apply(lambda model: function(model, *given), self.model)({"params": params})
        )
        return jax.device_get(run(self.params, *given))


def drawn_row(kind: str, rng: np.random.Generator, published: bool) -> Model:
    """Returns a row of sizes drawn; with `published`, the buckets of the published sizes."""
    return Model(
        name="",
        family="seq2seq",
        layers=int(rng.integers(1, 4)),
        decoder_layers=int(rng.integers(1, 7)),  # from five on they are scanned
        width=4 * int(rng.integers(2, 7)),
        heads=int(rng.integers(1, 5)),
        head_width=int(rng.integers(3, 9)),
        mlp=int(rng.integers(6, 30)),
        vocab=int(rng.integers(14, 40)),
        relative={"mt5": "shared", "umt5": "layer"}[kind],
        buckets=32 if published else 4 * int(rng.integers(2, 8)),
        longest=128 if published else int(rng.choice(PRIMES)),
        positions=1024,
        eps=1e-6 if published else float(10 ** rng.uniform(-7, -3)),
        gelu="tanh",
        pad=0,
    )


def make_pair(kind: str, seed: int, published: bool = False) -> Pair:
    """Returns a pair of models with the same random weights, and what draws, as if no other test had drawn."""
    rng = np.random.default_rng(seed)
    row = drawn_row(kind, rng, published)
    make_config, make = CLASSES[kind]
    fields = config_of(row)
    theirs = make(make_config(**fields, attn_implementation="eager")).eval()
    theirs.lm_head.weight = torch.nn.Parameter(torch.zeros_like(theirs.lm_head.weight))  # it is tied when made
    theirs.config.tie_word_embeddings = False  # else umT5's logits are scaled as those of tied weights
    for name, value in theirs.named_parameters():
        drawn = rng.standard_normal(tuple(value.shape))
        if "norm" in name:
            drawn = 1 + 0.2 * drawn
        elif name not in ("shared.weight", "lm_head.weight"):  # as T5 is initialised: larger ones magnify rounding
            drawn *= value.shape[-1] ** -0.5 * (row.head_width**-0.5 if name.endswith(".q.weight") else 1.0)
        value.data = torch.tensor(drawn, dtype=torch.float32)
    config = build_config(dataclasses.replace(row_from(fields), multiple=8), 2)  # so most have rows to spare
    model = build_model(config)
    assert isinstance(model, TextToText)
    held = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    params = read_tree(tensors(config), shapes_of(model), held.__getitem__)
    return Pair(theirs, model, jax.tree.map(jnp.array, params), rng)  # copied: training there changes its own in place


def shapes_of(model: TextToText) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of our leaves by path."""
    shapes = jax.eval_shape(lambda: nn.meta.unbox(init_params(model, jax.random.key(0))))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {"/".join(part.key for part in path): leaf.shape for path, leaf in leaves}


def exported(pair: Pair, params: Any) -> dict[str, np.ndarray]:
    """Returns parameters under the names and in the shapes they have there."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    by_path = {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in leaves}
    there = {name: tuple(value.shape) for name, value in pair.theirs.named_parameters()}
    found = {}
    for tensor in tensors(pair.config):
        leaf = by_path[tensor.ours]
        parts = leaf if "{}" in tensor.theirs else [leaf]
        for name, part in zip(names(tensor, len(leaf)), parts, strict=True):
            found[name] = to_theirs(tensor, part, there[name])
    return found


def torch_states(module: Any, run) -> list[np.ndarray]:
    """Returns the embeddings and the output of each block of an encoder or decoder while `run` runs."""
    states: list[np.ndarray] = []

    def keep_input(block, given, named):
        states.append((given[0] if given else named["hidden_states"]).numpy())

    def keep_output(block, given, output):
        states.append((output[0] if isinstance(output, tuple) else output).numpy())

    hooks = [module.block[0].register_forward_pre_hook(keep_input, with_kwargs=True)]
    hooks += [block.register_forward_hook(keep_output) for block in module.block]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return states


def relative(found: Any, expected: Any) -> float:
    """Returns the largest difference, in units of the largest magnitude expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())
