"""Prompts ask for what tasks have, labels are told apart, and the page is the one the table makes."""

import itertools
import pathlib

import pytest

from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import FAMILIES
from xling_jax.tables.prompts import ANSWERS, PROMPTS, asked, is_field, page, prompt_of
from xling_jax.tables.tasks import TASKS

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "prompts.md"
ROWS = [pytest.param(form, of, id=f"{form}-{of}") for form, table in PROMPTS.items() for of in table]
SAID = [name for name, row in TASKS.items() if asked(row.kind)]


@pytest.mark.parametrize(("form", "of"), ROWS)
def test_a_row_is_of_tasks_and_asks_for_their_fields(form, of):
    tasks = [row for row in TASKS.values() if of in (row.head_name, row.kind)]
    assert tasks, f"no task has the head or kind '{of}'"
    prompt = PROMPTS[form][of]
    fields = [part.strip("{}") for part in prompt.parts() if is_field(part)]
    answers = {"answers", "tags", "label", "choices"}
    for row in tasks:
        assert set(fields) == set(KINDS[row.kind].fields) - answers and len(fields) == len(set(fields))
        labels = set(row.labels) if row.kind != "span_qa" else {""}
        assert set(prompt.words) <= labels, "words for labels that are none"
        if of not in KINDS and labels:
            assert set(prompt.words) == labels, "a row of a head has words for all labels, or the head needs none"


@pytest.mark.parametrize(("form", "of"), ROWS)
def test_a_prompt_is_its_parts_with_spaces_between(form, of):
    prompt = PROMPTS[form][of]
    parts = prompt.parts()
    assert " ".join(parts) == prompt.template == " ".join(prompt.template.split())
    for part in parts:
        assert is_field(part) == ("{" in part or "}" in part), (
            f"'{part}' is joined to a field: a space must stand between"
        )
    assert all(is_field(one) or is_field(other) for one, other in itertools.pairwise(parts))


@pytest.mark.parametrize("form", PROMPTS)
@pytest.mark.parametrize("name", SAID)
def test_labels_are_told_apart(name, form):
    row = TASKS[name]
    said = prompt_of(row, form).said(row.labels)
    assert len({" ".join(word.split()) for word in said}) == len(row.labels)
    if row.kind == "tagging":
        assert all(word == "".join(word.split()) for word in said), (
            "a tag is one word, or sentences cannot be read back"
        )


def test_every_kind_that_is_asked_is_asked_everywhere():
    for form, table in PROMPTS.items():
        assert set(ANSWERS) <= set(table), form
    assert {row.prompts for row in FAMILIES.values()} - {""} <= set(PROMPTS)
    assert all(row.prompts for row in FAMILIES.values() if "text" in row.forms)
    for family in FAMILIES.values():
        assert set(ANSWERS) <= set(family.forms.get("text", ANSWERS)), "a family speaks of every kind that can be asked"


def test_tasks_of_a_head_are_asked_alike():
    for form in PROMPTS:
        for head in {TASKS[name].head_name for name in SAID}:
            rows = [row for row in TASKS.values() if row.head_name == head]
            assert len({prompt_of(row, form).template for row in rows}) == 1, head


def test_mt5s_own_prompts():
    """As its authors published them: what a checkpoint was fine-tuned on must be asked for to the letter."""
    xnli, paws, squad = (prompt_of(TASKS[name], "mt5") for name in ("xnli", "pawsx", "xquad"))
    assert xnli.template.format(text="a", text_pair="b") == "xnli: premise: a hypothesis: b"
    assert xnli.said(("entailment", "neutral", "contradiction")) == ("0", "1", "2")
    assert paws.template.format(text="a", text_pair="b") == "paws sentence1: a sentence2: b"
    assert paws.said(("0", "1")) == ("different_meaning", "paraphrase")
    assert squad.template.format(question="a", context="b") == "question: a context: b"


def test_the_page_is_the_generated_one():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "A prompt has changed, and with it what models are trained on. Read the difference, then: "
        "xling data prompts > docs/prompts.md"
    )
    assert all(f"`{prompt.template}`" in page() for table in PROMPTS.values() for prompt in table.values())
