"""From a checkpoint of ours to one that t5x trains on from, leaf by leaf: mT5 and umT5."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

from xling_jax.convert.drafts import draft
from xling_jax.convert.to_hf import Leaf, leaves_of
from xling_jax.errors import CheckpointError, ConfigError, Interrupted
from xling_jax.models.build import build_config
from xling_jax.models.card import Card, read_card
from xling_jax.models.weights import t5x
from xling_jax.train.checkpoint import PARAMS, open_own
from xling_jax.train.writer import Display


@dataclasses.dataclass(frozen=True)
class Options:
    """How to export. `dtype` is that of the numbers there, "" for that of the checkpoint."""

    dtype: str = ""


def to_t5x(
    folder: pathlib.Path,
    out: pathlib.Path,
    options: Options,
    display: Display,
    stop_asked: Callable[[], bool] = lambda: False,
) -> None:
    """Writes OUT, a folder checkpoint_<step>, in t5x's legacy layout. Nothing is left of what does not finish.

    Memory: about one leaf at a time, which has all layers.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged or of no family that t5x has, or OUT is there.
      ConfigError: OUT has no name that t5x reads.
      Interrupted: it was asked to stop.
    """
    step = _step(out)
    card = read_card(folder)
    if card.model.family != "seq2seq":
        raise CheckpointError(
            f"{folder} is of family '{card.model.family}', which t5x has no network for.\n"
            "Allowed: mT5 and umT5. `xling convert to-hf` writes any."
        )
    if out.exists():
        raise CheckpointError(
            f"{out} is there.\nAllowed: a folder that does not exist yet. Delete it, or name another."
        )
    with open_own(folder) as (checkpoints, own):
        saved = checkpoints.meta(own)[PARAMS]["shapes"]
        leaves = leaves_of(card, t5x.tensors(build_config(card.model, card.model.vocab)), saved)
        dtype = options.dtype or next(iter(saved.values()))[1]
        restore = functools.partial(checkpoints.restore_params, own)
        with draft(out) as part, display.bar("writing", len(leaves), unit="leaves") as bar:

            def arrays() -> Iterator[tuple[str, np.ndarray]]:
                for number, leaf in enumerate(leaves, start=1):
                    if stop_asked():
                        raise Interrupted("Stopped. Nothing of it is left.\nRun the same command again to convert.")
                    yield from _arrays(leaf, restore, card, dtype)
                    bar.advance(number)

            t5x.write_legacy(part, step, arrays())
    display.say(f"wrote {out}: {card.model.name}, {len(leaves)} leaves in {dtype}, no optimizer")


def _step(out: pathlib.Path) -> int:
    match = re.fullmatch(r"checkpoint_(\d+)", out.name)
    if match is None:
        raise ConfigError(
            f"t5x does not read a folder called {out.name}.\n"
            "Allowed: checkpoint_<step>; checkpoint_0 for one that t5x counts its steps from."
        )
    return int(match[1])


def _arrays(leaf: Leaf, restore: Callable, card: Card, dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, array in t5x.arrays_of(leaf.tensor, leaf.read(restore), card.model):
        yield name, array.astype(jnp.dtype(dtype))
