"""From rows to a model: an encoder and the heads that a stage needs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax.errors import ConfigError
from xling_jax.models.encoder import PAD_ID, Encoder, EncoderConfig
from xling_jax.models.heads import ChoiceHead, ClassificationHead, DualHead, MlmHead, TokenHead, pool, pool_packed
from xling_jax.models.layers import along_row
from xling_jax.tables.models import Model as ModelRow
from xling_jax.tables.tasks import Task

EOS_ID = PAD_ID + 1  # the last of <s>, <pad>, </s>
INIT_LENGTH = 8  # any length: no parameter's shape depends on it


@dataclasses.dataclass(frozen=True, order=True)
class HeadSpec:
    """A head by its name, its kind, and its number of labels or span ends; 0 where the kind has none."""

    name: str
    kind: str
    size: int = 0


def head_spec(row: Task) -> HeadSpec:
    """Returns the head that answers a task; tasks may share one."""
    return HeadSpec(row.head_name, row.kind, 2 if row.kind == "span_qa" else len(row.labels))


CONFIGS: dict[str, Any] = {"encoder": EncoderConfig}  # by the family of a model row


def build_config(row: ModelRow, vocab: int, dtype: str = "float32", remat: bool = False) -> Any:
    """Returns the family's configuration for a model row and a vocabulary of `vocab` pieces.

    Raises ConfigError if the row belongs to a published vocabulary of another size.
    """
    if row.vocab and row.vocab < vocab:
        raise ConfigError(
            f"Model '{row.name}' has {row.vocab} vocabulary rows, the vocabulary has {vocab} pieces.\n"
            f"Use the vocabulary the model was published with, or a model row with vocab=0.\n"
            f"Models are rows of xling_jax/tables/models.py."
        )
    config = CONFIGS[row.family]
    columns = dataclasses.asdict(row)
    sizes: dict[str, Any] = {
        field.name: columns[field.name] for field in dataclasses.fields(config) if field.name in columns
    }
    pieces = row.vocab or vocab
    return config(**sizes | {"vocab": pieces, "spare": -pieces % row.multiple}, dtype=dtype, remat=remat)


def along(index_B: jax.Array, tokens_BxL: jax.Array) -> jax.Array:
    """Returns each token's example, where a row is one example."""
    return jnp.broadcast_to(index_B[:, None], tokens_BxL.shape)


def of_segment(value_BxS: jax.Array, segments_BxL: jax.Array) -> jax.Array:
    """Returns for each token the value of its segment; for padding that of some segment."""
    return jnp.take_along_axis(value_BxS, jnp.maximum(segments_BxL - 1, 0), axis=1)


class Model(nn.Module):
    """An encoder with named heads. Parameters: {"body": ..., "head_<name>": ...}."""

    config: EncoderConfig
    heads: tuple[HeadSpec, ...] = ()

    def setup(self):
        self.body = Encoder(self.config)
        make: dict[str, Callable[[HeadSpec], Any]] = {
            "mlm": lambda spec: MlmHead(self.config),
            "pair_classification": lambda spec: ClassificationHead(self.config, spec.size),
            "multiple_choice": lambda spec: ChoiceHead(self.config),
            "dual_encoder": lambda spec: DualHead(self.config),
            "tagging": lambda spec: TokenHead(self.config, spec.size),
            "span_qa": lambda spec: TokenHead(self.config, spec.size),
        }
        self.head = {spec.name: make[spec.kind](spec) for spec in self.heads}

    def _spec(self, name: str) -> HeadSpec:
        return next(spec for spec in self.heads if spec.name == name)

    def __call__(self, head: str, batch: dict, deterministic: bool = True) -> jax.Array:
        """Returns the logits of one head: BxMxV, BxY (packed: BxSxY), BxC, BxLxY, or BxB (a query by all candidates).

        `batch` has input_ids BxL (BxCxL for choices, and for a query and its candidate), and index or masked where
        they are needed. A packed batch also has segments and positions BxL, first BxS (where a segment begins) and
        its index is BxS.
        """
        spec, tokens = self._spec(head), batch["input_ids"]
        index = batch.get("index", jnp.arange(tokens.shape[0]))
        if spec.kind == "multiple_choice":
            return self._choices(self.head[head], tokens, index, deterministic)
        if spec.kind == "dual_encoder":
            return self._pairs(self.head[head], tokens, index, deterministic)
        packed = "first" in batch
        index_BxL = of_segment(index, batch["segments"]) if packed else along(index, tokens)
        segments, positions = batch.get("segments"), batch.get("positions", along_row(tokens))
        last_BxLxD, _ = self.body(tokens, segments, positions, index_BxL, deterministic=deterministic)
        if spec.kind == "mlm":
            masked_BxMxD = jnp.take_along_axis(last_BxLxD, batch["masked"][..., None], axis=1)
            return self.head[head](masked_BxMxD, self.body.word.embedding)
        if spec.kind == "pair_classification":
            first = jnp.take_along_axis(last_BxLxD, batch["first"][..., None], axis=1) if packed else last_BxLxD[:, 0]
            return self.head[head](first, index, deterministic)
        return self.head[head](last_BxLxD, index_BxL, positions, deterministic)

    def _each(self, tokens_BxCxL: jax.Array, index_B: jax.Array, deterministic: bool):
        """Returns (first states BCxD, index BC) of examples of several texts, each encoded as one of its own."""
        choices = tokens_BxCxL.shape[1]
        tokens_BCxL = tokens_BxCxL.reshape(-1, tokens_BxCxL.shape[-1])
        index_BC = (choices * index_B[:, None] + jnp.arange(choices)[None, :]).reshape(-1)
        last_BCxLxD, _ = self.body(tokens_BCxL, index_BxL=along(index_BC, tokens_BCxL), deterministic=deterministic)
        return last_BCxLxD[:, 0], index_BC

    def _choices(self, head: ChoiceHead, tokens_BxCxL: jax.Array, index_B: jax.Array, deterministic: bool):
        """Returns logits BxC for any number of choices."""
        first_BCxD, index_BC = self._each(tokens_BxCxL, index_B, deterministic)
        logits_BxC = head(first_BCxD, index_BC, deterministic).reshape(tokens_BxCxL.shape[:2])
        return jnp.where(tokens_BxCxL[..., 0] == PAD_ID, -1e9, logits_BxC)  # an example with fewer choices than others

    def _pairs(self, head: DualHead, tokens_Bx2xL: jax.Array, index_B: jax.Array, deterministic: bool):
        """Returns BxB: each query against the candidates of all examples; an empty one answers nothing."""
        first_NxD, _ = self._each(tokens_Bx2xL, index_B, deterministic)
        vectors_NxD, scale = head(first_NxD)
        vectors_Bx2xD = vectors_NxD.reshape(-1, 2, vectors_NxD.shape[-1])
        logits_BxB = vectors_Bx2xD[:, 0] @ vectors_Bx2xD[:, 1].T * scale[None]
        return jnp.where(tokens_Bx2xL[:, 1, 0][None] == PAD_ID, -1e9, logits_BxB)

    def states(self, tokens_BxL: jax.Array, segments_BxL=None, positions_BxL=None) -> jax.Array:
        """Returns all hidden states (layers+1)xBxLxD; number 0 is the embeddings."""
        return self.body(tokens_BxL, segments_BxL, positions_BxL)[1]

    def vectors(self, tokens_BxL: jax.Array, layer: int, pooling: str, packed: dict | None = None) -> jax.Array:
        """Returns sentence vectors BxD: one layer's states, pooled over all tokens but the special ones.

        `packed` has what a packed batch has, segments and positions BxL and first BxS; then they are BxSxD.
        """
        ordinary_BxL = tokens_BxL > EOS_ID
        if packed is None:
            return pool(self.states(tokens_BxL)[layer], ordinary_BxL, pooling)
        states_BxLxD = self.states(tokens_BxL, packed["segments"], packed["positions"])[layer]
        return pool_packed(states_BxLxD, ordinary_BxL, pooling, packed["segments"], packed["first"])

    def initialise(self):
        """Runs everything once, so that every parameter exists."""
        tokens_BxL = jnp.full((1, INIT_LENGTH), 4, jnp.int32)
        batch = {"input_ids": tokens_BxL, "masked": jnp.zeros((1, 2), jnp.int32)}
        self.body(tokens_BxL)
        for spec in self.heads:
            texts = {"multiple_choice": 1, "dual_encoder": 2}.get(spec.kind, 0)
            several = {"input_ids": jnp.tile(tokens_BxL[:, None], (1, texts, 1))} if texts else {}
            self(spec.name, batch | several)


def build_model(config: Any, heads: tuple[HeadSpec, ...] = ()) -> nn.Module:
    """Returns the model of a configuration; parameters of all are {"body": ..., "head_<name>": ...}."""
    return Model(config, heads)


def init_params(model: nn.Module, key: jax.Array):
    """Returns the parameters, boxed with their logical axis names. Pure: use under `jit` or `eval_shape`."""
    return model.init(key, method="initialise")["params"]


def count_params(model: nn.Module) -> int:
    """Returns the number of parameters, from shapes alone."""
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nn.meta.unbox(shapes)))
