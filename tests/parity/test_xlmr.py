"""XLM-R and XLM-R XL against `transformers` on PyTorch: the same weights and tokens, the same numbers."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity is with PyTorch: install the extra 'parity'")
transformers = pytest.importorskip("transformers", reason="parity is with transformers: install the extra 'parity'")

from drawn import SEED  # noqa: E402

from xling_jax.experiment import Optim  # noqa: E402
from xling_jax.models.build import HeadSpec, Model, build_config, init_params  # noqa: E402
from xling_jax.models.weights.tensors import names, read_tree, to_theirs  # noqa: E402
from xling_jax.models.weights.xlmr import CLASSES, ENDINGS, FAMILY  # noqa: E402
from xling_jax.train.losses import mask_tokens  # noqa: E402
from xling_jax.train.optimizer import make_optimizer  # noqa: E402
from xling_jax.train.step import init_state, train_step  # noqa: E402

TYPES = tuple(CLASSES)
HEADS = tuple(ending for ending, kind in ENDINGS.items() if kind not in ("", "dual_encoder"))
SEEDS = (0, 1, SEED)
CLOSE = 1e-5  # of the largest magnitude of an array: float32 has 1.2e-7, and a layer adds up some hundred products
STEP = 1e-4
OPTIM = Optim(learning_rate=0.01, weight_decay=0.1, eps=1e-3)  # a large eps: Adam divides rounding by rounding at 0
PAD = 1


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model of theirs, and ours with its weights."""

    theirs: object
    config: object
    model: Model
    params: dict

    @property
    def rows(self):
        return FAMILY.tensors(self.config, self.model.heads)


def sizes(type_: str, rng: np.random.Generator) -> dict:
    heads = int(rng.integers(1, 5))
    return {
        "num_hidden_layers": int(rng.integers(1, 7)),  # from five on they are scanned
        "num_attention_heads": heads,
        "hidden_size": heads * 4 * int(rng.integers(1, 4)),
        "intermediate_size": int(rng.integers(8, 50)),
        "vocab_size": int(rng.integers(20, 90)),
        "max_position_embeddings": 2 + int(rng.integers(12, 40)),
        "layer_norm_eps": float(rng.choice([1e-5, 1e-6])),
        "hidden_act": str(rng.choice(["gelu", "gelu_new"])),
        "num_labels": int(rng.integers(2, 6)),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "type_vocab_size": 1,
        "pad_token_id": PAD,
    }


@functools.cache
def pair(type_: str, ending: str, seed: int) -> Pair:
    """Returns a random model, every parameter of which says something, and ours made from its state."""
    rng = np.random.default_rng([seed, TYPES.index(type_), list(ENDINGS).index(ending)])
    drawn = sizes(type_, rng)
    drawn |= {"num_labels": 2} if ending == "ForQuestionAnswering" else {}
    config = getattr(transformers, f"{CLASSES[type_]}Config")(**drawn, attn_implementation="eager")
    theirs = getattr(transformers, CLASSES[type_] + ending)(config).eval()
    with torch.no_grad():
        for name, leaf in theirs.named_parameters():
            one = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            leaf.copy_(torch.from_numpy(one + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)))
    row = FAMILY.row_from(config.to_dict())
    kind = ENDINGS[ending]
    labels = {"span_qa": 2, "pair_classification": drawn["num_labels"], "tagging": drawn["num_labels"]}
    model = Model(build_config(row, row.vocab), (HeadSpec("h", kind, labels.get(kind, 0)),) if kind else ())
    return Pair(theirs, model.config, model, params_from(theirs, model))


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(nn.meta.unbox(boxed))
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


def params_from(theirs, model: Model) -> dict:
    state = {name: leaf.detach().numpy().copy() for name, leaf in theirs.state_dict().items()}
    prefix = "" if any(name.startswith(FAMILY.prefix) for name in state) else FAMILY.prefix
    rows = FAMILY.tensors(model.config, model.heads)
    return read_tree(rows, shapes_of(model), lambda name: state[name.removeprefix(prefix)])


def texts(here: Pair, rng, *shape: int, longest: bool = False) -> np.ndarray:
    """Returns tokens, padded on the right; the first row is full."""
    length = here.config.positions if longest else int(rng.integers(6, here.config.positions))
    tokens = rng.integers(4, here.config.vocab, (*shape, length)).astype(np.int32)
    tokens[..., 0] = 0
    lengths = rng.integers(2, length + 1, shape)
    lengths.reshape(-1)[0] = length
    return np.where(np.arange(length) < lengths[..., None], tokens, PAD)


def ask(theirs, tokens, **more):
    """Returns their outputs for tokens."""
    ids = torch.from_numpy(np.asarray(tokens)).long()
    return theirs(ids, attention_mask=(ids != PAD).long(), output_hidden_states=True, **more)


def assert_close(found, expected, share: float = CLOSE):
    found, expected = np.asarray(found), expected.detach().numpy() if torch.is_tensor(expected) else expected
    assert found.shape == expected.shape
    away, largest = np.abs(found - expected).max(), np.abs(expected).max()
    # Logits that say nothing would agree, too; those of some drawn sizes are as small as 0.008.
    assert largest > 1e-3 and away <= share * largest, f"{away} of {largest}: {away / largest:.1e}"


def states(here: Pair, *inputs):
    function = jax.jit(lambda params, *given: here.model.apply({"params": params}, *given, method=Model.states))
    return np.asarray(function(here.params, *inputs))


@pytest.mark.parametrize("longest", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type_", TYPES)
def test_every_hidden_state(type_, seed, longest):
    here = pair(type_, "Model", seed)
    tokens = texts(here, np.random.default_rng(seed), 3, longest=longest)
    expected, inside = ask(here.theirs, tokens), tokens != PAD
    found = states(here, tokens)
    assert len(found) == len(expected.hidden_states) == here.config.layers + 1
    for mine, other in zip(found, expected.hidden_states, strict=True):
        assert_close(mine[inside], other.detach().numpy()[inside])
    assert_close(found[-1][inside], expected.last_hidden_state.detach().numpy()[inside])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type_", TYPES)
def test_packed_rows_are_their_rows_apart(type_, seed):
    here, rng = pair(type_, "Model", seed), np.random.default_rng(seed)
    lengths = [int(n) for n in rng.integers(2, here.config.positions + 1, 3)]
    apart = [np.array([[0, *rng.integers(4, here.config.vocab, n - 1)]], np.int32) for n in lengths]
    gap = [np.full((1, 2), PAD, np.int32)]
    row = np.concatenate(apart + gap, axis=1)
    segments = np.repeat([1, 2, 3, 0], [*lengths, 2])[None].astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in [*lengths, 2]])[None].astype(np.int32)
    found, begin = states(here, row, segments, positions), 0
    for one, length in zip(apart, lengths, strict=True):
        for mine, other in zip(found, ask(here.theirs, one).hidden_states, strict=True):
            assert_close(mine[:, begin : begin + length], other)
        begin += length


def batch_of(here: Pair, rng, padded: bool = True) -> dict:
    """Returns a batch with the labels of the head's kind."""
    kind, size = here.model.heads[0].kind, here.model.heads[0].size
    rows = (4, int(rng.integers(2, 5))) if kind == "multiple_choice" else (4,)
    tokens = texts(here, rng, *rows)
    tokens = tokens if padded else np.where(tokens == PAD, 5, tokens)
    batch = {"input_ids": tokens, "index": np.arange(4, dtype=np.int32)}
    inside, full = tokens != PAD, tokens.shape[-1]
    if kind == "span_qa":
        spans = np.where(inside[..., None], np.arange(full)[None, :, None], -1).repeat(2, -1)
        return batch | {"spans": spans, "start": rng.integers(0, 2, 4), "end": np.array([0, 1, 1, 0])}
    if kind == "tagging":
        return batch | {"labels": np.where(inside, rng.integers(-1, size, tokens.shape), -1)}
    return batch | ({} if kind == "mlm" else {"label": rng.integers(0, size or rows[1], 4)})


def theirs_of(here: Pair, batch: dict, key) -> tuple[dict, dict]:
    """Returns (our batch, their arguments): what both are asked, masked words with the same masks."""
    tokens, kind = batch["input_ids"], here.model.heads[0].kind
    if kind == "mlm":
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])
        masked, places, labels = (np.array(x) for x in mask_tokens(jnp.asarray(tokens), keys, here.config.vocab - 1))
        wanted = np.full(tokens.shape, -100)
        for row, place, label in zip(wanted, places, labels, strict=True):
            row[place[label >= 0]] = label[label >= 0]
        return batch | {"input_ids": masked, "masked": places}, {"labels": torch.from_numpy(wanted)}
    if kind == "span_qa":
        return batch, {f"{end}_positions": torch.from_numpy(batch[end]).long() for end in ("start", "end")}
    labels = torch.from_numpy(np.asarray(batch.get("label", batch.get("labels")))).long()
    return batch, {"labels": torch.where(labels < 0, -100, labels)}


def logits_of(output, ours: dict, kind: str) -> np.ndarray:
    if kind == "span_qa":
        return torch.stack([output.start_logits, output.end_logits], -1).detach().numpy()
    logits = output.logits.detach().numpy()
    return np.take_along_axis(logits, ours["masked"][..., None], 1) if kind == "mlm" else logits


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ending", HEADS)
@pytest.mark.parametrize("type_", TYPES)
def test_logits(type_, ending, seed):
    here = pair(type_, ending, seed)
    kind = here.model.heads[0].kind
    ours, more = theirs_of(here, batch_of(here, np.random.default_rng(seed)), jax.random.key(seed))
    expected = logits_of(ask(here.theirs, ours["input_ids"], **more), ours, kind)
    found = np.asarray(jax.jit(lambda p, b: here.model.apply({"params": p}, "h", b))(here.params, ours))
    if kind == "mlm":
        assert (found[..., here.config.vocab :] < -1e8).all(), "spare rows are no words"
        real = np.take_along_axis(ours["input_ids"] != PAD, ours["masked"], 1)  # a short text has fewer places
        found, expected = found[real][:, : here.config.vocab], expected[real]
    if kind in ("span_qa", "tagging"):
        inside = ours["input_ids"] != PAD
        found, expected = found[inside], expected[inside]
    assert_close(found, expected)


def torch_step(theirs, loss):
    """Takes their step: gradient clipped by its norm, AdamW, decay of matrices only."""
    matrices = [leaf for name, leaf in theirs.named_parameters() if leaf.ndim == 2]
    others = [leaf for name, leaf in theirs.named_parameters() if leaf.ndim != 2]
    groups = [{"params": matrices, "weight_decay": OPTIM.weight_decay}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=OPTIM.learning_rate, betas=(OPTIM.b1, OPTIM.b2), eps=OPTIM.eps)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), OPTIM.clip)
    adam.step()
    return float(norm)


@pytest.mark.parametrize("ending", HEADS)
@pytest.mark.parametrize("type_", TYPES)
def test_loss_and_a_step_of_adamw(type_, ending):
    pair.cache_clear()  # their model is changed in place below
    here, rng = pair(type_, ending, 5), np.random.default_rng(5)
    # Theirs asks padding, too, where an answer begins and ends; ours asks the context alone.
    batch, key = batch_of(here, rng, padded=ending != "ForQuestionAnswering"), jax.random.key(9)
    mask_key, _ = jax.random.split(jax.random.fold_in(key, 0))
    ours, more = theirs_of(here, batch, mask_key)
    output = ask(here.theirs, ours["input_ids"], **more)
    norm = torch_step(here.theirs, output.loss)
    pair.cache_clear()

    def apply(params, key, batch):
        return here.model.apply({"params": params}, "h", batch, False, rngs={"dropout": key})

    step = functools.partial(train_step, apply=apply, kind=here.model.heads[0].kind, optimizer=make_optimizer(OPTIM))
    step = functools.partial(step, accumulate=1, mask_id=here.config.vocab - 1)
    before = jax.tree.map(jnp.asarray, here.params)
    state = init_state(before, make_optimizer(OPTIM))
    after, metrics = jax.jit(step)(state, batch, jnp.float32(OPTIM.learning_rate), key)
    assert float(metrics["loss"]) == pytest.approx(float(output.loss), rel=STEP)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=STEP)
    expected = params_from(here.theirs, here.model)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), expected, here.params)
    assert max(jax.tree.leaves(moved)) > 0.5 * OPTIM.learning_rate, "the step has moved something"
    jax.tree.map(functools.partial(assert_close, share=STEP), after["params"], expected)


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != "ForRetrieval"])
@pytest.mark.parametrize("type_", TYPES)
def test_there_and_back_bit_for_bit(type_, ending):
    here = pair(type_, ending, 0)
    state = {name: leaf.numpy() for name, leaf in here.theirs.state_dict().items()}
    bare = "" if ending != "Model" else FAMILY.prefix
    known, params = set(), here.params
    for tensor in here.rows:
        leaf = functools.reduce(lambda node, key: node[key], tensor.ours.split("/"), params)
        layers = len(leaf) if "{}" in tensor.theirs else 1
        for number, full in enumerate(names(tensor, layers)):
            name = full.removeprefix(bare)
            part = leaf[number] if "{}" in tensor.theirs else leaf
            back = to_theirs(tensor, np.asarray(part), state[name].shape)
            np.testing.assert_array_equal(back, state[name], err_msg=name)
            assert back.dtype == state[name].dtype == np.float32
            known |= {name, *tensor.also}
    unused = {"pooler.dense.weight", "pooler.dense.bias"} if ending == "Model" else set()
    assert set(state) - known == unused, "every tensor of theirs has a place, but for a pooler that no head asks for"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type_", TYPES)
def test_config_is_read_and_written(type_, seed):
    drawn = sizes(type_, np.random.default_rng(seed)) | {"hidden_dropout_prob": 0.25}
    row = FAMILY.row_from(getattr(transformers, f"{CLASSES[type_]}Config")(**drawn).to_dict())
    made = transformers.AutoConfig.for_model(**FAMILY.config_of(row))
    assert type(made).__name__ == f"{CLASSES[type_]}Config"
    for field, value in drawn.items():
        if field not in ("num_labels", "attention_probs_dropout_prob"):
            assert getattr(made, field) == value, field
    assert FAMILY.row_from(made.to_dict()) == row


def test_the_dual_encoder_is_theirs_by_hand():
    """XTREME-R's model is not in transformers: pooler, unit length, scale, a query against all candidates."""
    here = pair("xlm-roberta", "Model", 1)
    rng = np.random.default_rng(1)
    tokens = texts(here, rng, 4, 2)
    pooled = here.theirs(
        torch.from_numpy(tokens.reshape(8, -1)).long(), attention_mask=torch.from_numpy(tokens.reshape(8, -1)) != PAD
    )
    unit = torch.nn.functional.normalize(pooled.pooler_output, dim=1).reshape(4, 2, -1)
    expected = unit[:, 0] @ unit[:, 1].T * 37.0
    model = Model(here.config, (HeadSpec("h", "dual_encoder"),))
    state = {f"roberta.{name}": leaf.numpy() for name, leaf in here.theirs.state_dict().items()}
    state["logit_scale"] = np.array([37.0], np.float32)
    params = read_tree(FAMILY.tensors(here.config, model.heads), shapes_of(model), state.__getitem__)
    found = model.apply({"params": params}, "h", {"input_ids": tokens})
    assert_close(found, expected)
