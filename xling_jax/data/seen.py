"""Which ids a file has had, in so little memory that it can have millions."""

from array import array

FULL = 0.5  # share of the places that are taken at most; more takes longer to find one


class Seen:
    """A number for each text, like a dict of both, that keeps 64 bits of the text's hash and not the text.

    So two texts are taken for one with a chance of n^2 / 2^65: one in forty million for a million ids.
    """

    def __init__(self):
        self._count = 0
        self._make(1 << 10)

    def _make(self, places: int) -> None:
        self._hashes = array("Q", bytes(8 * places))  # 0 is a free place
        self._numbers = array("q", bytes(8 * places))

    def _place(self, code: int) -> int:
        """Returns where a hash is, or would be."""
        last = len(self._hashes) - 1
        at = code & last
        while self._hashes[at] not in (0, code):
            at = (at + 1) & last
        return at

    def __len__(self) -> int:
        return self._count

    def __contains__(self, text: str) -> bool:
        return self._hashes[self._place(_code(text))] != 0

    def __getitem__(self, text: str) -> int:
        at = self._place(_code(text))
        if not self._hashes[at]:
            raise KeyError(text)
        return self._numbers[at]

    def __setitem__(self, text: str, number: int) -> None:
        if self._count >= FULL * len(self._hashes):
            self._grow()
        code = _code(text)
        at = self._place(code)
        self._count += not self._hashes[at]
        self._hashes[at], self._numbers[at] = code, number

    def _grow(self) -> None:
        hashes, numbers = self._hashes, self._numbers
        self._make(2 * len(hashes))
        for code, number in zip(hashes, numbers, strict=True):
            if code:
                at = self._place(code)
                self._hashes[at], self._numbers[at] = code, number


def _code(text: str) -> int:
    return hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1
