"""What each verb of `scripts/tpu.sh` does."""

import argparse
import contextlib
import dataclasses
import fcntl
import pathlib
import signal
import sys
import time
from collections.abc import Generator

from xling_jax.errors import EXIT_DONE, ConfigError, XlingError
from xling_jax.launch import commands
from xling_jax.launch.babysit import Babysitter
from xling_jax.launch.budget import Budget, known, remember, state_folder
from xling_jax.launch.flags import MAKING, parse, remembered, shape
from xling_jax.launch.gcloud import Gcloud, Stopped
from xling_jax.launch.job import Hosts, Job, job
from xling_jax.launch.kept import Kept
from xling_jax.launch.machine import ABSENT, READY, Machine
from xling_jax.launch.pretend import Pretending
from xling_jax.launch.request import BUCKET, Request, matched

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> None:
    """Does what a verb says and leaves with its exit code; errors are a line each."""
    try:
        values = parse(argv)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` means it
                signal.signal(number, _stop)
        sys.exit(_verb(values))
    except XlingError as error:
        _print(f"error: {' '.join(str(error).split())}", sys.stderr)
        sys.exit(error.exit_code)


def _stop(number: int, _frame) -> None:
    raise Stopped(f"asked to stop by {signal.Signals(number).name}; the same command goes on")


def _print(text: str, where) -> None:
    """Prints a line. A terminal that is gone must not keep this program from deleting what costs money."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=where, flush=True)


def _say(text: str) -> None:
    _print(f"[{time.strftime('%H:%M:%S')}] {text}", sys.stdout)


def _command(text: str) -> None:
    _print(text, sys.stdout)


def _verb(values: argparse.Namespace) -> int:
    if values.verb == "list":
        return _list(values)
    said = remembered(values)
    if values.verb not in ("create", "babysit", "run") and not said["type"]:
        said["type"] = "v5e-1"  # what is deleted, looked at and copied is found by its name
    asked = shape(said, values.name)
    cloud = _cloud(values, asked)
    machine = Machine(asked, cloud, _say, 0.0 if values.dry_run else values.poll)
    if values.verb not in MAKING and said["queued"] is None and not values.dry_run:
        machine = _as_made(machine)
    does = {"babysit": _babysit, "create": _create, "run": _run, "status": _status, "logs": _logs}
    does |= {"sync": _sync, "stop": _stop_run, "delete": _delete}
    return does[values.verb](values, said, machine)


def _as_made(machine: Machine) -> Machine:
    """Returns the slice as it was made, by the queue or without it, where this machine does not know."""
    plain = dataclasses.replace(machine, request=dataclasses.replace(machine.request, queued=False))
    return plain if machine.look().state == ABSENT and plain.look().state != ABSENT else machine


def _cloud(values: argparse.Namespace, asked: Request | None) -> Gcloud:
    if values.dry_run:
        return Pretending(_command, asked, there=values.verb not in ("create", "babysit"))
    return Gcloud(_say)


@contextlib.contextmanager
def _alone(values: argparse.Namespace) -> Generator[None]:
    """Holds the name: two that make slices of one name here would delete each other's."""
    if values.dry_run:
        yield
        return
    path = state_folder() / f"{values.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"Another tpu.sh looks after '{values.name}' here. Allowed: one at a time.") from None
        yield


def _job(values: argparse.Namespace, asked: Request) -> Job:
    bucket = values.bucket or known(values.name).get("bucket")
    if not bucket:
        raise ConfigError("--bucket is not given. Allowed: gs://NAME or gs://NAME/FOLDER, see docs/tpu.md.")
    return job(values.words, bucket, asked, values.fetch, values.every)


def _remember(values: argparse.Namespace, said: dict, task: Job | None = None) -> None:
    if values.dry_run:
        return
    more = {"bucket": task.bucket, "workdir": task.workdir} if task else {}
    remember(values.name, **said, **more)


def _babysit(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    asked, task = machine.request, _job(values, machine.request)
    hosts = Hosts(asked, task, machine.cloud)
    budget = Budget(values.name, asked.dollars_an_hour, values.max_hours, values.max_dollars, kept=not values.dry_run)
    with _alone(values):
        _remember(values, said, task)
        _say(f"{values.name}: {asked.about}")
        if not (values.max_hours or values.max_dollars):
            _say("neither --max_hours nor --max_dollars is given: it costs until the run ends")
        last_words = lambda: machine.cloud.passed_on(hosts.log(20, follow=False))  # noqa: E731
        return Babysitter(machine, hosts, budget, _say, values.tries, values.keep, last_words)()


def _create(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    with _alone(values):
        _remember(values, said)
        machine.check_name(machine.look())
        try:
            machine.bring_up()
        except BaseException:
            if values.dry_run or machine.look().state == ABSENT:
                raise
            machine.delete()
            raise
    _say(f"costs up to ${machine.request.dollars_an_hour:,.2f} an hour until: scripts/tpu.sh delete {values.name}")
    return EXIT_DONE


def _run(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    hosts = Hosts(machine.request, _job(values, machine.request), machine.cloud)
    _there(machine)
    _remember(values, said, hosts.job)
    hosts.send()
    _say("installing on all hosts (a few minutes where nothing is there yet)")
    hosts.install()
    hosts.start()
    _say(f"started. Look: scripts/tpu.sh status {values.name}; its output: scripts/tpu.sh logs {values.name} --follow")
    return EXIT_DONE


def _there(machine: Machine) -> None:
    """Raises ConfigError where there is no slice that is ready."""
    seen = machine.look()
    if seen.state != READY:
        raise ConfigError(
            f"{machine.request.name} is {seen.word or seen.state} in {machine.request.zone}. "
            "Allowed: a slice that is ready, which `scripts/tpu.sh create` makes."
        )


def _status(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    seen, asked = machine.look(), machine.request
    kind = f", {seen.kind}" if seen.kind else ""
    spent = known(values.name).get("seconds")
    _say(f"{values.name}: {seen.word or seen.state}{kind} in {asked.zone}{f': {seen.why}' if seen.why else ''}")
    if spent and not values.dry_run:
        _say(Budget(values.name, asked.dollars_an_hour).spent)
    if seen.state == READY:
        for host in _hosts(machine).look():
            ended = f" with {host.code}" if host.state == "ended" else ""
            _say(f"  {host.name}: {host.state}{ended}  {host.last}")
    return EXIT_DONE


def _hosts(machine: Machine, bucket: str = "") -> Hosts:
    return Hosts(machine.request, Job((), bucket), machine.cloud)


def _bucket(values: argparse.Namespace) -> str:
    bucket = values.bucket or known(values.name).get("bucket", "")
    return matched("--bucket", bucket.rstrip("/"), BUCKET, "gs://NAME or gs://NAME/FOLDER, as the run was given")


def _logs(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    if machine.look().state == READY:
        return machine.cloud.passed_on(_hosts(machine).log(values.lines, values.follow))
    hosts = _hosts(machine, _bucket(values))
    _say(f"{values.name} is not there; its logs are in {hosts.kept_logs}")
    return machine.cloud.passed_on(commands.show(hosts.kept_logs))


def _sync(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    folder = f"{_bucket(values)}/{values.name}"
    kept = Kept(folder, known(values.name).get("workdir", ""), machine.cloud)
    local = pathlib.Path(values.folder)
    kept.up(local) if values.way == "up" else kept.down(local)
    _say(f"{folder}: copied {values.way}")
    return EXIT_DONE


def _stop_run(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    _there(machine)
    _hosts(machine).stop()
    _say(f"the command has saved and ended; {values.name} stays, and costs: scripts/tpu.sh delete {values.name}")
    return EXIT_DONE


def _delete(values: argparse.Namespace, said: dict, machine: Machine) -> int:
    machine.delete()
    return EXIT_DONE


def _list(values: argparse.Namespace) -> int:
    if not values.zone:
        raise ConfigError("--zone is not given. Allowed: --zone=..., for example us-west4-a.")
    cloud = _cloud(values, None)
    return max(cloud.passed_on(each) for each in commands.list_all(values.zone, values.project or ""))
