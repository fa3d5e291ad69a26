"""SentencePiece models (Kudo and Richardson 2018, arXiv 1808.06226) under the ids of three families.

The families number special tokens differently, and agree on nothing else either: XLM-R's ids are those of fairseq,
one above the model file's; mT5's and Llama's are the file's own, and spell unknown characters in bytes.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from xling_jax.data.tokenizers.base import NONE, Encoding, Frame, Tokenizer, fingerprint, is_blank, tighten
from xling_jax.disk import as_path
from xling_jax.errors import DataError

SPACE_MARK = "\u2581"  # what SentencePiece writes for a space
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SENTINEL = re.compile(rf"{SPACE_MARK}?<extra_id_(\d+)>")
MOST_SENTINELS = 1000


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a family numbers its special tokens.

    `in_file` are the numbers of <unk>, <s>, </s> and <pad> in the model file, by which it is told from others, with
    `spells`: whether unknown characters become bytes (None: as the file has it). `bos`, `pad`, `eos` and `unk` are
    the ids of the tokenizer; a piece's is `shift` above its number in the file.
    """

    family: str
    in_file: tuple[int, int, int, int]
    spells: bool | None
    bos: int
    pad: int
    eos: int
    unk: int
    shift: int = 0
    has_mask: bool = False
    goes_on: bool = False


_ROWS = (
    Layout("xlmr", (0, 1, 2, NONE), False, bos=0, pad=1, eos=2, unk=3, shift=1, has_mask=True),
    Layout("mt5", (2, NONE, 1, 0), None, bos=NONE, pad=0, eos=1, unk=2),
    # No padding of its own: <unk>, which no text is given, because all that is unknown is spelled.
    Layout("llama", (0, 1, 2, NONE), True, bos=1, pad=0, eos=2, unk=0, goes_on=True),
)
LAYOUTS = {row.family: row for row in _ROWS}


def _frame(row: Layout) -> Frame:
    """Returns the family's frame: XLM-R's pairs have two </s>; a decoder's are ended by one, where a head can read."""
    between = [row.eos] * 2 if row.family == "xlmr" else [row.eos]
    return Frame.of([row.bos] if row.bos != NONE else [], between, [row.eos])


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model under the ids of the family it belongs to.

    XLM-R: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, pieces from 4, `<mask>` last. mT5: `<pad>` 0, `</s>` 1, `<unk>` 2;
    sentinels are at the end, the first one last. Llama: `<unk>` 0, `<s>` 1, `</s>` 2.

    What looks like a special token in a text (`<s>`, `<mask>`) is text here, as in SentencePiece itself.
    """

    def __init__(self, model_file: pathlib.Path | str, family: str = "", extra_sentinels: int = 0):
        """Reads a model file.

        Args:
          model_file: the file.
          family: a row of LAYOUTS; "" for the one that the file says it is of.
          extra_sentinels: how many sentinels a model is published with that are not in its file (umT5's 300).

        Raises:
          DataError: it is no such file, or not of this family.
        """
        super().__init__()
        self._model, proto = _load(as_path(model_file))
        row = _layout(self._model, as_path(model_file), family)
        self.family, self.bos, self.pad, self.eos, self.unk = row.family, row.bos, row.pad, row.eos, row.unk
        self.frame, self.goes_on = _frame(row), row.goes_on
        self._shift = row.shift
        self._id_of_number = np.arange(len(self._model), dtype=np.int32) + row.shift
        self._id_of_number[row.in_file[0]] = row.unk
        self._file_size = len(self._model) + row.shift
        self.sentinels = _sentinels(self._model) or tuple(self._file_size + n for n in reversed(range(extra_sentinels)))
        self.size = max(self._file_size, *(number + 1 for number in self.sentinels), 0) + row.has_mask
        self.mask = self.size - 1 if row.has_mask else NONE
        self.fingerprint = fingerprint(proto, row.family, str(extra_sentinels))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [self._piece(int(number)) for number in ids]

    def _decode(self, ids: list[int]) -> str:
        known = [number for number in ids if number < self._file_size]  # others are spare rows of a model
        return self._model.decode([self._model.unk_id() if n == self.unk else n - self._shift for n in known])

    def _piece(self, number: int) -> str:
        special = {self.bos: "<s>", self.eos: "</s>", self.pad: "<pad>", self.unk: "<unk>", self.mask: "<mask>"}
        if number in special:
            return special[number]
        if number in self.sentinels:
            return f"<extra_id_{self.sentinels.index(number)}>"
        return self._model.id_to_piece(number - self._shift)

    def _ids(self, text: str) -> np.ndarray:
        return self._id_of_number[np.array(self._model.encode(text), np.int32)]

    def _encode(self, text: str) -> Encoding:
        found = self._model.encode(text, return_type="offset_mapping", return_bytes=False)
        given_Lx2 = np.array(found["offsets"], np.int32).reshape(-1, 2)
        spans_Lx2 = tighten(text, given_Lx2)
        for at in np.flatnonzero(spans_Lx2[:, 0] == spans_Lx2[:, 1]).tolist():
            spans_Lx2[at] = _shared(text, found["pieces"][at], int(given_Lx2[at, 0]), int(spans_Lx2[at, 0]))
        ids = self._id_of_number[np.array(found["ids"], np.int32)]
        # A space in the middle of an expanded character ('ﷺ' is four words) shares it with its neighbours.
        return Encoding(ids, np.maximum.accumulate(spans_Lx2, axis=0))


def _shared(text: str, piece: str, given: int, begin: int) -> tuple[int, int]:
    """Returns the span of a piece that SentencePiece gives nothing, or only the white space before it.

    When several characters are made of one, it gives that character to the last piece; likewise when one is spelled in
    bytes. The other pieces get the character too, unless they stand for white space.
    """
    place = given if BYTE.fullmatch(piece) else begin
    says_something = not all(map(is_blank, piece.strip(SPACE_MARK))) and place < len(text)
    return (place, place + 1) if says_something and not is_blank(text[place]) else (begin, begin)


def _load(path: pathlib.Path):
    """Returns a SentencePiece model and its bytes."""
    import sentencepiece  # noqa: PLC0415 - heavy, and not needed by the generated world

    if not path.is_file():
        raise DataError(f"No SentencePiece model at {path}.\nIt is the file 'sentencepiece.bpe.model' of XLM-R.")
    proto = path.read_bytes()
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=proto), proto
    except RuntimeError as error:
        raise DataError(f"{path} is not a SentencePiece model.") from error


def _layout(model, path: pathlib.Path, family: str) -> Layout:
    """Returns the row of a model file. Raises DataError if it is not laid out as the family's."""
    numbers = (model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id())
    spells = any(model.is_byte(number) for number in range(min(len(model), 300)))
    fitting = [row for row in _ROWS if row.in_file == numbers and row.spells in (None, spells)]
    row = next((row for row in fitting if family in ("", row.family)), None)
    if row is None:
        wanted = f"family '{family}'" if family else "a family"
        found = f"<unk> {numbers[0]}, <s> {numbers[1]}, </s> {numbers[2]}, <pad> {numbers[3]}"
        raise DataError(
            f"{path} is not laid out as a model of {wanted}.\n"
            f"Found: {found}, {'with' if spells else 'without'} byte pieces (-1: none).\n"
            "Allowed: <unk> 0, <s> 1, </s> 2 (xlmr without, llama with byte pieces), or <unk> 2, </s> 1, <pad> 0 (mt5)."
        )
    return row


def _sentinels(model) -> tuple[int, ...]:
    """Returns the numbers of the sentinels in a model file, the first one first: they are its last pieces."""
    last = range(max(0, len(model) - MOST_SENTINELS), len(model))
    found = {int(match[1]): number for number in last if (match := SENTINEL.fullmatch(model.id_to_piece(number)))}
    return tuple(found[n] for n in sorted(found))
