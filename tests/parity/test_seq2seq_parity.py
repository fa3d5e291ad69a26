"""mT5 and umT5 against those of `transformers`, from the same random weights, in float32.

A difference is measured in units of the largest magnitude of its tensor. 1e-5 is float32's rounding (6e-8) through a
few layers of sums of tens of terms.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from drawn import SEED  # noqa: E402
from seq2seq_pair import exported, make_pair, relative, torch_states  # noqa: E402

from xling_jax.experiment import Optim  # noqa: E402
from xling_jax.models.relative import bucket  # noqa: E402
from xling_jax.models.text import shifted  # noqa: E402
from xling_jax.train.losses import Z_LOSS  # noqa: E402
from xling_jax.train.optimizer import make_optimizer  # noqa: E402
from xling_jax.train.step import init_state, train_step  # noqa: E402

ROUNDING = 1e-5
STEPPED = 1e-4  # of an optimiser's step: the gradient's rounding, divided by the root of its square
KINDS = ["mt5", "umt5"]


def padded(pair, rows: int, length: int, sign: int) -> np.ndarray:
    """Returns texts of random lengths, one of them full, with `sign` after them."""
    tokens = pair.tokens(rows, length)
    lengths = np.append(pair.rng.integers(1, length + 1, rows - 1), length)
    return np.where(np.arange(length)[None] < lengths[:, None], tokens, sign).astype(np.int32)


def given(tokens, labels) -> dict:
    """Returns what their model is called with."""
    tokens = torch.tensor(tokens, dtype=torch.long)
    labels = torch.tensor(np.where(labels < 0, -100, labels), dtype=torch.long)
    return {"input_ids": tokens, "attention_mask": (tokens != 0).long(), "labels": labels}


def states_here(model, tokens, labels):
    """Returns the states of encoder and decoder, the last ones, and the logits."""
    segments = (tokens != 0).astype(jnp.int32)
    memory, encoded = model.body.encode(tokens)
    last, decoded = model.body.decode(shifted(labels, 0), memory, segments)
    return encoded, memory, decoded, last, model.body.logits(last)


def assert_states(pair, tokens, labels):
    encoded, memory, decoded, _, logits = pair.here(states_here, tokens, labels)
    call = given(tokens, labels)
    theirs = []
    expected = torch_states(pair.theirs.encoder, lambda: theirs.append(pair.theirs(**call)))
    mask = tokens != 0
    assert len(encoded) == len(expected) == pair.config.layers + 1
    for number, state in enumerate(expected):
        assert relative(encoded[number][mask], state[mask]) < ROUNDING, f"encoder's state {number}, {pair.config}"
    expected = torch_states(pair.theirs.decoder, lambda: pair.theirs(**call))
    assert len(decoded) == len(expected) == pair.config.decoder_layers + 1
    for number, state in enumerate(expected):
        assert relative(decoded[number], state) < ROUNDING, f"decoder's state {number}, {pair.config}"
    with torch.no_grad():
        normed = pair.theirs.encoder(input_ids=call["input_ids"], attention_mask=call["attention_mask"])
    assert relative(memory[mask], normed.last_hidden_state.numpy()[mask]) < ROUNDING
    assert relative(logits[..., : pair.config.vocab], theirs[0].logits.numpy()) < ROUNDING, pair.config
    return theirs[0].loss.item()


@pytest.mark.parametrize("seed", [101, 102, SEED])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_logits(kind, seed):
    pair = make_pair(kind, seed)
    assert_states(pair, padded(pair, 3, 11, 0), padded(pair, 3, 7, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_longest_distance(kind):
    """With the published 32 buckets up to 128, of texts and targets longer than that."""
    pair = make_pair(kind, 111, published=True)
    assert_states(pair, padded(pair, 2, 150, 0), padded(pair, 2, 140, -1))


@pytest.mark.parametrize("both_ways", [True, False])
def test_published_buckets(both_ways):
    """Every distance of a text of 2048, those among them that stand exactly at borders."""
    theirs = transformers.models.mt5.modeling_mt5.MT5Attention._relative_position_bucket
    offsets = np.arange(-2047, 2048)
    expected = theirs(torch.tensor(offsets), both_ways, 32, 128).numpy()
    np.testing.assert_array_equal(bucket(offsets, 32, 128, both_ways), expected)


@pytest.mark.parametrize("seed", [121, SEED])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows(kind, seed):
    """A row of several examples, and padding, has the logits that each example has alone there."""
    pair = make_pair(kind, seed)
    inputs, targets = (pair.rng.integers(1, 14, 3) for _ in range(2))
    texts, labels = ([pair.tokens(1, size)[0] for size in sizes] for sizes in (inputs, targets))

    def row(parts, sizes, sign):
        places = np.concatenate([*(np.arange(size) for size in sizes), np.zeros(2, int)])
        return np.concatenate([*parts, [sign] * 2])[None], np.repeat([1, 2, 3, 0], [*sizes, 2])[None], places[None]

    batch = dict(zip(("input_ids", "segments", "positions"), row(texts, inputs, 0), strict=True))
    batch |= dict(zip(("labels", "target_segments", "target_positions"), row(labels, targets, -1), strict=True))
    batch["index"] = np.arange(3)[None]
    found = pair.here(lambda model, batch: model("task", batch), batch)[0][:, : pair.config.vocab]
    assert np.isfinite(found).all()
    for begin, text, label in zip(np.cumsum([0, *targets[:2]]), texts, labels, strict=True):
        with torch.no_grad():
            expected = pair.theirs(**given(text[None], label[None])).logits[0].numpy()
        assert relative(found[begin : begin + len(label)], expected) < ROUNDING, (inputs, targets, pair.config)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [131, SEED])
def test_a_training_step(kind, seed):
    """The loss with z-loss, and AdamW's step on its clipped gradient."""
    pair = make_pair(kind, seed)
    tokens, labels = padded(pair, 4, 9, 0), padded(pair, 4, 6, -1)
    # A large eps: Adam divides rounding by rounding where a gradient is 0.
    optimizer = make_optimizer(Optim(weight_decay=0.1, eps=1e-3, clip=0.5))

    def apply(params, key, batch):
        return pair.model.apply({"params": params}, "task", batch)

    def step(params, batch):
        more = {"kind": "text_to_text", "optimizer": optimizer, "accumulate": 1, "mask_id": 0}
        return train_step(
            init_state(params, optimizer), batch, jnp.float32(0.01), jax.random.key(0), apply=apply, **more
        )

    state, metrics = jax.jit(step)(pair.params, {"input_ids": tokens, "labels": labels})
    output = pair.theirs(**given(tokens, labels))
    normaliser = output.logits.logsumexp(-1)[torch.tensor(labels >= 0)]
    loss = output.loss + Z_LOSS * normaliser.square().mean()
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=ROUNDING)
    pair.theirs.zero_grad()
    loss.backward()
    parameters = dict(pair.theirs.named_parameters())
    assert torch.nn.utils.clip_grad_norm_(parameters.values(), 0.5) > 0.5, "something is clipped"
    before = {name: value.detach().clone() for name, value in parameters.items()}
    still = [name for name in parameters if "norm" in name or "relative" in name]
    groups = [
        {"params": [parameters[name] for name in still], "weight_decay": 0.0},
        {"params": [value for name, value in parameters.items() if name not in still], "weight_decay": 0.1},
    ]
    torch.optim.AdamW(groups, lr=0.01, eps=1e-3).step()
    found, old = (exported(pair, params) for params in (state["params"], pair.params))
    for name, value in parameters.items():
        moved = (value - before[name]).detach().numpy()
        assert relative(found[name] - old[name], moved) < STEPPED, f"{name} of {pair.config}"
        value.data = before[name]  # the pair is used again
