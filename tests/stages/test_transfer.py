"""What a stage takes from the checkpoint before it: declared, printed, done."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from xling_jax.errors import CheckpointError
from xling_jax.experiment import Handover, Optim
from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.stages.transfer import BODY, Loading, head_part, merge, named_here, plan_loading, source_tree
from xling_jax.tables.models import MODELS
from xling_jax.train.checkpoint import Checkpoints, paths
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.step import init_state

QA, QA2 = HeadSpec("world_qa", "span_qa", 2), HeadSpec("world_qa2", "span_qa", 2)
NLI, OTHER_NLI = HeadSpec("world_nli", "pair_classification", 3), HeadSpec("pawsx", "pair_classification", 2)
TEXT = HeadSpec("world_text", "mlm")


@pytest.mark.parametrize(
    ("handover", "heads", "before", "expected"),
    [
        (Handover("keep", "reinit"), (QA,), (QA, TEXT), ("body", "head_world_qa", "head_world_qa head_world_text")),
        (Handover("keep", "keep"), (QA,), (QA, TEXT), ("body head_world_qa", "", "head_world_text")),
        (Handover("keep", "keep"), (NLI, QA), (QA, NLI), ("body head_world_nli head_world_qa", "", "")),
        (Handover("keep", "share"), (QA2,), (NLI, QA), ("body head_world_qa2<head_world_qa", "", "head_world_nli")),
        (Handover("keep", "share"), (QA, QA2), (QA,), ("body head_world_qa head_world_qa2<head_world_qa", "", "")),
        (Handover("keep", "share"), (NLI,), (NLI, OTHER_NLI), ("body head_world_nli", "", "head_pawsx")),
        (Handover("reinit", "reinit"), (QA,), (TEXT,), ("", "body head_world_qa", "body head_world_text")),
        (Handover("reinit", "keep"), (QA,), (QA,), ("head_world_qa", "body", "body")),
        (Handover("reinit", "share"), (QA2,), (QA,), ("head_world_qa2<head_world_qa", "body", "body")),
    ],
)
def test_what_is_loaded(handover, heads, before, expected):
    loaded, fresh, skipped = expected
    loading = plan_loading(handover, heads, before)
    pairs = [part.split("<") for part in loaded.split()]
    assert loading.loaded == {pair[0]: pair[-1] for pair in pairs}
    assert " ".join(loading.fresh) == fresh
    assert " ".join(loading.skipped) == skipped


@pytest.mark.parametrize(
    ("head", "heads", "before", "count"),
    [
        ("keep", (QA,), (TEXT, NLI), 0),
        ("keep", (QA2,), (QA,), 0),  # the same kind is not the same task
        ("share", (QA,), (TEXT,), 0),
        ("share", (NLI,), (OTHER_NLI,), 0),  # two labels are not three
        ("share", (QA,), (QA, QA2), 2),
        ("keep", (QA,), (), 0),
    ],
)
def test_exactly_one_head_must_fit(head, heads, before, count):
    with pytest.raises(CheckpointError) as error:
        plan_loading(Handover("keep", head), heads, before)
    text = str(error.value)
    assert f"Head '{heads[0].name}' ({heads[0].kind}, {heads[0].size}) is to be {head}: {count} heads" in text
    assert ", ".join(f"{old.name} ({old.kind}, {old.size})" for old in before) in text
    assert ("Its heads: none." in text) == (before == ())
    assert "Allowed: exactly one. Set handover.head='reinit'" in text


def test_a_loading_prints_itself():
    loading = plan_loading(Handover("keep", "share"), (QA2,), (QA, TEXT))
    assert str(loading) == ("loaded body, head_world_qa2 (from head_world_qa); fresh nothing; skipped head_world_text")
    assert str(Loading({}, ("body",), ())) == "loaded nothing; fresh body; skipped nothing"


def make_state(heads, seed):
    config = build_config(MODELS["tiny"], 40)

    def make(seed):
        params = nn.meta.unbox(init_params(Model(config, heads), jax.random.key(seed)))
        return init_state(params, make_optimizer(Optim()))

    return jax.jit(make)(np.uint32(seed))


@pytest.mark.parametrize("head", ["reinit", "share"])
def test_a_stage_starts_from_the_checkpoint_before(head, tmp_path):
    parent = make_state((QA, TEXT), seed=1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(30, parent)
    checkpoints.close()

    state = make_state((QA2,), seed=2)
    loading = plan_loading(Handover("keep", head), (QA2,), (QA, TEXT))
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state["params"]
    )
    reopened = Checkpoints(tmp_path / "checkpoints")
    read = reopened.restore_params(30, source_tree(loading, abstract))
    reopened.close()
    params = merge(state["params"], named_here(loading, read))

    assert set(params) == {BODY, head_part("world_qa2")}
    jax.tree.map(np.testing.assert_array_equal, params[BODY], parent["params"][BODY])
    here, there = params["head_world_qa2"]["output"]["kernel"], parent["params"]["head_world_qa"]["output"]["kernel"]
    assert bool((here == there).all()) == (head == "share")
    fresh = paths(state["params"][BODY])
    assert any((leaf != fresh[path]).any() for path, leaf in paths(params[BODY]).items()), "two seeds, two bodies"
