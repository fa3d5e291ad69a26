"""`xling data show CELL`: a cell's source, size, words, labels, one example raw and one as a model gets it."""

import collections
import json
import pathlib

from xling_jax import world
from xling_jax.data.formats import format_of_part
from xling_jax.data.overlaps import texts
from xling_jax.data.sources import checksum, faults, paths, read, stored
from xling_jax.data.tokenizers import PieceTokenizer, Tokenizer, load_tokenizer
from xling_jax.errors import ConfigError, DataError
from xling_jax.experiment import Part
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.prompts import HEADS, asked, prompt_of
from xling_jax.tables.tasks import Cell

LENGTH = 128  # tokens of the example that is shown


def show(cell: Cell, data_dir: pathlib.Path | None, vocabulary: str | None, form: str = HEADS) -> None:
    """Prints a cell. `vocabulary` is a model file; without one, a piece is a character. `form`: see `Part`."""
    examples = list(read(cell, data_dir))
    if not examples:
        raise DataError(f"Cell {cell} has no examples.\nAllowed: at least one.")
    row, split = cell.row, cell.row.splits[cell.split]
    everything = [text for example in examples for text in _all_texts(example)]
    published = split.published(cell.language)
    said = f" of {published:,} published" if published not in (None, len(examples)) else ""
    print(f"{cell}: {row.kind}, {LANGUAGES[cell.language].name}, {len(examples):,} examples{said}")
    print(f"words:   {_words(everything, cell)}")
    print(f"source:  {_source(cell, data_dir)}  sha256 {checksum(cell, data_dir)[:16]}")
    if row.reader != "world":
        print(f"licence: {row.licence}; {row.source}")
    print(f"labels:  {_labels(examples, split.labels)}")
    for fault, count in faults(cell, data_dir).items():
        print(f"fault of the publisher's file: {fault}, {count} times")
    print(json.dumps(examples[0], ensure_ascii=False, indent=1))
    asked_in = [str(prompt_of(row, form)), *row.labels] if form != HEADS and asked(row.kind) else []
    tokenizer, whose = _tokenizer(cell, [*everything, *asked_in], vocabulary)
    print(f"as pieces of {whose}, at most {LENGTH}:")
    part = Part.of(cell, 0, 0, (LENGTH, LENGTH), form)
    for number, feature in enumerate(format_of_part(part, tokenizer).features(examples[0], tokenizer, LENGTH, row)):
        for name, values in feature.items():
            print(f"{number} {name} {list(values.shape)}: {_shown(name, values, tokenizer, part.form != HEADS)}")


def _all_texts(example: dict) -> list[str]:
    return [*texts(example), *example.get("choices", ())]


def _words(everything: list[str], cell: Cell) -> str:
    """Returns how much text it is: characters, and words where spaces divide them."""
    characters = f"{sum(map(len, everything)):,} characters"
    if not LANGUAGES[cell.language].spaced:
        return f"{characters}, without spaces between words"
    return f"{sum(len(text.split()) for text in everything):,}, {characters}"


def _source(cell: Cell, data_dir: pathlib.Path | None) -> str:
    store = stored(cell, data_dir) if cell.row.reader != "world" else None
    return f"TFDS {store.folder}" if store else ", ".join(paths(cell)[:3]) or "generated"


def _labels(examples: list[dict], state: str) -> str:
    if state == "withheld":
        return "withheld by the publisher"
    labels = collections.Counter(example["label"] for example in examples if "label" in example)
    labels.update(tag for example in examples for tag in example.get("tags") or ())
    labels.update("with an answer" if example["gold"] else "without" for example in examples if "gold" in example)
    return ", ".join(f"{label} {count:,}" for label, count in labels.most_common(20)) or "none"


def _tokenizer(cell: Cell, everything: list[str], vocabulary: str | None) -> tuple[Tokenizer, str]:
    if vocabulary:
        path = pathlib.Path(vocabulary)
        if not path.exists():
            raise ConfigError(f"--vocabulary={vocabulary} is not there.\nAllowed: a SentencePiece model.")
        return load_tokenizer(path), vocabulary
    if cell.row.reader == "world":
        return PieceTokenizer(world.pieces()), "the generated world's vocabulary"
    letters = sorted({letter for text in everything for letter in text if not letter.isspace()})
    return PieceTokenizer([*letters, *(f"##{x}" for x in letters)]), "one character each (--vocabulary names a model)"


def _shown(name: str, values, tokenizer: Tokenizer, words: bool) -> str:
    if name != "input_ids" and not (words and name in ("labels", "answers")):
        return " ".join(map(str, values.tolist())) if values.ndim == 1 else str(values.tolist())
    rows = values if values.ndim == 2 else values[None]
    return "\n  ".join(" ".join(tokenizer.pieces(row[(row != tokenizer.pad) & (row >= 0)])) for row in rows)
