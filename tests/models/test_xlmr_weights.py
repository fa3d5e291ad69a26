"""What XLM-R's files say of a model, and where each of its tensors goes."""

import dataclasses

import flax.linen as nn
import jax
import pytest

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.models.weights.tensors import names, theirs_shape
from xling_jax.models.weights.xlmr import ENDINGS, FAMILY
from xling_jax.tables.models import MODELS, decides

# The fields of published config.json files that say something of the computation.
BASE = {
    "architectures": ["XLMRobertaForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "xlm-roberta",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "output_past": True,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "type_vocab_size": 1,
    "vocab_size": 250002,
}
LARGE = BASE | {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
XL = LARGE | {"model_type": "xlm-roberta-xl", "architectures": ["XLMRobertaXLForMaskedLM"], "vocab_size": 250880}
XL |= {"hidden_size": 2560, "intermediate_size": 10240, "num_attention_heads": 32, "num_hidden_layers": 36}
XXL = XL | {"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48}
PUBLISHED = {"xlmr_base": BASE, "xlmr_large": LARGE, "xlmr_xl": XL, "xlmr_xxl": XXL}
KINDS = {kind: 3 if kind in ("pair_classification", "tagging") else 2 for kind in ENDINGS.values() if kind}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_give_the_rows_of_the_table(name):
    assert decides(FAMILY.row_from(PUBLISHED[name])) == decides(MODELS[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_writes_what_it_is_read_from(name):
    written = FAMILY.config_of(MODELS[name])
    assert FAMILY.row_from(written) == dataclasses.replace(MODELS[name], name="", params=0, source="")
    shared = written.keys() & PUBLISHED[name].keys()
    assert {field: written[field] for field in shared} == {field: PUBLISHED[name][field] for field in shared}
    assert PUBLISHED[name].keys() - shared == {"architectures", "bos_token_id", "eos_token_id", "output_past"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "roberta"),
        ("hidden_act", "relu"),
        ("type_vocab_size", 2),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("tie_word_embeddings", False),
        ("pad_token_id", 0),
        ("num_attention_heads", 7),
        ("num_hidden_layers", "12"),
        ("hidden_size", 0),
        ("layer_norm_eps", None),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(field, value):
    named = "hidden_size" if field == "num_attention_heads" else field
    with pytest.raises(CheckpointError, match=rf"config.json has {named}=.*\nAllowed for XLM-R: ") as error:
        FAMILY.row_from(BASE | {field: value})
    assert error.value.exit_code == 4


@pytest.mark.parametrize("field", ["hidden_size", "vocab_size", "max_position_embeddings", "layer_norm_eps"])
def test_a_missing_size_is_named(field):
    with pytest.raises(CheckpointError, match=f"config.json has {field}=None"):
        FAMILY.row_from({name: value for name, value in BASE.items() if name != field})


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(nn.meta.unbox(boxed))
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_every_leaf_has_one_row(norm, kind):
    row = dataclasses.replace(MODELS["tiny"], norm=norm)
    model = Model(build_config(row, 40), (HeadSpec("h", kind, KINDS[kind]),))
    rows = FAMILY.tensors(model.config, model.heads)
    assert sorted(tensor.ours for tensor in rows) == sorted(shapes(model))
    there = [name for tensor in rows for name in (*names(tensor, 2), *tensor.also)]
    assert len(set(there)) == len(there), "two leaves have one name"


def test_shapes_there():
    """XLM-R base's, as its file has them: outputs first, heads and their width in one axis, no spare rows."""
    row = MODELS["xlmr_base"]
    model = Model(build_config(row, row.vocab), (HeadSpec("h", "mlm"),))
    here, there = shapes(model), {}
    for tensor in FAMILY.tensors(model.config, model.heads):
        shape = here[tensor.ours][1:] if "{}" in tensor.theirs else here[tensor.ours]
        there[tensor.theirs] = theirs_shape(tensor, shape, row.vocab)
    assert here["body/word/embedding"] == (250112, 768)
    layer = "roberta.encoder.layer.{}."
    expected = {
        "roberta.embeddings.word_embeddings.weight": (250002, 768),
        "roberta.embeddings.position_embeddings.weight": (514, 768),
        "roberta.embeddings.token_type_embeddings.weight": (1, 768),
        f"{layer}attention.self.query.weight": (768, 768),
        f"{layer}attention.self.query.bias": (768,),
        f"{layer}attention.output.dense.weight": (768, 768),
        f"{layer}attention.output.dense.bias": (768,),
        f"{layer}attention.output.LayerNorm.weight": (768,),
        f"{layer}intermediate.dense.weight": (3072, 768),
        f"{layer}output.dense.weight": (768, 3072),
        "lm_head.bias": (250002,),
        "lm_head.dense.weight": (768, 768),
    }
    assert {name: there[name] for name in expected} == expected
    assert len(there) == 3 + 2 + 8 * 2 + 5


def test_architectures_are_a_kind_each():
    assert FAMILY.architectures["xlm-roberta"]["XLMRobertaForMaskedLM"] == "mlm"
    assert FAMILY.architectures["xlm-roberta-xl"]["XLMRobertaXLForTokenClassification"] == "tagging"
    for classes in FAMILY.architectures.values():
        assert sorted(classes.values()) == sorted(["", *KINDS])
