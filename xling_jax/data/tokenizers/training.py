"""Vocabularies of each family, trained on texts at hand."""

import io
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from xling_jax.data.tokenizers.byte_level import END, empty
from xling_jax.disk import write_bytes
from xling_jax.errors import ConfigError, choose

# Settings of SentencePiece's trainer, as far as the families' papers and files tell them: Conneau et al. 2020
# (arXiv 1911.02116), Xue et al. 2021 (arXiv 2010.11934), Touvron et al. 2023 (arXiv 2302.13971).
SETTINGS: dict[str, dict[str, Any]] = {
    "xlmr": {
        "model_type": "unigram",
        "character_coverage": 0.9995,
        "normalization_rule_name": "nmt_nfkc",
        "byte_fallback": False,
    },
    "mt5": {
        "model_type": "unigram",
        "character_coverage": 0.99999,
        "normalization_rule_name": "nmt_nfkc",
        "byte_fallback": True,
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
    },
    "llama": {
        "model_type": "bpe",
        "character_coverage": 0.99995,
        "normalization_rule_name": "identity",
        "byte_fallback": True,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "remove_extra_whitespaces": False,
    },
}


def train_sentencepiece(texts: Iterable[str], size: int, out: pathlib.Path, family: str = "xlmr") -> None:
    """Trains a model of `size` pieces with the family's normalisation, coverage and special tokens.

    Every text is read (no sampling, so no shuffle), with a fixed number of threads: the same texts
    give the same file. XLM-R's tokenizer over it has two ids more, `<pad>` and `<mask>`.

    Raises:
      ConfigError: the texts are too few, or too many kinds of character, for this size.
    """
    import sentencepiece  # noqa: PLC0415 - heavy, and not needed by the generated world

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=size,
            max_sentence_length=1 << 20,  # in bytes; longer texts would be left out without a word
            num_threads=4,
            minloglevel=2,
            **SETTINGS[family],
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2].rstrip(" .") or "there is no text"
        raise _too_little(size, reason) from error
    write_bytes(out, model.getvalue())


def train_byte_level(texts: Iterable[str], size: int, out: pathlib.Path) -> None:
    """Trains byte-level BPE of `size` ids, `<|endoftext|>` the last one, and writes it as a tokenizer.json.

    Raises:
      ConfigError: the texts are too few for this size, or it has no room for all bytes.
    """
    import tokenizers  # noqa: PLC0415
    from tokenizers import pre_tokenizers, trainers  # noqa: PLC0415

    model = empty(tokenizers.models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(iter(texts), trainer)
    model.add_special_tokens([END])
    if model.get_vocab_size() != size:
        raise _too_little(size, f"the texts give {model.get_vocab_size()}")
    write_bytes(out, model.to_str().encode())


def train_vocabulary(family: str, texts: Iterable[str], size: int, out: pathlib.Path) -> None:
    """Trains a vocabulary of a family: a SentencePiece model, or Qwen's tokenizer.json."""
    trainers: dict[str, Callable] = dict.fromkeys(SETTINGS, train_sentencepiece) | {"qwen": train_byte_level}
    train = choose("family", family, trainers, "Families are rows of xling_jax/data/tokenizers/loading.py.")
    train(texts, size, out, **({"family": family} if family in SETTINGS else {}))


def _too_little(size: int, reason: str) -> ConfigError:
    return ConfigError(f"Cannot train a vocabulary of {size} pieces: {reason}.\nChange its size or its texts.")
