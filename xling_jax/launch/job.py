"""A command on all hosts of the slices: the code sent, everything installed, started, looked at, stopped.

It lives on when the connection ends. What hosts do is in `scripts/tpu_host.sh`, which goes there with the code. The
code is packed once and kept in the bucket, so that a slice that is made again runs what the first one ran.
"""

import dataclasses
import gzip
import hashlib
import io
import pathlib
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence

from xling_jax.errors import EXIT_DONE, EXIT_INTERRUPTED, ConfigError
from xling_jax.launch import commands
from xling_jax.launch.gcloud import CloudError, Gcloud
from xling_jax.launch.request import BUCKET, WHERE, Request, matched

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HOST = "scripts/tpu_host.sh"
MARK = "xling-host"  # begins the line that each host says of itself
LARGE = 100 * 2**20  # bytes of code that are surely something else


@dataclasses.dataclass(frozen=True)
class Job:
    """What runs. `bucket` is the folder of all runs; `fetch` are pairs of a folder there and one below the code.

    A work folder on the host's disk is kept in the bucket every `every` seconds.
    """

    words: tuple[str, ...]
    bucket: str
    fetch: tuple[str, ...] = ()
    workdir: str = ""
    every: int = 300

    @property
    def id(self) -> str:
        """Returns what tells this command from others."""
        return hashlib.sha256(repr(self.words).encode()).hexdigest()[:8]


def job(words: Sequence[str], bucket: str, request: Request, fetch: Sequence[str] = (), every: int = 300) -> Job:
    """Returns a job; ConfigError for one that would lose what it makes."""
    if not words:
        raise ConfigError(f"There is nothing to run. Allowed: -- xling run --config=... --workdir=... {WHERE}")
    matched("--bucket", bucket.rstrip("/"), BUCKET, "gs://NAME or gs://NAME/FOLDER, which holds what runs make")
    workdir = _workdir(words)
    if not workdir.startswith("gs://") and request.hosts > 1:
        raise ConfigError(
            f"--workdir={workdir} on {request.hosts} hosts, which do not see each other's disks. "
            f"Allowed: --workdir=gs://..., for example {bucket}/{workdir.strip('/')}; a slice of one host takes both."
        )
    pairs = tuple(matched("--fetch", pair, f"{BUCKET}/?=.+", "gs://FOLDER=FOLDER") for pair in fetch)
    return Job(tuple(words), bucket.rstrip("/"), pairs, workdir, every)


def _workdir(words: Sequence[str]) -> str:
    text = " ".join(words)
    found = [word.split("=", 1)[1] for word in words if re.match("--?workdir=.", word)]
    found += [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--workdir", "-workdir")]
    if len(found) != 1:
        raise ConfigError(f"'{text}' has {len(found)} --workdir. Allowed: one, which the bucket keeps. {WHERE}")
    return found[0]


@dataclasses.dataclass(frozen=True)
class HostState:
    """What a host says: running, ended with a code, or absent where nothing runs; and the last line of its log."""

    name: str
    id: str
    state: str
    code: int = 0
    last: str = ""


def verdict(hosts: Sequence[HostState]) -> int | None:
    """Returns the exit code of a run on all its hosts; None while it goes on.

    A host that was started anew has nothing running: then the run is to be started again, as after an interruption.
    """
    if any(host.state == "running" for host in hosts):
        return None
    codes = [host.code if host.state == "ended" else EXIT_INTERRUPTED for host in hosts]
    failed = [code for code in codes if code not in (EXIT_DONE, EXIT_INTERRUPTED)]
    return failed[0] if failed else max(codes, default=EXIT_INTERRUPTED)


@dataclasses.dataclass
class Hosts:
    """All hosts of a request, and the job on them."""

    request: Request
    job: Job
    cloud: Gcloud
    code: str = ""

    @property
    def folder(self) -> str:
        """Returns the folder of this run in the bucket."""
        return f"{self.job.bucket}/{self.request.name}"

    def send(self) -> None:
        """Packs the code and puts it into the bucket."""
        packed = pack(ROOT)
        self.code = f"{self.folder}/code-{hashlib.sha256(packed).hexdigest()[:12]}.tar.gz"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "code.tar.gz"
            path.write_bytes(packed)
            self.cloud(commands.upload(str(path), self.code), f"put the code into {self.folder}")

    def install(self) -> None:
        """Unpacks the code on all hosts and installs what it needs; quick where that is done."""
        fetch = shlex.join(self.job.fetch)
        unpack = f'mkdir -p "{self._run}/code" && cd "{self._run}" && gcloud storage cat {self.code} | tar -xzC code'
        self._everywhere(
            f"set -o pipefail; {unpack} && bash code/{HOST} install {fetch}".strip(), "install", "install on the hosts"
        )

    def start(self) -> None:
        """Starts the command on all hosts; where it runs already it goes on."""
        flags = [f"--id={self.job.id}", f"--bucket={self.folder}", f"--every={self.job.every}"]
        flags += [] if self.job.workdir.startswith("gs://") else [f"--sync={self.job.workdir}"]
        words = shlex.join([*flags, "--", *self.job.words])
        self._everywhere(f"bash {self._script} start {words}", "start", "start the command on the hosts")

    def look(self) -> list[HostState]:
        """Returns what all hosts say; CloudError if one does not answer."""
        nothing = f'echo "{MARK} $(hostname) - absent 0 "'
        said = self._everywhere(f"bash {self._script} status 2>/dev/null || {nothing}", "status", "hear from the hosts")
        lines = [[line for line in text.splitlines() if line.startswith(f"{MARK} ")] for text in said]
        if not all(lines):  # how many hosts a slice has is the cloud's to know, whose ssh fails if one of them does
            raise CloudError("A slice said nothing of its hosts.", "again")
        return [_host(line) for of_slice in lines for line in of_slice]

    def stop(self) -> None:
        """Asks the command to save and end, and waits for that; nothing happens where it does not run."""
        self._everywhere(f"if [ -e {self._script} ]; then bash {self._script} stop; fi", "stop", "stop the command")

    def log(self, lines: int, follow: bool) -> commands.Command:
        """Returns what prints the log of the first host."""
        command = f"tail -n {lines}{' -F' if follow else ''} {self._run}/log"
        return commands.ssh(self.request, self.request.nodes[0], command, "follow" if follow else "log", worker="0")

    @property
    def kept_logs(self) -> str:
        """Returns where the bucket keeps the logs of all hosts."""
        return f"{self.folder}/logs/*"

    @property
    def _run(self) -> str:
        return f"$HOME/xling/{self.request.name}"

    @property
    def _script(self) -> str:
        return f"{self._run}/code/{HOST}"

    def _everywhere(self, command: str, kind: str, doing: str) -> list[str]:
        request = self.request
        return self.cloud.side_by_side([commands.ssh(request, node, command, kind) for node in request.nodes], doing)


def _host(line: str) -> HostState:
    try:
        _, name, id_, state, code, *rest = line.split(" ", 5)
        return HostState(name, id_, state, int(code), rest[0].strip() if rest else "")
    except ValueError:  # a host whose disk is full says half a line, and must not count as one that is done
        raise CloudError(f"A host says of itself: '{line}'.", "again") from None


def pack(root: pathlib.Path) -> bytes:
    """Returns the code as it is, changes that are not committed included: what git does not ignore. Same code, same
    bytes."""
    listed = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise ConfigError(
            f"{root} is no git repository, whose files are sent. Run scripts/tpu.sh of a clone."
        ) from None
    paths = [root / name for name in sorted(set(found.split("\0"))) if name and (root / name).is_file()]
    if (root / HOST) not in paths:
        raise ConfigError(f"{root} has no {HOST}. Run scripts/tpu.sh of a clone.")
    size = sum(path.stat().st_size for path in paths)
    if size > LARGE:
        raise ConfigError(
            f"The code is {size / 2**20:.0f} MiB, more than {LARGE // 2**20}: let .gitignore name what is none."
        )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in paths:
            info = tar.gettarinfo(path, str(path.relative_to(root)))
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as file:
                tar.addfile(info, file if info.isreg() else None)
    return gzip.compress(packed.getvalue(), mtime=0)
