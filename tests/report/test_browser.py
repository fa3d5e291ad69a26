"""The page in a real browser: sorting, themes, a phone, paper, no scripts, and its numbers against results.jsonl."""

import csv
import dataclasses
import itertools
import json
import re

import chromium
import pdf_text
import pytest
from study_samples import matrix, sample_study
from work_folders import ARMS, record

from xling_jax.report.render import write_report, write_study
from xling_jax.report.study_report import Section
from xling_jax.report.table import Column, Number, Row, Table
from xling_jax.report.theme import DARK, LIGHT

pytestmark = pytest.mark.skipif(chromium.find() is None, reason=chromium.INSTALL)

TABLE = "[...document.querySelectorAll('table')].find(t => t.closest('.scroll').ariaLabel === {title!r})"
LONG = 120  # rows, more than a page has room for
PHONE = 360
WIDE = 45  # columns
A4 = 1016  # CSS pixels of the page's width, turned, without its margins

# Every text that can be seen, its colour, and what lies behind it, each as [red, green, blue].
COLOURS = """(() => {
  const parts = colour => { const n = colour.match(/[\\d.]+/g).map(Number); return [n.slice(0, 3), n[3] ?? 1]; };
  const over = (top, share, below) => below.map((x, i) => share * top[i] + (1 - share) * x);
  const page = parts(getComputedStyle(document.body).backgroundColor)[0];
  const behindSvg = (node, box) => {
    node.scrollIntoView({block: "center", inline: "center"});
    box = node.getBoundingClientRect();
    const all = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return all.filter(e => e.tagName === "path" && node.compareDocumentPosition(e) & 2).reverse().reduce((below, e) => {
      const style = getComputedStyle(e);
      if (style.fill === "none") return below;
      const [fill, share] = parts(style.fill);
      return over(fill, share * style.fillOpacity * style.opacity, below);
    }, page);
  };
  const behind = node => {
    const all = [];
    for (let e = node; e; e = e.parentElement) all.push(parts(getComputedStyle(e).backgroundColor));
    return all.reverse().reduce((below, [colour, share]) => over(colour, share, below), page);
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !node.checkVisibility() || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const svg = node instanceof SVGElement, style = getComputedStyle(node);
    found.push([text, parts(svg ? style.fill : style.color)[0], svg ? behindSvg(node) : behind(node)]);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def study(make_workdir):
    """The sample with a table in it that is longer than a page."""
    sample = sample_study(make_workdir())
    *rows, mean = matrix().rows
    many = tuple(Row(f"row {n}", "gain", rows[n % len(rows)].numbers) for n in range(LONG))
    long = dataclasses.replace(matrix(), name="long", title="Long", rows=(*many, mean), names="longest")
    return dataclasses.replace(sample, sections=(*sample.sections, Section("Long", (long,))))


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return write_study(study, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.chromium(chromium.find(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser, report):
    """The study's page, as wide as a desk, in the light, remembering nothing."""
    page = browser.page()
    page.size(1200, 900)
    page.media(prefers_color_scheme="light")
    page.open(report.index)
    page.run("localStorage.clear()")
    page.open(report.index)
    yield page
    page.close()


def unfold(page):
    page.run("document.querySelectorAll('details').forEach(part => part.open = true)")


def table(title):
    return TABLE.format(title=title)


def head(title, label):
    buttons = f"[...{table(title)}.querySelectorAll('thead button')]"
    return f"{buttons}.find(button => button.textContent === {label!r})"


def shown(page, title, column):
    """Returns (name of the row, text of a column) of the rows as they stand; texts without what is below them."""
    place = f"{head(title, column)}.parentElement.cellIndex"
    text = "cell => (cell.firstChild?.data ?? cell.innerText).trim()"
    return page.run(f"[...{table(title)}.rows].slice(2).map(r => [r.cells[0], r.cells[{place}]].map({text}))")


def names(page, title, column):
    return [name for name, _ in shown(page, title, column)]


def read_numbers(report, name, column, owner="intermediate"):
    """Returns what tables.csv has of a column, by row; None where there is no number."""
    rows = list(csv.DictReader((report.out / "tables.csv").open()))
    mine = [r for r in rows if (r["experiment"], r["table"], r["column"]) == (owner, name, column)]
    return {r["row"]: float(r["value"]) if r["value"] else None for r in mine}


def test_nothing_is_loaded(page, report):
    unfold(page)
    assert page.requests() == [report.index.as_uri()]


@pytest.mark.parametrize("column", ["qa", "nli", "panx"])
def test_sorts_by_value_what_is_missing_last(page, report, column):
    numbers = read_numbers(report, "matrix", column)
    bound = numbers.pop("mean")
    given, known = list(numbers), [name for name, value in numbers.items() if value is not None]
    rest = [name for name in given if name not in known]
    falling = sorted(known, key=numbers.get, reverse=True)
    assert bound == 50 and max(numbers[name] for name in known) != bound, "it would be among the others"
    orders = {"descending": [*falling, *rest], "ascending": [*falling[::-1], *rest], None: given}
    for direction, order in orders.items():
        page.click(head("Transfer", column))
        assert names(page, "Transfer", column) == [*order, "mean"], direction
        turned = f"[...{table('Transfer')}.querySelectorAll('[aria-sort]')]"
        told = page.run(f"{turned}.map(h => [h.innerText, h.getAttribute('aria-sort')])")
        assert told == ([[column, direction]] if direction else [])


def test_one_column_sorts_at_a_time_and_text_is_not_a_number(page):
    page.click(head("Transfer", "panx"))
    page.click(head("Transfer", "qa"))
    assert [text for _, text in shown(page, "Transfer", "qa")] == ["+100.0", "+10.5", "+9.5", "–", "+50.0"]
    assert page.run(f"{table('Transfer')}.querySelectorAll('[aria-sort]').length") == 1


def test_names_sort_as_words(page):
    page.click(head("Transfer", "intermediate task"))
    assert names(page, "Transfer", "qa") == ["nli", "panx", "pos", "qa", "mean"]
    page.click(head("Long", "longest"))
    assert names(page, "Long", "qa")[:3] == ["row 0", "row 1", "row 2"], "10 comes after 9"


def test_verdicts_sort_and_have_a_sign_each(page):
    page.click(head("Claims", "estimate"))
    page.click(head("Claims", "verdict"))
    texts = page.run(f"[...{table('Claims')}.tBodies[0].rows].map(row => row.cells[3].innerText)")
    assert texts == ["✓ supported", "? undecided at this size", "✗ not supported"]
    marks = page.run("document.querySelector('.answer .verdict').innerText")
    assert marks.lower() == "✓ supported"


def test_sorts_by_keyboard(page, report):
    numbers = {name: value for name, value in read_numbers(report, "matrix", "qa").items() if value is not None}
    order = sorted(set(numbers) - {"mean"}, key=numbers.get, reverse=True)
    page.run(f"{head('Transfer', 'intermediate task')}.focus()")
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "qa"
    page.press("Enter", 13, "\r")
    assert names(page, "Transfer", "qa") == [*order, "qa", "mean"]
    page.press(" ", 32, " ")
    assert names(page, "Transfer", "qa") == [*order[::-1], "qa", "mean"]


def means(rows, arm, codes):
    """Returns the mean over seeds of the mean over languages, by hand from the rows of results.jsonl."""
    seeds = sorted({row["seed"] for row in rows})
    value = {(row["arm"], row["seed"], row["language"]): row["value"] for row in rows}
    return sum(sum(value[arm, seed, code] for code in codes) / len(codes) for seed in seeds) / len(seeds)


def test_every_score_is_the_mean_of_its_rows(browser, make_workdir, tmp_path):
    report = write_report([make_workdir().path], tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {row["metric"] for row in rows} == {"f1"}
    page = browser.page()
    page.open(report.index)
    languages = {"qen": ["qen"], "qnd": ["qnd"], "qda": ["qda"]}
    groups = {name: codes for name, codes in record()["language_groups"].items() if set(codes) & set(languages)}
    for column, codes in (languages | groups | {"zero-shot": ["qnd", "qda"]}).items():
        seen = dict(shown(page, "qa2: scores", column))
        assert set(seen) == {*ARMS, "floor"}
        for arm in ARMS:
            assert seen[arm].rstrip("†‡") == f"{means(rows, arm, codes):.1f}", (arm, column)
        floors = [{row["floor"] for row in rows if row["language"] == code} for code in codes]
        assert seen["floor"] == f"{sum(floor for (floor,) in floors) / len(floors):.1f}", column
        page.click(head("qa2: scores", column))
        assert names(page, "qa2: scores", column) == [
            *sorted(ARMS, key=lambda arm: means(rows, arm, codes), reverse=True),
            "floor",
        ], column
    cells = page.run(f"{table('qa2: scores')}.querySelectorAll('td:not(.group td)').length")
    assert cells == len(languages | groups | {"zero-shot": 0}) * (len(ARMS) + 1), "a column was not looked at"
    page.close()


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    parts = [x / 255 for x in colour]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def paper(theme):
    """Returns a theme's background as a browser says it."""
    digits = re.search("--paper:#(.*?);", theme)[1]
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return "rgb({}, {}, {})".format(*bytes.fromhex(digits))


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(page, theme):
    page.click(f"document.querySelector('#theme input[value={theme}] + span')")
    unfold(page)
    assert page.run(BACKGROUND) == paper({"light": LIGHT, "dark": DARK}[theme])
    found = page.run(COLOURS)
    assert {"✓", "nli", "+100.0", "+10.5*", "seed 1 qda", "xxl", "retrieval, %"} <= {text for text, _, _ in found}
    pale = [(text, round(contrast(ink, behind), 2)) for text, ink, behind in found if contrast(ink, behind) < 4.5]
    assert not pale
    assert len({tuple(behind) for _, _, behind in found}) > 5, "cells of heat maps lie behind their numbers"


def test_theme_is_kept_and_auto_follows_the_system(page, report):
    switch = "document.querySelector('#theme input:checked').value"
    assert (page.run(switch), page.run(BACKGROUND)) == ("auto", paper(LIGHT))
    page.media(prefers_color_scheme="dark")
    assert page.run(BACKGROUND) == paper(DARK)
    page.click("document.querySelector('#theme input[value=light] + span')")
    assert page.run(BACKGROUND) == paper(LIGHT)
    page.open(report.index)
    assert (page.run(switch), page.run(BACKGROUND)) == ("light", paper(LIGHT)), "it is remembered"
    page.run("document.querySelector('#theme input:checked').focus()")
    page.press("ArrowRight", 39)
    assert (page.run(switch), page.run(BACKGROUND)) == ("dark", paper(DARK)), "by keyboard"
    page.press("ArrowRight", 39)
    page.media(prefers_color_scheme="light")
    page.open(report.index)
    assert (page.run(switch), page.run(BACKGROUND)) == ("auto", paper(LIGHT))


def test_phone(page, report):
    page.size(PHONE, 740, mobile=True)
    page.open(report.index)
    unfold(page)
    assert page.run("[innerWidth, document.documentElement.scrollWidth]") == [PHONE, PHONE]
    over = "e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.scroll') && e.checkVisibility()"
    assert page.run(f"[...document.body.querySelectorAll('*')].filter({over}).map(e => e.outerHTML.slice(0, 80))") == []
    box, first = f"{table('Transfer')}.closest('.scroll')", f"{table('Transfer')}.tBodies[0].rows[0].cells[{{}}]"
    left = f"[0, 1].map(n => {first.format('n')}.getBoundingClientRect().left)"
    name, number = page.run(left)
    page.run(f"{box}.scrollLeft = 60")
    moved = page.run(f"{box}.scrollLeft")
    assert moved > 20, "a table that is wider than the phone scrolls in its box"
    assert page.run(left) == [name, number - moved], "the first column stays"


FOLDED = ("And once more?", '"name": "tiny"', "Configuration of second", "Scores")


@pytest.mark.parametrize("scripts", [True, False])
def test_paper(page, report, scripts):
    page.media(prefers_color_scheme="dark")
    page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    page.open(report.index)
    sheets = pdf_text.pages(page.pdf())
    text = "".join(sheets)
    assert [words for words in FOLDED if "".join(words.split()) not in text] == []
    assert "autolightdark" not in text
    headed = [sheet for sheet in sheets if "longestqanlipanxpos" in sheet]
    assert len(headed) >= 3, f"{LONG} rows are on several pages, each with the head"
    rows = [re.findall(r"row(\d+?)(?=[–+−])", sheet) for sheet in headed]
    assert list(map(int, itertools.chain(*rows))) == list(range(LONG)), "no row is lost between pages"
    assert text.count("mean+50.0") == 2, "bounds stand at the end of their tables and not on every page"
    assert page.run("document.querySelectorAll('details[open]').length") == 0, "folded again afterwards"


def test_paper_is_white(page):
    page.click("document.querySelector('#theme input[value=dark] + span')")
    page.media("print", prefers_color_scheme="dark")
    assert page.run(BACKGROUND) == paper(LIGHT)
    assert page.run("getComputedStyle(document.querySelector('#theme')).display") == "none"
    assert page.run(f"getComputedStyle({table('Long')}).breakInside") == "auto"
    assert page.run(f"getComputedStyle({table('Long')}.tBodies[0].rows[0]).breakInside") == "avoid"


def test_a_wide_table_is_printed_in_pieces(browser, study, tmp_path):
    """On a screen it is one table, which scrolls; on A4 its columns would be cut off."""
    columns = tuple(Column(f"x{n:02}", f"group {n // 9}", (), "gain") for n in range(WIDE))
    numbers = tuple(Number(float(n), n - 100.0, n + 100.0) for n in range(WIDE))
    wide = Table("wide", "Wide", "Many columns.", columns, (Row("one", "gain", numbers), Row("two", "gain", numbers)))
    report = write_study(dataclasses.replace(study, sections=(Section("Wide", (wide,)),)), tmp_path)
    page = browser.page()
    page.open(report.index)
    assert page.run("[...document.querySelectorAll('.paper')].some(part => part.checkVisibility())") is False
    text = "".join(pdf_text.pages(page.pdf()))
    assert [text.count(column.label) for column in columns] == [1] * WIDE
    page.size(A4, 700)
    page.media("print")
    assert page.run("document.documentElement.scrollWidth") == A4, "wider, and Chromium would make everything smaller"
    page.close()


def test_without_scripts(browser, report):
    page = browser.page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.size(1200, 900)
    page.open(report.index)
    text = page.run("document.body.innerText")
    for words in ("Which intermediate task helps <which> target?", "95% interval [1.0, 5.5]", "+100.0", "adjusted p"):
        assert words in text
    assert not page.run("document.querySelector('#theme').checkVisibility()"), "a switch that does nothing"
    page.click("document.querySelector('details.experiment summary')")
    assert page.run("document.querySelector('details.experiment').open"), "folding needs no script"
    before = names(page, "Transfer", "qa")
    page.click(head("Transfer", "qa"))
    assert names(page, "Transfer", "qa") == before
    page.close()


def test_experiments_are_folded_below_the_study(page):
    assert page.run("[...document.querySelectorAll('details.experiment')].map(part => part.id)") == ["second", "tiny"]
    assert not page.run(f"{table('qa2: scores')}.checkVisibility()")
    page.click("document.querySelector('#tiny > summary')")
    inside = "[...document.querySelectorAll('#tiny table')]"
    assert page.run(f"{inside}.some(t => t.closest('.scroll').ariaLabel === 'qa2: scores' && t.checkVisibility())")
    levels = page.run("[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "a level of titles is left out"
