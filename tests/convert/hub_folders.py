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
