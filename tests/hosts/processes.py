"""Hosts that are processes of this machine, with simulated devices: started and ended together, their logs shown."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LIMIT = 600.0  # seconds that a process may take where others work, too


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    """Returns the tests' environment with so many devices."""
    flags = re.sub(r"(device_count=)\d+", rf"\g<1>{devices}", os.environ["XLA_FLAGS"])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}


class Process:
    """A process under way, and all that it has said."""

    def __init__(self, command: Sequence[str], log: pathlib.Path, devices: int):
        self._log = log
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment(devices), stdout=output, stderr=subprocess.STDOUT
            )

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, true: Callable[[], object], seconds: float = LIMIT) -> None:
        """Waits until something is true, while the process runs."""
        until = time.monotonic() + seconds
        while not true():
            assert self._process.poll() is None, "ended before that was true"
            assert time.monotonic() < until, f"not true in {seconds} s"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def code(self, seconds: float = LIMIT) -> int:
        """Returns the exit code, waiting for the end."""
        return self._process.wait(seconds)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def started(commands: Sequence[Sequence[str]], folder: pathlib.Path, devices: int) -> Generator[list[Process]]:
    """Starts a process of Python for each command, and ends those that are left behind the block. Errors show logs."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"host{number}-{time.monotonic_ns()}.log" for number in range(len(commands))]
    processes: list[Process] = []
    try:
        for command, log in zip(commands, logs, strict=True):
            processes.append(Process(command, log, devices))
        yield processes
    except BaseException as error:
        for number, process in enumerate(processes):
            error.add_note(f"--- host {number}\n{process.said()[-4000:]}")
        raise
    finally:
        for process in processes:
            process.end()


def flags(hosts: int, *more: str) -> list[list[str]]:
    """Returns what each host is told; nothing where there is one."""
    if hosts == 1:
        return [list(more)]
    where = f"--coordinator=127.0.0.1:{free_port()}"
    return [[where, f"--hosts={hosts}", f"--host={host}", *more] for host in range(hosts)]


def xling(*words: str, hosts: int = 2) -> list[list[str]]:
    """Returns the commands of a verb on several hosts."""
    return [["-m", "xling_jax", *words, *more] for more in flags(hosts, *(["--host_timeout=60"] if hosts > 1 else []))]


def jobs(name: str, hosts: int = 2, wait: float = 60.0, **given) -> list[list[str]]:
    """Returns the commands of a job of `on_hosts.py` on several hosts."""
    coordinator, program = f"127.0.0.1:{free_port()}", str(pathlib.Path(__file__).parent / "on_hosts.py")
    address = {"coordinator": coordinator, "hosts": hosts, "wait": wait}
    return [[program, name, json.dumps(address | {"host": host}), json.dumps(given)] for host in range(hosts)]


def finish(commands: Sequence[Sequence[str]], folder: pathlib.Path, devices: int) -> list[str]:
    """Runs processes to their good ends, and returns what they said."""
    with started(commands, folder, devices) as processes:
        assert [process.code() for process in processes] == [0] * len(processes)
        return [process.said() for process in processes]
