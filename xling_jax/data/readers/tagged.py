"""Sentences with a tag for each word: XTREME's two columns, CoNLL-U, and supertags."""

from collections.abc import Iterator

from xling_jax.data.readers.files import File, columns_found
from xling_jax.data.readers.tables import BLIND
from xling_jax.errors import broken_line
from xling_jax.tables.tasks import Cell

CONLLU_COLUMNS = 10  # id, form, lemma, upos, xpos, features, head, relation, dependencies, miscellaneous
UPOS_COLUMN = 3

Sentence = list[tuple[int, str]]  # (line number, line)


def sentences(file: File) -> Iterator[Sentence]:
    """Yields the lines between blank ones; several blank lines are as one."""
    sentence: Sentence = []
    for number, line in enumerate([*file.lines(), ""], start=1):
        if line:
            sentence.append((number, line))
        elif sentence:
            yield sentence
            sentence = []


def read_tagged_tsv(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields sentences of lines token<TAB>tag; a blank line ends a sentence. Where tags are withheld there are none."""
    (file,) = files
    withheld = cell.row.splits[cell.split].labels == "withheld"
    for count, sentence in enumerate(sentences(file), start=1):
        pairs = [_token_and_tag(file, number, line, cell.row.labels, withheld) for number, line in sentence]
        tags = None if withheld else [tag for _, tag in pairs]
        yield {"id": f"{cell.language}.{count}", "tokens": [token for token, _ in pairs], "tags": tags}


def _token_and_tag(file: File, number: int, line: str, labels: tuple[str, ...], withheld: bool) -> tuple[str, str]:
    columns = line.split("\t")
    if withheld and len(columns) == 1 and columns[0].strip():
        return columns[0], ""
    if len(columns) != 2 or not columns[0].strip():
        raise broken_line(
            file.path, number, columns_found(columns), f"token<TAB>tag, or a blank line after a sentence{BLIND}"
        )
    if columns[1] not in labels and not withheld:
        raise broken_line(file.path, number, f"tag '{columns[1]}'", " ".join(labels))
    return columns[0], columns[1]


def read_ccg(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields sentences of lines token<TAB>category; the second file lists the categories, one a line.

    The labels are the numbers of those lines, from 0, so that a corpus that must not be passed on needs no list of
    its categories in the table.
    """
    file, categories = files
    number_of: dict[str, str] = {}
    for number, category in enumerate(categories.lines(), start=1):
        if number > len(cell.row.labels):
            allowed = f"at most {len(cell.row.labels)} categories"
            raise broken_line(categories.path, number, f"category '{category}'", allowed)
        if not category.strip() or category in number_of:
            found = f"category '{category}' again" if category.strip() else "a blank line"
            raise broken_line(categories.path, number, found, "categories that differ, one a line")
        number_of[category] = cell.row.labels[number - 1]
    for count, sentence in enumerate(sentences(file), start=1):
        tokens, tags = [], []
        for number, line in sentence:
            columns = line.split("\t")
            if len(columns) != 2 or not columns[0].strip():
                allowed = "token<TAB>category, or a blank line after a sentence"
                raise broken_line(file.path, number, columns_found(columns), allowed)
            if columns[1] not in number_of:
                raise broken_line(file.path, number, f"category '{columns[1]}'", f"those of {categories.path}")
            tokens.append(columns[0])
            tags.append(number_of[columns[1]])
        yield {"id": f"{cell.language}.{count}", "tokens": tokens, "tags": tags}


def read_conllu(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields sentences of CoNLL-U: syntactic words and their universal parts of speech.

    A token of several words ("3-4") is passed over for its words, which follow it; so are empty nodes ("3.1"), which
    have no form in the text. Ids are the treebank's, which in PUD are the same in all languages.
    """
    (file,) = files
    seen: dict[str, int] = {}
    for count, sentence in enumerate(sentences(file), start=1):
        key = f"{cell.language}.{count}"
        tokens: list[str] = []
        tags: list[str] = []
        for number, line in sentence:
            if line.startswith("#"):
                name, _, value = line[1:].partition("=")
                key = value.strip() if name.strip() == "sent_id" else key
                continue
            word = _word(file, number, line, len(tokens) + 1, cell.row.labels)
            if word:
                tokens.append(word[0])
                tags.append(word[1])
        first = sentence[0][0]
        if not tokens:
            raise broken_line(file.path, first, "a sentence without words", "at least one word")
        if key in seen:
            raise broken_line(file.path, first, f"sent_id '{key}' of line {seen[key]} again", "ids that differ")
        seen[key] = first
        yield {"id": key, "tokens": tokens, "tags": tags}


def _word(file: File, number: int, line: str, expected: int, labels: tuple[str, ...]) -> tuple[str, str] | None:
    """Returns form and part of speech of a line; None if it is a token of several words, or an empty node."""
    columns = line.split("\t")
    if len(columns) != CONLLU_COLUMNS or not all(map(str.strip, columns)):
        raise broken_line(
            file.path, number, columns_found(columns), f"{CONLLU_COLUMNS} columns, '_' where one is empty"
        )
    key, form, tag = columns[0], columns[1], columns[UPOS_COLUMN]
    if key == f"{expected}-{key.rpartition('-')[2]}" or key.startswith(f"{expected - 1}."):
        return None
    if key != str(expected):
        raise broken_line(file.path, number, f"word '{key}'", f"the word after {expected - 1}, which is {expected}")
    if tag not in labels:
        raise broken_line(file.path, number, f"tag '{tag}'", " ".join(labels))
    return form, tag
