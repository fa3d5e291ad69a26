"""Answers in words: the example as a prompt, its answer as a text. One format for all kinds that can be asked so.

Prompts are those of tables/prompts.py. Their parts are tokenised alone and put end to end, which gives the ids of the
whole, because spaces stand between them; so texts are cut, and contexts and sentences divided, without the words around
them. A sentence is divided so that there is room for its answer, however long the names of its tags are.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from xling_jax.data.formats import Feature, format_of, truncate
from xling_jax.data.formats.span_qa import MAX_QUESTION, OVERLAP, locate
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.experiment import Part
from xling_jax.tables.prompts import LABELS, is_field, prompt_of
from xling_jax.tables.tasks import Task

# `labels` are the tokens of the answer and the end of text, as far as there is room: -1 beyond, where labels are
# withheld, and in windows without the answer. `answers` are those that can be given, to be ranked. `words`: the first
# of the words that the feature is about, and the one after the last.
_PROMPT, _LABELS = Feature("L", 1), Feature("T", -1)
_RANKED = {"input_ids": _PROMPT, "labels": _LABELS, "answers": Feature("CT", -1)}
TABLES = {
    "pair_classification": _RANKED,
    "multiple_choice": _RANKED,
    "span_qa": {"input_ids": _PROMPT, "labels": _LABELS},
    "tagging": {"input_ids": _PROMPT, "labels": _LABELS, "words": Feature("2", 0)},
}

Made = dict[str, np.ndarray]


class TextFormat:
    """The format of a part; it has what the modules of formats have. `answer_length`: the tokens of each answer."""

    def __init__(self, part: Part, tokenizer: Tokenizer):
        """Takes a part whose form is a table of prompts."""
        row = part.cell.row
        self._prompt = prompt_of(row, part.form)
        self._parts = self._prompt.parts()
        self._tokenizer = tokenizer
        self._kind = row.kind
        self.FEATURES, self.OWN = TABLES[row.kind], format_of(row.kind).OWN
        self._said = dict(zip(row.labels, self._prompt.said(row.labels), strict=True))
        known = [len(self._ids(word)) + 1 for word in self._said.values()]
        self.answer_length = max(known) if row.kind in LABELS else part.answer_length
        self._words_at_once = max(1, (self.answer_length - 1) // max([size - 1 for size in known], default=1))

    def features(self, example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[Made]:
        """Returns the features of an example: several where it is divided."""
        return [*getattr(self, f"_{self._kind}")(example, self._room(max_length), row)]

    def demand(self, example: dict, made: list[Made], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
        """Returns the tokens of the texts that are asked about, and how many have no room; choices are answers."""
        room = self._room(max_length)
        if self._kind == "tagging":
            ids, number, _ = tokenizer.encode_words(example["tokens"])
            return len(ids), int(np.maximum(np.bincount(number) - room, 0).sum()) if len(ids) else 0
        sizes = {field: len(tokenizer.later_ids(example[field])) for field in self._fields()}
        kept = min(sizes.get("question", 0), self._question_room(room))
        cut = sizes["question"] - kept if self._kind == "span_qa" else max(0, sum(sizes.values()) - room)
        return sum(sizes.values()), cut

    def said(self, context: str, made: Made) -> str:
        """Returns the answer that a feature's labels say; "" where it has none."""
        text = self.answer(made["labels"])
        return "" if text in self._prompt.words.values() else text

    def answer(self, labels_T: np.ndarray) -> str:
        """Returns labels as a text."""
        return self._tokenizer.decode(labels_T[labels_T >= 0]).strip()

    def blank(self) -> np.ndarray:
        """Returns the prompt without content: its words, and nothing in its fields."""
        return self._asked(dict.fromkeys(self._fields(), np.zeros(0, np.int32)))

    def _fields(self) -> list[str]:
        return [part.strip("{}") for part in self._parts if is_field(part)]

    def _ids(self, answer: str) -> list[int]:
        return self._tokenizer.later_ids(answer).tolist()

    @functools.cached_property
    def _around(self) -> list[np.ndarray]:
        """Returns the ids of the words of the prompt, nothing in the place of its fields."""
        parts, tokenizer, empty = self._parts, self._tokenizer, np.zeros(0, np.int32)
        ids = [tokenizer.later_ids(part) if at else tokenizer.ids(part) for at, part in enumerate(parts)]
        return [empty if is_field(part) else each for part, each in zip(parts, ids, strict=True)]

    def _room(self, max_length: int) -> int:
        """Returns how many tokens fields may have together."""
        return max_length - self._taken

    @functools.cached_property
    def _taken(self) -> int:
        """Returns how many tokens a prompt has beside its fields."""
        return len(self._tokenizer.prompt(np.concatenate([*self._around, [self._tokenizer.eos]]))) - 1

    def _asked(self, texts: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the prompt around the ids of its fields."""
        parts = zip(self._parts, self._around, strict=True)
        ids = [texts[part.strip("{}")] if is_field(part) else words for part, words in parts]
        return self._tokenizer.prompt(np.concatenate(ids))

    def _field(self, name: str, text: str) -> np.ndarray:
        first = self._parts[0] == f"{{{name}}}"
        return self._tokenizer.ids(text) if first else self._tokenizer.later_ids(text)

    def _labels(self, answer: str | None) -> np.ndarray:
        """Returns an answer, T; -1 for none."""
        labels_T = np.full(self.answer_length, -1, np.int32)
        if answer is not None:
            ids = [*self._ids(answer), self._tokenizer.eos][: self.answer_length]
            labels_T[: len(ids)] = ids
        return labels_T

    def _ranked(self, texts: dict[str, np.ndarray], answers: Sequence[str], gold: int | None) -> Made:
        return {
            "input_ids": self._asked(texts),
            "labels": self._labels(None if gold is None else answers[gold]),
            "answers": np.stack([self._labels(answer) for answer in answers]),
        }

    def _pair_classification(self, example: dict, room: int, row: Task) -> Iterator[Made]:
        first, second = self._fields()
        cut = truncate(self._field(first, example[first]), self._field(second, example[second]), room)
        gold = None if example["label"] is None else row.number_of[example["label"]]
        yield self._ranked(dict(zip((first, second), cut, strict=True)), [*self._said.values()], gold)

    def _multiple_choice(self, example: dict, room: int, row: Task) -> Iterator[Made]:
        (field,) = self._fields()
        texts = {field: self._field(field, example[field])[:room]}
        yield self._ranked(texts, example["choices"], example["label"])

    def _question_room(self, room: int) -> int:
        return min(MAX_QUESTION, room // 2)

    def _span_qa(self, example: dict, room: int, row: Task) -> Iterator[Made]:
        """Yields windows; the label of each is its first gold answer, where it holds that, as it is with heads."""
        question = self._field("question", example["question"])[: self._question_room(room)]
        first_of_all = self._parts[0] == "{context}"
        context = (self._tokenizer.encode if first_of_all else self._tokenizer.later)(example["context"])
        room -= len(question)
        golds = [answer for answer in example["answers"] or () if answer["start"] >= 0]
        first, last = -1, -1
        if golds:
            first, last = locate(context.spans, golds[0]["start"], golds[0]["start"] + len(golds[0]["text"]))
        none = self._prompt.words[""] if row.unanswerable and example["answers"] is not None else None
        stride = max(1, int(room * (1 - OVERLAP)))
        for at in range(0, max(1, len(context.ids) - room + stride), stride):
            ids = context.ids[at : at + room]
            held = first >= at and last < at + len(ids) and first >= 0
            asked = self._asked({"question": question, "context": ids})
            yield {"input_ids": asked, "labels": self._labels(golds[0]["text"] if held else none)}

    def _tagging(self, example: dict, room: int, row: Task) -> Iterator[Made]:
        words, tags = example["tokens"], example["tags"]
        format_of(self._kind).check(example, row)
        at_front = self._parts[0] == "{tokens}"
        ids, number, _ = self._tokenizer.encode_words(words if at_front else ["-", *words])
        ends = np.searchsorted(number, np.arange(len(words) + (not at_front)), "right")
        pieces = [ids[begin:end] for begin, end in itertools.pairwise([0, *ends])][not at_front :]
        for begin, end in self._runs([min(len(piece), room) for piece in pieces], room):
            texts = {"tokens": np.concatenate([np.zeros(0, np.int32), *pieces[begin:end]])[:room]}
            said = None if tags is None else " ".join(self._said[tag] for tag in tags[begin:end])
            yield {
                "input_ids": self._asked(texts),
                "labels": self._labels(said),
                "words": np.array([begin, end], np.int32),
            }

    def _runs(self, sizes: list[int], room: int) -> Iterator[tuple[int, int]]:
        """Yields runs of words that have room, with room for their tags: one at least, if it has no word."""
        begin = held = 0
        for at, size in enumerate(sizes):
            if at > begin and (held + size > room or at - begin >= self._words_at_once):
                yield begin, at
                begin, held = at, 0
            held += size
        yield begin, len(sizes)
