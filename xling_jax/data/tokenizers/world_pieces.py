"""The tokenizer of the generated world."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from xling_jax.data.tokenizers.base import Encoding, Frame, Tokenizer, fingerprint
from xling_jax.errors import ConfigError

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"


class PieceTokenizer(Tokenizer):
    """Longest match from the left inside words divided by white space, for the generated world.

    A piece that continues a word is stored with a leading '##'. A word that cannot be covered to
    its end is one `<unk>`. Special tokens have XLM-R's ids: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` last.
    """

    family = "world"
    bos, pad, eos, unk = range(4)

    def __init__(self, pieces: Sequence[str]):
        """Builds a vocabulary. Raises ConfigError for a piece that is empty, double or a special."""
        super().__init__()
        self._names = [*SPECIALS, *pieces, MASK]
        self._ids_of_piece = {piece: number for number, piece in enumerate(self._names)}
        if len(self._ids_of_piece) < len(self._names) or not all(piece.removeprefix("##") for piece in pieces):
            raise ConfigError("A vocabulary has an empty piece, a piece twice, or a piece with a special token's name.")
        self._longest = max(map(len, pieces), default=1)
        self._cache: dict[str, list[tuple[int, int, int]]] = {}
        self.size = len(self._names)
        self.mask = self.size - 1
        self.frame = Frame.of([self.bos], [self.eos] * 2, [self.eos])
        self.fingerprint = fingerprint("\n".join(self._names))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [self._names[number] for number in ids]

    def _decode(self, ids: list[int]) -> str:
        return " ".join(self._names[number] for number in ids if number < self.size).replace(" ##", "")

    def _encode(self, text: str) -> Encoding:
        found = [
            (number, word.start() + begin, word.start() + end)
            for word in re.finditer(r"\S+", text)
            for number, begin, end in self._match_once(word.group())
        ]
        table = np.array(found, np.int32).reshape(-1, 3)
        return Encoding(table[:, 0], table[:, 1:])

    def _match_once(self, word: str) -> list[tuple[int, int, int]]:
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
                number = self._ids_of_piece.get(mark + word[begin:end], -1)
                if len(SPECIALS) <= number < self.mask:
                    found.append((number, begin, end))
                    begin = end
                    break
            else:
                return []
        return found
