"""Prompts: how a task is asked in words, and how its answers are said. One table for each way to ask.

A row is of a head, and so of all tasks that share it, or of a kind, for the tasks of heads without a row. Prompts are
in English in all languages; what stands in braces is a field of the example, with a space or an end of the prompt on
each side, so that every part can be tokenised alone.

"mt5" are those that mT5 was fine-tuned with, where its authors published one; they ask for nothing that could be
understood, and are for models that are trained on them. "plain" can be understood by a model that is not.
"""

import dataclasses
from collections.abc import Mapping

from xling_jax.tables.kinds import KINDS
from xling_jax.tables.rows.task import Task

OURS = "ours"
MT5 = "google-research/multilingual-t5 on GitHub (Xue et al. 2021, arXiv 2010.11934)"
T5 = "T5's form of GLUE (Raffel et al. 2020, arXiv 1910.10683)"
GPT3 = "after ANLI's in Brown et al. 2020, arXiv 2005.14165"
NO_ANSWER = {"": "no answer"}
HEADS = "heads"  # the form of answers that are no words


@dataclasses.dataclass(frozen=True)
class Prompt:
    """How a task is asked. `words`: label -> how it is said; a label that is not there is its own word.

    Of questions that may have no answer, "" is the label of those without. `origin` is where it comes from.
    """

    template: str
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: str = OURS

    def parts(self) -> list[str]:
        """Returns the prompt's parts, between which spaces stand: fields, with braces, and the words between them."""
        found: list[str] = []
        for word in self.template.split(" "):
            if found and not is_field(word) and not is_field(found[-1]):
                found[-1] += f" {word}"
            else:
                found.append(word)
        return found

    def said(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Returns how labels are said."""
        return tuple(self.words.get(label, label) for label in labels)


def is_field(part: str) -> bool:
    """Whether a part of a prompt stands for a field of the example."""
    return part.startswith("{")


PROMPTS: dict[str, dict[str, Prompt]] = {
    "mt5": {
        "nli": Prompt(
            "xnli: premise: {text} hypothesis: {text_pair}",
            {"entailment": "0", "neutral": "1", "contradiction": "2"},
            MT5,
        ),
        "pawsx": Prompt(
            "paws sentence1: {text} sentence2: {text_pair}", {"0": "different_meaning", "1": "paraphrase"}, MT5
        ),
        "qqp": Prompt("qqp question1: {text} question2: {text_pair}", {"0": "not_duplicate", "1": "duplicate"}, T5),
        "pair_classification": Prompt("classify sentence1: {text} sentence2: {text_pair}"),
        "multiple_choice": Prompt("choose: {text}"),
        "span_qa": Prompt("question: {question} context: {context}", NO_ANSWER, MT5),
        "tagging": Prompt("tag: {tokens}"),
    },
    "plain": {
        "nli": Prompt(
            "{text} Question: {text_pair} True, False or Neither? Answer:",
            {"entailment": "True", "neutral": "Neither", "contradiction": "False"},
            GPT3,
        ),
        "pawsx": Prompt(
            "Sentence 1: {text} Sentence 2: {text_pair} Do they mean the same, Yes or No? Answer:",
            {"0": "No", "1": "Yes"},
        ),
        "qqp": Prompt(
            "Question 1: {text} Question 2: {text_pair} Do they ask the same, Yes or No? Answer:",
            {"0": "No", "1": "Yes"},
        ),
        "hellaswag": Prompt("{text}"),
        "pair_classification": Prompt("Sentence 1: {text} Sentence 2: {text_pair} Answer:"),
        "multiple_choice": Prompt("{text} Answer:"),
        "span_qa": Prompt("{context} Question: {question} Answer:", NO_ANSWER),
        "tagging": Prompt("Sentence: {tokens} Tags:"),
    },
}

# What answers are, and how they are read back; of labels, see the rows.
ANSWERS = {
    "pair_classification": "the word of a label",
    "multiple_choice": "a choice's text",
    "span_qa": "the answer as the context has it",
    "tagging": "a tag for each word, in order, with spaces between",
}
LABELS = ("pair_classification",)  # kinds whose answers are labels, which need no limit to their length


def asked(kind: str) -> bool:
    """Whether a kind of task can be asked in words."""
    return kind in ANSWERS


def prompt_of(row: Task, form: str) -> Prompt:
    """Returns how a task is asked in a form."""
    table = PROMPTS[form]
    return table.get(row.head_name) or table[row.kind]


def page() -> str:
    """Returns the page of prompts, in Markdown."""
    lines = [_HEAD, *(f"- {kind}: {answer}." for kind, answer in ANSWERS.items())]
    for form, table in PROMPTS.items():
        lines += [f"\n## `{form}`\n", "| of | asked as | answers | from |", "| --- | --- | --- | --- |"]
        for of, prompt in table.items():
            said = ", ".join(f"{label or 'none'}: `{word}`" for label, word in prompt.words.items())
            whose = f"kind `{of}`" if of in KINDS else f"head `{of}`"
            lines.append(f"| {whose} | `{prompt.template}` | {said or 'as they are'} | {prompt.origin} |")
    return "\n".join(lines) + "\n"


_HEAD = """# Prompts

Made by `xling data prompts > docs/prompts.md` from `xling_jax/tables/prompts.py`; a test holds both together. How
answers in words are trained and evaluated is said in [design.md](design.md).

A task is asked as the row of its head says, or else as that of its kind. Its answer is
"""
