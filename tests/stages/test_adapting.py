"""Whole tiny runs with what a stage may train in part: trained, stopped and gone on with, handed over, evaluated."""

import itertools
import json

import jax
import numpy as np
import pytest

from xling_jax.errors import Interrupted
from xling_jax.experiment import from_config
from xling_jax.models.lora import ADAPTERS, merge_lora
from xling_jax.stages.run import Run
from xling_jax.stages.stage import StageRunner
from xling_jax.stages.transfer import with_adapters
from xling_jax.train.checkpoint import Checkpoints, paths

LORA = {"lora": {"rank": 2, "targets": ("all",), "dropout": 0.1}}
OPTIONS = {
    "lora": LORA,
    "frozen embeddings": {"freeze_embeddings": True},
    "frozen layers": {"freeze_layers": 1, "layer_decay": 0.5},
    "adafactor": {"name": "adafactor", "learning_rate": 0.05},
    "all at once": {"name": "adafactor", "learning_rate": 0.05, "freeze_layers": 1, "layer_decay": 0.5, **LORA},
}
STEPS = 4


def stage(*data, **optim):
    optim = {"learning_rate": 1e-2} | optim
    return {"data": data, "batch_size": 16, "steps": STEPS, "max_length": 48, "optim": optim, "log_every": 2}


def experiment(option, **after):
    """Pretraining, an intermediate task that is trained in part, and a target that stands on it."""
    return from_config(
        {
            "name": "adapted",
            "synthetic": True,
            "model": "tiny",
            "limits": {"train": 100, "dev": 10},
            "pretrain": stage("world_text.train.qen"),
            "arms": {"nli": {"stage": stage("world_nli.train.qen", **OPTIONS[option]) | {"accumulate": 2}}},
            "targets": {
                "pos": {
                    "task": "world_pos",
                    "split": "dev",
                    "languages": "qda",
                    "stage": stage("world_pos.train.qen", **after),
                }
            },
            "baseline": "nli",
            "source_language": "qen",
        }
    )


def parameters(run, name):
    """Returns (the stage's folder, the parameters of its last checkpoint by their paths)."""
    (folder,) = run.workdir.glob(f"stages/{name}-*")
    node = next(node for node in run.plan.nodes if node.folder == folder.name)
    _, abstract = run._programs().state_maker(node.heads, node.stage.optim)
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        assert checkpoints.latest() == STEPS
        return folder, checkpoints.restore(STEPS, abstract)
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("adapted")


def straight(root, option) -> Run:
    """Returns a run without a stop, done once."""
    run = Run(experiment(option), root / option.replace(" ", "_"), None)
    run()
    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("option", OPTIONS)
def test_only_what_is_trained_has_moved(root, option, capsys):
    run = straight(root, option)
    folder, state = parameters(run, "nli_s0")
    _, before = parameters(run, "pretrain")
    after, before = paths(state["params"]["body"]), paths(before["params"]["body"])
    optim = experiment(option).arms["nli"].stage.optim
    frozen = optim.freeze_layers
    for path, leaf in after.items():
        moved = np.asarray(leaf) != np.asarray(before.get(path, 0.0))
        if path.split("/")[-1] in ADAPTERS:
            assert path.endswith("lora_a") or moved[frozen:].any(), path
            assert path.endswith("lora_a") or path.endswith("scale") or not moved[:frozen].any(), path
        elif optim.lora.rank or (path.endswith("embedding") and (frozen or optim.freeze_embeddings)):
            assert not moved.any(), path
        elif path.startswith("layers/"):
            assert moved[frozen:].any() and not moved[:frozen].any(), path
        elif path.startswith("norm/") and frozen:
            assert not moved.any(), path
        else:
            assert moved.any(), path
    assert (paths(state["params"])["head_world_nli/output/bias"] != 0).any(), "the head is trained"
    line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    of, whole = int(line["parameters/trained"]), int(line["parameters/all"])
    assert whole == sum(leaf.size for leaf in paths(state["params"]).values())
    moments = sum(leaf.size for path, leaf in paths(state["opt"]).items() if "/mu/" in path or "/whole/" in path)
    assert moments == of, "as many moments as trained parameters; nothing is factored in a tiny model"
    assert (of < whole) == (option != "adafactor")
    assert (f"trains {of:,} of {whole:,} parameters" in capsys.readouterr().out) == (of < whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("option", OPTIONS)
def test_what_follows_starts_from_the_merged_body(root, option, monkeypatch):
    run = straight(root, option)
    _, nli = parameters(run, "nli_s0")
    (folder,) = run.workdir.glob("stages/nli_pos_s0-*")
    assert (folder / "DONE").exists()
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {(row["metric"], row["language"]) for row in rows} >= {("f1", "qda")}
    node = next(node for node in run.plan.nodes if node.name == "nli_pos_s0")
    runner = StageRunner(run.plan, run.workdir, run.cells, run._programs(), run.display, alone=True)
    empty = Checkpoints(root / f"empty {option}")
    try:
        _, state = runner._start(node, empty)
    finally:
        empty.close()
    expected = paths(merge_lora(nli["params"]["body"]))
    assert paths(state["params"]["body"]).keys() == expected.keys()
    for path, leaf in paths(state["params"]["body"]).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("option", OPTIONS)
def test_stopping_and_going_on_is_bit_identical(root, option, tmp_path):
    run = straight(root, option)
    parted = Run(experiment(option), tmp_path, None)
    (node,) = (node for node in parted.plan.nodes if node.name == "nli_s0")
    calls = itertools.count(1)
    real = StageRunner._train

    def train(self, which, checkpoints, stop_asked):
        asked = (lambda: next(calls) == 3) if which == node else stop_asked
        return real(self, which, checkpoints, asked)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="Stopped at step 3 of 4"):
        patch.setattr(StageRunner, "_train", train)
        parted()
    parted()
    (_, expected), (_, found) = parameters(run, "nli_s0"), parameters(parted, "nli_s0")
    for path, leaf in paths(found).items():
        np.testing.assert_array_equal(leaf, paths(expected)[path], err_msg=path)
    assert int(found["step"]) == STEPS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lora_after_lora_begins_with_fresh_adapters(root, tmp_path):
    """The second stage's body is the first one's, merged, and adapters that add nothing yet."""
    run = Run(experiment("lora", lora={"rank": 3, "targets": ("query",)}), tmp_path, None)
    run()
    (_, first), (_, second) = parameters(run, "nli_s0"), parameters(run, "nli_pos_s0")
    merged, after = paths(merge_lora(first["params"]["body"])), paths(second["params"]["body"])
    for path, leaf in merged.items():
        np.testing.assert_array_equal(after[path], leaf, err_msg=path)
    added = {path for path in after if path not in merged}
    assert added == {f"layers/query/{name}" for name in ADAPTERS}
    assert after["layers/query/lora_a"].shape[-1] == 3 and (after["layers/query/lora_b"] != 0).any()


def test_adapters_of_a_checkpoint_are_read_whoever_wrote_it():
    """A tree to read knows nothing of adapters; the checkpoint does. Those of parts that are not read stay there."""
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "fsdp"))
    kernel = jax.ShapeDtypeStruct((2, 8, 4), np.float32, sharding=split)
    adapters = {"lora_a": [2, 8, 3], "lora_b": [2, 3, 4], "lora_scale": [2]}
    shapes = {
        f"{part}/layers/query/{name}": [shape, "float32"]
        for part in ("body", "other")
        for name, shape in (adapters | {"kernel": [2, 8, 4]}).items()
    }
    found = with_adapters({"body": {"layers": {"query": {"kernel": kernel}}}}, shapes)
    assert set(found) == {"body"} and found["body"]["layers"]["query"]["kernel"] is kernel
    read = {name: leaf for name, leaf in found["body"]["layers"]["query"].items() if name != "kernel"}
    assert {name: list(leaf.shape) for name, leaf in read.items()} == adapters
    assert all(leaf.sharding.is_fully_replicated and leaf.dtype == np.float32 for leaf in read.values())
    assert with_adapters({"body": {"a": {"kernel": kernel}}}, shapes) == {"body": {"a": {"kernel": kernel}}}
