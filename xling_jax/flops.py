"""What a training step or an answer has to compute, by formula: the FLOPs of a model's matrix products, for MFU.

A product of n tokens with a matrix of P numbers is 2 n P FLOPs forward, as many for the gradient of its input and as
many for that of the matrix (Kaplan et al. 2020, arXiv 2001.08361: 6 n P). What is frozen has the first alone; a matrix
with adapters beside it the first two. Attention of a text of l tokens is two products of l x l x A in each layer, A the
width of all heads: 4 l^2 A forward, twice that backward (Chowdhery et al. 2022, arXiv 2204.02311, appendix B); half of
it where tokens see only those before them. Of an encoder's last layer only keys and values are needed of all tokens,
where a head asks for the states of a few: masked ones, the first of a text. Embeddings are looked up. The output matrix
counts for the places it is used at. Not counted: norms, activations, the optimiser, adapters, heads without a
vocabulary - and what remat computes again, as it is a way of computing the same step.
"""

import dataclasses

from xling_jax.optim import Optim
from xling_jax.tables.models import Model

FEW = ("mlm", "pair_classification", "multiple_choice", "dual_encoder")  # heads that ask for the states of few tokens


@dataclasses.dataclass(frozen=True)
class Work:
    """What texts ask of a model.

    `tokens` and `pairs`, the squares of the texts' lengths, are those that an encoder or a decoder reads; `targets`,
    `target_pairs` and `crossing`, source tokens by target tokens, those of an encoder-decoder's targets. `places` are
    where the vocabulary is asked, and all that an encoder's head gets the states of, if those are not all (`FEW`);
    then `crossing` is the tokens of a text by its places.
    """

    tokens: float = 0
    pairs: float = 0
    targets: float = 0
    target_pairs: float = 0
    crossing: float = 0
    places: float = 0

    def __add__(self, other: "Work") -> "Work":
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Work(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def cost(self, each: "Work") -> float:
        """Returns the FLOPs, given those of each token, pair and so on."""
        return sum(a * b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(each), strict=True))


def layer_weights(row: Model) -> tuple[int, int, int]:
    """Returns the numbers in the matrices of (a layer, a decoder layer as targets use it, its part that sources use).

    The last two are 0 for what is no encoder-decoder.
    """
    inner = _inner(row)
    if row.family == "seq2seq":
        mlp = 3 * row.width * row.mlp
        return 4 * row.width * inner + mlp, 6 * row.width * inner + mlp, 2 * row.width * inner
    if row.family == "decoder":
        grouped = (row.groups or row.heads) * row.head_width
        return 2 * row.width * (inner + grouped) + 3 * row.width * row.mlp, 0, 0
    return 4 * row.width * inner + 2 * row.width * row.mlp, 0, 0


def _inner(row: Model) -> int:
    """Returns the width of all heads of attention together."""
    return row.heads * row.head_width if row.head_width else row.width


def costs(row: Model, vocab: int, optim: Optim, kind: str) -> Work:
    """Returns the FLOPs of each token, pair and so on of a training step.

    Args:
      row: the model.
      vocab: its pieces.
      optim: what is trained.
      kind: of the head: "mlm", "lm" and "text_to_text" have a vocabulary.
    """
    layer, decoder_layer, over_memory = layer_weights(row)
    inner, frozen = _inner(row), optim.freeze_layers
    moved = 2 if optim.lora.rank else 3  # products of a matrix: forward, gradient of its input, its own gradient
    below, above = frozen, row.layers - frozen
    causal, output = _causal(row), _output(row, vocab, kind)
    decoders = row.decoder_layers
    found = Work(
        tokens=2 * layer * (below + moved * above) + 2 * over_memory * moved * decoders,
        pairs=4 * inner * causal * (below + 3 * above),
        targets=2 * decoder_layer * moved * decoders,
        target_pairs=4 * inner * 0.5 * 3 * decoders,
        crossing=4 * inner * 3 * decoders,
        places=2 * output * (moved if kind in ("lm", "text_to_text") else 3),
    )
    return found + _few(row, kind, *((moved, 3) if above else (1, 1)))


def forward(row: Model, vocab: int, kind: str) -> Work:
    """Returns the FLOPs of each token, pair and so on of an answer: products forward alone.

    `kind` is that of the head, as in `costs`. Answers count as targets and places, whether they are ranked or written.
    """
    layer, decoder_layer, over_memory = layer_weights(row)
    inner, decoders = _inner(row), row.decoder_layers
    found = Work(
        tokens=2 * (layer * row.layers + over_memory * decoders),
        pairs=4 * inner * _causal(row) * row.layers,
        targets=2 * decoder_layer * decoders,
        target_pairs=4 * inner * 0.5 * decoders,
        crossing=4 * inner * decoders,
        places=2 * _output(row, vocab, kind),
    )
    return found + _few(row, kind, 1, 1)


def _few(row: Model, kind: str, moved: int, attended: int) -> Work:
    """Returns what each token, pair, place and crossing costs beside: the last layer's part that few tokens have.

    `moved` are the products of one of its matrices, `attended` those of its attention, as many times as forward.
    """
    if row.family != "encoder" or kind not in FEW:
        return Work()
    inner = _inner(row)
    matrices, attention = 2 * moved * (2 * row.width * inner + 2 * row.width * row.mlp), 4 * inner * attended
    return Work(tokens=-matrices, pairs=-attention, crossing=attention, places=matrices)


def _causal(row: Model) -> float:
    """Returns the share of the pairs of a text's tokens that see each other."""
    return 0.5 if row.family == "decoder" else 1.0


def _output(row: Model, vocab: int, kind: str) -> int:
    """Returns the numbers in the matrices that say what a place holds: of the vocabulary, and before it."""
    transform = row.width if kind == "mlm" else 0
    return row.width * (vocab + transform) if kind in ("mlm", "lm", "text_to_text") else 0
