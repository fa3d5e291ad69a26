"""mT5 and umT5 out to t5x and back: the same numbers, under the names and shapes of t5x's own networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_encoder_decoders import ROWS, VOCAB, restored, written

from xling_jax.convert.importing import Options, bring_in, open_t5x, plan_import
from xling_jax.convert.to_t5x import Options as Export
from xling_jax.convert.to_t5x import to_t5x
from xling_jax.errors import CheckpointError, ConfigError, Interrupted
from xling_jax.models.card import NAME, as_text, read_card
from xling_jax.models.weights import t5x
from xling_jax.train.writer import Display

# What t5x's networks (examples/t5 for mT5, examples/scalable_t5 for umT5) have for these sizes: width 16, 2 heads of 6,
# feed-forward 32, 8 buckets, 2 layers and 3. tests/test_under_t5x.py asks the networks themselves.
ONCE = {
    "token_embedder/embedding": (VOCAB, 16),
    "decoder/logits_dense/kernel": (16, VOCAB),
    "encoder/encoder_norm/scale": (16,),
    "decoder/decoder_norm/scale": (16,),
}
MLP = {"mlp/wi_0/kernel": (16, 32), "mlp/wi_1/kernel": (16, 32), "mlp/wo/kernel": (32, 16)}
NORMS = {"encoder": "attention mlp", "decoder": "self_attention cross_attention mlp"}
ATTENTIONS = {"encoder": "attention", "decoder": "self_attention encoder_decoder_attention"}


def layer(stack: str, heads: bool) -> dict[str, tuple[int, ...]]:
    into, out = ((16, 2, 6), (2, 6, 16)) if heads else ((16, 12), (12, 16))
    found = MLP | {f"pre_{name}_layer_norm/scale": (16,) for name in NORMS[stack].split()}
    for name in ATTENTIONS[stack].split():
        found |= {f"{name}/{part}/kernel": into for part in ("query", "key", "value")} | {f"{name}/out/kernel": out}
    return found


def network(kind: str) -> dict[str, tuple[int, ...]]:
    found = dict(ONCE)
    for stack, depth in {"encoder": 2, "decoder": 3}.items():
        if kind == "tiny_mt5":
            found[f"{stack}/relpos_bias/rel_embedding"] = (2, 8)
            for number in range(depth):
                found |= {f"{stack}/layers_{number}/{name}": shape for name, shape in layer(stack, False).items()}
        else:
            scanned = layer(stack, True) | {"relpos_bias/rel_embedding": (2, 8)}
            found |= {f"{stack}/{stack}/{name}": (first, depth, *rest) for name, (first, *rest) in scanned.items()}
    return found


def imported(folder, out):
    bring_in(plan_import(folder, Options(tokenizer="none", multiple=16), open_t5x), out, Display())
    return out


@pytest.fixture
def ours(tmp_path):
    """Returns a function that makes a checkpoint of ours with random numbers, and returns it with these."""

    def make(name):
        wanted = written(tmp_path / "checkpoint_1000000", name)
        return imported(tmp_path / "checkpoint_1000000", tmp_path / "ours"), wanted

    return make


@pytest.mark.parametrize("name", ROWS)
def test_there_and_back(name, ours, tmp_path):
    folder, wanted = ours(name)
    to_t5x(folder, tmp_path / "checkpoint_0", Export(), Display())
    homes = {path.name for path in (tmp_path / "checkpoint_0").iterdir() if path.is_dir()}
    assert homes == {f"target.{there.replace('/', '.')}" for there in network(name)}
    for there, shape in network(name).items():
        home = tmp_path / "checkpoint_0" / f"target.{there.replace('/', '.')}"
        found = t5x._opened(t5x._files(home), there)
        assert (found.shape, found.dtype.name) == (shape, "float32"), there
    again = imported(tmp_path / "checkpoint_0", tmp_path / "again")
    assert read_card(again).model == read_card(folder).model
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, restored(again)), wanted)


def test_half_the_bytes(ours, tmp_path):
    folder, _ = ours("tiny_mt5")
    to_t5x(folder, tmp_path / "checkpoint_3", Export(dtype="bfloat16"), Display())
    stored = t5x.open_tensors(tmp_path / "checkpoint_3")
    assert {tensor.dtype for tensor in stored.values()} == {jnp.dtype("bfloat16")}


def test_chunks_are_small(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(t5x, "CHUNK", 1000)
    folder, _ = ours("tiny_mt5")
    to_t5x(folder, tmp_path / "checkpoint_0", Export(), Display())
    home = tmp_path / "checkpoint_0" / "target.token_embedder.embedding"
    assert t5x._opened(t5x._files(home), "embedding").chunk_layout.read_chunk.shape == (15, 16)
    read, whole = t5x.open_tensors(tmp_path / "checkpoint_0"), t5x.open_tensors(tmp_path / "checkpoint_1000000")
    for name, tensor in whole.items():
        np.testing.assert_array_equal(read[name].read(), tensor.read())


@pytest.mark.parametrize("out", ["mnli", "checkpoint_", "checkpoint_1x", "checkpoint_-1"])
def test_a_name_that_t5x_does_not_read(out, tmp_path):
    with pytest.raises(ConfigError, match=f"t5x does not read a folder called {out}"):
        to_t5x(tmp_path / "nowhere", tmp_path / out, Export(), Display())


def test_what_cannot_go_out(ours, tmp_path):
    folder, _ = ours("tiny_mt5")
    (tmp_path / "checkpoint_0").mkdir()
    with pytest.raises(CheckpointError, match="checkpoint_0 is there"):
        to_t5x(folder, tmp_path / "checkpoint_0", Export(), Display())
    with pytest.raises(Interrupted, match="Nothing of it is left"):
        to_t5x(folder, tmp_path / "checkpoint_1", Export(), Display(), lambda: True)
    assert [path.name for path in tmp_path.glob("checkpoint_1*")] == ["checkpoint_1000000"]
    card = read_card(folder)
    encoder = dataclasses.replace(card, model=dataclasses.replace(card.model, family="encoder"))
    (folder / NAME).write_text(as_text(encoder))
    with pytest.raises(CheckpointError, match="is of family 'encoder', which t5x has no network for"):
        to_t5x(folder, tmp_path / "checkpoint_1", Export(), Display())
