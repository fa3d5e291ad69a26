"""Models: one row per pretrained model and size, and the small ones that are trained here.

Sizes of the XLM-R rows are those of the published configuration files (Conneau et al. 2020, arXiv 1911.02116;
Goyal et al. 2021, arXiv 2105.00572).
"""

import dataclasses

from xling_jax.errors import choose


@dataclasses.dataclass(frozen=True)
class Model:
    """An encoder of the XLM-R architecture.

    `vocab` 0 means: as many as the experiment's vocabulary has. `positions` is the longest input in
    tokens. `norm` is where the layer norms stand: after each block (XLM-R base, large) or before (XL, XXL).
    """

    name: str
    layers: int
    width: int
    heads: int
    mlp: int
    positions: int
    vocab: int = 0
    norm: str = "post"
    gelu: str = "erf"
    dropout: float = 0.1


_ROWS = (
    Model("xlmr_base", layers=12, width=768, heads=12, mlp=3072, positions=512, vocab=250002),
    Model("xlmr_large", layers=24, width=1024, heads=16, mlp=4096, positions=512, vocab=250002),
    Model("xlmr_xl", layers=36, width=2560, heads=32, mlp=10240, positions=512, vocab=250880, norm="pre"),
    Model("xlmr_xxl", layers=48, width=4096, heads=32, mlp=16384, positions=512, vocab=250880, norm="pre"),
    # Pretrained here. Dropout costs random numbers, and these models see too little data to overfit it.
    Model("world", layers=3, width=64, heads=2, mlp=128, positions=64, gelu="tanh", dropout=0.0),
    Model("small", layers=3, width=96, heads=4, mlp=256, positions=128, gelu="tanh", dropout=0.0),
    Model("tiny", layers=2, width=16, heads=2, mlp=32, positions=64),
)

MODELS = {row.name: row for row in _ROWS}


def model(name: str, inside: str = "") -> Model:
    """Returns the row of a model name; ConfigError with suggestions if there is none."""
    return choose("model", name, MODELS, "Models are rows of xling_jax/tables/models.py.", inside)
