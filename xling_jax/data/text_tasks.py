"""Cells as text-to-text SeqIO Tasks, as t5x and whatever is built like it takes them: `inputs` and `targets`.

They are the prompts and answers that our own trainer has, id by id, because the same format makes them; text without
labels is for span corruption. A cell is read and tokenised once, into memory, when its examples are first asked for,
and TensorFlow picks them by number: so an iterator's state can be saved, which that of a Python generator cannot, and
the examples of a process are shuffled all together.

Scores are those of our own evaluation where it lets a model write (`answer="generate"`): the same reading of what was
written, the same scorer. A metric needs the log-probability of each text, because windows compare by it.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.checks import check_mixing
from xling_jax.data.corruption import FEWEST, corrupt
from xling_jax.data.formats import format_of_part
from xling_jax.data.prepare import keeps_raw, raw_examples
from xling_jax.data.register import is_new
from xling_jax.data.tokenizers import SentencePieceTokenizer, Tokenizer
from xling_jax.errors import ConfigError, choose
from xling_jax.experiment import Part, Stage
from xling_jax.mixing import RULES, Mixing
from xling_jax.scoring.metrics import scorer_of, value
from xling_jax.scoring.written import Said, make_reader
from xling_jax.tables.prompts import HEADS, asked, prompt_of

PREFIX = "t5."  # of names, so that a cell's Task for heads can be registered beside it
FORM = "mt5"  # the prompts
TEXT = "mlm"  # the kind that has no labels
EXAMPLE = "example_pretokenized"  # t5x.infer writes features of such an ending beside predictions, and no others


def register_texts(
    data: Sequence[str],
    lengths: Mapping[str, int],
    vocabulary: Any,
    data_dir: pathlib.Path | None,
    mixing: Mixing | None = None,
) -> str:
    """Registers cells as Tasks, and several as their Mixture too, and returns the name. Again does nothing.

    Args:
      data: items of data as a stage has them: ("mnli.train.en",), ("xnli.test.all",). All are of one split name.
      lengths: of inputs and targets, in tokens.
      vocabulary: SeqIO's SentencePieceVocabulary that the model has; its file is a local one.
      data_dir: the data folder.
      mixing: how several cells are mixed; None for in proportion.

    Raises:
      ConfigError: a name is taken by something else, a cell cannot be asked for in words, or cells differ in split.
      DataError: there is no such vocabulary.
    """
    mixing = mixing or Mixing()
    choose("rule", mixing.rule, dict.fromkeys(RULES), "Rules are in xling_jax/mixing.py.")
    check_mixing(mixing, len(data), " ".join(data))
    stage = Stage(
        data=tuple(data), mixing=mixing, max_length=lengths["inputs"], answer_length=lengths["targets"], prompts=FORM
    )
    parts = stage.parts({})
    _check(parts, data)
    tokenizer = _tokenizer(vocabulary.sentencepiece_model_file, vocabulary.extra_ids)
    if any(part.form == HEADS for part in parts) and not tokenizer.sentinels:
        raise ConfigError(
            f"{vocabulary.sentencepiece_model_file} has no sentinels, which stand for the spans that are taken out.\n"
            "Allowed: a vocabulary whose file ends in <extra_id_0>, or SentencePieceVocabulary.extra_ids above 0."
        )
    texts_of = {f"{PREFIX}{part.cell}": _Texts(part, tokenizer, data_dir) for part in parts}
    for name, each in texts_of.items():
        if is_new(name, each.content()):
            _add_task(name, each, vocabulary)
    if len(parts) == 1:
        return next(iter(texts_of))
    return _add_mixture(PREFIX + ":".join(data).replace("+", "_"), texts_of, stage)


@functools.lru_cache(maxsize=4)
def _tokenizer(path: str, extra_ids: int) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(path, "mt5", extra_ids)


def _check(parts: Sequence[Part], data: Sequence[str]) -> None:
    """Raises ConfigError for what cannot be text-to-text, or cannot be one mixture."""
    for part in parts:
        kind = part.cell.row.kind
        if not asked(kind) and kind != TEXT:
            raise ConfigError(
                f"{part.cell} is of kind '{kind}', which is not asked for in words.\n"
                "Allowed: kinds of xling_jax/tables/prompts.py, and text without labels."
            )
    if len({part.cell.split for part in parts}) != 1 or len({part.cell for part in parts}) != len(parts):
        raise ConfigError(
            f"Cannot register {' '.join(data)} as one SeqIO mixture.\n"
            "Allowed: cells of one split name, each once; SeqIO asks all members of a mixture for the same split."
        )


@dataclasses.dataclass(frozen=True)
class _Texts:
    """The features of a part, read when they are first asked for, and how what is written for them is scored."""

    part: Part
    tokenizer: Tokenizer
    data_dir: pathlib.Path | None

    def content(self) -> tuple:
        """Returns all that decides what is behind the name of the Task."""
        return (self.part, self.tokenizer.fingerprint, str(self.data_dir))

    @functools.cached_property
    def made(self) -> list[dict[str, Any]]:
        """Returns the features, in order: inputs, targets, and for evaluation the example as JSON.

        Its name ends as it does because t5x.infer writes such features beside predictions, and no others.
        """
        maker, found = format_of_part(self.part, self.tokenizer), []
        corrupted, keeps = self.part.form == HEADS, keeps_raw(self.part.cell)
        for number, raw in enumerate(raw_examples(self.part, self.data_dir)):
            for feature in maker.features(raw, self.tokenizer, self.part.max_length, self.part.cell.row):
                inputs = feature["input_ids"]
                if corrupted:
                    text = inputs[inputs != self.tokenizer.eos]  # a pair is one text; its end comes later
                    found += [{"inputs": text}] if len(text) >= FEWEST else []
                    continue
                labels = feature["labels"]
                made = {"inputs": inputs, "targets": labels[labels >= 0]}
                if keeps:
                    words = feature["words"].tolist() if "words" in feature else [0, 0]
                    example = {"number": number, "words": words, "raw": raw}
                    made[EXAMPLE] = json.dumps(example, ensure_ascii=False)
                found.append(made)
        return found

    def dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> Any:
        """Returns the features as a dataset whose iterator can be saved."""
        import tensorflow as tf  # noqa: PLC0415 - many seconds

        del split
        names = [name for name in ("inputs", "targets") if name in self.made[0]]
        flat: Any = {name: tf.constant(np.concatenate([made[name] for made in self.made])) for name in names}
        ends = {name: np.cumsum([0, *(len(made[name]) for made in self.made)]) for name in names}
        bounds: Any = {name: tf.constant(ends[name]) for name in names}
        order = np.arange(len(self.made))
        if shuffle_files:
            order = np.random.default_rng(seed).permutation(order)
        others = [name for name in self.made[0] if name not in names]
        texts: Any = {name: tf.constant([made[name] for made in self.made]) for name in others}

        def pick(number):
            ids = {name: flat[name][bounds[name][number] : bounds[name][number + 1]] for name in names}
            return ids | {name: text[number] for name, text in texts.items()}

        return tf.data.Dataset.from_tensor_slices(order).map(pick, num_parallel_calls=tf.data.AUTOTUNE)

    @property
    def metric_fns(self) -> list[Callable]:
        """Returns the scorer; none where there is nothing to be scored or no example is kept."""
        row, cell = self.part.cell.row, self.part.cell
        scored = self.part.form != HEADS and keeps_raw(cell) and row.splits[cell.split].labels == "there"
        return [self.score] if scored else []

    def score(
        self, targets: Sequence[dict], predictions: Sequence[str], aux_values: Mapping[str, Sequence[float]]
    ) -> dict[str, float]:
        """Returns the metrics of the part, and how many answers in a hundred are legal ones."""
        row, said = self.part.cell.row, {}
        for target, text, score in zip(targets, predictions, aux_values["scores"], strict=True):
            begin, end = target["words"]
            said.setdefault(target["number"], (target["raw"], []))[1].append(Said(text, float(score), (begin, end)))
        reader, scorer = make_reader(row, prompt_of(row, FORM)), scorer_of(row.kind, row.scorer)
        answers, legal = zip(*(reader(raw, texts) for raw, texts in said.values()), strict=True)
        found = scorer.pairs([scorer.target(raw) for raw, _ in said.values()], answers, self.part.cell.language)
        return {metric: value(pairs) for metric, pairs in found.items()} | {"legal": 100 * float(np.mean(legal))}


def _read(output: str, example: Mapping[str, Any] | None = None, is_target: bool = False) -> Any:
    """Returns the example for a target, the text for a prediction: SeqIO's `postprocess_fn`."""
    if not is_target or example is None or EXAMPLE not in example:
        return output.strip()
    return json.loads(example[EXAMPLE])


def _add_task(name: str, texts: _Texts, vocabulary: Any) -> None:
    import seqio  # noqa: PLC0415 - many seconds

    feature = seqio.Feature(vocabulary, add_eos=True)  # each has its end already
    source: Any = seqio.FunctionDataSource(texts.dataset, splits=(texts.part.cell.split,))
    seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[_corruption(texts.tokenizer)] if texts.part.form == HEADS else [],
        output_features={"inputs": feature, "targets": feature},
        postprocess_fn=_read,
        metric_fns=texts.metric_fns,
    )


def _add_mixture(name: str, texts_of: Mapping[str, _Texts], stage: Stage) -> str:
    import seqio  # noqa: PLC0415

    @functools.cache
    def rates() -> dict[str, float]:
        counts = [len(texts.made) for texts in texts_of.values()]
        return dict(zip(texts_of, stage.rates(counts), strict=True))

    if is_new(name, (stage.mixing, *(texts.content() for texts in texts_of.values()))):
        seqio.MixtureRegistry.add(name, [(member, lambda task: rates()[task.name]) for member in texts_of])
    return name


def _corruption(tokenizer: Tokenizer) -> Callable:
    """Returns the preprocessor that corrupts spans, others each time that a text comes."""
    import seqio  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    def draw(ids: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return corrupt(ids, tokenizer.sentinels, tokenizer.eos, np.random.default_rng(seed.astype(np.uint32)))

    @seqio.map_over_dataset(num_seeds=1)
    def corruption(example, seed):
        # Said to be stateless, which it is: otherwise the iterator's state could not be saved.
        read, said = tf.numpy_function(draw, [example["inputs"], seed], [tf.int32, tf.int32], stateful=False)
        return {"inputs": tf.ensure_shape(read, [None]), "targets": tf.ensure_shape(said, [None])}

    return corruption
