"""How fast each parameter learns, beside the learning rate: what is frozen, and what learns more slowly below."""

from collections.abc import Iterable, Mapping
from typing import Any

from flax.traverse_util import flatten_dict

from xling_jax.models.build import HeadSpec
from xling_jax.models.lora import ADAPTERS, TRAINED
from xling_jax.optim import Optim

Path = tuple[str, ...]
BELOW = ("embedding", "table")  # of tokens and positions, and of relative positions, which all layers may share


def relative_rates(
    params: Mapping[str, Any], config: Any, optim: Optim, heads: Iterable[HeadSpec] = ()
) -> dict[str, tuple[float, ...]]:
    """Returns a factor of the learning rate for each parameter by its path; 0 is frozen.

    A parameter whose layers are stacked has one factor for each layer, others have one.

    Args:
      params: shapes of a model's parameters, without boxes.
      config: the family's.
      optim: what a stage declares.
      heads: the model's. Beside adapters they are trained whole, but for a decoder's language-model head, which is
        published with the body and may be as large as its embeddings.
    """
    leaves = flatten_dict(dict(params))
    rates = {"/".join(path): _rates(path, leaf.shape, config, optim) for path, leaf in leaves.items()}
    published = tuple(f"head_{head.name}/" for head in heads if head.kind == "lm" and optim.lora.rank)
    return {path: (0.0,) if path.startswith(published) else each for path, each in rates.items()}


def _rates(path: Path, shape: tuple[int, ...], config: Any, optim: Optim) -> tuple[float, ...]:
    if path[0] != "body":
        return (1.0,)
    layers, depths = _depths(path, shape, config)
    count = len(depths)
    if (optim.lora.rank and path[-1] not in TRAINED) or path[-1] == ADAPTERS[-1]:
        return (0.0,) * count
    if optim.freeze_embeddings and path[-1] == "embedding":
        return (0.0,) * count
    frozen = 0 if path[1] == "decoder" else optim.freeze_layers  # an encoder-decoder's bottom is that of its encoder
    lowest = frozen + 1 if frozen else 0
    return tuple(optim.layer_decay ** (layers + 1 - depth) if depth >= lowest else 0.0 for depth in depths)


def _depths(path: Path, shape: tuple[int, ...], config: Any) -> tuple[int, list[int]]:
    """Returns (the number of layers, where a parameter stands: 0 below them, 1 to their number, or above)."""
    if "layers" in path:
        return shape[0], list(range(1, shape[0] + 1))
    # A norm after the embeddings has the place in the tree that one after the last layer has.
    below = path[-1] in BELOW or (path[-2] == "norm" and getattr(config, "norm", "pre") == "post")
    return config.layers, [0 if below else config.layers + 1]
