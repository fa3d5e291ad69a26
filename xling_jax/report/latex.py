r"""Tables as LaTeX: one file that pdflatex takes as it is, one table environment for each table, to copy into a paper.

Needs booktabs and graphicx, which every distribution has. A table that is wider than the text is made smaller. What
pdflatex has no letter for is written as its number, as in [U+0431]: a table that does not compile is of no use.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from xling_jax.report.answer import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from xling_jax.report.plain import legend, number_kind, range_text, value_text
from xling_jax.report.table import VERDICT, Column, Number, Row, Table

PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
"""
# A table in its own width, or in that of the text where that is less.
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
SIGNS = {SUPPORTED: r"$\surd$", UNDECIDED: "?", NOT_SUPPORTED: r"$\times$"}
WORDS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "[": "{[}",  # after \\ and after a command it would begin an option
    "]": "{]}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
}


def document(tables: Iterable[tuple[str, str, Table]]) -> str:
    """Returns the whole file; `tables` with their owner, a study or experiment, and their target, or ""."""
    parts = []
    for place, (owner, target, table) in enumerate(tables):
        parts.append(environment(table, "-".join(filter(None, ("tab:" + owner, target, table.name))), owner))
        if place % 8 == 7:
            parts.append("\\clearpage\n")  # LaTeX holds no more than a few tables back
    return PREAMBLE + "\n".join(parts) + "\\end{document}\n"


def environment(table: Table, label: str, owner: str = "") -> str:
    """Returns a table as a table environment: caption, groups and columns in the head, bounds last, note below."""
    groups = [(group, len(list(cols))) for group, cols in itertools.groupby(c.group for c in table.columns)]
    body = [row for row in table.rows if row.kind != "bound"]
    bounds = [row for row in table.rows if row.kind == "bound"]
    lines = [r"\toprule", *(_groups(groups) if any(group for group, _ in groups) else [])]
    lines += [_line(["", *(escape(column.label) for column in table.columns)]), r"\midrule"]
    lines += [_row(row, table.columns) for row in body]
    lines += [r"\midrule", *(_row(row, table.columns) for row in bounds)] if bounds else []
    caption = escape(": ".join(filter(None, (owner, table.title))))
    note = " ".join(escape(words) for words in (table.note, *legend(table)))
    inside = [
        f"\\caption{{{caption}}}",
        f"\\label{{{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}",
        FIT,
        f"\\begin{{tabular}}{{l{''.join('l' if column.kind == VERDICT else 'r' for column in table.columns)}}}",
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        *([f"\\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {note}}}"] if note else []),
    ]
    return "\\begin{table}[htbp]\n\\centering\n" + "\n".join(inside) + "\n\\end{table}\n"


def escape(text: str) -> str:
    """Returns text that LaTeX prints as it is, in one line."""
    return "".join(map(_character, " ".join(unicodedata.normalize("NFC", text).split())))


def _character(character: str) -> str:
    if character in WORDS:
        return WORDS[character]
    if character.isascii() or ("À" <= character <= "ž" and character not in "ĦħĸŉĿŀŦŧ"):  # what T1 fonts have
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _groups(groups: Sequence[tuple[str, int]]) -> Iterable[str]:
    yield _line(["", *(f"\\multicolumn{{{size}}}{{c}}{{{escape(group)}}}" for group, size in groups)])
    last = 1
    for group, size in groups:
        first, last = last + 1, last + size
        if group:
            yield f"\\cmidrule(lr){{{first}-{last}}}"


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = [_cell(number, row, column) for number, column in zip(row.numbers, columns, strict=True)]
    return _line([escape(row.label), *cells])


def _cell(number: Number, row: Row, column: Column) -> str:
    kind = number_kind(row, column)
    if column.kind == VERDICT:
        return " ".join(filter(None, (SIGNS.get(number.state, ""), escape(number.state))))
    text, below = value_text(number, kind), range_text(number, kind)
    text = _minus(escape(text)) if number.value is not None else escape(text)
    return f"{text} {{\\scriptsize {_minus(escape(below))}}}" if below else text


def _minus(text: str) -> str:
    """Returns a number with a minus for its hyphen; "--" between two numbers stays."""
    return re.sub(r"(?<!-)-(?=\d)", "$-$", text)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
