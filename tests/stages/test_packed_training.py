"""A packed batch trains as the same examples do in rows of their own."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import world
from xling_jax.data.batches import Batches, BatchPlan
from xling_jax.data.prepare import Records, prepare
from xling_jax.data.records import Layout, lay_out
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Part
from xling_jax.models.build import Model, build_config, head_spec, init_params
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS, parse_cells
from xling_jax.train.losses import LOSSES, mask_tokens

ROOM = 64
CELLS = {
    "pair_classification": ("world_nli.dev.qen", 60),
    "tagging": ("world_pos.dev.qen", 60),
    "span_qa": ("world_qa.dev.qen", 60),
    "mlm": ("world_text.train.qen", 60),
}


@pytest.fixture(scope="module")
def tokenizer():
    return PieceTokenizer(world.pieces())


@pytest.fixture(scope="module")
def both(tokenizer, tmp_path_factory):
    """Returns for each kind a packed batch, and its examples in rows of their own."""
    root = tmp_path_factory.mktemp("prepared")
    found = {}
    for kind, (text, count) in CELLS.items():
        cell = prepare(Part(*parse_cells(text), 0, count, ROOM), tokenizer, root)
        source = Batches([cell], rates=[1], plan=BatchPlan(16, 0, (ROOM,), packing=True), steps=1, multiple=4)
        _, packed = source[0]
        _, numbers = source._groups[0].examples(0)
        records = Records(cell)
        layout = Layout(len(numbers), ROOM, np.arange(len(numbers)))
        apart = lay_out(records.block(numbers), cell.table, layout)
        found[kind] = packed, apart | {"index": np.arange(len(numbers), dtype=np.int32)}
        assert len(packed["input_ids"]) < len(numbers), "nothing was packed"
    return found


def test_every_kind_that_packs_is_here():
    assert set(CELLS) == {kind.name for kind in KINDS.values() if kind.packs}


@functools.cache
def network(vocab: int, dropout: float) -> Model:
    heads = tuple(sorted(head_spec(TASKS[cell.partition(".")[0]]) for cell, _ in CELLS.values()))
    return Model(dataclasses.replace(build_config(MODELS["tiny"], vocab), dropout=dropout), heads)


@functools.cache
def parameters(vocab: int):
    # Fresh parameters are small, which makes all logits alike; larger ones tell examples apart.
    made = nn.meta.unbox(jax.jit(lambda: init_params(network(vocab, 0.0), jax.random.key(0)))())
    return jax.tree.map(lambda leaf: 5 * leaf, made)


def loss_and_gradient(kind: str, batch: dict, tokenizer, dropout: float = 0.0):
    """Returns ((loss, weight, right), gradient of the mean loss) of a batch."""
    model, head = network(tokenizer.size, dropout), CELLS[kind][0].partition(".")[0]

    def mean(params, batch):
        def apply(batch):
            return model.apply({"params": params}, head, batch, False, rngs={"dropout": jax.random.key(1)})

        loss, weight, right = LOSSES[kind](apply, batch, jax.random.key(2), tokenizer.mask)
        return loss / weight, (loss, weight, right)

    (_, sums), gradient = jax.jit(jax.value_and_grad(mean, has_aux=True))(parameters(tokenizer.size), batch)
    return sums, gradient


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.2])
@pytest.mark.parametrize("kind", CELLS)
def test_packed_equals_apart(both, tokenizer, kind, dropout):
    packed, apart = (loss_and_gradient(kind, batch, tokenizer, dropout) for batch in both[kind])
    # float32: the sums over a row are added in another order.
    np.testing.assert_allclose(packed[0], apart[0], rtol=1e-5)
    assert float(packed[0][1]) >= 10, "examples, words or masked tokens are scored"
    size = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(apart[1])))
    away = jax.tree.map(lambda one, other: float(((one - other) ** 2).sum()), packed[1], apart[1])
    assert size > 0.1 and np.sqrt(sum(jax.tree.leaves(away))) < 1e-5 * size


def test_masks_do_not_depend_on_the_company(both, tokenizer):
    """Each example's masks, however it is packed, are those that it gets alone."""
    packed, apart = both["mlm"]
    seen = {}

    def apply(batch):
        seen.update(batch)
        return jnp.zeros((*batch["masked"].shape, tokenizer.size))

    LOSSES["mlm"](apply, packed, jax.random.key(2), tokenizer.mask)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), apart["index"])
    tokens, _, labels = mask_tokens(apart["input_ids"], keys, tokenizer.mask)
    found = np.ones_like(tokens)
    for row, slot in np.argwhere(packed["segments"].max(1)[:, None] > np.arange(packed["first"].shape[1])[None]):
        inside = packed["segments"][row] == slot + 1
        found[packed["index"][row, slot], : inside.sum()] = np.asarray(seen["input_ids"])[row][inside]
    np.testing.assert_array_equal(found, tokens)
    assert (np.asarray(seen["input_ids"]) == tokenizer.mask).sum() > 10
    assert seen["masked"].shape[1] == ROOM // 6 and int((labels >= 0).sum()) > 10


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 9, 10, 11, 17, 24, 30, 62])
def test_a_row_has_room_for_all_masks(tokens):
    """Rows full of texts of one length, which is where rounding adds up."""
    each = max(tokens + 2, 6)
    count = 64 // each
    batch = {name: np.zeros((1, 64), np.int32) for name in ("segments", "positions")}
    batch["input_ids"] = np.ones((1, 64), np.int32)
    batch |= {name: np.zeros((1, 10), np.int32) for name in ("first", "index")}
    for slot in range(count):
        here = slice(slot * each, slot * each + tokens + 2)
        batch["input_ids"][0, here] = [0, *range(10, 10 + tokens), 2]
        batch["segments"][0, here], batch["positions"][0, here] = slot + 1, np.arange(tokens + 2)
        batch["first"][0, slot], batch["index"][0, slot] = slot * each, slot

    def apply(batch):
        return jnp.zeros((*batch["masked"].shape, 100))

    _, weight, _ = LOSSES["mlm"](apply, batch, jax.random.key(0), 99)
    assert float(weight) == count * max(1, round(tokens * 0.15))
