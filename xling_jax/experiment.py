"""The declared experiment: frozen dataclasses, checked once against the tables.

A config file gives an ml_collections ConfigDict; `from_config` turns it into an `Experiment`, and from
there on nothing changes it. Every default is written here, once.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xling_jax.errors import ConfigError, unknown
from xling_jax.mixing import RULES, Mixing, cell_rates, epoch_steps
from xling_jax.optim import Optim, check_optim
from xling_jax.protocol import Protocol, check_protocol
from xling_jax.selection import Selection, check_selection, source_dev
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import language
from xling_jax.tables.models import FAMILIES, Model, model
from xling_jax.tables.prompts import HEADS, LABELS, PROMPTS, asked
from xling_jax.tables.tasks import TASKS, Cell, cells, parse_cells, task, tasks_of_head


@dataclasses.dataclass(frozen=True)
class Handover:
    """What a stage takes from the one before.

    `head`: reinit starts a new one; keep takes the head of the same name (tasks may have one head in common, see
    `head` in tables/tasks.py); share takes another one of the same kind and size, which must be the only one there.
    """

    body: str = "keep"  # keep | reinit
    head: str = "reinit"  # keep | reinit | share


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a cell: `count` examples from number `first` on (0 for all), in inputs of at most `max_length`.

    `form` is "heads", or the prompts of tables/prompts.py that ask for answers in words of at most `answer_length`
    tokens.
    """

    cell: Cell
    first: int
    count: int
    max_length: int
    form: str = HEADS
    answer_length: int = 0

    @classmethod
    def of(cls, cell: Cell, first: int, count: int, lengths: tuple[int, int], prompts: str) -> "Part":
        """Returns a part, asked for in words if there are prompts; the lengths are those of an input and an answer."""
        length, answer_length = lengths
        form = prompts or HEADS
        return cls(
            cell, first, count, length, *((form, answer_length) if form != HEADS and asked(cell.row.kind) else ())
        )


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: cells, how much of them, and how. Give `steps` or `epochs`, not both.

    `packing` puts several examples into one row of `max_length` tokens, where their kind allows it (column `packs` in
    tables/kinds.py); a token sees its own example only. The number of rows of a batch is fixed, and such that it has
    `batch_size` examples on average (to within a sixteenth, or one row): so steps, epochs and learning rates mean what
    they mean without packing. The loss of a step is the mean over the examples that are in it. Other kinds, and
    evaluation, use `buckets`.
    """

    data: tuple[str, ...] = ()  # cells: task.split.languages, languages joined by '+', or 'all'
    examples: int = 0  # distinct examples over all cells with labels, in equal shares; 0 for all
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    steps: int = 0
    epochs: float = 0.0
    batch_size: int = 32
    accumulate: int = 1  # micro-batches of a step
    max_length: int = 128  # tokens; longer texts are cut or become several
    buckets: tuple[int, ...] = ()  # lengths that batches are padded to, up to max_length; () for that alone
    answer_length: int = 64  # tokens of an answer in words, its end among them; labels take what they need
    prompts: str = ""  # that ask for answers in words; the plan sets it from the experiment's
    packing: bool = False
    optim: Optim = dataclasses.field(default_factory=Optim)
    handover: Handover = Handover()
    save_every: int = 0  # steps between checkpoints; 0 for the last one only
    selection: Selection = dataclasses.field(default_factory=Selection)
    log_every: int = 50

    def lengths(self) -> tuple[int, ...]:
        """Returns the lengths that batches are padded to; the last one is the longest input."""
        return self.buckets or (self.max_length,)

    def cells(self) -> tuple[Cell, ...]:
        """Returns all cells of the stage, in the order declared."""
        return tuple(cell for text in self.data for cell in parse_cells(text))

    def labelled_languages(self) -> tuple[str, ...]:
        """Returns the languages that the stage has labels in; text without labels does not count."""
        return tuple(dict.fromkeys(cell.language for cell in self.cells() if KINDS[cell.row.kind].metrics))

    def parts(self, limits: Mapping[str, int]) -> tuple[Part, ...]:
        """Returns what the stage takes of its cells.

        With `examples` set, cell j of k takes the j-th k-th of the first so many numbers, so that together they are
        exactly `examples`, and translations of one example are not taken twice. Text beside cells with labels is
        taken as if it were not set: masked LM mixed into a task is no part of the task's examples.
        """
        lengths, counted = (self.lengths()[-1], self.answer_length), self.counted()
        bounds = [self.examples * at // len(counted) for at in range(len(counted) + 1)]
        spans = itertools.pairwise(bounds)
        found = []
        for cell in self.cells():
            first, last = next(spans) if self.examples and cell in counted else (0, limits.get(cell.split, 0))
            found.append(Part.of(cell, first, last - first, lengths, self.prompts))
        return tuple(found)

    def counted(self) -> tuple[Cell, ...]:
        """Returns the cells that `examples` counts: those with labels, or all where none has any."""
        return tuple(cell for cell in self.cells() if KINDS[cell.row.kind].metrics) or self.cells()

    def rates(self, features: Sequence[int]) -> tuple[float, ...]:
        """Returns how often each cell is drawn, given the features of each; see `mixing.cell_rates`."""
        items = [number for number, text in enumerate(self.data) for _ in parse_cells(text)]
        return cell_rates(self.mixing, features, items)

    def length(self, features: Sequence[int], of_step: float) -> int:
        """Returns the steps of the stage, given the features of each cell, and how many of them a step has."""
        return self.steps or max(1, round(self.epochs * epoch_steps(self.mixing, features, of_step)))


@dataclasses.dataclass(frozen=True)
class Arm:
    """One answer to "which intermediate task?": a stage, or none."""

    stage: Stage | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """A target task: how it is trained in the source language, and where it is evaluated.

    Without a stage, the arm's own checkpoint is evaluated as it is (retrieval needs no training).
    """

    task: str = ""
    stage: Stage | None = None
    split: str = "test"
    languages: str = "all"
    max_length: int = 0  # 0 for that of the stage
    answer_length: int = 0  # 0 for that of the stage, or of a stage by default
    prompts: str = ""  # as of a stage
    metric: str = ""  # "" for the kind's first
    protocol: Protocol = dataclasses.field(default_factory=Protocol)

    def lengths(self) -> tuple[int, ...]:
        """Returns the lengths that batches are padded to; the last one is the longest input."""
        if self.stage is None or self.max_length:
            return (self.max_length,)
        return self.stage.lengths()

    def cells(self) -> tuple[Cell, ...]:
        """Returns the cells the target is evaluated on."""
        return cells(self.task, self.split, self.languages)

    def answers(self) -> int:
        """Returns the most tokens of an answer in words."""
        return self.answer_length or (self.stage or Stage()).answer_length

    @property
    def speaks(self) -> bool:
        """Whether its answers are said in words."""
        return bool(self.prompts) and asked(task(self.task).kind)

    def part(self, cell: Cell, limits: Mapping[str, int]) -> Part:
        """Returns what is evaluated of a cell."""
        return Part.of(cell, 0, limits.get(cell.split, 0), (self.lengths()[-1], self.answers()), self.prompts)

    def parts(self, limits: Mapping[str, int]) -> tuple[Part, ...]:
        """Returns what is evaluated of all cells."""
        return tuple(self.part(cell, limits) for cell in self.cells())


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The world's own pieces, a published vocabulary, or one trained on the text of some cells.

    `kind` is the family of models whose ids it has: data/tokenizers/loading.py says which files those are.
    """

    kind: str = "world"  # world | xlmr | mt5 | llama | qwen
    path: str = ""  # a vocabulary file, or a folder with one; "" to train one
    size: int = 0
    data: tuple[str, ...] = ()  # cells whose text it is trained on


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A pretrained model, arms, targets, seeds: everything that decides the numbers.

    The model is pretrained here: then it has a `model`, a `vocabulary` and a stage `pretrain`. Or it is that of
    `checkpoint`, a folder that `xling convert from-hf` wrote or that of a stage: then these come from there.
    """

    name: str = ""
    question: str = ""
    synthetic: bool = False
    model: str = ""
    checkpoint: str = ""  # a folder; "" to pretrain
    form: str = ""  # of answers: heads | text; "" for the model family's own
    prompts: str = ""  # of tables/prompts.py, if answers are texts; "" for the model family's own
    checkpoint_step: int | None = None  # one of a stage's checkpoints; None for the stage's own
    vocabulary: Vocabulary = Vocabulary()
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)  # split -> most examples of a cell
    pretrain: Stage = Stage()
    pretrain_seed: int = 0
    seeds: tuple[int, ...] = (0,)
    arms: Mapping[str, Arm] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, Target] = dataclasses.field(default_factory=dict)
    remember: tuple[str, ...] = ()  # cells, one language each, that every stage after the task's own is asked again
    eval_batch_size: int = 128
    probabilities: bool = False  # write how sure the model is of its answers, beside them
    source_language: str = "en"
    language_groups: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (name, codes), as the report shows them
    baseline: str = ""  # the arm that gains are counted from
    comparisons: tuple[tuple[str, str], ...] = ()  # pairs of arms
    headline: tuple[str, ...] = ()  # arm, arm, target: the comparison that answers the question
    readers: int = 0  # processes that read training batches ahead; 0 reads in the trainer's own
    strategy: str = "data"
    mesh: str = "any"
    dtype: str = "float32"
    remat: bool = False


CHOICES = {
    "schedule": ("linear", "constant"),
    "body": ("keep", "reinit"),
    "head": ("keep", "reinit", "share"),
    "rule": RULES,
    "kind": ("world", "xlmr", "mt5", "llama", "qwen"),
    "dtype": ("float32", "bfloat16"),
    "strategy": ("data", "fsdp", "fsdp_tensor"),
    "form": ("", "heads", "text"),
    "prompts": ("", *PROMPTS),
}
MIN_LENGTH = 8  # special tokens, and something to say
MIN_ANSWER = 2  # a token, and the end
WHERE = "Fields are declared in xling_jax/experiment.py."
WHERE_MIXING = "Fields are declared in xling_jax/mixing.py."


def _convert(value: Any, kind: Any, path: str) -> Any:
    """Returns a config value as the type its field declares; ConfigError naming the field otherwise."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # X | None
        return None if value is None else _convert(value, args[0], path)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = args if args[-1] is not Ellipsis else (args[0],) * len(value)
        if len(inner) == len(value):
            return tuple(
                _convert(item, type_, f"{path}[{at}]")
                for at, (item, type_) in enumerate(zip(value, inner, strict=True))
            )
    elif origin is not None and isinstance(value, Mapping):
        return {name: _convert(item, args[1], f"{path}.{name}") for name, item in value.items()}
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind:
        return value
    raise ConfigError(f"Config field '{path}' is {value!r}.\nAllowed: a value of type {kind}.\n{WHERE}")


def _dataclass(cls: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"Config field '{path}' is {value!r}.\nAllowed: the fields of {cls.__name__}.\n{WHERE}")
    kinds = typing.get_type_hints(cls)
    for name in value:
        if name not in kinds:
            raise unknown("field", name, kinds, WHERE, f"'{path}'")
    made = cls(**{name: _convert(value[name], kinds[name], f"{path}.{name}") for name in value})
    for name, allowed in CHOICES.items():
        if name in value and getattr(made, name) not in allowed:
            raise unknown("value", str(value[name]), allowed, WHERE, f"'{path}.{name}'")
    return made


def from_config(config: Mapping[str, Any]) -> Experiment:
    """Returns the experiment of a config. Raises ConfigError for whatever the tables do not know.

    The baseline comes first among the arms, whatever order the config keeps them in.
    """
    experiment = _dataclass(Experiment, config, "config")
    _check(experiment)
    arms = sorted(experiment.arms, key=lambda name: name != experiment.baseline)
    return dataclasses.replace(experiment, arms={name: experiment.arms[name] for name in arms})


def complete(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's fields with every default written out, so that each can be overridden by a flag."""
    return dataclasses.asdict(from_config(fields))


def _check_lengths(lengths: tuple[int, ...], where: str, positions: int) -> None:
    if list(lengths) != sorted(set(lengths)) or not MIN_LENGTH <= lengths[0] <= lengths[-1] <= positions:
        raise ConfigError(
            f"The lengths of {where} are {lengths}.\n"
            f"Allowed: ascending, from {MIN_LENGTH} to the {positions} positions of the model, ending at max_length.\n"
            f"{WHERE}"
        )


def _check_kind(cells: tuple[Cell, ...], asks: str, done: str) -> None:
    """Raises ConfigError for cells of kinds that are not `done`: trained or evaluated."""
    for cell in cells:
        if not getattr(KINDS[cell.row.kind], done):
            allowed = " ".join(name for name, kind in KINDS.items() if getattr(kind, done))
            raise ConfigError(
                f"{asks} asks for {cell}, of kind '{cell.row.kind}', which is not {done} here.\n"
                f"Allowed: tasks of the kinds {allowed}.\nKinds are rows of xling_jax/tables/kinds.py."
            )


def _check_labels(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells whose labels are withheld: they can be answered, not trained on."""
    for cell in cells:
        if cell.withheld:
            there = " ".join(name for name, split in cell.row.splits.items() if split.labels == "there")
            raise ConfigError(
                f"{asks} needs the labels of {cell}, which their publisher withholds.\n"
                f"Allowed: the splits of '{cell.task}' with labels: {there}.\n{WHERE}"
            )


def _check_pairs(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells of queries or of candidates: a model is trained on pairs of them."""
    for cell in cells:
        if cell.among or cell.searched:
            searched = {split.among for split in cell.row.splits.values()}
            pairs = [name for name, split in cell.row.splits.items() if not split.among and name not in searched]
            raise ConfigError(
                f"{asks} asks for {cell}, which has queries and candidates apart.\n"
                f"Allowed: splits of pairs: {' '.join(pairs) or 'of other tasks, as this one has none'}.\n{WHERE}"
            )


def _check_queries(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells of a dual encoder's task that have no queries to search with."""
    for cell in cells:
        if cell.row.kind == "dual_encoder" and not cell.among:
            there = [name for name, split in cell.row.splits.items() if split.among]
            raise ConfigError(
                f"{asks} asks for {cell}, which has no queries.\n"
                f"Allowed: splits of queries: {' '.join(there) or 'of other tasks, as this one has none'}.\n{WHERE}"
            )


def _check_stage(stage: Stage, where: str, positions: int) -> None:
    if not stage.data:
        raise ConfigError(f"Stage '{where}' has no data.\nAllowed: cells, for example mnli.dev.en.\n{WHERE}")
    for text in stage.data:
        found = parse_cells(text, f"stage '{where}'")
        _check_kind(found, f"Stage '{where}'", "trained")
        _check_labels(found, f"Stage '{where}'")
        _check_pairs(found, f"Stage '{where}'")
    if (stage.steps > 0) == (stage.epochs > 0):
        raise ConfigError(
            f"Stage '{where}' has steps={stage.steps} and epochs={stage.epochs}.\n"
            f"Allowed: one of them above zero, the other zero.\n{WHERE}"
        )
    _check_lengths(stage.lengths(), f"stage '{where}'", positions)
    kinds = sorted({cell.row.kind for cell in stage.cells()})
    if stage.packing and not any(KINDS[kind].packs for kind in kinds):
        raise ConfigError(
            f"Stage '{where}' has packing=True, and its data are of kind {', '.join(kinds)}.\n"
            f"Allowed: data of kind {', '.join(row.name for row in KINDS.values() if row.packs)} among them.\n{WHERE}"
        )
    if stage.batch_size < 1 or stage.accumulate < 1 or stage.batch_size % stage.accumulate:
        raise ConfigError(
            f"Stage '{where}' has batch_size={stage.batch_size} and accumulate={stage.accumulate}.\n"
            f"Allowed: a batch size above zero that the micro-batches divide.\n{WHERE}"
        )
    if stage.examples and stage.examples < len(stage.counted()):
        raise ConfigError(
            f"Stage '{where}' takes {stage.examples} examples of {len(stage.counted())} cells.\n"
            f"Allowed: at least one of each, or 0 for all of them.\n{WHERE}"
        )
    _check_mixing(stage.mixing, len(stage.data), where)
    check_selection(stage.selection, stage.labelled_languages(), stage.save_every, f"stage '{where}'")


def _check_mixing(mixing: Mixing, items: int, where: str) -> None:
    def wrong(found: str, allowed: str) -> ConfigError:
        return ConfigError(f"The mixing of stage '{where}' has {found}.\nAllowed: {allowed}.\n{WHERE_MIXING}")

    if mixing.cap < 0:
        raise wrong(f"cap={mixing.cap}", "at least 1 example, or 0 for no cap")
    if mixing.cap and mixing.rule == "uniform":
        raise wrong(f"cap={mixing.cap} beside the rule 'uniform'", "no cap, as uniform mixing counts no examples")
    if not 0 < mixing.temperature < math.inf:
        raise wrong(f"temperature={mixing.temperature:g}", "a number above zero")
    if mixing.temperature != 1 and mixing.rule != "temperature":
        raise wrong(
            f"temperature={mixing.temperature:g} and rule='{mixing.rule}'", "a temperature with rule='temperature'"
        )
    if mixing.rates and len(mixing.rates) != items:
        raise wrong(f"{len(mixing.rates)} rates for {items} items of data", "one rate for each item, or none")
    if not all(0 < rate < math.inf for rate in mixing.rates):
        raise wrong(f"rates={mixing.rates}", "numbers above zero; leave out data that is not to be drawn")


def _check_head(experiment: Experiment, name: str, target: Target) -> None:
    """Raises ConfigError if a stage that the target is evaluated on does not train the head that answers it."""
    row = task(target.task)
    if not KINDS[row.kind].trained:
        return
    arms = {f"arms.{arm}": made.stage or experiment.pretrain for arm, made in experiment.arms.items()}
    if experiment.checkpoint:  # its heads are known when it is opened
        arms = {f"arms.{arm}": made.stage for arm, made in experiment.arms.items() if made.stage}
    for where, stage in {f"targets.{name}": target.stage}.items() if target.stage else arms.items():
        heads = {cell.row.head_name for cell in stage.cells()}
        if row.head_name not in heads:
            raise ConfigError(
                f"Target '{name}' is answered by head '{row.head_name}', and stage '{where}' trains "
                f"{', '.join(sorted(heads))}.\n"
                f"Allowed: a stage with data of a task that has this head: {', '.join(tasks_of_head(row.head_name))}.\n"
                f"{WHERE}"
            )


def _stages(experiment: Experiment) -> Iterator[tuple[str, Stage]]:
    """Yields (name, stage) of every training that an experiment declares."""
    if not experiment.checkpoint:
        yield "pretrain", experiment.pretrain
    for what, rows in (("arms", experiment.arms), ("targets", experiment.targets)):
        yield from ((f"{what}.{name}", row.stage) for name, row in rows.items() if row.stage is not None)


def _check_start(experiment: Experiment) -> None:
    """Raises ConfigError if a field says otherwise what the checkpoint says."""
    for name in ("model", "vocabulary", "pretrain"):
        if getattr(experiment, name) != getattr(Experiment(), name):
            raise ConfigError(
                f"The config has checkpoint='{experiment.checkpoint}', and {name} beside it.\n"
                f"Allowed: one of them. A checkpoint has its model and vocabulary, and is pretrained; text to go on "
                f"with is the data of an arm's stage.\n{WHERE}"
            )


def check_vocabulary(row: Model, vocabulary: str) -> None:
    """Raises ConfigError if a model is not trained with a family of vocabularies. Cells are prepared with any."""
    allowed = FAMILIES[row.family].vocabularies
    if vocabulary not in allowed:
        raise ConfigError(
            f"Model '{row.name}' is of family '{row.family}'; the vocabulary is of family '{vocabulary}'.\n"
            f"Allowed: {' '.join(allowed)}. Set `vocabulary.kind` in the config.\n"
            "Families are rows of xling_jax/tables/models.py."
        )


def form_of(experiment: Experiment, row: Model) -> str:
    """Returns how a model is asked and answers: "heads", or the name of prompts.

    Raises ConfigError for a form that its family has not.
    """
    family = FAMILIES[row.family]
    form = experiment.form or next(iter(family.forms))
    if form not in family.forms or (form == HEADS and experiment.prompts):
        found = f"form='{form}'" + (f" with prompts='{experiment.prompts}'" if experiment.prompts else "")
        raise ConfigError(
            f"Model '{row.name}' is of family '{row.family}', and the experiment has {found}.\n"
            f"Allowed: {' '.join(family.forms)}; prompts with form='text' alone.\n"
            "Families are rows of xling_jax/tables/models.py."
        )
    return HEADS if form == HEADS else experiment.prompts or family.prompts


def with_prompts(experiment: Experiment, row: Model) -> Experiment:
    """Returns an experiment whose stages and targets say how they are asked, if answers are said in words."""
    form = form_of(experiment, row)
    if form == HEADS:
        return experiment

    def asking(declared: Any) -> Any:
        stage = getattr(declared, "stage", None)
        more = {"stage": asking(stage)} if stage else {}
        return dataclasses.replace(declared, **more | ({} if isinstance(declared, Arm) else {"prompts": form}))

    arms, targets = (
        {name: asking(row) for name, row in rows.items()} for rows in (experiment.arms, experiment.targets)
    )
    return dataclasses.replace(experiment, pretrain=asking(experiment.pretrain), arms=arms, targets=targets)


def check_model(experiment: Experiment, row: Model) -> None:
    """Raises ConfigError for inputs that are longer than a model has positions, and for what its family cannot do."""
    family, form = FAMILIES[row.family], form_of(experiment, row)
    text = form != HEADS
    kinds = family.forms["text" if text else HEADS]
    asked = {cell.row.kind: f"stage '{where}'" for where, stage in _stages(experiment) for cell in stage.cells()}
    asked |= {task(target.task).kind: f"target '{name}'" for name, target in experiment.targets.items()}
    for kind, where in asked.items():
        if kind not in kinds:
            raise ConfigError(
                f"Model '{row.name}' is of family '{row.family}', and {where} is of kind '{kind}'.\n"
                f"Allowed: {' '.join(kinds)}.\n"
                "Families are rows of xling_jax/tables/models.py."
            )
    for where, stage in _stages(experiment):
        _check_lengths(stage.lengths(), f"stage '{where}'", row.positions)
        check_optim(stage.optim, where, row)
        if text:
            _check_answers(stage.cells(), stage.answer_length, stage.lengths()[-1], f"stage '{where}'", row)
            _check_apart(stage, where)
    for name, target in experiment.targets.items():
        check_protocol(target.protocol, TASKS[target.task].kind, f"target '{name}'", text)
        _check_lengths(target.lengths(), f"target '{name}'", row.positions)
        if text:
            _check_answers(target.cells(), target.answers(), target.lengths()[-1], f"target '{name}'", row)
        else:
            _check_head(experiment, name, target)
        if target.protocol.pooling not in family.pooling:
            raise ConfigError(
                f"Model '{row.name}' is of family '{row.family}', and target '{name}' has pooling="
                f"'{target.protocol.pooling}'.\nAllowed: {' '.join(family.pooling)}.\n"
                "Families are rows of xling_jax/tables/models.py."
            )


def _check_answers(cells: tuple[Cell, ...], tokens: int, prompt: int, where: str, row: Model) -> None:
    """Raises ConfigError for answers that no text fits into, or that a decoder has no room for behind a prompt."""
    if all(cell.row.kind in LABELS or not asked(cell.row.kind) for cell in cells):
        return
    room = row.positions - prompt if row.family == "decoder" else sys.maxsize
    if not MIN_ANSWER <= tokens <= room:
        raise ConfigError(
            f"The answers of {where} have up to answer_length={tokens} tokens, behind prompts of {prompt}.\n"
            f"Allowed: {MIN_ANSWER} or more; of a decoder, both together no more than its {row.positions} positions.\n"
            f"{WHERE}"
        )


def _check_prompts(declared: Stage | Target, where: str) -> None:
    """Raises ConfigError for prompts of a part of an experiment: all of it is asked alike."""
    if declared.prompts:
        raise ConfigError(
            f"'{where}' has prompts='{declared.prompts}'.\n"
            f"Allowed: prompts of the whole experiment, beside its form.\n{WHERE}"
        )


def _check_apart(stage: Stage, where: str) -> None:
    """Raises ConfigError for packing: prompts and their answers have a row each."""
    if stage.packing:
        raise ConfigError(
            f"Stage '{where}' has packing=True, and its answers are texts.\n"
            f"Allowed: packing=False, or form='heads' of a model that has them.\n{WHERE}"
        )


def _check(experiment: Experiment) -> None:
    positions = sys.maxsize  # those of a checkpoint are known when it is opened
    if experiment.checkpoint:
        _check_start(experiment)
    else:
        positions = model(experiment.model, "'config.model'").positions
    if experiment.readers < 0:
        raise ConfigError(f"The experiment has readers={experiment.readers}.\nAllowed: 0 or more processes.\n{WHERE}")
    if not experiment.name.replace("_", "").isalnum():
        raise ConfigError(f"The experiment's name is '{experiment.name}'.\nAllowed: letters, digits and _.\n{WHERE}")
    for where, stage in _stages(experiment):
        _check_prompts(stage, where)
        _check_stage(stage, where, positions)
    for name, target in experiment.targets.items():
        task(target.task, f"'config.targets.{name}'")
        found = cells(target.task, target.split, target.languages, f"'config.targets.{name}'")
        if not found:
            raise ConfigError(f"Target '{name}' is evaluated nowhere.\nAllowed: at least one language.\n{WHERE}")
        _check_kind(found, f"Target '{name}'", "evaluated")
        _check_prompts(target, f"targets.{name}")
        _check_queries(found, f"Target '{name}'")
        _check_lengths(target.lengths(), f"target '{name}'", positions)
    if not experiment.checkpoint:
        check_model(experiment, model(experiment.model))
    _check_unseen(experiment)
    _check_remembered(experiment)
    language(experiment.source_language, "'config.source_language'")
    _check_names(experiment)


def _check_remembered(experiment: Experiment) -> None:
    """Raises ConfigError for cells to be asked again that are not one cell each, or that no stage has a head for."""
    heads = {cell.row.head_name for _, stage in _stages(experiment) for cell in stage.cells()}
    for text in experiment.remember:
        found = parse_cells(text, "'config.remember'")
        _check_kind(found, "'config.remember'", "evaluated")
        _check_labels(found, "'config.remember'")
        head = found[0].row.head_name
        if len(found) != 1 or (head not in heads and not experiment.checkpoint):
            raise ConfigError(
                f"'{text}' in 'config.remember' is {len(found)} cells, answered by head '{head}'.\n"
                f"Allowed: one cell, of a head that a stage trains: {' '.join(sorted(heads))}.\n{WHERE}"
            )


def _check_unseen(experiment: Experiment) -> None:
    """Raises ConfigError if a stage selects on a cell that a target is evaluated on."""
    evaluated = {cell: name for name, target in experiment.targets.items() for cell in target.cells()}
    for where, stage in _stages(experiment):
        if stage.selection.judged:
            cell = source_dev(stage.selection, stage.labelled_languages(), f"stage '{where}'").cell
            if cell in evaluated:
                raise ConfigError(
                    f"Stage '{where}' selects on {cell}, which target '{evaluated[cell]}' is evaluated on.\n"
                    f"Allowed: a cell that no target is evaluated on.\n{WHERE}"
                )


def _check_names(experiment: Experiment) -> None:
    """Checks the languages, arms and targets that the report is told of."""
    for _, codes in experiment.language_groups:
        for code in codes:
            language(code, "'config.language_groups'")
    arms_named = [arm for pair in experiment.comparisons for arm in pair] + list(experiment.headline[:2])
    for arm in [*arms_named, *([experiment.baseline] if experiment.baseline else [])]:
        if arm not in experiment.arms:
            raise unknown("arm", arm, experiment.arms, "Arms are declared in the config, under arms.")
    for name in experiment.headline[2:]:
        if name not in experiment.targets:
            raise unknown("target", name, experiment.targets, "Targets are declared in the config, under targets.")


def seen_languages(experiment: Experiment, arm: str) -> tuple[str, ...]:
    """Returns the languages that an arm's intermediate stage has labels in; a target's stage adds the source language.

    What is evaluated in any other language is unseen: zero-shot for the arm, whatever pretraining has read.
    """
    stage = experiment.arms[arm].stage
    return stage.labelled_languages() if stage else ()


def as_json(record: Any) -> str:
    """Returns a dataclass, or a dict of them, as JSON with its keys in order: what hashes are taken of."""
    return json.dumps(record, default=dataclasses.asdict, sort_keys=True)


def digest(*parts: Any) -> str:
    """Returns a short hash of dataclasses and plain values."""
    return hashlib.sha256(as_json(list(parts)).encode()).hexdigest()[:10]
