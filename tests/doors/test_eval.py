"""`xling eval` from the command line: what it asks, one clear error for each mistake, and a training in progress."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from xling_jax import cli
from xling_jax.doors import eval as door
from xling_jax.errors import ConfigError
from xling_jax.models.build import HeadSpec
from xling_jax.models.card import NAME, Card, as_text
from xling_jax.stages.asking import asked
from xling_jax.tables.models import MODELS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KINDS_OF = {"nli": "pair_classification", "world_nli": "pair_classification", "copa": "multiple_choice"}
CARD = Card(MODELS["tiny"], tuple(HeadSpec(name, kind) for name, kind in KINDS_OF.items()), {}, None)


def ask(*names, languages="all", fields=None, data_dir=None, **more):
    return asked(names, languages, card=CARD, fields=fields or {}, data_dir=data_dir, **more)


def test_a_task_is_asked_in_all_of_its_languages_or_in_some():
    (target,) = ask("world_nli").targets.values()
    assert (target.split, target.max_length) == ("test", 64), "as XTREME has it, as far as the model has positions"
    assert len(target.cells()) == 8 and target.stage is None
    (target,) = ask("world_nli.dev", languages="qda,qen", max_length=20).targets.values()
    assert [str(cell) for cell in target.cells()] == ["world_nli.dev.qen", "world_nli.dev.qda"]
    assert target.max_length == 20


def test_languages_are_those_that_each_task_has():
    found = ask("xnli", "xcopa", languages="sw+ht").targets
    assert {name: target.languages for name, target in found.items()} == {"xnli.test": "sw", "xcopa.test": "ht sw"}


def test_of_a_benchmark_what_cannot_be_answered_is_left_out_and_told(tmp_path):
    (tmp_path / "xnli").mkdir()
    (tmp_path / "xnli" / "test-sw.tsv").write_text("a\tb\tneutral\n")
    found = ask("xtreme-r", data_dir=tmp_path)
    assert {name: target.languages for name, target in found.targets.items()} == {"xnli.test": "sw"}
    told = "\n".join(found.left_out)
    assert (
        "udpos is answered by head 'upos', and the checkpoint has: nli, world_nli, copa" in told
        and "tatoeba.test: no files in af ar" in told
    )
    assert "xnli.test: no files in ar bg" in told and " sw" not in told.partition("xnli.test")[2].partition("\n")[0]


def test_the_protocol_goes_to_whom_it_means_something():
    found = ask("tatoeba", "xnli", fields={"layer": "2", "centre": "false"}).targets
    assert (found["tatoeba.test"].protocol.layer, found["tatoeba.test"].protocol.centre) == (2, False)
    assert found["xnli.test"].protocol.layer == 0


WRONG = {
    "task": (lambda: ask("xnil"), "Unknown task or benchmark 'xnil' in '--tasks'.\nDid you mean: xnli"),
    "split": (lambda: ask("xnli.tset"), "Unknown split 'tset' in task 'xnli'.\nDid you mean: test"),
    "language": (lambda: ask("xnli", languages="qz"), "Unknown language 'qz' in '--languages'"),
    "language of no task": (lambda: ask("xnli", languages="ht sw"), "no task has ht.\nAllowed: all, or some of sw"),
    "field": (lambda: ask("tatoeba", fields={"layr": "1"}), "Unknown field 'layr' in '--protocol'.\nDid you mean: la"),
    "value": (lambda: ask("tatoeba", fields={"layer": "one"}), "has layer=one.\nAllowed: a value of type int"),
    "truth": (lambda: ask("tatoeba", fields={"centre": "1"}), "has centre=1.\nAllowed: a value of type bool"),
    "choice": (lambda: ask("tatoeba", fields={"pooling": "max"}), "Unknown value 'max' in pooling of task 'tatoeba'"),
    "field of no task": (lambda: ask("xnli", fields={"layer": "1"}), "has layer, which no task asked here has a use"),
    "nothing there": (lambda: ask("xtreme", data_dir=ROOT / "docs"), "no task has any.\nAllowed: all, or some of the"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_clear_error(name):
    make, expected = WRONG[name]
    with pytest.raises(ConfigError) as error:
        make()
    assert expected in str(error.value)


@pytest.fixture
def quiet(monkeypatch):
    """Leaves signals, logging and caches as they are: a test is not a process of its own."""
    monkeypatch.setattr(door, "catch_signals", lambda: lambda: False)
    for name in ("quiet_libraries", "keep_memory", "call_one_by_one"):
        monkeypatch.setattr(door, name, lambda: None)
    monkeypatch.setattr(door, "compilation_cache", lambda workdir: None)


def leaves(capsys, *words):
    with pytest.raises(SystemExit) as left:
        cli.main(["eval", *map(str, words)])
    return left.value.code, capsys.readouterr().err


def test_the_door_says_what_is_wrong(quiet, tmp_path, capsys):
    work = f"--workdir={tmp_path / 'work'}"
    assert leaves(capsys, work) == (2, "error: --checkpoint is not given.\nAllowed: --checkpoint=..., see --help.\n")
    code, said = leaves(capsys, work, "--tasks=xnli", f"--checkpoint={tmp_path}")
    assert code == 4 and said.startswith(f"error: {tmp_path} has no model.json, so it is no checkpoint.\nAllowed: ")
    (tmp_path / NAME).write_text(as_text(CARD))
    code, said = leaves(capsys, work, "--tasks=world_qa", f"--checkpoint={tmp_path}")
    assert code == 2 and "answered by head 'world_qa', and the checkpoint has: nli, world_nli, copa" in said
    code, said = leaves(capsys, work, "--tasks=xnli", "--languages=sw", f"--checkpoint={tmp_path}")
    assert code == 4 and "has no vocabulary, so no text can be put into it" in said
    assert leaves(capsys, "xnli", work)[0] == 2


RUN = """
from ml_collections import ConfigDict

from xling_jax.experiment import complete


def stage(data, steps, **more):
    optim = {"learning_rate": 3e-2}
    return {"data": (data,), "batch_size": 8, "steps": steps, "max_length": 48, "optim": optim} | more


def get_config():
    nli = stage("world_nli.train.qen", 400, save_every=40, selection={"policies": ("last", "oracle")})
    return ConfigDict(
        complete(
            {
                "name": "followed",
                "model": "tiny",
                "limits": {"train": 200, "test": 40},
                "pretrain": stage("world_text.train.qen", 5),
                "arms": {"nli": {"stage": nli}},
                "targets": {"nli": {"task": "world_nli", "languages": "qda+qnd", "max_length": 48}},
                "source_language": "qen",
                "baseline": "nli",
            }
        )
    )
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_in_progress_is_followed_by_another_process(tmp_path):
    """Begun before the training, killed twice while it goes on, begun again: each checkpoint has its rows, once."""
    (tmp_path / "config.py").write_text(RUN)
    program = [sys.executable, "-m", "xling_jax"]
    run = [*program, "run", f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}"]
    planned = subprocess.run([*run, "--dry_run"], capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "run" / "stages" / next(word for word in planned.split() if word.startswith("nli_s0-"))
    work = f"--workdir={tmp_path / 'work'}"
    tasks = ["--tasks=world_nli", "--languages=qda,qnd", "--max_length=48", "--source_language=qen"]
    follow = [*program, "eval", f"--checkpoint={folder}", "--follow", *tasks, work]

    def following():
        return subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    joined = tmp_path / "work" / "results.jsonl"
    follower, killed = following(), 0
    with subprocess.Popen(run, stdout=subprocess.DEVNULL) as training:
        while training.poll() is None:
            steps = {json.loads(line)["step"] for line in joined.read_text().splitlines()} if joined.exists() else ()
            if killed < 2 and len(steps) > 2 * killed:
                follower.send_signal(signal.SIGKILL)
                follower.communicate()
                follower, killed = following(), killed + 1
            time.sleep(0.05)
        assert training.returncode == 0
    said, _ = follower.communicate(timeout=300)
    assert follower.returncode == 0, said
    assert killed == 2, "it was killed while the training went on"
    rows = [json.loads(line) for line in joined.read_text().splitlines()]
    keys = [(row["step"], row["language"]) for row in rows]
    assert sorted(keys) == sorted((step, code) for step in range(40, 401, 40) for code in ("qda", "qnd"))
    assert all(row["n"] == 500 for row in rows), "the whole test set, whatever the run's limits"
