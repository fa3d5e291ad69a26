"""Stands in for gcloud: keeps slices, queued resources and a bucket in a folder, and answers as the real one does.

    FAKE_CLOUD=FOLDER python fake_gcloud.py compute tpus ...

FOLDER/plan.json says what is to go wrong. `faults` are a list, used up in order, of

    {"of": "queued-resources create", "times": 2, "seen": what the log of a host must have said before,
     "does": "preempt", "reboot" or (an rsync) "tear", "delay": seconds,
     "says": what makes it fail, "code": 1, "after": whether it does its work all the same}

`looks` says how many descriptions a request waits before it is active, `refuses` how many requests fail (with `why`),
`hosts` how many a slice has. Each host is a folder, FOLDER/vms/NODE/N, which is its home and its disk; what runs there
has FAKE_HOST=<that folder> in its environment, by which it is found and killed. A new machine has what is in image/.

What must never be, two slices at the same time, is written to FOLDER/broken; two of a name it does not make.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

WHERE = {"--zone", "--project", "--quiet", "--format"}
MADE = {"--accelerator-type", "--spot", "--network", "--tags", "--reserved"}
FLAGS = {  # those that are used; what gcloud itself takes is asked of it in test_flags.py
    "queued-resources create": MADE | {"--node-id", "--node-count", "--node-prefix", "--runtime-version", "--async"},
    "queued-resources describe": set(),
    "queued-resources delete": {"--force"},
    "queued-resources list": set(),
    "tpu-vm create": MADE | {"--version"},
    "tpu-vm describe": set(),
    "tpu-vm delete": set(),
    "tpu-vm list": set(),
    "tpu-vm ssh": {"--worker", "--command"},
    "storage cp": set(),
    "storage cat": set(),
    "storage rsync": {"--recursive", "--delete-unmatched-destination-objects"},
}


class Cloud:
    """The state, all of it in files."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.vms, self.bucket = self.folder / "vms", self.folder / "bucket"
        for path in (self.vms, self.bucket, self.folder / "queue", self.folder / "nodes"):
            path.mkdir(parents=True, exist_ok=True)

    def plan(self):
        path = self.folder / "plan.json"
        return {"looks": 2, "hosts": 1, "faults": []} | (json.loads(path.read_text()) if path.exists() else {})

    def write_plan(self, **what):
        (self.folder / "plan.json").write_text(json.dumps(self.plan() | what))

    def fault(self, command):
        """Returns the next fault of a command, which is thereby used up."""
        with (self.folder / "plan.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            faults = self.plan()["faults"]
            found = next((one for one in faults if one.get("times", 1) > 0 and self.is_met(one, command)), None)
            if found:
                found["times"] = found.get("times", 1) - 1
                self.write_plan(faults=faults)
            return found

    def is_met(self, fault, command):
        logs = [path.read_text() for path in self.vms.glob("*/0/xling/*/log")] if "seen" in fault else []
        return re.search(fault["of"], command) and ("seen" not in fault or any(fault["seen"] in log for log in logs))

    def broken(self, text):
        with (self.folder / "broken").open("a") as file:
            file.write(text + "\n")

    def file(self, kind, name):
        return self.folder / kind / f"{name}.json"

    def get(self, kind, name):
        path = self.file(kind, name)
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, kind, name, what):
        part = self.file(kind, name).with_suffix(".part")
        part.write_text(json.dumps(what))
        part.replace(self.file(kind, name))

    def alive(self):
        """Returns the slices that are paid for."""
        nodes = [(path.stem, json.loads(path.read_text())) for path in (self.folder / "nodes").glob("*.json")]
        return {name: node for name, node in nodes if node["state"] == "READY"}

    def make_node(self, name, kind, request):
        others = [one for one, node in self.alive().items() if not (request and node["request"] == request)]
        if others:
            self.broken(f"{name} is made while there is {others}")
        for number in range(self.plan()["hosts"]):
            (self.vms / name / str(number)).mkdir(parents=True)
        self.put("nodes", name, {"state": "READY", "acceleratorType": kind, "request": request})
        self.count("made")

    def remove_node(self, name):
        self.kill(name, signal.SIGKILL)
        self.file("nodes", name).unlink(missing_ok=True)

    def count(self, what):
        with (self.folder / what).open("a") as file:
            file.write(".")

    def counted(self, what):
        path = self.folder / what
        return len(path.read_text()) if path.exists() else 0

    def processes(self, name):
        """Returns the processes on a slice."""
        mark, found = f"FAKE_HOST={self.vms / name}/".encode(), []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]

    def kill(self, name, number):
        """Kills all that runs on a slice and takes its disks away; SIGTERM first, if that is asked for, for 3 s."""
        if number == signal.SIGTERM:
            for pid in self.processes(name):
                _signal(pid, number)
            until = time.monotonic() + 3
            while self.processes(name) and time.monotonic() < until:
                time.sleep(0.02)
        while pids := self.processes(name):
            for pid in pids:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.01)
        shutil.rmtree(self.vms / name, ignore_errors=True)

    def preempt(self, name, number=signal.SIGKILL):
        """Takes a slice away, as the cloud does with spot slices."""
        request = self.get("nodes", name)["request"]
        self.kill(name, number)
        self.put("nodes", name, self.get("nodes", name) | {"state": "PREEMPTED"})
        if asked := self.get("queue", request):
            self.put("queue", request, asked | {"state": "SUSPENDED"})

    def reboot(self, name):
        """Ends all that runs on a slice and leaves its disks."""
        for pid in self.processes(name):
            _signal(pid, signal.SIGKILL)


def _signal(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Failed(Exception):
    """What gcloud says, and its exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def missing(command, name, kind):
    raise Failed(
        f"ERROR: (gcloud.compute.tpus.{command.replace(' ', '.')}) NOT_FOUND: Resource "
        f"'projects/mine/locations/zone/{kind}/{name}' was not found"
    )


def queue_create(cloud, name, flags):
    if cloud.get("queue", name):
        raise Failed(
            f"ERROR: (gcloud.compute.tpus.queued-resources.create) ALREADY_EXISTS: Resource '{name}' already exists"
        )
    count = int(flags.get("--node-count", 1))
    nodes = [flags["--node-id"]] if count == 1 else [f"{flags['--node-prefix']}-{number}" for number in range(count)]
    what = {"state": "WAITING_FOR_RESOURCES", "looks": 0, "kind": flags["--accelerator-type"], "nodes": nodes}
    cloud.put("queue", name, what)
    print(f"Create request issued for: [{name}]", file=sys.stderr)


def queue_describe(cloud, name, flags):
    asked = cloud.get("queue", name) or missing("queued-resources describe", name, "queuedResources")
    plan = cloud.plan()
    if asked["state"] == "WAITING_FOR_RESOURCES":
        asked["looks"] += 1
        if plan.get("refuses", 0) > 0:
            cloud.write_plan(refuses=plan["refuses"] - 1)
            asked |= {"state": "FAILED", "why": plan["why"]}
        elif any(cloud.get("nodes", node) for node in asked["nodes"]):
            asked |= {"state": "FAILED", "why": f"ALREADY_EXISTS: node {asked['nodes']} already exists"}
        elif asked["looks"] >= plan["looks"]:
            for node in asked["nodes"]:
                cloud.make_node(node, asked["kind"], name)
            asked["state"] = "ACTIVE"
        cloud.put("queue", name, asked)
    state = {"state": asked["state"], "stateInitiator": "SERVICE"}
    if "why" in asked:
        state["failedData"] = {"error": {"code": 8, "message": asked["why"]}}
    specs = [{"nodeId": node, "node": {"acceleratorType": asked["kind"]}} for node in asked["nodes"]]
    print(json.dumps({"name": name, "state": state, "tpu": {"nodeSpec": specs}}))


def queue_delete(cloud, name, flags):
    asked = cloud.get("queue", name) or missing("queued-resources delete", name, "queuedResources")
    if any(cloud.get("nodes", node) for node in asked["nodes"]) and "--force" not in flags:
        raise Failed("ERROR: (gcloud.compute.tpus.queued-resources.delete) FAILED_PRECONDITION: it has nodes")
    for node in asked["nodes"]:
        if (cloud.get("nodes", node) or {}).get("request") == name:
            cloud.remove_node(node)
    cloud.file("queue", name).unlink()
    cloud.count("deleted")


def node_create(cloud, name, flags):
    if cloud.get("nodes", name):
        raise Failed(f"ERROR: (gcloud.compute.tpus.tpu-vm.create) ALREADY_EXISTS: Resource '{name}' already exists")
    cloud.make_node(name, flags["--accelerator-type"], "")


def node_describe(cloud, name, flags):
    print(json.dumps(cloud.get("nodes", name) or missing("tpu-vm describe", name, "nodes")))


def node_delete(cloud, name, flags):
    if not cloud.get("nodes", name):
        missing("tpu-vm delete", name, "nodes")
    cloud.remove_node(name)
    cloud.count("deleted")


def ssh(cloud, name, flags):
    """Runs the command in the folder of each host, side by side; the first exit code that is not 0 is the answer."""
    node = cloud.get("nodes", name) or missing("tpu-vm ssh", name, "nodes")
    if node["state"] != "READY":
        raise Failed(f"ERROR: (gcloud.compute.tpus.tpu-vm.ssh) Invalid value: TPU {name} is in state {node['state']}")
    hosts = sorted((cloud.vms / name).iterdir())
    if flags["--worker"] != "all":
        hosts = [hosts[int(flags["--worker"])]]
    print(
        f"Using ssh batch size of 1. Attempting to SSH into 1 nodes with a total of {len(hosts)} workers.",
        file=sys.stderr,
    )
    running = []
    for host in hosts:
        path = f"{cloud.folder / 'image'}:{os.environ['PATH']}"
        own = {"HOME": str(host), "PATH": path, "FAKE_HOST": f"{host}/", "TMPDIR": str(host)}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("XLING")} | own
        shell = ["bash", "-c", flags["--command"]]
        running.append(subprocess.Popen(shell, cwd=host, env=environment, text=True, stdout=subprocess.PIPE))
    for one in running:
        print(one.communicate()[0], end="")
    for code in [one.returncode for one in running]:
        if code:
            raise Failed(f"##### Command execution on worker failed with exit status {code}. Continuing.", code)


def place(cloud, url):
    return cloud.bucket / url.removeprefix("gs://") if url.startswith("gs://") else pathlib.Path(url)


def copy(cloud, source, flags, target):
    path = place(cloud, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = sys.stdin.buffer.read() if source == "-" else place(cloud, source).read_bytes()
    part = path.with_name(f"{path.name}.{os.getpid()}")  # an object is there whole or not at all
    part.write_bytes(data)
    part.replace(path)


def cat(cloud, url, flags):
    path = place(cloud, url)
    found = sorted(path.parent.glob(path.name))
    if not found:
        raise Failed(f"ERROR: (gcloud.storage.cat) The following URLs matched no objects or files:\n-{url}")
    for one in found:
        sys.stdout.buffer.write(one.read_bytes())


def rsync(cloud, source, flags, target):
    """Copies files that differ, a file at a time; folders that are empty are none in a bucket.

    One that is torn ends after the first file that differs, because its machine is taken away.
    """
    here, there = place(cloud, source), place(cloud, target)
    if not here.is_dir():
        raise Failed(f"ERROR: (gcloud.storage.rsync) Did not find existing container at: {source}")
    wanted = {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        old, new = there / name, here / name
        if not old.exists() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            part = old.with_name(f".{os.getpid()}.upload")
            shutil.copyfile(new, part)
            part.replace(old)
            if flags.get("does") == "tear":
                for node in cloud.alive():
                    cloud.preempt(node)
                raise Failed("ERROR: (gcloud.storage.rsync) the machine is gone")
    if "--delete-unmatched-destination-objects" in flags:
        for path in [path for path in there.rglob("*") if path.is_file() and path.relative_to(there) not in wanted]:
            path.unlink()


def listed(cloud, flags, kind):
    print("NAME STATE")
    for path in sorted((cloud.folder / kind).glob("*.json")):
        print(path.stem, json.loads(path.read_text())["state"])


DOES = {
    "queued-resources create": queue_create,
    "queued-resources describe": queue_describe,
    "queued-resources delete": queue_delete,
    "queued-resources list": lambda cloud, flags: listed(cloud, flags, "queue"),
    "tpu-vm create": node_create,
    "tpu-vm describe": node_describe,
    "tpu-vm delete": node_delete,
    "tpu-vm list": lambda cloud, flags: listed(cloud, flags, "nodes"),
    "tpu-vm ssh": ssh,
    "storage cp": copy,
    "storage cat": cat,
    "storage rsync": rsync,
}


def main(argv):
    cloud = Cloud(os.environ["FAKE_CLOUD"])
    words = argv[2:] if argv[:2] == ["compute", "tpus"] else argv
    command, rest = " ".join(words[:2]), words[2:]
    with (cloud.folder / "log").open("a") as file:
        file.write(json.dumps([os.environ.get("FAKE_HOST", ""), *argv]) + "\n")
    if command not in DOES:
        raise Failed(f"ERROR: (gcloud) Invalid choice: '{command}'.", 2)
    flags = dict(word.partition("=")[::2] for word in rest if word.startswith("--"))
    if unknown := sorted(set(flags) - FLAGS[command] - WHERE):
        raise Failed(f"ERROR: (gcloud.{command}) unrecognized arguments: {' '.join(unknown)}", 2)
    fault = cloud.fault(command)
    if fault:
        time.sleep(fault.get("delay", 0))
        if fault.get("does") in ("preempt", "reboot"):
            for name in cloud.alive():
                getattr(cloud, fault["does"])(name)
        if "says" in fault and not fault.get("after"):
            raise Failed(fault["says"], fault.get("code", 1))
    flags |= {"does": fault["does"]} if fault and "does" in fault else {}
    names = [word for word in rest if not word.startswith("--")]
    with (cloud.folder / "lock").open("w") as lock:
        if command.split()[1] in ("create", "describe", "delete"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        DOES[command](cloud, *names[:1], flags, *names[1:])
    if fault and "says" in fault:
        raise Failed(fault["says"], fault.get("code", 1))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as failed:
        print(failed, file=sys.stderr)
        sys.exit(failed.code)
