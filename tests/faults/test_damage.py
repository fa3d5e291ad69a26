"""A damaged checkpoint is named, with its path and the reason; --skip_damaged goes back behind it and loses nothing."""

import functools
import json
import pathlib
import shutil

import pytest
import small
from harness import LIMIT, finish, left_over, results

from xling_jax.errors import CheckpointError, DamagedError
from xling_jax.experiment import from_config
from xling_jax.stages.run import Run
from xling_jax.train.checkpoint import Checkpoints

# Orbax leaves its other reads unawaited where one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = pytest.mark.slow


def run(workdir: pathlib.Path, **how) -> Run:
    made = Run(from_config(small.get_config().to_dict()), workdir, None)
    made(jobs=1, **how)
    return made


@pytest.fixture(scope="module")
def whole(shared_programs, tmp_path_factory) -> pathlib.Path:
    """Returns the folder of a run that nothing happened to. Not to be changed."""
    workdir = tmp_path_factory.mktemp("whole")
    run(workdir)
    return workdir


def stage(workdir: pathlib.Path, name: str) -> pathlib.Path:
    (folder,) = workdir.glob(f"stages/{name}-*")
    return folder


@pytest.fixture
def stopped(whole, tmp_path) -> pathlib.Path:
    """Returns the folder of a run that was stopped right after the last checkpoint of its stage with a selection."""
    workdir = pathlib.Path(shutil.copytree(whole, tmp_path / "work"))
    shutil.rmtree(stage(workdir, "nli_pos_s0"))
    nli = stage(workdir, "nli_s0")
    for path in (nli / "DONE", nli / "results.jsonl", nli / "chosen.json"):
        path.unlink()
    shutil.rmtree(nli / "averaged", ignore_errors=True)
    for path in nli.glob("predictions*"):
        shutil.rmtree(path)
    return workdir


@pytest.fixture
def childless(whole, tmp_path) -> pathlib.Path:
    """Returns the folder of a run whose last stages are to be done: their parents are, and are read."""
    workdir = pathlib.Path(shutil.copytree(whole, tmp_path / "work"))
    for name in ("nli_pos_s0", "none_pos_s0"):
        shutil.rmtree(stage(workdir, name))
    return workdir


def largest(folder: pathlib.Path) -> pathlib.Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(step: pathlib.Path) -> None:
    path = largest(step / "params")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(step: pathlib.Path) -> None:
    path = largest(step / "params")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


DAMAGE = {
    "truncated": truncate,
    "flipped": flip,
    "removed": lambda step: largest(step / "train").unlink(),
    "no parameters": lambda step: shutil.rmtree(step / "params"),
    "no optimiser": lambda step: shutil.rmtree(step / "train"),
    "no fingerprint": lambda step: shutil.rmtree(step / "meta"),
    "bad JSON": lambda step: (step / "meta" / "metadata").write_text('{"params": {"sha'),
    "bad tree": lambda step: (step / "params" / "_METADATA").write_text("{"),
    "nothing": lambda step: [shutil.rmtree(path) for path in step.iterdir() if path.is_dir()],
}


def steps(folder: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def told(folder: pathlib.Path) -> list[dict]:
    """Returns what a stage has told of its training and its checkpoints, but for how fast it was."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name.startswith(("step", "train/", "dev/"))} for line in lines]


def assert_as_ever(workdir: pathlib.Path, whole: pathlib.Path) -> None:
    """A run ends, selects, measures and logs as if nothing had happened."""
    found, expected = results(workdir), results(whole)
    assert found == {path: expected[path] for path in expected if not path.startswith("report/")}
    assert told(stage(workdir, "nli_s0")) == told(stage(whole, "nli_s0"))
    assert steps(stage(workdir, "nli_s0")) == steps(stage(whole, "nli_s0"))
    assert left_over(workdir) == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_of_a_stage_under_way(stopped, whole, kind, capsys):
    """Its newest checkpoint is refused; with the flag it goes back to the one before."""
    folder = stage(stopped, "nli_s0")
    before, newest = steps(folder)[-2:]
    step = folder / "checkpoints" / str(newest)
    DAMAGE[kind](step)
    with pytest.raises(DamagedError) as refused:
        run(stopped)
    assert f"{folder / 'checkpoints'}: step {newest} is damaged (" in str(refused.value)
    assert "--skip_damaged" in str(refused.value) and len(str(refused.value)) < 800, "a dump is no message"
    assert refused.value.exit_code == 4 and step.exists(), "nothing is touched without the flag"
    capsys.readouterr()
    run(stopped, skip_damaged=True)
    said = capsys.readouterr().out
    assert f"step {newest} is damaged" in said and f"kept aside: {folder / 'damaged' / str(newest)}" in said
    assert f"nli_s0 goes on from its checkpoint at step {before}" in said
    assert (folder / "damaged" / str(newest)).is_dir(), "what is left of it is kept"
    assert_as_ever(stopped, whole)


def test_of_one_that_is_averaged_and_gone(stopped, whole):
    """The last two are averaged: without the first of them, no other one is taken in its place."""
    folder = stage(stopped, "nli_s0")
    before, newest = steps(folder)[-2:]
    shutil.rmtree(folder / "checkpoints" / str(before))
    with pytest.raises(DamagedError, match=rf"step {before} is damaged \(it is not there\)"):
        run(stopped)
    run(stopped, skip_damaged=True)
    assert [path.name for path in (folder / "damaged").iterdir()] == [str(newest)], "it is passed again"
    assert_as_ever(stopped, whole)


def test_of_what_was_being_removed_nothing_stays(stopped, whole):
    """What an ended run left of a checkpoint it was removing, of a step where it had been stopped, goes."""
    (stage(stopped, "nli_s0") / "checkpoints" / "7" / "params").mkdir(parents=True)
    run(stopped)
    assert_as_ever(stopped, whole)


def test_of_all_checkpoints_the_stage_starts_again(stopped, whole, capsys):
    folder = stage(stopped, "nli_s0")
    there = steps(folder)
    for step in there:
        truncate(folder / "checkpoints" / str(step))
    run(stopped, skip_damaged=True)
    assert "goes on from its checkpoint" not in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "damaged").iterdir()) == sorted(map(str, there))
    assert_as_ever(stopped, whole)


@pytest.mark.parametrize("name", ["nli_s0", "pretrain"])
def test_of_a_parent_it_is_made_again(childless, whole, name, capsys):
    """A stage that is done and cannot be read: the parent is trained again from what is whole, and is what it was."""
    parent = stage(childless, name)
    chosen = json.loads((parent / "chosen.json").read_text())["step"] if (parent / "chosen.json").exists() else 30
    truncate(parent / "checkpoints" / str(chosen))
    with pytest.raises(DamagedError) as refused:
        run(childless)
    assert f"{parent / 'checkpoints'}: step {chosen} is damaged" in str(refused.value)
    assert (parent / "DONE").exists()
    capsys.readouterr()
    run(childless, skip_damaged=True)
    assert f"{parent.name} makes it again" in capsys.readouterr().out
    assert (parent / "DONE").exists() and (parent / "damaged" / str(chosen)).is_dir()
    assert_as_ever(childless, whole)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "chosen.json").write_text('{"checkpoints": "check'), "chosen.json, which says"),
        (lambda folder: (folder / "chosen.json").unlink(), "source_dev, is not there"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "has no checkpoint of step"),
    ],
    ids=["choice damaged", "choice removed", "checkpoints removed"],
)
def test_of_what_says_which_is_chosen(childless, whole, spoil, words):
    """What stands beside the checkpoints may be damaged, too; the last checkpoint is not taken for the chosen one."""
    parent = stage(childless, "nli_s0")
    spoil(parent)
    with pytest.raises(DamagedError, match=words):
        run(childless)
    run(childless, skip_damaged=True)
    assert_as_ever(childless, whole)


def test_of_an_import_is_an_error_with_the_flag_too(childless):
    """No stage of the plan makes it: it is converted again, or the experiment it is of is run again."""
    folder = stage(childless, "pretrain")
    fields = small.get_config().to_dict() | {"checkpoint": str(folder), "model": "", "arms": {"none": {}}}
    fields |= {"pretrain": {}, "comparisons": (), "headline": (), "baseline": "none"}
    truncate(folder / "checkpoints" / "30")
    elsewhere = Run(from_config(fields), childless.parent / "elsewhere", None)
    with pytest.raises(CheckpointError) as refused:
        elsewhere(jobs=1, skip_damaged=True)
    assert f"{folder / 'checkpoints'}: step 30 is damaged" in str(refused.value)
    assert "What was imported is converted again." in str(refused.value)
    assert steps(folder) == [30] and (folder / "DONE").exists(), "another experiment's folder is left alone"


def test_again_and_again_is_an_error(stopped, monkeypatch):
    """A disk that spoils whatever is written to it does not keep a run training for ever."""
    real, newest = Checkpoints._item, steps(stage(stopped, "nli_s0"))[-1]

    @functools.wraps(real)
    def item(self, step, *more, **how):
        if step == newest:
            raise self._damaged(step, "the disk is bad")
        return real(self, step, *more, **how)

    monkeypatch.setattr(Checkpoints, "_item", item)
    with pytest.raises(DamagedError, match="the disk is bad"):
        run(stopped, skip_damaged=True)
    assert len(list((stage(stopped, "nli_s0") / "damaged").iterdir())) == 1


@pytest.mark.timeout(3 * LIMIT)
def test_through_the_door(straight, tmp_path):
    workdir = pathlib.Path(shutil.copytree(straight, tmp_path / "work"))
    shutil.rmtree(stage(workdir, "nli_pos_s0"))
    parent = stage(workdir, "nli_s0")
    chosen = json.loads((parent / "chosen.json").read_text())["step"]
    flip(parent / "checkpoints" / str(chosen))
    output = finish(workdir, code=4)
    assert f"error: {parent / 'checkpoints'}: step {chosen} is damaged (" in output
    assert "kept aside" in finish(workdir, "--skip_damaged")
    assert results(workdir) == results(straight)
