"""Tokenizers that say where in the original text each piece came from.

An answer to a span question is a slice of the context, so offsets must point into the text as the
publisher wrote it, whatever the tokenizer normalises before it looks the pieces up.

Ids follow XLM-R (fairseq): `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, pieces from 4, `<mask>` last.
"""

import abc
import dataclasses
import hashlib
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from xling_jax.errors import ConfigError, DataError

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
SPACE_MARK = "\u2581"  # what SentencePiece writes for a space


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Pieces of one text, without special tokens: `ids` int32 (L), `spans` int32 (L, 2).

    A span is [begin, end) in characters of the original text. Begins and ends never decrease. Spans
    do not start or end in white space; a piece that stands for white space only has an empty one.
    Two pieces share a span when one character became both (in NFKC, '½' is three characters).
    """

    ids: np.ndarray
    spans: np.ndarray


class Tokenizer(abc.ABC):
    """Text to ids. `size` counts all ids; `fingerprint` is a hash of the vocabulary's content."""

    bos, pad, eos, unk = range(4)
    size: int
    fingerprint: str

    @property
    def mask(self) -> int:
        return self.size - 1

    @abc.abstractmethod
    def encode(self, text: str) -> Encoding:
        """Returns the pieces of a text; none if it is empty or only white space."""

    @abc.abstractmethod
    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Returns the pieces as the vocabulary writes them, for display."""

    def encode_words(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the pieces of words that are already divided, for tagging.

        Every word has at least one piece: `<unk>` if the tokenizer finds none in it, so that each
        word of a sentence can be tagged.

        Returns:
          ids int32 (L), word_index int32 (L) into `words`, first_flag bool (L): first piece of its word.
        """
        ids_of_word = [self.encode(word).ids for word in words]
        ids_of_word = [ids if len(ids) else np.array([self.unk], np.int32) for ids in ids_of_word]
        lengths = np.array([len(ids) for ids in ids_of_word], np.int64)
        word_index = np.repeat(np.arange(len(words), dtype=np.int32), lengths)
        first_flag = np.zeros(len(word_index), bool)
        first_flag[np.cumsum(lengths) - lengths] = True
        ids = np.concatenate(ids_of_word) if ids_of_word else np.zeros(0, np.int32)
        return ids, word_index, first_flag


class PieceTokenizer(Tokenizer):
    """Longest match from the left inside words divided by white space, for the generated world.

    A piece that continues a word is stored with a leading '##'. A word that cannot be covered to
    its end is one `<unk>`.
    """

    def __init__(self, pieces: Sequence[str]):
        """Builds a vocabulary. Raises ConfigError for a piece that is empty, double or a special."""
        self._names = [*SPECIALS, *pieces, MASK]
        self._ids = {piece: number for number, piece in enumerate(self._names)}
        if len(self._ids) < len(self._names) or not all(piece.removeprefix("##") for piece in pieces):
            raise ConfigError("A vocabulary has an empty piece, a piece twice, or a piece with a special token's name.")
        self._longest = max(map(len, pieces), default=1)
        self._cache: dict[str, list[tuple[int, int, int]]] = {}
        self.size = len(self._names)
        self.fingerprint = _fingerprint("\n".join(self._names).encode())

    def encode(self, text: str) -> Encoding:
        found = [
            (number, word.start() + begin, word.start() + end)
            for word in re.finditer(r"\S+", text)
            for number, begin, end in self._word(word.group())
        ]
        table = np.array(found, np.int32).reshape(-1, 3)
        return Encoding(table[:, 0], table[:, 1:])

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [self._names[number] for number in ids]

    def _word(self, word: str) -> list[tuple[int, int, int]]:
        if word not in self._cache:
            if len(self._cache) >= 100_000:
                self._cache.clear()
            self._cache[word] = self._match(word) or [(self.unk, 0, len(word))]
        return self._cache[word]

    def _match(self, word: str) -> list[tuple[int, int, int]]:
        """Returns (id, begin, end) of the pieces of a word; nothing if they do not reach its end."""
        found, begin = [], 0
        while begin < len(word):
            mark = "##" if begin else ""
            for end in range(min(len(word), begin + self._longest), begin, -1):
                number = self._ids.get(mark + word[begin:end], -1)
                if len(SPECIALS) <= number < self.mask:
                    found.append((number, begin, end))
                    begin = end
                    break
            else:
                return []
        return found


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model under XLM-R's ids: id i of the model is i + 1 here, its `<unk>` is 3.

    The model is trained with `<unk>` 0, `<s>` 1, `</s>` 2, as XLM-R's is.
    """

    def __init__(self, model_file: pathlib.Path | str):
        import sentencepiece  # noqa: PLC0415 - heavy, and not needed by the generated world

        path = pathlib.Path(model_file)
        if not path.is_file():
            raise DataError(f"No SentencePiece model at {path}.\nIt is the file 'sentencepiece.bpe.model' of XLM-R.")
        proto = path.read_bytes()
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(f"{path} is not a SentencePiece model.") from error
        if (self._model.unk_id(), self._model.bos_id(), self._model.eos_id()) != (0, 1, 2):
            raise DataError(f"{path} is not laid out as XLM-R's model: <unk> 0, <s> 1, </s> 2.")
        self.size = len(self._model) + 2
        self.fingerprint = _fingerprint(proto)

    def encode(self, text: str) -> Encoding:
        found = self._model.encode(text, return_type="offset_mapping", return_bytes=False)
        model_ids = np.array(found["ids"], np.int32)
        ids = np.where(model_ids == 0, self.unk, model_ids + 1).astype(np.int32)
        pieces = zip(found["pieces"], found["offsets"], strict=True)
        spans = [_tighten(text, begin, end, piece) for piece, (begin, end) in pieces]
        table = np.array(spans, np.int32).reshape(-1, 2)
        # A space in the middle of an expanded character ('ﷺ' is four words) shares it with its neighbours.
        return Encoding(ids, np.maximum.accumulate(table, axis=0))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        special = {**dict(enumerate(SPECIALS)), self.mask: MASK}
        return [special.get(int(number)) or self._model.id_to_piece(int(number) - 1) for number in ids]


def _tighten(text: str, begin: int, end: int, piece: str) -> tuple[int, int]:
    """Returns a span without the white space at its ends.

    When normalisation makes several characters of one, SentencePiece gives the character to the
    last piece and nothing, or the space before it, to the others; they get the character too.
    """
    while begin < end and _is_blank(text[begin]):
        begin += 1
    while begin < end and _is_blank(text[end - 1]):
        end -= 1
    says_something = not all(map(_is_blank, piece.strip(SPACE_MARK)))
    if begin == end and says_something and begin < len(text):
        end += 1
    return begin, end


def _is_blank(character: str) -> bool:
    """White space, and the invisible characters (Cf, Cc) that nmt_nfkc turns into it or drops."""
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def train_sentencepiece(texts: Iterable[str], size: int, out: pathlib.Path) -> None:
    """Trains a unigram model of `size` pieces with XLM-R's normalisation and coverage.

    Every text is read (no sampling, so no shuffle), with a fixed number of threads: the same texts
    give the same file. The tokenizer over it has two ids more, `<pad>` and `<mask>`. Settings as in
    Kudo and Richardson 2018 (arXiv 1808.06226) and Conneau et al. 2020 (arXiv 1911.02116).

    Raises:
      ConfigError: the texts are too few, or too many kinds of character, for this size.
    """
    import io  # noqa: PLC0415

    import sentencepiece  # noqa: PLC0415 - heavy, and not needed by the generated world

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            character_coverage=0.9995,
            normalization_rule_name="nmt_nfkc",
            byte_fallback=False,
            max_sentence_length=1 << 20,  # in bytes; longer texts would be left out without a word
            num_threads=4,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2].rstrip(" .") or "there is no text"
        raise ConfigError(
            f"Cannot train a vocabulary of {size} pieces: {reason}.\nChange its size or its texts."
        ) from error
    part = out.with_name(out.name + ".part")
    part.write_bytes(model.getvalue())
    part.replace(out)


def load_tokenizer(path: pathlib.Path | str) -> Tokenizer:
    """Returns the tokenizer of a vocabulary file: `*.model` is SentencePiece, `*.txt` a piece a line."""
    path = pathlib.Path(path)
    if path.suffix == ".model":
        return SentencePieceTokenizer(path)
    if path.suffix != ".txt" or not path.is_file():
        raise DataError(f"No vocabulary at {path}.\nAllowed: *.model (SentencePiece) or *.txt (one piece a line).")
    return PieceTokenizer(path.read_text(encoding="utf-8").split("\n")[:-1])
