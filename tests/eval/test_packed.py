"""Texts that share rows are answered as they are alone: every kind, encoders and decoders, on one device and eight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import experiment
from xling_jax.data import texts
from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Target, from_config
from xling_jax.models.build import head_spec
from xling_jax.models.layers import Unstacked
from xling_jax.optim import Optim
from xling_jax.protocol import ALL, Protocol
from xling_jax.stages import programs as programs_module
from xling_jax.stages.programs import Programs
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import model
from xling_jax.tables.tasks import TASKS
from xling_jax.world import pieces

ROOM = 48
TRAINED = ("world_nli", "world_choice", "world_qa", "world_pos")
LENGTHS = {"world_qa": 32}  # so that contexts have several windows
TARGETS = {name: Target(name, languages="qda", max_length=LENGTHS.get(name, ROOM)) for name in TRAINED} | {
    f"parallel {layer} {pooling}": Target(
        "world_parallel", languages="qda", max_length=24, protocol=Protocol(layer, pooling=pooling, special=special)
    )
    for layer, pooling, special in ((1, "mean", False), (2, "mean", True), (ALL, "last", False), (0, "first", False))
}
# float32: softmax and means of a longer row are added up in another order. Parameters are drawn so that logits are of
# order 1, and another text's tokens among a text's own would change them by more than a hundredth.
NEAR = {"rtol": 1e-4, "atol": 2e-5}


def targets_of(name):
    return {
        key: target
        for key, target in TARGETS.items()
        if name != "tiny_decoder" or target.protocol.pooling != "first"  # whose first token knows nothing of the text
    }


@functools.cache
def programs_of(name, mesh):
    """Returns (programs of all targets, parameters of a model of large random numbers)."""
    fields = {"name": "packed", "model": "tiny", "arms": {"none": {}}, "mesh": mesh, "source_language": "qen"}
    fields |= {"pretrain": {"data": ("world_text.train.qen",), "steps": 1, "max_length": ROOM}}
    asked = dataclasses.replace(from_config(fields), targets=targets_of(name))  # no config can ask for all states
    heads = tuple(sorted(head_spec(TASKS[task]) for task in TRAINED))
    made = Programs(asked, model(name), PieceTokenizer(pieces()).size, 3)
    make, _ = made.state_maker(heads, Optim())
    rng = np.random.default_rng(0)
    draw = lambda leaf: jax.device_put(  # noqa: E731
        jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), leaf.sharding
    )
    return made, heads, jax.tree.map(draw, make(0)["params"])


def answers(name, mesh, target, folder, size=8):
    """Returns (outputs, (numbers, batch) of each batch, the prepared cell)."""
    programs, heads, params = programs_of(name, mesh)
    params = programs.laid_out(params)
    (part,) = target.parts({"test": 21})
    prepared = prepare(part, PieceTokenizer(pieces()), folder)
    output = programs.output(heads, target)
    (found,) = output.answers(params, [prepared], size)
    batches = output.batches([("", prepared)], size)
    return found, [(batch.pieces[0][1], batch.arrays) for batch in batches], prepared


def own_tokens(feature):
    """Returns what a feature's answer says of its own tokens, in order, or all of it."""
    beside = next((feature[name] for name in texts.BESIDE if name in feature), None)
    if beside is None:
        return feature
    count = np.flatnonzero(beside.reshape(len(beside), -1).max(axis=1) >= 0).max() + 1
    return {name: array[:count] for name, array in feature.items()}


def alike(found, wanted, near):
    assert len(found) == len(wanted) == 21
    several = 0
    for features, others in zip(found, wanted, strict=True):
        assert len(features) == len(others)
        several += len(features) > 1
        for feature, other in zip(map(own_tokens, features), map(own_tokens, others), strict=True):
            assert feature.keys() == other.keys()
            for key in feature:
                np.testing.assert_allclose(feature[key], other[key], err_msg=key, **near)
    return several


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


CASES = [(name, key) for name in ("tiny", "tiny_decoder") for key in targets_of(name)]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_texts_that_share_rows_are_answered_as_alone(name, key, folder, monkeypatch):
    target = TARGETS[key]
    found, batches, prepared = answers(name, "one", target, folder)
    assert max((batch["index"] >= 0).sum(axis=1).max() for _, batch in batches) > 1, "rows of several texts"
    monkeypatch.setattr(texts, "pack", lambda length_T, room: np.arange(len(length_T)))
    wanted, alone, _ = answers(name, "one", target, folder)
    assert max((batch["index"] >= 0).sum(axis=1).max() for _, batch in alone) == 1
    several = alike(found, wanted, NEAR)
    if target.task == "world_qa":
        assert several, "questions of several windows"
    if prepared.texts:
        assert found.stack(next(iter(found[0][0]))).shape[:2] == (21, prepared.choices)


@pytest.mark.parametrize("key", ["world_choice", "world_qa", "parallel 1 mean"])
def test_eight_devices_answer_as_one_does(key, folder):
    """Rows are filled up to a multiple of eight."""
    target = TARGETS[key]
    found, batches, _ = answers("tiny", "any", target, folder, size=3)
    assert {len(batch["index"]) for _, batch in batches} == {8}
    wanted, batches, _ = answers("tiny", "one", target, folder, size=3)
    assert {len(batch["index"]) for _, batch in batches} == {3}
    alike(found, wanted, NEAR)


def two_languages(folder):
    """Returns (programs' output, parameters, two cells)."""
    programs, heads, params = programs_of("tiny", "one")
    target = TARGETS["world_nli"]
    parts = dataclasses.replace(target, languages="qda qen").parts({"test": 21})
    return programs.output(heads, target), params, [prepare(part, PieceTokenizer(pieces()), folder) for part in parts]


def test_languages_that_share_rows_are_answered_as_alone(folder):
    output, params, cells = two_languages(folder)
    batches = [batch.arrays for batch in output.batches([(at, cell) for at, cell in enumerate(cells)], 8)]
    rows = [set(cell_S[cell_S >= 0].tolist()) for batch in batches for cell_S in batch["cell"]]
    assert max(map(len, rows)) == 2, "rows of both"
    for cell, found in zip(cells, output.answers(params, cells, 8), strict=True):
        (alone,) = output.answers(params, [cell], 8)
        alike(found, alone, NEAR)


def test_who_asks_is_told_before_each_batch_and_may_end_it(folder):
    output, params, cells = two_languages(folder)
    told = []
    batches = len([*output.batches([("", cell) for cell in cells], 8)])
    found = [*output.answers(params, cells, 8, told.append)]
    assert len(found) == 2 and len(told) == batches > 2
    assert told == sorted(set(told)) and told[0] == 0 and 1 < told[-1] < 2

    def end(answered):
        if answered > 1:
            raise InterruptedError(answered)

    with pytest.raises(InterruptedError):
        [*output.answers(params, cells, 8, end)]


@pytest.mark.parametrize(("key", "row"), [("world_choice", 16), ("world_qa", 28)])
def test_rows_of_two_lengths_answer_as_those_of_one(key, row, folder, monkeypatch):
    """Of some examples one text stands in short rows and another one in long ones, which are a power of two."""
    target = TARGETS[key]
    wanted, batches, _ = answers("tiny", "one", target, folder)
    assert {batch["input_ids"].shape[1] for _, batch in batches} == {ROOM}
    monkeypatch.setattr(experiment, "ROW", row)
    found, batches, prepared = answers("tiny", "one", target, folder)
    of_length: dict[int, set] = {row: set(), 1 << (ROOM - 1).bit_length(): set()}
    for numbers, batch in batches:
        of_length[batch["input_ids"].shape[1]] |= set((numbers // prepared.choices).tolist())
    assert all(of_length.values())
    assert key != "world_choice" or set.intersection(*of_length.values())
    alike(found, wanted, NEAR)


@pytest.mark.parametrize(("name", "mesh"), [("tiny", "one"), ("tiny", "any"), ("tiny_decoder", "one")])
@pytest.mark.parametrize("key", ["world_nli", "world_pos", f"parallel {ALL} last"])
def test_layers_one_after_another_answer_as_a_loop_of_them(name, mesh, key, folder, monkeypatch):
    """As wide ones are read on a CPU: an encoder's parameters are each layer's own then."""
    target = TARGETS[key]
    wanted, _, _ = answers(name, "one", target, folder)
    monkeypatch.setattr(programs_module, "UNROLL_FROM", 1)
    programs_of.cache_clear()
    programs, _, params = programs_of(name, mesh)
    assert any(map(Unstacked.is_one, jax.tree.leaves(programs.laid_out(params), is_leaf=Unstacked.is_one))) == (
        name == "tiny"
    )
    compiled = programs_module._taken_apart._cache_size()
    found, _, _ = answers(name, mesh, target, folder)
    assert programs_module._taken_apart._cache_size() == compiled, "layers were taken apart before, by the same program"
    programs_of.cache_clear()
    alike(found, wanted, NEAR)


def test_every_kind_that_models_read_is_here():
    here = {TASKS[target.task].kind for target in TARGETS.values()}
    # A sentence to be mined is asked for a vector as one of a pair is; a dual encoder's is in test_dual_encoder_run.py.
    assert here | {"mining", "dual_encoder"} == {name for name, kind in KINDS.items() if kind.evaluated}
