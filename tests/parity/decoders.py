"""Random tiny decoders of `transformers`, and the same weights here."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.models.weights.llama import row_from, tensors
from xling_jax.models.weights.tensors import read_tree, to_theirs

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
# What is drawn of a variant is drawn; what makes it a variant is stated.
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama_shared": {"model_type": "llama", "groups": 2},
    "llama_tied": {"model_type": "llama", "groups": 1, "tie_word_embeddings": True},
    "llama_biased": {"model_type": "llama", "groups": 2, "attention_bias": True, "head_dim": 6},
    "linear": {"model_type": "llama", "groups": 2, "rope_scaling": {"rope_type": "linear", "factor": 2.5}},
    "dynamic": {"model_type": "llama", "groups": 2, "rope_scaling": {"type": "dynamic", "factor": 3.0}},
    "llama3": {"model_type": "llama", "groups": 2, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 12}},
    "yarn": {"model_type": "llama", "groups": 2, "rope_scaling": YARN | {"original_max_position_embeddings": 16}},
    "yarn_stated": {
        "model_type": "qwen2",
        "groups": 2,
        "rope_scaling": YARN | {"beta_fast": 8.0, "beta_slow": 0.5, "mscale": 0.7, "mscale_all_dim": 1.3},
    },
    "yarn_whole": {
        "model_type": "qwen3",
        "groups": 2,
        "rope_scaling": YARN | {"attention_factor": 1.25, "truncate": False},
    },
    "qwen2": {"model_type": "qwen2", "groups": 2},
    "qwen2_tied": {"model_type": "qwen2", "groups": 4, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "groups": 2, "head_dim": 12},
    "qwen3_biased": {"model_type": "qwen3", "groups": 1, "attention_bias": True, "tie_word_embeddings": True},
}
CLASSES = {
    "lm": "AutoModelForCausalLM",
    "pair_classification": "AutoModelForSequenceClassification",
    "tagging": "AutoModelForTokenClassification",
    "span_qa": "AutoModelForQuestionAnswering",
}


def drawn_json(variant: str, rng: np.random.Generator) -> dict[str, Any]:
    """Returns a config.json of sizes drawn for a variant."""
    stated = dict(VARIANTS[variant])
    groups = stated.pop("groups", 4)
    heads = groups * int(rng.integers(1, 4))
    width = heads * 2 * int(rng.integers(2, 6))
    head_dim = 2 * int(rng.integers(3, 8)) if stated["model_type"] == "qwen3" else width // heads
    return {
        "num_hidden_layers": int(rng.integers(2, 7)),  # unrolled and scanned
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": head_dim,
        "intermediate_size": int(rng.integers(8, 40)),
        "vocab_size": int(rng.integers(20, 90)),
        "max_position_embeddings": 24,
        "rms_norm_eps": 1e-6,
        "rope_theta": float(rng.choice([100.0, 10_000.0, 1e6])),
        "attention_dropout": 0.0,
        **stated,
    }


@dataclasses.dataclass
class Pair:
    """The same model there and here, in float32."""

    theirs: Any
    model: Model
    params: dict
    rng: np.random.Generator

    @property
    def vocab(self) -> int:
        return self.model.config.vocab

    def tokens(self, rows: int, length: int) -> np.ndarray:
        return self.rng.integers(1, self.vocab, (rows, length))

    def here(self, function: Callable, *given: Any) -> Any:
        """Returns function(the model bound to its parameters, *given), compiled."""
        run = jax.jit(lambda params, *given: function(self.model.bind({"params": params}), *given))
        return run(self.params, *given)


def exported(pair: "Pair", params: dict) -> dict[str, np.ndarray]:
    """Returns parameters here under their names there."""
    found = {}
    for row in tensors(pair.model.config, pair.model.heads):
        leaf = functools.reduce(lambda node, key: node[key], row.ours.split("/"), params)
        stacked = np.asarray(leaf) if "{}" in row.theirs else np.asarray(leaf)[None]
        for number, part in enumerate(stacked):
            name = row.theirs.format(number)
            found[name] = to_theirs(row, part, tuple(pair.theirs.state_dict()[name].shape))
    return found


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every leaf, by path."""
    tree = nn.meta.unbox(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


def perturbed(theirs: Any, seed: int) -> Any:
    """Returns the model with all parameters random: fresh biases and norms would hide where they are used."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_((1 + 0.3 * noise) if "norm" in name else noise / parameter.shape[-1] ** 0.5)
    return theirs.eval()


def make_pair(variant: str, seed: int, kind: str = "lm", size: int = 0, **changes: Any) -> Pair:
    """Returns a random model with a head of some kind, there and here."""
    rng = np.random.default_rng(seed)
    json = drawn_json(variant, rng) | changes
    labels = {"num_labels": size} if kind in ("pair_classification", "tagging") else {}
    config = transformers.AutoConfig.for_model(**json, pad_token_id=0, bos_token_id=None, eos_token_id=None, **labels)
    theirs = getattr(transformers, CLASSES[kind]).from_config(config, attn_implementation="eager")
    perturbed(theirs, seed)
    row = dataclasses.replace(row_from(json), multiple=1)
    heads = (HeadSpec("task", kind, size),)
    model = Model(build_config(row, row.vocab), heads)
    weights = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    params = read_tree(tensors(model.config, heads), shapes_of(model), weights.__getitem__)
    return Pair(theirs, model, jax.tree.map(jnp.array, params), rng)  # copied: training there moves its own in place


def relative(found: Any, expected: Any) -> float:
    """Returns the largest difference, in units of the largest expected magnitude."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def torch_states(theirs: Any, tokens: np.ndarray, mask: np.ndarray | None = None) -> list[np.ndarray]:
    """Returns all hidden states of the body there, the last one normed."""
    given = {} if mask is None else {"attention_mask": torch.tensor(mask)}
    with torch.no_grad():
        found = theirs.base_model(torch.tensor(tokens), output_hidden_states=True, **given)
    return [state.numpy() for state in found.hidden_states]
