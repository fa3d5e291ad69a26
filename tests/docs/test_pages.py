"""What pages say is so: their commands run, every command there exists, errors are those that are raised."""

import ast
import contextlib
import importlib
import io
import pathlib
import re
import shlex
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from blocks import ROOT, Clone, added, blocks, says

from xling_jax.cli import VERBS

DOCS = ROOT / "docs"
FOLLOWED = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
SHOWN = re.compile(r"^(?:\S+/)?xling (\w.*)$", re.M)
NAMES = {"argvalues": FOLLOWED, "ids": [page.stem for page in FOLLOWED]}


@pytest.mark.parametrize("page", **NAMES)
def test_a_page_does_what_it_says_but_for_what_takes_minutes(page, tmp_path):
    Clone(tmp_path).follow(page, whole=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", **NAMES)
def test_a_page_does_what_it_says(page, tmp_path):
    Clone(tmp_path).follow(page, whole=True)


@pytest.mark.parametrize("page", **NAMES)
def test_what_is_not_run_says_why(page):
    kinds = {"sh", "python", "text", "console", "bash", ""}
    for block in blocks(page):
        assert block.language in kinds, f"{page.name}:{block.line}: a block of kind '{block.language}'"
        if block.language == "console":
            assert block.comment.startswith("not run: "), f"{page.name}:{block.line}: says not why it is not run"
        if block.language == "python":
            ast.parse(block.text.strip())


def commands(page):
    """Yields (line, words) of a page's commands, as a shell would break them off."""
    for block in blocks(page):
        text = re.sub(r"\\\n\s*", " ", block.text)
        for match in SHOWN.finditer(text):
            yield block.line, shlex.split(re.split(r"\s[|>]|\s2>|;", match[1])[0], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_are_those_that_there_are(page, flags_of):
    for line, (verb, *rest) in commands(page):
        assert verb in VERBS, f"{page.name}:{line}: xling {verb}"
        for word in rest:
            name = re.match(r"--(?:no)?(\w+)", word)
            if name and name[1] != "config":
                assert name[1] in flags_of(verb, rest), f"{page.name}:{line}: xling {verb} has no --{name[1]}"
            found = re.match(r"--config=(configs/[a-z_/]+\.py)", word)
            assert not found or (ROOT / found[1]).is_file(), f"{page.name}:{line}: there is no {found[1]}"


@pytest.fixture(scope="session")
def flags_of():
    """Returns a function from a verb, and what follows it, to the names of its flags."""
    known = {}

    def flags(verb, rest):
        key = (verb, rest[0]) if verb in ("data", "convert") and rest else (verb,)
        if key not in known:
            said = io.StringIO()
            door = importlib.import_module(f"xling_jax.doors.{verb}")
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                door.main([*key[1:], "--help"])
            known[key] = set(re.findall(r"--(?:\[no\])?(\w+)", said.getvalue()))
        return known[key]

    return flags


def strings():
    """Returns all strings of the program, with "..." for what is filled in."""
    found = []
    for path in (ROOT / "xling_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(one.value if isinstance(one, ast.Constant) else "..." for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_errors_are_those_that_are_raised():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").split("\n## Libraries")[0]
    said = strings()
    quoted = re.findall(r"^\| `([^`]+)`", text, re.M)
    assert len(quoted) > 25
    for message in quoted:
        parts = [re.escape(part) for part in message.rstrip(".").split("...") if part.strip()]
        assert not parts or re.search(r"[^\n]*".join(parts), said), f"nothing in the program says: {message}"


def test_says():
    assert says("a  b\nc d 12\ne\n", "a b\nc ... 12\n...\ne")
    assert not says("a\nb\n", "b\na"), "the order counts"
    assert not says("a [1]\n", "a 1"), "brackets are brackets"


def test_a_row_goes_to_the_end_of_its_list(tmp_path):
    page = tmp_path / "p.md"
    page.write_text('<!-- into ROWS -->\n```python title="a.py"\n    2,\n```\n', encoding="utf-8")
    (block,) = blocks(page)
    assert added("X = 1\nROWS = (\n    1,\n)\nY = 2\n", block, "p") == "X = 1\nROWS = (\n    1,\n    2,\n)\nY = 2\n"
    with pytest.raises(AssertionError, match="there is no ROWS"):
        added("X = 1\n", block, "p")
