"""Features as bytes, and many of them at once as the arrays of a batch.

A record is a run of little-endian 32-bit integers: L, C (1 where a format has no choices), then the feature's arrays
in the order of its format's table. Their sizes follow from L and C, so a batch is laid out with a few NumPy
operations however many examples it has.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.data.formats import Feature

HEADER = 2  # L and C
WORD = np.dtype("<i4")


def pack_feature(feature: Mapping[str, np.ndarray], table: Mapping[str, Feature]) -> bytes:
    """Returns a feature as a record."""
    sizes = np.array([feature["input_ids"].shape[-1], choices_of(feature, table)], WORD)
    return b"".join([sizes.tobytes(), *(feature[name].astype(WORD).tobytes() for name in table)])


def unpack_feature(record: bytes, table: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    """Returns the feature that `pack_feature` was given. Raises ValueError if the record is not one of this table."""
    words = np.frombuffer(record, WORD)
    length, choices = (int(size) for size in words[:HEADER])
    shapes = {name: shape_of(spec, length, choices) for name, spec in table.items()}
    ends = np.cumsum([HEADER, *(math.prod(shape) for shape in shapes.values())])
    if ends[-1] != len(words):
        raise ValueError(f"a record of {len(words)} words where {ends[-1]} were expected")
    parts = np.split(words, ends[:-1])[1:]
    return {name: part.reshape(shapes[name]) for name, part in zip(table, parts, strict=True)}


def choices_of(feature: Mapping[str, np.ndarray], table: Mapping[str, Feature]) -> int:
    """Returns how many choices a feature has, 1 where its format has none."""
    return next((feature[name].shape[0] for name, spec in table.items() if spec.axes[:1] == "C"), 1)


def shape_of(spec: Feature, length: int, choices: int) -> tuple[int, ...]:
    """Returns the shape of an array (see `Feature`)."""
    named = {"L": length, "C": choices, "T": spec.answer_length}
    return tuple(named.get(axis) or int(axis) for axis in spec.axes)


@dataclasses.dataclass(frozen=True)
class Block:
    """Many records end to end: record n begins at word `begin_N[n]`."""

    words: np.ndarray
    begin_N: np.ndarray

    @classmethod
    def of(cls, records: Sequence[bytes]) -> "Block":
        """Returns records as one block."""
        sizes = np.array([len(record) for record in records], np.int64) // WORD.itemsize
        return cls(np.frombuffer(b"".join(records), WORD), np.cumsum(sizes) - sizes)

    def take(self, numbers: np.ndarray) -> "Block":
        """Returns some of the records, in this order."""
        return Block(self.words, self.begin_N[numbers])


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of many records one by one: of each its number, its tokens, and where each array of its tokens begins.

    `begin` has the arrays with an entry for each token, by name: (words of an entry, the first word of each text).
    """

    words: np.ndarray
    number_T: np.ndarray
    length_T: np.ndarray
    begin: Mapping[str, tuple[int, np.ndarray]]

    @classmethod
    def of(cls, block: Block, table: Mapping[str, Feature], first: int, each: int) -> "Texts":
        """Returns the texts of records, of which the first is number `first` of its cell and has the texts
        first * each to first * each + each - 1. One may have fewer of them.
        """
        length_N, choices_N = (block.words[block.begin_N + at].astype(np.int64) for at in range(HEADER))
        at_N, begin_N = block.begin_N + HEADER, {}
        for name, spec in table.items():
            begin_N[name] = at_N
            at_N = at_N + _words_of_token(spec) * (length_N if "L" in spec.axes else 1) * (
                choices_N if "C" in spec.axes else 1
            )
        several = "C" in table["input_ids"].axes
        texts_N = choices_N if several else np.ones_like(choices_N)
        record_T = np.repeat(np.arange(len(texts_N)), texts_N)
        which_T = np.arange(len(record_T)) - np.repeat(np.cumsum(texts_N) - texts_N, texts_N)
        room_T = length_N[record_T]  # of the longest text of its record
        begin = {
            name: (size, begin_N[name][record_T] + which_T * room_T * size)
            for name, spec in table.items()
            if "L" in spec.axes
            for size in (_words_of_token(spec),)
        }
        length_T = block.words[begin_N["lengths"][record_T] + which_T].astype(np.int64) if several else room_T
        return cls(block.words, (first + record_T) * each + which_T, length_T, begin)

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """Returns the texts of several, one after another; all have the same arrays."""
        sizes = np.array([len(part.words) for part in parts])
        shifts = (np.cumsum(sizes) - sizes).tolist()
        begin = {
            name: (size, np.concatenate([part.begin[name][1] + at for part, at in zip(parts, shifts, strict=True)]))
            for name, (size, _) in parts[0].begin.items()
        }
        words, number_T, length_T = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("words", "number_T", "length_T")
        )
        return cls(words, number_T, length_T, begin)

    def take(self, texts: np.ndarray) -> "Texts":
        """Returns some of the texts, in this order."""
        begin = {name: (size, begin_T[texts]) for name, (size, begin_T) in self.begin.items()}
        return Texts(self.words, self.number_T[texts], self.length_T[texts], begin)

    def lay_out(self, name: str, pad: int, layout: "Layout") -> np.ndarray:
        """Returns an array of the texts' tokens in packed rows, RxL, or RxLx2 where a token has two entries."""
        assert layout.begin_N is not None, "rows that are not packed"
        size, begin_T = self.begin[name]
        target = np.full((layout.rows, layout.length, *((size,) if size > 1 else ())), pad, np.int32)
        to_T = (layout.row_N * layout.length + layout.begin_N) * size
        _copy(target, self.words, to_T, begin_T, self.length_T * size)
        return target


def _words_of_token(spec: Feature) -> int:
    """Returns the words that an array has for each token, or in all where it has none for tokens."""
    return math.prod(shape_of(dataclasses.replace(spec, axes=spec.axes.strip("CL")), 0, 0))


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each of N records goes: its row, and in packed rows the token it begins at and its number in the row."""

    rows: int
    length: int
    row_N: np.ndarray
    begin_N: np.ndarray | None = None
    slot_N: np.ndarray | None = None
    slots: int = 0


def lay_out(block: Block, table: Mapping[str, Feature], layout: Layout, choices: int = 1) -> dict[str, np.ndarray]:
    """Returns the arrays of a batch, padded as the table says; rows without a record are all padding.

    In packed rows, what has no L axis becomes rows x slots, -1 where there is no example. In others `lengths`, if the
    table has none, are the tokens of each row.
    """
    length_N, choices_N = (block.words[block.begin_N + at].astype(np.int64) for at in range(HEADER))
    from_N = block.begin_N + HEADER
    batch = {}
    for name, spec in table.items():
        shape = shape_of(spec, layout.length, choices)
        slotted = layout.slot_N is not None and "L" not in spec.axes
        target = np.full((layout.rows, *(layout.slots,) * slotted, *shape), -1 if slotted else spec.pad, np.int32)
        each = _words_of_token(spec)
        run_N = each * (length_N if "L" in spec.axes else np.ones_like(length_N))
        to_N = layout.row_N * math.prod(target.shape[1:])
        if slotted:
            to_N = to_N + layout.slot_N * each
        elif layout.begin_N is not None:
            to_N = to_N + layout.begin_N * each
        runs = to_N, from_N, run_N
        words_N = run_N
        if "C" in spec.axes:
            stride = each * (layout.length if "L" in spec.axes else 1)
            runs, words_N = _each_choice(runs, choices_N, stride), run_N * choices_N
        _copy(target, block.words, *runs)
        batch[name] = target
        from_N = from_N + words_N
    if layout.slot_N is None and "lengths" not in table:
        batch["lengths"] = np.zeros(layout.rows, np.int32)
        batch["lengths"][layout.row_N] = length_N
    return batch


def _each_choice(runs: tuple[np.ndarray, ...], choices_N: np.ndarray, stride: int) -> tuple[np.ndarray, ...]:
    """Returns runs of words as one for each choice: end to end in the record, `stride` words apart in the target."""
    at = np.arange(choices_N.sum()) - np.repeat(np.cumsum(choices_N) - choices_N, choices_N)
    to, begin, size = (np.repeat(part, choices_N) for part in runs)
    return to + at * stride, begin + at * size, size


def _copy(target: np.ndarray, words: np.ndarray, to_N: np.ndarray, from_N: np.ndarray, run_N: np.ndarray) -> None:
    """Copies runs of words into the target, whose elements are counted along its rows.

    A loop over memory views is faster than an index of every word, and the longer the runs the more.
    """
    if run_N.max(initial=1) == 1:
        target.reshape(-1)[to_N] = words[from_N]
        return
    into, source = target.data.cast("B").cast("i"), words.data
    for to, begin, size in zip(to_N.tolist(), from_N.tolist(), run_N.tolist(), strict=True):
        into[to : to + size] = source[begin : begin + size]
