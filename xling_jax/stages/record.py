"""What a work folder says of the experiment in it, and to whom the folder belongs."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import platform
import time
import uuid
from collections.abc import Callable, Generator
from importlib import metadata
from typing import Any

import jax

from xling_jax import __version__
from xling_jax.disk import on_bucket
from xling_jax.errors import ConfigError, DataError
from xling_jax.experiment import as_json, digest, seen_languages
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text
from xling_jax.stages.claims import held
from xling_jax.stages.plan import Plan
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

STUDY = "study.json"  # what a study writes of itself; see `study_record.py`
SEEN = 60.0  # seconds after which a file should be seen on a disk that hosts share
LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def stage_folder(workdir: pathlib.Path, folder: str) -> pathlib.Path:
    """Returns where a stage lies."""
    return workdir / "stages" / folder


def circumstances(command: str) -> dict[str, Any]:
    """Returns how, with what, where and when something was run."""
    device = jax.devices()[0].device_kind
    return {
        "command": command,
        "versions": {"xling_jax": __version__} | {name: metadata.version(name) for name in LIBRARIES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.device_count()} x {device}",
        "date": datetime.date.today().isoformat(),
    }


def write_experiment(workdir: pathlib.Path, plan: Plan, command: str, study: str | None = None) -> None:
    """Writes what an experiment is made of, and of which study it is a part, for the report."""
    experiment = plan.experiment
    stages = [
        {
            "dir": node.folder,
            "name": node.name,
            "parents": [node.parent.folder] if node.parent else [],
            "seed": node.seed,
            "steps": node.stage.steps,
            "imported": node.imported,
            "policy": node.stage.selection.policy,
            "policies": list(node.stage.selection.policies),
            "done": (stage_folder(workdir, node.folder) / "DONE").is_file(),
        }
        for node in plan.nodes
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
    arm, other, target = experiment.headline or (None, None, None)
    record = {
        "name": experiment.name,
        "study": study,
        "question": experiment.question,
        "synthetic": experiment.synthetic,
        "config_hash": digest(_claimed(plan)),
        "config": _claimed(plan),
        **circumstances(command),
        "source_language": experiment.source_language,
        "language_groups": dict(experiment.language_groups),
        "seeds": list(experiment.seeds),
        "baseline": experiment.baseline or next(iter(experiment.arms)),
        "arms": list(experiment.arms),
        "factors": dict(experiment.factors),
        "arm_factors": {name: dict(arm.factors) for name, arm in experiment.arms.items()},
        "seen_languages": {arm: seen_languages(experiment, arm) for arm in experiment.arms},
        "targets": targets,
        "comparisons": [list(pair) for pair in experiment.comparisons],
        "headline": {"comparison": [arm, other], "target": target} if target else None,
        "cells": [{"arm": e.arm, "seed": e.seed, "target": e.target, "stage": e.node.folder} for e in plan.evaluations],
        "stages": stages,
    }
    write_text(workdir / "experiments" / f"{experiment.name}.json", json.dumps(record, indent=1) + "\n")


def write_submissions(workdir: pathlib.Path, plan: Plan, folder: str = "") -> None:
    """Gathers the predictions of each arm and seed as a submission: WORKDIR/submissions/<arm>_s<seed>/<task>/...

    A benchmark's scorer, or `xling score`, takes such a folder; the stages that made it lie apart. `folder`: one
    between, where several experiments have arms of the same names.
    """
    if not hosts.first():
        return
    for evaluation in plan.evaluations:
        target = plan.experiment.targets[evaluation.target]
        made = stage_folder(workdir, evaluation.node.folder) / "predictions" / target.task
        out = workdir / "submissions" / folder / f"{evaluation.arm}_s{evaluation.seed}" / target.task
        for cell in target.cells():
            for path in made.glob(f"{cell.split}-{cell.language}.*"):
                if path.suffixes in ([".tsv"], [".json"], [".jsonl"]):  # and not what stands beside them
                    write_text(out / path.name, path.read_text(encoding="utf-8"))


def _claimed(plan: Plan) -> dict[str, Any]:
    """Returns the configuration of an experiment; a checkpoint in it is what it holds, wherever it lies."""
    start = {"checkpoint": plan.start.fingerprint} if plan.start else {}
    return json.loads(as_json(plan.experiment)) | start


def claim_workdir(workdir: pathlib.Path, plan: Plan) -> None:
    """Raises ConfigError if a folder holds the run of another experiment or of another configuration, or a study."""
    if (workdir / STUDY).is_file():
        raise ConfigError(
            f"{workdir} was written by a study, and `xling run` runs one experiment.\n"
            "Allowed: another --workdir; or `xling study` with the config of that study."
        )
    for there in recorded(workdir):
        check_recorded(workdir, there, plan)


def recorded(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns what a folder says of the experiments in it. Raises DataError for a damaged file."""
    found = []
    for path in sorted((workdir / "experiments").glob("*.json")):
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            there["config"]["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, which says what was asked here, is damaged ({error}).\n"
                "Delete it, and run the same command as before again: it is written anew."
            ) from error
        found.append(there)
    return found


def check_recorded(workdir: pathlib.Path, there: dict[str, Any], plan: Plan) -> None:
    """Raises ConfigError if an experiment in a folder, as `recorded` has it, has another configuration than a plan."""
    mine, other = _claimed(plan), there["config"]
    if other != mine:
        differing = sorted(name for name in mine if other.get(name) != mine[name])
        raise ConfigError(
            f"{workdir} was written by experiment '{other['name']}' with another configuration.\n"
            f"Fields that differ: {', '.join(differing)}.\n"
            "Use another --workdir, or the configuration it was written with."
        )


@contextlib.contextmanager
def hold(
    workdir: pathlib.Path, shared: bool = False, say: Callable[[str], None] = print
) -> Generator[Callable[[], None]]:
    """Keeps a second process out of a folder while the first one works in it; of the hosts of a run, the first does.

    Gives what raises Interrupted once the folder is another one's, which on a disk does not happen.

    Args:
      workdir: the folder.
      shared: only those that do not share it are kept out.
      say: is told for whom is waited.
    """
    with contextlib.ExitStack() as stack:
        check: Callable[[], None] = lambda: None  # noqa: E731
        if hosts.first() and on_bucket(workdir):
            check = stack.enter_context(held(workdir, shared, say))
        elif hosts.first():
            stack.enter_context(_locked(workdir, shared))
        check_shared(workdir)
        yield check


def check_shared(workdir: pathlib.Path) -> None:
    """Raises ConfigError if a host does not see what host 0 writes into a folder."""
    if hosts.count() == 1:
        return
    until = time.monotonic() + SEEN
    path = workdir / hosts.first_does("a sign in the work folder", lambda: _sign(workdir))
    while not path.is_file():
        if time.monotonic() > until:
            raise ConfigError(
                f"Host {hosts.number()} of {hosts.count()} does not see {path}, which host 0 has written.\n"
                "Allowed: a --workdir on a disk that all hosts share."
            )
        time.sleep(0.1)
    hosts.meet("the sign in the work folder")
    if hosts.first():
        path.unlink(missing_ok=True)


def _sign(workdir: pathlib.Path) -> str:
    """Writes a file that no other run writes, and returns its name."""
    name = f".hosts-{uuid.uuid4().hex}"
    write_text(workdir / name, "")
    return name


@contextlib.contextmanager
def _locked(workdir: pathlib.Path, shared: bool):
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another process is running in {workdir}.\nWait for it, or use another --workdir."
            ) from error
        yield
