"""Hosts find each other, tell each other what is wrong, and end together. Two processes; what is slow runs programs."""

import re
import signal

import processes
import pytest

from xling_jax import cli
from xling_jax.errors import ConfigError
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import Address


def test_an_error_on_one_host_ends_the_other_with_its_code(tmp_path):
    """The quick one of this kind: two processes join, share, meet, and end by what one of them finds."""
    with processes.started(processes.jobs("talk", folder=str(tmp_path), failing=1), tmp_path, 1) as started:
        assert [host.code() for host in started] == [3, 3]
        first, second = (host.said() for host in started)
    assert "host 0 of 2 is there" in first and "host 1 of 2 is there" in second
    assert "error: No file x.\nAllowed: one that is there." in second
    assert "error: Host 1 of 2 has ended: No file x.\nWhat was saved stays: run the same command" in first
    assert "Traceback" not in first + second and "stack trace" not in first + second


@pytest.mark.slow
@pytest.mark.parametrize("failing", [None, 0])
def test_hosts_end_well_or_with_the_first_one(tmp_path, failing):
    with processes.started(processes.jobs("talk", folder=str(tmp_path), failing=failing), tmp_path, 1) as started:
        assert [host.code() for host in started] == ([0, 0] if failing is None else [3, 3])
        assert failing is None or "error: Host 0 of 2 has ended: No file x." in started[1].said()


@pytest.mark.slow
@pytest.mark.parametrize("there", [[0], [1], [0, 2]])
def test_who_does_not_come_is_named(tmp_path, there):
    count = max(2, max(there) + 1)
    commands = processes.jobs("talk", hosts=count, wait=30.0, folder=str(tmp_path), failing=None)
    missing = [host for host in range(count) if host not in there]
    with processes.started([commands[host] for host in there], tmp_path, 1) as started:
        assert [host.code() for host in started] == [75] * len(there)
        for host in started:
            assert f"error: Host {missing[0]} of {count} has not come to " in host.said()


@pytest.mark.slow
def test_a_host_that_is_lost_while_jax_starts_is_no_page_of_addresses(tmp_path):
    with processes.started(processes.jobs("talk", wait=8.0, folder=str(tmp_path), late=1), tmp_path, 1) as started:
        assert started[0].code() == 75
        said = started[0].said()
    assert "error: JAX has ended this process while it started or stopped: DEADLINE_EXCEEDED" in said
    assert "stack trace" not in said and "@ " not in said


ADDRESSES = {
    "no port": (("localhost", 2, 0), "--coordinator=localhost is no address.\nAllowed: HOST:PORT of host 0"),
    "port": (("localhost:0", 2, 0), "--coordinator=localhost:0 is no address"),
    "host": (("localhost:5000", 2, 2), "--host=2 of --hosts=2.\nAllowed: 0 to 1"),
    "below": (("localhost:5000", 2, -1), "--host=-1 of --hosts=2"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_is_checked(name):
    given, expected = ADDRESSES[name]
    with pytest.raises(ConfigError) as error:
        Address(*given)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("machine", "platforms", "workers", "expected"),
    [
        (False, None, 4, False),  # no TPU: nobody is asked
        (True, None, 4, True),
        (True, None, 1, False),  # a machine with all chips of its slice
        (True, "cpu", 4, False),
        (True, None, 0, False),  # not a machine of a pod
    ],
)
def test_a_pod_is_found_by_its_metadata(monkeypatch, machine, platforms, workers, expected):
    from jax._src import cloud_tpu_init, clusters  # noqa: PLC0415 - where JAX finds it

    class Pod:
        name, get_process_count = "gcetpu", staticmethod(lambda: workers)

        @staticmethod
        def is_env_present():
            assert machine and platforms is None, "metadata are asked for where there are none"
            return workers > 0

    monkeypatch.setattr(cloud_tpu_init, "running_in_cloud_tpu_vm", machine)
    monkeypatch.setattr(clusters.ClusterEnv, "_cluster_types", [Pod])
    monkeypatch.setenv("JAX_PLATFORMS", platforms or "")
    assert hosts._on_a_pod() == expected


def test_flags_come_together(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XLING_HOSTS", "2")
    monkeypatch.setattr("xling_jax.doors.run.keep_memory", lambda: None)
    monkeypatch.setattr("xling_jax.doors.run.quiet_libraries", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.main(["run", "--config=configs/quickstart.py:test", f"--workdir={tmp_path}", "--host=1"])
    assert left.value.code == 2
    assert "error: --hosts=2 --host=1 is given without --coordinator.\nAllowed: all three" in capsys.readouterr().err


CONFIG = """
from ml_collections import ConfigDict

from xling_jax.experiment import complete


def stage(data, steps, **more):
    optim = {"learning_rate": 3e-2}
    return {"data": (data,), "batch_size": 8, "steps": steps, "max_length": 48, "optim": optim, "log_every": 5} | more


def get_config():
    return ConfigDict(
        complete(
            {
                "name": "small",
                "synthetic": True,
                "model": "tiny",
                "limits": {"train": 64, "test": 24},
                "pretrain": stage("world_text.train.qen", 60, save_every=10),
                "arms": {"none": {}},
                "targets": {
                    "nli": {"task": "world_nli", "languages": "qen+qda", "stage": stage("world_nli.train.qen", 4)}
                },
                "baseline": "none",
                "source_language": "qen",
                "eval_batch_size": 8,
            }
        )
    )
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Returns (workdir, hosts) -> the commands of a small experiment, and the files of its straight run on one host."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.py").write_text(CONFIG)

    def words(workdir, hosts=2):
        return processes.xling("run", f"--config={folder / 'small.py'}", f"--workdir={workdir}", hosts=hosts)

    processes.finish(words(folder / "straight", hosts=1), folder, 2)
    return words, written(folder / "straight")


def written(workdir) -> dict[str, str]:
    """Returns rows, predictions and metrics without times, by path."""
    names = ("stages/*/results.jsonl", "stages/*/predictions/*/*")
    return {str(path.relative_to(workdir)): path.read_text() for name in names for path in workdir.glob(name)}


def interrupt(command, tmp_path, host: int, number: signal.Signals) -> list[tuple[int, str]]:
    """Returns (exit code, what was said) of both hosts, one of which gets a signal after a checkpoint is there."""
    with processes.started(command(tmp_path / "work"), tmp_path, 1) as started:
        started[0].wait_until(lambda: list((tmp_path / "work").glob("stages/pretrain-*/checkpoints/[1-4]0")))
        started[host].send(number)
        return [(each.code(), each.said()) for each in started]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", [0, 1])
def test_sigterm_to_one_host_stops_all_at_the_same_step(command, tmp_path, host):
    words, expected = command
    ended = interrupt(words, tmp_path, host, signal.SIGTERM)
    assert [code for code, _ in ended] == [75, 75]
    steps = {line for _, said in ended for line in said.splitlines() if line.startswith("error: Stopped at step")}
    assert len(steps) == 1, "both saved the same step, and say so"
    processes.finish(words(tmp_path / "work"), tmp_path, 1)
    assert written(tmp_path / "work") == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", [0, 1])
def test_a_host_that_is_killed_ends_the_other_and_the_run_goes_on(command, tmp_path, host):
    words, expected = command
    ended = interrupt(words, tmp_path, host, signal.SIGKILL)
    code, said = ended[1 - host]
    assert ended[host][0] == -signal.SIGKILL and code == 75
    assert f"error: Host {host} of 2" in said and "is gone; it last said '" in said
    assert "What was saved stays: run the same command on all hosts again." in said
    assert "Traceback" not in said and "stack trace" not in said
    said, _ = processes.finish(words(tmp_path / "work"), tmp_path, 1)
    assert "goes on from its checkpoint at step" in said
    assert written(tmp_path / "work") == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_that_were_told_different_things_do_not_begin(command, tmp_path):
    words, _ = command
    commands = words(tmp_path / "work")
    commands[1].append("--config.seeds=(5,)")
    with processes.started(commands, tmp_path, 1) as started:
        assert [host.code() for host in started] == [2, 2]
        assert "error: Host 1 of 2 has another plan than host 0" in started[1].said()
        assert "error: Host 1 of 2 has ended: Host 1 of 2 has another plan" in started[0].said()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_work_folder_that_is_not_shared_is_an_error(command, tmp_path):
    words, _ = command
    commands = words(tmp_path / "0")
    commands[1] = [word.replace(str(tmp_path / "0"), str(tmp_path / "1")) for word in commands[1]]
    with processes.started(commands, tmp_path, 1) as started:
        assert [host.code() for host in started] == [2, 2]
        assert re.search(rf"does not see {tmp_path / '1'}/.hosts-\w+, which host 0 has written", started[1].said())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_checkpoint_is_evaluated_alike(command, tmp_path):
    """The stage's own checkpoint, with a layer that is swept for; and then each that there is, by --follow."""
    words, _ = command
    processes.finish(words(tmp_path / "trained", hosts=1), tmp_path, 2)
    (checkpoint,) = (tmp_path / "trained").glob("stages/none_nli_s0-*")
    asked = ["eval", f"--checkpoint={checkpoint}", "--tasks=world_nli,world_parallel", "--languages=qen,qda"]
    asked += ["--source_language=qen", "--protocol=layer=1", "--batch_size=8", "--max_length=48"]
    for name, more in {"own": ["--sweep_layers", "--dev_languages=qen"], "each": ["--follow"]}.items():
        found = {}
        for count in (1, 2):
            work = tmp_path / f"{name}{count}"
            said = processes.finish(
                processes.xling(*asked, *more, f"--workdir={work}", hosts=count), tmp_path, 2 // count
            )
            assert "world_nli.test accuracy at step 4: " in said[0] and "accuracy" not in "".join(said[1:])
            found[count] = written(work) | {"all": (work / "results.jsonl").read_text()}
        assert found[1] == found[2] and len(found[1]) > 3
