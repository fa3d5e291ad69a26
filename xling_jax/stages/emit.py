"""Job files for slices: one for each group of stages that can begin now. Engines schedule them; claims divide the work.

A group is what runs on one kind of slice: stages of one model on one mesh. Its job runs `xling study --only=...` for
the group and what follows from it, in the study's one folder. So jobs may run at the same time, one of them may be
started several times, and what is ready after them is written by the same command again.
"""

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from xling_jax.errors import EXIT_INTERRUPTED, ConfigError
from xling_jax.stages.plan import Node, Plan
from xling_jax.stages.study import Unit, units
from xling_jax.tables.slices import Slice

LONGEST = 39  # characters of a name; xpk allows no more
RESTARTS = 100
AGAIN = "When the jobs are done, the same --emit writes those for what is ready then"
WHERE = "`xling study --help` lists the flags."


@dataclasses.dataclass(frozen=True)
class Job:
    """A group: its name, what --only it asks for, the stages it begins with, and how many it does in all."""

    name: str
    model: str
    mesh: str
    only: tuple[str, ...]
    begins: tuple[str, ...]
    stages: int


@dataclasses.dataclass(frozen=True)
class Place:
    """Where jobs run: `root` is the folder of the code here, `config` and `rest` the words of the command.

    `config` is FILE[:ARG]; `rest` are other flags, without --only. On slices, `mount` is the shared disk, from which
    relative paths are taken, and `bucket` what is mounted there.
    """

    root: str
    config: str
    rest: tuple[str, ...]
    mount: str = "/xling"
    bucket: str = ""


def jobs(study: str, plans: Mapping[str, Plan], is_done: Callable[[Plan, Node], bool]) -> list[Job]:
    """Returns a job for each group of stages of which some can begin."""
    left: dict[str, Unit] = {}
    for hash_, unit in units(list(plans.values())).items():
        todo = tuple(plan for plan in unit.plans if not is_done(plan, unit.node))
        if todo:
            left[hash_] = Unit(unit.node, todo)
    groups: dict[tuple[str, str], list[Unit]] = {}
    group_of: dict[str, tuple[str, str]] = {}
    begins: dict[tuple[str, str], list[str]] = {}
    for hash_, unit in left.items():
        mine = [_setting(plan) for plan in unit.plans]
        before = left.get(unit.parent)
        if before is None or not set(before.experiments) & set(unit.experiments):
            key = mine[0]
            begins.setdefault(key, []).append(unit.node.folder)
        elif unit.parent in group_of and group_of[unit.parent] in mine:
            key = group_of[unit.parent]
        else:
            continue  # what it needs is made by another job, or later
        group_of[hash_] = key
        groups.setdefault(key, []).append(unit)
    found: list[Job] = []
    for key, begun in begins.items():
        name = _free(sanitised(f"{study}-{key[0]}-{key[1]}"), [job.name for job in found])
        only = _patterns(plans, left, {unit.node.hash for unit in groups[key]}, key)
        found.append(Job(name, *key, only, tuple(begun), len(groups[key])))
    return found


def _setting(plan: Plan) -> tuple[str, str]:
    """Returns what decides the slice of an experiment."""
    return plan.row.name, plan.experiment.mesh


def _patterns(plans: Mapping[str, Plan], left: Mapping[str, Unit], hashes: set[str], key: tuple) -> tuple[str, ...]:
    """Returns experiments of a group, by name if all that is left of them belongs to it, else their stages."""
    found: list[str] = []
    for name, plan in plans.items():
        todo = [node for node in plan.nodes if node.hash in left and name in left[node.hash].experiments]
        mine = [node for node in todo if node.hash in hashes]
        if not mine or _setting(plan) != key:
            continue
        found += [name] if len(mine) == len(todo) else [f"{name}/{node.name}" for node in mine]
    return tuple(found)


def sanitised(name: str) -> str:
    """Returns a name that clouds and Kubernetes take: small letters, digits and dashes, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"x-{plain}")[:LONGEST].rstrip("-")


def _free(name: str, taken: Sequence[str]) -> str:
    names = (name, *(f"{name[: LONGEST - 3]}-{number}" for number in range(2, 100)))
    return next(each for each in names if each not in taken)


def write_jobs(engine: str, made: Sequence[Job], where: Slice | None, place: Place) -> dict[str, str]:
    """Returns the files of jobs by name; ConfigError for what an engine lacks."""
    if engine == "sh":
        return {f"{job.name}.sh": _script(job, place) for job in made} | {"run_all.sh": _all(made)}
    if where is None or where.chip.platform == "cpu":
        raise ConfigError(
            f"--emit={engine} for {where.name if where else 'no slice'}.\n"
            f"Allowed: --topology=NAME of an accelerator, for example v5e-64, or `topology` of the study.\n{WHERE}"
        )
    if engine == "skypilot":
        if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]*", place.bucket):
            raise ConfigError(
                f"--emit=skypilot with --bucket='{place.bucket}'.\n"
                f"Needed: gs://NAME, which holds the study's folder, checkpoints and data.\n{WHERE}"
            )
        return {f"{job.name}.yaml": _skypilot(job, where, place) for job in made}
    return {f"{job.name}.sh": _xpk(job, where, place) for job in made}


def _head(job: Job, place: Place) -> str:
    begins = " ".join(job.begins[:6]) + (f" ... ({len(job.begins)})" if len(job.begins) > 6 else "")
    return (
        f"# Model {job.model} on mesh {job.mesh}: {job.stages} stages, beginning with {begins}.\n"
        f"# Exit code {EXIT_INTERRUPTED} means: run it again. It may be started several times at once, which divides "
        "the stages.\n"
        f"# {AGAIN}.\n"
    )


def _command(job: Job, config: str, rest: Sequence[str]) -> str:
    words = [*rest, f"--only={','.join(job.only)}"]
    return f"study --config={config} {shlex.join(words)}"


def _on_slice(job: Job, place: Place, xling: str) -> str:
    """Returns the command where the code lies in $code, and the shared disk is the current folder."""
    config = shlex.quote(place.config) if place.config.startswith("/") else f'"$code"/{shlex.quote(place.config)}'
    return f"{xling} {_command(job, config, place.rest)}"


def _script(job: Job, place: Place) -> str:
    return f"""#!/usr/bin/env bash
{_head(job, place)}# TRIES says how often it is begun at most.
set -u
cd {shlex.quote(place.root)} || exit 2
child='' stopped='' code=0
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' INT TERM
for try in $(seq "${{TRIES:-{RESTARTS}}}"); do
  xling {_command(job, shlex.quote(place.config), place.rest)} &
  child=$!
  wait "$child"
  code=$?
  while [ -n "$stopped" ] && kill -0 "$child" 2>/dev/null; do sleep 0.2; done # a signal ends the waiting; it saves
  if [ -n "$stopped" ]; then
    wait "$child"
    code=$?
  fi
  if [ "$code" -ne {EXIT_INTERRUPTED} ] || [ -n "$stopped" ]; then break; fi
  echo "{job.name}: interrupted ($try), running it again" >&2
done
exit "$code"
"""


def _all(made: Sequence[Job]) -> str:
    names = "\n".join(f"  {job.name}" for job in made)
    return f"""#!/usr/bin/env bash
# Runs the jobs of this folder one after another, and leaves with the first exit code that is not 0.
# With AT_ONCE=1 they run at the same time, each on devices of its own.
# {AGAIN}.
set -u
here=$(cd "$(dirname "$0")" && pwd)
names=(
{names}
)
first=0 running=()
stopped=''
trap 'stopped=1; kill -TERM $(jobs -p) 2>/dev/null' INT TERM
finish() {{
  wait "$1"
  code=$?
  while [ -n "$stopped" ] && kill -0 "$1" 2>/dev/null; do sleep 0.2; done
  if [ -n "$stopped" ]; then
    wait "$1"
    code=$?
  fi
  if [ "$first" -eq 0 ]; then first=$code; fi
}}
for job in "${{names[@]}}"; do
  bash "$here/$job.sh" &
  running+=("$!")
  if [ -z "${{AT_ONCE:-}}" ]; then
    finish "$!"
    running=()
    if [ "$first" -eq {EXIT_INTERRUPTED} ]; then break; fi
  fi
done
for process in ${{running[@]+"${{running[@]}}"}}; do finish "$process"; done
exit "$first"
"""


def _skypilot(job: Job, where: Slice, place: Place) -> str:
    if where.chip.platform == "tpu":
        accelerator = f"tpu-{where.sold}\n  accelerator_args:\n    runtime_version: {where.chip.runtime}"
    else:
        accelerator = f"{where.chip.name.upper()}:{where.chips}"
    return f"""{_head(job, place)}# Launch: sky jobs launch {job.name}.yaml
# With --use-spot the slice may be taken away, which is safe. All hosts of a slice are one node here: setup and run are
# executed on each of them, and JAX finds the others.
name: {job.name}
workdir: {place.root}
num_nodes: 1

resources:
  accelerators: {accelerator}
  job_recovery:
    recover_on_exit_codes: [{EXIT_INTERRUPTED}]

file_mounts:
  {place.mount}:
    source: {place.bucket}
    mode: MOUNT

setup: |
  python3 -m pip install --quiet uv
  python3 -m uv venv --allow-existing --python 3.12 ~/.xling
  python3 -m uv pip install --quiet --python ~/.xling/bin/python -r requirements.lock
  python3 -m uv pip install --quiet --python ~/.xling/bin/python '.[{_extra(where)}]'

run: |
  code=$PWD
  cd {shlex.quote(place.mount)}
  {_on_slice(job, place, "~/.xling/bin/xling")}
"""


def _xpk(job: Job, where: Slice, place: Place) -> str:
    device = f"--tpu-type={where.sold}" if where.chip.platform == "tpu" else f"--device-type=h100-80gb-{where.chips}"
    command = " && ".join(
        (
            f"python3 -m pip install --quiet -r requirements.lock '.[{_extra(where)}]'",
            "code=$PWD",
            f"cd {shlex.quote(place.mount)}",
            _on_slice(job, place, "xling"),
        )
    )
    return f"""#!/usr/bin/env bash
{_head(job, place)}# Needs XPK_CLUSTER, a cluster that has such slices and the shared disk, mounted as {place.mount}.
# See `xpk storage attach`. Project and zone are taken from gcloud.
set -eu
cd {shlex.quote(place.root)}
xpk workload create \\
  --cluster="${{XPK_CLUSTER:?the name of a cluster}}" \\
  --workload={job.name} \\
  {device} \\
  --num-slices=1 \\
  --base-docker-image="${{XPK_IMAGE:-python:3.12}}" \\
  --max-restarts={RESTARTS} \\
  --restart-on-exit-codes={EXIT_INTERRUPTED} \\
  --termination-grace-period-seconds=120 \\
  --command={shlex.quote(command)}
"""


def _extra(where: Slice) -> str:
    return "tpu" if where.chip.platform == "tpu" else "gpu"
