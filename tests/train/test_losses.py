"""Losses against numbers worked by hand; masking by its frequencies."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.tables.kinds import KINDS
from xling_jax.train import losses
from xling_jax.train.losses import LOSSES, cross_entropy

MASK = 99
mask_tokens = jax.jit(losses.mask_tokens, static_argnums=2)


def test_cross_entropy_by_hand():
    # Odds 1:3, 1:1 and 8:2. Losses: -log 3/4, -log 1/2, not scored.
    logits = jnp.log(jnp.array([[1.0, 3.0], [2.0, 2.0], [8.0, 2.0]]))
    loss, weight, right = cross_entropy(logits, jnp.array([1, 0, -1]))
    assert float(loss) == pytest.approx(math.log(4 / 3) + math.log(2))
    assert (float(weight), float(right)) == (2, 2), "the first among equals is right"
    nothing = cross_entropy(logits, jnp.array([-1, -1, -1]))
    assert [float(part) for part in nothing] == [0, 0, 0]


def test_what_is_not_scored_has_no_gradient():
    gradient = jax.grad(lambda x: cross_entropy(x, jnp.array([1, -1]))[0])(jnp.zeros((2, 2)))
    np.testing.assert_allclose(gradient, [[0.5, -0.5], [0, 0]], atol=1e-6)


def test_losses_are_float32():
    parts = cross_entropy(jnp.ones((2, 3), jnp.bfloat16), jnp.array([0, 1]))
    assert {part.dtype for part in parts} == {jnp.dtype("float32")}


def test_every_trained_kind_has_a_loss():
    kinds = {kind.name for kind in KINDS.values() if kind.trained}
    assert set(LOSSES) == kinds | {"lm", "text_to_text"}, "how every kind is asked of decoders and encoder-decoders"


@pytest.mark.parametrize("kind", ["pair_classification", "multiple_choice"])
def test_label_loss(kind):
    logits = jnp.log(jnp.array([[1.0, 3.0], [3.0, 1.0]]))
    loss, weight, right = LOSSES[kind](lambda batch: logits, {"label": jnp.array([1, 1])}, None, MASK)
    assert float(loss) == pytest.approx(math.log(4 / 3) + math.log(4))
    assert (float(weight), float(right)) == (2, 1)


def test_each_query_picks_its_candidate():
    logits = jnp.log(jnp.array([[3.0, 1.0, 1.0], [2.0, 1.0, 2.0], [1.0, 1.0, 1.0]]))
    tokens = jnp.array([[[0, 5], [0, 6]], [[0, 7], [0, 8]], [[1, 1], [1, 1]]])  # the third is padding
    loss, weight, right = LOSSES["dual_encoder"](lambda batch: logits, {"input_ids": tokens}, None, MASK)
    assert float(loss) == pytest.approx(math.log(5 / 3) + math.log(5))
    assert (float(weight), float(right)) == (2, 1)


def next_token(batch):
    """Returns (loss, weight, right) where token t + 1 is three times as likely as another one after token t."""
    seen = {}

    def apply(batch):
        seen.update(batch)
        before_BxM = jnp.take_along_axis(batch["input_ids"], batch["masked"], axis=1)
        return jnp.log(1.0 + 2.0 * jax.nn.one_hot(before_BxM + 1, 8))

    return [float(part) for part in LOSSES["lm"](apply, batch, None, MASK)], seen


def test_next_tokens_by_hand():
    """After 2 comes 3, expected with odds 3 of 10, then 4, then 6, which is expected with odds 1 of 10."""
    tokens = jnp.array([[2, 3, 4, 6, 7], [5, 6, 0, 0, 0]])
    labels = jnp.array([[2, -1, 4, 6, -1], [5, 6, -1, -1, -1]])
    (loss, weight, right), seen = next_token({"input_ids": tokens, "labels": labels})
    assert loss == pytest.approx(2 * math.log(10 / 3) + math.log(10), rel=1e-5)
    assert (weight, right) == (3, 2), "the first token of a row has none before it"
    assert seen["masked"].shape == (2, 4)
    places = {"masked": jnp.array([[1, 2], [0, 0]]), "labels": jnp.array([[4, 6], [6, -1]])}
    given, seen = next_token({"input_ids": tokens} | places)
    assert given == [pytest.approx(loss), weight, right]
    assert seen["masked"].shape == (2, 2), "as many logits as places are given"


def test_a_packed_text_does_not_predict_the_next_one():
    tokens = jnp.array([[2, 3, 4, 5]])
    packed = {"input_ids": tokens, "labels": tokens, "positions": jnp.array([[0, 1, 0, 1]])}
    (loss, weight, _), _ = next_token(packed)
    assert (loss, weight) == (pytest.approx(2 * math.log(10 / 3), rel=1e-5), 2)


def test_tagging_loss_counts_words_not_sentences():
    logits = jnp.log(jnp.array([[[1.0, 3.0], [3.0, 1.0]], [[1.0, 3.0], [1.0, 1.0]]]))
    batch = {"labels": jnp.array([[1, 0], [0, -1]])}
    loss, weight, right = LOSSES["tagging"](lambda batch: logits, batch, None, MASK)
    assert float(loss) == pytest.approx(2 * math.log(4 / 3) + math.log(4))
    assert (float(weight), float(right)) == (3, 2)


def test_no_answer_is_the_first_token_where_a_task_has_such_questions():
    logits = jnp.array([[[1.0, 0.5], [3.0, 2.0], [2.0, 4.0]]])
    spans = jnp.array([[[0, 0], [-1, -1], [2, 5]]])
    batch = {"spans": spans, "start": jnp.array([0]), "end": jnp.array([0])}
    loss, weight, right = LOSSES["span_qa"](lambda batch: logits, batch, None, MASK)
    assert float(loss) == pytest.approx((math.log1p(math.exp(1.0)) + math.log1p(math.exp(3.5))) / 2, rel=1e-5)
    assert (float(weight), float(right)) == (1.0, 0.0)


def test_span_loss_by_hand():
    # One question token, then three of context. Outside the context no logit counts, however large.
    start = jnp.log(jnp.array([[9e9, 6.0, 3.0, 1.0], [9e9, 6.0, 3.0, 1.0], [9e9, 6.0, 3.0, 1.0]]))
    end = jnp.log(jnp.array([[9e9, 1.0, 8.0, 1.0], [9e9, 1.0, 8.0, 1.0], [9e9, 1.0, 8.0, 1.0]]))
    spans = jnp.array([[[-1, -1], [0, 2], [2, 5], [5, 9]]] * 3)
    batch = {"spans": spans, "start": jnp.array([1, 2, -1]), "end": jnp.array([2, 2, -1])}
    loss, weight, right = LOSSES["span_qa"](lambda batch: jnp.stack([start, end], -1), batch, None, MASK)
    first = (-math.log(6 / 10) - math.log(8 / 10)) / 2
    second = (-math.log(3 / 10) - math.log(8 / 10)) / 2
    assert float(loss) == pytest.approx(first + second)
    assert (float(weight), float(right)) == (2, 1), "a window without the answer is not scored"


def test_text_loss_by_hand():
    """Odds 1:3 and 1:1 are scored, 8:2 is padding; the normalisers are log 4 and log 2."""
    logits = jnp.log(jnp.array([[[1.0, 3.0], [8.0, 2.0]], [[1.0, 1.0], [8.0, 2.0]]]))
    batch = {"labels": jnp.array([[1, -1], [1, -1]])}
    plain, weight, right = losses.text_loss(lambda batch: logits, batch, None, MASK, z_loss=0.0)
    assert float(plain) == pytest.approx(math.log(4 / 3) + math.log(2))
    assert (float(weight), float(right)) == (2, 1), "tokens, not texts; of two alike the first is the answer"
    loss, *_ = LOSSES["text_to_text"](lambda batch: logits, batch, None, MASK)
    assert float(loss - plain) == pytest.approx(1e-4 * (math.log(4) ** 2 + math.log(2) ** 2), rel=1e-2)


def test_z_loss_pulls_on_what_the_softmax_does_not_see():
    def loss(shift):
        return losses.text_loss(lambda batch: jnp.ones((1, 1, 3)) + shift, {"labels": jnp.array([[1]])}, None, MASK)[0]

    assert float(jax.grad(loss)(0.0)) == pytest.approx(2e-4 * (1 + math.log(3)), rel=1e-3)


def keys(*numbers):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.array(numbers))


def text(ordinary: int, padding: int = 0) -> list[int]:
    """<s>, ordinary tokens, </s>, padding."""
    return [0, *range(10, 10 + ordinary), 2, *[1] * padding]


@pytest.mark.parametrize(
    ("ordinary", "wanted"),
    [(0, 0), (1, 1), (2, 1), (9, 1), (11, 2), (17, 3), (20, 3), (24, 4), (40, 6)],  # 15%, rounded, at least one
)
def test_how_many_are_predicted(ordinary, wanted):
    for padding in (0, 7):
        tokens, positions, labels = mask_tokens(jnp.array([text(ordinary, padding)]), keys(3), MASK)
        assert int((labels >= 0).sum()) == wanted
        assert len(np.unique(positions)) == positions.shape[1], "a position twice would be scored twice"
        assert positions.shape[1] == math.ceil(0.15 * (ordinary + 2 + padding))
        assert int((tokens != jnp.array([text(ordinary, padding)])).sum()) <= wanted


def test_labels_are_the_tokens_that_stood_there():
    original = jnp.array([text(40), text(40)])
    tokens, positions, labels = mask_tokens(original, keys(0, 1), MASK)
    there = jnp.take_along_axis(original, positions, axis=1)
    assert bool(((labels == there) | (labels == -1)).all())
    untouched = jnp.ones_like(original, bool).at[jnp.arange(2)[:, None], positions].set(False)
    assert bool((jnp.where(untouched, tokens - original, 0) == 0).all())


def test_special_tokens_are_never_masked():
    rows = jnp.tile(jnp.array([[0, 10, 3, 11, 2, 2, 12, 13, 2, 1, 1]]), (500, 1))
    tokens, _, labels = mask_tokens(rows, keys(*range(500)), MASK)
    special = rows < 4
    assert bool((jnp.where(special, tokens - rows, 0) == 0).all())
    assert set(np.unique(labels)) == {-1, 10, 11, 12, 13}


def test_what_becomes_of_a_token_to_predict():
    rows = jnp.tile(jnp.array([text(20)]), (4000, 1))
    tokens, positions, labels = mask_tokens(rows, keys(*range(4000)), MASK)
    now = np.asarray(jnp.take_along_axis(tokens, positions, axis=1))[np.asarray(labels) >= 0]
    before = np.asarray(labels)[np.asarray(labels) >= 0]
    assert len(now) == 12_000
    masked, same = (now == MASK).mean(), (now == before).mean()
    # Standard deviations of a share of 12000 draws: 0.0037 at 80%, 0.0027 at 10%; four of them. One random
    # token in 95 is the one that stood there.
    assert abs(masked - 0.8) < 0.015
    assert abs(same - 0.1 - 0.1 / 95) < 0.011
    random = now[(now != MASK) & (now != before)]
    assert random.min() >= 4, "a special token was put into a text"
    assert random.max() < MASK
    assert len(np.unique(random)) > 80, "of 95 ordinary tokens; about 1200 draws"
    where = np.bincount(np.asarray(positions)[np.asarray(labels) >= 0], minlength=22)[1:21]
    # 600 draws a place: a standard deviation of 23.
    assert abs(where - 600).max() < 100, "every place is drawn as often"


def test_masks_belong_to_the_key():
    rows = jnp.array([text(20), text(20), text(11, 9)])
    here = mask_tokens(rows, keys(4, 5, 6), MASK)
    there = mask_tokens(rows[::-1], keys(6, 5, 4), MASK)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b[::-1])
    assert (here[1][0] != here[1][1]).any(), "another key masks other places"
    alone = mask_tokens(rows[1:2], keys(5), MASK)
    np.testing.assert_array_equal(alone[0][0], here[0][1])


def test_masks_do_not_depend_on_the_padding():
    short, long = (mask_tokens(jnp.array([text(20, padding)]), keys(4), MASK)[0] for padding in (0, 30))
    np.testing.assert_array_equal(long[:, :22], short)


def test_the_masked_text_is_what_the_model_sees():
    seen = {}

    def apply(batch):
        seen.update(batch)
        return jnp.zeros((*batch["masked"].shape, MASK + 1))

    batch = {"input_ids": jnp.array([text(20), text(20)]), "index": jnp.array([3, 8])}
    loss, weight, _ = LOSSES["mlm"](apply, batch, jax.random.key(2), MASK)
    assert float(loss) == pytest.approx(6 * math.log(100), rel=1e-5)
    assert float(weight) == 6
    assert (seen["input_ids"] == MASK).any()
    alone = LOSSES["mlm"](apply, {name: rows[1:] for name, rows in batch.items()}, jax.random.key(2), MASK)
    assert float(alone[1]) == 3


def test_right_is_the_first_of_the_largest():
    """Of logits with many equals, and of some that are no numbers."""
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(0, 3, (400, 5)).astype(np.float32), rng.integers(-1, 5, 400)
    wanted = ((logits.argmax(axis=1) == labels) & (labels >= 0)).sum()
    assert 0 < wanted < 200 and cross_entropy(jnp.asarray(logits), jnp.asarray(labels))[2] == wanted
    assert cross_entropy(jnp.array([[0.0, np.nan, 1.0]]), jnp.array([2]))[2] == 0
