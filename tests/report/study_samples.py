"""A study as whoever analyses one would hand it in: two experiments that share their stages, every kind of drawing."""

import json

import numpy as np
from work_folders import Workdir

from xling_jax.goodput import Goodput
from xling_jax.report.answer import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Answer
from xling_jax.report.collect import collect
from xling_jax.report.contents import build_experiment
from xling_jax.report.study_figures import (
    Band,
    Plane,
    Point,
    Series,
    curve_plot,
    panels,
    pareto_plot,
    regression_plot,
    step_lines,
    transfer_matrix,
)
from xling_jax.report.study_report import Claim, Section, StudyReport, build_origins
from xling_jax.report.table import Column, Number, Row, Table

TASKS = ("qa", "nli", "panx", "pos")
MATRIX = ((None, 1.25, -0.5, 2.0), (10.5, None, 0.25, -3.0), (9.5, -1.0, None, 0.75), (100.0, None, -12.0, None))
LANGUAGES = "qnd qda qms qdt qza".split()
TIME = Goodput({"steps": 90.0, "compile": 10.0}, 2, 0, 3, 1)


def matrix() -> Table:
    """Gains that sort one way by value and another by text; the fourth row lacks a cell, the diagonal has none."""
    rows = []
    for label, values in zip(TASKS, MATRIX, strict=True):
        numbers = [Number(value, state="none") if value is None else Number(value) for value in values]
        if label == "pos":
            numbers[1] = Number(None, state="missing", note="seed 1 qda")
        rows.append(Row(label, "gain", tuple(numbers)))
    columns = tuple(Column(task, "target", (), "gain") for task in TASKS)
    floor = Row("mean", "bound", tuple(Number(50.0) for _ in TASKS))
    return Table("matrix", "Transfer", "Gain over none, in points.", columns, (*rows, floor), names="intermediate task")


def series(label: str, slope: float) -> Series:
    x, fine = np.array([1.0, 2, 4, 8]), np.geomspace(1, 8, 20)
    y, line = slope * np.log2(x) + np.array([0.2, -0.3, 0.1, 0.2]), slope * np.log2(fine)
    return Series(label, x, y, y - 1, y + 1, Band(fine, line, line - 0.5, line + 0.5))


def points() -> list[Point]:
    found = [("base", 1.0, 50.0), ("large", 3.0, 60.0), ("other", 3.2, 59.0), ("xl", 10.0, 58.0), ("xxl", 90.0, 70.0)]
    return [Point(name, x, y, y - 2, y + 2) for name, x, y in found]


def sections() -> tuple[Section, ...]:
    slopes = {language: [series("total", 1 - place / 4), series("each", 1)] for place, language in enumerate(LANGUAGES)}
    steps = np.arange(0.0, 1000, 10)
    learned = {f"layer {k}": [Series(c, steps, 90 - 50 * np.exp(-steps / 200)) for c in LANGUAGES] for k in (0, 2)}
    far = [Point(code, 0.2 + 0.1 * place, 5.0 - place) for place, code in enumerate(LANGUAGES)]
    fit = Band(np.array([0.2, 0.6]), np.array([5.0, 1.0]), np.array([4.0, 0.0]), np.array([6.0, 2.0]))
    plane = Plane("languages", "gain, points", log_x=True, zero=True)
    drawings = (
        curve_plot("s-curve", "Gain by number of languages.", [series("total", 1), series("each", 2)], plane),
        panels("s-panels", "The same in each language.", slopes, plane),
        pareto_plot("s-pareto", "Score by cost.", points(), Plane("cost, USD", "score", log_x=True)),
        regression_plot("s-far", "Gain by distance.", far, fit, Plane("distance", "gain, points")),
        step_lines("s-steps", "Alignment while training.", learned, "retrieval, %"),
    )
    transfer = Section("Transfer", (matrix(),), (transfer_matrix("s-matrix", matrix(), {("nli", "qa")}),))
    return transfer, Section("Curves", (), drawings, "What the lines say.")


def sample_study(workdir: Workdir) -> StudyReport:
    """Returns the study of two experiments in one work folder."""
    other = json.loads(workdir.record().read_text()) | {"name": "second", "question": "And once more?"}
    workdir.record("second").write_text(json.dumps(other))
    experiments = tuple(build_experiment(collected) for collected in collect([workdir.path]))
    records = [experiment.record for experiment in experiments]
    number = Number(3.25, 1.0, 5.5, 1.1)
    return StudyReport(
        name="intermediate",
        question="Which intermediate task helps <which> target?",
        size="test",
        synthetic=True,
        answers=(Answer("qa helps panx: +3.2 points, 95% interval [1.0, 5.5]: supported.", SUPPORTED, number, ()),),
        claims=(
            Claim("qa helps panx", SUPPORTED, number, np.float64(0.004)),  # as SciPy gives it
            Claim("nli helps qa", UNDECIDED, Number(0.5, -1.0, 2.0, 0.8), 0.6),
            Claim("pos helps panx", NOT_SUPPORTED, Number(-12.0, -15.0, -9.0, 1.5), 0.001),
        ),
        claims_note="Adjusted by Holm's method over 3 claims.",
        sections=sections(),
        experiments=experiments,
        origins=build_origins(records, {"tiny": TIME}, {"tiny": "0.12 USD"}),
        command="xling study --config=configs/studies/english_intermediate.py:test",
        versions={"numpy": "2"},
        machine="2 cores",
        date="2025-01-01",
        time=TIME,
        cost="0.20 USD on v5e-4",
    )
