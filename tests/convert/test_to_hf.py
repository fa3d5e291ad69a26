"""To Hugging Face folders: what came in goes out as it was, bit for bit; and what the stages trained goes out, too."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from hub_folders import POST, ROWS, kinds_of, labels_for

from xling_jax.convert.to_hf import Options, to_hf
from xling_jax.errors import CheckpointError, ConfigError, Interrupted
from xling_jax.models.card import NAME, as_text, read_card
from xling_jax.models.weights.folder import INDEX, open_tensors
from xling_jax.train.checkpoint import Checkpoints
from xling_jax.train.writer import Display


def exported(folder, out, stop_asked=lambda: False, **options):
    to_hf(folder, out, Options(**options), Display(), stop_asked)
    return {name: stored.read() for name, stored in open_tensors(out).items()}


def assert_bits(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), f"{name} changed"


HEADS = [(name, kind) for name, row in ROWS.items() for kind in kinds_of(row)]
# Every head of two families, and of each other variant its language model's.
QUICK = {pair for pair in HEADS if pair[0] in ("xlmr", "llama") or pair[1] in ("mlm", "lm", "text_to_text")}


@pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in HEADS]
)
def test_what_came_in_goes_out_bit_for_bit(publish, convert, tmp_path, name, kind):
    folder, tensors = publish(row=ROWS[name], kind=kind, labels=labels_for(kind))
    found = exported(convert(folder), tmp_path / "back")
    assert_bits(found, tensors)
    before, after = (json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "back"))
    assert {name: after.get(name) for name in before} == before
    assert after["torch_dtype"] == "float32"


@pytest.mark.parametrize("kept", ["bfloat16", "float32"])
def test_bfloat16_goes_out_bit_for_bit(publish, convert, tmp_path, kept):
    """As bfloat16 or as float32 in between: every number of the narrow one is a number of the wide one."""
    folder, tensors = publish(kind="mlm", dtype="bfloat16")
    found = exported(convert(folder, dtype=kept), tmp_path / "back", dtype="bfloat16")
    assert_bits(found, tensors)


def test_a_folder_of_several_files_has_an_index(publish, convert, tmp_path):
    folder, tensors = publish(shards=2)
    limit = max(array.nbytes for array in tensors.values()) + 5000
    found = exported(convert(folder), tmp_path / "back", shard_size=limit / 1e9)
    assert_bits(found, tensors)
    files = sorted((tmp_path / "back").glob("*.safetensors"))
    index = json.loads((tmp_path / "back" / INDEX).read_text())
    assert len(files) > 2 and {path.name for path in files} == set(index["weight_map"].values())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in tensors.values())
    assert all(path.stat().st_size < limit + 10_000 for path in files), "the header aside"


def test_the_vocabulary_goes_out_as_it_came(publish, convert, vocabulary, tmp_path):
    folder, _ = publish(row=dataclasses.replace(POST, vocab=80))
    shutil.copy(vocabulary / "sentencepiece.bpe.model", folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 28}')
    out = convert(folder)
    exported(out, tmp_path / "back")
    for name in ("sentencepiece.bpe.model", "tokenizer_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    (out / "tokenizer" / "sentencepiece.bpe.model").unlink()
    shutil.copy(vocabulary / "sentencepiece.bpe.model", tmp_path / "kept.model")
    (out / "tokenizer" / "tokenizer_config.json").unlink()
    (out / "tokenizer").rmdir()
    exported(out, tmp_path / "named", tokenizer=str(tmp_path / "kept.model"))
    assert (
        json.loads((tmp_path / "named" / "tokenizer_config.json").read_text())["tokenizer_class"]
        == "XLMRobertaTokenizer"
    )


def test_adapters_are_merged(publish, convert, tmp_path):
    """A checkpoint with low-rank adapters beside some kernels goes out as one without: W + scale A B."""
    folder, tensors = publish(row=ROWS["llama"])
    out = convert(folder, multiple=1)
    checkpoints = Checkpoints(out / "checkpoints", background=False)
    shapes = checkpoints.meta(0)["params"]["shapes"]
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = {path: jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=here) for path, (shape, dtype) in shapes.items()}
    params = flatten_dict(checkpoints.restore_params(0, unflatten_dict(wanted, sep="/")), sep="/")
    checkpoints.close()
    draw = np.random.default_rng(1).standard_normal
    a, b = draw((3, 24, 2)).astype(np.float32), draw((3, 2, 4, 10)).astype(np.float32)
    beside = {"lora_a": a, "lora_b": b, "lora_scale": np.full(3, 0.5, np.float32)}
    params |= {f"body/layers/query/{name}": jnp.asarray(array) for name, array in beside.items()}
    trained = tmp_path / "trained"
    trained.mkdir()
    shutil.copy(out / NAME, trained)
    writing = Checkpoints(trained / "checkpoints", background=False)
    writing.save(3, {"params": unflatten_dict(params, sep="/"), "step": jnp.int32(3)})
    writing.close()
    found = exported(trained, tmp_path / "back")
    for layer in range(3):
        name = f"layers.{layer}.self_attn.q_proj.weight"
        added = (a[layer] @ b[layer].reshape(2, 40)).T * 0.5
        np.testing.assert_allclose(
            found.pop(name), tensors.pop(name) + added, rtol=0, atol=1e-5
        )  # sums of two products
    assert_bits(found, tensors)


def test_one_head_of_several_is_named(publish, convert, tmp_path):
    folder, tensors = publish(kind="mlm")
    out = convert(folder)
    card = read_card(out)
    two = dataclasses.replace(card, heads=(*card.heads, dataclasses.replace(card.heads[0], name="other")))
    (out / NAME).write_text(as_text(two))
    with pytest.raises(CheckpointError, match=r"has 2 heads: mlm, other.\nAllowed: one"):
        exported(out, tmp_path / "back")
    with pytest.raises(ConfigError, match=r"Unknown head 'mlm2' in '--head'.\nDid you mean: mlm"):
        exported(out, tmp_path / "back", head="mlm2")
    assert_bits(exported(out, tmp_path / "back", head="mlm"), tensors)
    body = {name.removeprefix("roberta."): array for name, array in tensors.items() if name.startswith("roberta.")}
    assert_bits(exported(out, tmp_path / "body", head="none"), body)
    assert json.loads((tmp_path / "body" / "config.json").read_text())["architectures"] == ["XLMRobertaModel"]


def test_leaves_that_the_model_has_not_are_refused(publish, convert, tmp_path):
    folder, _ = publish(row=ROWS["qwen3"])
    out = convert(folder)
    card = read_card(out)
    (out / NAME).write_text(as_text(dataclasses.replace(card, model=dataclasses.replace(card.model, qk_norm=False))))
    with pytest.raises(CheckpointError, match=r"differ in 2 leaves: body/layers/key_norm/scale"):
        exported(out, tmp_path / "back")
    assert not list(tmp_path.glob("back*"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda out: (out / NAME).unlink(), "has no model.json, so it is no checkpoint"),
        (lambda out: (out / NAME).write_text("{}"), "model.json is damaged, or was written by another version"),
        (lambda out: shutil.rmtree(out / "checkpoints" / "0"), "has no checkpoint"),
        (lambda out: (out / "checkpoints" / "0" / "meta" / "metadata").unlink(), "is damaged .no fingerprint"),
        (lambda out: shutil.rmtree(out / "checkpoints" / "0" / "params" / "ocdbt.process_0"), "step 0 is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(publish, convert, tmp_path, spoil, words):
    folder, _ = publish(row=dataclasses.replace(POST, vocab=3001))
    out = convert(folder)
    spoil(out)
    with pytest.raises(CheckpointError, match=words):
        exported(out, tmp_path / "back")
    assert not list(tmp_path.glob("back*"))


def test_an_export_that_is_stopped_leaves_nothing(publish, convert, tmp_path):
    folder, _ = publish()
    out = convert(folder)
    asked = iter([False] * 5)
    with pytest.raises(Interrupted, match="Nothing of it is left"):
        exported(out, tmp_path / "back", stop_asked=lambda: next(asked, True))
    assert not list(tmp_path.glob("back*"))


def test_nothing_is_overwritten(publish, convert, tmp_path):
    folder, _ = publish()
    with pytest.raises(CheckpointError, match=r"is there.\nAllowed: a folder that does not exist yet"):
        exported(convert(folder), folder)
