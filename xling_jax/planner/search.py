"""The fastest way to divide an experiment on a slice that fits: strategy, mesh, what is computed again, micro-batches.

Every way is estimated, which takes no compiler; the best few are compiled fast, best first, and the winner in full.
What is searched for is the training step that takes the most memory; batch sizes stay the config's unless others are
named, for they are part of what is learned.

Packed batches are taken for batches of as many rows as examples, which is the most they can be.
"""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xling_jax.errors import ConfigError
from xling_jax.experiment import with_stages
from xling_jax.planner.compiled import FAST, FULL
from xling_jax.planner.draft import Draft
from xling_jax.planner.planning import plan_on
from xling_jax.planner.roofline import COMPILED, Figures, step_seconds
from xling_jax.planner.work import Counter, Training, work_of
from xling_jax.stages.plan import Plan
from xling_jax.tables.models import Model
from xling_jax.tables.slices import Slice

REMATS = ("none", "dots", "full")
SLACK = 1.25  # an estimate of memory may be so many times too large: what it says is beyond that is left out
TRIES = 3  # ways that fit and are compiled
MISSES = 5  # ways more that are compiled and do not fit
MOST_TENSOR = 16
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to divide a training step. `batch` 0: stages keep their own batch sizes."""

    strategy: str
    mesh: str
    remat: str
    accumulate: int
    batch: int

    def __str__(self) -> str:
        parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
        batches = f", batches of {self.batch}" if self.batch else ", batches" if parts else ""
        return f"{self.strategy} {self.mesh}, remat {self.remat}{batches}{parts}"

    @property
    def devices(self) -> int:
        """Returns among how many chips a batch is divided."""
        data, fsdp, _ = map(int, self.mesh.split("x"))
        return data * fsdp


@dataclasses.dataclass(frozen=True)
class Found:
    """The best way, as a draft of the whole experiment."""

    way: Way
    draft: Draft

    def plan_on(self, count: Counter, *, only: str, compiling: str, effort: str, say: Say) -> dict[str, Any]:
        """Returns the figures of the experiment divided so."""
        return plan_on(self.draft, count, only=only, compiling=compiling, effort=effort, say=say)


def ways(row: Model, chips: int, own: int, asked: int, batches: Sequence[int] = ()) -> Iterator[Way]:
    """Yields every way to divide the steps of an experiment on so many chips.

    Args:
      row: of the model.
      chips: of the slice.
      own: what divides the batch sizes of all stages.
      asked: the batch size of evaluations.
      batches: sizes of training in the place of those of the stages.
    """
    for batch, tensor in itertools.product(batches or (0,), _divisors(chips, MOST_TENSOR)):
        if row.heads % tensor or (row.groups or row.heads) % tensor or row.mlp % tensor:
            continue
        for fsdp in _divisors(chips // tensor, chips):
            data = chips // tensor // fsdp
            strategy = "fsdp_tensor" if tensor > 1 else "fsdp" if fsdp > 1 else "data"
            rows = (batch or own) // (data * fsdp)
            if (batch or own) % (data * fsdp) or asked % (data * fsdp):
                continue
            for remat, accumulate in itertools.product(REMATS, _divisors(rows, rows)):
                if accumulate == 1 or remat == "full":  # it is cheaper to compute again than to gather again
                    yield Way(strategy, f"{data}x{fsdp}x{tensor}", remat, accumulate, batch)


def _divisors(number: int, most: int) -> list[int]:
    return [size for size in range(1, min(number, most) + 1) if number % size == 0]


def with_way(plan: Plan, way: Way) -> Plan:
    """Returns a plan divided in a way: all of its stages, in as many micro-batches as divide their batches."""
    experiment = dataclasses.replace(plan.experiment, strategy=way.strategy, mesh=way.mesh, remat=way.remat)

    def again(stage):
        batch = way.batch or stage.batch_size
        parts = math.gcd(way.accumulate, batch // way.devices)
        return dataclasses.replace(stage, batch_size=batch, accumulate=max(parts, 1))

    experiment = with_stages(experiment, again)
    nodes: dict[str, Any] = {}
    for node in plan.nodes:
        parent = nodes[node.parent.hash] if node.parent else None
        stage = node.stage if node.imported else again(node.stage)
        nodes[node.hash] = dataclasses.replace(node, stage=stage, parent=parent)
    evaluations = tuple(dataclasses.replace(one, node=nodes[one.node.hash]) for one in plan.evaluations)
    return dataclasses.replace(plan, experiment=experiment, nodes=tuple(nodes.values()), evaluations=evaluations)


def search(
    plan: Plan,
    where: Slice,
    devices: Sequence[Any] | None,
    count: Counter,
    *,
    only: str = "",
    batches: Sequence[int] = (),
    tries: int = TRIES,
    effort: str = FULL,
    cache: pathlib.Path | None = None,
    counted: dict[tuple, Any] | None = None,
    say: Say = lambda text: None,
) -> Found:
    """Returns the fastest way that fits, by the roofline; where none does, the one that should take the least memory.

    Args:
      plan: of the experiment.
      where: the slice.
      devices: its devices; None: nothing is compiled.
      count: of examples.
      only: the stage to search for; all of them if not given.
      batches: sizes to choose from; those of the stages if none are named.
      tries: how many ways that fit are compiled, fast, to choose from.
      effort: that the winner is compiled with.
      cache: a folder for what compilers said.
      counted: see `Draft`.
      say: is told what is being done.

    Raises:
      ConfigError: nothing is trained, or no way divides the batches among the chips.
    """
    counted = {} if counted is None else counted
    sizes = {one.stage.batch_size for stage in work_of(plan, count, only) for one in stage.trainings}
    if not sizes:
        raise ConfigError(
            "--search is given, and nothing is trained.\nAllowed: a stage that is trained, or no --search."
        )
    every = list(ways(plan.row, where.chips, math.gcd(*sizes), plan.experiment.eval_batch_size, batches))
    if not every:
        raise _indivisible(where)
    say(f"{where.name}: {len(every)} ways to divide batches of {', '.join(map(str, batches or sorted(sizes)))}")
    drafts = {way: Draft(with_way(plan, way), where, devices, cache=cache, counted=counted) for way in every}
    guesses = dict(_guesses(drafts, count, only))
    room = where.chip.memory * (SLACK if devices is not None else 1)
    fitting = (way for way in every if guesses[way][1].peak <= room)
    ranked = sorted(fitting, key=lambda way: _order(guesses[way][1], where))
    say(f"{where.name}: {len(ranked)} may fit")
    for way in ranked[:3]:
        say(f"{where.name}: {-_rate(guesses[way][1], where):,.0f} tokens a second by estimate: {way}")
    best = ranked[0] if ranked else None
    if devices is not None:
        best = _compiled(ranked, drafts, guesses, where=where, tries=tries, say=say)
    if best is None:
        best = min(every, key=lambda way: guesses[way][1].peak)
        say(f"{where.name}: nothing fits; the least memory: {best}")
    else:
        say(f"{where.name}: the winner: {best}")
    if effort == FULL and devices is not None:
        say(f"{where.name}: compiling it in full")
        drafts[best].training(guesses[best][0], FULL)
    return Found(best, drafts[best])


def _guesses(drafts: dict[Way, Draft], count: Counter, only: str) -> Iterator[tuple[Way, tuple[Training, Figures]]]:
    """Yields for each way the training step that takes the most memory, which is the same in all, estimated."""
    largest = -1
    for way, draft in drafts.items():
        trainings = [one for stage in work_of(draft.plan, count, only) for one in stage.trainings]
        if largest < 0:
            largest = max(range(len(trainings)), key=lambda at: draft.training(trainings[at]).peak)
        yield way, (trainings[largest], draft.training(trainings[largest]))


def _order(figures: Figures, where: Slice) -> tuple[bool, float]:
    """Returns what ways are tried by: those that should fit come first, and of these the fastest."""
    return not figures.fits, _rate(figures, where)


def _rate(figures: Figures, where: Slice) -> float:
    """Returns tokens a second, negative: the smaller the better."""
    return -figures.tokens / step_seconds(figures, where)


def _compiled(
    ranked: Sequence[Way], drafts: dict[Way, Draft], guesses: dict[Way, tuple], *, where: Slice, tries: int, say: Say
) -> Way | None:
    """Returns the fastest of the best few that fit, by what a fast compilation says."""
    found: dict[Way, Figures] = {}
    for number, way in enumerate(ranked[: tries + MISSES], start=1):
        if len(found) == tries:
            break
        say(f"{where.name}: {number} of at most {min(len(ranked), tries + MISSES)}: compiling {way}")
        made = drafts[way].training(guesses[way][0], FAST)
        assert made.method == COMPILED, "a search with devices"
        fits = "fits" if made.fits else "does not fit"
        guess = guesses[way][1].peak
        say(f"{where.name}: {made.peak / 2**30:.2f} GiB a chip ({guess / 2**30:.2f} estimated), {fits}")
        if made.fits:
            found[way] = made
    return min(found, key=lambda way: _rate(found[way], where)) if found else None


def _indivisible(where: Slice) -> ConfigError:
    return ConfigError(
        f"No mesh of the {where.chips} chips of {where.name} divides the batches of training and evaluation and the "
        "heads of the model.\n"
        "Allowed: other batch sizes (--batches=128,256, --config.eval_batch_size=256), or another slice."
    )
