"""What an analysis finds: claims with their numbers, the sentence that answers, tables and drawings."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from xling_jax.report.analyses.evidence import RATE, Judged, estimates, judge, over_replicates
from xling_jax.report.analyses.weights import Weights, models, seeds_of, whole_seeds
from xling_jax.report.answer import UNANSWERED, Answer
from xling_jax.report.claims import UNDECIDED
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.study_report import Claim, Section
from xling_jax.report.table import Column, Number, Row, Table, count

ONE_MODEL = "One set of models: the interval speaks of the test items, not of training again."
GAIN, INTERVAL, VALUE = "gain", "interval", "value"  # kinds of columns
POINTS = "points"


@dataclasses.dataclass(frozen=True)
class Draft:
    """A claim before it is decided: that a sum of scores lies above 0, or no further below than a margin.

    `unit` is that of the sum. `least_p`: what its p-value is at least, where another test has one. `drawn`: sums of
    which the claim's is the mean, if they are a sample of what might have been drawn: then it speaks of others, too.
    """

    text: str
    weights: Weights
    unit: str = POINTS
    margin: float = 0.0
    least_p: float | None = None
    drawn: tuple[Weights, ...] = ()


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an analysis has to say. `missing` are sentences on what it could not say, and why."""

    answer: Answer
    claims: tuple[Claim, ...] = ()
    sections: tuple[Section, ...] = ()
    missing: tuple[str, ...] = ()


def decide(study: CollectedStudy, drafts: Sequence[Draft], headline: bool = True) -> tuple[Claim, ...]:
    """Returns claims with their verdicts. The first, if it was declared to be the headline, stands alone.

    The others are a family: what is chosen among them to answer was not declared before.
    """
    found = [
        over_replicates(study, draft.drawn) if draft.drawn else estimates(study, [draft.weights])[0] for draft in drafts
    ]
    judged = judge(found, [draft.margin for draft in drafts], alone=headline)
    return tuple(_claim(*pair) for pair in zip(drafts, judged, strict=True))


def _claim(draft: Draft, judged: Judged) -> Claim:
    verdict, adjusted = judged.verdict, judged.adjusted
    if draft.least_p is not None and adjusted is not None:
        adjusted = max(adjusted, draft.least_p)
        verdict = UNDECIDED if adjusted > RATE else verdict
    text = draft.text if draft.unit == POINTS else f"{draft.text}, in {draft.unit}"
    return Claim(text, verdict, judged.number, adjusted, judged.needed, judged.advice)


def answer_of(study: CollectedStudy, draft: Draft, claim: Claim, remarks: Iterable[str] = ()) -> Answer:
    """Returns the sentence of a claim: what, its number and interval, seeds, verdict; and what goes with it."""
    number, seeds = claim.number, seeds_of(study, draft.weights)
    if number.value is None or number.low is None or number.high is None:
        why = f"Missing: {number.note}." if number.note else "Nothing is measured yet."
        return Answer(f"{draft.text}: cannot be said yet, cells are missing.", UNANSWERED, number, (why, *remarks))
    sentence = f"{draft.text}: {said(number, draft.unit)}, {count(seeds, 'seed')}: {claim.verdict}."
    runs = models(study, draft.weights, seeds)
    few = [ONE_MODEL] if runs < 2 else [claim.advice] if claim.advice else []
    return Answer(sentence, claim.verdict, number, (*few, *without_collapsed(study, draft), *remarks))


def summary(draft: Draft, claim: Claim) -> str:
    """Returns a claim as a remark: what, its number and its corrected interval, the verdict."""
    number = claim.number
    if number.value is None or number.low is None or number.high is None:
        return f"{draft.text}: cannot be said yet, cells are missing."
    return f"{draft.text}: {number.value:+.1f} {draft.unit} [{number.low:.1f}, {number.high:.1f}]: {claim.verdict}."


def in_points(number: float) -> str:
    """Returns "1 point", "2.5 points"."""
    return f"{number:g} point" if number == 1 else f"{number:g} {POINTS}"


def said(number: Number, unit: str = POINTS) -> str:
    """Returns "+3.4 points, 95% interval [1.2, 5.6]"."""
    digits = number.digits
    return f"{number.value:+.{digits}f} {unit}, 95% interval [{number.low:.{digits}f}, {number.high:.{digits}f}]"


def without_collapsed(study: CollectedStudy, draft: Draft) -> tuple[str, ...]:
    """Returns what a number is without the seeds of which any run collapsed; nothing if none did."""
    seeds, left = seeds_of(study, draft.weights), whole_seeds(study, draft.weights)
    if left == seeds:
        return ()
    gone = ", ".join(str(seed) for seed in seeds if seed not in left)
    which = f"Collapsed in some arm: seed{'s' if len(seeds) - len(left) > 1 else ''} {gone}."
    (rest,) = estimates(study, [draft.weights], left) if left else (None,)
    if rest is None or rest.number.value is None or rest.number.low is None:
        return (f"{which} No other seed is left.",)
    return (f"{which} Without: {said(rest.number, draft.unit)}.",)


def collapsed_table(study: CollectedStudy, drafts: Sequence[Draft], claims: Sequence[Claim]) -> Table:
    """Returns the claims that rest on a collapsed seed, with and without such seeds."""
    rows = []
    for draft, claim in zip(drafts, claims, strict=True):
        left = whole_seeds(study, draft.weights)
        if left == seeds_of(study, draft.weights):
            continue
        numbers = [estimate.number for estimate in estimates(study, [draft.weights], left)] if left else []
        rows.append(Row(draft.text, VALUE, (claim.number, *(numbers or [Number(None, state="none")]))))
    note = (
        "A seed that gives one answer to practically all items of the source language has collapsed. The claims keep "
        "it, as leaving it out would be a choice made after the scores are known."
    )
    columns = (Column("all seeds", "", (), GAIN), Column("without collapsed seeds", "", (), GAIN))
    return Table("collapsed", "Claims without collapsed seeds", note, columns, tuple(rows), names="claim")


def grid(
    name: str,
    title: str,
    note: str,
    rows: Mapping[str, Mapping[str, Number]],
    *,
    kind: str = GAIN,
    kinds: Mapping[str, str] | None = None,
    names: str = "name",
) -> Table:
    """Returns a table of rows by columns, each by its label; columns in the order they are met, gaps as "–".

    Args:
      name: of the table in files.
      title: above it.
      note: below its title.
      rows: by label, their numbers by the label of the column.
      kind: of all columns, if `kinds` does not say another for one.
      kinds: of single columns, by label.
      names: what the rows are.
    """
    labels = list(dict.fromkeys(label for numbers in rows.values() for label in numbers))
    columns = tuple(Column(label, "", (), (kinds or {}).get(label, kind)) for label in labels)
    empty = Number(None, state="none")
    made = tuple(Row(row, VALUE, tuple(found.get(label, empty) for label in labels)) for row, found in rows.items())
    return Table(name, title, note, columns, made, names=names)
