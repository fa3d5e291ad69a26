"""Models: one row per pretrained model and size, and the small ones that are trained here.

Sizes are those of the published configuration files: XLM-R (Conneau et al. 2020, arXiv 1911.02116), XLM-R XL and
XXL (Goyal et al. 2021, arXiv 2105.00572), mT5 (Xue et al. 2021, arXiv 2010.11934), umT5 (Chung et al. 2023, "UniMax"),
Llama 2 (Touvron et al. 2023, arXiv 2307.09288), Qwen2.5 (Qwen 2024, arXiv 2412.15115) and Qwen3 (Qwen 2025, arXiv
2505.09388), of the latter two the base models.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from xling_jax.errors import choose

MULTIPLE = 128  # rows of a published vocabulary are filled up to a multiple of it, so that many devices can share them


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of models: how it answers, its own way first, and the kinds of task that experiments ask of it so.

    `forms`: "heads" and "text", each with its kinds. `vocabularies` are those that its ids are of; `prompts` the ones
    of tables/prompts.py that it is asked with where its answers are texts. `pooling`:
    what can stand for a text. A decoder's first token has seen nothing but itself.
    """

    name: str
    forms: Mapping[str, tuple[str, ...]]
    vocabularies: tuple[str, ...]
    prompts: str = ""
    pooling: tuple[str, ...] = ("mean", "first", "last")


_LABELS = ("pair_classification", "multiple_choice", "tagging", "span_qa")
_VECTORS = ("retrieval", "mining")
FAMILIES = {
    row.name: row
    for row in (
        Family("encoder", {"heads": ("mlm", *_LABELS, *_VECTORS, "dual_encoder")}, ("world", "xlmr")),
        Family("seq2seq", {"text": (*_LABELS, *_VECTORS)}, ("mt5",), "mt5"),
        Family(
            "decoder",
            dict.fromkeys(("heads", "text"), (*_LABELS, *_VECTORS)),
            ("llama", "qwen"),
            "plain",
            ("mean", "last"),
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model: its family ("encoder": XLM-R's architecture, "seq2seq": mT5's, "decoder": Llama's) and its sizes.

    Families leave columns of others alone.

    `vocab` 0 means: as many as the experiment's vocabulary has. `positions` is the longest input in
    tokens. `norm` is where the layer norms stand: after each block (XLM-R base, large) or before (XL, XXL); `eps` is
    what they add to the variance. `pad` is the id of padding, -1 where padding has none. `multiple`: the vocabulary
    gets rows that mean nothing until their number is a multiple of it. `params` is the number of parameters as
    published, those of the language-model head among them, without such rows; `source` names the repository it is
    published in.

    Of an encoder-decoder, `layers` are the encoder's; `head_width` is not width / heads; `relative`: one table of
    relative positions for all layers of a stack ("shared") or one for each ("layer"), of `buckets` of distances, the
    last of which begins at `longest`; `positions` is the length it was pretrained with, and no limit; `eos` ends texts.

    Of decoders: `groups` of heads share keys and values, `head_width` is the width of a head, `theta` the base of the
    rotary positions, and `rope` has what a config file says of their scaling, as pairs in the order of their names.
    `bias`: which projections of attention have biases ("none", "qkv", "all"); `qk_norm`: queries and keys are normed;
    `tied`: the output matrix is the embeddings.
    """

    name: str
    layers: int
    width: int
    heads: int
    mlp: int
    positions: int
    vocab: int = 0
    family: str = "encoder"
    norm: str = "post"
    eps: float = 1e-5
    gelu: str = "erf"
    dropout: float = 0.1
    pad: int = 1
    multiple: int = 1
    groups: int = 0
    head_width: int = 0
    theta: float = 10_000.0
    rope: tuple[tuple[str, Any], ...] = ()
    bias: str = "none"
    qk_norm: bool = False
    tied: bool = False
    decoder_layers: int = 0
    relative: str = "shared"
    buckets: int = 32
    longest: int = 128
    eos: int = 1
    params: int = 0
    source: str = ""


_xlmr = functools.partial(Model, positions=512, vocab=250_002, multiple=MULTIPLE)
_xlmr_xl = functools.partial(Model, positions=512, vocab=250_880, multiple=MULTIPLE, norm="pre")
_t5 = functools.partial(Model, family="seq2seq", pad=0, eps=1e-6, gelu="tanh")
_mt5 = functools.partial(_t5, multiple=MULTIPLE, positions=1024, head_width=64, vocab=250_112)
_umt5 = functools.partial(_t5, multiple=MULTIPLE, positions=1024, head_width=64, vocab=256_384, relative="layer")
_decoder = functools.partial(Model, family="decoder", head_width=128, dropout=0.0, pad=-1, multiple=MULTIPLE)
_llama2 = functools.partial(_decoder, positions=4096, vocab=32_000)
_qwen = functools.partial(_decoder, theta=1e6, eps=1e-6)
_qwen25 = functools.partial(_qwen, positions=131_072, vocab=152_064, bias="qkv")
_qwen3 = functools.partial(_qwen, positions=32_768, vocab=151_936, groups=8, qk_norm=True)

_ROWS = (
    # layers, width, heads, mlp
    _xlmr("xlmr_base", 12, 768, 12, 3072, params=278_295_186, source="FacebookAI/xlm-roberta-base"),
    _xlmr("xlmr_large", 24, 1024, 16, 4096, params=560_142_482, source="FacebookAI/xlm-roberta-large"),
    _xlmr_xl("xlmr_xl", 36, 2560, 32, 10240, params=3_482_741_760, source="facebook/xlm-roberta-xl"),
    _xlmr_xl("xlmr_xxl", 48, 4096, 32, 16384, params=10_712_994_816, source="facebook/xlm-roberta-xxl"),
    _mt5("mt5_small", 8, 512, 6, 1024, decoder_layers=8, params=300_176_768, source="google/mt5-small"),
    _mt5("mt5_base", 12, 768, 12, 2048, decoder_layers=12, params=582_401_280, source="google/mt5-base"),
    _mt5("mt5_large", 24, 1024, 16, 2816, decoder_layers=24, params=1_229_581_312, source="google/mt5-large"),
    _mt5("mt5_xl", 24, 2048, 32, 5120, decoder_layers=24, params=3_742_619_648, source="google/mt5-xl"),
    _mt5("mt5_xxl", 24, 4096, 64, 10240, decoder_layers=24, params=12_921_057_280, source="google/mt5-xxl"),
    _umt5("umt5_small", 8, 512, 6, 1024, decoder_layers=8, params=306_601_984, source="google/umt5-small"),
    _umt5("umt5_base", 12, 768, 12, 2048, decoder_layers=12, params=592_043_520, source="google/umt5-base"),
    _umt5("umt5_xl", 24, 2048, 32, 5120, decoder_layers=24, params=3_768_356_864, source="google/umt5-xl"),
    _umt5("umt5_xxl", 24, 4096, 64, 10240, decoder_layers=24, params=12_972_531_712, source="google/umt5-xxl"),
    _llama2("llama2_7b", 32, 4096, 32, 11008, groups=32, params=6_738_415_616, source="meta-llama/Llama-2-7b-hf"),
    _llama2("llama2_13b", 40, 5120, 40, 13824, groups=40, params=13_015_864_320, source="meta-llama/Llama-2-13b-hf"),
    _qwen25("qwen25_7b", 28, 3584, 28, 18944, groups=4, params=7_615_616_512, source="Qwen/Qwen2.5-7B"),
    _qwen25("qwen25_14b", 48, 5120, 40, 13824, groups=8, params=14_770_033_664, source="Qwen/Qwen2.5-14B"),
    _qwen3("qwen3_8b", 36, 4096, 32, 12288, params=8_190_735_360, source="Qwen/Qwen3-8B-Base"),
    _qwen3("qwen3_14b", 40, 5120, 40, 17408, params=14_768_307_200, source="Qwen/Qwen3-14B-Base"),
    # Pretrained here. Dropout costs random numbers, and these models see too little data to overfit it.
    Model("world", layers=3, width=64, heads=2, mlp=128, positions=64, gelu="tanh", dropout=0.0),
    Model("world_small", layers=2, width=48, heads=2, mlp=96, positions=64, gelu="tanh", dropout=0.0),
    Model("world_large", layers=4, width=96, heads=3, mlp=192, positions=64, gelu="tanh", dropout=0.0),
    Model("mini", layers=2, width=48, heads=2, mlp=128, positions=128, gelu="tanh", dropout=0.0),
    Model("small", layers=3, width=96, heads=4, mlp=256, positions=128, gelu="tanh", dropout=0.0),
    Model("midi", layers=4, width=128, heads=4, mlp=384, positions=128, gelu="tanh", dropout=0.0),
    Model("maxi", layers=8, width=256, heads=8, mlp=1024, positions=128, gelu="tanh", dropout=0.0),
    Model("tiny", layers=2, width=16, heads=2, mlp=32, positions=64),
    _t5("tiny_mt5", 2, 16, 2, 32, 64, decoder_layers=3, head_width=6, buckets=8, longest=20),
    _t5("tiny_umt5", 2, 16, 2, 32, 64, decoder_layers=3, head_width=6, buckets=8, longest=20, relative="layer"),
    _decoder("tiny_decoder", 2, 16, 4, 32, 64, groups=2, head_width=8, multiple=1),
)

MODELS = {row.name: row for row in _ROWS}


def model(name: str, inside: str = "") -> Model:
    """Returns the row of a model name; ConfigError with suggestions if there is none."""
    return choose("model", name, MODELS, "Models are rows of xling_jax/tables/models.py.", inside)


def decides(row: Model) -> dict[str, Any]:
    """Returns the columns that decide what a model computes, without those at their default.

    So a new column, or a number of parameters that is put right, retrains no stage.
    """
    beside = ("name", "params", "source")
    fields = {field.name: field.default for field in dataclasses.fields(row) if field.name not in beside}
    return {name: getattr(row, name) for name, default in fields.items() if getattr(row, name) != default}
