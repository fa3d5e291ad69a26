"""From Hugging Face folders: the numbers, in any layout of files; and one clear error for whatever is wrong."""

import dataclasses
import fcntl
import json
import os
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_folders import NLI, POST, with_norm, write_tensors

from xling_jax.convert.importing import Options, boxed_shapes, plan_import
from xling_jax.errors import CheckpointError, ConfigError, Interrupted, XlingError
from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.models.card import read_card
from xling_jax.models.weights import matching, safetensors
from xling_jax.models.weights.families import FAMILIES, row_named
from xling_jax.models.weights.folder import INDEX, SINGLE
from xling_jax.models.weights.tensors import read_tree
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.partitioning.place import creator
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS
from xling_jax.train import streaming
from xling_jax.train.checkpoint import Checkpoints, paths


def restored(out: pathlib.Path, mesh: str = "one", strategy: str = "data", dtype=jnp.float32):
    """Returns the parameters of an imported checkpoint, onto a mesh."""
    card = read_card(out)
    model = Model(build_config(card.model, card.model.vocab), card.heads)
    _, abstract = creator(lambda: init_params(model, jax.random.key(0)), build_mesh(MESHES[mesh]), strategy)
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding), abstract)
    checkpoints = Checkpoints(out / "checkpoints", background=False)
    try:
        return checkpoints.restore_params(checkpoints.latest(), abstract)
    finally:
        checkpoints.close()


def expected(tensors, row, head=None):
    """Returns what the parameters must be, by `read_tree`."""
    family, config, heads = FAMILIES[row.family], build_config(row, row.vocab), (head,) if head else ()
    shapes = {path: leaf.unbox().shape for path, leaf in boxed_shapes(config, heads).items()}

    def get(name):
        return tensors[name if name in tensors else name.removeprefix(family.prefix)]

    return read_tree(family.tensors(config, heads), shapes, get)


def assert_equal(found, wanted):
    found, wanted = paths(found), paths(wanted)
    assert set(found) == set(wanted)
    for path, leaf in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[path]), leaf.astype(found[path].dtype), err_msg=path)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(("shards", "kind"), [(1, ""), (3, "mlm")])
def test_numbers_come_over_from_one_file_and_from_several(publish, convert, norm, shards, kind):
    row = dataclasses.replace(with_norm(norm), multiple=8)
    folder, tensors = publish(row=row, kind=kind, shards=shards)
    out = convert(folder, multiple=8)
    head = HeadSpec(kind, kind) if kind else None
    assert_equal(restored(out), expected(tensors, row, head))
    assert read_card(out).heads == ((head,) if head else ())
    assert not np.asarray(restored(out)["body"]["word"]["embedding"])[301:].any(), "rows beyond the vocabulary"
    assert restored(out)["body"]["word"]["embedding"].shape == (304, 20)


def test_an_import_is_restored_onto_eight_devices(publish, convert):
    row = dataclasses.replace(POST, multiple=128)
    folder, tensors = publish(row=row)
    params = restored(convert(folder), "data2_fsdp2_tensor2", "fsdp_tensor")
    table = params["body"]["word"]["embedding"]
    assert len({str(shard.index) for shard in table.addressable_shards}) == 4, "split over fsdp and tensor"
    assert_equal(params, expected(tensors, row))


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_dtypes(publish, convert, stored, wanted):
    folder, tensors = publish(dtype=stored)
    out = convert(folder, dtype=wanted, multiple=1)
    rounded = {name: array.astype(jnp.dtype(wanted)) for name, array in tensors.items()}
    assert_equal(restored(out, dtype=jnp.dtype(wanted)), expected(rounded, POST))
    if wanted == "bfloat16":
        assert_equal(restored(out, dtype=jnp.float32), expected(rounded, POST))  # float32 parameters start from it, too


def test_labels_get_the_order_of_the_task(publish, convert):
    folder, tensors = publish(kind="pair_classification", labels=NLI)
    out = convert(folder, task="xnli", multiple=1)
    card = read_card(out)
    name = TASKS["xnli"].head_name
    assert card.heads == (HeadSpec(name, "pair_classification", 3),)
    assert card.labels == {name: ("contradiction", "entailment", "neutral")}
    output = restored(out)[f"head_{name}"]["output"]
    np.testing.assert_array_equal(output["bias"], tensors["classifier.out_proj.bias"][[2, 1, 0]])
    np.testing.assert_array_equal(output["kernel"], tensors["classifier.out_proj.weight"][[2, 1, 0]].T)


def test_a_published_size_is_the_row_of_the_table():
    for row in (row for row in MODELS.values() if row.source):
        family = FAMILIES[row.family]
        assert row_named(family.row_from(family.config_of(row)), row.multiple) == row


def test_no_more_than_a_piece_is_read_at_a_time(publish, convert, monkeypatch):
    row = dataclasses.replace(POST, vocab=4001)
    folder, tensors = publish(row=row)
    read, sizes = safetensors.Stored.read, []

    def reading(*arguments):
        found = read(*arguments)
        sizes.append(found.nbytes)
        return found

    monkeypatch.setattr(safetensors.Stored, "read", reading)
    monkeypatch.setattr(matching, "PIECE", 40_000)
    monkeypatch.setattr(streaming, "CHUNK", 10_000)
    out = convert(folder)
    table = tensors["embeddings.word_embeddings.weight"]
    assert max(sizes) <= 40_000 + 10_000 < table.nbytes / 6, "a piece, filled up to whole chunks"
    assert sum(sizes) == sum(array.nbytes for array in tensors.values()), "every tensor is read once"
    monkeypatch.undo()
    assert_equal(restored(out), expected(tensors, dataclasses.replace(row, multiple=128)))


def test_tensors_that_nothing_takes_are_said(publish, convert, capsys):
    folder, tensors = publish(kind="mlm")
    beside = {"roberta.pooler.dense.weight": np.zeros((20, 20), np.float32)}
    position = {"roberta.embeddings.position_ids": np.zeros((1, 4), np.float32)}
    tied = {"lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"]}
    write_tensors(folder, tensors | beside | position | tied)
    convert(folder)
    said = capsys.readouterr().out
    assert "unused 1: roberta.pooler.dense.weight\n" in said
    assert "ignored 1, which hold nothing learned: roberta.embeddings.position_ids\n" in said
    assert f"used {len(tensors) + 1} tensors" in said
    assert "  body/layers/mlp_in/kernel [3x20x36] from roberta.encoder.layer.{}.intermediate.dense.weight\n" in said


def test_the_same_conversion_again_does_nothing_and_another_is_refused(publish, convert, capsys):
    folder, _ = publish()
    out = convert(folder)
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    convert(folder)
    assert "nothing to do" in capsys.readouterr().out
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before
    with pytest.raises(CheckpointError, match="is not this conversion"):
        convert(folder, dtype="bfloat16")
    (out / "model.json").unlink()
    with pytest.raises(CheckpointError, match="is not this conversion"):
        convert(folder)


def test_the_vocabulary_is_copied(publish, convert, vocabulary):
    row = dataclasses.replace(POST, vocab=80)
    folder, _ = publish(row=row)
    shutil.copy(vocabulary / "sentencepiece.bpe.model", folder)
    out = convert(folder)
    card = read_card(out).vocabulary
    assert card is not None and (card.family, card.size) == ("xlmr", 80)
    assert (out / "tokenizer" / "sentencepiece.bpe.model").is_file()


def spoil_config(change):
    def spoil(folder):
        said = json.loads((folder / "config.json").read_text())
        change(said)
        (folder / "config.json").write_text(json.dumps(said))

    return spoil


def cut(size):
    """Keeps so many bytes of the file, from its end if negative."""

    def spoil(folder):
        path = next(iter(sorted(folder.glob("*.safetensors"))))
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def header(old, new):
    def spoil(folder):
        path = folder / SINGLE
        text = path.read_bytes()
        assert old in text and len(old) == len(new)
        path.write_bytes(text.replace(old, new, 1))

    return spoil


def index(change):
    def spoil(folder):
        said = json.loads((folder / INDEX).read_text())
        change(said["weight_map"])
        (folder / INDEX).write_text(json.dumps(said))

    return spoil


def unlink(name):
    return lambda folder: next(iter(sorted(folder.glob(name)))).unlink()


def pickled(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


QUERY = "roberta.encoder.layer.1.attention.self.query.weight"
# name -> (shards, what is done to the folder, what the error says)
BROKEN = {
    "no config": (1, unlink("config.json"), "has no config.json.\nFound: model.safetensors"),
    "config cut": (1, lambda f: (f / "config.json").write_text('{"model_type": "xlm'), "config.json is not JSON"),
    "config a list": (1, lambda f: (f / "config.json").write_text("[]"), "is not a JSON object"),
    "model type": (1, spoil_config(lambda c: c.update(model_type="xlm-robert")), "Did you mean: xlm-roberta"),
    "no model type": (1, spoil_config(lambda c: c.pop("model_type")), "Unknown model_type 'None'"),
    "architecture": (
        1,
        spoil_config(lambda c: c.update(architectures=["XLMRobertaForCausalLM"])),
        "names the architecture XLMRobertaForCausalLM.\nAllowed: one of XLMRobertaModel, .*--head=none",
    ),
    "a field": (1, spoil_config(lambda c: c.update(hidden_act="relu")), "hidden_act"),
    "no tensors": (1, unlink(SINGLE), "has no tensors.\nFound: config.json"),
    "a pickle": (1, pickled, "pytorch_model.bin: reading one runs whatever code.*save_pretrained"),
    "a missing shard": (3, unlink("model-00001*"), "lacks 1 of 3 shards: model-00001-of-00003.safetensors"),
    "a tensor that no shard has": (
        3,
        index(lambda names: names.update({"roberta.more": "model-00001-of-00003.safetensors"})),
        "names 1 tensors that no shard has, the first roberta.more, in model-00001",
    ),
    "an index that leaves the folder": (
        3,
        index(lambda names: names.update({QUERY: "../model.safetensors"})),
        "names a file that is not in the folder",
    ),
    "nothing in the file": (1, cut(0), "has 0 bytes and no tensors"),
    "cut in the header": (1, cut(300), "is truncated: its header has"),
    "cut in the numbers": (1, cut(-1), "is truncated: .* bytes were written"),
    "another file": (1, lambda f: (f / SINGLE).write_bytes(b"PK\x03\x04" * 99), "does not begin like a safetensors"),
    "a damaged header": (1, header(b'"dtype"', b'"dtipe"'), "has a header that is damaged"),
    "an offset": (1, header(b'"shape": [301, 20]', b'"shape": [301, 21]'), "is damaged .*24080 bytes for F32"),
    "a quantised tensor": (1, header(b'"F32"', b'"I32"'), "has dtype I32.\nAllowed: F64 F32 F16 BF16"),
    "an unknown dtype": (1, header(b'"F32"', b'"F3A"'), "has dtype F3A.\nAllowed: F64 F32 F16 BF16"),
    "a tensor less": (1, header(b"layer.1.attention.self.query.weight", b"layer.1.attention.self.qwery.weight"), QUERY),
    "a layer less": (1, spoil_config(lambda c: c.update(num_hidden_layers=4)), "more layers than there are"),
    "another size": (
        1,
        spoil_config(lambda c: c.update(intermediate_size=40)),
        r"mlp_in/kernel, here \[3, 20, 40\], needs \[40, 20\] there.\nLikely: config.json is that of another size",
    ),
    "a resized vocabulary": (
        1,
        spoil_config(lambda c: c.update(vocab_size=300)),
        r"has shape \[301, 20\].*needs \[300, 20\].*resized to 301 rows",
    ),
    "positions": (1, spoil_config(lambda c: c.update(max_position_embeddings=99)), "max_position_embeddings of anot"),
    "labels": (1, spoil_config(lambda c: c.update(id2label={"0": "a", "1": "b"})), "another number of labels"),
    "labels without a number": (1, spoil_config(lambda c: c.update(id2label={"x": "a"})), "numbers from 0 on"),
    "no head": (1, header(b"classifier.out_proj.weight", b"classifier.out_prox.weight"), "--head=none takes the body"),
}


def assert_nothing_left(folder):
    assert not list(folder.parent.glob("out*")), "something was left"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_clear_error(publish, convert, case):
    shards, spoil, words = BROKEN[case]
    folder, _ = publish(kind="pair_classification", labels=NLI, shards=shards)
    spoil(folder)
    with pytest.raises(CheckpointError, match=f"(?s){words}") as caught:
        convert(folder)
    assert caught.value.exit_code == 4 and len(str(caught.value)) < 900
    assert_nothing_left(folder)


def test_a_folder_of_another_architecture_is_told_by_its_names(publish, convert):
    folder, tensors = publish()
    write_tensors(folder, {f"bert.{name}": array for name, array in tensors.items()})
    with pytest.raises(CheckpointError, match=r"the names are those of another architecture, like bert.embeddings"):
        convert(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [QUERY, "roberta.embeddings.word_embeddings.weight", "classifier.out_proj.bias"])
def test_numbers_that_are_not_finite_are_found(publish, convert, name, value):
    folder, tensors = publish(kind="pair_classification", labels=NLI)
    tensors[name].reshape(-1)[-1] = value
    write_tensors(folder, tensors)
    with pytest.raises(CheckpointError, match=f"{name} has 1 numbers that are not finite; the first is {value} at "):
        convert(folder)
    assert_nothing_left(folder)


def test_tied_tensors_that_differ_are_refused(publish, convert):
    folder, tensors = publish(kind="mlm")
    other = tensors["roberta.embeddings.word_embeddings.weight"].copy()
    other[-1, -1] += 1
    write_tensors(folder, tensors | {"lm_head.decoder.weight": other})
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight and lm_head.decoder.weight are tied, and hold"):
        convert(folder)
    assert_nothing_left(folder)


def test_a_tied_tensor_may_stand_under_its_other_name(publish, convert):
    folder, tensors = publish(kind="mlm")
    renamed = dict(tensors)
    renamed["lm_head.decoder.weight"] = renamed.pop("roberta.embeddings.word_embeddings.weight")
    write_tensors(folder, renamed)
    out = convert(folder, multiple=1)
    assert_equal(restored(out), expected(tensors, POST, HeadSpec("mlm", "mlm")))


@pytest.mark.parametrize(
    ("rows", "words"),
    [(79, "80 ids, and the embeddings have 79 rows"), (1105, "80 ids, and the embeddings have 1,105")],
)
def test_a_vocabulary_of_another_size_is_refused(publish, convert, vocabulary, rows, words):
    folder, _ = publish(row=dataclasses.replace(POST, vocab=rows))
    with pytest.raises(CheckpointError, match=words):
        convert(folder, tokenizer=str(vocabulary))
    assert_nothing_left(folder)
    assert read_card(convert(folder, tokenizer="none")).vocabulary is None


def test_a_vocabulary_of_another_family_is_refused(publish, convert, vocabulary, tmp_path):
    folder, _ = publish(row=dataclasses.replace(POST, vocab=80))
    other = tmp_path / "mt5"
    other.mkdir()
    shutil.copy(vocabulary / "sentencepiece.bpe.model", other / "spiece.model")
    with pytest.raises(XlingError, match="family"):
        convert(folder, tokenizer=str(other))
    assert_nothing_left(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "squad"}, "--task=squad is of kind 'span_qa', and the head is of kind 'pair_classification'"),
        ({"task": "pawsx"}, "The head answers neutral, Entailment, contradiction; task 'pawsx' has"),
    ],
)
def test_a_task_that_the_head_does_not_answer(publish, convert, options, words):
    folder, _ = publish(kind="pair_classification", labels=NLI)
    with pytest.raises(CheckpointError, match=words):
        convert(folder, **options)


def test_a_conversion_that_is_stopped_leaves_nothing(publish, convert):
    folder, _ = publish()
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="Nothing of it is left") as caught:
        convert(folder, stop_asked=lambda: next(asked, True))
    assert caught.value.exit_code == 75
    assert_nothing_left(folder)


def test_a_full_disk_leaves_nothing(publish, convert):
    """A limit on the size of files stands for the disk: the system refuses to write in the same place."""
    folder, _ = publish(row=dataclasses.replace(POST, vocab=20_001))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"(?s)the disk is full .*Make room"):
            convert(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_nothing_left(folder)
    convert(folder)


def test_what_a_killed_conversion_left_is_replaced_and_a_running_one_is_not(publish, convert, tmp_path):
    folder, _ = publish()
    part = tmp_path / "out.part"
    (part / "checkpoints" / "0").mkdir(parents=True)
    (part / "rest").write_text("of another process")
    handle = os.open(part, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="Another process is writing to"):
        convert(folder)
    assert (part / "rest").exists(), "what another process writes is left alone"
    os.close(handle)
    out = convert(folder)
    assert not part.exists() and not (out / "rest").exists() and (out / "checkpoints" / "0").is_dir()


def test_planning_reads_no_numbers(publish, monkeypatch):
    folder, _ = publish()
    monkeypatch.setattr(safetensors.Stored, "read", lambda *_: pytest.fail("numbers are read"))
    assert plan_import(folder, Options()).matching.unused == ()
