"""A loss that is not finite: the batch is written down, what was saved before it stays, a lower rate goes through."""

import dataclasses
import itertools
import json
import pathlib

import pytest
import small
from harness import LIMIT, finish

from xling_jax.data.sources import read
from xling_jax.errors import NumericalError
from xling_jax.experiment import Watch, from_config
from xling_jax.stages.run import Run
from xling_jax.tables.tasks import parse_cells


def experiment(rate: float):
    """Returns an experiment that does nothing but train one stage, on the second half of one cell and on another."""
    fields = small.get_config().to_dict()
    for name in ("comparisons", "headline"):
        fields[name] = ()
    fields |= {"arms": {"none": {}}, "targets": {"parallel": fields["targets"]["parallel"]}, "baseline": "none"}
    optim = fields["pretrain"]["optim"] | {"learning_rate": rate, "clip": 0.0, "warmup": 0.0}
    stage = {"data": ("world_pos.train.qen+qda",), "examples": 60, "steps": 12, "save_every": 2, "optim": optim}
    return from_config(fields | {"pretrain": fields["pretrain"] | stage})


def folder_of(workdir: pathlib.Path) -> pathlib.Path:
    (folder,) = workdir.glob("stages/pretrain-*")
    return folder


def test_the_batch_is_written_down_and_the_checkpoint_before_stays(shared_programs, tmp_path):
    """Run again, it says the same; with a lower rate it is another stage, and goes through."""
    errors = []
    for _ in range(2):
        with pytest.raises(NumericalError) as error:
            Run(experiment(1e20), tmp_path / "high", None)(jobs=1)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    folder = folder_of(tmp_path / "high")
    dump = json.loads((folder / "diverged.json").read_text())
    assert f"The loss of step {dump['step']} is not finite." in errors[0] and str(folder / "diverged.json") in errors[0]
    assert dump["head"] == "world_pos" and dump["learning_rate"] > 1e18
    assert dump["noticed"]["step"] > dump["step"] and "train/world_pos/loss" in dump["noticed"]
    assert all(line["step"] <= dump["step"] for line in dump["before"])
    steps = [int(path.name) for path in (folder / "checkpoints").iterdir()]
    assert all(step <= dump["step"] for step in steps), "no state after a bad step is kept"
    assert not (folder / "DONE").exists()
    assert_named(dump["examples"])
    assert f"{dump['examples'][0]['cell']}#{dump['examples'][0]['number']} " in errors[0]
    Run(experiment(1e-3), tmp_path / "low", None)(jobs=1)
    low = folder_of(tmp_path / "low")
    assert low.name != folder.name and (low / "DONE").exists() and not (low / "diverged.json").exists()


def test_what_is_watched_leaves_the_error_as_it_is(shared_programs, tmp_path, capsys):
    """Vectors are broken before the next loss says so; it is the loss that ends the stage, with its batch."""
    watch = Watch(("world_parallel.test.qda",), every=1, count=8, max_length=48)
    with pytest.raises(NumericalError) as error:
        Run(dataclasses.replace(experiment(1e20), watch=watch), tmp_path, None)(jobs=1)
    dump = json.loads((folder_of(tmp_path) / "diverged.json").read_text())
    assert f"The loss of step {dump['step']} is not finite." in str(error.value)
    assert_named(dump["examples"])
    assert all("train/world_pos/loss" in line for line in dump["before"]), "steps, and not what was watched of them"
    lines = (folder_of(tmp_path) / "metrics.jsonl").read_text().splitlines()
    assert any("align/qda/sentences" in line for line in lines), "of the state that it began with"
    assert "alignment is not measured: The vector of example" in capsys.readouterr().out


def assert_named(examples: list[dict]) -> None:
    """Number and id are those of the cell's own examples: the second cell's are its second half, see `Stage.parts`."""
    assert len(examples) == 8
    ids = {str(cell): [example["id"] for example in itertools.islice(read(cell, None), 60)] for cell in cells()}
    for example in examples:
        assert ids[example["cell"]][example["number"]] == example["id"], example
    assert all(30 <= example["number"] < 60 for example in examples if example["cell"].endswith("qda"))
    assert {example["cell"] for example in examples} == {str(cell) for cell in cells()}, "both are in the batch"


def cells():
    return parse_cells("world_pos.train.qen+qda")


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_through_the_door(tmp_path):
    output = finish(tmp_path, "--config.pretrain.optim.learning_rate=1e30", code=5)
    assert "error: The loss of step" in output and "diverged.json" in output
