"""Many hosts that run one program: which of them this is, where they wait for each other, and what ends all of them.

A host is a process with devices of its own. All hosts do the same things in the same order; what is done once, by host
0, the others wait for by name. They need not be told that there are several of them: on one host every function here is
a plain call, and nothing is started.

    joined(address, wait)        the hosts of a run, for a block
    count(), number(), first()   how many there are, which this is, whether it is the one that writes and speaks
    meet(name)                   a barrier
    first_does(name, make)       what host 0 makes, on all of them
    together(stop_asked)         whether to stop, the same answer on all hosts at the same call
    write_text(path, text)       a file, by the first
    note(text)                   what this host is at, for the others to tell if it gets lost
"""

import atexit
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Generator
from typing import Any

import jax

from xling_jax import __version__, disk
from xling_jax.errors import ConfigError, HostError
from xling_jax.partitioning import rollcall
from xling_jax.partitioning.aborts import catch_aborts
from xling_jax.partitioning.company import Company, code_of
from xling_jax.partitioning.store import Store

PREEMPTION = "jax_enable_preemption_service"
WAIT = 600.0  # seconds that a host waits for another one that says nothing new
WHERE = "--coordinator, --hosts and --host say where hosts meet, how many they are and which one this is."

_HERE: list[Company] = []  # the hosts of the run under way; empty where there is one


@dataclasses.dataclass(frozen=True)
class Address:
    """Where the hosts of a run meet: HOST:PORT of host 0, how many they are, which of them this is, from 0 on."""

    coordinator: str
    hosts: int
    host: int

    def __post_init__(self):
        name, _, port = self.coordinator.rpartition(":")
        if not (name and port.isdigit() and 0 < int(port) < 1 << 16):
            raise ConfigError(
                f"--coordinator={self.coordinator} is no address.\nAllowed: HOST:PORT of host 0, a port that is "
                f"free there.\n{WHERE}"
            )
        if not 0 <= self.host < self.hosts:
            raise ConfigError(
                f"--host={self.host} of --hosts={self.hosts}.\nAllowed: 0 to {self.hosts - 1}, a number "
                f"for each.\n{WHERE}"
            )


def count() -> int:
    """Returns how many hosts the run has."""
    return _HERE[0].count if _HERE else 1


def number() -> int:
    """Returns which of them this is, from 0 on."""
    return _HERE[0].number if _HERE else 0


def first() -> bool:
    """Whether this is the host that writes files and speaks."""
    return number() == 0


def note(text: str) -> None:
    """Remembers what this host is at. It costs nothing: a thread tells it to the others from time to time."""
    if _HERE:
        _HERE[0].note(text)


def meet(name: str) -> None:
    """Waits until all hosts are here. Raises HostError naming those that are missing, and what they last said."""
    if _HERE:
        _HERE[0].meet(name)


def first_does(name: str, make: Callable[[], Any]) -> Any:
    """Returns what host 0 makes, which it alone does; the others wait. The value is what JSON can say.

    Raises HostError where host 0 fails, or says nothing new for too long.
    """
    return _HERE[0].first_does(name, make) if _HERE else make()


def together(stop_asked: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a function that says whether any host was asked to stop, on all hosts alike.

    All hosts call it as often and in the same order; when one was asked, they agree on the call from which on it is
    True. What host 0 does alone is told at once, and not counted.
    """
    return _HERE[0].together(stop_asked) if _HERE else stop_asked


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all (see `disk.write_text`); of several hosts the first one does."""
    if first():
        disk.write_text(path, text)


def check_same(what: str, value: str) -> None:
    """Raises ConfigError if a host has another value than host 0."""
    there = first_does(f"same {what}", lambda: value)
    if there != value:
        raise ConfigError(
            f"Host {number()} of {count()} has another {what} than host 0: {value}, not {there}.\n"
            "Allowed: the same command, configuration, data and version on all hosts."
        )


@contextlib.contextmanager
def joined(
    address: Address | None, wait: float = WAIT, stop_asked: Callable[[], bool] = lambda: False
) -> Generator[None]:
    """Joins the hosts of a run for the block, which must be the first to use a device.

    An error in the block is told to the others, who end with it; and theirs end this one.

    Args:
      address: where they meet; None for what the machine says: on a TPU pod all of its hosts, elsewhere one.
      wait: seconds to wait for a host that does not come, or says nothing new.
      stop_asked: whether to stop waiting for those that have not come.

    Raises:
      HostError: not all of them have come, or one is gone or has failed.
      Interrupted: asked to stop before all have come.
    """
    company = _join(address, wait, stop_asked)
    if company is None:
        yield
        return
    _HERE.append(company)
    catch_aborts(company.aborted)
    company.listen()
    try:
        check_same("version", f"xling_jax {__version__}, jax {jax.__version__}")
        yield
        company.meet("the end")
    except BaseException as error:
        ending = company.leave(error)
        # JAX would wait for hosts that are gone, and end the process by a signal when it finds that out.
        atexit.register(end_process, code_of(ending))
        if ending is error:
            raise
        raise ending from error
    finally:
        company.close()
        _HERE.clear()


def end_process(code: int) -> None:
    """Ends the process here and now, whatever its threads wait for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _join(address: Address | None, wait: float, stop_asked: Callable[[], bool]) -> Company | None:
    """Starts JAX's coordination. Returns None where there is one host."""
    if address is None and not _on_a_pod():
        return None
    if address is not None and address.hosts == 1:
        return None
    where: dict[str, Any] = {}
    if address is not None:
        rollcall.call(address.coordinator, address.hosts, address.host, wait, stop_asked)
        where = {"coordinator_address": address.coordinator, "cluster_detection_method": "deactivate"}
        where |= {"num_processes": address.hosts, "process_id": address.host}
    if PREEMPTION in jax.config.values:  # it takes SIGTERM away from us, and Orbax asks for it in every step
        jax.config.update(PREEMPTION, False)
    try:
        jax.distributed.initialize(**where, initialization_timeout=max(1, int(wait)))
    except (RuntimeError, ValueError) as error:
        raise HostError(
            f"JAX does not start on several hosts: {str(error).strip().splitlines()[0]}\n"
            f"Allowed: a TPU pod, or an address that all hosts reach.\n{WHERE}"
        ) from error
    state = _state()
    return Company(Store(state.client), state.process_id, state.num_processes, wait, end_process)


def _state() -> Any:
    """Returns JAX's own record of the hosts; `jax.distributed` does not give its store away."""
    from jax._src import distributed  # noqa: PLC0415 - private, and asked here only

    return distributed.global_state


def _on_a_pod() -> bool:
    """Whether this is a TPU machine of several, as JAX finds out from the metadata of its virtual machine."""
    from jax._src import cloud_tpu_init, clusters  # noqa: PLC0415 - private, and asked here only

    if not cloud_tpu_init.running_in_cloud_tpu_vm or os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    kinds = clusters.ClusterEnv._cluster_types
    found = [kind for kind in kinds if kind.name in ("gcetpu", "gketpu") and kind.is_env_present()]
    return bool(found) and found[0].get_process_count() > 1
