"""Which hidden state to take sentence vectors from, chosen on dev languages: all of them come from one pass.

Published code does not agree on the layer (XTREME's reads one state for Tatoeba and another for BUCC), and the best one
moves with every stage of training. What it was chosen on stands in the protocol of every result.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from xling_jax.data.sources import is_there
from xling_jax.errors import ConfigError
from xling_jax.experiment import Target
from xling_jax.models.build import HeadSpec
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text
from xling_jax.protocol import ALL, FIELDS
from xling_jax.selection import compared
from xling_jax.stages.evaluation import Examiner
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, Cell, cells

DEV = "dev"
FILE = "layers.json"
WHERE = "`xling eval --help` lists the flags."


def has_layers(target: Target) -> bool:
    """Whether a target's answers depend on a layer."""
    return "layer" in FIELDS.get(TASKS[target.task].kind, ())


def dev_cells(target: Target, languages: str, data_dir: pathlib.Path | None) -> tuple[Cell, ...]:
    """Returns what a target's layer is chosen on: cells of its dev split, or of languages that are named for it.

    Raises ConfigError if there is no dev split whose files are there, and no language is named.
    """
    row, split = TASKS[target.task], target.split
    if DEV in row.splits and any(is_there(cell, data_dir) for cell in cells(target.task, DEV)):
        split = DEV
    found = cells(target.task, split, languages or "all")
    if not languages and split != DEV:
        raise ConfigError(
            f"--sweep_layers of {target.task}.{target.split}: it has no dev split to choose a layer on.\n"
            f"Allowed: --dev_languages=CODE,... of its own languages; results say that they were used for it.\n{WHERE}"
        )
    return found if languages else tuple(cell for cell in found if is_there(cell, data_dir))


def sweep(
    examiner: Examiner, heads: tuple[HeadSpec, ...], params: Any, target: Target, dev: tuple[Cell, ...]
) -> dict[int, dict[str, float]]:
    """Returns the first metric of every layer in every dev language: {layer: {language: percent}}."""
    everywhere = dataclasses.replace(
        target, split=dev[0].split, protocol=dataclasses.replace(target.protocol, layer=ALL)
    )
    evaluate = examiner.evaluator(heads, params, everywhere, beside=False)
    scores: dict[int, dict[str, float]] = {}
    with examiner.display.bar(f"  layers of {target.task}", len(dev), unit="languages") as bar:
        for number, (cell, found) in enumerate(zip(dev, evaluate.layers(dev), strict=True), start=1):
            for layer, percent in found.items():
                scores.setdefault(layer, {})[cell.language] = percent
            bar.advance(number, str(cell))
    return scores


def with_best_layer(target: Target, dev: tuple[Cell, ...], scores: Mapping[int, Mapping[str, float]]) -> Target:
    """Returns the target with the layer of the best mean over dev languages, the lowest among equals."""
    means = {layer: sum(by.values()) / len(by) for layer, by in scores.items()}
    said = f"{dev[0].task}.{dev[0].split}.{'+'.join(cell.language for cell in dev)}"
    return dataclasses.replace(
        target, protocol=dataclasses.replace(target.protocol, layer=compared(means), layer_from=said)
    )


def chosen_layers(
    examiner: Examiner,
    folder: pathlib.Path,
    examinee: tuple[tuple[HeadSpec, ...], Any],
    targets: Mapping[str, tuple[Target, tuple[Cell, ...]]],
) -> dict[str, Target]:
    """Returns targets with their layers chosen, and writes the scores of all layers to `folder`, once.

    Args:
      examiner: asks.
      folder: of the checkpoint's results.
      examinee: heads and parameters.
      targets: by name, each with the cells to choose on.
    """
    path = folder / FILE

    def scored() -> dict[str, Any]:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    known = hosts.first_does(f"layers of {folder.name}", scored)
    found = {}
    for name, (target, dev) in targets.items():
        key = f"{name} on {' '.join(map(str, dev))} with {target.protocol}"
        if key not in known:
            known[key] = sweep(examiner, *examinee, target, dev)
            write_text(path, json.dumps(known, indent=1) + "\n")
        scores = {int(layer): by for layer, by in known[key].items()}
        found[name] = with_best_layer(target, dev, scores)
        metric = KINDS[TASKS[target.task].kind].metrics[0]
        curve = " ".join(f"{layer}:{sum(by.values()) / len(by):.1f}" for layer, by in sorted(scores.items()))
        examiner.display.say(f"{name}: layer {found[name].protocol.layer}; {metric} on dev languages by layer {curve}")
    return found
