"""Makes the notebooks that Colab opens of the scripts beside this file.

    python notebooks/build.py

A script has its cells behind lines "# %%", those of text behind "# %% [markdown]", where each line is a comment. What
stands above the first of them is for who reads the script. Outputs are not kept: they are made where a notebook is run.
"""

import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
MARK, TEXT = "# %%", "# %% [markdown]"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[pathlib.Path]:
    """Returns the scripts that are notebooks."""
    return [path for path in sorted(HERE.glob("*.py")) if f"\n{TEXT}\n" in path.read_text(encoding="utf-8")]


def cells(script: str) -> list[tuple[str, str]]:
    """Returns kind and content of each cell of a script."""
    found: list[tuple[str, list[str]]] = []
    for line in script.splitlines():
        if line in (MARK, TEXT):
            found.append(("markdown" if line == TEXT else "code", []))
        elif line.startswith(MARK):
            raise ValueError(f"{line!r} begins no cell.\nAllowed: {MARK!r} and {TEXT!r}, alone on their line.")
        elif found:
            kind, lines = found[-1]
            lines.append(line.removeprefix("#").removeprefix(" ") if kind == "markdown" else line)
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in found]


def notebook(script: str) -> str:
    """Returns the notebook file that a script makes. A cell's id is its number: the same script is the same file."""
    made = []
    for number, (kind, content) in enumerate(cells(script), start=1):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": content.splitlines(keepends=True)}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    whole = {"cells": made, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Writes a notebook beside each script."""
    for path in scripts():
        path.with_suffix(".ipynb").write_text(notebook(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
