"""Code blocks of the pages in docs/, and how the tests run them.

Of a page's fences, in their order:

    ```sh                      is run; under <!-- minutes --> by the slow tests only; under <!-- refused --> it has to
                               leave with an error of ours, which is what it prints
    ```python title="FILE"     is written to FILE; under <!-- into ROWS --> its lines go to the end of that list there
    ```text                    is what the block before it prints, in this order; "..." stands for any text
    ```console                 is not run; <!-- not run: WHY --> stands above it
    ```python                  is shown, and is Python
    ```                        is shown: a result, a layout, commands without a page of their own

Wherever a line is a command of ours, not only in docs/, its verb, its flags and the files of ours that it names are
those that there are.
"""

import dataclasses
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^```$", re.M | re.S)
COMMENT = re.compile(r"<!--\s*([^>]*?)\s*-->\s*\Z")
OF_THE_TOP = re.compile(r"\.|work|.*\.egg-info")  # what is there and not of the project: environments, results
SHIM = '#!/bin/sh\nexec "{python}"{module} "$@"\n'


@dataclasses.dataclass(frozen=True)
class Block:
    """A fence of a page: the comment above it, its language and title, what is in it, its line."""

    comment: str
    language: str
    title: str
    text: str
    line: int


def blocks(page: pathlib.Path) -> list[Block]:
    """Returns the fences of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        above = COMMENT.search(text[: match.start()])
        line = text[: match.start()].count("\n") + 1
        found.append(Block(above[1] if above else "", match[1], match[2] or "", match[3], line))
    return found


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or (folder == str(ROOT) and OF_THE_TOP.match(name))}


class Clone:
    """A copy of the project with an empty home, in which a page's blocks are run as a reader would."""

    def __init__(self, folder: pathlib.Path):
        self.root = folder / "xling_jax"
        shutil.copytree(ROOT, self.root, ignore=_left_out)
        tools = folder / "bin"
        tools.mkdir()
        for name, module in {"xling": " -m xling_jax", "python": ""}.items():
            (tools / name).write_text(SHIM.format(python=sys.executable, module=module), encoding="utf-8")
            (tools / name).chmod(0o755)
        ours = ("XLING_", "PYTEST", "XLA_", "JAX_")  # what tests/conftest.py says, a reader has not said
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        paths = {"PATH": f"{tools}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.environment = kept | paths | {"PYTHONPATH": str(self.root), "HOME": str(folder / "home")}

    def follow(self, page: pathlib.Path, whole: bool) -> None:
        """Does what a page says, what takes minutes only for the whole; an assertion names the block that fails."""
        said: str | None = None
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if block.language == "sh":
                left_out = block.comment == "minutes" and not whole
                said = None if left_out else self.run(block.text, where, refused=block.comment == "refused")
            elif block.language == "python" and block.title:
                self.write(block, where)
            elif block.language == "text" and said is not None:
                assert says(said, block.text), f"{where}: the command above prints\n{said}"

    def run(self, text: str, where: str, refused: bool) -> str:
        """Returns what shell commands print, or the error they are refused with."""
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=1500
        )
        told = f"{where} left with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert done.returncode in ((2, 3, 4) if refused else (0,)), told
        return done.stderr if refused else done.stdout

    def write(self, block: Block, where: str) -> None:
        """Writes a file, or the end of a list in one that is there."""
        path = self.root / block.title
        if block.comment.startswith("into "):
            path.write_text(added(path.read_text(encoding="utf-8"), block, where), encoding="utf-8")
        else:
            assert not path.exists(), f"{where}: {block.title} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def added(source: str, block: Block, where: str) -> str:
    """Returns a module's text with a block at the end of the list that its comment names."""
    name = block.comment.removeprefix("into ")
    begin = re.search(rf"^{name} = \($", source, re.M)
    assert begin, f"{where}: there is no {name} in {block.title}"
    end = source.index("\n)\n", begin.end()) + 1
    return source[:end] + block.text + source[end:]


def says(output: str, expected: str) -> bool:
    """Whether all lines stand in an output, in their order; spaces do not count, and "..." is any text."""
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    for wanted in filter(None, (" ".join(line.split()) for line in expected.splitlines())):
        pattern = re.sub(r"([\[\]?*])", r"[\1]", wanted).replace("...", "*")
        if wanted != "..." and not any(fnmatch.fnmatchcase(line, pattern) for line in lines):
            return False
    return True
