"""The declared experiment: frozen dataclasses, checked once against the tables.

A config file gives an ml_collections ConfigDict; `from_config` turns it into an `Experiment`, and from
there on nothing changes it. Every default is written here, once.
"""

import dataclasses
import hashlib
import itertools
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xling_jax.checks import WHERE, check, form_of
from xling_jax.errors import ConfigError, unknown
from xling_jax.mixing import RULES, Mixing, cell_rates, epoch_steps
from xling_jax.optim import Optim
from xling_jax.protocol import Protocol
from xling_jax.selection import Selection
from xling_jax.tables.kinds import KINDS, ROW
from xling_jax.tables.models import Model
from xling_jax.tables.prompts import HEADS, PROMPTS, asked
from xling_jax.tables.tasks import Cell, cells, parse_cells, task


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
    answers in words, use `buckets`.
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


Factors = Mapping[str, float | str]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One answer to "which intermediate task?": up to three stages one after the other, or none.

    `stage` is the intermediate task. `first` comes before it, as continued masked LM does; `then` between it and the
    target. `factors` say what a study varies from arm to arm, {"languages": 4, "regime": "total"}: they decide nothing
    and are what its analysis goes by.
    """

    first: Stage | None = None
    stage: Stage | None = None
    then: Stage | None = None
    factors: Factors = dataclasses.field(default_factory=dict)

    def chain(self) -> dict[str, Stage]:
        """Returns the stages in their order, by what is added to the arm's name to name them."""
        named = {"_first": self.first, "": self.stage, "_then": self.then}
        return {name: stage for name, stage in named.items() if stage is not None}


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
class Watch:
    """What is looked at while stages are trained: how near translations lie to each other, layer by layer.

    It is measured on parallel text without labels, decides nothing of what a stage computes, and must select nothing.
    Vectors are taken as a `Protocol` takes them: the mean of the tokens that are not special, for example, less the
    mean vector of the language.
    """

    cells: tuple[str, ...] = ()  # of kinds with parallel text, each language once
    every: int = 0  # steps; 0 for off
    count: int = 500  # sentences of a cell at most; 0 for all
    max_length: int = 128
    layers: tuple[int, ...] = ()  # hidden states, 0 the embeddings; () for all
    pooling: str = "mean"
    centre: bool = True

    @property
    def on(self) -> bool:
        """Whether anything is watched."""
        return bool(self.cells) and self.every > 0

    def parts(self) -> tuple[Part, ...]:
        """Returns what is watched."""
        cells = (cell for text in self.cells for cell in parse_cells(text)) if self.on else ()
        return tuple(Part(cell, 0, self.count, self.max_length) for cell in cells)


@dataclasses.dataclass(frozen=True)
class Clock:
    """How fast inference is measured after training: a target's own program on examples of one language."""

    target: str = ""  # "" for off
    language: str = ""  # "" for the source language
    batches: tuple[int, ...] = (1, 8, 32, 128)  # examples of a batch
    repeats: int = 5  # passes over the examples, after one that is not measured
    examples: int = 256  # the first so many; 0 for all


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A pretrained model, arms, targets, seeds: everything that decides the numbers.

    The model is pretrained here: then it has a `model`, a `vocabulary` and a stage `pretrain`. Or it is that of
    `checkpoint`, a folder that `xling convert from-hf` wrote or that of a stage: then these come from there.
    """

    name: str = ""
    question: str = ""
    factors: Factors = dataclasses.field(default_factory=dict)  # what a study varies from experiment to experiment
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
    watch: Watch = dataclasses.field(default_factory=Watch)
    clock: Clock = dataclasses.field(default_factory=Clock)
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
    remat: str = "none"  # none | dots | full: what of a layer is computed again for its gradient (models/layers.py)

    def lengths_of(self, target: Target) -> tuple[int, ...]:
        """Returns the lengths of the rows that a target's texts stand in when it is evaluated, two at most.

        They hold the texts of all targets that texts are read for: what is compiled for one serves them all. The longer
        one is a power of two, in which texts of 384 tokens leave fewer gaps than in rows of as many. In words, lengths
        are the target's own, one text a row.
        """
        if target.speaks:
            return target.lengths()
        read = (target, *(other for other in self.targets.values() if not other.speaks))
        longest = max(other.lengths()[-1] for other in read)
        return (longest,) if longest <= ROW else (ROW, 1 << (longest - 1).bit_length())

    def timed(self) -> Part | None:
        """Returns what inference is measured on, None if it is not."""
        if not self.clock.target:
            return None
        target, language = self.targets[self.clock.target], self.clock.language or self.source_language
        (cell,) = cells(target.task, target.split, language)
        part = target.part(cell, self.limits)
        return dataclasses.replace(part, count=min(filter(None, (part.count, self.clock.examples)), default=0))


CHOICES = {
    "schedule": ("linear", "constant"),
    "body": ("keep", "reinit"),
    "head": ("keep", "reinit", "share"),
    "rule": RULES,
    "kind": ("world", "xlmr", "mt5", "llama", "qwen"),
    "dtype": ("float32", "bfloat16"),
    "strategy": ("data", "fsdp", "fsdp_tensor"),
    "remat": ("none", "dots", "full"),
    "form": ("", "heads", "text"),
    "prompts": ("", *PROMPTS),
}


def _convert(value: Any, kind: Any, path: str) -> Any:
    """Returns a config value as the type its field declares; ConfigError naming the field otherwise."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # X | None, or one of several plain types
        kind = next((one for one in args if type(value) is one), args[0])
        return None if kind is types.NoneType else _convert(value, kind, path)
    if dataclasses.is_dataclass(kind):
        return convert(kind, value, path)
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


def convert(cls: Any, value: Any, path: str) -> Any:
    """Returns the dataclass that a config's mapping declares; ConfigError naming the field that is not one of its."""
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
    experiment = convert(Experiment, config, "config")
    check(experiment)
    arms = sorted(experiment.arms, key=lambda name: name != experiment.baseline)
    return dataclasses.replace(experiment, arms={name: experiment.arms[name] for name in arms})


def complete(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's fields with every default written out, so that each can be overridden by a flag."""
    return dataclasses.asdict(from_config(fields))


def with_prompts(experiment: Experiment, row: Model) -> Experiment:
    """Returns an experiment whose stages and targets say how they are asked, if answers are said in words."""
    form = form_of(experiment, row)
    if form == HEADS:
        return experiment

    asked = with_stages(experiment, lambda stage: dataclasses.replace(stage, prompts=form))
    targets = {name: dataclasses.replace(target, prompts=form) for name, target in asked.targets.items()}
    return dataclasses.replace(asked, targets=targets)


def with_stages(experiment: Experiment, change: Callable[[Stage], Stage]) -> Experiment:
    """Returns an experiment with each of its stages changed."""

    def inside(rows: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, row in rows.items():
            stages = {part: getattr(row, part, None) for part in ("first", "stage", "then")}
            made = {part: change(stage) for part, stage in stages.items() if stage is not None}
            found[name] = dataclasses.replace(row, **made)
        return found

    return dataclasses.replace(
        experiment,
        pretrain=change(experiment.pretrain),
        arms=inside(experiment.arms),
        targets=inside(experiment.targets),
    )


def seen_languages(experiment: Experiment, arm: str) -> tuple[str, ...]:
    """Returns the languages that an arm's own stages have labels in; a target's stage adds the source language.

    What is evaluated in any other language is unseen: zero-shot for the arm, whatever pretraining has read.
    """
    stages = experiment.arms[arm].chain().values()
    return tuple(dict.fromkeys(code for stage in stages for code in stage.labelled_languages()))


def as_json(record: Any) -> str:
    """Returns a dataclass, or a dict of them, as JSON with its keys in order: what hashes are taken of."""
    return json.dumps(record, default=dataclasses.asdict, sort_keys=True)


def digest(*parts: Any) -> str:
    """Returns a short hash of dataclasses and plain values."""
    return hashlib.sha256(as_json(list(parts)).encode()).hexdigest()[:10]
