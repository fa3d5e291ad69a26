"""From rows to a model: an encoder or a decoder, and the heads that a stage needs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xling_jax.errors import ConfigError
from xling_jax.flops import FEW
from xling_jax.models.decoder import Cache, Decoder, DecoderConfig
from xling_jax.models.encoder import PAD_ID, Encoder, EncoderConfig
from xling_jax.models.heads import (
    ChoiceHead,
    ClassificationHead,
    DualHead,
    LmHead,
    MlmHead,
    ScoreHead,
    TokenHead,
)
from xling_jax.models.layers import along, along_row, of_segment, take_places
from xling_jax.models.pooling import keeper, vector
from xling_jax.models.seq2seq import Seq2SeqConfig
from xling_jax.models.text import TextToText
from xling_jax.optim import Lora
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


CONFIGS: dict[str, Any] = {  # by the family of a model row
    "encoder": EncoderConfig,
    "seq2seq": Seq2SeqConfig,
    "decoder": DecoderConfig,
}


def build_config(row: ModelRow, vocab: int, dtype: str = "float32", remat: str = "none") -> Any:
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


def last_of_segment(first_BxS: jax.Array, segments_BxL: jax.Array) -> jax.Array:
    """Returns the place BxS of each segment's last token; of one that is not there, its first."""
    numbers_1xSx1 = jnp.arange(1, first_BxS.shape[1] + 1)[None, :, None]
    size_BxS = (segments_BxL[:, None] == numbers_1xSx1).sum(axis=-1)
    return first_BxS + jnp.maximum(size_BxS, 1) - 1


def _segments(batch: dict) -> jax.Array | None:
    """Returns the segments of a batch, from the lengths of its rows where it has those; None if it has neither."""
    if "segments" in batch or "lengths" not in batch:
        return batch.get("segments")
    length = batch["input_ids"].shape[-1]
    lengths = jnp.broadcast_to(batch["lengths"][..., None], batch["input_ids"].shape)
    return (jnp.broadcast_to(jnp.arange(length), lengths.shape) < lengths).astype(jnp.int32)


BODIES: dict[type, type[nn.Module]] = {EncoderConfig: Encoder, DecoderConfig: Decoder}
HEADS: dict[type, dict[str, Callable[[Any, int], nn.Module]]] = {
    EncoderConfig: {
        "mlm": lambda config, size: MlmHead(config),
        "pair_classification": ClassificationHead,
        "multiple_choice": lambda config, size: ChoiceHead(config),
        "dual_encoder": lambda config, size: DualHead(config),
        "tagging": TokenHead,
        "span_qa": TokenHead,
    },
    DecoderConfig: {
        "lm": lambda config, size: LmHead(config),
        "pair_classification": ScoreHead,
        "multiple_choice": lambda config, size: ScoreHead(config, 1),
        "tagging": TokenHead,
        "span_qa": TokenHead,
    },
}


class Model(nn.Module):
    """A body with named heads. Parameters: {"body": ..., "head_<name>": ...}; a head may have none.

    An encoder's first token stands for an example, a decoder's last one.
    """

    config: Any
    heads: tuple[HeadSpec, ...] = ()

    def setup(self):
        self.body: Any = BODIES[type(self.config)](self.config)
        self.head = {spec.name: self._head(spec) for spec in self.heads}

    def _head(self, spec: HeadSpec) -> Any:
        heads = HEADS[type(self.config)]
        if spec.kind not in heads:
            raise ConfigError(
                f"Head '{spec.name}' is of kind '{spec.kind}', which this family of models has no head for.\n"
                f"Allowed: {' '.join(heads)}, or a model of another family (xling_jax/tables/models.py)."
            )
        return heads[spec.kind](dataclasses.replace(self.config, lora=Lora()), spec.size)  # heads are trained whole

    @property
    def _causal(self) -> bool:
        return isinstance(self.config, DecoderConfig)

    def _spec(self, name: str) -> HeadSpec:
        return next(spec for spec in self.heads if spec.name == name)

    def __call__(self, head: str, batch: dict, deterministic: bool = True) -> jax.Array:
        """Returns the logits of one head: BxMxV, BxY (packed: BxSxY), BxC, BxLxY, or BxB (a query by all candidates).

        `batch` has input_ids BxL (BxCxL for choices, and for a query and its candidate), and index or masked where
        they are needed. A packed batch also has segments and positions BxL, first BxS (where a segment begins) and
        its index is BxS. One that is not packed may have lengths B (BxC) of its rows; a decoder knows no other sign
        of padding.
        """
        spec, tokens = self._spec(head), batch["input_ids"]
        index = batch.get("index", jnp.arange(tokens.shape[0]))
        if spec.kind == "multiple_choice":
            return self._choices(self.head[head], batch, index, deterministic)
        if spec.kind == "dual_encoder":
            return self._pairs(self.head[head], batch, index, deterministic)
        packed, segments = "first" in batch, _segments(batch)
        index_BxL = of_segment(index, batch["segments"]) if packed else along(index, tokens)
        positions = batch.get("positions", along_row(tokens))
        given = (tokens, segments, positions, index_BxL)
        if spec.kind in ("mlm", "lm"):
            masked_BxMxD = self._states_at(batch["masked"], *given, deterministic=deterministic)
            return self.head[head](masked_BxMxD, self.body.word.embedding)
        if spec.kind == "pair_classification":
            first_BxS = batch.get("first", jnp.zeros((tokens.shape[0], 1), jnp.int32))
            summary_BxSxD = self._summaries(first_BxS, *given, deterministic=deterministic)
            return self.head[head](summary_BxSxD if packed else summary_BxSxD[:, 0], index, deterministic)
        last_BxLxD, _ = self.body(*given, deterministic=deterministic)
        return self.head[head](last_BxLxD, index_BxL, positions, deterministic)

    def _states_at(self, places_BxS: jax.Array, *given: Any, deterministic: bool) -> jax.Array:
        """Returns BxSxD: the last states of the tokens at places. An encoder's last layer computes no others."""
        if self._causal:
            return take_places(self.body(*given, deterministic=deterministic)[0], places_BxS)
        return self.body(*given, deterministic=deterministic, places_BxS=places_BxS)[0]

    def _summaries(self, first_BxS: jax.Array, tokens_BxL: jax.Array, segments_BxL: Any, *given: Any, **how: Any):
        """Returns BxSxD: the last states of the tokens that stand for the segments."""
        places_BxS = self._standing(first_BxS, tokens_BxL, segments_BxL)
        return self._states_at(places_BxS, tokens_BxL, segments_BxL, *given, **how)

    def _standing(self, first_BxS: jax.Array, tokens_BxL: jax.Array, segments_BxL: jax.Array | None) -> jax.Array:
        """Returns BxS: where the tokens are that stand for the segments."""
        if not self._causal:
            return first_BxS
        return last_of_segment(first_BxS, jnp.ones_like(tokens_BxL) if segments_BxL is None else segments_BxL)

    def _each(self, batch: dict, index_B: jax.Array, deterministic: bool):
        """Returns (summaries BCxD, index BC, whether there is a text BxC) of examples of several texts.

        Every text is encoded as an example of its own; an example may have fewer than others.
        """
        tokens_BxCxL, segments_BxCxL = batch["input_ids"], _segments(batch)
        texts, length = tokens_BxCxL.shape[1:]
        tokens_NxL = tokens_BxCxL.reshape(-1, length)
        segments_NxL = None if segments_BxCxL is None else segments_BxCxL.reshape(-1, length)
        index_N = (texts * index_B[:, None] + jnp.arange(texts)[None, :]).reshape(-1)
        index_NxL = along(index_N, tokens_NxL)
        first_Nx1 = jnp.zeros_like(index_N)[:, None]
        summary_NxD = self._summaries(
            first_Nx1, tokens_NxL, segments_NxL, None, index_NxL, deterministic=deterministic
        )[:, 0]
        if segments_BxCxL is not None:
            return summary_NxD, index_N, segments_BxCxL[..., 0] > 0
        first_BxC = tokens_BxCxL[..., 0]
        return summary_NxD, index_N, jnp.ones_like(first_BxC, bool) if self._causal else first_BxC != PAD_ID

    def _choices(self, head: Any, batch: dict, index_B: jax.Array, deterministic: bool):
        """Returns logits BxC for any number of choices."""
        summary_NxD, index_N, there_BxC = self._each(batch, index_B, deterministic)
        return jnp.where(there_BxC, head(summary_NxD, index_N, deterministic).reshape(there_BxC.shape), -1e9)

    def _pairs(self, head: DualHead, batch: dict, index_B: jax.Array, deterministic: bool):
        """Returns BxB: each query against the candidates of all examples; an empty one answers nothing."""
        summary_NxD, _, there_Bx2 = self._each(batch, index_B, deterministic)
        vectors_NxD, scale = head(summary_NxD)
        vectors_Bx2xD = vectors_NxD.reshape(-1, 2, vectors_NxD.shape[-1])
        logits_BxB = vectors_Bx2xD[:, 0] @ vectors_Bx2xD[:, 1].T * scale[None]
        return jnp.where(there_Bx2[:, 1][None], logits_BxB, -1e9)

    def prefill(self, prompt_BxL: jax.Array, lengths_B: jax.Array, room: int) -> Cache:
        """Returns the cache of prompts, of a decoder: see `Decoder.prefill`."""
        return self.body.prefill(prompt_BxL, lengths_B, room)

    def step(self, head: str, cache: Cache, tokens_B: jax.Array, places_B: jax.Array) -> tuple[jax.Array, Cache]:
        """Returns (logits BxV of the tokens after these, the cache with these): see `Decoder.step`."""
        state_BxD, cache = self.body.step(cache, tokens_B, places_B)
        return self.head[head](state_BxD[:, None], self.body.word.embedding)[:, 0], cache

    def states(self, tokens_BxL: jax.Array, segments_BxL=None, positions_BxL=None) -> jax.Array:
        """Returns all hidden states (layers+1)xBxLxD; number 0 is the embeddings."""
        return self.body(tokens_BxL, segments_BxL, positions_BxL)[1]

    def read(self, texts: dict, asks: Mapping[str, tuple]) -> dict[str, jax.Array]:
        """Returns what is asked of texts, several on a row; states are computed once for all heads and vectors.

        Args:
          texts: input_ids, segments and positions BxL, and first BxS, as packed rows of training have them.
          asks: by name (head's name,), or (hidden state or None for all, pooling, whether special tokens count).

        Returns:
          By name, of a head: logits BxSxY of texts or BxLxY of tokens, a choice's score BxS, a dual encoder's vector
          BxSxD; else sentence vectors BxSxD, of all hidden states ExBxSxD, pooled over all tokens but, unless asked,
          the special ones. To a decoder all tokens are ordinary. A segment that is not there gets something.
        """
        tokens_BxL, segments_BxL, positions_BxL = (texts[name] for name in ("input_ids", "segments", "positions"))
        given = (tokens_BxL, segments_BxL, positions_BxL)
        ordinary_BxL = jnp.ones_like(tokens_BxL, bool) if self._causal else tokens_BxL > EOS_ID
        keep = keeper(texts, ordinary_BxL, {how[1:] for how in asks.values() if len(how) > 1})
        index_BxS, last_BxLxD, kept = texts["first"], None, {}
        if all(len(how) == 1 and self._spec(how[0]).kind in FEW for how in asks.values()):
            summary_BxSxD = self._summaries(index_BxS, *given, deterministic=True)
        else:
            last_BxLxD, kept = self.body(*given, keep=keep)
            summary_BxSxD = take_places(last_BxLxD, self._standing(index_BxS, tokens_BxL, segments_BxL))

        def answer(how):
            if len(how) > 1:
                return vector(kept, *how)
            (name,) = how
            head = self.head[name]
            match self._spec(name).kind:
                case "multiple_choice":
                    return head(summary_BxSxD, index_BxS, True)[..., 0]
                case "dual_encoder":
                    return head(summary_BxSxD)[0]
                case "pair_classification":
                    return head(summary_BxSxD, index_BxS, True)
            return head(last_BxLxD, positions_BxL, positions_BxL, True)

        return {name: answer(how) for name, how in asks.items()}

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
    return TextToText(config) if isinstance(config, Seq2SeqConfig) else Model(config, heads)


def init_params(model: nn.Module, key: jax.Array):
    """Returns the parameters, boxed with their logical axis names. Pure: use under `jit` or `eval_shape`."""
    return model.init(key, method="initialise")["params"]


def count_params(model: nn.Module) -> int:
    """Returns the number of parameters, from shapes alone."""
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nn.meta.unbox(shapes)))
