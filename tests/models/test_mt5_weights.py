"""mT5's and umT5's names in `transformers`: every leaf once, there and back; what config.json may say."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from xling_jax.errors import CheckpointError
from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.weights.mt5 import FAMILY, config_of, row_from, tensors
from xling_jax.models.weights.tensors import names, read_tree, theirs_shape, to_theirs
from xling_jax.tables.models import MODELS, MULTIPLE

VOCAB = 40
ROWS = [name for name, row in MODELS.items() if row.family == "seq2seq"]
TINY = ["tiny_mt5", "tiny_umt5"]


def leaves(row: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of our leaves by path."""
    model = build_model(build_config(MODELS[row], VOCAB))
    shapes = jax.eval_shape(lambda: nn.meta.unbox(init_params(model, jax.random.key(0))))
    found = jax.tree_util.tree_leaves_with_path(shapes)
    return {"/".join(part.key for part in path): leaf.shape for path, leaf in found}


def published(row: str, shapes) -> dict[str, np.ndarray]:
    """Returns random tensors as a published file of a row has them."""
    rng = np.random.default_rng(3)
    found = {}
    for tensor in tensors(build_config(MODELS[row], VOCAB)):
        shape = shapes[tensor.ours]
        own = shape[1:] if "{}" in tensor.theirs else shape
        for name in names(tensor, shape[0]):
            found[name] = rng.standard_normal(theirs_shape(tensor, own, VOCAB)).astype(np.float32)
    return found


@pytest.mark.parametrize("row", ROWS)
def test_every_leaf_has_a_name(row):
    rows = tensors(build_config(MODELS[row], VOCAB))
    assert sorted(tensor.ours for tensor in rows) == sorted(leaves(row))
    assert len({tensor.theirs for tensor in rows}) == len(rows)


def test_names_and_shapes_as_published():
    """Of mT5 small, as its files have them."""
    shapes = leaves("mt5_small")
    config = build_config(MODELS["mt5_small"], 2)
    found = {}
    for tensor in tensors(config):
        shape = shapes[tensor.ours]
        own = shape[1:] if "{}" in tensor.theirs else shape
        found |= dict.fromkeys(names(tensor, shape[0]), theirs_shape(tensor, own, config.vocab))
    assert len(found) == 2 + 2 + 2 + 8 * (9 + 14), "tables, last norms, relative positions; and those of each layer"
    assert found["shared.weight"] == found["lm_head.weight"] == (250_112, 512)
    assert found["encoder.block.7.layer.0.SelfAttention.q.weight"] == (384, 512)
    assert found["decoder.block.0.layer.1.EncDecAttention.o.weight"] == (512, 384)
    assert found["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] == (32, 6)
    assert found["decoder.block.3.layer.2.DenseReluDense.wi_1.weight"] == (1024, 512)


@pytest.mark.parametrize("spare", [0, 24])
@pytest.mark.parametrize("row", TINY)
def test_there_and_back(row, spare):
    """With rows of zeros here that the vocabulary there has not, and without."""
    shapes = leaves(row)
    theirs = published(row, shapes)
    tables = ("body/word/embedding", "body/output/kernel")
    shapes |= {path: (VOCAB + spare, *shapes[path][1:]) for path in tables}
    rows = tensors(build_config(MODELS[row], VOCAB))
    tree = read_tree(rows, shapes, theirs.__getitem__)
    for tensor in rows:
        leaf = tree
        for part in tensor.ours.split("/"):
            leaf = leaf[part]
        assert leaf.shape == shapes[tensor.ours]
        parts = leaf if "{}" in tensor.theirs else [leaf]
        for name, part in zip(names(tensor, len(leaf)), parts, strict=True):
            np.testing.assert_array_equal(to_theirs(tensor, part, theirs[name].shape), theirs.pop(name))
    assert not theirs, "a tensor that was read by nobody"


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_its_config_json(row):
    there = config_of(MODELS[row])
    back = row_from(there)
    assert back == dataclasses.replace(MODELS[row], name="", params=0, source="", multiple=MULTIPLE)
    assert there["model_type"] in FAMILY.architectures


def test_what_old_files_leave_out():
    """As mT5 small was first published: no maximal distance, and the same depth twice."""
    json = config_of(MODELS["mt5_small"])
    for field in ("relative_attention_max_distance", "num_decoder_layers", "n_positions", "pad_token_id"):
        del json[field]
    assert row_from(json) == row_from(config_of(MODELS["mt5_small"]))
    assert row_from(json | {"num_decoder_layers": None}) == row_from(json)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "t5"),
        ("feed_forward_proj", "relu"),
        ("decoder_start_token_id", 1),
        ("pad_token_id", 3),
        ("d_kv", None),
        ("eos_token_id", [1, 2]),
    ],
)
def test_what_is_not_modelled_is_named(field, value):
    with pytest.raises(CheckpointError, match=f"config.json has {field} "):
        row_from(config_of(MODELS["tiny_mt5"]) | {field: value})
