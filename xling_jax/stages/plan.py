"""An experiment as a graph of stages. A stage's name on disk holds a hash of all that decides it.

So a stage that several arms or experiments share is trained once, and a run that is started again finds
what it has done.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

from xling_jax.errors import ConfigError
from xling_jax.eval.suite import others_of
from xling_jax.experiment import Experiment, Part, Stage, Target, Vocabulary, digest
from xling_jax.mixing import Mixing
from xling_jax.models.build import HeadSpec, head_spec
from xling_jax.models.card import Card
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import Model, decides, model
from xling_jax.tables.tasks import TASKS, Cell

STAGE_VERSION = 4  # raise it when training changes what it computes
UNSEEN = ("save_every", "log_every")  # fields of a stage that do not change its result


@dataclasses.dataclass(frozen=True)
class Node:
    """One stage of the graph. `parent` is the stage whose checkpoint it starts from."""

    name: str
    hash: str
    stage: Stage
    seed: int
    parent: "Node | None"
    heads: tuple[HeadSpec, ...]
    imported: bool = False  # a checkpoint from elsewhere: nothing to train

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.hash}"

    def seen_languages(self) -> tuple[str, ...]:
        """Returns the languages that this stage or one before it had labels in."""
        before = self.parent.seen_languages() if self.parent else ()
        return tuple(dict.fromkeys(before + self.stage.labelled_languages()))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One cell of the experiment's table: an arm's seed on a target, and the stage that is evaluated."""

    arm: str
    seed: int
    target: str
    node: Node


@dataclasses.dataclass(frozen=True)
class Start:
    """A checkpoint that stands in for pretraining. `fingerprint` is a hash of its parameters, wherever it lies."""

    folder: pathlib.Path
    card: Card
    vocabulary: Vocabulary
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The stages in the order they run, and what is evaluated after which of them."""

    experiment: Experiment
    row: Model
    start: Start | None
    vocabulary: str  # hash
    nodes: tuple[Node, ...]
    evaluations: tuple[Evaluation, ...]

    def targets_of(self, node: Node) -> list[str]:
        """Returns the targets evaluated on a stage, each once."""
        return list(dict.fromkeys(e.target for e in self.evaluations if e.node == node))

    def parts(self) -> list[Part]:
        """Returns every part of a cell that is trained on or evaluated, each once."""
        limits = self.experiment.limits
        trained = [part for node in self.nodes if not node.imported for part in node.stage.parts(limits)]
        evaluated = [
            target.part(cell, limits)
            for target in self.experiment.targets.values()
            for own in target.cells()
            for cell in (own, *others_of(own, target))
        ]
        return list(dict.fromkeys(trained + evaluated))


def heads_of(stage: Stage) -> tuple[HeadSpec, ...]:
    """Returns the heads a stage trains; tasks may share one."""
    return tuple(sorted({head_spec(TASKS[cell.task]) for cell in stage.cells()}))


def _identity(experiment: Experiment, body: tuple, stage: Stage, seed: int, checksum: Callable[[Cell], str]) -> str:
    """Returns the hash of everything that decides what a stage computes. `body`: what it starts from, its row first."""
    fields = {name: value for name, value in dataclasses.asdict(stage).items() if name not in UNSEEN}
    data = {str(cell): checksum(cell) for cell in stage.cells()}
    limits = {cell.split: experiment.limits.get(cell.split, 0) for cell in stage.cells()}
    heads = heads_of(stage)
    row, *start = body
    return digest(STAGE_VERSION, decides(row), experiment.dtype, start, fields, data, limits, heads, seed)


def make_plan(
    experiment: Experiment, vocabulary: str, checksum: Callable[[Cell], str], start: Start | None = None
) -> Plan:
    """Returns the graph of an experiment.

    Args:
      experiment: what is declared.
      vocabulary: hash of the vocabulary.
      checksum: of a cell's source.
      start: the experiment's checkpoint, if it has one.
    """
    row = start.card.model if start else model(experiment.model)
    nodes: dict[str, Node] = {}

    def node(name: str, stage: Stage, seed: int, parent: Node | None) -> Node:
        body = (row, vocabulary, parent.hash if parent else "random")
        identity = _identity(experiment, body, stage, seed, checksum)
        made = Node(name, identity, stage, seed, parent, heads_of(stage))
        return nodes.setdefault(identity, made)

    if start:
        pretrained = Node("checkpoint", start.fingerprint, Stage(), 0, None, start.card.heads, imported=True)
        nodes[pretrained.hash] = pretrained
    else:
        pretrained = node("pretrain", experiment.pretrain, experiment.pretrain_seed, None)
    evaluations = []
    for seed in experiment.seeds:
        for arm_name, arm in experiment.arms.items():
            body = node(f"{arm_name}_s{seed}", arm.stage, seed, pretrained) if arm.stage else pretrained
            for target_name, target in experiment.targets.items():
                last = node(f"{arm_name}_{target_name}_s{seed}", target.stage, seed, body) if target.stage else body
                _check_answered(last, target_name, target)
                evaluations.append(Evaluation(arm_name, seed, target_name, last))
    return Plan(experiment, row, start, vocabulary, tuple(nodes.values()), tuple(evaluations))


def _check_answered(node: Node, name: str, target: Target) -> None:
    """Raises ConfigError if a checkpoint has no head for a target that is evaluated on it as it is."""
    row = TASKS[target.task]
    if node.imported and KINDS[row.kind].trained and row.head_name not in {head.name for head in node.heads}:
        there = ", ".join(head.name for head in node.heads) or "none"
        raise ConfigError(
            f"Target '{name}' is answered by head '{row.head_name}', and the checkpoint has: {there}.\n"
            f"Allowed: a stage that trains the head; or a checkpoint converted with --task={target.task}, if it has it."
        )


def _differing(mixing: Mixing) -> Iterator[str]:
    """Yields the fields of a mixing that are not the default."""
    for field in dataclasses.fields(mixing):
        if getattr(mixing, field.name) != field.default:
            yield f"{field.name} {getattr(mixing, field.name)}"


def describe(plan: Plan, workdir: pathlib.Path) -> Iterator[str]:
    """Yields the plan as lines of text: each stage, where it starts, what it trains on, what follows."""
    row = plan.row
    size = f"{row.layers} layers of width {row.width}"
    yield f"experiment {plan.experiment.name}: model {row.name}, {size}; {len(plan.nodes)} stages"
    for node in plan.nodes:
        done = "done" if (workdir / "stages" / node.folder / "DONE").exists() else "to do"
        if node.imported:
            yield f"  {node.folder} [{done}]: imported"
            yield from _evaluated(plan, node)
            continue
        stage = node.stage
        length = f"{stage.steps} steps" if stage.steps else f"{stage.epochs:g} epochs"
        packed = " packed" if stage.packing else ""
        amount = f"{stage.examples} examples of " if stage.examples else ""
        start = node.parent.folder if node.parent else "random parameters"
        moves = f"body {stage.handover.body}, head {stage.handover.head}" if node.parent else "all fresh"
        yield f"  {node.folder} [{done}]: {length} of {stage.batch_size}{packed}, {amount}{' '.join(stage.data)}"
        yield f"      from {start}: {moves}; seed {node.seed}; learning rate {stage.optim.learning_rate:g}"
        if stage.optim.name != "adamw" or stage.optim.trains():
            yield f"      {', '.join((stage.optim.name, *stage.optim.trains()))}"
        if stage.mixing != Mixing():
            yield f"      mixing: {', '.join(_differing(stage.mixing))}"
        yield from _evaluated(plan, node)


def _evaluated(plan: Plan, node: Node) -> Iterator[str]:
    """Yields a line for each target that is evaluated after a stage."""
    for name in plan.targets_of(node):
        target = plan.experiment.targets[name]
        languages = " ".join(cell.language for cell in target.cells())
        yield f"      then evaluates {name}: {target.task}.{target.split} in {languages}"
