"""One table carries all sharding: the mesh axis of each logical axis, for each strategy."""

from xling_jax import axes
from xling_jax.errors import unknown

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
MESH_AXES = (DATA, FSDP, TENSOR)

# An activation's batch is split over data and fsdp together in every strategy.
RULES = {
    # logical axis      data           fsdp           fsdp_tensor
    axes.BATCH: ((DATA, FSDP), (DATA, FSDP), (DATA, FSDP)),
    axes.LENGTH: (None, None, None),
    axes.EMBED: (None, FSDP, FSDP),
    axes.MLP: (None, None, TENSOR),
    axes.HEADS: (None, None, TENSOR),
    axes.KV: (None, None, None),
    axes.VOCAB: (None, None, TENSOR),
    axes.LABELS: (None, None, None),
    axes.LAYERS: (None, None, None),
    axes.RANK: (None, None, None),
    axes.TRIAL: (DATA, None, None),
}
STRATEGIES = ("data", "fsdp", "fsdp_tensor")


def rules(strategy: str) -> tuple[tuple[str, str | tuple[str, ...] | None], ...]:
    """Returns (logical axis, mesh axis) pairs of a strategy, as Flax takes them."""
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES, "Strategies are columns of xling_jax/partitioning/rules.py.")
    column = STRATEGIES.index(strategy)
    return tuple((axis, row[column]) for axis, row in RULES.items())
