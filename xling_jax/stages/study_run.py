"""Runs a study: what is ready of all its experiments, beside other workers of the same folder. Rerunning is recovering.

A stage that fails is told of at the end; what does not depend on it is done.
"""

import concurrent.futures
import contextlib
import dataclasses
import fnmatch
import itertools
import pathlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import jax

from xling_jax.data.prepare import sweep
from xling_jax.disk import on_bucket
from xling_jax.errors import DiskError, HostError, Interrupted, XlingError
from xling_jax.experiment import digest
from xling_jax.goodput import goodput
from xling_jax.ledger import TIME, Ledger, now, worker_ledger
from xling_jax.partitioning import hosts
from xling_jax.stages.claims import SECONDS, Claim, ClaimLost, Claims
from xling_jax.stages.clock import is_unclocked, measure_clock
from xling_jax.stages.plan import Plan
from xling_jax.stages.record import hold, stage_folder, write_experiment, write_submissions
from xling_jax.stages.run import AGAIN, check_alone, checked, checked_jobs, default_jobs
from xling_jax.stages.shelf import Shelf
from xling_jax.stages.stage import StageRunner, is_done
from xling_jax.stages.study import StudyPlan, Unit
from xling_jax.stages.study_record import (
    Failure,
    StudyFailed,
    check_folder,
    clear_failure,
    distances_of,
    failures,
    read_failure,
    still_to_do,
    write_failure,
    write_study,
)
from xling_jax.stages.trials import Solo, Trial, check_trials, companies, shape_of
from xling_jax.study import Study
from xling_jax.train.compiling import watch_compiling
from xling_jax.train.writer import Display

LOOK_EVERY = 2.0  # seconds between looks at what other workers have done
ON_BUCKET = 10.0  # the same where each look is some dozen requests
TELL_EVERY = 60.0  # seconds between lines about waiting for them


@dataclasses.dataclass(frozen=True)
class How:
    """How a study is run.

    `only`: patterns of what to do. `most`: stages to train at most, None for all. `jobs`: stages at once, 0 for the
    default. `began`: when the process did. `trials`: stages of one shape that are one of those at once.
    """

    only: tuple[str, ...] = ()
    most: int | None = None
    jobs: int = 0
    claim_seconds: float = SECONDS
    skip_damaged: bool = False
    began: float | None = None
    trials: int = 1


class StudyRun:
    """A study in one folder, and one of the workers that run it."""

    def __init__(self, study: Study, workdir: pathlib.Path, data_dir: pathlib.Path | None, command: str = ""):
        """Lays out the plans; reads the sources' checksums, and writes nothing."""
        self._began = now()
        self.plan = StudyPlan(study, workdir, data_dir)
        self.study, self.workdir, self._command = study, workdir, command
        self._distances = distances_of(study, data_dir)
        self.display, self.ledger = Display(), Ledger()
        self._shelf = Shelf(self.plan, self.display)
        self.broken: dict[str, XlingError] = dict(self.plan.absent)  # experiments that cannot begin
        self.failed: dict[str, Failure] = {}
        self._finished: set[str] = set()
        self._ending = threading.Event()
        self._errors: list[BaseException] = []
        self._held: dict[str, Claim] = {}
        self._trained = 0
        self._told: tuple[str, float] = ("", 0.0)
        self._planned = now()

    def __call__(self, stop_asked: Callable[[], bool], how: How, report: Callable[[], None] = lambda: None) -> None:
        """Does what is left, beside other workers.

        Args:
          stop_asked: whether to save and leave.
          how: what of it, and how.
          report: is called at the end, if all that was asked for is done.

        Raises:
          StudyFailed: something failed; everything else is done.
          XlingError: whatever ends a run. What was finished stays; running again goes on.
        """
        self._how, self._stop_asked = how, stop_asked
        check_alone(how.skip_damaged)
        self._jobs = checked_jobs(how.jobs or default_jobs(how.trials))
        check_trials(how.trials, [plan.experiment for plan in self.plan.plans.values()])
        self._select()
        hosts.check_same("plan", digest(list(self._all), list(self._left), sorted(self.broken)))
        hosts.first_does(
            "the claim to the work folder", lambda: check_folder(self.workdir, self.study, self.plan.plans.values())
        )
        # What is set aside must not be in use elsewhere.
        with hold(self.workdir, shared=not how.skip_damaged, say=self.display.say) as check:
            self._stop_asked = checked(stop_asked, check)
            write_study(self.workdir, self.study, self._distances, self._command)
            self._write(self.plan.plans.values())
            later = self._from_here()
            for name in self._asked(self.broken):
                if name not in later:
                    self._fail(name, self.broken[name])
            if not self._left and not later and not self._untimed():
                self._finish_experiments()
                self._conclude(report)
                return
            with self._open_ledger(), self._open_claims() as self._claims:
                self._go()
                self._time_inference()
                if hosts.first():
                    sweep(self.workdir / "prepared")
                self._conclude(report)
            self._tell_time()

    def _select(self) -> None:
        """Finds what is asked for, and what is left of it: `_open` are all stages of the study that are not done."""
        self._all, self._every = self.plan.units(self._how.only), self.plan.units()

        def found():
            return [hash_ for hash_, unit in self._every.items() if not self.plan.is_done(unit)]

        self._open = set(hosts.first_does("the stages to do", found))
        self._left = {hash_: unit for hash_, unit in self._all.items() if hash_ in self._open}
        self._known = failures(self.workdir)  # these are tried again, after everything else

    def _asked(self, experiments: Iterable[str]) -> list[str]:
        """Returns those of some experiments that --only asks for, or something of them."""
        patterns = [pattern.partition("/")[0] for pattern in self._how.only] or ["*"]
        return [name for name in experiments if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]

    def _from_here(self) -> list[str]:
        """Returns the experiments that start from a stage of this study, which is still to be done."""
        return self._asked(self.plan.made_here())

    @contextlib.contextmanager
    def _open_ledger(self) -> Generator[None]:
        jax.devices()  # who asks for them first waits for them
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(worker_ledger(self.workdir)) if hosts.first() else None
            self.ledger = stack.enter_context(Ledger(path))
            if self._how.began is not None:
                self.ledger.record("startup", self._how.began, self._began)
            self.ledger.record("plan", self._began, self._planned)
            self.ledger.record("startup", self._planned, now())
            watch_compiling()
            yield

    def _open_claims(self) -> contextlib.AbstractContextManager[Any]:
        if not hosts.first():
            return contextlib.nullcontext()
        return Claims(self.workdir, self._how.claim_seconds)

    def _tell_time(self) -> None:
        found = goodput(self.workdir / TIME) if hosts.first() else None
        if found is not None:
            self.display.say(found.text())

    @property
    def _look_every(self) -> float:
        return ON_BUCKET if on_bucket(self.workdir) else LOOK_EVERY

    def _stop(self) -> bool:
        return self._ending.is_set() or self._stop_asked()

    # What to do next: on the main thread, decided by host 0.

    def _go(self) -> None:
        """Runs stages as they become ready, until nothing is left that can be."""
        running: dict[concurrent.futures.Future, str] = {}
        first: dict[str, str] = {}  # of the group that a stage is run in
        with concurrent.futures.ThreadPoolExecutor(self._jobs * self._how.trials) as pool:
            while True:
                busy = set(running.values())
                slots = self._jobs - len({first[hash_] for hash_ in busy})
                look = hosts.first_does("the next stages", lambda slots=slots, busy=busy: self._look(slots, busy))
                self._learn(look)
                for group in look["start"]:
                    for hash_, company in zip(group, companies(len(group)), strict=True):
                        unit, first[hash_] = self._left[hash_], group[0]
                        number = len(self._all) - len(self._left) + 1
                        self.display.say(f"[{number}/{len(self._all)}] {unit.node.folder}")
                        running[pool.submit(self._do, unit, company)] = hash_
                if running:
                    wait = None if len(look["start"]) == slots else self._look_every
                    done, _ = concurrent.futures.wait(running, wait, concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        self._ended(self._all[running.pop(future)], future.exception())
                elif look["stop"]:
                    return
                elif look["held"]:
                    self._wait(look["held"])
                elif not look["done"] and not self._open_more():
                    return

    def _look(self, slots: int, busy: set[str]) -> dict[str, Any]:
        """Returns what other workers have done and failed in, what to start, and who has what else is ready."""
        found: dict[str, Any] = {"done": [], "failed": [], "start": [], "held": {}, "stop": self._stop()}
        found["failed"] = [text for name, text in failures(self.workdir).items() if text != self._known.get(name)]
        if found["stop"]:
            return found
        failed = {read_failure(text).name for text in found["failed"]} | set(self.failed)
        for unit in self._ready(failed, busy):
            if self._is_done(unit):
                found["done"].append(unit.node.hash)
            elif (group := self._group(unit, found["start"], slots)) is not None and not self._enough(
                unit, found["start"]
            ):
                claim = self._claims.take(unit.node.hash)
                if claim is None:
                    found["held"][unit.node.folder] = str(self._claims.owner(unit.node.hash) or "another worker")
                elif self._is_done(unit):  # by another worker, while we looked
                    self._claims.give_back(claim)
                    found["done"].append(unit.node.hash)
                else:
                    self._held[unit.node.hash] = claim
                    group.append(unit.node.hash)
                    found["start"] += [group] if len(group) == 1 else []
        return found

    def _ready(self, failed: set[str], busy: set[str]) -> list[Unit]:
        """Returns the stages that nothing is missing for: what failed before last, what has its programs here first."""
        ready = [
            unit
            for hash_, unit in self._left.items()
            if hash_ not in busy
            and unit.parent not in self._left
            and unit.node.folder not in failed
            and any(name not in self.broken for name in unit.experiments)
        ]
        return sorted(ready, key=lambda unit: (unit.node.folder in self._known, not self._shelf.has(unit.plans[0])))

    def _is_done(self, unit: Unit) -> bool:
        """Whether nothing of a stage is left that can be done."""
        plans = [plan for plan in unit.plans if plan.experiment.name not in self.broken]
        return all(is_done(self.workdir, plan, unit.node) for plan in plans)

    def _trains(self, unit: Unit) -> bool:
        return not unit.node.imported and not (stage_folder(self.workdir, unit.node.folder) / "DONE").is_file()

    def _enough(self, unit: Unit, starting: Sequence[Sequence[str]]) -> bool:
        """Whether as many stages are trained as --max_stages allows, and this is another one."""
        started = self._trained + sum(map(len, starting))
        return self._how.most is not None and self._trains(unit) and started >= self._how.most

    def _group(self, unit: Unit, starting: Sequence[list[str]], slots: int) -> list[str] | None:
        """Returns the group among those about to start that a stage is a trial of, or a new one if there is room."""
        like = self._like(unit)
        for group in starting:
            if len(group) < self._how.trials and self._like(self._left[group[0]]) == like:
                return group
        return [] if len(starting) < slots else None

    def _like(self, unit: Unit) -> tuple:
        return shape_of(unit.node), self._shelf.programs_key(unit.plans[0])

    def _learn(self, look: dict[str, Any]) -> None:
        """Takes up what host 0 has found."""
        for text in look["failed"]:
            failure = read_failure(text)
            if failure.name not in self.failed:
                self.display.say(f"failed elsewhere: {failure.line}")
                self.failed[failure.name] = failure
        for hash_ in look["done"]:
            self._done(self._left[hash_])
        for hash_ in itertools.chain(*look["start"]):
            self._trained += self._trains(self._left[hash_])

    def _wait(self, held: dict[str, str]) -> None:
        """Waits for other workers, and says for whom: at first, and every minute."""
        whom = "; ".join(f"{owner} ({folder})" for folder, owner in held.items())
        if whom != self._told[0] or time.monotonic() - self._told[1] >= TELL_EVERY:
            self._told = whom, time.monotonic()
            self.display.say(f"waiting for {whom}; {len(self._left)} stages are left")
        hosts.first_does("the next look", self._pause)

    def _pause(self) -> None:
        until = time.monotonic() + self._look_every
        while time.monotonic() < until and not self._stop():
            time.sleep(0.1)

    def _open_more(self) -> bool:
        """Opens experiments whose checkpoint is a stage of this study, and is there by now. Returns whether it did."""
        before = set(self.plan.plans)
        self.plan.open(self._from_here())
        new = [name for name in self.plan.plans if name not in before]
        for name in new:
            self.broken.pop(name, None)
        if new:
            self._select()
            self._write(self.plan.plans.values())
        return bool(new)

    # One stage: on a thread of its own.

    def _do(self, unit: Unit, company: Solo | Trial) -> None:
        """Does what is left of a stage for each of its plans, as long as its claim is ours."""
        claim = self._held.pop(unit.node.hash, None)  # host 0 has it

        def stop() -> bool:
            if claim is not None:
                claim.check()
            return self._stop()

        try:
            with company:
                for plan in unit.plans:
                    if self._is_left(unit, plan) and self._can_begin(plan, stop):
                        self._runner(plan, stop, claim, company)(unit.node, stop)
        finally:
            if claim is not None:
                self._claims.give_back(claim)

    def _is_left(self, unit: Unit, plan: Plan) -> bool:
        name = f"{unit.node.folder} of {plan.experiment.name}"
        return not hosts.first_does(name, lambda: is_done(self.workdir, plan, unit.node))

    def _can_begin(self, plan: Plan, stop: Callable[[], bool]) -> bool:
        """Whether an experiment's cells and programs are here, making them; if that fails, the experiment does."""
        name = plan.experiment.name
        if name in self.broken:
            return False
        try:
            self._shelf.take(plan, self.ledger, stop)
        except (DiskError, HostError, Interrupted):
            raise
        except XlingError as error:
            if hosts.count() > 1:
                raise
            self.broken[name] = error
            self._fail(name, error)
        return name not in self.broken

    def _runner(self, plan: Plan, stop: Callable[[], bool], claim: Claim | None, company: Solo | Trial) -> StageRunner:
        cells, programs = self._shelf.take(plan, self.ledger, stop)
        return StageRunner(
            plan,
            self.workdir,
            cells,
            programs,
            self.display,
            alone=self._jobs == self._how.trials == 1,
            skip_damaged=self._how.skip_damaged,
            ledger=self.ledger,
            before_done=lambda node: claim.renew() if claim is not None else None,
            company=company,
        )

    # What has happened: on the main thread.

    def _ended(self, unit: Unit, error: BaseException | None) -> None:
        """Takes up how a stage ended."""
        if error is None and not set(unit.experiments) <= set(self.broken):
            self._done(unit)
        elif error is None:  # none of its experiments can begin
            return
        elif isinstance(error, ClaimLost) and hosts.count() == 1:
            self.display.say(f"  {unit.node.name} was taken over: {error.args[0].splitlines()[0]}")
        elif isinstance(error, XlingError) and not isinstance(error, (Interrupted, DiskError, HostError)):
            self._fail(unit.node.folder, error)
            if hosts.count() > 1:  # the others may have seen it, or not
                self._end(error)
        else:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Ends the run: what is under way saves and stops."""
        self._ending.set()
        self._errors.append(error)

    def _done(self, unit: Unit) -> None:
        self._left.pop(unit.node.hash, None)
        if not set(unit.experiments) & set(self.broken):
            self._open.discard(unit.node.hash)
        clear_failure(self.workdir, unit.node.folder)
        try:
            self._write(unit.plans)
            self._finish_experiments()
        except DiskError as error:
            self._end(error)

    def _fail(self, name: str, error: XlingError) -> None:
        self.failed[name] = write_failure(self.workdir, name, error)
        self.display.say(f"failed: {self.failed[name].line}")

    def _write(self, plans: Iterable[Plan]) -> None:
        for plan in plans:
            write_experiment(self.workdir, plan, self._command, self.study.name)

    def _finish_experiments(self) -> None:
        """Finishes each experiment of which no stage is left, once, and drops what only those needed."""
        needed = {name for hash_ in self._open for name in self._every[hash_].experiments}
        for name, plan in self.plan.plans.items():
            if name not in needed and name not in self._finished and name not in self.broken:
                self._finished.add(name)
                self._finish(plan)
        left = {name for unit in self._left.values() for name in unit.experiments}
        self._shelf.keep([plan for name, plan in self.plan.plans.items() if name in left])

    def _untimed(self) -> list[Plan]:
        """Returns the experiments that are done, and whose inference is still to be measured."""
        named = self._asked(self.plan.plans)
        needed = {name for hash_ in self._open for name in self._every[hash_].experiments}
        plans = [plan for name, plan in self.plan.plans.items() if name in named and name not in needed]
        return [plan for plan in plans if is_unclocked(plan, self.workdir)]

    def _time_inference(self) -> None:
        """Measures how fast each experiment's model answers, one after the other: this worker does nothing else now."""
        for plan in self._untimed():
            name = f"clock-{plan.experiment.name}"
            if self._stop() or not hosts.first_does(name, lambda name=name: self._hold(name)):
                continue
            try:
                cells, programs = self._shelf.take(plan, self.ledger, self._stop)
                how = {"display": self.display, "ledger": self.ledger, "stop_asked": self._stop}
                measure_clock(plan, self.workdir, cells, programs, **how)
            finally:
                if name in self._held:
                    self._claims.give_back(self._held.pop(name))

    def _hold(self, name: str) -> bool:
        """Claims something that is no stage; returns whether nobody else has it."""
        claim = self._claims.take(name)
        if claim is not None:
            self._held[name] = claim
        return claim is not None

    def _finish(self, plan: Plan) -> None:
        """Is called for each experiment after its last stage, by every worker that comes to know of that."""
        write_submissions(self.workdir, plan, plan.experiment.name)

    def _conclude(self, report: Callable[[], None]) -> None:
        """Says what is left, and raises what there is to raise; else reports."""
        # What stopped because of another stage's failure is not the news.
        for error in sorted(self._errors, key=lambda error: isinstance(error, Interrupted)):
            raise error
        if self._stop():
            raise Interrupted(f"Stopped with {len(self._left)} stages to do.\n{AGAIN}")
        for name in self._from_here():
            self._fail(name, self.broken[name])
        still = hosts.first_does("what has failed", lambda: list(failures(self.workdir)))
        self.failed = {name: failure for name, failure in self.failed.items() if name in still}
        left = [unit.node.folder for unit in self._left.values()]
        if self.failed:
            raise StudyFailed(self.study.name, self.workdir, self.failed, left)
        if left:
            self.display.say(f"{self._trained} stages were trained, as --max_stages says. {still_to_do(left)}")
            return
        if hosts.first():
            self.ledger.keep()  # which the report reads
            with self.ledger.event("report"):
                report()
