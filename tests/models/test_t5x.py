"""t5x's layouts, written here as t5x and Orbax write them, and read leaf by leaf."""

import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore
from flax import serialization

from xling_jax.errors import CheckpointError
from xling_jax.models.build import build_config, build_model, init_params
from xling_jax.models.weights import t5x
from xling_jax.models.weights.tensors import read_tree, to_theirs
from xling_jax.tables.models import MODELS, MULTIPLE

VOCAB = 40
WIDTH, HEADS, HEAD, MLP, BUCKETS = 16, 2, 6, 32, 8
STACKS = {"encoder": 2, "decoder": 3}


def numbers(*shape: int) -> np.ndarray:
    """Returns numbers that tell leaves and places apart, and that bfloat16 can hold."""
    rng = np.random.default_rng([*shape])
    return rng.standard_normal(shape).astype(jnp.bfloat16).astype(np.float32)


def attention(joined: bool) -> dict:
    """Returns one attention's kernels: as the minimal T5 has them, or with axes of their own."""
    into, out = numbers(WIDTH, HEADS, HEAD), numbers(HEADS, HEAD, WIDTH)
    kernels = {"query": into, "key": into + 1, "value": into + 2, "out": out}
    shapes = {name: (WIDTH, -1) if name != "out" else (-1, WIDTH) for name in kernels}
    return {name: {"kernel": kernel.reshape(shapes[name]) if joined else kernel} for name, kernel in kernels.items()}


def layer(stack: str, joined: bool) -> dict:
    mlp = {"wi_0": numbers(WIDTH, MLP), "wi_1": numbers(WIDTH, MLP) + 1, "wo": numbers(MLP, WIDTH)}
    parts = {"mlp": {name: {"kernel": kernel} for name, kernel in mlp.items()}}
    norms = ["pre_mlp_layer_norm"]
    if stack == "encoder":
        parts |= {"attention": attention(joined)}
        norms += ["pre_attention_layer_norm"]
    else:
        parts |= {"self_attention": attention(joined), "encoder_decoder_attention": attention(joined)}
        norms += ["pre_self_attention_layer_norm", "pre_cross_attention_layer_norm"]
    return parts | {name: {"scale": numbers(WIDTH) + number} for number, name in enumerate(norms)}


def apart(kind: str, joined: bool = True) -> dict:
    """Returns the parameters with layers apart; every layer has numbers of its own."""
    table = numbers(HEADS, BUCKETS)
    tree: dict = {"token_embedder": {"embedding": numbers(VOCAB, WIDTH)}}
    for stack, depth in STACKS.items():
        tree[stack] = {f"{stack}_norm": {"scale": numbers(WIDTH)}}
        for number in range(depth):
            own = layer(stack, joined) | ({"relpos_bias": {"rel_embedding": table}} if kind == "umt5" else {})
            tree[stack][f"layers_{number}"] = jax.tree.map(lambda leaf, number=number: leaf + 10 * number, own)
        if kind == "mt5":
            tree[stack]["relpos_bias"] = {"rel_embedding": table}
    tree["decoder"]["logits_dense"] = {"kernel": numbers(WIDTH, VOCAB)}
    return tree


def scanned(inside: dict, example: bool) -> dict:
    """Returns the same with layers on axis 1, named as umT5's checkpoints are, or as t5x's example network."""
    tree = {"token_embedder": inside["token_embedder"]}
    for stack, depth in STACKS.items():
        layers = [inside[stack][f"layers_{number}"] for number in range(depth)]
        whole = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *layers)
        if example:
            whole["relative_posemb"] = whole.pop("relpos_bias")
        rest = {name: part for name, part in inside[stack].items() if not name.startswith("layers_")}
        tree[stack] = rest | {"layers" if example else stack: whole}
    return tree


def write_zarr(folder, array: np.ndarray, chunks: list[int]) -> None:
    metadata = {"shape": list(array.shape), "chunks": chunks, "compressor": {"id": "gzip", "level": 1}}
    dtype = tensorstore.dtype(array.dtype).name
    spec = {"driver": "zarr", "dtype": dtype, "kvstore": {"driver": "file", "path": f"{folder}/"}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(array).result()


def write_legacy(folder, tree: dict, version: int = 3, dtype=np.float32, oldest: bool = False):
    """Writes the legacy layout: norms inline, everything else in chunks of several along each axis."""
    folder.mkdir()

    def write(path, leaf):
        name = ".".join(part.key for part in path)
        leaf = leaf.astype(dtype)
        if leaf.ndim == 1:
            return leaf
        write_zarr(folder / f"target.{name}", leaf, [max(1, size // 2 + 1) for size in leaf.shape])
        place = {"driver": "gfile", "path": f"target.{name}/"}
        return {
            "driver": "zarr",
            "dtype": "float32",
            **({"path": place["path"]} if oldest else {"kvstore": place}),
            "metadata": {"shape": list(leaf.shape), "chunks": list(leaf.shape)},
        }

    target = jax.tree_util.tree_map_with_path(write, tree)
    slots = {"param_states": {"token_embedder": {"embedding": {"v": np.zeros(3)}}}, "step": np.int32(7)}
    content = {"version": version, "optimizer": {"target": target, "state": slots}}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(content))
    return folder


def write_orbax(folder, tree: dict, ocdbt: bool):
    """Writes what Orbax writes for t5x: below `state` the parameters and the optimiser's slots."""
    content = {"target": tree, "state": {"step": np.int32(7), "param_states": {"v": np.zeros(3)}}}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)) as checkpointer:
        checkpointer.save(folder / "state", args=ocp.args.PyTreeSave(content))
    return folder


def read(folder) -> tuple:
    """Returns (row, parameters) as they are read here."""
    stored = t5x.open_tensors(folder)
    row = t5x.row_of(stored)
    config = build_config(row, 2)
    model = build_model(config)
    shapes = jax.eval_shape(lambda: nn.meta.unbox(init_params(model, jax.random.key(0))))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    by_path = {"/".join(part.key for part in path): leaf.shape for path, leaf in leaves}
    rows = t5x.tensors(config)
    assert sorted(tensor.ours for tensor in rows) == sorted(by_path)
    return row, read_tree(rows, by_path, lambda name: stored[name].read())


def expected(kind: str) -> dict:
    """Returns our leaves of `apart(kind)`, put together by hand."""
    tree = apart(kind, joined=False)

    def stacked(stack: str, *path: str):
        def leaf(number):
            node = tree[stack][f"layers_{number}"]
            for part in path:
                node = node[part]
            return node

        return np.stack([leaf(number) for number in range(STACKS[stack])])

    def block(stack: str, module: str, kind: str) -> dict:
        names = {f"{kind}query": "query", f"{kind}key": "key", f"{kind}value": "value"}
        names[f"{kind or 'attention_'}out"] = "out"
        return {ours: {"kernel": stacked(stack, module, theirs, "kernel")} for ours, theirs in names.items()}

    spare = ((0, -VOCAB % MULTIPLE), (0, 0))  # rows of zeros
    body: dict = {
        "word": {"embedding": np.pad(tree["token_embedder"]["embedding"], spare)},
        "output": {"kernel": np.pad(tree["decoder"]["logits_dense"]["kernel"].T, spare)},
    }
    norms = {
        "encoder": {"attention_norm": "pre_attention_layer_norm"},
        "decoder": {
            "attention_norm": "pre_self_attention_layer_norm",
            "memory_norm": "pre_cross_attention_layer_norm",
        },
    }
    for stack in STACKS:
        layers = block(stack, "attention" if stack == "encoder" else "self_attention", "")
        if stack == "decoder":
            layers |= block(stack, "encoder_decoder_attention", "memory_")
        for ours, theirs in {"mlp_gate": "wi_0", "mlp_in": "wi_1", "mlp_out": "wo"}.items():
            layers[ours] = {"kernel": stacked(stack, "mlp", theirs, "kernel")}
        for ours, theirs in (norms[stack] | {"mlp_norm": "pre_mlp_layer_norm"}).items():
            layers[ours] = {"scale": stacked(stack, theirs, "scale")}
        body[stack] = {"norm": tree[stack][f"{stack}_norm"], "layers": layers}
        if kind == "umt5":
            table = stacked(stack, "relpos_bias", "rel_embedding").swapaxes(1, 2)
            layers["relative"] = {"table": table}
        else:
            body[stack]["relative"] = {"table": tree[stack]["relpos_bias"]["rel_embedding"].T}
    return {"body": body}


LAYOUTS = {
    "legacy": lambda path: write_legacy(path, apart("mt5")),
    "legacy_bfloat16": lambda path: write_legacy(path, apart("mt5"), dtype=jnp.bfloat16),
    "legacy_version_2": lambda path: write_legacy(path, apart("mt5"), version=2, oldest=True),
    "legacy_scanned": lambda path: write_legacy(path, scanned(apart("umt5", joined=False), example=False)),
    "orbax": lambda path: write_orbax(path, apart("mt5"), ocdbt=True),
    "orbax_folders": lambda path: write_orbax(path, apart("mt5"), ocdbt=False),
    "orbax_scanned": lambda path: write_orbax(path, scanned(apart("umt5", joined=False), example=True), ocdbt=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_parameters(layout, tmp_path):
    row, found = read(LAYOUTS[layout](tmp_path / "checkpoint_7"))
    kind = "umt5" if "scanned" in layout else "mt5"
    wanted = MODELS[f"tiny_{kind}"]
    assert (row.layers, row.decoder_layers, row.width, row.heads) == (2, 3, WIDTH, HEADS)
    assert (row.head_width, row.mlp, row.vocab, row.buckets) == (HEAD, MLP, VOCAB, BUCKETS)
    assert (row.relative, row.pad, row.eps, row.gelu) == (wanted.relative, wanted.pad, wanted.eps, wanted.gelu)
    # bfloat16 holds 8 bits; the numbers of later layers have more, up to a 2 ** 5 with 2 ** -8 of it.
    atol = 0.2 if "bfloat16" in layout else 0.0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.float32(a), b, atol=atol, rtol=0), found, expected(kind))


def test_dtypes_are_those_of_the_arrays(tmp_path):
    stored = t5x.open_tensors(write_legacy(tmp_path / "checkpoint_7", apart("mt5"), dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in stored.values()} == {jnp.dtype("bfloat16")}
    assert stored["decoder/decoder_norm/scale"].read().dtype == jnp.dtype("bfloat16"), "inline in the tree"


@pytest.mark.parametrize("layout", ["legacy", "legacy_scanned"])
def test_rows_of_a_tensor_can_be_read_alone(layout, tmp_path):
    stored = t5x.open_tensors(LAYOUTS[layout](tmp_path / "checkpoint_7"))
    for name in (
        "token_embedder/embedding",
        "encoder/layers_1/attention/out/kernel",
        "decoder/layers_2/mlp/wi_0/kernel",
        "decoder/layers_0/pre_mlp_layer_norm/scale",
    ):
        whole = stored[name].read()
        assert whole.shape == stored[name].shape
        np.testing.assert_array_equal(stored[name].read(3, 7), whole[3:7])


def test_arrays_are_read_when_asked_for(tmp_path):
    """Opening reads no array: what is lost after it is missed only by who reads it."""
    folder = LAYOUTS["legacy"](tmp_path / "checkpoint_7")
    stored = t5x.open_tensors(folder)
    shutil.rmtree(folder / "target.decoder.logits_dense.kernel")
    assert stored["token_embedder/embedding"].read().shape == (VOCAB, WIDTH)
    assert not stored["decoder/logits_dense/kernel"].read().any()


def broken_tree(folder, change) -> None:
    """Rewrites the tree of a legacy checkpoint after a change."""
    content = serialization.msgpack_restore((folder / "checkpoint").read_bytes())
    change(content)
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(content))


def lose_a_chunk(folder) -> None:
    (folder / "target.token_embedder.embedding" / "1.0").unlink()


def lose_an_array(folder) -> None:
    shutil.rmtree(folder / "target.encoder.layers_1.mlp.wi_0.kernel")


def another_shape(folder) -> None:
    shutil.rmtree(folder / "target.token_embedder.embedding")
    write_zarr(folder / "target.token_embedder.embedding", numbers(VOCAB + 1, WIDTH), [8, 8])


def lose_the_output(folder) -> None:
    broken_tree(folder, lambda content: content["optimizer"]["target"]["decoder"].pop("logits_dense"))


WRONG = {
    "tensorflow": (
        lambda folder: (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000000"'),
        "a checkpoint of TensorFlow",
    ),
    "version": (lambda folder: broken_tree(folder, lambda content: content.update(version=1)), "has version 1 of"),
    "bare": (lambda folder: broken_tree(folder, lambda content: content.pop("optimizer")), "has version 3 of"),
    "cut_off": (
        lambda folder: (folder / "checkpoint").write_bytes((folder / "checkpoint").read_bytes()[:-40]),
        "is cut off or broken",
    ),
    "chunk": (lose_a_chunk, r"token_embedder/embedding in .* has 3 of 4 chunks"),
    "array": (lose_an_array, r"encoder/layers_1/mlp/wi_0/kernel in .* is missing or cannot be read"),
    "shape": (another_shape, r"has shape \(41, 16\), the tree says \(40, 16\)"),
    "no_output": (lose_the_output, "has no decoder/logits_dense/kernel: it is not of mT5"),
    "nothing": (
        lambda folder: broken_tree(folder, lambda content: content["optimizer"].pop("target")),
        "has no parameters below 'target'",
    ),
    "another_folder": (lambda folder: (folder / "checkpoint").rename(folder / "model.bin"), "is no checkpoint of t5x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case, tmp_path):
    folder = LAYOUTS["legacy"](tmp_path / "checkpoint_7")
    change, message = WRONG[case]
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        read(folder)


def test_an_empty_folder_and_none(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match=r"is no checkpoint of t5x.*\nFound: nothing"):
            t5x.open_tensors(folder)


def test_what_is_written_is_read_again(tmp_path):
    """In the layout that t5x trains from: a tree of version 3 that names each array, and no optimiser's slots."""
    row, found = read(LAYOUTS["legacy"](tmp_path / "checkpoint_7"))
    stored = t5x.open_tensors(tmp_path / "checkpoint_7")
    flat = {"/".join(part.key for part in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found)}

    def arrays():
        for tensor in t5x.tensors(build_config(row, 2)):
            leaf = flat[tensor.ours]
            for number in range(len(leaf)) if "{}" in tensor.theirs else [None]:
                name = tensor.theirs.format(number)
                part = leaf if number is None else leaf[number]
                yield name, to_theirs(tensor, part, stored[name].shape)

    written = tmp_path / "checkpoint_8"
    t5x.write_legacy(written, 8, arrays())
    again_row, again = read(written)
    assert again_row == row
    jax.tree.map(np.testing.assert_array_equal, again, found)
    content = serialization.msgpack_restore((written / "checkpoint").read_bytes())
    assert (content["version"], int(content["optimizer"]["state"]["step"])) == (3, 8)
    leaf = content["optimizer"]["target"]["encoder"]["layers_1"]["mlp"]["wo"]["kernel"]
    assert leaf["kvstore"]["path"] == "target.encoder.layers_1.mlp.wo.kernel/"
    zarray = json.loads((written / leaf["kvstore"]["path"] / ".zarray").read_text())
    assert (zarray["shape"], zarray["dtype"], zarray["compressor"]["id"]) == ([MLP, WIDTH], "<f4", "gzip")
