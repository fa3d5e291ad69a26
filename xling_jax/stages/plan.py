"""An experiment as a graph of stages. A stage's name on disk holds a hash of all that decides it.

So a stage that several arms or experiments share is trained once, and a run that is started again finds
what it has done.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

from xling_jax.checks import form_of
from xling_jax.errors import ConfigError
from xling_jax.eval.suite import others_of
from xling_jax.experiment import Experiment, Part, Stage, Target, Vocabulary, digest, with_prompts
from xling_jax.mixing import Mixing
from xling_jax.models.build import HeadSpec, head_spec
from xling_jax.models.card import Card
from xling_jax.selection import TARGET_DEV, Selection, source_dev
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import Model, decides, model
from xling_jax.tables.prompts import HEADS, asked, prompt_of
from xling_jax.tables.tasks import TASKS, Cell, Task, parse_cells

DEV = "dev"
STAGE_VERSION = 4  # raise it when training changes what it computes
UNSEEN = ("log_every",)  # fields of a stage that do not change its result; nor when it saves, if nothing is selected
WORDS = ("prompts", "answer_length")  # what says how to answer in words
SPEAKERS = {  # by family: what says all answers in words; its name is that in an imported checkpoint
    "seq2seq": HeadSpec("text_to_text", "text_to_text"),
    "decoder": HeadSpec("lm", "lm"),
}


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

    def owner(self, head: str) -> "Node | None":
        """Returns the stage that has a head, this one or the nearest before it; None if none has."""
        spoken = {cell.row.head_name for cell in self.stage.cells()} if self.stage.prompts else set()
        if head in {spec.name for spec in self.heads} | spoken:
            return self
        return self.parent.owner(head) if self.parent else None

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
    """A checkpoint, one of its folder's, that stands in for pretraining.

    `fingerprint` is a hash of its parameters, wherever it lies.
    """

    folder: pathlib.Path
    step: int
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
    form: str = HEADS  # of answers; else how they are asked for in words (see `experiment.form_of`)

    def targets_of(self, node: Node) -> dict[str, Target]:
        """Returns the targets evaluated on a stage, each once."""
        names = dict.fromkeys(e.target for e in self.evaluations if e.node == node)
        return {name: self.experiment.targets[name] for name in names}

    def remembered(self, node: Node) -> dict[str, tuple[Target, Node]]:
        """Returns what a stage is asked again of tasks that it or a stage before it was trained on.

        By name: the cell as a target, and the stage that has its head.
        """
        found = {}
        for text in self.experiment.remember:
            (cell,) = parse_cells(text)
            owner = node.owner(cell.row.head_name)
            if owner is not None:
                length = owner.stage.lengths()[-1]
                target = Target(cell.task, None, cell.split, cell.language, length)
                target = dataclasses.replace(
                    target, answer_length=owner.stage.answer_length, prompts=owner.stage.prompts
                )
                found[text] = target, node if owner.stage.prompts else owner
        return found

    def parts(self) -> list[Part]:
        """Returns every part of a cell that is trained on, selected on or evaluated, each once."""
        limits = self.experiment.limits
        trained = [node for node in self.nodes if not node.imported]
        parts = [part for node in trained for part in node.stage.parts(limits)]
        targets = [*self.experiment.targets.values(), *(judge(n.stage) for n in trained if n.stage.selection.judged)]
        for node in self.nodes:
            targets += [target for target, _ in self.remembered(node).values()]
            targets += [dev_of(target) for target in self.targets_of(node).values() if compares_dev(node)]
        for target in targets:
            each = (cell for own in target.cells() for cell in (own, *others_of(own, target)))
            parts += [target.part(cell, limits) for cell in each]
        parts += [*self.experiment.watch.parts(), *filter(None, [self.experiment.timed()])]
        return list(dict.fromkeys(parts))


def judge(stage: Stage) -> Target:
    """Returns the cell that a stage's checkpoints are judged on, as what a model is asked."""
    cell = source_dev(stage.selection, stage.labelled_languages(), "a stage").cell
    return Target(cell.task, stage, cell.split, cell.language, prompts=stage.prompts)


def compares_dev(node: Node) -> bool:
    """Whether a stage's checkpoints are compared on the dev cells of target languages."""
    return TARGET_DEV in node.stage.selection.policies


def dev_of(target: Target) -> Target:
    """Returns what is asked on the dev split of a target's languages. ConfigError where one of them has none."""
    row = TASKS[target.task]
    there = row.splits[DEV].languages.split() if DEV in row.splits else []
    missing = [cell.language for cell in target.cells() if cell.language not in there]
    if missing:
        raise ConfigError(
            f"Policy '{TARGET_DEV}' needs a dev split of '{target.task}' in {' '.join(missing)}.\n"
            f"Allowed: languages that have one: {' '.join(there) or 'none'}. Or leave the policy out.\n"
            "Policies are fields of xling_jax/selection.py."
        )
    return dataclasses.replace(target, split=DEV)


def heads_of(stage: Stage, family: str = "", form: str = HEADS) -> tuple[HeadSpec, ...]:
    """Returns the heads a stage trains; tasks may share one, and in words all share the same."""
    if form != HEADS:
        return (SPEAKERS[family],)
    return tuple(sorted({head_spec(TASKS[cell.task]) for cell in stage.cells()}))


def _identity(
    experiment: Experiment, body: tuple, stage: Stage, seed: int, *, checksum: Callable[[Cell], str], form: str
) -> str:
    """Returns the hash of everything that decides what a stage computes. `body`: what it starts from, its row first."""
    unseen = UNSEEN + (("save_every", "selection") if stage.selection == Selection() else ())
    unseen += WORDS if form == HEADS else ("prompts",)  # what they are stands in the hash itself
    fields = {name: value for name, value in dataclasses.asdict(stage).items() if name not in unseen}
    data = {str(cell): checksum(cell) for cell in stage.cells()}
    limits = {cell.split: experiment.limits.get(cell.split, 0) for cell in stage.cells()}
    row, *start = body
    heads = heads_of(stage, row.family, form)
    words = [] if form == HEADS else [{cell.task: prompt_of(cell.row, form) for cell in stage.cells()}]
    return digest(STAGE_VERSION, decides(row), experiment.dtype, start, fields, data, limits, heads, seed, *words)


def make_plan(
    experiment: Experiment,
    vocabulary: str,
    checksum: Callable[[Cell], str],
    start: Start | None = None,
    known: dict[str, Node] | None = None,
) -> Plan:
    """Returns the graph of an experiment.

    Args:
      experiment: what is declared.
      vocabulary: hash of the vocabulary.
      checksum: of a cell's source.
      start: the experiment's checkpoint, if it has one.
      known: stages of other experiments in the same folder, by hash: what is the same is the same stage, under the name
        it has there. Those of this one are added.
    """
    row = start.card.model if start else model(experiment.model)
    form, experiment = form_of(experiment, row), with_prompts(experiment, row)
    nodes: dict[str, Node] = {}
    known = {} if known is None else known

    def node(name: str, stage: Stage, seed: int, parent: Node | None) -> Node:
        body = (row, vocabulary, parent.hash if parent else "random")
        identity = _identity(experiment, body, stage, seed, checksum=checksum, form=form)
        return add(Node(name, identity, stage, seed, parent, heads_of(stage, row.family, form)))

    def add(made: Node) -> Node:
        return nodes.setdefault(made.hash, known.setdefault(made.hash, made))

    if start:
        pretrained = add(Node("checkpoint", start.fingerprint, Stage(), 0, None, start.card.heads, imported=True))
    else:
        pretrained = node("pretrain", experiment.pretrain, experiment.pretrain_seed, None)
    evaluations = []
    for seed in experiment.seeds:
        for arm_name, arm in experiment.arms.items():
            body = pretrained
            for part, stage in arm.chain().items():
                body = node(f"{arm_name}{part}_s{seed}", stage, seed, body)
            for target_name, target in experiment.targets.items():
                last = node(f"{arm_name}_{target_name}_s{seed}", target.stage, seed, body) if target.stage else body
                _check_answered(last, target_name, answered_by(TASKS[target.task], row, form != HEADS), target)
                evaluations.append(Evaluation(arm_name, seed, target_name, last))
    return Plan(experiment, row, start, vocabulary, tuple(nodes.values()), tuple(evaluations), form)


def answered_by(task: Task, row: Model, text: bool) -> str:
    """Returns the name of the head that answers a task, "" if the body does; `text`: in words, where it can."""
    if text and asked(task.kind):
        return SPEAKERS[row.family].name if row.family == "decoder" else ""
    return task.head_name if KINDS[task.kind].trained else ""


def _check_answered(node: Node, name: str, head: str, target: Target) -> None:
    """Raises ConfigError if a checkpoint has no head for a target that is evaluated on it as it is."""
    if node.imported and head and head not in {each.name for each in node.heads}:
        there = ", ".join(each.name for each in node.heads) or "none"
        raise ConfigError(
            f"Target '{name}' is answered by head '{head}', and the checkpoint has: {there}.\n"
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
    words = f"; answers in words, prompts '{plan.form}'" if plan.form != HEADS else ""
    yield f"experiment {plan.experiment.name}: model {row.name}, {size}; {len(plan.nodes)} stages{words}"
    for node in plan.nodes:
        done = "done" if (workdir / "stages" / node.folder / "DONE").is_file() else "to do"
        if node.imported:
            yield f"  {node.folder} [{done}]: imported"
            yield from _evaluated(plan, node)
            continue
        stage = node.stage
        length = f"{stage.steps} steps" if stage.steps else f"{stage.epochs:g} epochs"
        packed = " packed" if stage.packing else ""
        amount = f"{stage.examples} examples of " if stage.examples else ""
        start = node.parent.folder if node.parent else "random parameters"
        head = f", head {stage.handover.head}" if plan.form == HEADS else ""  # what says answers goes with the body
        moves = f"body {stage.handover.body}{head}" if node.parent else "all fresh"
        yield f"  {node.folder} [{done}]: {length} of {stage.batch_size}{packed}, {amount}{' '.join(stage.data)}"
        yield f"      from {start}: {moves}; seed {node.seed}; learning rate {stage.optim.learning_rate:g}"
        if stage.optim.name != "adamw" or stage.optim.trains():
            yield f"      {', '.join((stage.optim.name, *stage.optim.trains()))}"
        if stage.selection != Selection():
            yield f"      {_selecting(stage)}"
        if stage.mixing != Mixing():
            yield f"      mixing: {', '.join(_differing(stage.mixing))}"
        yield from _evaluated(plan, node)


def _selecting(stage: Stage) -> str:
    """Returns how a stage's checkpoint is chosen, as a line of the plan."""
    selection = stage.selection
    on = f" on {selection.dev}" if selection.judged else ""
    patience = f", stops after {selection.patience} without a better one" if selection.patience else ""
    beside = f"; beside it {', '.join(selection.policies[1:])}" if selection.policies[1:] else ""
    return f"checkpoint every {stage.save_every} steps, chosen by {selection.policy}{on}{patience}{beside}"


def _evaluated(plan: Plan, node: Node) -> Iterator[str]:
    """Yields a line for each target that is evaluated after a stage."""
    for name, target in plan.targets_of(node).items():
        languages = " ".join(cell.language for cell in target.cells())
        yield f"      then evaluates {name}: {target.task}.{target.split} in {languages}"
    again = [text for text, (_, owner) in plan.remembered(node).items() if owner != node]
    if again:
        yield f"      and is asked again: {', '.join(again)}"
