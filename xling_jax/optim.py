"""How a stage moves its parameters, and which: declared here once, with what is allowed."""

import dataclasses
import math

from xling_jax.errors import ConfigError, choose, unknown
from xling_jax.tables.models import Model

OPTIMISERS = {"adamw": "Loshchilov and Hutter 2019", "adafactor": "Shazeer and Stern 2018"}
# Projections of the layers by family: what LoRA can adapt.
PROJECTIONS = {
    "encoder": ("query", "key", "value", "attention_out", "mlp_in", "mlp_out"),
    "seq2seq": (
        *("query", "key", "value", "attention_out", "memory_query", "memory_key", "memory_value", "memory_out"),
        *("mlp_gate", "mlp_in", "mlp_out"),
    ),
    "decoder": ("query", "key", "value", "attention_out", "mlp_gate", "mlp_in", "mlp_out"),
}
EVERY = {name for names in PROJECTIONS.values() for name in names}
ALL = "all"
WHERE = "Fields are declared in xling_jax/optim.py."


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): x W + (x A) B * alpha / rank. Rank 0: none.

    The body is frozen but for A and B; heads are trained whole. `targets` are names of projections, or "all". `dropout`
    leaves out inputs of A, and so rows of it, anew at each step and for the whole batch: sparse adapters (Lin et al.
    2024, arXiv 2404.09610) rather than noise of each token, so that it costs nothing and is the same on every mesh.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "value")
    dropout: float = 0.0

    def adapts(self, projection: str | None) -> bool:
        """Whether a projection of the body has adapters."""
        named = projection in self.targets or (ALL in self.targets and projection in EVERY)
        return self.rank > 0 and named


@dataclasses.dataclass(frozen=True)
class Optim:
    """The optimiser, its rate - a warm-up, then constant or linearly falling - and what it moves.

    `b1`, `b2` and `eps` are AdamW's. Adafactor is T5's: second moments factored, updates clipped to a root mean square
    of 1 and multiplied by that of the parameter, so that a rate is relative; T5 has learning_rate=1e-3, constant,
    without warm-up, weight decay and clip.

    `freeze_layers` freezes so many layers from the bottom (of an encoder-decoder: of its encoder) and all below them,
    the embeddings; the gradient is not computed there. `layer_decay` multiplies the rate: heads have all of it, the top
    layer it times `layer_decay`, the next one its square, and the embeddings the least.
    """

    name: str = "adamw"
    learning_rate: float = 1e-5
    schedule: str = "linear"  # linear | constant
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01  # not on biases and norms
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip: float = 1.0  # global norm of the gradient; 0 for none
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    layer_decay: float = 1.0
    lora: Lora = Lora()

    def trains(self) -> tuple[str, ...]:
        """Returns what is not trained as everything else is, in words; () for a stage that trains everything."""
        lora = f"LoRA of rank {self.lora.rank} on {' '.join(self.lora.targets)}" if self.lora.rank else ""
        embeddings = "embeddings frozen" if self.freeze_embeddings or self.freeze_layers else ""
        layers = f"layers 1 to {self.freeze_layers} frozen" if self.freeze_layers else ""
        decay = f"rates fall by {self.layer_decay:g} a layer" if self.layer_decay != 1 else ""
        return tuple(text for text in (lora, embeddings, layers, decay) if text)


def check_optim(optim: Optim, where: str, row: Model) -> None:
    """Raises ConfigError for what the optimiser or the model of a stage does not have. `where` names the stage."""

    def wrong(found: str, allowed: str) -> ConfigError:
        return ConfigError(f"The optimiser of stage '{where}' has {found}.\nAllowed: {allowed}.\n{WHERE}")

    choose("optimiser", optim.name, OPTIMISERS, WHERE, f"stage '{where}'")
    if optim.name != "adamw":
        for name in ("b1", "b2", "eps"):
            if getattr(optim, name) != getattr(Optim, name):
                raise wrong(f"{name}={getattr(optim, name):g} and name='{optim.name}'", f"{name} with name='adamw'")
    if not 0 <= optim.freeze_layers <= row.layers:
        raise wrong(f"freeze_layers={optim.freeze_layers}", f"0 to the {row.layers} layers of model '{row.name}'")
    if not 0 < optim.layer_decay <= 1:
        raise wrong(f"layer_decay={optim.layer_decay:g}", "above 0, up to 1 for one rate")
    _check_lora(optim, where, row, wrong)


def _check_lora(optim: Optim, where: str, row: Model, wrong) -> None:
    lora = optim.lora
    if lora.rank == 0 and lora != Lora():
        raise wrong(f"{lora}", "a rank of at least 1 beside other fields of lora")
    if not 0 <= lora.rank <= row.width:
        raise wrong(f"lora.rank={lora.rank}", f"0 for none, to the width {row.width} of model '{row.name}'")
    if not 0 < lora.alpha < math.inf:
        raise wrong(f"lora.alpha={lora.alpha:g}", "a number above zero; the rank itself counts the adapters once")
    if not 0 <= lora.dropout < 1:
        raise wrong(f"lora.dropout={lora.dropout:g}", "0 to below 1")
    if lora.rank and optim.freeze_layers == row.layers:
        raise wrong(f"lora.rank={lora.rank} and all {row.layers} layers frozen", "a layer that adapters can change")
    known = (*PROJECTIONS[row.family], ALL)
    if not lora.targets:
        raise wrong("lora.targets=()", f"projections: {' '.join(known)}")
    for target in lora.targets:
        if target not in known:
            raise unknown("projection", target, known, WHERE, f"lora.targets of stage '{where}'")
