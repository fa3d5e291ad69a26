"""Byte-level BPE (Radford et al. 2019) as Qwen2.5 and Qwen3 use it, read by the `tokenizers` library.

Every byte is a piece, so nothing is unknown. Text is composed (NFC) first.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xling_jax.data.tokenizers.base import NONE, Encoding, Frame, Tokenizer, fingerprint, tighten
from xling_jax.disk import as_path, fetch, on_bucket
from xling_jax.errors import DataError

END = "<|endoftext|>"
# Where Qwen divides text before it looks for pieces: contractions; a letter run with one other character before it;
# single digits; punctuation with line ends after it; white space, of which the last character goes to the next word.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class ByteLevelTokenizer(Tokenizer):
    """Qwen's tokenizer, from a folder with tokenizer.json, or with vocab.json and merges.txt, or from the first file.

    `eos` and `pad` are those that tokenizer_config.json names, `<|endoftext|>` where there is none. The names of
    special tokens are text where a text has them.
    """

    family = "qwen"
    goes_on, gap = True, " "
    bos = unk = NONE

    def __init__(self, path: pathlib.Path | str):
        """Reads a vocabulary. Raises DataError if it is not there or not of this kind."""
        super().__init__()
        path = as_path(path)
        folder = path if path.is_dir() else path.parent
        files = _files(path)
        config = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        try:
            self._model = _read(files, config)
        except Exception as error:  # the library raises nothing narrower
            if isinstance(error, DataError):
                raise
            raise DataError(f"{files[0]} is not a vocabulary of byte-level BPE ({error}).") from error
        self.eos, self.pad = (self._special(config.get(name), folder) for name in ("eos_token", "pad_token"))
        self.size = self._model.get_vocab_size(with_added_tokens=True)
        self.frame = Frame.of([], [self.eos], [self.eos])
        self.fingerprint = fingerprint(*(file.read_bytes() for file in files), str((self.eos, self.pad)))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [self._model.id_to_token(int(number)) for number in ids]

    def _decode(self, ids: list[int]) -> str:
        return self._model.decode([number for number in ids if number < self.size])

    def _special(self, entry: Any, folder: pathlib.Path) -> int:
        name = (entry["content"] if isinstance(entry, dict) else entry) or END
        number = self._model.token_to_id(name)
        if number is None:
            raise DataError(
                f"The vocabulary in {folder} has no token '{name}'.\n"
                "Allowed: the eos_token and pad_token of tokenizer_config.json, or <|endoftext|>, as special tokens."
            )
        return number

    def _as_written(self, words: Sequence[str]) -> Sequence[str]:
        return [*words[:1], *(self.gap + word if word else word for word in words[1:])]

    def _ids(self, text: str) -> np.ndarray:
        return np.array(self._model.encode(text, add_special_tokens=False).ids, np.int32)

    def _encode(self, text: str) -> Encoding:
        found = self._model.encode(text, add_special_tokens=False)
        spans_Lx2 = np.maximum.accumulate(tighten(text, np.array(found.offsets, np.int32).reshape(-1, 2)), axis=0)
        # The library leaves out what was composed into the character before it: a piece reaches to the next one.
        next_L = np.append(spans_Lx2[1:, 0], len(text))[: len(spans_Lx2)]
        whole_Lx2 = np.stack([spans_Lx2[:, 0], np.maximum(spans_Lx2[:, 1], next_L)], axis=1)
        return Encoding(np.array(found.ids, np.int32), tighten(text, whole_Lx2))


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of a vocabulary."""
    folder = path if path.is_dir() else path.parent
    whole, parts = [folder / "tokenizer.json"], [folder / "vocab.json", folder / "merges.txt"]
    asked = [whole, parts] if path.is_dir() else [parts if path.name == "vocab.json" else [path]]
    for files in asked:
        if all(file.is_file() for file in files):
            return files
    raise DataError(f"No vocabulary at {path}.\nAllowed: tokenizer.json, or vocab.json with merges.txt beside it.")


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}).") from error


def _read(files: list[pathlib.Path], config: dict[str, Any]):
    """Returns the library's tokenizer."""
    import tokenizers  # noqa: PLC0415 - only this family needs it

    if on_bucket(files[0]):  # the library reads files of a disk
        with tempfile.TemporaryDirectory() as folder:
            fetch(files[0].parent, pathlib.Path(folder))
            return _read([pathlib.Path(folder) / file.name for file in files], config)
    if len(files) == 1:
        model = tokenizers.Tokenizer.from_file(str(files[0]))
    else:
        model = empty(tokenizers.models.BPE.from_file(*map(str, files)))
        added = config.get("added_tokens_decoder", {})
        tokens = [added[number] for number in sorted(added, key=int)] or [{"content": END, "special": True}]
        for token in tokens:
            model.add_tokens([tokenizers.AddedToken(token["content"], normalized=False, special=token["special"])])
    model.no_truncation()
    model.no_padding()
    model.encode_special_tokens = True
    return model


def empty(bpe):
    """Returns Qwen's way from text to bytes around a BPE model of the library."""
    import tokenizers  # noqa: PLC0415
    from tokenizers import decoders, normalizers, pre_tokenizers  # noqa: PLC0415

    model = tokenizers.Tokenizer(bpe)
    model.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(SPLIT), behavior="isolated")
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    model.decoder = decoders.ByteLevel()
    return model
