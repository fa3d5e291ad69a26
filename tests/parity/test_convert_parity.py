"""`transformers` reads what we write, and computes what we compute; what it wrote comes back to it bit for bit."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `parity` is not installed: no PyTorch")
transformers = pytest.importorskip("transformers", reason="the extra `parity` is not installed: no transformers")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from drawn import SEED  # noqa: E402

from xling_jax.convert.importing import Options, boxed_shapes, bring_in, plan_import  # noqa: E402
from xling_jax.convert.to_hf import Options as Export  # noqa: E402
from xling_jax.convert.to_hf import to_hf  # noqa: E402
from xling_jax.models.build import build_config, build_model  # noqa: E402
from xling_jax.models.card import read_card  # noqa: E402
from xling_jax.models.weights.families import FAMILIES, LABELLED  # noqa: E402
from xling_jax.models.weights.folder import open_tensors  # noqa: E402
from xling_jax.train.checkpoint import CHECKPOINTS, Checkpoints  # noqa: E402
from xling_jax.train.writer import Display  # noqa: E402

SEEDS = (0, SEED)
PAD = 1
# model_type -> fields of its tiny config beside the sizes that are drawn
_T5 = {
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "tie_word_embeddings": False,
}
_XLMR = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
_LLAMA = {"tie_word_embeddings": False, "pad_token_id": None}
TYPES = {
    "xlm-roberta": _XLMR,
    "xlm-roberta-xl": _XLMR,
    "mt5": _T5,
    "umt5": _T5,
    "llama": _LLAMA,
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": _LLAMA,
}
CLASSES = [
    (model_type, name, kind)
    for family in FAMILIES.values()
    for model_type, classes in family.architectures.items()
    if model_type in TYPES
    for name, kind in classes.items()
    if hasattr(transformers, name)
]


def drawn(model_type: str, seed: int) -> dict:
    """Returns the fields of a config of random tiny sizes."""
    draw = np.random.default_rng(seed)
    groups, each, width = int(draw.integers(1, 4)), int(draw.integers(1, 3)), 2 * int(draw.integers(2, 6))
    layers, mlp, vocab = (int(draw.integers(*bounds)) for bounds in ((1, 7), (5, 40), (40, 90)))
    heads, length = groups * each, int(draw.integers(18, 40))
    if TYPES[model_type] is _T5:
        sizes = {"num_layers": layers, "num_decoder_layers": int(draw.integers(1, 7)), "d_model": 3 * width}
        sizes |= {"d_kv": width, "num_heads": heads, "d_ff": mlp}
    else:
        sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "hidden_size": heads * width}
        sizes |= {"intermediate_size": mlp, "max_position_embeddings": length}
        sizes |= {} if TYPES[model_type] is _XLMR else {"num_key_value_heads": groups, "head_dim": width}
    return {"vocab_size": vocab, "num_labels": int(draw.integers(2, 6)), **sizes, **TYPES[model_type]}


def published(folder, model_type, name, kind, seed, *, dtype="float32", shard="5GB"):
    """Saves a random model as `transformers` does, and returns it."""
    torch.manual_seed(seed)
    fields = drawn(model_type, seed)
    if kind not in LABELLED:
        del fields["num_labels"]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    model = getattr(transformers, name)(config).eval()
    if TYPES[model_type] is _T5:  # transformers 5 ties it when it makes a model, whatever the config says
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        config.tie_word_embeddings = False
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases, too, so that none can be taken for another
            parameter.copy_(torch.randn_like(parameter) * 0.2 + parameter)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return model


def tensors_of(folder) -> dict[str, np.ndarray]:
    return {name: stored.read() for name, stored in open_tensors(folder).items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("row", CLASSES, ids=lambda row: row[1])
def test_there_and_back_is_bit_equal_and_loads(tmp_path, row, dtype, seed):
    _, name, _ = row
    model = published(tmp_path / "there", *row, seed, dtype=dtype, shard="20KB")
    bring_in(plan_import(tmp_path / "there", Options(dtype=dtype)), tmp_path / "ours", Display())
    to_hf(tmp_path / "ours", tmp_path / "back", Export(shard_size=3e-5), Display())
    before, after = tensors_of(tmp_path / "there"), tensors_of(tmp_path / "back")
    unused = set(read_card(tmp_path / "ours").origin["unused"])
    assert set(after) == set(before) - unused
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)
    said = [json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("there", "back")]
    assert said[0]["architectures"] == said[1]["architectures"] == [name]
    loaded, info = getattr(transformers, name).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not info["mismatched_keys"] and not info["unexpected_keys"]
    assert set(info["missing_keys"]) <= unused, "nothing is made anew that was there"
    assert loaded.config.id2label == model.config.id2label
    kept = dict(loaded.named_parameters())
    for key, parameter in model.named_parameters():
        assert key in unused or torch.equal(parameter, kept[key]), key


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("row", [row for row in CLASSES if row[2] == "pair_classification"], ids=lambda row: row[1])
def test_logits_of_an_export_are_ours(tmp_path, row, seed):
    """After a change here, as training makes: the numbers go out, not those that came in."""
    published(tmp_path / "there", *row, seed)
    bring_in(plan_import(tmp_path / "there", Options(multiple=8)), tmp_path / "ours", Display())
    card = read_card(tmp_path / "ours")
    config = build_config(card.model, card.model.vocab)
    checkpoints = Checkpoints(tmp_path / "ours" / CHECKPOINTS, background=False)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    tree: dict = {}
    for path, leaf in boxed_shapes(config, card.heads).items():
        *folders, last = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jax.ShapeDtypeStruct(leaf.unbox().shape, jnp.float32, sharding=here)
    params = jax.tree.map(lambda leaf: leaf * 1.25 + 0.01, checkpoints.restore_params(0, tree))
    checkpoints.close()
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "model.json").write_bytes((tmp_path / "ours" / "model.json").read_bytes())
    writing = Checkpoints(trained / CHECKPOINTS, background=False)
    writing.save(7, {"params": params, "step": jnp.int32(7)})
    writing.close()
    to_hf(trained, tmp_path / "back", Export(), Display())
    tokens = np.random.default_rng(seed).integers(4, card.model.vocab, (3, 12))
    ours = build_model(config, card.heads).apply(
        {"params": params}, card.heads[0].name, {"input_ids": jnp.asarray(tokens)}
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "back").eval()
    model.config.pad_token_id = PAD  # which none of the tokens is; decoders cannot do without
    with torch.no_grad():
        theirs = model(torch.tensor(tokens)).logits.numpy()
    # Relative to the largest: sums of some hundred products in float32, in another order.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert dataclasses.asdict(card.model)["vocab"] == model.config.vocab_size, "rows of zeros are not published"
