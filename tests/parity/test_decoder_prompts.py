"""What decoders write after prompts, and how they rank answers, against `transformers` from the same random weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")

import jax  # noqa: E402
from decoders import VARIANTS, make_pair  # noqa: E402
from drawn import SEED  # noqa: E402

from xling_jax.models.prompts import generate, rank  # noqa: E402

LIMIT, EOS, PAD = 12, (3, 7), 1  # a beam search there fills up with the end of text where the id of padding is 0


def drawn_prompts(pair, rows):
    """Returns (prompts with junk after them, lengths)."""
    lengths = pair.rng.integers(1, 17, rows)
    return pair.tokens(rows, 16), lengths


def theirs_writes(pair, prompt, lengths, **more):
    """Returns the texts that are written there: of prompts of several lengths, padded on the left."""
    left, width = np.full(prompt.shape, PAD), prompt.shape[1]
    for row, length in enumerate(lengths):
        left[row, width - length :] = prompt[row, :length]
    mask = np.arange(width)[None] >= width - lengths[:, None]
    left, mask = left[:, width - lengths.max() :], mask[:, width - lengths.max() :]
    how = {"max_new_tokens": LIMIT, "eos_token_id": list(EOS), "pad_token_id": PAD, "do_sample": False}
    with torch.no_grad():
        found = pair.theirs.generate(torch.tensor(left), attention_mask=torch.tensor(mask).long(), **how | more)
    written = found[:, left.shape[1] :].numpy()
    return np.pad(written, ((0, 0), (0, LIMIT - written.shape[1])), constant_values=PAD)


def writes(pair, prompt, lengths, **more):
    how = {"limit": LIMIT, "eos": EOS, "pad": PAD} | more
    run = jax.jit(lambda params, prompt, lengths: generate(pair.model, params, "task", prompt, lengths, **how))
    return np.asarray(run(pair.params, prompt, lengths))


@pytest.mark.parametrize("seed", [71, SEED])
@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_texts_token_by_token(variant, seed):
    """Texts run beyond the 24 positions of the model.

    There, a dynamic scaling is that of the longest row of a batch, so each of its prompts is asked alone.
    """
    pair = make_pair(variant, seed)
    prompt, lengths = drawn_prompts(pair, 4)
    found = writes(pair, prompt, lengths)
    if variant == "dynamic":
        rows = [(prompt[at : at + 1], lengths[at : at + 1]) for at in range(4)]
        expected = np.concatenate([theirs_writes(pair, *row) for row in rows])
    else:
        expected = theirs_writes(pair, prompt, lengths)
    np.testing.assert_array_equal(found, expected, err_msg=str(pair.model.config))


@pytest.mark.parametrize("variant", ["llama_shared", "qwen2_tied", "qwen3"])
def test_beam_search(variant):
    pair = make_pair(variant, 81)
    prompt, lengths = drawn_prompts(pair, 3)
    for beams, penalty in ((3, 1.0), (4, 0.0)):
        found = writes(pair, prompt, lengths, beams=beams, penalty=penalty)
        expected = theirs_writes(pair, prompt, lengths, num_beams=beams, length_penalty=penalty, early_stopping=False)
        np.testing.assert_array_equal(found, expected, err_msg=str(pair.model.config))


@pytest.mark.parametrize("variant", ["llama", "llama_biased", "qwen2", "qwen3", "yarn", "llama3"])
def test_answers_are_ranked(variant):
    """Against the summed log-probabilities of each prompt with each answer, computed whole."""
    pair = make_pair(variant, 91)
    prompt, lengths = drawn_prompts(pair, 3)
    sizes = pair.rng.integers(1, 5, (3, 4))
    answers = pair.rng.integers(0, pair.vocab, (3, 4, 4))
    answers = np.where(np.arange(4)[None, None] < sizes[..., None], answers, -1)
    run = jax.jit(lambda params, *given: rank(pair.model, params, "task", *given[:2], answers_BxCxT=given[2]))
    sums, counts = run(pair.params, prompt, lengths, answers)
    np.testing.assert_array_equal(counts, sizes)
    for row, length in enumerate(lengths):
        for choice, size in enumerate(sizes[row]):
            answer = answers[row, choice, :size]
            text = torch.tensor(np.concatenate([prompt[row, :length], answer]))[None]
            with torch.no_grad():
                logs = pair.theirs(text).logits[0].log_softmax(-1)
            expected = sum(float(logs[length - 1 + at, token]) for at, token in enumerate(answer))
            # float32: up to four log-probabilities of order 10, each of them of sums of tens of terms.
            assert float(sums[row, choice]) == pytest.approx(expected, rel=1e-5)
