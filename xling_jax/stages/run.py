"""Runs a plan: every stage after its parent, several side by side where that pays. Rerunning is recovering."""

import concurrent.futures
import itertools
import os
import pathlib
import threading
from collections.abc import Callable

import jax

from xling_jax.checks import check_vocabulary
from xling_jax.errors import ConfigError, DiskError, Interrupted
from xling_jax.experiment import Experiment, digest
from xling_jax.goodput import goodput
from xling_jax.ledger import TIME, Ledger, now
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import batch_multiple
from xling_jax.stages.cells import Cells
from xling_jax.stages.clock import check_clock, is_unclocked, measure_clock
from xling_jax.stages.plan import Node, Plan, make_plan
from xling_jax.stages.programs import Programs
from xling_jax.stages.record import claim_workdir, hold, write_experiment, write_submissions
from xling_jax.stages.stage import StageRunner, is_done
from xling_jax.stages.start import open_start
from xling_jax.stages.telemetry import Asked
from xling_jax.stages.trials import check_trials, companies, groups
from xling_jax.stages.words import Words
from xling_jax.tables.kinds import KINDS
from xling_jax.train.compiling import watch_compiling
from xling_jax.train.writer import Display

MOST_JOBS = 4
AGAIN = "Run the same command again to go on."


def checked(stop_asked: Callable[[], bool], check: Callable[[], None]) -> Callable[[], bool]:
    """Returns `stop_asked`, which also raises what `check` does where the work folder is another one's by now."""

    def stop() -> bool:
        check()
        return stop_asked()

    return stop


def default_jobs(trials: int = 1) -> int:
    """Returns how many stages to run at once: one, unless there is one CPU device of several cores.

    Small models leave most of a second core idle, because their operations are too short to be divided. Stages of
    several trials are larger, and programs of their own.
    """
    alone = jax.default_backend() == "cpu" and jax.device_count() == 1 and trials == 1
    return min(MOST_JOBS, len(os.sched_getaffinity(0))) if alone else 1


def checked_jobs(jobs: int) -> int:
    """Returns how many stages to run at once. Raises ConfigError if that is more than hosts can agree on."""
    if jobs > 1 and hosts.count() > 1:
        raise ConfigError(
            f"--jobs={jobs} on {hosts.count()} hosts.\nAllowed: one stage at a time, which all of them run."
        )
    return jobs


def check_alone(skip_damaged: bool) -> None:
    """Raises ConfigError if several hosts are to skip what is damaged: one may see it, and the others not."""
    if skip_damaged and hosts.count() > 1:
        raise ConfigError(
            f"--skip_damaged on {hosts.count()} hosts.\nAllowed: on one host; or delete what the error names, and run "
            "the same command on all hosts again."
        )


def prepare_cells(plan: Plan, cells: Cells, display: Display, stop_asked: Callable[[], bool]) -> None:
    """Makes the vocabulary and the prepared cells of a plan. Raises Interrupted when asked to stop."""
    parts = plan.parts()
    with display.bar("vocabulary and examples", len(parts), unit="cells") as bar:
        hosts.first_does("the vocabulary", lambda: cells.tokenizer().fingerprint)
        cells.tokenizer()
        done = itertools.count(1)

        def pause():
            if stop_asked():
                raise Interrupted(f"Stopped within a cell; {bar.done} of {len(parts)} are there.\n{AGAIN}")

        def tell(part):
            number = next(done)
            bar.advance(number, str(part.cell))
            if number < len(parts) and stop_asked():
                raise Interrupted(f"Stopped at cell {number} of {len(parts)}.\n{AGAIN}")

        cells.prepare_all(parts, tell, pause)


def make_programs(plan: Plan, cells: Cells) -> Programs:
    """Returns the mesh and what will be compiled on it; ConfigError if it cannot split a stage's batches."""
    tokenizer = cells.tokenizer()
    words = Words(tokenizer.eos, tokenizer.pad, cells.blank)
    programs = Programs(plan.experiment, plan.row, tokenizer.size, tokenizer.mask, words)
    check_batches(plan, programs)
    return programs


def check_batches(plan: Plan, programs: Programs) -> None:
    """Raises ConfigError if a mesh cannot split the batches of a plan's stages, or those that are timed."""
    check_clock(plan, programs)
    devices = batch_multiple(programs.mesh)
    for node in plan.nodes:
        multiple = devices * node.stage.accumulate
        filled_up = node.stage.packing and all(KINDS[head.kind].packs for head in node.heads)
        if node.stage.batch_size % multiple and not filled_up and not node.imported:
            raise ConfigError(
                f"Stage '{node.name}' has batches of {node.stage.batch_size} in {node.stage.accumulate} parts, and "
                f"the mesh splits a batch over {devices} devices.\n"
                f"Allowed: a multiple of {multiple}, or another mesh (xling_jax/tables/meshes.py)."
            )


class Run:
    """One experiment in one folder."""

    def __init__(self, experiment: Experiment, workdir: pathlib.Path, data_dir: pathlib.Path | None, command: str = ""):
        """Lays out the plan; reads the sources' checksums, and writes nothing."""
        self._began = now()
        self.experiment = experiment
        self.workdir = workdir
        start = open_start(experiment)
        self.cells = Cells(experiment, workdir, data_dir, start.vocabulary if start else None)
        self.plan: Plan = make_plan(experiment, self.cells.vocabulary_hash(), self.cells.checksum, start)
        self.display = Display()
        self.ledger = Ledger()
        self._command = command
        self._planned = now()

    def __call__(
        self,
        stop_asked: Callable[[], bool] = lambda: False,
        jobs: int = 0,
        skip_damaged: bool = False,
        asked: Asked | None = None,
        trials: int = 1,
    ) -> None:
        """Runs what is not done.

        Args:
          stop_asked: whether to save and leave.
          jobs: stages to run at once; 0 for `default_jobs`. Results do not depend on it.
          skip_damaged: whether to go back behind a checkpoint that is damaged. Nor do they on this.
          asked: what to tell beside results.
          trials: stages of one shape that are trained as one program. Results do not depend on it but for rounding.

        Raises:
          XlingError: whatever was finished before stays; running again goes on.
        """
        check_vocabulary(self.plan.row, self.cells.vocabulary.kind)
        asked = asked or Asked()
        asked.check(self.plan, jobs, trials)
        check_alone(skip_damaged)
        check_trials(trials, [self.experiment])
        hosts.check_same("plan", digest([node.hash for node in self.plan.nodes], self.experiment))
        hosts.first_does("the claim to the work folder", lambda: claim_workdir(self.workdir, self.plan))
        with hold(self.workdir, say=self.display.say) as check:
            stop_asked = checked(stop_asked, check)
            left = self._left()
            if left or is_unclocked(self.plan, self.workdir):
                with self._open_ledger(asked):
                    how = {"jobs": jobs, "trials": trials, "skip_damaged": skip_damaged, "asked": asked}
                    self._run_left(left, stop_asked, **how)
                    write_submissions(self.workdir, self.plan)
                self._tell_time()
            else:
                if asked.profile:
                    self.display.say("nothing is profiled: every stage is done")
                write_experiment(self.workdir, self.plan, self._command)
                write_submissions(self.workdir, self.plan)

    def _open_ledger(self, asked: Asked) -> Ledger:
        """Opens the ledger, and writes down what came before there was one. One host keeps it."""
        jax.devices()  # who asks for them first waits for them
        self.ledger = Ledger(self.workdir / TIME if hosts.first() else None)
        if asked.began is not None:
            self.ledger.record("startup", asked.began, self._began)
        self.ledger.record("plan", self._began, self._planned)
        self.ledger.record("startup", self._planned, now())
        watch_compiling()
        return self.ledger

    def _tell_time(self) -> None:
        found = goodput(self.workdir / TIME) if hosts.first() else None
        if found is not None:
            self.display.say(found.text())

    def _run_left(
        self,
        left: list[Node],
        stop_asked: Callable[[], bool],
        *,
        jobs: int,
        trials: int,
        skip_damaged: bool,
        asked: Asked,
    ) -> None:
        jobs = checked_jobs(jobs or (1 if asked.profile else default_jobs(trials)))
        write_experiment(self.workdir, self.plan, self._command)
        with self.ledger.event("prepare"):
            self.prepare(stop_asked)
            programs = self._programs()
        shared = self.plan, self.workdir, self.cells, programs, self.display
        alone = jobs == trials == 1
        runner = StageRunner(*shared, alone=alone, skip_damaged=skip_damaged, ledger=self.ledger, asked=asked)
        self._run(left, runner, stop_asked, jobs, trials)
        how = {"display": self.display, "ledger": self.ledger, "stop_asked": stop_asked}
        measure_clock(self.plan, self.workdir, self.cells, programs, **how)  # now that nothing else runs
        self.cells.sweep()

    def _left(self) -> list[Node]:
        """Returns the stages that are not done, as host 0 finds them."""
        nodes = self.plan.nodes

        def found():
            return [at for at, node in enumerate(nodes) if not is_done(self.workdir, self.plan, node)]

        return [nodes[at] for at in hosts.first_does("the stages to do", found)]

    def prepare(self, stop_asked: Callable[[], bool] = lambda: False) -> None:
        """Makes the vocabulary and the prepared cells. Raises Interrupted when asked to stop."""
        prepare_cells(self.plan, self.cells, self.display, stop_asked)

    def _programs(self) -> Programs:
        return make_programs(self.plan, self.cells)

    def _run(
        self, left: list[Node], runner: StageRunner, stop_asked: Callable[[], bool], jobs: int, trials: int
    ) -> None:
        """Runs stages as soon as their parents are done. After a failure, those under way save and stop."""
        failed = threading.Event()
        running: dict[concurrent.futures.Future, tuple[Node, Node]] = {}  # which stage, and the first of its group
        errors: list[BaseException] = []
        total = len(self.plan.nodes)

        def stop() -> bool:
            return failed.is_set() or stop_asked()

        with concurrent.futures.ThreadPoolExecutor(jobs * trials) as pool:
            while left or running:
                waiting = {node.hash for node in [*left, *(node for node, _ in running.values())]}
                ready = [node for node in left if node.parent is None or node.parent.hash not in waiting]
                slots = jobs - len({first.hash for _, first in running.values()})
                for nodes in groups(ready, trials)[:slots] if not stop() else ():
                    for node, company in zip(nodes, companies(len(nodes)), strict=True):
                        left.remove(node)
                        self.display.say(f"[{total - len(left)}/{total}] {node.folder}")
                        running[pool.submit(runner.within, company, node, stop)] = node, nodes[0]
                if not running:
                    break
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    error = future.exception()
                    if error is not None:
                        failed.set()
                        errors.append(error)
                try:
                    write_experiment(self.workdir, self.plan, self._command)
                except DiskError as error:  # which is no news after another one
                    failed.set()
                    errors.append(error)
        # What stopped because of another stage's failure is not the news.
        errors.sort(key=lambda error: isinstance(error, Interrupted))
        if errors:
            raise errors[0]
        if left:
            raise Interrupted(f"Stopped with {len(left)} stages to do.\n{AGAIN}")
