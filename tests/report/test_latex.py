"""Tables as LaTeX: nothing unescaped, everything closed, as many cells in each line as there are columns."""

import re

import pytest
from study_samples import matrix, sample_study
from work_folders import collected_from

from xling_jax.report.aggregate import score_table
from xling_jax.report.latex import document, environment, escape
from xling_jax.report.render import write_study
from xling_jax.report.table import Column, Number, Row, Table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (r"100 % of a_b & #1 {x} $y ~z ^w", r"100 \% of a\_b \& \#1 \{x\} \$y \textasciitilde{}z \textasciicircum{}w"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("a − b: 1–2 †", r"a $-$ b: 1--2 \dag{}"),
        ("<which> | [1.0]", r"\textless{}which\textgreater{} \textbar{} {[}1.0{]}"),
        ("qué añejo Łódź", "qué añejo Łódź"),
        ("бг ☃ ⅔", "{[}U+0431{]}{[}U+0433{]} {[}U+2603{]} {[}U+2154{]}"),
        ("two\n\nlines", "two lines"),
        ("e\u0301", "é"),
    ],
)
def test_escapes(text, escaped):
    assert escape(text) == escaped


def rows(text):
    """Returns the lines of a tabular that are rows."""
    inside = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in inside.splitlines() if line.endswith(r" \\")]


def test_a_table(make_workdir):
    table = score_table(*collected_from(make_workdir()))
    text = environment(table, "tab:tiny-qa2-scores", "tiny")
    assert rows(text) == [
        r" & \multicolumn{1}{c}{source} & \multicolumn{1}{c}{near} & \multicolumn{1}{c}{distant} & "
        r"\multicolumn{2}{c}{mean of group} & \multicolumn{1}{c}{mean} \\",
        r" & qen & qnd & qda & near & distant & zero-shot \\",
        r"none & 87.5 {\scriptsize 75.0--100.0} & 37.5 {\scriptsize 25.0--50.0} & 12.5\dag{} {\scriptsize 0.0--25.0} & "
        r"37.5 {\scriptsize 25.0--50.0} & 12.5\dag{} {\scriptsize 0.0--25.0} & 25.0 \\",
        r"english & 100.0 & 62.5 {\scriptsize 50.0--75.0} & 25.0 & 62.5 {\scriptsize 50.0--75.0} & 25.0 & "
        r"43.8 {\scriptsize 37.5--50.0} \\",
        r"multilingual & 100.0 & 87.5 {\scriptsize 75.0--100.0} & 75.0 & 87.5 {\scriptsize 75.0--100.0} & 75.0 & "
        r"81.2 {\scriptsize 75.0--87.5} \\",
        r"floor & 30.0 & 20.0 & 15.0 & 20.0 & 15.0 & 17.5 \\",
    ]
    before_floor = text[: text.index("floor &")].splitlines()
    assert before_floor[-1] == r"\midrule", "bounds stand apart"
    assert r"\cmidrule(lr){2-2}" in text and r"\cmidrule(lr){5-6}" in text and r"\cmidrule(lr){7-7}" in text
    assert r"\begin{tabular}{lrrrrrr}" in text
    assert r"\caption{tiny: qa2: scores}" in text and r"\label{tab:tiny-qa2-scores}" in text
    assert r"\dag{} not better than the floor." in text


def test_intervals_and_what_is_missing():
    text = environment(matrix(), "tab:m")
    assert r"pos & +100.0 & missing {\scriptsize seed 1 qda} & $-$12.0 & -- \\" in text
    number = Number(-3.0, -4.25, -1.0)
    table = Table("t", "t", "", (Column("a", "", (), "gain"),), (Row("x", "gain", (number,)),))
    assert r"x & $-$3.0 {\scriptsize {[}$-$4.2, $-$1.0{]}} \\" in environment(table, "tab:t")
    assert "cmidrule" not in environment(table, "tab:t"), "there are no groups"


def balanced(text):
    """Says if braces, environments and mathematics that were opened are closed, in order."""
    bare = re.sub(r"\\[\\{}$%&#_]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return depth == 0 and not opened and all(line.count("$") % 2 == 0 for line in bare.splitlines())


def test_the_file_of_a_study(make_workdir, tmp_path):
    report = write_study(sample_study(make_workdir()), tmp_path)
    text = (report.out / "tables.tex").read_text()
    assert text.startswith("\\documentclass") and text.endswith("\\end{document}\n")
    assert balanced(text)
    assert text.isascii(), "the sample needs no letter beyond"
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)
    own = 2 + 2 * 5  # claims and matrix; five tables of each experiment
    assert len(tables) == own
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == own and "tab:second-qa2-scores" in labels
    for table in tables:
        columns = len(re.findall(r"\\begin\{tabular\}\{(\w+)\}", table)[0])
        for row in rows(table):
            spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + spans == columns, row
        comments = [line for line in table.splitlines() if re.search(r"(?<!\\)%.", line)]
        assert not comments, "a percent sign that hides the rest of its line"
    assert r"nli helps qa & +0.5 {\scriptsize {[}$-$1.0, 2.0{]}} & 0.600 & ? undecided at this size \\" in text
    assert r"& $\surd$ supported \\" in text and r"& $\times$ not supported \\" in text


def test_balance_is_seen():
    for wrong in ("{", "}{", r"\begin{a}\begin{b}\end{a}\end{b}", "$x", r"\begin{a}"):
        assert not balanced(wrong)
    assert balanced(r"\{ \begin{a}{x}$y$\end{a}")


def test_tables_are_let_go_now_and_then():
    """LaTeX stops with "too many unprocessed floats" else."""
    text = document(("e", "", matrix()) for _ in range(17))
    assert text.count("\\clearpage") == 2
