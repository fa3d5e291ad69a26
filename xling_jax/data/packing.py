"""Which examples share a row, decided from their lengths alone.

First-fit decreasing (Johnson et al. 1974): the longest example goes into the first row that has room. Filled row by
row, that is: take the longest that still fits, until nothing does. Rows come out in runs of equal patterns of lengths,
so a window is packed pattern by pattern and not example by example.
"""

from collections.abc import Iterator

import numpy as np

from xling_jax.tables.kinds import SHORTEST


def room_of(length_N: np.ndarray) -> np.ndarray:
    """Returns the tokens that examples take of a row."""
    return np.maximum(length_N, SHORTEST)


def _patterns(left: list[int]) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """Yields ([(size, how many of them)], rows that are filled like that).

    `left[size]` counts what is to be packed, up to the size of a row; it is used up.
    """
    below = np.maximum.accumulate([size if count else 0 for size, count in enumerate(left)]).tolist()
    while size := below[-1]:  # below[x]: the largest size up to x of which something is left
        pattern, space = [], len(left) - 1
        while size:
            times = min(left[size], space // size)
            pattern.append((size, times))
            space -= times * size
            size = below[min(size - 1, space)]
        rows = min(left[size] // times for size, times in pattern)
        for size, times in pattern:
            left[size] -= times * rows
            at = size
            while left[size] == 0 and at < len(below) and below[at] == size:
                below[at] = below[size - 1]
                at += 1
        yield pattern, rows


def _counts(length_N: np.ndarray, room: int) -> list[int]:
    return np.bincount(room_of(length_N), minlength=room + 1).tolist()


def count_rows(length_N: np.ndarray, room: int) -> int:
    """Returns how many rows of `room` tokens `pack` fills."""
    return sum(rows for _, rows in _patterns(_counts(length_N, room)))


def pack(length_N: np.ndarray, room: int) -> np.ndarray:
    """Returns the row of each of N examples, none of which is longer than `room`."""
    by_size = np.argsort(room_of(length_N), kind="stable")
    counts = _counts(length_N, room)
    used = (np.cumsum(counts) - counts).tolist()  # where the examples of a size begin
    row_N = np.empty(len(length_N), np.int64)
    first = 0
    for pattern, rows in _patterns(counts):
        for size, times in pattern:
            taken = by_size[used[size] : used[size] + rows * times]
            row_N[taken] = np.repeat(np.arange(first, first + rows), times)
            used[size] += rows * times
        first += rows
    return row_N
