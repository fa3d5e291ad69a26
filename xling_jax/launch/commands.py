"""Every gcloud command that is ever run, as words. Pure: what they mean stands in `gcloud compute tpus ... --help`."""

import dataclasses

from xling_jax.launch.request import Request

TPUS = ("gcloud", "compute", "tpus")
NODES, QUEUE = (*TPUS, "tpu-vm"), (*TPUS, "queued-resources")
STORAGE = ("gcloud", "storage")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command. `kind` is what it is for, which decides how long it may take and what a dry run pretends."""

    kind: str
    argv: tuple[str, ...]


def _where(request: Request) -> tuple[str, ...]:
    return (f"--zone={request.zone}", *((f"--project={request.project}",) if request.project else ()))


def create(request: Request) -> Command:
    """Asks for slices: the queue answers at once and fills the request later, a node is made while one waits."""
    runtime = request.runtime or request.slice.chip.runtime
    kind = (f"--accelerator-type={request.slice.sold}", *(("--spot",) if request.spot else ()), *request.more)
    if not request.queued:
        return Command(
            "create", (*NODES, "create", request.name, *_where(request), f"--version={runtime}", *kind, "--quiet")
        )
    nodes = (f"--node-id={request.name}",)
    if request.slices > 1:
        nodes = (f"--node-count={request.slices}", f"--node-prefix={request.name}")
    what = (*nodes, f"--runtime-version={runtime}", *kind, "--async", "--quiet")
    return Command("create", (*QUEUE, "create", request.name, *_where(request), *what))


def describe(request: Request) -> Command:
    """Asks for the state of a queued resource."""
    return Command("describe", (*QUEUE, "describe", request.name, *_where(request), "--format=json"))


def describe_node(request: Request, node: str) -> Command:
    """Asks for the state of a slice."""
    return Command("describe_node", (*NODES, "describe", node, *_where(request), "--format=json"))


def delete(request: Request) -> Command:
    """Deletes; --force takes the slices of a queued resource with it. Returns when that is done."""
    if request.queued:
        return Command("delete", (*QUEUE, "delete", request.name, *_where(request), "--force", "--quiet"))
    return Command("delete", (*NODES, "delete", request.name, *_where(request), "--quiet"))


def list_all(zone: str, project: str) -> tuple[Command, Command]:
    """Lists what costs money in a zone, and what is asked for there."""
    where = (f"--zone={zone}", *((f"--project={project}",) if project else ()))
    return Command("list", (*NODES, "list", *where)), Command("list", (*QUEUE, "list", *where))


def ssh(request: Request, node: str, command: str, kind: str, worker: str = "all") -> Command:
    """Runs a shell command on hosts of a slice, side by side."""
    where = (*_where(request), f"--worker={worker}")
    return Command(kind, (*NODES, "ssh", node, *where, f"--command={command}", "--quiet"))


def upload(path: str, url: str) -> Command:
    """Copies a file into the bucket."""
    return Command("upload", (*STORAGE, "cp", path, url, "--quiet"))


def sync(source: str, target: str, exactly: bool = False) -> Command:
    """Copies what differs of a folder, one of the two in the bucket; `exactly` deletes what only the target has."""
    delete = ("--delete-unmatched-destination-objects",) if exactly else ()
    return Command("sync", (*STORAGE, "rsync", source, target, "--recursive", *delete, "--quiet"))


def show(url: str) -> Command:
    """Prints files of the bucket."""
    return Command("show", (*STORAGE, "cat", url))
