"""A folder as Hugging Face lays it out: config.json, and tensors in one file or in several with an index."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from xling_jax.errors import CheckpointError
from xling_jax.models.weights.safetensors import COPY_AGAIN, Stored, read_header

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns a JSON object; CheckpointError if the file is not there or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}.\nFound: {_listing(path.parent)}.\n"
            "Allowed: a folder as Hugging Face lays it out, or as `xling convert` writes it."
        ) from error
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}).\n{COPY_AGAIN}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object.\n{COPY_AGAIN}")
    return found


def _listing(folder: pathlib.Path) -> str:
    """Returns the first names in a folder."""
    if not folder.is_dir():
        return "no such folder"
    return " ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that the tensors are in. Raises CheckpointError if there are none, or not all of them."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        shards = sorted(set(_weight_map(folder).values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} lacks {len(missing)} of {len(shards)} shards: {_some(missing)}.\n"
                f"They are named in {INDEX}. Copy them from where the model is published."
            )
        return [folder / name for name in shards]
    if any((folder / name).is_file() for name in PICKLES):
        raise CheckpointError(
            f"{folder} has its tensors in a pickle, {_some(name for name in PICKLES if (folder / name).is_file())}: "
            "reading one runs whatever code is in it.\n"
            f"Allowed: {SINGLE}. Where you trust the file, and have PyTorch and transformers, with the CLASS that "
            f'{CONFIG} names:\n  python -c "import transformers; '
            f"transformers.CLASS.from_pretrained('{folder}').save_pretrained('{folder}-safetensors')\""
        )
    raise CheckpointError(
        f"{folder} has no tensors.\nFound: {_listing(folder)}.\nAllowed: {SINGLE}, or {INDEX} and its shards."
    )


def _weight_map(folder: pathlib.Path) -> dict[str, str]:
    """Returns the file of each tensor, by the index."""
    found = read_json(folder / INDEX).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise CheckpointError(f"{folder / INDEX} has no weight_map from tensors to files.\n{COPY_AGAIN}")
    outside = [name for name in found.values() if pathlib.Path(name).name != name]
    if outside:
        raise CheckpointError(f"{folder / INDEX} names a file that is not in the folder: {outside[0]}.\n{COPY_AGAIN}")
    return found


def open_tensors(folder: pathlib.Path) -> dict[str, Stored]:
    """Returns where each tensor of a folder lies. Reads headers only. Raises CheckpointError for what is not whole."""
    found: dict[str, Stored] = {}
    for path in weight_files(folder):
        found |= read_header(path)
    if (folder / SINGLE).is_file():
        return found
    lost = {name: file for name, file in _weight_map(folder).items() if name not in found}
    if lost:
        name, file = next(iter(lost.items()))
        raise CheckpointError(
            f"{folder / INDEX} names {len(lost)} tensors that no shard has, the first {name}, in {file}.\n"
            "The shards are of another version than the index. Copy all of them again from one place."
        )
    return found


def _some(names: Iterable[str], most: int = 4) -> str:
    """Returns the first names of a list."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
