"""What an experiment will do, counted from its plan: the steps of each stage, the batches of each evaluation.

No data are needed: examples are those that the publisher of a split counts, as its row says, and one feature is made of
each. Where a row has no count, files at hand are counted instead; in evaluation, a language without either counts as
much as the largest of its split.
"""

import collections
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Collection, Iterable

from xling_jax.checks import named_stages
from xling_jax.data.batches import blank, bucket
from xling_jax.data.prepare import raw_examples, table_of
from xling_jax.data.sources import is_there
from xling_jax.data.texts import rows_of, shapes
from xling_jax.errors import ConfigError, unknown
from xling_jax.eval.suite import others_of
from xling_jax.experiment import Experiment, Part, Stage, Target
from xling_jax.models.build import HeadSpec
from xling_jax.selection import candidates
from xling_jax.stages.evaluation import questions, step_questions
from xling_jax.stages.plan import SPEAKERS, Node, Plan, heads_of, judge
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import Model
from xling_jax.tables.prompts import HEADS
from xling_jax.tables.tasks import TASKS, Task

Counter = Callable[[Part], int | None]  # examples of a part; None where nobody knows
CHECKPOINT = "checkpoint"  # the name of what is evaluated as it was imported


@dataclasses.dataclass(frozen=True)
class Batch:
    """The arrays of a batch by name, (shape, dtype), and its tokens, padding among them."""

    arrays: tuple[tuple[str, tuple[int, ...], str], ...]
    rows: int
    length: int
    tokens: int


@dataclasses.dataclass(frozen=True)
class Training:
    """The step of a stage on one kind of batch, and how many of its steps are of that kind."""

    name: str
    heads: tuple[HeadSpec, ...]
    head: HeadSpec
    stage: Stage
    kind: str
    batch: Batch
    steps: int


@dataclasses.dataclass(frozen=True)
class Asking:
    """The evaluation of a target by some heads, and how many batches it has in all."""

    name: str
    heads: tuple[HeadSpec, ...]
    target: Target
    kind: str
    batch: Batch
    batches: int


@dataclasses.dataclass(frozen=True)
class StageWork:
    """What one declared stage costs: how often it is trained (seeds, arms), and what is asked after all of these."""

    name: str
    trained: int
    trainings: tuple[Training, ...]
    askings: tuple[Asking, ...]


def counter(data_dir: pathlib.Path | None) -> Counter:
    """Returns what counts the examples of a part of a cell."""

    def count(part: Part) -> int | None:
        row, split = part.cell.row, part.cell.row.splits[part.cell.split]
        known = int(split.path) if row.reader == "world" else split.published(part.cell.language)
        if known is None and is_there(part.cell, data_dir):
            known = sum(1 for _ in raw_examples(part, data_dir))
        return known if known is None or not part.count else min(known, part.count)

    return functools.cache(count)


def largest_batch(row: Model, part: Part, rows: int, *, packed: bool, training: bool) -> Batch:
    """Returns the largest batch of a part: every row as long as may be."""
    table = table_of(part.cell.row.kind, part.form, max(row.pad, 0), part.answer_length)
    choices = _choices(part.cell.row, part.form, training)
    made = blank(table, rows, part.max_length, choices=choices, packed=packed)
    if not training:
        del made["index"]
    tokens = made["input_ids"].size
    if row.family == "seq2seq":
        tokens += made["labels"].size if "labels" in made and part.form != HEADS else 0
    arrays = tuple((name, array.shape, str(array.dtype)) for name, array in sorted(made.items()))
    return Batch(arrays, rows, part.max_length, tokens)


def packed_batch(rows: int, length: int) -> Batch:
    """Returns a batch of packed rows of texts, as they are read for an evaluation."""
    arrays = tuple((name, shape, "int32") for name, shape in sorted(shapes(rows, length).items()))
    return Batch(arrays, rows, length, rows * length)


def _choices(row: Task, form: str, training: bool) -> int:
    """Returns how many choices or texts an example has, 1 where its format has none."""
    if form != HEADS:
        return {"pair_classification": len(row.labels), "multiple_choice": row.choices}.get(row.kind, 1)
    return {"multiple_choice": row.choices, "retrieval": 2, "dual_encoder": 1 + training}.get(row.kind, 1)


def declared(experiment: Experiment) -> dict[str, Stage]:
    """Returns the stages of an experiment by what --stage calls them: pretrain, arms.NAME, targets.NAME."""
    return ({} if experiment.checkpoint else {"pretrain": experiment.pretrain}) | dict(named_stages(experiment))


def work_of(plan: Plan, count: Counter, only: str = "", trained: Collection[str] = ()) -> list[StageWork]:
    """Returns what each stage of a plan does; of equal ones, which are trained once, the first.

    `only` is the name of one, or CHECKPOINT for what is evaluated as it was imported; `trained` are hashes of stages
    that others train, and that are only evaluated here. Raises ConfigError for a name that no stage has, and where the
    examples of a stage cannot be counted.
    """
    names = declared(plan.experiment)
    if only and only not in (*names, CHECKPOINT):
        raise unknown("stage", only, names, "Stages are declared in the config: pretrain, arms, targets.")
    groups: dict[tuple, list[Node]] = collections.defaultdict(list)
    for node in plan.nodes:
        groups[node.imported, node.stage, node.hash in trained].append(node)
    found = []
    for (imported, stage, elsewhere), nodes in groups.items():
        called = [CHECKPOINT] if imported else [name for name, other in names.items() if other == stage]
        if not only or only in called:
            steps = 0 if imported else _steps(stage, plan, count)
            trains = not (imported or elsewhere)
            trainings = _trainings(only or called[0], stage, plan, steps, count) if trains else ()
            askings = _askings(plan, nodes, steps, count, judged=trains)
            if trainings or askings:
                found.append(StageWork(only or called[0], len(nodes) * trains, trainings, askings))
    return found


def _features(stage: Stage, plan: Plan, count: Counter) -> list[int]:
    """Returns the features of each cell; where only steps are declared and a cell is not counted, equal shares."""
    parts = stage.parts(plan.experiment.limits)
    found = [count(part) for part in parts]
    unknown_to_all = [str(part.cell) for part, known in zip(parts, found, strict=True) if known is None]
    if unknown_to_all and not stage.steps:
        raise ConfigError(
            f"How many examples {unknown_to_all[0]} has is not published, and its files are not here.\n"
            "Allowed: --data_dir=DIR with its files; or `steps` of a stage in the place of `epochs`.\n"
            "Counts are columns of xling_jax/tables/rows."
        )
    return [1 if unknown_to_all else known or 0 for known in found]


def _steps(stage: Stage, plan: Plan, count: Counter) -> int:
    return stage.steps or stage.length(_features(stage, plan, count), stage.batch_size)


def _trainings(name: str, stage: Stage, plan: Plan, steps: int, count: Counter) -> tuple[Training, ...]:
    """Returns a training for each kind of batch that a stage has."""
    heads, parts = heads_of(stage, plan.row.family, plan.form), stage.parts(plan.experiment.limits)
    rates = stage.rates(_features(stage, plan, count))
    kinds: dict[tuple, float] = collections.defaultdict(float)
    examples: dict[tuple, Part] = {}
    for part, rate in zip(parts, rates, strict=True):
        speaker = SPEAKERS.get(plan.row.family) if part.form != HEADS else None
        head = speaker or next(head for head in heads if head.name == part.cell.row.head_name)
        key = (head, part.cell.row.kind, _choices(part.cell.row, part.form, True))
        kinds[key] += rate
        examples.setdefault(key, part)
    found = []
    for key, rate in kinds.items():
        head, kind, _ = key
        packed = stage.packing and KINDS[kind].packs
        batch = largest_batch(plan.row, examples[key], stage.batch_size, packed=packed, training=True)
        found.append(Training(name, heads, head, stage, kind, batch, round(steps * rate / sum(kinds.values()))))
    return tuple(found)


def _askings(plan: Plan, nodes: Iterable[Node], steps: int, count: Counter, judged: bool) -> tuple[Asking, ...]:
    """Returns every evaluation after a stage, of all policies and, where these need it, of every checkpoint.

    `judged`: with that of checkpoints as they are saved.
    """
    found: dict[tuple, Asking] = {}
    for node in nodes:
        every = node.stage.save_every
        saved = candidates([*range(every, steps, every), steps] if every else [steps], every, steps)
        asked = [*questions(plan, node), *step_questions(plan, node, saved)]
        todo = [(q.name, q.head.heads if q.head else node.heads, q.target, 1) for q in asked]
        if judged and node.stage.selection.judged:
            todo.append((f"{node.stage.selection.dev} (selection)", node.heads, judge(node.stage), len(saved)))
        for name, heads, target, times in todo:
            batch, key = _asked(plan, target), (name, heads, target)
            batches = times * _batches(target, plan, batch, count)
            before = found[key].batches if key in found else 0
            found[key] = Asking(name, heads, target, TASKS[target.task].kind, batch, before + batches)
    return tuple(found.values())


def _batches(target: Target, plan: Plan, batch: Batch, count: Counter) -> int:
    """Returns the batches of one evaluation in all languages, every text as long as may be.

    A cell that nobody counts is as large as the largest.
    """
    cells, longest = target.cells(), target.lengths()[-1]
    besides = dict.fromkeys(other for cell in cells for other in others_of(cell, target))
    sizes = [count(target.part(cell, plan.experiment.limits)) for cell in (*cells, *besides)]
    most = max((size for size in sizes if size is not None), default=0)
    sizes = [most if size is None else size for size in sizes]
    if target.speaks:
        return sum(math.ceil(size / batch.rows) for size in sizes)
    texts = sum(sizes) * _choices(cells[0].row, HEADS, False)  # of all cells: they are one stream
    return math.ceil(texts / (batch.length // longest * batch.rows))


def _asked(plan: Plan, target: Target) -> Batch:
    """Returns the largest batch of an evaluation: of prompts, or of rows of the length that its longest text needs."""
    size, lengths = plan.experiment.eval_batch_size, plan.experiment.lengths_of(target)
    if target.speaks:
        part = target.part(target.cells()[0], plan.experiment.limits)
        return largest_batch(plan.row, part, size, packed=False, training=False)
    length = bucket(target.lengths()[-1], lengths)
    return packed_batch(rows_of(size, length), length)
