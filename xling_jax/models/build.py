"""From rows to a model: an encoder and the heads that a stage needs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax.errors import ConfigError
from xling_jax.models.encoder import PAD_ID, Encoder, EncoderConfig
from xling_jax.models.heads import ChoiceHead, ClassificationHead, MlmHead, TokenHead, pool
from xling_jax.tables.models import Model as ModelRow
from xling_jax.tables.tasks import Task

EOS_ID = PAD_ID + 1  # the last of <s>, <pad>, </s>
INIT_LENGTH = 8  # any length: no parameter's shape depends on it


@dataclasses.dataclass(frozen=True, order=True)
class HeadSpec:
    """A head by the name of its task: its kind, and its number of labels, choices or span ends."""

    name: str
    kind: str
    size: int = 0


def head_spec(row: Task, choices: int = 4) -> HeadSpec:
    """Returns the head that answers a task."""
    sizes = {"mlm": 0, "span_qa": 2, "multiple_choice": choices, "retrieval": 0}
    return HeadSpec(row.name, row.kind, sizes.get(row.kind, len(row.labels)))


def build_config(row: ModelRow, vocab: int, dtype: str = "float32", remat: bool = False) -> EncoderConfig:
    """Returns the encoder's configuration for a model row and a vocabulary of `vocab` pieces.

    Raises ConfigError if the row belongs to a published vocabulary of another size.
    """
    if row.vocab and row.vocab < vocab:
        raise ConfigError(
            f"Model '{row.name}' has {row.vocab} vocabulary rows, the vocabulary has {vocab} pieces.\n"
            f"Use the vocabulary the model was published with, or a model row with vocab=0.\n"
            f"Models are rows of xling_jax/tables/models.py."
        )
    fields = {field.name for field in dataclasses.fields(EncoderConfig)} & set(dataclasses.asdict(row))
    sizes: dict[str, Any] = {name: getattr(row, name) for name in fields} | {"vocab": row.vocab or vocab}
    return EncoderConfig(**sizes, dtype=dtype, remat=remat)


class Model(nn.Module):
    """An encoder with named heads. Parameters: {"encoder": ..., "head_<name>": ...}."""

    config: EncoderConfig
    heads: tuple[HeadSpec, ...] = ()

    def setup(self):
        self.encoder = Encoder(self.config)
        make: dict[str, Callable[[HeadSpec], Any]] = {
            "mlm": lambda spec: MlmHead(self.config),
            "pair_classification": lambda spec: ClassificationHead(self.config, spec.size),
            "multiple_choice": lambda spec: ChoiceHead(self.config, spec.size),
            "tagging": lambda spec: TokenHead(self.config, spec.size),
            "span_qa": lambda spec: TokenHead(self.config, spec.size),
        }
        self.head = {spec.name: make[spec.kind](spec) for spec in self.heads}

    def _spec(self, name: str) -> HeadSpec:
        return next(spec for spec in self.heads if spec.name == name)

    def __call__(self, head: str, batch: dict, deterministic: bool = True) -> jax.Array:
        """Returns the logits of one head. `batch` has input_ids, and index or masked where they are needed."""
        spec = self._spec(head)
        tokens = batch["input_ids"]
        index_B = batch.get("index", jnp.arange(tokens.shape[0]))
        if spec.kind == "multiple_choice":
            tokens = tokens.reshape(-1, tokens.shape[-1])
            index_B = jnp.arange(spec.size)[None, :] + spec.size * index_B[:, None]
            index_B = index_B.reshape(-1)
        last_BxLxD, _ = self.encoder(
            tokens, batch.get("segments"), batch.get("positions"), index_B, deterministic=deterministic
        )
        if spec.kind == "mlm":
            masked_BxMxD = jnp.take_along_axis(last_BxLxD, batch["masked"][..., None], axis=1)
            return self.head[head](masked_BxMxD, self.encoder.word.embedding)
        return self.head[head](last_BxLxD, index_B, deterministic)

    def states(self, tokens_BxL: jax.Array) -> jax.Array:
        """Returns all hidden states (layers+1)xBxLxD; number 0 is the embeddings."""
        return self.encoder(tokens_BxL)[1]

    def vectors(self, tokens_BxL: jax.Array, layer: int, pooling: str) -> jax.Array:
        """Returns sentence vectors BxD: one layer's states, pooled over all tokens but the special ones."""
        return pool(self.states(tokens_BxL)[layer], tokens_BxL > EOS_ID, pooling)

    def initialise(self):
        """Runs everything once, so that every parameter exists."""
        tokens_BxL = jnp.full((1, INIT_LENGTH), 4, jnp.int32)
        batch = {"input_ids": tokens_BxL, "masked": jnp.zeros((1, 2), jnp.int32)}
        self.encoder(tokens_BxL)
        for spec in self.heads:
            if spec.kind == "multiple_choice":
                self(spec.name, batch | {"input_ids": jnp.repeat(tokens_BxL[:, None], spec.size, axis=1)})
            else:
                self(spec.name, batch)


def init_params(model: Model, key: jax.Array):
    """Returns the parameters, boxed with their logical axis names. Pure: use under `jit` or `eval_shape`."""
    return model.init(key, method=Model.initialise)["params"]


def count_params(model: Model) -> int:
    """Returns the number of parameters, from shapes alone."""
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nn.meta.unbox(shapes)))
