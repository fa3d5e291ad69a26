"""An experiment's own record: what was asked, what was compared, which stage answers which cell."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xling_jax.errors import DataError
from xling_jax.selection import COMPARISONS, POLICIES

WHERE = "`xling run` writes this file; run the experiment again to renew it."


@dataclasses.dataclass(frozen=True)
class Target:
    """What is measured: one metric of one split of a task, in these languages."""

    name: str
    task: str
    split: str
    metric: str
    languages: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """Where the scores of an arm and seed on a target lie. Several cells may share a stage."""

    arm: str
    seed: int
    target: str
    stage: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of training. `parents` are the `dir`s of the stages whose checkpoint it starts from.

    `steps` are 0 where epochs say how long it is. A checkpoint from elsewhere is a stage that is `imported`.
    """

    dir: str
    name: str
    parents: tuple[str, ...]
    seed: int | None
    steps: int
    done: bool
    policy: str = ""  # that chose its checkpoint; "" for the experiment's
    policies: tuple[str, ...] = ()  # all that were asked for
    imported: bool = False


@dataclasses.dataclass(frozen=True)
class Headline:
    """The comparison and target whose zero-shot mean answers the question."""

    comparison: tuple[str, str]
    target: str


@dataclasses.dataclass(frozen=True)
class Record:
    """An experiment. `synthetic` says that its languages were generated, not spoken.

    `factors` and `arm_factors` are what a study varies; `seen_languages` those in which an arm had labels.

    `policy` chose the checkpoints of stages that name none; `policies` are all that were scored beside it.
    """

    name: str
    study: str | None
    question: str
    synthetic: bool
    config_hash: str
    config: Mapping[str, Any]
    command: str
    versions: Mapping[str, str]
    machine: str
    date: str
    source_language: str
    language_groups: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    baseline: str
    arms: tuple[str, ...]
    targets: tuple[Target, ...]
    comparisons: tuple[tuple[str, str], ...]
    headline: Headline | None  # the comparison that answers the question, if there is one
    cells: tuple[Cell, ...]
    stages: tuple[Stage, ...]
    policy: str = "last"
    policies: tuple[str, ...] = ()
    factors: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    arm_factors: Mapping[str, Mapping[str, float | str]] = dataclasses.field(default_factory=dict)
    seen_languages: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def lineage(self, dir: str) -> list[str]:
        """Returns the `dir`s of a stage and of all it comes from, each once, itself first."""
        parents = {stage.dir: stage.parents for stage in self.stages}
        found: dict[str, None] = {}
        todo = [dir]
        while todo:
            name = todo.pop(0)
            if name not in found:
                found[name] = None
                todo.extend(parents[name])
        return list(found)

    def policy_of(self, dir: str) -> str:
        """Returns the policy that chose a stage's checkpoint."""
        return next((stage.policy for stage in self.stages if stage.dir == dir), "") or self.policy

    def asked_of(self, target: str) -> set[str]:
        """Returns the policies that a target's stages were asked for."""
        stages = {cell.stage for cell in self.cells if cell.target == target}
        named = (stage.policies for stage in self.stages if stage.dir in stages)
        return {*self.policies, *(name for names in named for name in names)}

    def own_policy(self, target: str) -> str:
        """Returns the policy that chose a target's checkpoints; the first of them, where stages differ."""
        return next((self.policy_of(cell.stage) for cell in self.cells if cell.target == target), self.policy)

    def target(self, name: str) -> Target:
        """Returns the target of that name; `read_record` has checked that it is there."""
        return next(target for target in self.targets if target.name == name)


def read_record(path: pathlib.Path) -> Record:
    """Returns the record of an experiment, checked: every name it uses is one it declares."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}).\n{WHERE}") from error
    record = build(Record, fields, str(path))
    record = dataclasses.replace(
        record,
        language_groups={name: tuple(codes) for name, codes in record.language_groups.items()},
        targets=build_all(Target, record.targets, f"{path}: targets"),
        comparisons=tuple(_pair(names, path) for names in record.comparisons),
        headline=build(Headline, record.headline, f"{path}: headline") if record.headline else None,
        cells=build_all(Cell, record.cells, f"{path}: cells"),
        stages=build_all(Stage, record.stages, f"{path}: stages"),
    )
    _check(record, path)
    return record


def build(cls: Any, fields: Any, where: str, renew: str = WHERE) -> Any:
    """Returns a `cls` of the fields it has; lists become tuples, fields it does not know are left.

    Files of older versions lack the fields that have a default. `renew` says what writes the file.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    needed = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    lacking = [name for name in needed if not isinstance(fields, dict) or name not in fields]
    if lacking or not isinstance(fields, dict):
        raise DataError(f"{where}: lacks {', '.join(lacking) or 'its fields'}.\nNeeded: {' '.join(needed)}.\n{renew}")
    found = {name: fields[name] for name in names if name in fields}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def build_all(cls: Any, entries: Iterable[Any], where: str, renew: str = WHERE) -> tuple[Any, ...]:
    """Returns a `cls` of each entry of a list."""
    return tuple(build(cls, fields, f"{where}[{index}]", renew) for index, fields in enumerate(entries))


def _pair(names: Sequence[str], path: pathlib.Path) -> tuple[str, str]:
    if len(names) != 2:
        raise DataError(f"{path}: comparison {names} is not a pair of arms.\nAllowed: [better, worse].\n{WHERE}")
    return names[0], names[1]


def _check(record: Record, path: pathlib.Path) -> None:
    for policy in (record.policy, *(stage.policy for stage in record.stages)):
        if policy not in COMPARISONS:
            continue
        raise DataError(
            f"{path}: policy '{policy}' looks at the target language, and its scores are not zero-shot.\n"
            f"Allowed: {' '.join(POLICIES)}.\n{WHERE}"
        )
    targets = [target.name for target in record.targets]
    stages = [stage.dir for stage in record.stages]
    headlines = [record.headline] if record.headline else []
    pairs = (*record.comparisons, *(headline.comparison for headline in headlines))
    uses = (
        (
            "arm",
            [record.baseline, *(arm for pair in pairs for arm in pair), *(c.arm for c in record.cells)],
            record.arms,
        ),
        ("seed", [cell.seed for cell in record.cells], record.seeds),
        ("target", [*(headline.target for headline in headlines), *(cell.target for cell in record.cells)], targets),
        ("stage", [*(cell.stage for cell in record.cells), *(p for s in record.stages for p in s.parents)], stages),
        ("comparison", [" ".join(h.comparison) for h in headlines], [" ".join(pair) for pair in record.comparisons]),
    )
    for what, used, declared in uses:
        for name in used:
            if name not in declared:
                known = ", ".join(map(str, declared))
                raise DataError(f"{path}: {what} '{name}' is used but not declared.\nDeclared: {known}.\n{WHERE}")
    places = [(cell.arm, cell.seed, cell.target) for cell in record.cells]
    for place in places:
        if places.count(place) > 1:
            raise DataError(f"{path}: two cells for arm, seed, target {place}.\nAllowed: one stage each.\n{WHERE}")
