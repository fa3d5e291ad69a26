"""From a file, or a folder as Hugging Face lays it out, to its tokenizer. Nothing is downloaded."""

import dataclasses
import json
import pathlib
from typing import Any

from xling_jax.data.tokenizers.base import Tokenizer
from xling_jax.data.tokenizers.byte_level import ByteLevelTokenizer
from xling_jax.data.tokenizers.sentence_pieces import SentencePieceTokenizer
from xling_jax.data.tokenizers.world_pieces import PieceTokenizer
from xling_jax.disk import as_path
from xling_jax.errors import DataError, choose, unknown

WHERE = "Families are rows of xling_jax/data/tokenizers/loading.py."


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of vocabularies.

    `files` are the names under which it is published; `model_types` and `classes` what config.json and
    tokenizer_config.json beside it say (the class without its ending, Tokenizer or TokenizerFast).
    `suffix` is the ending of a file that is trained here.
    """

    name: str
    files: tuple[str, ...]
    model_types: str
    classes: str
    suffix: str = ".model"


_ROWS = (
    Family("xlmr", ("sentencepiece.bpe.model",), "xlm-roberta xlm-roberta-xl", "XLMRoberta"),
    Family("mt5", ("spiece.model", "sentencepiece.model"), "mt5 umt5 t5", "MT5 T5"),
    Family("llama", ("tokenizer.model",), "llama", "Llama"),
    Family("qwen", ("tokenizer.json", "vocab.json"), "qwen2 qwen2_moe qwen3 qwen3_moe", "Qwen2 Qwen3", ".json"),
)
FAMILIES = {row.name: row for row in _ROWS}


def load_tokenizer(path: pathlib.Path | str, family: str = "") -> Tokenizer:
    """Returns the tokenizer of a vocabulary.

    Args:
      path: a folder with a published vocabulary; or a file: `*.model` is SentencePiece, `*.json` byte-level BPE,
        `*.txt` one of the generated world's pieces on each line.
      family: a row of FAMILIES; "" for the one that the files say they are of.

    Raises:
      DataError: there is no vocabulary, or it is of another family.
    """
    path = as_path(path)
    if family:
        choose("family", family, FAMILIES, WHERE)
    if path.is_dir():
        return _from_folder(path, family)
    if path.suffix == ".model" and family != "qwen":
        return SentencePieceTokenizer(path, family)
    if path.suffix == ".json" and path.is_file() and family in ("", "qwen"):
        return ByteLevelTokenizer(path)
    if path.suffix != ".txt" or not path.is_file() or family:
        raise DataError(
            f"No vocabulary{f' of family {family!r}' if family else ''} at {path}.\n"
            "Allowed: *.model (SentencePiece), tokenizer.json (byte-level BPE), *.txt (one piece a line), or a folder "
            "with a published vocabulary."
        )
    return PieceTokenizer(path.read_text(encoding="utf-8").split("\n")[:-1])


def _from_folder(folder: pathlib.Path, family: str) -> Tokenizer:
    row = FAMILIES[family or _family_of(folder)]
    file = next((folder / name for name in row.files if (folder / name).is_file()), None)
    if file is None:
        raise DataError(
            f"No vocabulary of family '{row.name}' in {folder}.\n"
            f"Found: {' '.join(sorted(path.name for path in folder.iterdir())[:20]) or 'nothing'}.\n"
            f"Allowed: {' or '.join(row.files)}, as the model's publisher has it."
        )
    if row.name == "qwen":
        return ByteLevelTokenizer(folder)
    return SentencePieceTokenizer(file, row.name, int(_json(folder / "tokenizer_config.json").get("extra_ids", 0)))


def _family_of(folder: pathlib.Path) -> str:
    """Returns the family that a folder's config files name, or else the one whose files it has."""
    model_type = _json(folder / "config.json").get("model_type", "")
    said = str(_json(folder / "tokenizer_config.json").get("tokenizer_class", ""))
    class_name = said.removesuffix("Fast").removesuffix("Tokenizer")
    for name, column in ((model_type, "model_types"), (class_name, "classes")):
        rows = {word: row.name for row in _ROWS for word in getattr(row, column).split()}
        if name in rows:
            return rows[name]
    if model_type:
        known = [word for row in _ROWS for word in row.model_types.split()]
        raise unknown("model type", model_type, known, WHERE, f"{folder}/config.json")
    for row in _ROWS:
        if any((folder / name).is_file() for name in row.files):
            return row.name
    names = ", ".join(name for row in _ROWS for name in row.files)
    raise DataError(f"No vocabulary in {folder}.\nAllowed: a folder with one of {names}.")


def _json(path: pathlib.Path) -> dict[str, Any]:
    """Returns a JSON object; an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}).\nCopy it again from the model's publisher.") from error
