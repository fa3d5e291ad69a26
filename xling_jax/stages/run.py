"""Runs a plan: for each stage, start, train, evaluate, record, mark done. Rerunning is recovering."""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import pathlib
import platform
from collections.abc import Callable
from importlib import metadata

import jax

from xling_jax import __version__
from xling_jax.data.batches import Batches, stream
from xling_jax.errors import CheckpointError, ConfigError, DataError
from xling_jax.eval.suite import evaluate_cell, protocol_of, result_rows, write_text
from xling_jax.experiment import Experiment, as_json, digest
from xling_jax.partitioning.feed import batch_multiple
from xling_jax.results import Result, read_results, write_results
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import Node, Plan, make_plan
from xling_jax.stages.programs import Programs
from xling_jax.stages.transfer import merge, plan_loading, source_tree
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS
from xling_jax.train.checkpoint import Checkpoints
from xling_jax.train.loop import train
from xling_jax.train.optimizer import learning_rate
from xling_jax.train.writer import Display, open_metrics, write_metrics

POLICY = "last"
LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Run:
    """One experiment in one folder."""

    def __init__(self, experiment: Experiment, workdir: pathlib.Path, data_dir: pathlib.Path | None, command: str = ""):
        self.experiment = experiment
        self.workdir = workdir
        self.cells = Cells(experiment, workdir, data_dir)
        self.plan: Plan = make_plan(experiment, self.cells.vocabulary_hash(), self.cells.checksum)
        self.display = Display()
        self._command = command
        self._programs: Programs | None = None

    def __call__(self, stop_asked: Callable[[], bool] = lambda: False) -> None:
        """Runs what is not done. Raises an XlingError; whatever was finished before stays."""
        claim_workdir(self.workdir, self.experiment)
        with hold(self.workdir):
            self.write_experiment()
            for number, node in enumerate(self.plan.nodes, start=1):
                if not self._missing(node):
                    continue
                if self._programs is None:
                    self.prepare()
                    self.lay_out()
                self.display.say(f"[{number}/{len(self.plan.nodes)}] {node.folder}")
                self._run_stage(node, stop_asked)
                self.write_experiment()

    def folder(self, node: Node) -> pathlib.Path:
        """Returns where a stage lies."""
        return self.workdir / "stages" / node.folder

    def _missing(self, node: Node) -> bool:
        """Whether anything of a stage is still to be done."""
        return not (self.folder(node) / "DONE").exists() or bool(self._cells_to_evaluate(node))

    def _cells_to_evaluate(self, node: Node) -> list[tuple[str, list]]:
        """Returns (target, cells without a result) of a stage."""
        path = self.folder(node) / "results.jsonl"
        done = {(r.task, r.split, r.language, r.protocol) for r in read_results(path)} if path.exists() else set()
        missing = []
        for name in self.plan.targets_of(node):
            target = self.experiment.targets[name]
            left = [c for c in target.cells() if (c.task, c.split, c.language, protocol_of(target)) not in done]
            if left:
                missing.append((name, left))
        return missing

    def prepare(self) -> None:
        """Makes the vocabulary and the prepared cells."""
        parts = self.plan.parts()
        self.display.begin("vocabulary and examples", len(parts), unit="cells")
        self.cells.tokenizer()
        for number, part in enumerate(parts, start=1):
            self.cells.prepare(part)
            self.display.advance(number, str(part.cell))
        self.display.end()

    def lay_out(self) -> None:
        """Lays out the mesh and makes ready to compile; nothing is compiled before it is used."""
        tokenizer = self.cells.tokenizer()
        self._programs = Programs(self.experiment, tokenizer.size, tokenizer.mask)
        multiple = batch_multiple(self._programs.mesh)
        for node in self.plan.nodes:
            if node.stage.batch_size % (multiple * node.stage.accumulate):
                raise ConfigError(
                    f"Stage '{node.name}' has batches of {node.stage.batch_size} in {node.stage.accumulate} parts; the "
                    f"mesh splits a batch over {multiple} devices.\nAllowed: a multiple of "
                    f"{multiple * node.stage.accumulate}, or another mesh (xling_jax/tables/meshes.py)."
                )

    @property
    def programs(self) -> Programs:
        assert self._programs is not None, "lay_out comes first"
        return self._programs

    def _run_stage(self, node: Node, stop_asked: Callable[[], bool]) -> None:
        folder = self.folder(node)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.json", json.dumps(self._identity(node), indent=1, sort_keys=True) + "\n")
        checkpoints = Checkpoints(folder / "checkpoints")
        try:
            state, steps = self._train(node, checkpoints, stop_asked)
            self._evaluate(node, state["params"], steps)
        finally:
            checkpoints.close()
        write_text(folder / "DONE", "")

    def _identity(self, node: Node) -> dict:
        return {
            "stage": dataclasses.asdict(node.stage),
            "seed": node.seed,
            "parent": node.parent.folder if node.parent else None,
            "hash": node.hash,
            "model": self.experiment.model,
            "vocabulary": self.plan.vocabulary,
        }

    def _train(self, node: Node, checkpoints: Checkpoints, stop_asked):
        """Returns (the last state, its step), training what is left to train."""
        stage = node.stage
        prepared = [self.cells.prepare(part) for part in stage.parts(self.experiment.limits)]
        short = next(
            (cell for cell in prepared if stage.examples and cell.examples < stage.examples // len(prepared)), None
        )
        if short:
            raise DataError(
                f"Stage '{node.name}' wants {stage.examples // len(prepared)} examples of {short.cell}, there are "
                f"{short.examples} for it.\nAllowed: as many as there are; lower `examples` of the stage."
            )
        features = sum(cell.features for cell in prepared)
        steps = stage.steps or max(1, round(stage.epochs * features / stage.batch_size))
        make, abstract = self.programs.state_maker(node.heads, stage.optim)
        start = checkpoints.latest()
        if start is not None:
            state = checkpoints.restore(start, abstract)
            self.display.say(f"  goes on from its checkpoint at step {start} of {steps}")
        else:
            start, state = 0, self._start_state(node, make, abstract)
        if start >= steps:
            return state, steps
        source = Batches(
            prepared,
            mixing=stage.mixing,
            batch_size=stage.batch_size,
            steps=steps,
            seed=node.seed,
            buckets=stage.lengths(),
            host=jax.process_index(),
            hosts=jax.process_count(),
        )
        with open_metrics(self.folder(node) / "metrics.jsonl", start) as metrics:
            self.display.begin(f"  {node.name}", steps, start)

            def log(step, values):
                write_metrics(metrics, step, values)
                loss = next(value for name, value in values.items() if name.endswith("/loss"))
                self.display.advance(step, f"loss {loss:.3f}")

            try:
                state = train(
                    state,
                    steps,
                    stream(source, start),
                    self._step_fns(node),
                    start=start,
                    rate=lambda step: learning_rate(stage.optim, step, steps),
                    place=self.programs.place,
                    log_every=stage.log_every,
                    save_every=stage.save_every,
                    log=log,
                    save=checkpoints.save,
                    stop_asked=stop_asked,
                    identify=source.identify,
                )
            finally:
                self.display.end()
        return state, steps

    def _step_fns(self, node: Node) -> dict[str, Callable]:
        def bind(task):
            step = self.programs.step(node.heads, task, node.stage.optim, node.stage.accumulate)
            return lambda state, batch, rate: step(state, batch, rate, node.seed)

        return {head.name: bind(head.name) for head in node.heads}

    def _start_state(self, node: Node, make: Callable, abstract):
        """Returns the state at step 0: fresh, then what the hand-over takes from the parent's checkpoint."""
        state = make(node.seed)
        if node.parent is None:
            self.display.say("  starts from random parameters")
            return state
        loading = plan_loading(node.stage.handover, node.heads, node.parent.heads)
        self.display.say(f"  from {node.parent.folder}: {loading}")
        parent = Checkpoints(self.folder(node.parent) / "checkpoints")
        try:
            step = parent.latest()
            if step is None:
                raise CheckpointError(
                    f"Stage {node.parent.folder} is marked done and has no checkpoint.\n"
                    f"Delete {self.folder(node.parent)}; the next run trains it again."
                )
            read = parent.restore_params(step, source_tree(loading, abstract["params"]))
        finally:
            parent.close()
        return state | {"params": merge(loading, state["params"], read)}

    def _evaluate(self, node: Node, params, step: int) -> None:
        """Evaluates what has no result yet. Results are written cell by cell."""
        path = self.folder(node) / "results.jsonl"
        rows: list[Result] = list(read_results(path)) if path.exists() else []
        stage = {"seed": node.seed, "stage": node.name, "stage_hash": node.hash, "step": step, "policy": POLICY}
        for name, cells in self._cells_to_evaluate(node):
            target = self.experiment.targets[name]
            function = self.programs.output(node.heads, target)
            self.display.begin(f"  evaluates {name}", len(cells), unit="languages")
            for number, cell in enumerate(cells, start=1):
                opened = self.cells.open(cell, target)
                values = evaluate_cell(
                    opened,
                    target,
                    lambda batch, function=function: function(params, batch),
                    self.programs.place,
                    self.folder(node) / "predictions",
                )
                rows += result_rows(values, opened, target, stage)
                write_results(path, rows)
                self.display.advance(number, str(cell))
            self.display.end()
        if not path.exists():
            write_results(path, rows)

    def write_experiment(self) -> None:
        """Writes what the experiment is made of, for the report."""
        experiment = self.experiment
        stages = [
            {
                "dir": node.folder,
                "name": node.name,
                "parents": [node.parent.folder] if node.parent else [],
                "seed": node.seed,
                "steps": node.stage.steps,
                "done": (self.folder(node) / "DONE").exists(),
            }
            for node in self.plan.nodes
        ]
        targets = [
            {
                "name": name,
                "task": target.task,
                "split": target.split,
                "metric": target.metric or KINDS[TASKS[target.task].kind].metrics[0],
                "languages": [cell.language for cell in target.cells()],
            }
            for name, target in experiment.targets.items()
        ]
        record = {
            "name": experiment.name,
            "study": None,
            "question": experiment.question,
            "synthetic": experiment.synthetic,
            "config_hash": digest(experiment),
            "config": json.loads(as_json(experiment)),
            "command": self._command,
            "versions": {"xling_jax": __version__} | {name: metadata.version(name) for name in LIBRARIES},
            "machine": f"{platform.machine()}, {jax.device_count()} x {jax.devices()[0].device_kind}",
            "date": datetime.date.today().isoformat(),
            "source_language": experiment.source_language,
            "language_groups": dict(experiment.language_groups),
            "seeds": list(experiment.seeds),
            "baseline": experiment.baseline,
            "arms": list(experiment.arms),
            "targets": targets,
            "comparisons": [list(pair) for pair in experiment.comparisons],
            "headline": {"comparison": list(experiment.headline[:2]), "target": experiment.headline[2]}
            if experiment.headline
            else None,
            "cells": [
                {"arm": e.arm, "seed": e.seed, "target": e.target, "stage": e.node.folder}
                for e in self.plan.evaluations
            ],
            "stages": stages,
        }
        write_text(self.workdir / "experiments" / f"{experiment.name}.json", json.dumps(record, indent=1) + "\n")


def claim_workdir(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Raises ConfigError if a folder holds the run of another experiment or of another configuration."""
    mine = json.loads(as_json(experiment))
    for path in sorted((workdir / "experiments").glob("*.json")):
        there = json.loads(path.read_text())["config"]
        if there != mine:
            differing = sorted(name for name in mine if there.get(name) != mine[name])
            raise ConfigError(
                f"{workdir} was written by experiment '{there['name']}' with another configuration.\n"
                f"Fields that differ: {', '.join(differing)}.\n"
                "Use another --workdir, or the configuration it was written with."
            )


@contextlib.contextmanager
def hold(workdir: pathlib.Path):
    """Keeps a second process out of a folder while the first one works in it."""
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another process is running in {workdir}.\nWait for it, or use another --workdir."
            ) from error
        yield
