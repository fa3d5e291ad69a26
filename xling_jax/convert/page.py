"""The page that says which models there are, from where, and what shows that they are right: made from the tables."""

import dataclasses
from collections.abc import Iterable

from xling_jax.models.weights.families import FAMILIES
from xling_jax.tables.models import MODELS, Model

PARITY = {
    "encoder": "tests/parity/test_xlmr.py",
    "seq2seq": "tests/parity/test_seq2seq_parity.py",
    "decoder": "tests/parity/test_decoders.py",
}
CONVERTS = dict.fromkeys(FAMILIES, "from and to Hugging Face") | {"seq2seq": "from and to Hugging Face and t5x"}
ADAMW = 16  # bytes for each parameter: itself, its gradient and two moments, in float32


@dataclasses.dataclass(frozen=True)
class Pod:
    """A kind of TPU as Google Cloud's pages have it: GB of a chip, the chips of its slices, and how these are named."""

    name: str
    gigabytes: int
    slices: tuple[int, ...]
    per_chip: int = 1  # what the number in a slice's name counts of each chip: the chip, or its two cores


PODS = (
    Pod("v5e", 16, (1, 4, 8, 16, 32, 64, 128, 256)),
    Pod("v6e", 32, (1, 4, 8, 16, 32, 64, 128, 256)),
    Pod("v4", 32, (4, 8, 16, 32, 64, 128, 256), per_chip=2),
    Pod("v5p", 95, (4, 8, 16, 32, 64, 128, 256), per_chip=2),
)

HEAD = """# Models

Made by `xling convert list > docs/models.md` from the tables in `xling_jax/tables` and the families in
`xling_jax/models/weights`; a test holds both together. [weights.md](weights.md) says how weights come in and go out.

Sizes are rows: what has the shape of a family comes in whether it has a row or not. Parameters are counted as
published, and `tests/models` counts them again from shapes. Parity: logits, hidden states, loss and a step of training
equal those of `transformers` with random weights, at tiny sizes drawn at random.

"Fits": the smallest slice of each kind of TPU whose memory holds parameters, gradients and AdamW's two moments in
float32, {adamw} bytes a parameter, and nothing else: no activations, no batch. It is a bound from below, and no plan.
"""
COLUMNS = "model, family, layers, width, parameters, published as, parity, converts, fits"


def page() -> str:
    """Returns the page, in Markdown."""
    rows = [row for row in MODELS.values() if row.source]
    parts = [HEAD.format(adamw=ADAMW), _table(COLUMNS, map(_line, rows))]
    parts.append("## Heads that come over\n\nClasses of `transformers`, by `architectures` of config.json.\n")
    parts.append(_table("model_type, class, head", _classes()))
    return "\n".join(parts)


def _table(head: str, lines: Iterable[tuple[str, ...]]) -> str:
    titles = head.split(", ")
    rows = [tuple(titles), ("---",) * len(titles), *lines]
    assert all(len(row) == len(titles) and all(row) for row in rows), "a cell without a word"
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _line(row: Model) -> tuple[str, ...]:
    """Returns a line for a published size."""
    return (
        f"`{row.name}`",
        row.family,
        str(row.layers),
        f"{row.width:,}",
        f"{row.params:,}",
        row.source,
        f"`{PARITY[row.family]}`",
        CONVERTS[row.family],
        fits(row.params),
    )


def fits(params: int) -> str:
    """Returns the smallest slice of each kind that holds a model in training."""
    chips = {pod: next(size for size in pod.slices if size * pod.gigabytes * 1e9 >= params * ADAMW) for pod in PODS}
    return ", ".join(f"{pod.name}-{size * pod.per_chip}" for pod, size in chips.items())


def _classes() -> list[tuple[str, ...]]:
    return [
        (model_type, f"`{name}`", kind or "none: the body alone")
        for family in FAMILIES.values()
        for model_type, classes in family.architectures.items()
        for name, kind in classes.items()
    ]
