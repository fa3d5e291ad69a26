"""Tokenizers that say where in the original text each piece came from.

An answer to a span question is a slice of the context, so offsets must point into the text as the
publisher wrote it, whatever the tokenizer normalises before it looks the pieces up.
"""

from xling_jax.data.tokenizers.base import Encoding, Frame, Tokenizer
from xling_jax.data.tokenizers.byte_level import ByteLevelTokenizer
from xling_jax.data.tokenizers.loading import FAMILIES, load_tokenizer
from xling_jax.data.tokenizers.sentence_pieces import SentencePieceTokenizer
from xling_jax.data.tokenizers.training import train_byte_level, train_sentencepiece, train_vocabulary
from xling_jax.data.tokenizers.world_pieces import PieceTokenizer

__all__ = [
    "FAMILIES",
    "ByteLevelTokenizer",
    "Encoding",
    "Frame",
    "PieceTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_byte_level",
    "train_sentencepiece",
    "train_vocabulary",
]
