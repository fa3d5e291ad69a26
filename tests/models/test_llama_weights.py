"""Published decoders: what their config files say, and where their tensors go."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec, Model, build_config, count_params, init_params
from xling_jax.models.rope import SCALINGS
from xling_jax.models.weights.llama import FAMILY, config_of, row_from, tensors
from xling_jax.models.weights.tensors import names, read_tree, theirs_shape, to_theirs
from xling_jax.tables.models import MODELS

# The fields of published files that decide something, and some that do not.
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
QWEN2 = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN3 = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 32768,
    "max_window_layers": 36,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
PUBLISHED = {"llama2_7b": LLAMA, "qwen25_7b": QWEN2, "qwen3_8b": QWEN3}
DECODERS = [row for row in MODELS.values() if row.family == "decoder"]


def bare(row):
    return dataclasses.replace(row, name="", params=0, source="")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_gives_the_published_row(name):
    assert row_from(PUBLISHED[name]) == bare(MODELS[name])


@pytest.mark.parametrize("row", [row for row in DECODERS if row.vocab], ids=lambda row: row.name)
def test_what_is_written_is_what_is_read(row):
    assert row_from(config_of(row)) == bare(row)


def test_rows_of_every_variant_are_written():
    for base in DECODERS:
        tied = dataclasses.replace(base, vocab=1000, multiple=128, tied=True, head_width=6, theta=123.0)
        for rope in ((), (("factor", 2.0), ("rope_type", "linear"))):
            row = dataclasses.replace(tied, rope=rope)
            assert row_from(config_of(row)) == bare(row)
    with pytest.raises(CheckpointError, match="bias='qkv' with qk_norm=True"):
        config_of(dataclasses.replace(MODELS["qwen3_8b"], bias="qkv"))


def test_what_old_files_leave_out():
    old = {name: value for name, value in LLAMA.items() if name not in ("num_key_value_heads", "rope_scaling")}
    assert row_from(old) == bare(MODELS["llama2_7b"]), "a Llama without groups has none"
    new = {name: value for name, value in QWEN3.items() if name != "rope_theta"}
    assert row_from(new | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}) == row_from(QWEN3)
    assert row_from({**QWEN3, "head_dim": 64}).head_width == 64
    assert row_from({**LLAMA, "attention_bias": True}).bias == "all"


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("model_type", "gemma", "model_type = 'gemma'.\nAllowed: llama qwen2 qwen3"),
        ("model_type", None, "model_type = None"),
        ("hidden_act", "gelu", "hidden_act = 'gelu'.\nAllowed: 'silu' or 'swish'"),
        ("attention_dropout", 0.1, "attention_dropout = 0.1"),
        ("use_sliding_window", True, "use_sliding_window = True.\nAllowed: False"),
        ("layer_types", ["full_attention", "sliding_attention"], "layer_types = .*\nAllowed: full_attention in all"),
        ("quantization_config", {"bits": 4}, "quantization_config = "),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor = 0.5"),
        ("rope_scaling", {"rope_type": "longrope", "factor": 2.0}, "rope_type = 'longrope'.\nAllowed: default linear"),
        (
            "rope_scaling",
            {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
            "partial_rotary_factor = 0.5",
        ),
        ("rope_scaling", {"type": "linear"}, "linear without factor"),
        ("rope_scaling", {"type": "yarn", "factor": 2.0, "attn_factor": 0.9}, "attn_factor of rope_type yarn = 0.9"),
        ("rope_scaling", {"mrope_section": [16, 24, 24], "type": "default"}, "mrope_section of rope_type default"),
        ("hidden_size", None, "config.json has no hidden_size.\nAllowed: "),
        ("num_key_value_heads", 3, "num_key_value_heads = 3.\nAllowed: a divisor of num_attention_heads, 28"),
        ("head_dim", 7, "head_dim = 7.\nAllowed: an even number"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(field, value, found):
    with pytest.raises(CheckpointError, match=found) as error:
        row_from(QWEN2 | {field: value})
    assert len(str(error.value).splitlines()) >= 2, "found, allowed"


def test_biases_of_the_feed_forward_layer_are_refused():
    with pytest.raises(CheckpointError, match="mlp_bias = True"):
        row_from(LLAMA | {"mlp_bias": True})
    assert row_from(QWEN2 | {"mlp_bias": True}), "which Qwen's classes do not look at"
    assert row_from(LLAMA | {"use_sliding_window": True}), "nor Llama's at this"


def test_scalings_are_read_wherever_a_file_has_them():
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"}
    rows = [
        row_from(LLAMA | {"rope_theta": 5e5, "rope_scaling": llama3 | {"original_max_position_embeddings": 4096}}),
        row_from(LLAMA | {"rope_theta": 5e5, "rope_scaling": llama3}),
        row_from(LLAMA | {"rope_parameters": llama3 | {"rope_theta": 5e5}}),
        row_from(LLAMA | {"rope_theta": 5e5, "rope_scaling": llama3, "original_max_position_embeddings": 4096}),
    ]
    assert len(set(rows)) == 1
    assert rows[0].theta == 5e5 and dict(rows[0].rope)["original_max_position_embeddings"] == 4096
    assert row_from(config_of(rows[0])) == rows[0]
    assert all(set(SCALINGS[kind].needs).isdisjoint(SCALINGS[kind].may) for kind in SCALINGS)


def tiny(row, kind, size=0, **changes):
    sizes = {"layers": 3, "width": 8, "heads": 4, "groups": 2, "head_width": 6, "mlp": 10, "vocab": 30}
    row = dataclasses.replace(row, **sizes, **changes)
    return Model(build_config(row, 30), (HeadSpec("task", kind, size),))


def shapes_of(model):
    tree = nn.meta.unbox(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("kind", "size"), [("lm", 0), ("pair_classification", 3), ("tagging", 4), ("span_qa", 2), ("multiple_choice", 1)]
)
def test_there_and_back_is_the_same_bits(name, tied, kind, size):
    """Random tensors of every shape, through ours: each leaf has one row, each tensor there is used once."""
    model = tiny(MODELS[name], kind, size, tied=tied)
    rows, shapes = tensors(model.config, model.heads), shapes_of(model)
    assert sorted(row.ours for row in rows) == sorted(shapes), "a leaf without a row, or a row without a leaf"
    rng, there = np.random.default_rng(3), {}
    for row in rows:
        one = shapes[row.ours][1:] if "{}" in row.theirs else shapes[row.ours]
        for at in names(row, model.config.layers):
            assert at not in there, at
            there[at] = rng.standard_normal(theirs_shape(row, one, 30)).astype(np.float32)
    params = read_tree(rows, shapes, there.__getitem__)
    for row in rows:
        leaf = params
        for key in row.ours.split("/"):
            leaf = leaf[key]
        assert leaf.shape == shapes[row.ours]
        for at, part in zip(names(row, 3), leaf if "{}" in row.theirs else [leaf], strict=True):
            np.testing.assert_array_equal(to_theirs(row, part, there[at].shape), there[at])
    assert model.config.spare == 98 and count_params(model) > sum(part.size for part in there.values())


def test_names_are_those_of_the_class():
    assert FAMILY.architectures["qwen3"] == {
        "Qwen3Model": "",
        "Qwen3ForCausalLM": "lm",
        "Qwen3ForSequenceClassification": "pair_classification",
        "Qwen3ForTokenClassification": "tagging",
        "Qwen3ForQuestionAnswering": "span_qa",
    }
    tied, span = (tiny(MODELS["qwen25_7b"], kind, 2, tied=True) for kind in ("lm", "span_qa"))
    rows = {row.ours: row for row in tensors(tied.config, tied.heads)}
    assert rows["body/word/embedding"].theirs == "model.embed_tokens.weight"
    assert rows["body/word/embedding"].also == ("lm_head.weight",)
    assert rows["body/layers/query/bias"].theirs == "model.layers.{}.self_attn.q_proj.bias"
    rows = {row.ours: row for row in tensors(span.config, span.heads)}
    assert rows["body/norm/scale"].theirs == "transformer.norm.weight"
    assert rows["body/word/embedding"].also == ()
