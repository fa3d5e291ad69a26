"""How decoders are published: Llama, Qwen2 (and 2.5) and Qwen3 in the layout of `transformers`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec
from xling_jax.models.decoder import DecoderConfig
from xling_jax.models.rope import SCALINGS
from xling_jax.models.weights.tensors import Family, Tensor
from xling_jax.tables.models import MULTIPLE, Model

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Type:
    """A model_type of config.json: what its classes are called, and what it has that others do not.

    `bias` is the column of tables/models.py; "field": as `attention_bias` says. `refuses` are the fields that change
    the computation only here.
    """

    classes: str
    bias: str
    qk_norm: bool = False
    refuses: tuple[str, ...] = ()


_WINDOW = ("use_sliding_window", "layer_types")
TYPES = {
    "llama": Type("Llama", "field", refuses=("mlp_bias",)),
    "qwen2": Type("Qwen2", "qkv", refuses=_WINDOW),
    "qwen3": Type("Qwen3", "field", qk_norm=True, refuses=_WINDOW),
}
# What every checkpoint says of its sizes. Whatever else a file leaves out has the value that `transformers` gives it.
_SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "positions": "max_position_embeddings",
    "vocab": "vocab_size",
    "eps": "rms_norm_eps",
}
# Fields that change the computation, and the values that leave it as it is here; the first is that of no such field.
_ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_dropout": (0.0, None),
    "partial_rotary_factor": (1.0, None),
    "is_causal": (True,),
    "quantization_config": (None,),
    "mlp_bias": (False,),
    "use_sliding_window": (False, None),
    "layer_types": (None,),
}
_EVERYWHERE = ("hidden_act", "attention_dropout", "partial_rotary_factor", "is_causal", "quantization_config")
_FULL = "full_attention"

_HEADS = {
    "lm": "ForCausalLM",
    "pair_classification": "ForSequenceClassification",
    "tagging": "ForTokenClassification",
    "span_qa": "ForQuestionAnswering",
}


def _projections(config: DecoderConfig) -> list[tuple[str, str, int, bool]]:
    """Returns (name here, name there, axes of the input, has a bias) of a layer's products."""
    qkv, out = config.bias != "none", config.bias == "all"
    return [
        ("query", "self_attn.q_proj", 1, qkv),
        ("key", "self_attn.k_proj", 1, qkv),
        ("value", "self_attn.v_proj", 1, qkv),
        ("attention_out", "self_attn.o_proj", 2, out),
        ("mlp_gate", "mlp.gate_proj", 1, False),
        ("mlp_in", "mlp.up_proj", 1, False),
        ("mlp_out", "mlp.down_proj", 1, False),
    ]


def _norms(config: DecoderConfig) -> list[tuple[str, str]]:
    """Returns (name here, name there) of a layer's norms."""
    queries = [("query_norm", "self_attn.q_norm"), ("key_norm", "self_attn.k_norm")]
    return [
        ("attention_norm", "input_layernorm"),
        ("mlp_norm", "post_attention_layernorm"),
        *(queries if config.qk_norm else ()),
    ]


def _body(config: DecoderConfig, prefix: str, tied: tuple[str, ...]) -> list[Tensor]:
    rows = [
        Tensor("body/word/embedding", f"{prefix}embed_tokens.weight", rows=True, also=tied),
        Tensor("body/norm/scale", f"{prefix}norm.weight"),
    ]
    here, there = "body/layers", f"{prefix}layers.{{}}"
    for ours, theirs in _norms(config):
        rows.append(Tensor(f"{here}/{ours}/scale", f"{there}.{theirs}.weight"))
    for ours, theirs, split, biased in _projections(config):
        rows.append(Tensor(f"{here}/{ours}/kernel", f"{there}.{theirs}.weight", turned=True, split=split))
        if biased:
            rows.append(Tensor(f"{here}/{ours}/bias", f"{there}.{theirs}.bias", split=0))
    return rows


def _head(spec: HeadSpec, config: DecoderConfig) -> list[Tensor]:
    if spec.kind == "lm":
        return [] if config.tied else [Tensor(f"head_{spec.name}/kernel", "lm_head.weight", rows=True)]
    here = f"head_{spec.name}/output"
    name = "qa_outputs" if spec.kind == "span_qa" else "score"
    kernel = Tensor(f"{here}/kernel", f"{name}.weight", turned=True)
    return [kernel, Tensor(f"{here}/bias", f"{name}.bias")] if spec.kind in ("tagging", "span_qa") else [kernel]


def tensors(config: DecoderConfig, heads: tuple[HeadSpec, ...]) -> tuple[Tensor, ...]:
    """Returns a row for each leaf of a decoder and its heads.

    The class that answers span questions calls the body "transformer" where the others call it "model". One score for
    a choice has no class of its own: it is that of classification with one label.
    """
    kinds = {spec.kind for spec in heads}
    prefix = "transformer." if "span_qa" in kinds else "model."
    tied = ("lm_head.weight",) if config.tied and "lm" in kinds else ()
    return (*_body(config, prefix, tied), *(row for spec in heads for row in _head(spec, config)))


def _refused(field: str, found: Any, allowed: str) -> CheckpointError:
    return CheckpointError(
        f"config.json says {field} = {found!r}.\nAllowed: {allowed}.\n"
        "Decoders are computed in xling_jax/models/decoder.py. A field that means nothing can be taken out of the file."
    )


def _check(config_json: Json, fields: tuple[str, ...]) -> None:
    """Raises CheckpointError for a field whose value would need other computations."""
    for field in fields:
        allowed = _ONLY[field]
        found = config_json.get(field, allowed[0])
        if field == "layer_types" and found and set(found) == {_FULL}:
            continue
        if found not in allowed:
            words = [f"{_FULL} in all layers"] if field == "layer_types" else [repr(value) for value in allowed]
            raise _refused(field, found, " or ".join(words))


def _scaling(config_json: Json) -> tuple[float, tuple[tuple[str, Any], ...]]:
    """Returns the base of the rotary positions and their scaling, wherever the file's version has them."""
    stated = config_json.get("rope_scaling") or config_json.get("rope_parameters") or {}
    fields = {name: value for name, value in stated.items() if value is not None}
    theta = float(fields.pop("rope_theta", config_json.get("rope_theta") or 10_000.0))
    older = fields.pop("type", "default")
    kind = fields.pop("rope_type", older)
    if kind not in SCALINGS:
        raise _refused("rope_type", kind, " ".join(SCALINGS))
    if fields.pop("partial_rotary_factor", 1.0) != 1.0:
        raise _refused("partial_rotary_factor", stated["partial_rotary_factor"], "1.0")
    scaling, original = SCALINGS[kind], "original_max_position_embeddings"
    if original in scaling.needs:
        fields[original] = config_json.get(original) or fields.get(original, config_json["max_position_embeddings"])
    for name in scaling.needs:
        if name not in fields:
            raise _refused(f"rope_type {kind} without {name}", None, f"{kind} with {' '.join(scaling.needs)}")
    for name, value in fields.items():
        if name not in (*scaling.needs, *scaling.may):
            raise _refused(f"{name} of rope_type {kind}", value, " ".join((*scaling.needs, *scaling.may)) or "no field")
    return theta, tuple(sorted((fields | {"rope_type": kind}).items())) if kind != "default" else ()


def row_from(config_json: Json) -> Model:
    """Returns the row of a config.json. Raises CheckpointError, naming the field, for what is not modelled."""
    kind = config_json.get("model_type")
    if kind not in TYPES:
        raise _refused("model_type", kind, " ".join(TYPES))
    row = TYPES[kind]
    for field in _SIZES.values():
        if config_json.get(field) is None:
            raise CheckpointError(
                f"config.json has no {field}.\nAllowed: a config.json with {' '.join(_SIZES.values())}."
            )
    _check(config_json, (*_EVERYWHERE, *row.refuses))
    sizes = {ours: config_json[theirs] for ours, theirs in _SIZES.items()}
    theta, rope = _scaling(config_json)
    biased = "all" if config_json.get("attention_bias") else "none"
    return _checked(
        Model(
            "",
            **sizes,
            family="decoder",
            dropout=0.0,
            pad=-1,
            multiple=MULTIPLE,
            groups=_groups(config_json, kind),
            head_width=_head_width(config_json, kind),
            theta=theta,
            rope=rope,
            bias=biased if row.bias == "field" else row.bias,
            qk_norm=row.qk_norm,
            tied=bool(config_json.get("tie_word_embeddings", False)),
        )
    )


def _groups(config_json: Json, kind: str) -> int:
    """Returns how many heads have keys of their own; all, where a file says null or, of Llama, nothing."""
    missing = None if kind == "llama" else 32
    return config_json.get("num_key_value_heads", missing) or config_json["num_attention_heads"]


def _head_width(config_json: Json, kind: str) -> int:
    missing = 128 if kind == "qwen3" else None
    return config_json.get("head_dim", missing) or config_json["hidden_size"] // config_json["num_attention_heads"]


def _checked(row: Model) -> Model:
    """Returns the row. Raises CheckpointError if its heads cannot be divided."""
    if row.heads % row.groups:
        raise _refused("num_key_value_heads", row.groups, f"a divisor of num_attention_heads, {row.heads}")
    if row.head_width % 2:
        raise _refused("head_dim", row.head_width, "an even number: rotary positions turn pairs")
    return row


def config_of(row: Model) -> dict[str, Any]:
    """Returns what config.json says of a row. Raises CheckpointError for a row that no published class computes."""
    kinds = [kind for kind, found in TYPES.items() if found.qk_norm == row.qk_norm and _has(found.bias, row.bias)]
    if not kinds:
        raise CheckpointError(
            f"No class of transformers has bias={row.bias!r} with qk_norm={row.qk_norm}.\n"
            f"Allowed: {', '.join(TYPES)}.\nModels are rows of xling_jax/tables/models.py."
        )
    fields = {theirs: getattr(row, ours) for ours, theirs in _SIZES.items()}
    return {
        "model_type": kinds[0],
        **fields,
        "num_key_value_heads": row.groups,
        "head_dim": row.head_width,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "tie_word_embeddings": row.tied,
        "rope_theta": row.theta,
        "rope_scaling": dict(row.rope) or None,
        **({"attention_bias": row.bias == "all"} if TYPES[kinds[0]].bias == "field" else {}),
    }


def _has(bias: str, wanted: str) -> bool:
    return wanted in ("all", "none") if bias == "field" else wanted == bias


FAMILY = Family(
    name="decoder",
    architectures={
        kind: {f"{row.classes}Model": ""} | {f"{row.classes}{ending}": head for head, ending in _HEADS.items()}
        for kind, row in TYPES.items()
    },
    tensors=tensors,
    row_from=row_from,
    config_of=config_of,
    prefix="model.",
    ignored=("model.layers.*.self_attn.rotary_emb.inv_freq",),
)
