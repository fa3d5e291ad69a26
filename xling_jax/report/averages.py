"""Averages over kinds of languages, and how far zero-shot languages lie behind the source language.

Families, scripts and resource classes are columns of `tables/languages.py`. They go together (languages of a family
share a script, and those of the largest families have most data), so an average describes and explains nothing.
"""

from collections.abc import Sequence

from xling_jax.report.aggregate import bound_rows, mark_floor, mean_score
from xling_jax.report.collapse import Runs
from xling_jax.report.collect import Collected
from xling_jax.report.intervals import average, intervals
from xling_jax.report.record import Record, Target
from xling_jax.report.table import NONE, Column, Row, Table, count
from xling_jax.tables.languages import LANGUAGES

UNKNOWN = "unknown"
# How languages are told apart, and the column of their table that does.
KINDS = {"family": "family", "script": "script", "resource class": "resources"}

RESOURCES_NOTE = (
    " Resource classes, 0 to 5, are those of Joshi et al. 2020 (arXiv 2004.09095), unknown where their list does not "
    "settle it."
)


def zero_shot(record: Record, target: Target) -> tuple[str, ...]:
    """Returns the languages of a target that no arm was given labels in to train the target on."""
    return tuple(code for code in target.languages if code != record.source_language)


def language_kinds(codes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the languages of each family, script and resource class, by a label that says how many they are."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, field in KINDS.items():
        values = [_value(code, field) for code in codes]
        if set(values) == {UNKNOWN}:
            continue
        for value in sorted(set(values), key=lambda value: (value == UNKNOWN, value)):
            members = tuple(code for code, other in zip(codes, values, strict=True) if other == value)
            alone = f": {members[0]}" if len(members) == 1 else ""
            found[f"{kind} {value} ({len(members)}{alone})"] = members
    return found


def kinds_table(collected: Collected, target: Target) -> Table:
    """Returns families, scripts and resource classes by arms: mean scores, and gains over the baseline."""
    record = collected.record
    kinds = language_kinds(zero_shot(record, target))
    arms = tuple(Column(arm, "mean over languages", (), "value") for arm in record.arms)
    others = [arm for arm in record.arms if arm != record.baseline]
    gained = tuple(Column(f"{arm} − {record.baseline}", "gain", (), "gain") for arm in others)
    sets = [Column(label, "", codes, "group") for label, codes in kinds.items()]
    floors = bound_rows(collected.scores, target, sets)[0].numbers
    averages = [average(codes) for codes in kinds.values()]
    gains = [intervals(collected, target, (arm, record.baseline), averages) for arm in others if kinds]
    rows = []
    for place, (label, codes) in enumerate(kinds.items()):
        runs = [Runs(arm, record.seeds) for arm in record.arms]
        scores = [mark_floor(mean_score(collected.scores, target, run, codes), floors[place]) for run in runs]
        rows.append(Row(label, "value", (floors[place], *scores, *(numbers[place] for numbers in gains))))
    source = RESOURCES_NOTE if any(label.startswith("resource") for label in kinds) else ""
    note = (
        f"{target.metric} in percent and gains in points with 95% intervals, averaged over zero-shot languages; in "
        "brackets how many, and a single one by name. Families, scripts and resources go together: these averages "
        f"describe, and explain nothing.{source}"
    )
    cols = (Column("floor", "", (), "value"), *arms, *gained)
    return Table("languages", f"{target.name}: families, scripts, resources", note, cols, tuple(rows))


def gap_table(collected: Collected, target: Target) -> Table:
    """Returns for each arm how far the mean of the zero-shot languages lies behind the source language."""
    record, codes = collected.record, zero_shot(collected.record, target)
    source = record.source_language
    labels = ("gap", f"gap − that of {record.baseline}")
    cols = (
        *(Column(label, "score", (), "value") for label in (source, "zero-shot")),
        *(Column(label, "points", (), "gain") for label in labels),
    )
    rows = []
    for arm in record.arms if codes and source in target.languages else ():
        weights = [{source: 1.0} | dict.fromkeys(codes, -1 / len(codes))]
        runs = Runs(arm, record.seeds)
        scores = [mean_score(collected.scores, target, runs, those) for those in ((source,), codes)]
        changes = intervals(collected, target, (arm, record.baseline), weights) if arm != record.baseline else (NONE,)
        rows.append(Row(arm, "value", (*scores, *intervals(collected, target, (arm,), weights), *changes)))
    note = (
        f"{target.metric} in {source} minus its mean over {count(codes, 'zero-shot language')}, in points with "
        "95% intervals: the cross-lingual transfer gap of XTREME (Hu et al. 2020, arXiv 2003.11080). It also shrinks "
        "where the source language gets worse."
    )
    return Table("gap", f"{target.name}: gap to {source}", note, cols, tuple(rows))


def _value(code: str, field: str) -> str:
    found = getattr(LANGUAGES[code], field) if code in LANGUAGES else None
    return UNKNOWN if found is None else str(found)
