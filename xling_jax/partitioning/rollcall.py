"""Who has come: asked before JAX starts, because JAX neither says who is missing nor leaves it at an error."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable

from xling_jax.errors import ConfigError, HostError, Interrupted

LOOK = 0.5  # seconds between two looks at whether to go on waiting
GO = "go"


def call(coordinator: str, hosts: int, host: int, wait: float, stop_asked: Callable[[], bool] = lambda: False) -> None:
    """Returns when all hosts have come to `coordinator`, HOST:PORT of host 0.

    Raises:
      Interrupted: asked to stop meanwhile.
      HostError: some have not come after `wait` seconds; host 0 names them, and tells those that are there.
      ConfigError: two have the same number, they differ in how many there are, or the port is not free.
    """
    name, _, port = coordinator.rpartition(":")

    def pause() -> None:
        if stop_asked():
            raise Interrupted("Stopped while waiting for other hosts.\nRun the same command again.")

    if host == 0:
        _wait_for_all(int(port), hosts, wait, pause)
    else:
        _answer(name.strip("[]"), int(port), {"host": host, "hosts": hosts}, wait, pause)


def absent(who: list[int], hosts: int, where: str, wait: float) -> str:
    """Returns the text of the error for hosts that have not come."""
    named = f"Host {who[0]}" if len(who) == 1 else f"Hosts {', '.join(map(str, who))}"
    has = "has" if len(who) == 1 else "have"
    return (
        f"{named} of {hosts} {has} not come to {where} after {wait:.0f} s.\n"
        "Allowed: one process on each host, each with its own --host, started within that time.\n"
        "--host_timeout says how long hosts wait for each other."
    )


def _wait_for_all(port: int, hosts: int, wait: float, pause: Callable[[], None]) -> None:
    there: dict[int, socket.socket] = {}
    until = time.monotonic() + wait
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(_listening(port))
        server.settimeout(LOOK)
        while len(there) < hosts - 1:
            pause()
            try:
                line = opened.enter_context(server.accept()[0])
                said = _read(line, LOOK)
                number, count = int(said["host"]), int(said["hosts"])
            except (OSError, ValueError, KeyError, TypeError):  # nobody now, or somebody who speaks of something else
                if time.monotonic() < until:
                    continue
                missing = [each for each in range(1, hosts) if each not in there]
                error = absent(missing, hosts, f"port {port} of host 0", wait)
                _send(there, error)
                raise HostError(error) from None
            there = {each: other for each, other in there.items() if not _closed(other)}
            wrong = _wrong(number, count, hosts, there)
            if wrong:
                _send(there | {-1: line}, wrong)
                raise ConfigError(wrong)
            there[number] = line
        _send(there, GO)
        for line in there.values():  # who closes first leaves the port in use for a while, and JAX wants it now
            with contextlib.suppress(OSError):
                line.settimeout(1.0)
                line.recv(1)


def _closed(line: socket.socket) -> bool:
    """Whether the other end has gone away: it has nothing to say before it is told to go on."""
    return bool(select.select([line], [], [], 0)[0])


def _wrong(number: int, count: int, hosts: int, there: dict) -> str:
    """Returns what is wrong with a host that has come as one of `count`; "" if nothing."""
    if count != hosts:
        found = f"Host {number} was started as one of {count} hosts, and host 0 as one of {hosts}"
    elif number in there or not 0 < number < hosts:
        found = f"A second host {number} of {hosts} has come"
    else:
        return ""
    return f"{found}.\nAllowed: the same --hosts everywhere, and a --host of its own for each, from 0 on."


def _listening(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(
            f"Host 0 cannot listen on port {port} ({error.strerror}).\nAllowed: a port that is free; a run that was "
            "ended just now may still hold it.\n--coordinator=HOST:PORT names it."
        ) from error


def _send(there: dict[int, socket.socket], text: str) -> None:
    for line in there.values():
        with contextlib.suppress(OSError):
            line.sendall(json.dumps({"said": text}).encode() + b"\n")


def _read(line: socket.socket, seconds: float) -> dict:
    """Returns what the other end says. Raises OSError or ValueError if it says nothing in time, or something else."""
    line.settimeout(seconds)
    with line.makefile(encoding="utf-8") as file:
        said = json.loads(file.readline(10_000))
    if not isinstance(said, dict):
        raise ValueError(said)
    return said


def _answer(name: str, port: int, hello: dict, wait: float, pause: Callable[[], None]) -> None:
    until = time.monotonic() + wait
    while time.monotonic() < until + LOOK:
        pause()
        with contextlib.suppress(OSError, ValueError), socket.create_connection((name, port), timeout=5.0) as line:
            line.sendall(json.dumps(hello).encode() + b"\n")
            said = _heard(line, until + 5.0, pause)  # host 0 may have begun to wait a little later
            if said == GO:
                return
            raise ConfigError(said) if "Allowed: the same" in said else HostError(said)
        time.sleep(LOOK)
    raise HostError(absent([0], hello["hosts"], f"{name}:{port}", wait))


def _heard(line: socket.socket, until: float, pause: Callable[[], None]) -> str:
    """Returns what host 0 says at last. Raises OSError if it says nothing, or goes away."""
    while not select.select([line], [], [], LOOK)[0]:
        pause()
        if time.monotonic() > until:
            raise TimeoutError
    return _read(line, LOOK)["said"]
