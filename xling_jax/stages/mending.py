"""Going back behind a damaged checkpoint: what is damaged is kept aside, and its stage makes it again.

A stage's order and randomness are functions of its step, so what is made again is what was lost.
"""

import pathlib

from xling_jax.disk import move
from xling_jax.errors import DamagedError
from xling_jax.stages.plan import Node, Plan
from xling_jax.stages.record import stage_folder
from xling_jax.train.checkpoint import CHECKPOINTS, COMMIT

ASIDE = "damaged"  # folder in a stage's folder


def owner(plan: Plan, workdir: pathlib.Path, error: DamagedError) -> Node | None:
    """Returns the stage whose checkpoint is damaged; None for a checkpoint from elsewhere, which no stage can make."""
    trained = (node for node in plan.nodes if not node.imported)
    return next((node for node in trained if stage_folder(workdir, node.folder) in error.path.parents), None)


def set_aside(stage: pathlib.Path, damaged: pathlib.Path) -> list[pathlib.Path]:
    """Moves what is damaged to STAGE/damaged, and returns where to. The stage is no longer done.

    Of checkpoints those after it go, too: a stage goes on from its newest one, and must pass this step again.
    """
    (stage / "DONE").unlink(missing_ok=True)
    found = [damaged]
    if damaged.parent == stage / CHECKPOINTS:
        steps = [path for path in damaged.parent.glob("*") if path.name.isdigit()]
        found = sorted((path for path in steps if int(path.name) >= int(damaged.name)), key=lambda path: int(path.name))
    moved = []
    for path in found:
        if path.exists():
            moved.append(_free_name(stage / ASIDE / path.name))
            move(path, moved[-1], first=COMMIT)
    return moved


def _free_name(path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    names = (path.with_name(f"{path.name}{f'-{number}' if number else ''}") for number in range(1000))
    return next(name for name in names if not name.exists())
