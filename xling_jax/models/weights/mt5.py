"""mT5 and umT5 as `transformers` publishes them.

Both have an output matrix of their own, "lm_head.weight". What their config.json says of `tie_word_embeddings` is not
read: transformers 5 writes true for whatever it saves, and gives umT5's logits the scale of a tied matrix
(width ** -0.5), which they were not trained with.
"""

from collections.abc import Mapping
from typing import Any

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec
from xling_jax.models.seq2seq import Seq2SeqConfig
from xling_jax.models.weights.tensors import Family, Tensor
from xling_jax.tables.models import MULTIPLE, Model

RELATIVE = {"mt5": "shared", "umt5": "layer"}  # model_type -> where the tables of relative positions are
KIND = "text_to_text"  # of the only head
PRETRAINED_LENGTH = 1024  # of every published size; config.json has no such field

# Field of config.json -> column of the row.
_COLUMNS = {
    "num_layers": "layers",
    "num_decoder_layers": "decoder_layers",
    "d_model": "width",
    "num_heads": "heads",
    "d_kv": "head_width",
    "d_ff": "mlp",
    "vocab_size": "vocab",
    "relative_attention_num_buckets": "buckets",
    "relative_attention_max_distance": "longest",
    "layer_norm_epsilon": "eps",
    "dropout_rate": "dropout",
    "pad_token_id": "pad",
    "eos_token_id": "eos",
    "n_positions": "positions",
}
# What files of older versions leave out.
_DEFAULTS = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "dropout_rate": 0.1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "n_positions": PRETRAINED_LENGTH,
}
# Field -> the one thing it may say.
_FIXED = {"feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0, "pad_token_id": 0}


def row_from(config_json: Mapping[str, Any]) -> Model:
    """Returns the row of a config.json; CheckpointError for what is not modelled."""
    kind = config_json.get("model_type")
    if kind not in RELATIVE:
        raise _refused("model_type", kind, " ".join(RELATIVE))
    for field, allowed in _FIXED.items():
        if config_json.get(field, allowed) != allowed:
            raise _refused(field, config_json[field], str(allowed))
    found = _DEFAULTS | {field: value for field, value in config_json.items() if value is not None}
    found.setdefault("num_decoder_layers", found.get("num_layers"))
    for field in _COLUMNS:
        if not isinstance(found.get(field), int | float):
            raise _refused(field, found.get(field), "a number")
    sizes: dict[str, Any] = {column: found[field] for field, column in _COLUMNS.items()}
    return Model(name="", family="seq2seq", gelu="tanh", relative=RELATIVE[kind], multiple=MULTIPLE, **sizes)


def config_of(row: Model) -> dict[str, Any]:
    """Returns what config.json says of a row."""
    kind = next(kind for kind, relative in RELATIVE.items() if relative == row.relative)
    fields = {field: getattr(row, column) for field, column in _COLUMNS.items()}
    return {"model_type": kind} | fields | _FIXED | {"is_encoder_decoder": True, "tie_word_embeddings": False}


def _refused(field: str, found: Any, allowed: str) -> CheckpointError:
    return CheckpointError(
        f"config.json has {field} {found!r}.\n"
        f"Allowed: {allowed}, as mT5 and umT5 have it.\n"
        "What is read of mT5's files is in xling_jax/models/weights/mt5.py."
    )


def _stack(ours: str, theirs: str, blocks: Mapping[str, tuple[str, str]], per_layer: bool) -> list[Tensor]:
    """Returns the rows of the encoder or the decoder.

    Args:
      ours: its path here.
      theirs: its name there.
      blocks: ours -> (sublayer there, attention there or ""), in the order in which they run.
      per_layer: every layer has relative positions.
    """
    rows = [Tensor(f"{ours}/norm/scale", f"{theirs}.final_layer_norm.weight")]
    for number, (kind, (module, names)) in enumerate(blocks.items()):
        layer = f"{theirs}.block.{{}}.layer.{number}"
        rows.append(Tensor(f"{ours}/layers/{kind}_norm/scale", f"{layer}.layer_norm.weight"))
        for pair in names.split():
            name, part = pair.split("=")
            split = 2 if name.endswith(("attention_out", "memory_out")) else 1
            rows.append(Tensor(f"{ours}/layers/{name}/kernel", f"{layer}.{module}.{part}.weight", True, split=split))
    table = f"{theirs}.block.{'{}' if per_layer else 0}.layer.0.SelfAttention.relative_attention_bias.weight"
    rows.append(Tensor(f"{ours}/{'layers/' if per_layer else ''}relative/table", table))
    return rows


_ATTENTION = ("SelfAttention", "query=q key=k value=v attention_out=o")
_MEMORY = ("EncDecAttention", "memory_query=q memory_key=k memory_value=v memory_out=o")
_MLP = ("DenseReluDense", "mlp_gate=wi_0 mlp_in=wi_1 mlp_out=wo")


def tensors(config: Seq2SeqConfig, heads: tuple[HeadSpec, ...] = ()) -> tuple[Tensor, ...]:
    """Returns the rows of a model; it has no heads, its output is part of the body."""
    per_layer = config.relative == "layer"
    embedded = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    return (
        Tensor("body/word/embedding", "shared.weight", rows=True, also=embedded),
        *_stack("body/encoder", "encoder", {"attention": _ATTENTION, "mlp": _MLP}, per_layer),
        *_stack("body/decoder", "decoder", {"attention": _ATTENTION, "memory": _MEMORY, "mlp": _MLP}, per_layer),
        Tensor("body/output/kernel", "lm_head.weight", rows=True),
    )


FAMILY = Family(
    name="seq2seq",
    architectures={
        "mt5": {"MT5ForConditionalGeneration": KIND},
        "umt5": {"UMT5ForConditionalGeneration": KIND},
    },
    tensors=tensors,
    row_from=row_from,
    config_of=config_of,
    # In mT5's files, but of no use: attention to the encoder's states knows no positions.
    ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
)
