"""What makes the program fast, in counts that no machine changes: a change that costs speed is seen here first.

Steps are those of XLM-R base with its whole vocabulary, compiled for the CPU and never run.
"""

import functools
import json
import os
import pathlib
import platform
import re

import jax
import numpy as np
import pytest

from xling_jax.data.batches import blank
from xling_jax.data.formats import format_of
from xling_jax.data.order import Bucketed, Draws, Packed
from xling_jax.data.texts import shapes
from xling_jax.experiment import Experiment, Target
from xling_jax.models.build import HeadSpec, head_spec
from xling_jax.optim import Optim
from xling_jax.planner.flops import count_flops
from xling_jax.stages.programs import Programs, _taken_apart
from xling_jax.stages.transfer import BODY
from xling_jax.tables.models import model
from xling_jax.tables.tasks import TASKS
from xling_jax.train.loop import train

GOLDEN = pathlib.Path(__file__).parent / "golden" / "counts.json"
ROWS, LENGTH, STEPS, EVERY = 8, 128, 40, 20
HEADS = {"classification": head_spec(TASKS["mnli"]), "spans": head_spec(TASKS["squad"]), "mlm": HeadSpec("mlm", "mlm")}
SLOW = {"spans": pytest.mark.slow}  # to compile a step takes twenty seconds
TASK_OF = {"classification": "mnli", "spans": "squad", "mlm": "xnli_text"}


@functools.cache
def step(name: str) -> dict[str, float]:
    """Returns the counts of a training step of packed rows."""
    row, head, optim = model("xlmr_base"), HEADS[name], Optim()
    programs = Programs(Experiment(model=row.name, mesh="one"), row, row.vocab, row.vocab - 1)
    place = jax.sharding.NamedSharding(programs.mesh, jax.sharding.PartitionSpec())
    given = blank(format_of(TASKS[TASK_OF[name]].kind).FEATURES, ROWS, LENGTH, packed=True)
    shapes = {key: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=place) for key, value in given.items()}
    _, state = programs.state_maker((head,), optim)
    traced = programs.step((head,), head, optim, 1).trace(state, shapes, 0.0, 0)
    compiled = traced.lower().compile()
    height = row.vocab + -row.vocab % row.multiple
    table = rf"= f32\[{height},{row.width}\]\S* (?!parameter|get-tuple-element|bitcast)"
    entry = compiled.as_text().split("\nENTRY ")[1]
    return {
        "GFLOPs of products": round(count_flops(traced.jaxpr) / 1e9, 1),
        "arrays of the embedding's shape": len(re.findall(table, entry)),
        "MiB of temporaries": round(compiled.memory_analysis().temp_size_in_bytes / 2**20),
    }


def read() -> dict[str, float]:
    """Returns the counts of the program that answers packed rows for one head, layers taken apart."""
    row, head = model("xlmr_base"), HEADS["classification"]
    target = Target("xnli", max_length=LENGTH)
    programs = Programs(Experiment(model=row.name, mesh="one", targets={"xnli": target}), row, row.vocab, row.vocab - 1)
    params = programs.state_maker((head,), Optim())[1]["params"]
    layers = jax.eval_shape(_taken_apart, params[BODY]["layers"])
    params = params | {BODY: params[BODY] | {"layers": layers}}
    given = {name: jax.ShapeDtypeStruct(shape, np.int32) for name, shape in shapes(ROWS, LENGTH).items()}
    traced = programs.output((head,), target).program.trace(params, given)
    compiled = traced.lower().compile()
    return {
        "GFLOPs of products": round(count_flops(traced.jaxpr) / 1e9, 1),
        "products that XLA calls Eigen for": compiled.as_text().split("\nENTRY ")[1].count(" dot("),
        "MiB of temporaries": round(compiled.memory_analysis().temp_size_in_bytes / 2**20),
    }


def padding() -> dict[str, float]:
    """Returns the shares of padding of examples whose lengths are spread as pairs of sentences are."""
    lengths_N = np.clip(np.random.default_rng(0).lognormal(3.5, 0.5, 8192), 8, 128).astype(np.int64)
    draws, found = Draws([lengths_N], [1.0], 0), {}
    buckets = (24, 32, 40, 48, 64, 80, 96, 128)
    for order in (Packed(draws, 32, 200, 128), Bucketed(draws, 32, 200, buckets)):
        windows = [order.window(number) for number in range(2)]
        tokens = sum(rows.length_N.sum() for rows in windows)
        if order.packed:
            places = sum(128 * (len(rows.begin_R) - 1) for rows in windows)
        else:
            longest = np.concatenate([rows.length_N.reshape(-1, 32).max(axis=1) for rows in windows])
            places = 32 * np.take(buckets, np.searchsorted(buckets, longest)).sum()
        found["packed" if order.packed else "bucketed"] = round(float(1 - tokens / places), 4)
    return found


def syncs(monkeypatch) -> int:
    """Returns how often the loop waits for numbers from the devices."""
    fetched, get = [], jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(1) or get(tree))
    metrics = {"loss": jax.numpy.float32(1.0), "bad_step": jax.numpy.int32(-1)}
    nothing = lambda *_: None  # noqa: E731
    train(
        {},
        STEPS,
        iter([("x", {"input_ids": np.zeros((2, 2), np.int32)})] * STEPS),
        {"x": lambda state, batch, rate: (state, dict(metrics))},
        start=0,
        rate=lambda step: 0.1,
        place=lambda batch: batch,
        log_every=EVERY,
        save_every=0,
        log=nothing,
        save=nothing,
        stop_asked=lambda: False,
        identify=lambda step: [],
    )
    return len(fetched)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def held(name: str, found, golden) -> None:
    """Compares counts with those that are written down, or writes them down."""
    if "XLING_WRITE_GOLDEN" in os.environ:
        golden[name] = found
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n", encoding="utf-8")
    # The compiler may fuse otherwise on another processor, and temporaries differ a little then.
    close = {key: pytest.approx(value, rel=0.03 if key.startswith("MiB") else 0) for key, value in golden[name].items()}
    assert found == close, (
        f"The counts of '{name}' are not those of {GOLDEN.name}. More is slower. Where that is meant, or it is less, "
        "run this test with XLING_WRITE_GOLDEN=1, read the difference, and say it in CHANGELOG.md."
    )


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in HEADS])
def test_steps(name, golden):
    """The embedding and its two moments are made anew once; where it is the softmax's matrix, there is a gradient."""
    held(f"step: {name}", step(name), golden)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other products")
def test_reading(golden):
    """Six products of each layer; of attention those of the last layer, too: elsewhere they are one with softmax."""
    held("read: classification", read(), golden)


def test_padding(golden):
    held("padding", padding(), golden)


def test_host_syncs(monkeypatch, golden):
    held("host syncs", {f"in {STEPS} steps, metrics every {EVERY}": syncs(monkeypatch)}, golden)
