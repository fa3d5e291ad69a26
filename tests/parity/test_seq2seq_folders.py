"""`transformers` reads the mT5 and umT5 that are written here, and what it writes is read here."""

import pytest

torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from seq2seq_pair import make_pair, relative  # noqa: E402
from test_seq2seq_parity import KINDS, ROUNDING, given, padded  # noqa: E402

from xling_jax.convert.importing import Options, bring_in, plan_import  # noqa: E402
from xling_jax.convert.to_hf import Options as Export  # noqa: E402
from xling_jax.convert.to_hf import to_hf  # noqa: E402
from xling_jax.models.weights.folder import open_tensors  # noqa: E402
from xling_jax.train.writer import Display  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind, tmp_path):
    """Bit for bit, and with the logits it has here: the output matrix is not tied, whatever transformers 5 says."""
    pair = make_pair(kind, 301)
    pair.theirs.save_pretrained(tmp_path / "theirs")
    planned = plan_import(tmp_path / "theirs", Options(tokenizer="none", multiple=8))
    bring_in(planned, tmp_path / "here", Display())
    to_hf(tmp_path / "here", tmp_path / "back", Export(), Display())
    first, back = (
        {name: part.read() for name, part in open_tensors(tmp_path / name).items()} for name in ("theirs", "back")
    )
    assert set(back) == set(first)
    jax.tree.map(np.testing.assert_array_equal, back, first)
    again = type(pair.theirs).from_pretrained(tmp_path / "back", attn_implementation="eager").eval()
    again.config.tie_word_embeddings = False  # else umT5's logits are scaled as those of tied weights
    tokens, labels = padded(pair, 3, 8, 0), padded(pair, 3, 5, -1)
    with torch.no_grad():
        expected = again(**given(tokens, labels)).logits.numpy()
    found = pair.here(lambda model, batch: model("task", batch), {"input_ids": tokens, "labels": labels})
    assert relative(found[..., : pair.config.vocab], expected) < ROUNDING
