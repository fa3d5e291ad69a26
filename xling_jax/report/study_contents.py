"""What the report shows of a study: its answer by the method it declares, then what every study has."""

import dataclasses
from collections.abc import Callable

from xling_jax.report.analyses import batch, curve, interaction, matrix, pareto, regression
from xling_jax.report.analyses.findings import Findings
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.contents import build_experiment
from xling_jax.report.forgetting import forgetting_table
from xling_jax.report.study_alignment import alignment_section
from xling_jax.report.study_report import Section, StudyReport, build_origins
from xling_jax.report.table import Column, Number, Row, Table, listed

METHODS: dict[str, Callable[[CollectedStudy], Findings]] = {
    "matrix": matrix.answer,
    "curve": curve.answer,
    "batch": batch.answer,
    "pareto": pareto.answer,
    "interaction": interaction.answer,
    "regression": regression.answer,
}
CLAIMS_NOTE = (
    "Each claim is that its estimate lies above 0, or no further below than it names. The claim that answers, where it "
    "was declared before, stands alone, with its 95% interval. The others are judged together: of those that are "
    "decided 5% are expected to be false (Benjamini and Hochberg 1995), and their intervals are as much wider "
    "(Benjamini and Yekutieli 2005). What would settle an undecided one: seeds that see what is "
    "estimated in 4 of 5 repetitions."
)


def build_study(study: CollectedStudy) -> StudyReport:
    """Returns a study's answer, claims, tables and drawings, and the reports of its experiments."""
    record = study.record
    findings = METHODS[record.analysis.method](study)
    missing = (*_missing(study), *findings.missing)
    answer = dataclasses.replace(findings.answer, remarks=(*findings.answer.remarks, *missing))
    sections = (*findings.sections, alignment_section(study), _forgetting(study), _stages(study))
    return StudyReport(
        record.name,
        record.question,
        record.size,
        record.synthetic,
        (answer,),
        findings.claims,
        CLAIMS_NOTE,
        tuple(kept for section in sections if (kept := _filled(section))),
        tuple(build_experiment(collected) for collected in study.experiments.values()),
        build_origins(study.records),
        record.command,
        record.versions,
        record.machine,
        record.date,
        study.time,
    )


def _missing(study: CollectedStudy) -> list[str]:
    """Returns the sentences on what an unfinished study has not done yet."""
    found = []
    if study.absent:
        found.append(f"Not begun: {listed(study.absent)}, of {len(study.record.experiments)} experiments.")
    found += [f"Failed: {name}: {error}" for name, error in study.failed.items()]
    stages = study.unfinished()
    if stages:
        found.append(f"Not done: {listed(stages)}, of {study.counts.different} stages.")
    return found


def _filled(section: Section) -> Section | None:
    """Returns a section without its empty tables; None if nothing is left."""
    kept = dataclasses.replace(section, tables=tuple(table for table in section.tables if table.rows))
    return kept if kept.tables or kept.drawings or (kept.note and not section.tables) else None


def _forgetting(study: CollectedStudy) -> Section:
    """Returns what later stages cost earlier tasks, of all experiments in one table; rows that are alike once."""
    rows: dict[tuple, Row] = {}
    table = None
    for name, collected in study.experiments.items():
        table = forgetting_table(collected)
        for row in table.rows:
            label = row.label if len(study.record.experiments) == 1 else f"{name}: {row.label}"
            rows.setdefault((row.label, row.numbers), dataclasses.replace(row, label=label))
    tables = (dataclasses.replace(table, rows=tuple(rows.values())),) if table else ()
    return Section("Forgetting", tables)


def _stages(study: CollectedStudy) -> Section:
    """Returns how many stages were asked for and how many were trained, and what time the study took."""
    counts = study.counts
    shared = counts.asked - counts.different
    note = (
        f"The experiments declare {counts.asked} stages one by one; {counts.different} of them are different, and each "
        f"was trained once for all that share it: {shared} trainings were saved. If every arm, seed and target began "
        f"by itself, there were {counts.alone}."
    )
    if counts.begun_again:
        note += f" {counts.begun_again} began from their start again, as they were ended before their first checkpoint."
    numbers: dict[str, Number] = {
        "declared": Number(counts.asked, digits=0),
        "different": Number(counts.different, digits=0),
        "by themselves": Number(counts.alone, digits=0),
        "done": Number(counts.done, digits=0),
    }
    if study.time and study.time.wall:
        numbers |= {"wall seconds": Number(study.time.wall, digits=0), "% goodput": Number(100 * study.time.goodput)}
    columns = tuple(Column(label, "", (), "value") for label in numbers)
    table = Table("stages", "Stages", note, columns, (Row("all experiments", "value", tuple(numbers.values())),))
    return Section("Stages and time", (table,))
