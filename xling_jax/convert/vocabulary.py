"""The vocabulary of a published model: checked against its embeddings, and copied along."""

import dataclasses
import json
import pathlib
import shutil

from xling_jax.data.tokenizers import FAMILIES, load_tokenizer
from xling_jax.errors import CheckpointError
from xling_jax.models.card import TOKENIZER, Card, VocabularyCard

BESIDE = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)
FILES = tuple(dict.fromkeys((*(name for row in FAMILIES.values() for name in row.files), *BESIDE)))
MOST_SPARE = 1024  # rows that published embeddings have beyond the ids of their tokenizer: XLM-R XL has 878


def read_vocabulary(path: pathlib.Path, model_type: str, rows: int) -> VocabularyCard | None:
    """Returns what is to be known of a vocabulary; None if the folder has none.

    Args:
      path: a folder as published, or a vocabulary file.
      model_type: what config.json says.
      rows: of the embeddings.

    Raises:
      CheckpointError: it is not the vocabulary of these embeddings.
      DataError: its files are damaged, or something is missing among them.
    """
    if path.is_dir() and not any((path / name).is_file() for name in FILES):
        return None
    expected = next((row.name for row in FAMILIES.values() if model_type in row.model_types.split()), "")
    tokenizer = load_tokenizer(path)
    if expected and tokenizer.family != expected:
        raise CheckpointError(
            f"{path} has a vocabulary of family '{tokenizer.family}', and the model is a {model_type}.\n"
            f"Allowed: one of family '{expected}'. --tokenizer=FOLDER names another, --tokenizer=none takes none."
        )
    if not rows - MOST_SPARE <= tokenizer.size <= rows:
        raise CheckpointError(
            f"{path} has a vocabulary of {tokenizer.size:,} ids, and the embeddings have {rows:,} rows.\n"
            f"Allowed: as many as there are rows, or up to {MOST_SPARE:,} fewer: a text's ids have to be rows, and the "
            "right ones. Take the files of the tokenizer from where the model is published; --tokenizer=FOLDER names "
            "them, --tokenizer=none takes none."
        )
    return VocabularyCard(tokenizer.family, tokenizer.size, tokenizer.fingerprint, str(path.absolute()))


def copy_vocabulary(card: VocabularyCard, out: pathlib.Path) -> list[str]:
    """Copies a vocabulary's files into a folder, which need not exist, and returns their names."""
    path = pathlib.Path(card.path)
    out.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        files = {FAMILIES[card.family].files[0]: path}
    else:
        files = {name: path / name for name in FILES if (path / name).is_file()}
    for name, file in files.items():
        shutil.copyfile(file, out / name)
    return list(files)


def vocabulary_path(card: VocabularyCard, folder: pathlib.Path) -> pathlib.Path:
    """Returns where a checkpoint's vocabulary is: beside it, if it was imported, or where it was read from."""
    return folder / TOKENIZER if (folder / TOKENIZER).is_dir() else pathlib.Path(card.path)


def export_vocabulary(card: Card, folder: pathlib.Path, named: str, out: pathlib.Path) -> list[str]:
    """Copies the vocabulary of a checkpoint to OUT as it is published, and returns what to say of it.

    Args:
      card: of the checkpoint.
      folder: of the checkpoint.
      named: a folder or file to take instead; "none" for no vocabulary.
      out: where it goes.

    Raises:
      CheckpointError: it is not there any more, or the one that is named is another.
    """
    vocabulary = card.vocabulary
    if named == "none" or vocabulary is None:
        return ["vocabulary: none"]
    if vocabulary.family not in FAMILIES:
        return [f"vocabulary: none; one of family '{vocabulary.family}' is not published in any form"]
    path = pathlib.Path(named) if named else vocabulary_path(vocabulary, folder)
    if not path.exists():
        raise CheckpointError(
            f"The vocabulary was read from {path}, and is not there any more.\n"
            "Allowed: --tokenizer=PATH says where it is now, --tokenizer=none leaves it out."
        )
    found = load_tokenizer(path, vocabulary.family).fingerprint
    if found != vocabulary.fingerprint:
        raise CheckpointError(
            f"{path} is not the vocabulary that the model was trained with ({found}, not {vocabulary.fingerprint}).\n"
            "Allowed: the same files. --tokenizer=PATH names them, --tokenizer=none leaves the vocabulary out."
        )
    files = copy_vocabulary(dataclasses.replace(vocabulary, path=str(path)), out)
    if "tokenizer_config.json" not in files:
        words = {"tokenizer_class": f"{FAMILIES[vocabulary.family].classes.split()[0]}Tokenizer"}
        (out / "tokenizer_config.json").write_text(json.dumps(words) + "\n", encoding="utf-8")
    return [f"vocabulary: {', '.join(files)}"]
