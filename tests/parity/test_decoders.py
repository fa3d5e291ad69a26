"""Decoders against those of `transformers`, from the same random weights, in float32.

A difference is measured in units of the largest magnitude of its tensor. 1e-5 is float32's rounding (6e-8) through a
few layers of sums of tens of terms.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from decoders import VARIANTS, exported, make_pair, relative, torch_states  # noqa: E402
from drawn import SEED  # noqa: E402

from xling_jax.experiment import Optim  # noqa: E402
from xling_jax.train.losses import LOSSES  # noqa: E402
from xling_jax.train.optimizer import make_optimizer  # noqa: E402
from xling_jax.train.step import init_state, train_step  # noqa: E402

ROUNDING = 1e-5
STEPPED = 1e-4  # of an optimiser's step: the gradient's rounding, divided by the root of its square
LONG = 40  # beyond the 24 positions of the models here


def all_logits(model, tokens, **more):
    """Returns the logits of all places here."""
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    return model("task", {"input_ids": tokens, "masked": places} | more)


def logits(pair, batch):
    return pair.here(lambda model, batch: all_logits(model, batch.pop("input_ids"), **batch), batch)


def torch_logits(pair, tokens, mask=None):
    given = {} if mask is None else {"attention_mask": torch.tensor(mask)}
    with torch.no_grad():
        return pair.theirs(torch.tensor(tokens), **given).logits.numpy()


@pytest.mark.parametrize("seed", [11, SEED])
@pytest.mark.parametrize("variant", VARIANTS)
def test_states_and_logits(variant, seed):
    """Of a text as long as the model's context, and of one beyond it."""
    pair = make_pair(variant, seed)
    for length in (9, LONG):
        tokens = pair.tokens(1 if variant == "dynamic" else 2, length)
        found, last = pair.here(lambda model, tokens: (model.states(tokens), all_logits(model, tokens)), tokens)
        expected = torch_states(pair.theirs, tokens)
        assert len(found) == len(expected) == pair.model.config.layers + 1
        for number, state in enumerate(expected):
            assert relative(found[number], state) < ROUNDING, f"state {number} of {pair.model.config}"
        assert relative(last, torch_logits(pair, tokens)) < ROUNDING, pair.model.config


@pytest.mark.parametrize("variant", ["llama_shared", "qwen2", "qwen3", "yarn"])
def test_right_padding(variant):
    pair = make_pair(variant, 21)
    tokens, lengths = pair.tokens(3, 13), np.array([13, 4, 9])
    mask = np.arange(13)[None] < lengths[:, None]
    found = logits(pair, {"input_ids": tokens, "lengths": lengths})
    assert relative(found[mask], torch_logits(pair, tokens, mask.astype(int))[mask]) < ROUNDING


@pytest.mark.parametrize("variant", VARIANTS)
def test_packed_rows(variant):
    """A row of several texts, and padding, holds what each text has alone there."""
    pair = make_pair(variant, 31)
    lengths = [int(size) for size in pair.rng.integers(1, 30, 3)]
    texts = [pair.tokens(1, size)[0] for size in lengths]
    room = sum(lengths) + 4
    batch = {
        "input_ids": np.concatenate([*texts, np.zeros(4, int)])[None],
        "segments": np.repeat([1, 2, 3, 0], [*lengths, 4])[None],
        "positions": np.concatenate([*(np.arange(size) for size in lengths), np.zeros(4, int)])[None],
        "first": np.cumsum([0, *lengths[:2]])[None],
        "index": np.arange(3)[None],
    }
    found = logits(pair, batch)[0]
    assert found.shape[0] == room and np.isfinite(found).all()
    for begin, text in zip(batch["first"][0], texts, strict=True):
        expected = torch_logits(pair, text[None])[0]
        assert relative(found[begin : begin + len(text)], expected) < ROUNDING, (lengths, pair.model.config)


def labelled(pair, rows, length):
    """Returns (tokens, labels with -1 for those of the prompts and beyond the lengths, lengths)."""
    tokens, lengths = pair.tokens(rows, length), pair.rng.integers(4, length + 1, rows)
    places = np.arange(length)[None]
    scored = (places >= pair.rng.integers(0, 3, rows)[:, None]) & (places < lengths[:, None])
    return tokens, np.where(scored, tokens, -1), lengths


def torch_loss(pair, tokens, labels, lengths):
    mask = torch.tensor(np.arange(tokens.shape[1])[None] < lengths[:, None]).long()
    given = {"attention_mask": mask, "labels": torch.tensor(np.where(labels < 0, -100, labels))}
    return pair.theirs(torch.tensor(tokens), **given).loss


@pytest.mark.parametrize("variant", ["llama_tied", "llama_biased", "qwen2", "qwen3", "llama3"])
def test_a_training_step(variant):
    """The language-model loss, and AdamW's step on its clipped gradient."""
    pair = make_pair(variant, 41)
    tokens, labels, lengths = labelled(pair, 3, 11)
    batch = {"input_ids": tokens, "labels": labels, "lengths": lengths}
    # A large eps: Adam divides rounding by rounding where a gradient is 0.
    optim = Optim(weight_decay=0.1, eps=1e-3, clip=0.5)
    optimizer = make_optimizer(optim)

    def apply(params, key, batch):
        return pair.model.apply({"params": params}, "task", batch, False, rngs={"dropout": key})

    def step(params, batch):
        state = init_state(params, optimizer)
        more = {"kind": "lm", "optimizer": optimizer, "accumulate": 1, "mask_id": 0}
        return train_step(state, batch, jnp.float32(0.01), jax.random.key(0), apply=apply, **more)

    state, metrics = jax.jit(step)(pair.params, batch)
    loss = torch_loss(pair, tokens, labels, lengths)
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=ROUNDING)
    loss.backward()
    assert torch.nn.utils.clip_grad_norm_(pair.theirs.parameters(), 0.5) > 0.5, "something is clipped"
    before = {name: value.detach().clone() for name, value in pair.theirs.named_parameters()}
    plain = [value for name, value in pair.theirs.named_parameters() if value.ndim < 2]
    decayed = [value for name, value in pair.theirs.named_parameters() if value.ndim == 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}]
    torch.optim.AdamW(groups, lr=0.01, eps=1e-3).step()
    found, old = (exported(pair, params) for params in (state["params"], pair.params))
    for name, value in pair.theirs.named_parameters():
        moved = (value - before[name]).detach().numpy()
        assert relative(found[name] - old[name], moved) < STEPPED, f"{name} of {pair.model.config}"


def test_the_loss_of_answers_is_that_of_their_places():
    """With the places given, logits are computed for them only, and the sums are the same."""
    pair = make_pair("qwen2", 51)
    tokens, labels, lengths = labelled(pair, 3, 11)
    shapes = []

    def sums(model, batch):
        def apply(batch):
            shapes.append(model("task", batch).shape)
            return model("task", batch)

        return LOSSES["lm"](apply, batch, None, 0)

    whole = pair.here(sums, {"input_ids": tokens, "labels": labels})
    labels[:, 0] = -1  # nothing comes before it
    order = np.argsort(labels < 0, axis=1, kind="stable")[:, :8]
    assert (np.take_along_axis(labels, order, axis=1) >= 0).sum() == (labels >= 0).sum()
    answers = {"masked": np.maximum(order - 1, 0), "labels": np.take_along_axis(labels, order, axis=1)}
    some = pair.here(sums, {"input_ids": tokens} | answers)
    assert shapes == [(3, 10, pair.vocab), (3, 8, pair.vocab)]
    np.testing.assert_allclose(some, whole, rtol=1e-6)
    expected = torch_loss(pair, tokens, labels, lengths).item()
    assert float(whole[0] / whole[1]) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("variant", ["llama_shared", "qwen2", "qwen3"])
@pytest.mark.parametrize(("kind", "size"), [("pair_classification", 3), ("tagging", 5), ("span_qa", 2)])
def test_heads(variant, kind, size):
    """Rows of several lengths; the class for classification takes padding to be an id, so its texts have none of it."""
    pair = make_pair(variant, 61, kind, size)
    tokens, lengths = pair.tokens(3, 10), np.array([10, 3, 7])
    mask = np.arange(10)[None] < lengths[:, None]
    tokens = np.where(mask, tokens, 0)
    found = pair.here(lambda model, batch: model("task", batch), {"input_ids": tokens, "lengths": lengths})
    with torch.no_grad():
        expected = pair.theirs(torch.tensor(tokens), attention_mask=torch.tensor(mask).long())
    if kind == "pair_classification":
        assert relative(found, expected.logits) < ROUNDING
    elif kind == "tagging":
        assert relative(found[mask], expected.logits[torch.tensor(mask)]) < ROUNDING
    else:
        both = torch.stack([expected.start_logits, expected.end_logits], -1)
        assert relative(found[mask], both[torch.tensor(mask)]) < ROUNDING
