"""A study as one graph: the plans of its experiments in one folder, whose stages are trained once, whoever has them."""

import dataclasses
import fnmatch
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from xling_jax.checks import check_vocabulary
from xling_jax.disk import as_path
from xling_jax.errors import CheckpointError, DataError, XlingError, unknown
from xling_jax.experiment import Experiment, Vocabulary
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import Node, Plan, describe, make_plan
from xling_jax.stages.stage import is_done
from xling_jax.stages.start import open_start
from xling_jax.study import Study
from xling_jax.tables.models import model
from xling_jax.tables.tasks import Cell


class Known(dict[str, Node]):
    """Stages by hash. What has a folder has its name: experiments that are opened later do not train it again."""

    def __init__(self, workdir: pathlib.Path):
        """Looks at the folders that are there."""
        super().__init__()
        folders = (path.name.rpartition("-") for path in (workdir / "stages").glob("*-*"))
        self._names = {hash_: name for name, _, hash_ in folders}

    def setdefault(self, hash_: str, node: Node) -> Node:
        """Returns the stage of a hash, which is this one if there is none yet."""
        if hash_ not in self:
            self[hash_] = dataclasses.replace(node, name=self._names.get(hash_, node.name))
        return self[hash_]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A stage, and the plans that have it. It is trained once, and evaluated as each of them asks."""

    node: Node
    plans: tuple[Plan, ...]

    @property
    def experiments(self) -> list[str]:
        return [plan.experiment.name for plan in self.plans]

    @property
    def parent(self) -> str:
        """Returns the hash of what it starts from, "" if it starts from random parameters."""
        return self.node.parent.hash if self.node.parent else ""


class StudyPlan:
    """The experiments of a study that can be planned, and why the others cannot."""

    def __init__(self, study: Study, workdir: pathlib.Path, data_dir: pathlib.Path | None):
        """Lays out all plans; reads the sources' checksums, each once, and writes nothing."""
        self.study, self.workdir, self.data_dir = study, workdir, data_dir
        self.checksums: dict[Cell, str] = {}
        self.vocabularies: dict[str, Vocabulary] = {}
        self.plans: dict[str, Plan] = {}
        self.absent: dict[str, XlingError] = {}
        self._known = Known(workdir)
        self.open(study.experiments)

    def open(self, names: Iterable[str]) -> None:
        """Plans experiments. What their checkpoints or data are not there for is `absent`."""
        for name in names:
            try:
                self.plans[name] = self._open(self.study.experiments[name])
                self.absent.pop(name, None)
            except (CheckpointError, DataError) as error:
                self.absent[name] = error
        self.plans = {name: self.plans[name] for name in self.study.experiments if name in self.plans}

    def _open(self, experiment: Experiment) -> Plan:
        start = open_start(experiment)
        vocabulary = start.vocabulary if start else None
        cells = Cells(experiment, self.workdir, self.data_dir, vocabulary, self.checksums)
        check_vocabulary(start.card.model if start else model(experiment.model), cells.vocabulary.kind)
        plan = make_plan(experiment, cells.vocabulary_hash(), cells.checksum, start, self._known)
        self.vocabularies[experiment.name] = cells.vocabulary
        return plan

    def made_here(self) -> list[str]:
        """Returns the absent experiments that start from a stage of this folder, which is not done yet."""
        folder = (self.workdir / "stages").absolute()
        starts = {name: as_path(self.study.experiments[name].checkpoint).absolute() for name in self.absent}
        return [name for name, start in starts.items() if start.parent == folder]

    def units(self, only: Sequence[str] = ()) -> dict[str, Unit]:
        """Returns stages by hash, each after the one that it starts from.

        `only`: patterns of experiments and of EXPERIMENT/STAGE; what they match, and what that comes from. Raises
        ConfigError for one that matches nothing.
        """
        return units(list(self.plans.values()), only, self.study.experiments)

    def is_done(self, unit: Unit) -> bool:
        """Whether nothing of a stage is left to do for any of its plans."""
        return all(is_done(self.workdir, plan, unit.node) for plan in unit.plans)


def units(plans: Sequence[Plan], only: Sequence[str] = (), declared: Iterable[str] = ()) -> dict[str, Unit]:
    """Returns the stages of plans by hash; see `StudyPlan.units`. `declared`: names that are no mistake in `only`."""
    wanted: dict[str, list[Plan]] = {}
    for plan in plans:
        chosen = [node for node in plan.nodes if not only or _matches(plan, node, only)]
        needed = {one.hash for node in chosen for one in lineage(node)}
        for node in plan.nodes:
            if node.hash in needed:
                wanted.setdefault(node.hash, []).append(plan)
    _check_patterns(plans, only, declared)
    nodes = {node.hash: node for plan in plans for node in plan.nodes}
    return {hash_: Unit(nodes[hash_], tuple(wanted[hash_])) for hash_ in nodes if hash_ in wanted}


def lineage(node: Node) -> list[Node]:
    """Returns a stage and all that it comes from."""
    return [node, *(lineage(node.parent) if node.parent else [])]


def _names(plan: Plan, node: Node) -> tuple[str, str]:
    return plan.experiment.name, f"{plan.experiment.name}/{node.name}"


def _matches(plan: Plan, node: Node, only: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in only for name in _names(plan, node))


def _check_patterns(plans: Sequence[Plan], only: Sequence[str], declared: Iterable[str]) -> None:
    known = {name for plan in plans for node in plan.nodes for name in _names(plan, node)} | set(declared)
    for pattern in only:
        if not fnmatch.filter(known, pattern):
            raise unknown(
                "pattern",
                pattern,
                known,
                "Experiments and EXPERIMENT/STAGE, with * and ?; --dry_run lists them.",
                "--only",
            )


def sharing(plans: Collection[Plan]) -> tuple[int, int, int]:
    """Returns how many trainings there are once each, by experiments one by one, and if nothing were shared.

    Then each arm, seed and target would begin by itself.
    """
    hashes = [node.hash for plan in plans for node in plan.nodes if not node.imported]
    alone = sum(not one.imported for plan in plans for each in plan.evaluations for one in lineage(each.node))
    return len(set(hashes)), len(hashes), alone


def describe_study(study: Study, plans: Mapping[str, Plan], workdir: pathlib.Path) -> Iterator[str]:
    """Yields a study as lines of text: how large it is, what its experiments share, and the plan of each."""
    once, declared, alone = sharing(plans.values())
    size = f", size {study.size}" if study.size else ""
    yield f"study {study.name}{size}: {len(study.experiments)} experiments, analysis '{study.analysis.method}'"
    yield (
        f"{once} stages are trained; experiments one by one declare {declared}, so sharing among them saves "
        f"{declared - once}; if every arm, seed and target began by itself there were {alone}"
    )
    for plan in plans.values():
        yield from describe(plan, workdir)
