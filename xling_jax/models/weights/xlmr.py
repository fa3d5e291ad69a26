"""XLM-R and XLM-R XL as `transformers` writes them: the names of tensors and the fields of config.json.

Encoders of XTREME-R's retrieval tasks have the names of its BertForRetrieval: the pooler, and `logit_scale`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec
from xling_jax.models.encoder import EncoderConfig
from xling_jax.models.weights.tensors import Family, Tensor
from xling_jax.tables.models import MULTIPLE, Model

TYPES = {"xlm-roberta": "post", "xlm-roberta-xl": "pre"}  # model_type -> where the norms stand
CLASSES = {"xlm-roberta": "XLMRoberta", "xlm-roberta-xl": "XLMRobertaXL"}
ENDINGS = {
    "Model": "",
    "ForMaskedLM": "mlm",
    "ForSequenceClassification": "pair_classification",
    "ForMultipleChoice": "multiple_choice",
    "ForTokenClassification": "tagging",
    "ForQuestionAnswering": "span_qa",
    "ForRetrieval": "dual_encoder",  # XTREME-R's; transformers has no such class
}
PREFIX = "roberta."

_DENSE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "mlp_in": "intermediate.dense",
    "mlp_out": "output.dense",
}
_NORMS = {
    "post": {"attention_norm": "attention.output.LayerNorm", "mlp_norm": "output.LayerNorm"},
    "pre": {"attention_norm": "attention.self_attn_layer_norm", "mlp_norm": "LayerNorm"},
}
_LAST_NORM = {"post": f"{PREFIX}embeddings.LayerNorm", "pre": f"{PREFIX}encoder.LayerNorm"}
# The dense layers of a head, by its kind: ours -> theirs.
_HEAD_DENSE = {
    "mlm": {"dense": "lm_head.dense"},
    "pair_classification": {"dense": "classifier.dense", "output": "classifier.out_proj"},
    "multiple_choice": {"score/dense": f"{PREFIX}pooler.dense", "score/output": "classifier"},
    "tagging": {"output": "classifier"},
    "span_qa": {"output": "qa_outputs"},
    "dual_encoder": {"dense": f"{PREFIX}pooler.dense"},
}


def _dense(ours: str, theirs: str) -> Iterator[Tensor]:
    # Heads and their width are two axes here: a kernel is DxHxK, the one that leaves attention HxKxD, a bias HxK.
    yield Tensor(f"{ours}/kernel", f"{theirs}.weight", turned=True, split=2 if ours.endswith("attention_out") else 1)
    yield Tensor(f"{ours}/bias", f"{theirs}.bias", split=0)


def _norm(ours: str, theirs: str) -> Iterator[Tensor]:
    yield Tensor(f"{ours}/scale", f"{theirs}.weight")
    yield Tensor(f"{ours}/bias", f"{theirs}.bias")


def _body(norm: str) -> Iterator[Tensor]:
    # The output matrix of the masked-LM head is the word table.
    word = f"{PREFIX}embeddings.word_embeddings.weight"
    yield Tensor("body/word/embedding", word, rows=True, also=("lm_head.decoder.weight",))
    for ours in ("position", "token_type"):
        yield Tensor(f"body/{ours}/embedding", f"{PREFIX}embeddings.{ours}_embeddings.weight")
    yield from _norm("body/norm", _LAST_NORM[norm])
    for ours, theirs in _DENSE.items():
        yield from _dense(f"body/layers/{ours}", f"{PREFIX}encoder.layer.{{}}.{theirs}")
    for ours, theirs in _NORMS[norm].items():
        yield from _norm(f"body/layers/{ours}", f"{PREFIX}encoder.layer.{{}}.{theirs}")


def _head(head: HeadSpec) -> Iterator[Tensor]:
    for ours, theirs in _HEAD_DENSE[head.kind].items():
        yield from _dense(f"head_{head.name}/{ours}", theirs)
    if head.kind == "mlm":
        yield from _norm(f"head_{head.name}/norm", "lm_head.layer_norm")
        yield Tensor(f"head_{head.name}/bias", "lm_head.bias", rows=True, also=("lm_head.decoder.bias",))
    if head.kind == "dual_encoder":
        yield Tensor(f"head_{head.name}/logit_scale", "logit_scale")


def tensors(config: EncoderConfig, heads: Sequence[HeadSpec] = ()) -> tuple[Tensor, ...]:
    """Returns the rows of a model's body and of its heads; a checkpoint there has one head."""
    return (*_body(config.norm), *(tensor for head in heads for tensor in _head(head)))


# config.json -> our columns, for numbers that are taken as they are.
_SIZES = {"num_hidden_layers": "layers", "hidden_size": "width", "num_attention_heads": "heads"} | {
    "intermediate_size": "mlp",
    "vocab_size": "vocab",
}
_GELU = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
# Fields that change what a model computes, and the only value we have; files leave out what is the default.
_FIXED = {
    "type_vocab_size": 1,
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "position_embedding_type": "absolute",
}


def _refused(field: str, found: Any, allowed: str) -> CheckpointError:
    return CheckpointError(
        f"config.json has {field}={found!r}.\nAllowed for XLM-R: {allowed}.\n"
        "What is read of it is in xling_jax/models/weights/xlmr.py."
    )


def row_from(config: Mapping[str, Any]) -> Model:
    """Returns the row of a model, without a name, from its config.json.

    Raises CheckpointError naming the field that is missing, or that says what we do not have. What
    only concerns training, as the dropout of attention's weights, may say anything.
    """
    if config.get("model_type") not in TYPES:
        raise _refused("model_type", config.get("model_type"), " or ".join(TYPES))
    for field in (*_SIZES, "max_position_embeddings", "layer_norm_eps"):
        if not (isinstance(config.get(field), (int, float)) and config[field] > 0):
            raise _refused(field, config.get(field), "a number above zero")
    for field, value in _FIXED.items():
        if config.get(field, value) != value:
            raise _refused(field, config[field], repr(value))
    gelu = config.get("hidden_act", "gelu")
    if gelu not in _GELU:
        raise _refused("hidden_act", gelu, ", ".join(_GELU))
    if config["hidden_size"] % config["num_attention_heads"]:
        raise _refused("hidden_size", config["hidden_size"], f"a multiple of {config['num_attention_heads']} heads")
    pad = config.get("pad_token_id", 1)
    if pad != 1:
        raise _refused("pad_token_id", pad, "1, as positions are counted from it")
    return Model(
        name="",
        **{ours: config[theirs] for theirs, ours in _SIZES.items()},
        positions=config["max_position_embeddings"] - pad - 1,
        norm=TYPES[config["model_type"]],
        eps=config["layer_norm_eps"],
        gelu=_GELU[gelu],
        dropout=config.get("hidden_dropout_prob", 0.1),
        multiple=MULTIPLE,
    )


def config_of(row: Model) -> dict[str, Any]:
    """Returns what config.json must say of a row's sizes, so that `transformers` computes what we do."""
    return {
        "model_type": next(name for name, norm in TYPES.items() if norm == row.norm),
        **{theirs: getattr(row, ours) for theirs, ours in _SIZES.items()},
        "max_position_embeddings": row.positions + row.pad + 1,
        "layer_norm_eps": row.eps,
        "hidden_act": next(name for name, gelu in _GELU.items() if gelu == row.gelu),
        "hidden_dropout_prob": row.dropout,
        "attention_probs_dropout_prob": row.dropout,
        "pad_token_id": row.pad,
        **_FIXED,
    }


FAMILY = Family(
    name="encoder",
    architectures={type_: {stem + ending: kind for ending, kind in ENDINGS.items()} for type_, stem in CLASSES.items()},
    tensors=tensors,
    row_from=row_from,
    config_of=config_of,
    prefix=PREFIX,
    ignored=(f"{PREFIX}embeddings.position_ids", f"{PREFIX}embeddings.token_type_ids"),
)
