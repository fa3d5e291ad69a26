"""docs/tpu.md: every command of it in a dry run, every configuration it names, and what it says that helps."""

import pathlib
import re
import shlex

import pytest

from xling_jax import cli as xling
from xling_jax.launch import flags
from xling_jax.launch.budget import remember
from xling_jax.launch.gcloud import SAYINGS, meaning
from xling_jax.launch.job import ROOT

PAGE = (ROOT / "docs" / "tpu.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
OURS = [shlex.split(line)[2:] for line in LINES if line.startswith("bash scripts/tpu.sh ")]
GCLOUD = [shlex.split(line) for line in LINES if line.startswith("gcloud ")]
GCLOUD += [shlex.split(text.replace("\n", " ")) for text in re.findall(r"`(gcloud [^`]*)`", PAGE)]


def test_it_has_every_verb_and_nothing_unknown():
    assert {words[0] for words in OURS} == set(flags.VERBS)
    assert all(line.startswith(("bash scripts/tpu.sh ", "gcloud ", "pytest ")) for line in LINES)


def test_every_command_in_its_order(place, cli):
    """As a user would, one after another: later ones know of a name what earlier ones were told."""
    for words in OURS:
        at = words.index("--") if "--" in words else len(words)
        dry = [word for word in words[:at] if word != "--dry_run"]
        said = cli(*dry, "--dry_run", *words[at:])
        assert "gcloud " in said and "error" not in said, said
        values = flags.parse(words)
        if values.verb in (*flags.MAKING, "run"):
            remember(values.name, **flags.remembered(values), bucket=getattr(values, "bucket", None) or "")
    assert not place.commands()


@pytest.mark.parametrize("words", [words for words in OURS if "--" in words], ids=lambda words: words[1])
def test_what_is_run_exists(words):
    program, verb, *rest = words[words.index("--") + 1 :]
    (config,) = [word.removeprefix("--config=").split(":")[0] for word in rest if word.startswith("--config=")]
    assert program == "xling" and verb in xling.VERBS and (ROOT / config).is_file()


def test_what_it_says_that_helps_is_what_is_said():
    rows = re.findall(r"^\| `(.*)` \| (.*) \|$", PAGE.split("| gcloud says")[1].split("\n\n")[0], re.MULTILINE)
    assert {said: meaning(said).advice for said, _ in rows} == dict(rows)
    assert {row.advice for row in SAYINGS if row.kind != "absent"} == {advice for _, advice in rows}


def test_errors_that_it_names_are_in_the_program():
    told = PAGE.split("| `tpu.sh` says")[1].split("\n\n")[0]
    sources = [*(ROOT / "xling_jax").rglob("*.py"), *(ROOT / "scripts").glob("*.sh")]
    code = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in map(pathlib.Path, sources))
    for text in re.findall(r"^\| (?:[a-z ]*)`(.*?)`", told, re.MULTILINE):
        parts = [part.strip() for part in re.split(r"'first'|first|v5litepod-\d+|\b4\b", text) if part.strip()]
        assert all(part in code for part in parts), text
