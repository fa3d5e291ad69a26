"""What t5x itself makes of our gin files, tasks and checkpoints. Skipped where t5x is not installed: docs/t5x.md.

Programs of t5x run as processes of their own, on one device and at the optimisation that a user gets.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import inspect
import io
import json
import os
import pathlib
import subprocess
import sys
import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from stand_ins import SIGNATURES

from xling_jax import cli, t5x_bridge
from xling_jax.data.prepare import raw_examples
from xling_jax.data.text_tasks import FORM, _Texts
from xling_jax.data.tokenizers import SentencePieceTokenizer, train_vocabulary
from xling_jax.experiment import Part
from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.text import TextToText, generate
from xling_jax.models.weights import t5x as layout
from xling_jax.models.weights.tensors import read_tree
from xling_jax.optim import Optim
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import parse_cells
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf
from xling_jax.train.step import init_state, train_step
from xling_jax.world import pieces

ROOT = pathlib.Path(__file__).resolve().parent.parent
if importlib.util.find_spec("t5x"):
    t5x_bridge.install_shims()  # without which it cannot be imported
pytest.importorskip("t5x", reason="t5x is not installed; docs/t5x.md says how")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DEV = "--gin.DEV_DATA='world_nli.dev.qen'"
LENGTHS = {"inputs": 64, "targets": 16}
TINY = {"mt5": "tiny_mt5", "umt5": "tiny_umt5"}
NETWORKS = {"mt5": "t5x.examples.t5.network", "umt5": "t5x.examples.scalable_t5.network"}
BUCKETS = {"buckets": 32, "longest": 128}  # t5x's networks have no others


@pytest.fixture(autouse=True)
def as_they_like_it():
    """Lets shapes of different rank meet, which t5x's code does and ours does not."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """Returns a vocabulary to which the generated world's words are known, in a folder as one is published."""
    folder = tmp_path_factory.mktemp("vocabulary")
    words = [*pieces(), *"xnli: premise: hypothesis: question: context: 0 1 2".split()]
    texts = [" ".join(words[at : at + 12]) for at in range(0, len(words), 6)]
    train_vocabulary("mt5", texts * 3, 900, folder / "spiece.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 100}))
    return folder / "spiece.model"


def started(*words: str) -> str:
    """Runs the bridge in a clone's root and returns what it said."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_NUMPY_RANK_PROMOTION": "allow", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "xling_jax.t5x_bridge", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-6000:]
    return done.stdout


def shared(model_file, period: int = 2) -> list[str]:
    """Returns what all runs are given: the smallest model, small batches."""
    return [
        *("--gin_file=gin/models/mt5_tiny.gin", f"--gin.VOCABULARY_FILE='{model_file}'", "--gin.BATCH_SIZE=8"),
        *(f"--gin.TASK_FEATURE_LENGTHS={LENGTHS}", f"--gin.EVAL_PERIOD={period}"),
    ]


def state_of(checkpoint: pathlib.Path) -> dict:
    """Returns the state in a checkpoint of t5x, read by Orbax alone; leaves by path."""
    return flatten_dict(ocp.PyTreeCheckpointer().restore(checkpoint / "state"), sep="/")


def row_of(kind: str, **sizes):
    return dataclasses.replace(MODELS[TINY[kind]], vocab=1152, **BUCKETS, **sizes)


def random_params(row, seed: int = 0):
    model = build_model(build_config(row, row.vocab))
    return nn.meta.unbox(jax.jit(lambda: init_params(model, jax.random.key(seed)))())


def theirs_of(params, row) -> dict[str, np.ndarray]:
    """Returns our parameters as t5x's network has them, by path."""
    flat = flatten_dict(params, sep="/")
    rows = layout.tensors(build_config(row, row.vocab))
    pairs = (layout.arrays_of(tensor, np.asarray(flat[tensor.ours]), row) for tensor in rows)
    return {name: array for each in pairs for name, array in each}


# ---- Without training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in SIGNATURES.items() for name in names], ids=str
)
def test_a_stand_in_has_the_parameters_of_what_it_stands_for(module, name):
    script = {"train": "t5x.train", "evaluate": "t5x.eval", "infer": "t5x.infer"}.get(name, module)
    real = inspect.signature(getattr(importlib.import_module(script), name)).parameters.values()
    flax = ("parent", "name", "scan_layers") if name == "Transformer" else ()
    found = [p.name + ("=" if p.default is not p.empty else "") for p in real if p.name not in flax]
    assert SIGNATURES[module][name].split() == found


@pytest.mark.parametrize("dims", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_axis_rules_are_t5x_standard(dims):
    from t5x import partitioning  # noqa: PLC0415

    theirs = partitioning.standard_logical_axis_rules(*dims)
    ours = t5x_bridge.axis_rules(*dims)
    own = [("labels", None), ("rank", None)]
    if dims == (1, 1):  # nothing there depends on the order
        assert sorted(ours, key=str) == sorted([*theirs, *own], key=str)
    else:
        assert ours == [*theirs, *own]


def network(kind: str, row):
    module = importlib.import_module(NETWORKS[kind])
    scanned = {"scan_layers": True, "remat_policy": "minimal"} if kind == "umt5" else {}
    return module.Transformer(
        module.T5Config(
            vocab_size=row.vocab,
            emb_dim=row.width,
            num_heads=row.heads,
            num_encoder_layers=row.layers,
            num_decoder_layers=row.decoder_layers,
            head_dim=row.head_width,
            mlp_dim=row.mlp,
            mlp_activations=("gelu", "linear"),
            logits_via_embedding=False,
            dropout_rate=0.0,
            **scanned,
        )
    )


@pytest.mark.parametrize("kind", TINY)
def test_logits_are_those_of_t5x(kind):
    row = row_of(kind)
    params = random_params(row)
    rng = np.random.default_rng(0)
    inputs, labels = rng.integers(3, row.vocab, (3, 150)), rng.integers(3, row.vocab, (3, 40))
    inputs[1, 100:], labels[2, 20:] = 0, 0
    before = np.pad(labels, ((0, 0), (1, 0)))[:, :-1]
    arrays = unflatten_dict({tuple(name.split("/")): array for name, array in theirs_of(params, row).items()})
    theirs = network(kind, row).apply({"params": arrays}, inputs, before, labels, enable_dropout=False)
    batch = {"input_ids": jnp.asarray(inputs), "labels": jnp.asarray(labels)}
    ours = build_model(build_config(row, row.vocab)).apply({"params": params}, "text", batch)
    there = labels > 0
    # Sums over 150 tokens in another order; logits are up to 5.
    np.testing.assert_allclose(np.asarray(ours)[there][:, : row.vocab], np.asarray(theirs)[there], atol=2e-5)


@pytest.mark.parametrize("kind", TINY)
def test_what_is_written_is_what_t5x_writes(kind):
    """Greedily, with a cache: the texts, and their log-probabilities, by which answers of windows are compared."""
    from t5x import decoding, models  # noqa: PLC0415

    row = row_of(kind)
    params = random_params(row)
    params["body"]["word"]["embedding"] *= 3  # so that what is written depends on what was written before
    config = build_config(row, row.vocab)
    inputs = np.random.default_rng(0).integers(3, row.vocab, (16, 24)).astype(np.int32)
    inputs[::2, 10:] = 0
    arrays = unflatten_dict({tuple(name.split("/")): array for name, array in theirs_of(params, row).items()})
    greedy = functools.partial(decoding.temperature_sample, temperature=0.0, rescale_log_probs=False)
    vocabulary = types.SimpleNamespace(eos_id=1)
    module: Any = network(kind, row)
    model = models.EncoderDecoderModel(module, vocabulary, vocabulary, optimizer_def=None, decode_fn=greedy)
    asked = {"encoder_input_tokens": jnp.asarray(inputs), "decoder_input_tokens": jnp.zeros((16, 12), jnp.int32)}
    theirs, aux = jax.jit(model.predict_batch_with_aux)(arrays, asked)
    ours = jax.jit(functools.partial(generate, config, limit=12))(params, jnp.asarray(inputs))
    np.testing.assert_array_equal(ours, theirs)
    assert len({tuple(text) for text in np.asarray(ours).tolist()}) > 8, "texts differ"
    ended = jnp.cumsum(ours == 1, axis=1) - (ours == 1) > 0
    answers = jnp.where(ended, -1, ours)[:, None]
    sums, _ = TextToText(config).apply({"params": params}, jnp.asarray(inputs), answers, method="rank")
    np.testing.assert_allclose(sums[:, 0], aux["scores"], rtol=1e-4)


@pytest.mark.parametrize("kind", TINY)
def test_the_reader_reads_what_t5x_reads(kind, tmp_path):
    """Of the legacy layout, by t5x's own loader; the names and shapes are those that its network asks for."""
    from t5x import checkpoints  # noqa: PLC0415

    row = row_of(kind)
    arrays = theirs_of(random_params(row), row)
    layout.write_legacy(tmp_path / "checkpoint_7", 7, arrays.items())
    theirs = checkpoints.load_t5x_checkpoint(str(tmp_path / "checkpoint_7"))
    assert int(theirs["state"]["step"]) == 7
    flat = flatten_dict(theirs["target"], sep="/")
    shapes = {name: array.shape for name, array in arrays.items()}
    assert {name: array.shape for name, array in flat.items()} == shapes
    for name, array in flat.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    tokens = jnp.ones((1, 4), jnp.int32)
    init = functools.partial(network(kind, row).init, enable_dropout=False)
    made = jax.eval_shape(init, jax.random.key(0), tokens, tokens, tokens)
    assert {name: leaf.shape for name, leaf in flatten_dict(made["params"], sep="/").items()} == shapes
    stored = layout.open_tensors(tmp_path / "checkpoint_7")
    ours = read_ours(stored, row)
    jax.tree.map(np.testing.assert_array_equal, ours, jax.tree.map(np.asarray, random_params(row)))


def read_ours(stored, row):
    shapes = {path: leaf.shape for path, leaf in flatten_dict(random_params(row), sep="/").items()}
    return read_tree(layout.tensors(build_config(row, row.vocab)), shapes, lambda name: stored[name].read())


# ---- Stages ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sequence(model_file, tmp_path_factory):
    """Returns (the folder of all five phases, run in two parts, what the second part said)."""
    work = tmp_path_factory.mktemp("sequence")
    train = [
        *("--stage=pretrain", "--gin.DATA='world_text.train.qen'"),
        *("--stage=intermediate", "--gin.DATA='world_nli.train.qen world_qa.train.qen'"),
    ]
    rest = [
        *("--stage=target", "--fresh_optimizer", "--gin.DATA='world_nli.train.qen'", DEV),
        *("--steps=160", "--gin.EVAL_PERIOD=80"),  # until it answers with labels
        *("--stage=evaluate", "--gin.DATA='world_nli.test.qen+qdt world_qa.test.qnd'"),
        *("--stage=infer", "--gin.DATA='world_nli.test.qdt'"),
    ]
    first = ["sequence", f"--workdir={work}", "--steps=4", *shared(model_file)]
    assert "done" not in started(*first, *train)
    return work, started(*first, *train, *rest)


def test_stages_follow_each_other(sequence):
    work, said = sequence
    assert [line for line in said.split("\n") if line.endswith("done")] == ["0_pretrain: done", "1_intermediate: done"]
    assert sorted(path.name for path in work.iterdir()) == [
        *("0_pretrain", "1_intermediate", "2_target", "3_evaluate", "4_infer"),
    ]
    first, last = state_of(work / "1_intermediate" / "checkpoint_4"), state_of(work / "0_pretrain" / "checkpoint_4")
    for name, array in first.items():
        np.testing.assert_array_equal(array, last[name], err_msg=f"{name}: step and optimizer go on")


def test_a_fresh_optimizer_has_seen_nothing(sequence):
    work, _ = sequence
    before, after = state_of(work / "1_intermediate" / "checkpoint_8"), state_of(work / "2_target" / "checkpoint_8")
    assert int(after["state/step"]) == 8
    for name in before:
        if name.startswith("target/"):
            np.testing.assert_array_equal(before[name], after[name])
    slots = [name for name in before if name.startswith("state/param_states/") and before[name].any()]
    assert slots and not any(after[name].any() for name in slots)


def test_every_cell_is_scored(sequence):
    work, _ = sequence
    paths = work.glob("3_evaluate/inference_eval/*-metrics.jsonl")
    scores = {path.name: json.loads(path.read_text()) for path in paths}
    cells = "world_nli.test.qen world_nli.test.qdt world_qa.test.qnd"
    assert set(scores) == {f"t5.{cell}-metrics.jsonl" for cell in cells.split()}
    assert set(scores["t5.world_nli.test.qdt-metrics.jsonl"]) == {"step", "accuracy", "legal"}
    assert set(scores["t5.world_qa.test.qnd-metrics.jsonl"]) == {"step", "f1", "exact_match", "legal"}
    assert all(found["step"] == 168 for found in scores.values())
    dev = [json.loads(line) for line in (work / "2_target/inference_eval/t5.world_nli.dev.qen-metrics.jsonl").open()]
    assert [line["step"] for line in dev] == [88, 168]


def test_every_example_is_answered(sequence):
    work, _ = sequence
    (path,) = work.glob("4_infer/*.jsonl-00000-of-00001")
    lines = [json.loads(line) for line in path.open(encoding="utf-8")]
    examples = [json.loads(line["inputs"]["example_pretokenized"])["raw"] for line in lines]
    (cell,) = parse_cells("world_nli.test.qdt")
    assert examples == list(raw_examples(Part(cell, 0, 0, 64), None))
    assert all(isinstance(line["prediction"], str) and line["aux"]["scores"] <= 0 for line in lines)


def xling(*words: str) -> str:
    """Runs a verb of ours, which must end well."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as left:
        cli.main([*map(str, words)])
    assert left.value.code == 0
    return said.getvalue()


def test_both_read_the_layout_of_orbax(sequence, tmp_path):
    work, _ = sequence
    stored = layout.open_tensors(work / "2_target" / "checkpoint_168")
    theirs = state_of(work / "2_target" / "checkpoint_168")
    assert {f"target/{name}" for name in stored} == {name for name in theirs if name.startswith("target/")}
    for name, tensor in stored.items():
        np.testing.assert_array_equal(tensor.read(), theirs[f"target/{name}"])


@pytest.fixture(scope="session")
def imported(sequence, model_file, tmp_path_factory):
    """Returns what the last stage left, as a checkpoint of ours."""
    out = tmp_path_factory.mktemp("imported") / "out"
    xling("convert", "from-t5x", sequence[0] / "2_target" / "checkpoint_168", out, f"--tokenizer={model_file.parent}")
    return out


def test_our_own_evaluation_gives_the_same_scores(sequence, imported, tmp_path):
    """t5x writes greedily with its network, we with ours; whatever is written is scored by one scorer."""
    for task, languages in (("world_nli", "qen,qdt"), ("world_qa", "qnd")):
        workdir = tmp_path / task
        flags = ["--protocol=answer=generate", f"--max_length={LENGTHS['inputs']}", f"--languages={languages}"]
        xling("eval", f"--checkpoint={imported}", f"--tasks={task}", f"--workdir={workdir}", *flags)
        rows = [json.loads(line) for line in (workdir / "results.jsonl").open()]
        assert len(rows) == {"world_nli": 2, "world_qa": 2}[task], "a language each, or a metric each"
        for row in rows:
            name = f"t5.{row['task']}.test.{row['language']}-metrics.jsonl"
            theirs = json.loads((sequence[0] / "3_evaluate" / "inference_eval" / name).read_text())
            assert row["value"] == pytest.approx(theirs[row["metric"]], abs=0.2), f"one of 500 examples: {row}"
            assert theirs["legal"] > 90 or task == "world_qa"


def test_what_we_export_is_trained_on(imported, model_file, tmp_path):
    xling("convert", "to-t5x", imported, tmp_path / "checkpoint_0")
    words = ["--stage=intermediate", "--steps=2", "--fresh_optimizer", "--gin.DATA='world_nli.train.qen'"]
    words = [f"--workdir={tmp_path / 'on'}", f"--initial={tmp_path}/checkpoint_0", *shared(model_file), *words]
    started("sequence", *words)
    begun, ended = (state_of(tmp_path / "on" / "0_intermediate" / f"checkpoint_{step}") for step in (0, 2))
    exported = layout.open_tensors(tmp_path / "checkpoint_0")
    for name, tensor in exported.items():
        np.testing.assert_array_equal(tensor.read(), begun[f"target/{name}"])
    moved = [name for name in exported if (begun[f"target/{name}"] != ended[f"target/{name}"]).any()]
    assert len(moved) == len(exported)


def test_a_stopped_run_ends_as_a_straight_one(model_file, tmp_path):
    """Data, dropout and optimizer go on: bit by bit."""

    def train(out: str, steps: int) -> dict:
        words = [*shared(model_file, 2), "--gin_file=gin/runs/intermediate.gin", "--gin.INITIAL_CHECKPOINT_PATH=[]"]
        words += [f"--gin.MODEL_DIR='{tmp_path / out}'", f"--gin.TRAIN_STEPS={steps}"]
        started("train", *words, "--gin.DATA='world_nli.train.qen'")
        return state_of(tmp_path / out / f"checkpoint_{steps}")

    straight = train("straight", 4)
    train("stopped", 2)
    resumed = train("stopped", 4)
    for name, array in straight.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


# ---- The same training ----------------------------------------------------------------------------------------------

STEPS, BATCH = 6, 8


def losses_of_t5x(folder: pathlib.Path) -> list[float]:
    """Returns the loss of each step that t5x told TensorBoard."""
    import tensorflow as tf  # noqa: PLC0415

    found = {}
    for path in sorted(folder.glob("train/events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for each in event.summary.value:
                if each.tag == "loss":
                    found[event.step] = float(tf.make_ndarray(each.tensor))
    return [found[step] for step in sorted(found)]


def test_a_step_here_is_a_step_there(model_file, tmp_path):
    """From the same parameters and on the same batches the losses are the same.

    What is aligned: dropout is off, as t5x drops whole columns of a row and draws them otherwise; data are neither
    shuffled nor packed, as SeqIO and we shuffle by other numbers. What is not: loss (mean over target tokens, z-loss of
    1e-4), Adafactor and its rate are as both have them. Matrices have 128 rows and columns, so that both factor them.
    """
    row = row_of("mt5", layers=2, decoder_layers=2, width=128, heads=2, head_width=64, mlp=128)
    params = random_params(row)
    layout.write_legacy(tmp_path / "checkpoint_0", 0, theirs_of(params, row).items())
    words = ["--stage=intermediate", f"--steps={STEPS}", "--fresh_optimizer", "--gin.DATA='world_nli.train.qen'"]
    words += ["--gin.network.T5Config.dropout_rate=0.0", "--gin.train/utils.DatasetConfig.shuffle=False"]
    words += ["--gin.train/utils.DatasetConfig.pack=False"]
    words = [f"--workdir={tmp_path / 'there'}", f"--initial={tmp_path}/checkpoint_0", *shared(model_file, 1), *words]
    started("sequence", *words)
    theirs = losses_of_t5x(tmp_path / "there" / "0_intermediate")
    ours = our_losses(row, params, SentencePieceTokenizer(model_file, "mt5", 100))
    for name, losses in (("t5x", theirs), ("ours", ours)):
        print(name, *(f"{loss:.6f}" for loss in losses))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert theirs[0] - theirs[-1] > 0.1, "something was learned in between"


def our_losses(row, params, tokenizer) -> list[float]:
    config = dataclasses.replace(build_config(row, row.vocab), dropout=0.0)
    model = build_model(config)
    boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    axes = flatten_dict(boxed, sep="/", is_leaf=lambda _, leaf: isinstance(leaf, nn.meta.AxisMetadata))
    leaves = {path: Leaf(leaf.names) for path, leaf in axes.items()}
    optim = Optim(name="adafactor", learning_rate=1e-3, schedule="constant", warmup=0.0, weight_decay=0.0, clip=0.0)
    optimizer = make_optimizer(optim, leaves)

    def apply(params, key, batch):
        return model.apply({"params": params}, "text", batch)

    step = jax.jit(
        functools.partial(
            train_step, apply=apply, kind="text_to_text", optimizer=optimizer, accumulate=1, mask_id=0, leaves=leaves
        )
    )
    (cell,) = parse_cells("world_nli.train.qen")
    made = _Texts(Part.of(cell, 0, STEPS * BATCH, tuple(LENGTHS.values()), FORM), tokenizer, None).made
    state, losses = init_state(params, optimizer, leaves), []
    for at in range(0, STEPS * BATCH, BATCH):
        batch = {"input_ids": padded([m["inputs"] for m in made[at : at + BATCH]], LENGTHS["inputs"], 0)}
        batch["labels"] = padded([m["targets"] for m in made[at : at + BATCH]], LENGTHS["targets"], -1)
        state, metrics = step(state, batch, jnp.float32(1e-3), jax.random.key(0))
        losses.append(float(metrics["loss"]))
    return losses


def padded(rows, length: int, fill: int) -> jax.Array:
    return jnp.asarray(np.stack([np.pad(row, (0, length - len(row)), constant_values=fill) for row in rows]))
