"""What mT5 and umT5 write, and how they rank answers, against `transformers` from the same random weights."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from drawn import SEED  # noqa: E402
from seq2seq_pair import make_pair, relative  # noqa: E402
from test_seq2seq_parity import KINDS, given, padded  # noqa: E402

from xling_jax.models.decoding import beam  # noqa: E402
from xling_jax.models.seq2seq import empty_cache  # noqa: E402
from xling_jax.models.text import TextToText, generate  # noqa: E402

LIMIT, PAD, EOS = 12, 0, 1
ROUNDING = 1e-5  # of the largest: a log-probability near 0 is a difference of numbers that are not


def theirs_writes(pair, tokens, **how):
    """Returns the texts NxT without the token they begin from, and their scores; padding after the end.

    Where padding is token 0, a beam search there fills up with the end of text instead. Without a cache, because
    transformers 5 makes the decoder's with as many layers as the encoder has.
    """
    tokens = torch.tensor(tokens, dtype=torch.long)
    how |= {"max_new_tokens": LIMIT, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    how["use_cache"] = False
    with torch.no_grad():
        found = pair.theirs.generate(tokens, attention_mask=(tokens != PAD).long(), **how)
    texts = found.sequences[:, 1:].numpy()
    texts = np.pad(texts, ((0, 0), (0, LIMIT - texts.shape[1])), constant_values=PAD)
    ended = np.cumsum(texts == EOS, axis=1) - (texts == EOS) > 0
    return np.where(ended, PAD, texts), getattr(found, "sequences_scores", None)


@pytest.mark.parametrize("seed", [201, 202, SEED])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_token_by_token(kind, seed):
    pair = make_pair(kind, seed)
    tokens = padded(pair, 6, 9, PAD)
    found = jax.jit(functools.partial(generate, pair.config, limit=LIMIT))(pair.params, tokens)
    expected, _ = theirs_writes(pair, tokens, num_beams=1)
    np.testing.assert_array_equal(found, expected, err_msg=str(pair.config))


def searched(pair, tokens, beams, penalty):
    """Returns all texts BxWxT and scores BxW of a beam search here."""
    apply = functools.partial(TextToText(pair.config).apply, {"params": pair.params})

    @jax.jit
    def search(tokens):
        memory = apply(tokens, method="remembered")

        def step(cache, tokens_N, positions_N):
            return apply(tokens_N, positions_N, cache, *memory, method="step")

        start, how = jnp.zeros(len(tokens), jnp.int32), {"limit": LIMIT, "eos": EOS, "pad": PAD}
        cache = empty_cache(pair.config, len(tokens), LIMIT)
        return beam(step, cache, start, beams=beams, penalty=penalty, **how)

    return jax.device_get(search(tokens))


@pytest.mark.parametrize(("seed", "beams", "penalty"), [(211, 2, 1.0), (212, 3, 0.0), (213, 4, 0.6), (214, 3, 2.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_beams(kind, seed, beams, penalty):
    """All texts that a search keeps, with their scores."""
    pair = make_pair(kind, seed)
    tokens = padded(pair, 5, 8, PAD)
    texts, scores = searched(pair, tokens, beams, penalty)
    how = {"num_beams": beams, "num_return_sequences": beams, "length_penalty": penalty, "early_stopping": False}
    expected, expected_scores = theirs_writes(pair, tokens, **how)
    assert relative(scores.reshape(-1), expected_scores) < ROUNDING, pair.config
    np.testing.assert_array_equal(texts.reshape(-1, LIMIT), expected, err_msg=str(pair.config))


@pytest.mark.parametrize("seed", [221, SEED])
@pytest.mark.parametrize("kind", KINDS)
def test_ranked_answers(kind, seed):
    """Three answers for each text, of lengths of their own; and one text has only two."""
    pair = make_pair(kind, seed)
    tokens = padded(pair, 4, 9, PAD)
    answers = np.stack([padded(pair, 4, 6, -1) for _ in range(3)], axis=1)
    answers[2, 1] = -1
    sums, counts = pair.here(lambda model, *texts: model.rank(*texts), tokens, answers)
    np.testing.assert_array_equal(counts, (answers >= 0).sum(-1))
    assert sums[2, 1] < -1e8, "an answer that is not there"
    expected, there = np.zeros_like(sums), counts > 0
    for row, number in np.argwhere(there):
        label = answers[row, number][answers[row, number] >= 0]
        text = tokens[row][tokens[row] != PAD]
        with torch.no_grad():
            logs = pair.theirs(**given(text[None], label[None])).logits[0].log_softmax(-1)
        expected[row, number] = logs[torch.arange(len(label)), torch.tensor(label, dtype=torch.long)].sum()
    assert relative(sums[there], expected[there]) < ROUNDING, pair.config
