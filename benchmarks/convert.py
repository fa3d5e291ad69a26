"""How much memory it takes to bring in a model, and to give it out again, against its size on disk.

    python benchmarks/convert.py WORKDIR MODEL [MODEL ...]

Adds to convert.json beside this file. A folder of the model's shape is made in WORKDIR, of random bfloat16 numbers in
files of 5 GB as they are published; each conversion is a process of its own, whose largest resident size is read when
it is done. Needs about four bytes of disk a parameter and removes what it made.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
from subjects import conditions

from xling_jax.convert.importing import boxed_shapes
from xling_jax.models.build import build_config
from xling_jax.models.weights.families import FAMILIES, class_of, head_of
from xling_jax.models.weights.folder import CONFIG, INDEX
from xling_jax.models.weights.safetensors import Planned, write_file
from xling_jax.models.weights.tensors import names, theirs_shape
from xling_jax.tables.models import Model, model

LANGUAGE_HEADS = {"encoder": "mlm", "decoder": "lm", "seq2seq": "text_to_text"}
SHARD = 5 * 10**9
BLOCK = 1 << 25  # random numbers, from which tensors are filled at random places
OUT = pathlib.Path(__file__).with_name("convert.json")


def planned(row: Model) -> list[Planned]:
    """Returns the tensors of a model with its language head."""
    family, config = FAMILIES[row.family], build_config(row, row.vocab)
    heads = (head_of(LANGUAGE_HEADS[row.family], "language", ()),)
    shapes = {path: leaf.unbox().shape for path, leaf in boxed_shapes(config, heads).items()}
    found = []
    for tensor in family.tensors(config, heads):
        shape = shapes[tensor.ours]
        there = theirs_shape(tensor, shape[1:] if "{}" in tensor.theirs else shape, row.vocab)
        found += [Planned(name, "bfloat16", there) for name in names(tensor, shape[0])]
    return found


def make(folder: pathlib.Path, row: Model) -> None:
    """Writes a folder of a model's shape."""
    draw = np.random.default_rng(0)
    block = draw.standard_normal(BLOCK, np.float32).astype(jnp.bfloat16)
    folder.mkdir(parents=True)
    shards: list[list[Planned]] = [[]]
    for tensor in planned(row):
        if sum(each.bytes for each in shards[-1]) + tensor.bytes > SHARD:
            shards.append([])
        shards[-1].append(tensor)

    def numbers(tensor):
        return np.resize(block[int(draw.integers(BLOCK // 2)) :], tensor.shape)

    places = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard, map(numbers, shard))
        places |= {tensor.name: name for tensor in shard}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    family = FAMILIES[row.family]
    said = {"architectures": [class_of(family, row, LANGUAGE_HEADS[row.family])], **family.config_of(row)}
    (folder / CONFIG).write_text(json.dumps(said))


def size(folder: pathlib.Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(verb: str, folder: pathlib.Path, out: pathlib.Path, dtype: str) -> dict:
    """Returns what a conversion took, in a process of its own."""
    command = [sys.executable, "-m", "xling_jax", "convert", verb, str(folder), str(out), f"--dtype={dtype}"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{command} ended with {status}"
    target, most = size(out), used.ru_maxrss * 1024
    return {
        "conversion": verb,
        "dtype": dtype,
        "source_gb": round(size(folder) / 1e9, 2),
        "target_gb": round(target / 1e9, 2),
        "resident_most_gb": round(most / 1e9, 2),
        "resident_to_target": round(most / target, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime),
        "wall_s": round(time.monotonic() - began),
    }


def main(workdir: pathlib.Path, chosen: list[str]) -> None:
    """Measures some models, and puts their rows beside those that are there."""
    record = json.loads(OUT.read_text()) if OUT.exists() else {"models": {}}
    record["what"] = "largest resident size of a conversion's process, against the size of what it writes"
    record |= conditions()
    for name in chosen:
        row = model(name)
        source, ours, back = (workdir / name / part for part in ("source", "ours", "back"))
        make(source, row)
        rows = [measure("from-hf", source, ours, "float32")]
        shutil.rmtree(source)
        rows.append(measure("to-hf", ours, back, "bfloat16"))
        shutil.rmtree(workdir / name)
        record["models"][name] = {"parameters": row.params, "conversions": rows}
        OUT.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps(record["models"][name], indent=1))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
