"""Models: one row per pretrained model and size, and the small ones that are trained here.

Sizes are those of the published configuration files: XLM-R (Conneau et al. 2020, arXiv 1911.02116), XLM-R XL and
XXL (Goyal et al. 2021, arXiv 2105.00572).
"""

import dataclasses
import functools
from typing import Any

from xling_jax.errors import choose

MULTIPLE = 128  # rows of a published vocabulary are filled up to a multiple of it, so that many devices can share them


@dataclasses.dataclass(frozen=True)
class Model:
    """A model: its family ("encoder": XLM-R's architecture) and its sizes. Families leave columns of others alone.

    `vocab` 0 means: as many as the experiment's vocabulary has. `positions` is the longest input in
    tokens. `norm` is where the layer norms stand: after each block (XLM-R base, large) or before (XL, XXL); `eps` is
    what they add to the variance. `pad` is the id of padding. `multiple`: the vocabulary gets rows that mean nothing
    until their number is a multiple of it. `params` is the number of parameters as published, those of the
    language-model head among them, without such rows; `source` names the repository it is published in.
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
    params: int = 0
    source: str = ""


_xlmr = functools.partial(Model, positions=512, vocab=250_002, multiple=MULTIPLE)
_xlmr_xl = functools.partial(Model, positions=512, vocab=250_880, multiple=MULTIPLE, norm="pre")

_ROWS = (
    # layers, width, heads, mlp
    _xlmr("xlmr_base", 12, 768, 12, 3072, params=278_295_186, source="FacebookAI/xlm-roberta-base"),
    _xlmr("xlmr_large", 24, 1024, 16, 4096, params=560_142_482, source="FacebookAI/xlm-roberta-large"),
    _xlmr_xl("xlmr_xl", 36, 2560, 32, 10240, params=3_482_741_760, source="facebook/xlm-roberta-xl"),
    _xlmr_xl("xlmr_xxl", 48, 4096, 32, 16384, params=10_712_994_816, source="facebook/xlm-roberta-xxl"),
    # Pretrained here. Dropout costs random numbers, and these models see too little data to overfit it.
    Model("world", layers=3, width=64, heads=2, mlp=128, positions=64, gelu="tanh", dropout=0.0),
    Model("small", layers=3, width=96, heads=4, mlp=256, positions=128, gelu="tanh", dropout=0.0),
    Model("tiny", layers=2, width=16, heads=2, mlp=32, positions=64),
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
