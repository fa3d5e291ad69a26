"""Who is at work in a folder: names of processes by which another one finds out whether they are still there.

    9f3c01ab-4711-883920       machine and its boot, process, when that began

A number alone says little: machines that share a disk use the same ones, and so do containers of one machine.
"""

import functools
import hashlib
import os
import pathlib


@functools.cache
def _machine() -> str:
    """Returns a hash of what two machines, two boots or two containers do not have in common."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    try:
        known = boot.read_text(encoding="utf-8") + os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux: nobody is known, so nobody is found to be gone
        known = os.urandom(8).hex()
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _born(pid: int) -> str:
    """Returns when a process of this machine began, in the kernel's ticks; "" if it is not there."""
    try:
        said = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if said[0] in "ZX" else said[19]  # a dead one that nobody has waited for is gone


@functools.cache
def _name(pid: int) -> str:
    return f"{_machine()}-{pid}-{_born(pid) or '0'}"


def me() -> str:
    """Returns the name of this process."""
    return _name(os.getpid())


def is_here(name: str) -> bool:
    """Whether a process is one of this machine, and there."""
    return name.partition("-")[0] == _machine() and not is_gone(name)


def is_gone(name: str) -> bool:
    """Whether a process has ended. Of other machines nobody knows, and what is no name is not gone."""
    machine, _, rest = name.partition("-")
    pid, _, born = rest.partition("-")
    return machine == _machine() and pid.isdigit() and _born(int(pid)) != born
