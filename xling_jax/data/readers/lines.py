"""One text a line: plain lines, sentences of a table, comments of a treebank, and parallel text."""

from collections.abc import Iterator

from xling_jax.data.readers.files import File, columns_found
from xling_jax.data.readers.tagged import sentences
from xling_jax.errors import broken_line
from xling_jax.tables.tasks import Cell


def read_tsv_text(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields each distinct sentence of an XNLI file (premise, hypothesis, label) once, in order."""
    del cell
    (file,) = files
    seen = set()
    for number, line in enumerate(file.lines(), start=1):
        columns = line.split("\t")
        if len(columns) != 3 or not all(map(str.strip, columns)):
            raise broken_line(file.path, number, columns_found(columns), "premise<TAB>hypothesis<TAB>label")
        for name, sentence in zip(("premise", "hypothesis"), columns[:2], strict=True):
            if sentence not in seen:
                seen.add(sentence)
                yield {"id": f"{number}.{name}", "text": sentence}


def read_lines(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields each distinct line of all files once, in order. A blank line divides documents and is no text."""
    del cell
    seen = set()
    for name, file in enumerate(files, start=1):
        for number, line in enumerate(file.lines(), start=1):
            if line.strip() and line not in seen:
                seen.add(line)
                yield {"id": f"{name}.{number}" if len(files) > 1 else str(number), "text": line}


def read_conllu_text(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields what the comment `# text = ` of each sentence of a CoNLL-U file says: the sentence before tokenisation."""
    (file,) = files
    for count, sentence in enumerate(sentences(file), start=1):
        comments = (line[1:].partition("=") for _, line in sentence if line.startswith("#"))
        text = next((value.strip() for name, _, value in comments if name.strip() == "text"), "")
        if not text:
            raise broken_line(file.path, sentence[0][0], "a sentence without its text", "a comment `# text = ...`")
        yield {"id": f"{cell.language}.{count}", "text": text}


def read_tatoeba(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields pairs of a sentence and its translation: line i of one file is line i of the other."""
    sides = [file.lines() for file in files]
    if len(sides[0]) != len(sides[1]):
        short, long = sorted((0, 1), key=lambda side: len(sides[side]))
        found = f"the file ends, but {files[long].path} has {len(sides[long])} lines"
        raise broken_line(files[short].path, len(sides[short]) + 1, found, "two files with as many lines")
    for number, pair in enumerate(zip(*sides, strict=True), start=1):
        for file, sentence in zip(files, pair, strict=True):
            if not sentence.strip():
                raise broken_line(file.path, number, "a blank line", "a sentence on each line")
        yield {"id": f"{cell.language}.{number}", "text": pair[0], "text_pair": pair[1]}
