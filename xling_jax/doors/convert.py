"""`xling convert`: weights in and out."""

import os
import pathlib
from typing import Any

from absl import flags

from xling_jax.disk import on_disk
from xling_jax.doors.flags import parse
from xling_jax.doors.run import quiet_libraries
from xling_jax.doors.stopping import catch_signals
from xling_jax.errors import ConfigError, unknown

ABOUT = """xling convert from-hf FOLDER OUT     a Hugging Face folder (config, safetensors, tokenizer) -> a checkpoint
xling convert from-t5x FOLDER OUT    a t5x checkpoint of mT5 or umT5 (checkpoint_1000000) -> a checkpoint
xling convert to-hf CHECKPOINT OUT   a stage's folder, or what from-hf wrote -> a folder that transformers loads
xling convert to-t5x CHECKPOINT OUT  the same, of mT5 or umT5 -> a folder checkpoint_0 that t5x trains on from
xling convert list                   models, sizes, where they are published, as the page docs/models.md

Both ways go tensor by tensor; OUT appears when it is whole."""

DTYPES = ("float32", "bfloat16")


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    _define_flags(values)
    words = parse(values, "convert", argv, ABOUT)
    verbs = {"from-hf": _import, "from-t5x": _import, "to-hf": _to_hf, "to-t5x": _to_t5x, "list": _list}
    if not words or words[0] not in verbs:
        raise unknown("conversion", words[0] if words else "", verbs, "`xling convert --help` says more.")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing here needs an accelerator
    quiet_libraries()
    verbs[words[0]](words[0], words[1:], values)


def _define_flags(values: flags.FlagValues) -> None:
    about = "Of the numbers that are written. from-hf: float32 if not given; to-hf: that of the checkpoint."
    flags.DEFINE_enum("dtype", None, DTYPES, about, flag_values=values)
    about = (
        "from-hf: auto or none. to-hf: the name of a head; none for the body alone; may be left out if there is one."
    )
    flags.DEFINE_string("head", "auto", about, flag_values=values)
    flags.DEFINE_string("task", "", "from-hf: a task that the head answers, by its labels.", flag_values=values)
    about = "A folder or file with the vocabulary, where it is not that of the folder; none for no vocabulary."
    flags.DEFINE_string("tokenizer", "", about, flag_values=values)
    about = (
        "from-hf: rows of the vocabulary are filled up with zeros to a multiple of this, so that devices share them."
    )
    flags.DEFINE_integer("multiple", 128, about, lower_bound=1, flag_values=values)
    about = "to-hf: GB of a file, above which there are several."
    flags.DEFINE_float("shard_size", 5.0, about, lower_bound=0.0, flag_values=values)


def _two_paths(verb: str, words: list[str]) -> tuple[pathlib.Path, pathlib.Path]:
    if len(words) != 2:
        raise ConfigError(f"`xling convert {verb}` takes two folders, from and to; found {len(words)}.")
    return on_disk(words[0]), on_disk(words[1])


def _options(cls: Any, named: dict[str, Any]) -> Any:
    """Returns the options of a conversion; a flag that is not given leaves its default."""
    return cls(**{name: value for name, value in named.items() if value is not None})


def _import(verb: str, words: list[str], values: flags.FlagValues) -> None:
    folder, out = _two_paths(verb, words)

    from xling_jax.convert import importing  # noqa: PLC0415 - after the flags, which answer at once
    from xling_jax.train.writer import Display  # noqa: PLC0415

    named = {name: values[name].value for name in ("dtype", "head", "task", "tokenizer", "multiple")}
    head = str(named["head"])
    if head not in ("auto", "none"):
        raise unknown("value", head, ("auto", "none"), "`xling convert --help` says more.", "'--head'")
    opened = {"from-hf": importing.open_hf, "from-t5x": importing.open_t5x}[verb]
    planned = importing.plan_import(folder, _options(importing.Options, named), opened)
    importing.bring_in(planned, out, Display(), catch_signals())


def _to_hf(verb: str, words: list[str], values: flags.FlagValues) -> None:
    folder, out = _two_paths(verb, words)

    from xling_jax.convert.to_hf import Options, to_hf  # noqa: PLC0415
    from xling_jax.train.writer import Display  # noqa: PLC0415

    named = {name: values[name].value for name in ("dtype", "head", "tokenizer", "shard_size")}
    to_hf(folder, out, _options(Options, named), Display(), catch_signals())


def _to_t5x(verb: str, words: list[str], values: flags.FlagValues) -> None:
    folder, out = _two_paths(verb, words)

    from xling_jax.convert.to_t5x import Options, to_t5x  # noqa: PLC0415
    from xling_jax.train.writer import Display  # noqa: PLC0415

    to_t5x(folder, out, _options(Options, {"dtype": values["dtype"].value}), Display(), catch_signals())


def _list(verb: str, words: list[str], values: flags.FlagValues) -> None:
    from xling_jax.convert.page import page  # noqa: PLC0415

    print(page(), end="")
