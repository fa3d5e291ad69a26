"""The site builds without a warning, and what is generated for it is there."""

import html
import os
import re
import subprocess
import sys

import pytest
from blocks import ROOT

from xling_jax.cli import VERBS
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.slices import SLICES


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    quiet = {"NO_MKDOCS_2_WARNING": "1", "XLING_DATA": "/a/folder/of/somebody"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False, timeout=240
    )
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr[-3000:]
    return folder


def words(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_generated_pages(site):
    commands, options = words(site / "reference/commands.html"), words(site / "reference/options.html")
    assert all(f"xling {verb}" in commands for verb in VERBS) and "skip_damaged" in commands
    assert "/a/folder/of/somebody" not in commands, "a default that is this machine's"
    assert all(name in options for name in ("Experiment", "source_language", "the baseline", "patience", "Lora"))
    tables = words(site / "reference/tables.html")
    assert all(row.name in tables for row in (*LANGUAGES.values(), *SLICES.values()))
    python = words(site / "reference/python.html")
    assert "contrast" in python


def test_links_lead_somewhere(site):
    """Also those to files of the repository and, which MkDocs does not follow, those made of HTML."""
    lost = []
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists() and page.name != "404.html":
                lost.append(f"{page.relative_to(site)}: {target}")
    assert not lost, lost[:5]
    assert (site / "files/configs/xlmr_base.py.html").is_file(), "a config that a page links to is shown"


def test_nothing_is_fetched_to_read_it(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://', text)
