"""Folders as Hugging Face lays them out, made of random numbers: no PyTorch needed."""

import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np

from xling_jax.convert.importing import boxed_shapes
from xling_jax.models.build import build_config
from xling_jax.models.weights.families import FAMILIES, class_of, head_of
from xling_jax.models.weights.folder import INDEX, SINGLE
from xling_jax.models.weights.safetensors import Planned, write_file
from xling_jax.models.weights.tensors import names, theirs_shape
from xling_jax.tables.models import Model

# No size divides another by chance, and the vocabulary is no multiple of anything.
POST = Model("", layers=3, width=20, heads=2, mlp=36, positions=30, vocab=301)
NLI = ("neutral", "Entailment", "contradiction")  # as published, in another order than ours


def tensors_of(row: Model, kind: str, labels: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """Returns random tensors of a model with a head, under their published names."""
    family, config = FAMILIES[row.family], build_config(row, row.vocab)
    heads = (head_of(kind, "there", labels),) if kind else ()
    shapes = {path: leaf.unbox().shape for path, leaf in boxed_shapes(config, heads).items()}
    draw = np.random.default_rng(seed).standard_normal
    found = {}
    for tensor in family.tensors(config, heads):
        shape = shapes[tensor.ours]
        for name in names(tensor, shape[0] if shape else 1):
            there = theirs_shape(tensor, shape[1:] if "{}" in tensor.theirs else shape, row.vocab)
            found[name if kind else name.removeprefix(family.prefix)] = draw(there).astype(np.float32)
    return found


def write_tensors(folder: pathlib.Path, tensors: dict[str, np.ndarray], shards: int = 1) -> None:
    """Writes tensors to one file, or to several with an index."""
    parts = [dict(list(tensors.items())[number::shards]) for number in range(shards)]
    files = [SINGLE] if shards == 1 else [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(shards)]
    for file, part in zip(files, parts, strict=True):
        planned = [Planned(name, str(array.dtype), array.shape) for name, array in part.items()]
        write_file(folder / file, planned, iter(part.values()))
    if shards > 1:
        places = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def with_norm(norm: str) -> Model:
    return dataclasses.replace(POST, norm=norm)


_T5 = Model("", 3, 20, 2, 36, 1024, 301, "seq2seq", pad=0, eps=1e-6, gelu="tanh", decoder_layers=2, head_width=6)
_LLAMA = Model("", 3, 24, 4, 36, 30, 301, "decoder", dropout=0.0, pad=-1, groups=2, head_width=10)
# Every variant of every family that is published.
ROWS = {
    "xlmr": POST,
    "xlmr_xl": with_norm("pre"),
    "mt5": _T5,
    "umt5": dataclasses.replace(_T5, relative="layer"),
    "llama": _LLAMA,
    "llama_tied": dataclasses.replace(_LLAMA, tied=True),
    "llama_bias": dataclasses.replace(_LLAMA, bias="all"),
    "qwen2": dataclasses.replace(_LLAMA, bias="qkv"),
    "qwen3": dataclasses.replace(_LLAMA, qk_norm=True),
}


def kinds_of(row: Model) -> tuple[str, ...]:
    """Returns the kinds of heads that are published over a row."""
    family = FAMILIES[row.family]
    return tuple(family.architectures[family.config_of(row)["model_type"]].values())


def labels_for(kind: str) -> tuple[str, ...]:
    return {"pair_classification": NLI, "tagging": ("A", "B", "C", "D")}.get(kind, ())


def publish(folder, *, row=POST, kind="", labels=(), dtype="float32", shards=1, seed=0, **config):
    """Makes a folder of a model with a head, and returns its tensors by name. `config`: fields to say otherwise."""
    family = FAMILIES[row.family]
    folder.mkdir()
    tensors = {name: array.astype(jnp.dtype(dtype)) for name, array in tensors_of(row, kind, labels, seed).items()}
    write_tensors(folder, tensors, shards)
    words = {"id2label": {str(number): word for number, word in enumerate(labels)}} if labels else {}
    said = {"architectures": [class_of(family, row, kind)], **family.config_of(row), **words, **config}
    (folder / "config.json").write_text(json.dumps(said))
    return tensors
