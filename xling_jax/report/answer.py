"""The answer to an experiment's question, in one sentence with its interval."""

import dataclasses
from collections.abc import Sequence

from xling_jax.errors import DataError
from xling_jax.report.aggregate import columns
from xling_jax.report.claims import NOT_SUPPORTED, SUPPORTED, UNDECIDED, judge
from xling_jax.report.collapse import whole_runs
from xling_jax.report.collect import Collected
from xling_jax.report.intervals import average, compare, gain_weights, measured
from xling_jax.report.power import advice
from xling_jax.report.record import Record
from xling_jax.report.statistics import Estimate, contrast
from xling_jax.report.table import Number, count

UNANSWERED, UNASKED = "cells missing", "scores only"
SIGNS = {SUPPORTED: "✓", UNDECIDED: "?", NOT_SUPPORTED: "✗"}  # beside the words, the best first


@dataclasses.dataclass(frozen=True)
class Answer:
    """The headline comparison in a sentence. `verdict` speaks of the first arm being the better one."""

    sentence: str
    verdict: str
    number: Number | None
    remarks: tuple[str, ...] = ()


def answer(collected: Collected) -> Answer:
    """Returns the answer to the experiment's question: the zero-shot mean of the headline comparison."""
    record, headline = collected.record, collected.record.headline
    if headline is None:
        return Answer("No comparison is declared to answer the question.", UNASKED, None, ())
    target, (first, second) = record.target(headline.target), headline.comparison
    column = next((column for column in columns(record, target) if column.kind == "mean"), None)
    if column is None:
        raise DataError(
            f"Experiment '{record.name}' has no answer: target '{target.name}' has no zero-shot language.\n"
            f"Found {' '.join(target.languages)}; the source language is {record.source_language}.\n"
            "Name another target in the headline of the config."
        )
    (number,) = compare(collected, target, (first, second), [column])
    what = f"{first} minus {second} on {target.name}, mean over {count(column.languages, 'zero-shot language')}"
    if number.value is None or number.low is None or number.high is None:
        return Answer(
            f"{what}: cannot be said yet, cells are missing.", UNANSWERED, number, (f"Missing: {number.note}.",)
        )
    runs = trained_pairs(record, headline.comparison, target.name)
    weights = gain_weights(record.name, target.name, (first, second), average(column.languages))
    found = contrast(measured([collected], weights, record.seeds), weights)
    verdict = judge(found, runs).verdict
    left = whole_runs(collected, target, (first, second))
    (rest,) = compare(collected, target, (first, second), [column], left) if left != record.seeds else (None,)
    sentence = (
        f"{what}: {number.value:+.1f} points, 95% interval [{number.low:.1f}, {number.high:.1f}], "
        f"{count(record.seeds, 'seed')}: {verdict}."
    )
    remarks = (*_collapsed(record, left, rest), *_remarks(record, runs, found, verdict))
    return Answer(sentence, verdict, number, remarks)


def trained_pairs(record: Record, pair: tuple[str, str], target: str) -> int:
    """Returns how many different pairs of models the seeds of a comparison are; shared stages count once."""
    stage = {(cell.arm, cell.seed): cell.stage for cell in record.cells if cell.target == target}
    return len({tuple(stage.get((arm, seed)) for arm in pair) for seed in record.seeds})


def _collapsed(record: Record, left: Sequence[int], rest: Number | None) -> tuple[str, ...]:
    """Returns what to say of seeds that gave one answer to all items of the source language."""
    if rest is None:
        return ()
    gone = [str(seed) for seed in record.seeds if seed not in left]
    which = f"Collapsed in one of the two arms: seed{'s' if len(gone) > 1 else ''} {', '.join(gone)}."
    if rest.value is None or rest.low is None or rest.high is None:
        return (f"{which} No other seed is left.",)
    return (f"{which} Without: {rest.value:+.1f} points, 95% interval [{rest.low:.1f}, {rest.high:.1f}].",)


def _remarks(record: Record, runs: int, found: Estimate, verdict: str) -> tuple[str, ...]:
    remarks = []
    if runs < 2:
        remarks.append("One pair of models: the interval speaks of the test items, not of training again.")
    elif runs == 2:
        remarks.append(
            "With 2 trained pairs the noise of training is known from one difference: the interval allows for that, "
            "and may be several times as wide as that of 4 pairs would be."
        )
    if verdict == UNDECIDED and runs > 1:
        remarks.append(advice(found.value, found.noise))
    if len(record.comparisons) > 1:
        remarks.append("The other intervals are one by one: of many, one in twenty misses by chance.")
    return tuple(remarks)
