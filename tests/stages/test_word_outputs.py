"""What is compiled to rank and to write: scores of protocols, and what windows are compared by. The model is a sum."""

import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Target
from xling_jax.models.decoding import NEVER
from xling_jax.protocol import Protocol
from xling_jax.stages import words
from xling_jax.stages.words import Words, make_output_fn

BLANK = np.array([3, 4], np.int32)
ANSWERS = jnp.asarray([[[2, 1], [5, -1]], [[7, -1], [-1, -1]]])  # the second example has one
PROMPTS = {"input_ids": jnp.asarray([[1, 2, 3], [4, 5, 0]]), "lengths": jnp.asarray([3, 2])}


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """The log-probability of an answer is minus (what its prompt sums to) times (what its tokens do)."""

    def rank(params, batch, answers):
        there = answers >= 0
        tokens = there.sum(axis=-1)
        prompt = (batch["input_ids"] * (jnp.arange(batch["input_ids"].shape[1])[None] < batch["lengths"][:, None])).sum(
            1
        )
        sums = -(prompt[:, None] * jnp.where(there, answers, 0).sum(axis=-1)).astype(jnp.float32)
        return jnp.where(tokens > 0, sums, NEVER), tokens

    monkeypatch.setattr(words, "make_rank_fn", lambda model, head: rank)
    written = jnp.asarray([[6, 1, -1], [2, 2, 1]])
    monkeypatch.setattr(words, "make_write_fn", lambda *given, **how: lambda params, batch: written)


def output(task, **protocol):
    made = Words(eos=1, pad=0, blank=lambda task, form: {"xnli mt5": BLANK, "xcopa mt5": BLANK}[f"{task} {form}"])
    batch = PROMPTS | {
        "answers": ANSWERS,
        "labels": jnp.zeros((2, 3), jnp.int32),
        "words": jnp.asarray([[0, 2], [0, 1]]),
    }
    target = Target(task=task, protocol=Protocol(**protocol), prompts="mt5")
    return make_output_fn(None, "lm", made, target)({}, batch)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("sum", [[-18, -30], [-63]]),  # prompts of 6 and 9, answers of 3, 5 and 7
        ("mean", [[-9, -30], [-63]]),
        ("calibrated", [[-18 + 21, -30 + 35], [-63 + 49]]),  # behind a prompt of 7
    ],
)
def test_scores_of_ranked_answers(score, expected):
    logits = output("xcopa", answer="rank", score=score)["logits"]
    for row, wanted in zip(logits.tolist(), expected, strict=True):
        assert row[: len(wanted)] == wanted
        assert all(value <= NEVER / 10 for value in row[len(wanted) :]), "an answer that is not there is never the best"


def test_calibration_changes_what_is_best():
    assert output("xnli", answer="rank", score="sum")["logits"][0].argmax() == 0
    assert output("xnli", answer="rank", score="calibrated")["logits"][0].argmax() == 1


def test_what_is_written_and_what_it_is_of():
    spans = output("squad", answer="generate")
    assert spans["text"].tolist() == [[6, 1, -1], [2, 2, 1]]
    assert spans["score"].tolist() == [-6 * 7, -9 * 5], "as likely as ranking finds it"
    tags = output("panx", answer="generate")
    assert tags["words"].tolist() == [[0, 2], [0, 1]] and "score" not in tags, "no windows, nothing to compare"
