"""What is known of a run while it runs: its time ledger, its curves, how fast steps are, profiles."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Generator, Mapping

import jax

from xling_jax.disk import here
from xling_jax.errors import ConfigError, unknown
from xling_jax.flops import Work, costs
from xling_jax.ledger import PROFILE, TRAIN, Event, Ledger
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import share_of
from xling_jax.stages.plan import Node, Plan
from xling_jax.stages.record import stage_folder
from xling_jax.stages.workload import load
from xling_jax.tables.peaks import peak
from xling_jax.train.meter import Devices, Meter
from xling_jax.train.sinks import Sink, Sinks, Wandb, file_sinks, open_sinks
from xling_jax.train.tensorboard import TENSORBOARD
from xling_jax.train.tracing import HOW_TO_OPEN, PROFILES, Profile, Trace


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user asked to be told: a profile, a project of Weights & Biases. `began`: when the process did."""

    profile: Profile | None = None
    wandb: str = ""
    began: float | None = None

    def check(self, plan: Plan, jobs: int, trials: int = 1) -> None:
        """Raises ConfigError for stages that the plan does not have, and for a profile of several stages at once."""
        if self.profile is None:
            return
        names = [node.name for node in plan.nodes if not node.imported]
        for name in self.profile.stages:
            if name not in names:
                raise unknown("stage", name, names, "`xling run --dry_run` lists them.", "--profile_stages")
        for flag, number in (("jobs", jobs), ("trials", trials)):
            if number > 1:
                raise ConfigError(
                    f"--profile is given with --{flag}={number}.\n"
                    f"Allowed: --{flag}=1, as it is by itself: a profile shows all that the process does."
                )


@dataclasses.dataclass(frozen=True)
class Training:
    """One training under way, watched."""

    node: Node
    ledger: Ledger
    event: Event
    sinks: Sinks
    meter: Meter
    trace: Trace

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        self.sinks.write(step, values)
        self.event.mark(step)

    @contextlib.contextmanager
    def saving(self, step: int) -> Generator[None]:
        """The block saves the state after a step: what was done up to here is not lost, if it succeeds."""
        self.event.mark(step, always=True)
        self.sinks.keep()
        self.ledger.keep()
        with self.ledger.event("save", self.node.folder):
            yield


@dataclasses.dataclass(frozen=True)
class Telemetry:
    """Watches the stages of one run. Without a ledger's file nothing but curves is written."""

    workdir: pathlib.Path
    plan: Plan
    say: Callable[[str], None]
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    asked: Asked = dataclasses.field(default_factory=Asked)
    beside: Callable[[str], contextlib.AbstractContextManager] = contextlib.nullcontext  # is told what is done

    @contextlib.contextmanager
    def doing(self, name: str, node: Node) -> Generator[Event]:
        """The block does something for a stage, a name of `ledger.KINDS`."""
        with self.beside(name), self.ledger.event(name, node.folder) as event:
            yield event

    @contextlib.contextmanager
    def training(self, node: Node, start: int, vocab: int, mesh: jax.sharding.Mesh) -> Generator[Training]:
        """The block trains a stage from step `start` on, a model of so many pieces on a mesh."""
        with self.ledger.event(TRAIN, node.folder, start) as event, open_sinks(self._sinks(node, start)) as sinks:
            trace = self._trace(node, event)
            try:
                meter = Meter(event, self._measure(node, vocab), devices_of(mesh))
                yield Training(node, self.ledger, event, sinks, meter, trace)
            finally:
                trace.close()
        self._tell(node, trace, start)

    def _sinks(self, node: Node, start: int) -> list[Callable[[], Sink]]:
        if not hosts.first():
            return []  # one host writes what all of them know
        files = stage_folder(self.workdir, node.folder), self.workdir / TENSORBOARD / node.folder
        makers = file_sinks(*files, start)
        if self.asked.wandb:
            stage = dataclasses.asdict(node.stage)
            about = {"group": self.plan.experiment.name, "stage": node.name, "seed": node.seed, "declared": stage}
            makers.append(lambda: Wandb(self.asked.wandb, here(self.workdir), node.folder, about, self.say))
        return makers

    def _measure(self, node: Node, vocab: int) -> Callable:
        kinds = {"text" if node.stage.prompts else head.name: head.kind for head in node.heads}
        each: dict[str, Work] = {
            name: costs(self.plan.row, vocab, node.stage.optim, kind) for name, kind in kinds.items()
        }
        return lambda head, batch: load(batch, kinds[head], each[head])

    def _wants_profile(self, node: Node) -> bool:
        profile = self.asked.profile
        return profile is not None and (not profile.stages or node.name in profile.stages)

    def _profile_folder(self, node: Node) -> pathlib.Path:
        return self.workdir / PROFILES / node.folder

    def _trace(self, node: Node, event: Event) -> Trace:
        profile = self.asked.profile if self._wants_profile(node) else None
        return Trace(self._profile_folder(node), profile, lambda: event.spending(PROFILE))

    def _tell(self, node: Node, trace: Trace, start: int) -> None:
        """Says where the profile of a stage is, or why there is none."""
        folder, profile = self._profile_folder(node), self.asked.profile
        if profile is None or not self._wants_profile(node):
            return
        if trace.written:
            self.say(f"  {node.name} profiled: {folder}. {HOW_TO_OPEN.format(folder=folder)}")
        else:
            self.say(f"  {node.name} has no profile: it did not train step {profile.first} (it began after {start}).")


def devices_of(mesh: jax.sharding.Mesh) -> Devices:
    """Returns what computes on a mesh."""
    return Devices(share_of(mesh).count, mesh.size, peak(mesh.devices.flat[0].device_kind))
