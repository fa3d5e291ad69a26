"""mT5 and umT5 by the door: from Hugging Face folders and back, and from t5x's checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.convert.importing import Options, boxed_shapes, bring_in, open_t5x, plan_import
from xling_jax.convert.to_hf import Options as Export
from xling_jax.convert.to_hf import to_hf
from xling_jax.errors import CheckpointError
from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.card import read_card
from xling_jax.models.weights import mt5, t5x
from xling_jax.models.weights.folder import open_tensors
from xling_jax.models.weights.tensors import names, read_tree, theirs_shape
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.partitioning.place import creator
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.train.checkpoint import Checkpoints, paths
from xling_jax.train.writer import Display

VOCAB = 40
ROWS = ["tiny_mt5", "tiny_umt5"]


def row_of(name: str):
    return dataclasses.replace(MODELS[name], vocab=VOCAB, multiple=16)


def restored(out):
    """Returns the parameters of an imported checkpoint."""
    model = build_model(build_config(read_card(out).model, VOCAB))
    _, abstract = creator(lambda: init_params(model, jax.random.key(0)), build_mesh(MESHES["one"]), "data")
    checkpoints = Checkpoints(out / "checkpoints", background=False)
    try:
        return checkpoints.restore_params(checkpoints.latest(), abstract)
    finally:
        checkpoints.close()


def assert_equal(found, wanted):
    found, wanted = paths(found), paths(wanted)
    assert set(found) == set(wanted)
    for path, leaf in wanted.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


@pytest.mark.parametrize("name", ROWS)
def test_from_hugging_face_and_back(publish, convert, tmp_path, name):
    """Bit for bit, the output matrix apart from the embeddings, and rows of zeros only in between."""
    folder, tensors = publish(row=row_of(name), kind=mt5.KIND, shards=2)
    out = convert(folder, multiple=16, tokenizer="none")
    card = read_card(out)
    assert (card.model.relative, card.model.decoder_layers, card.model.name) == (MODELS[name].relative, 3, "imported")
    params = restored(out)
    table, output = params["body"]["word"]["embedding"], params["body"]["output"]["kernel"]
    assert table.shape == output.shape == (48, 16)
    assert not np.asarray(table[VOCAB:]).any() and not np.asarray(output[VOCAB:]).any()
    np.testing.assert_array_equal(output[:VOCAB], tensors["lm_head.weight"])
    logits = build_model(build_config(card.model, VOCAB)).apply
    batch = {"input_ids": jnp.full((1, 3), 5), "labels": jnp.full((1, 2), 7)}
    assert (jax.jit(logits, static_argnums=1)({"params": params}, "any", batch)[..., VOCAB:] < -1e8).all()
    to_hf(out, tmp_path / "back", Export(), Display())
    back = {there: stored.read() for there, stored in open_tensors(tmp_path / "back").items()}
    assert set(back) == set(tensors)
    jax.tree.map(np.testing.assert_array_equal, back, tensors)


def written(folder, name: str):
    """Writes a checkpoint of t5x with random numbers; returns these by their names there."""
    row = row_of(name)
    config = build_config(row, VOCAB)
    shapes = {path: leaf.unbox().shape for path, leaf in boxed_shapes(config, ()).items()}
    draw, arrays = np.random.default_rng(4).standard_normal, {}
    for tensor in t5x.tensors(config):
        shape = shapes[tensor.ours]
        own = shape[1:] if "{}" in tensor.theirs else shape
        for there in names(tensor, shape[0]):
            arrays[there] = draw(theirs_shape(tensor, own, VOCAB)).astype(np.float32)
    t5x.write_legacy(folder, 1_000_000, arrays.items())
    return read_tree(t5x.tensors(config), shapes, arrays.__getitem__)


@pytest.mark.parametrize("name", ROWS)
def test_from_t5x(tmp_path, name):
    wanted = written(tmp_path / "checkpoint_1000000", name)
    planned = plan_import(tmp_path / "checkpoint_1000000", Options(tokenizer="none", multiple=16), open_t5x)
    bring_in(planned, tmp_path / "out", Display())
    assert_equal(restored(tmp_path / "out"), wanted)


def test_a_layer_that_is_lost(tmp_path):
    folder = tmp_path / "checkpoint_1000000"
    written(folder, "tiny_mt5")
    for path in (folder / "target.decoder.layers_1.mlp.wo.kernel").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match=r"decoder/layers_1/mlp/wo/kernel in .* is missing"):
        plan_import(folder, Options(tokenizer="none"), open_t5x)
    assert not (tmp_path / "out").exists()
