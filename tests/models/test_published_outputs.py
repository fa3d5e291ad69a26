"""What `transformers` computes from numbers that anyone can draw again: parity, where it is not installed.

tests/parity compares with it at sizes drawn at random, and steps of training, generation and files. This file keeps
one case of each published variant in tests/golden/published, written with the extra `parity` by

    XLING_WRITE_GOLDEN=1 python -m pytest tests/models/test_published_outputs.py
"""

import dataclasses
import json
import os
import pathlib
import zlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.weights.families import family_of, head_of, kind_of
from xling_jax.models.weights.tensors import names, read_tree, theirs_shape

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "published"
CLOSE = 1e-5  # of the largest magnitude: float32 has 6e-8, and a layer adds up some dozens of products
VOCAB, LABELS = 50, 3
SIZES = {"num_hidden_layers": 5, "num_attention_heads": 4, "hidden_size": 24, "intermediate_size": 40}
_XLMR = SIZES | {"max_position_embeddings": 30, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu"}
_T5 = {"num_layers": 3, "num_decoder_layers": 5, "d_model": 24, "d_kv": 5, "num_heads": 4, "d_ff": 40}
_T5 |= {"feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8, "relative_attention_max_distance": 11}
_T5 |= {"layer_norm_epsilon": 1e-6, "tie_word_embeddings": False, "decoder_start_token_id": 0}
_LLAMA = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "head_dim": 6}
_SCALED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_SCALED |= {"original_max_position_embeddings": 8}
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # name -> class, config.json
    "xlmr_labels": ("XLMRobertaForSequenceClassification", {"model_type": "xlm-roberta", **_XLMR}),
    "xlmr_words": ("XLMRobertaForMaskedLM", {"model_type": "xlm-roberta", **_XLMR}),
    "xlmr_xl_tags": ("XLMRobertaXLForTokenClassification", {"model_type": "xlm-roberta-xl", **_XLMR}),
    "mt5": ("MT5ForConditionalGeneration", {"model_type": "mt5", **_T5}),
    "umt5": ("UMT5ForConditionalGeneration", {"model_type": "umt5", **_T5}),
    "llama": ("LlamaForCausalLM", {"model_type": "llama", **_LLAMA, "tie_word_embeddings": False}),
    "llama_scaled": ("LlamaForCausalLM", {"model_type": "llama", **_LLAMA, "rope_scaling": _SCALED}),
    "qwen25": ("Qwen2ForCausalLM", {"model_type": "qwen2", **_LLAMA, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForTokenClassification", {"model_type": "qwen3", **_LLAMA, "head_dim": 10}),
}
WRITES = bool(os.environ.get("XLING_WRITE_GOLDEN"))


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a parameter's numbers, by its published name: of about the size of fresh ones, and norms near one."""
    numbers = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        numbers = numbers * shape[-1] ** -0.5
    elif "norm" in name.lower() and name.endswith("weight"):
        numbers = 1 + 0.2 * numbers
    else:
        numbers = 0.2 * numbers
    return numbers.astype(np.float32)


def texts(model_type: str) -> dict[str, np.ndarray]:
    """Returns a full row and a padded one, and targets where a model writes some; all lengths are given."""
    draw, pad = np.random.default_rng(1), {"mt5": 0, "umt5": 0}.get(model_type, 1)
    lengths = np.array([13, 8])
    tokens = np.where(np.arange(13) < lengths[:, None], draw.integers(4, VOCAB, (2, 13)), pad).astype(np.int32)
    labels = np.where(np.arange(7) < np.array([[5], [7]]), draw.integers(4, VOCAB, (2, 7)), -1).astype(np.int32)
    return {"input_ids": tokens, "lengths": lengths, "labels": labels}


def opened(class_name: str, config: dict[str, Any]) -> tuple[Any, Any, dict[str, tuple[int, ...]], tuple]:
    """Returns (row, model, the shapes of its leaves by path, where they come from)."""
    config = config | {"vocab_size": VOCAB, "architectures": [class_name]}
    family = family_of(config)
    row = dataclasses.replace(family.row_from(config), multiple=16)
    head = head_of(kind_of(family, config), "head", ("a",) * LABELS)
    model: Any = build_model(build_config(row, VOCAB), (head,))
    shapes = nn.meta.unbox(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    by_path = {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}
    return row, model, by_path, family.tensors(model.config, (head,))


def shapes_there(by_path: dict[str, tuple[int, ...]], rows: tuple) -> dict[str, tuple[int, ...]]:
    """Returns the published shapes by published name."""
    found: dict[str, tuple[int, ...]] = {}
    for tensor in rows:
        shape = by_path[tensor.ours]
        own = shape[1:] if "{}" in tensor.theirs else shape
        found |= dict.fromkeys(names(tensor, shape[0] if shape else 1), theirs_shape(tensor, own, VOCAB))
    return found


def theirs(class_name: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns what `transformers` computes: all hidden states, of padding as well, and logits."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    fields = config | {"vocab_size": VOCAB, "num_labels": LABELS, "pad_token_id": 1 if "d_model" not in config else 0}
    made = transformers.AutoConfig.for_model(**fields, attn_implementation="eager")
    model = getattr(transformers, class_name)(made).eval()
    if "d_model" in config:  # transformers 5 ties it when it makes a model, whatever the config says
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        made.tie_word_embeddings = False
    state = model.state_dict()
    for name, shape in shapes_there(*opened(class_name, config)[2:]).items():
        state[name].copy_(torch.from_numpy(drawn(name, shape)))
    given = texts(config["model_type"])
    mask = np.arange(given["input_ids"].shape[1]) < given["lengths"][:, None]
    more = {"attention_mask": torch.from_numpy(mask).long(), "output_hidden_states": True}
    if "d_model" in config:
        more["labels"] = torch.from_numpy(np.where(given["labels"] < 0, -100, given["labels"])).long()
    with torch.no_grad():
        found = model(input_ids=torch.from_numpy(given["input_ids"]).long(), **more)
    states = found.encoder_last_hidden_state[None] if "d_model" in config else torch.stack(found.hidden_states)
    return {"states": states.numpy(), "logits": found.logits.numpy()}


def ours(class_name: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns what the model here computes of the same."""
    row, model, by_path, rows = opened(class_name, config)
    published = shapes_there(by_path, rows)
    params = read_tree(rows, by_path, lambda name: drawn(name, published[name]))
    given = texts(config["model_type"])

    def outputs(params, batch):
        bound = model.bind({"params": params})
        if row.family == "seq2seq":
            return bound.body.encode(batch["input_ids"])[0][None], bound("head", batch)
        segments = (jnp.arange(13)[None] < batch["lengths"][:, None]).astype(jnp.int32)
        places = jnp.broadcast_to(jnp.arange(13)[None], (2, 13))
        return bound.states(batch["input_ids"], segments), bound("head", batch | {"masked": places})

    states, logits = jax.jit(outputs)(params, given)
    return {
        "states": np.asarray(states),
        "logits": np.asarray(logits)[..., : VOCAB if logits.shape[-1] > VOCAB else None],
    }


def scored(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the numbers that mean something: those of tokens."""
    given = texts(CASES[name][1]["model_type"])
    inside = np.arange(13) < given["lengths"][:, None]
    logits = arrays["logits"]
    if logits.ndim == 3:
        logits = logits[inside] if logits.shape[1] == 13 else logits
    return {"states": arrays["states"][:, inside], "logits": logits}


@pytest.mark.skipif(not WRITES, reason="writes tests/golden/published: set XLING_WRITE_GOLDEN=1")
@pytest.mark.parametrize("name", CASES)
def test_write(name):
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    found = scored(name, theirs(*CASES[name]))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    numbers = {part: [float(f"{x:.8g}") for x in array.reshape(-1)] for part, array in found.items()}
    shapes = {part: list(array.shape) for part, array in found.items()}
    GOLDEN.mkdir(exist_ok=True)
    text = json.dumps({"versions": versions, "shapes": shapes, **numbers})
    (GOLDEN / f"{name}.json").write_text(text.replace('], "', '],\n"') + "\n")


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_published(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    for part, found in scored(name, ours(*CASES[name])).items():
        expected = np.array(golden[part]).reshape(golden["shapes"][part])
        assert found.shape == expected.shape, part
        away = np.abs(found - expected).max() / np.abs(expected).max()
        assert away < CLOSE, f"{part} of {name} differ by {away:.1e} from transformers {golden['versions']}"
