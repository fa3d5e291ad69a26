"""The test items of a cell: what each adds to the score, if it was right, and what the model ranked first.

    predictions/<task>/<split>-<language>.items.jsonl   {"id": ..., METRIC: [num, den], "ranking": [2, 0, 1]} per line
    predictions/<task>/<split>-<language>.<ending>      the answers themselves, as the benchmark wants them

`ranking` has the numbers of an item's candidates (labels or choices), the best first, where its kind has candidates.
"""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError, broken_line

WHOLE = ("exact_match", "accuracy")  # metrics that say if an item is right, the strictest first
LARGEST_SHARE = 0.99  # of a cell's answers that may be the same, before the model counts as giving one answer to all
FEWEST_ANSWERS = 10  # among fewer, all alike is no news


@dataclasses.dataclass(frozen=True)
class Items:
    """What each test item adds to numerator and denominator of one metric, in one language.

    `right_N` says which items are right as a whole; `ranking_NxC` are the numbers of the candidates, the best first and
    -1 after the last, or None. `share` is that of the most frequent answer, or None where answers are not known.
    """

    path: pathlib.Path
    ids: tuple[str, ...]
    num_N: np.ndarray
    den_N: np.ndarray
    right_N: np.ndarray
    ranking_NxC: np.ndarray | None = None
    share: float | None = None

    @property
    def score(self) -> float:
        """The metric in percent; 0 where nothing was predicted and nothing was to be found."""
        total = float(self.den_N.sum())
        return 100 * float(self.num_N.sum()) / total if total else 0.0

    @property
    def constant(self) -> bool:
        """Says if one answer was given to practically all items; False where it is not known."""
        return self.share is not None and self.share >= LARGEST_SHARE


def read_items(path: pathlib.Path, metric: str) -> Items:
    """Returns the per-item sums of one metric, and what else the folder says of the items."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing.\nA row of {_results_beside(path)} gives the score of these items, "
            "and intervals need the items themselves.\nEvaluate the stage again to write both."
        )
    ids: dict[str, None] = {}
    sums: list[tuple[float, float]] = []
    wholes: list[tuple[float, float]] = []
    rankings: list[Sequence[int]] = []
    for number, fields in read_lines(path):
        name, ratio = fields.get("id"), _ratio(fields.get(metric))
        said = next((other for other in WHOLE if other in fields), metric)
        whole = ratio if said == metric else _ratio(fields[said])
        if not isinstance(name, str) or ratio is None or whole is None:
            allowed = f'{{"id": a string, "{metric}": [numerator, denominator], ...}}, 0 or more each'
            raise broken_line(str(path), number, f"{json.dumps(fields)} is not an item of {metric}", allowed)
        if name in ids:
            raise broken_line(str(path), number, f"id '{name}' is there a second time", "one line per item")
        if "ranking" in fields:
            rankings.append(_ranking(fields["ranking"], path, number))
        ids[name] = None
        sums.append(ratio)
        wholes.append(whole)
        if len(rankings) not in (0, len(ids)):
            raise broken_line(str(path), number, "rankings of some items only", "a ranking in every line, or in none")
    if not sums:
        raise DataError(f"{path} is empty.\nA scored cell has at least one item. Evaluate the stage again.")
    num_N, den_N = np.array(sums, float).T
    right_N = np.array([numerator >= denominator for numerator, denominator in wholes])
    answers = [ranking[0] for ranking in rankings] if rankings else _submitted(path)
    return Items(path, tuple(ids), num_N, den_N, right_N, _padded(rankings), _largest_share(answers))


def read_lines(path: pathlib.Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yields the objects of a JSON-lines file and their line numbers, counted from 1."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise broken_line(str(path), number, f"not JSON ({error})", "one JSON object per line") from error
        if not isinstance(fields, dict):
            raise broken_line(str(path), number, "not a JSON object", "one JSON object per line")
        yield number, fields


def _ratio(pair: Any) -> tuple[float, float] | None:
    """The numerator and denominator, if it is a pair of finite numbers of which none is negative."""
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in pair):
        return None
    return float(pair[0]), float(pair[1])


def _ranking(found: Any, path: pathlib.Path, number: int) -> Sequence[int]:
    if not isinstance(found, list) or not found or sorted(found, key=str) != sorted(range(len(found)), key=str):
        allowed = "the numbers of all candidates, 0 to one less than their count, each once, the best first"
        raise broken_line(str(path), number, f"ranking {json.dumps(found)} is not an order of candidates", allowed)
    return found


def _padded(rankings: Sequence[Sequence[int]]) -> np.ndarray | None:
    if not rankings:
        return None
    ranking_NxC = np.full((len(rankings), max(map(len, rankings))), -1)
    for row, ranking in zip(ranking_NxC, rankings, strict=True):
        row[: len(ranking)] = ranking
    return ranking_NxC


def _largest_share(answers: Sequence[Any]) -> float | None:
    """Returns how large a share of the answers the most frequent one has; None of too few to say."""
    if len(answers) < FEWEST_ANSWERS:
        return None
    return collections.Counter(answers).most_common(1)[0][1] / len(answers)


def _submitted(items: pathlib.Path) -> Sequence[str]:
    """Returns the answers of the file beside the items: lines of a table, or values of a JSON object.

    For tagged sentences these are tags. Nothing where the file is not there or has answers of another form, such as
    a list of candidates: what cannot be alike for all items by accident of its form is not looked for.
    """
    stem = items.name.removesuffix(".items.jsonl")
    table, answers = items.with_name(f"{stem}.tsv"), items.with_name(f"{stem}.json")
    if table.is_file():
        return [line for line in table.read_text(encoding="utf-8").splitlines() if line]
    if not answers.is_file():
        return ()
    try:
        found = json.loads(answers.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{answers} is not JSON ({error}).\nEvaluate the stage again to write it.") from error
    return [answer for answer in found.values() if isinstance(answer, str)] if isinstance(found, dict) else ()


def _results_beside(items: pathlib.Path) -> pathlib.Path:
    return items.parents[2] / "results.jsonl"
