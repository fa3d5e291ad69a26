"""Attention by any kernel is the same attention, and each platform gets the kernel it should."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models import attention
from xling_jax.models.attention import _cudnn, _plain, _splash, attend
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.tables.meshes import MESHES

FUSED = "tpu_custom_call"
CUDNN = "custom_call @__cudnn$fmha"


def inputs(length: int, heads: int = 2, groups: int = 2, rows: int = 2, width: int = 8):
    """Returns scaled queries, keys, values, and rows of two segments and padding."""
    keys = jax.random.split(jax.random.key(length), 3)
    query = jax.random.normal(keys[0], (rows, length, heads, width)) * width**-0.5
    key, value = (jax.random.normal(key, (rows, length, groups, width)) for key in keys[1:])
    place = jnp.arange(length)[None]
    ends = jnp.arange(rows)[:, None] + jnp.array([[length // 3]])
    segments = jnp.where(place < ends, 1, jnp.where(place < 2 * ends, 2, 0)).astype(jnp.int32)
    return query, key, value, segments


def plain(query, key, value, segments, causal=False):
    return _plain(query, key, value, segments, segments, causal=causal)


STAND_INS = {  # what computes here the same call that the platform's kernel gets
    "tpu": functools.partial(_splash, interpret=True),
    "cuda": functools.partial(_cudnn, implementation="xla"),
}


@pytest.mark.parametrize(("heads", "groups"), [(2, 2), (4, 2)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("platform", STAND_INS)
def test_the_fused_kernel_is_the_plain_one(platform, causal, heads, groups):
    """Interpreted, or JAX's reference of it, as there is no accelerator here: values, and gradients of everything."""
    *given, segments = inputs(128, heads, groups)
    inside = (segments > 0)[..., None, None]

    def total(function):
        def sums(*given):
            found = function(*given, segments, causal=causal)
            return jnp.sum(jnp.where(inside, jnp.sin(found), 0)), found

        return jax.jit(jax.value_and_grad(sums, argnums=(0, 1, 2), has_aux=True))

    (_, expected), gradient = total(plain)(*given)
    (_, found), fused = total(STAND_INS[platform])(*given)
    assert jnp.isfinite(found).all(), "padding is finite, too"
    # float32: sums of up to 43 terms, in another order; values and gradients are of order 1.
    np.testing.assert_allclose(jnp.where(inside, found, 0), jnp.where(inside, expected, 0), atol=1e-5)
    for mine, other in zip(fused, gradient, strict=True):
        assert jnp.abs(other).max() > 0.01
        np.testing.assert_allclose(mine, other, atol=1e-5)


def lowered(platform: str, length: int, context=None, gradient: bool = False, **more) -> str:
    """Returns the text of attention, lowered for a platform."""
    *given, segments = inputs(length, **more.pop("sizes", {}))
    dtype = more.pop("dtype", jnp.float32)
    given = (*(array.astype(dtype) for array in given), segments)

    def function(*given):
        return attend(*given, **more)

    if gradient:
        function = jax.grad(lambda *given: attend(*given, **more).sum())
    traced = jax.jit(function).trace
    if context is None:
        return traced(*given).lower(lowering_platforms=(platform,)).as_text()
    with context:
        return traced(*given).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("gradient", [False, True])
def test_long_rows_are_fused_on_tpus_alone(gradient):
    found = {platform: lowered(platform, 512, gradient=gradient).count(FUSED) for platform in ("tpu", "cuda", "cpu")}
    assert found == {"tpu": 3 if gradient else 1, "cuda": 0, "cpu": 0}
    if gradient:
        assert "exponential" not in lowered("tpu", 512, gradient=True), "nothing of the plain path is left"


@pytest.mark.parametrize(
    "case",
    [
        {"length": 256},
        {"length": 600},
        {"length": 512, "bias_HxLxP": jnp.zeros((2, 512, 512))},
        {"length": 512, "key_segments_BxP": jnp.ones((2, 512), jnp.int32)},
    ],
    ids=["short", "no multiple of 128", "bias", "other keys"],
)
def test_what_is_not_fused(case):
    assert FUSED not in lowered("tpu", **case)


@pytest.fixture
def ampere(monkeypatch):
    """A machine that JAX takes for one with such a GPU, as far as lowering goes."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn  # noqa: PLC0415

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda least: float(least) <= 8.0)
    device = types.SimpleNamespace(platform="gpu", compute_capability="8.0")
    monkeypatch.setattr(attention.jax, "local_devices", lambda: [device])


@pytest.mark.parametrize("gradient", [False, True])
def test_long_rows_in_bfloat16_are_fused_on_gpus(ampere, gradient):
    def calls(dtype, **sizes):
        return lowered("cuda", 512, gradient=gradient, sizes=sizes, dtype=dtype).count(CUDNN)

    assert calls(jnp.bfloat16) == (2 if gradient else 1)
    assert calls(jnp.float32) == calls(jnp.bfloat16, width=12) == 0, "which cuDNN does not have"


@pytest.mark.parametrize("other", [("gpu", "7.5"), ("gpu", "gfx942"), ("cpu", None)])
def test_other_machines_have_no_cudnn(monkeypatch, other):
    device = types.SimpleNamespace(platform=other[0], compute_capability=other[1])
    monkeypatch.setattr(attention.jax, "local_devices", lambda: [device])
    assert CUDNN not in lowered("cuda", 512, dtype=jnp.bfloat16)


@pytest.mark.parametrize("causal", [False, True])
def test_on_a_cpu_long_rows_are_the_plain_ones(causal):
    given = inputs(512, rows=1)
    scaled = (given[0], *given[1:])
    gradient = [
        jax.jit(jax.grad(lambda *given, f=f: jnp.sin(f(*given, causal=causal)).sum(), argnums=(0, 1, 2)))(*scaled)
        for f in (functools.partial(attend, scale=1.0), plain)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), *gradient)


def test_each_device_has_its_own_examples_and_heads():
    """The compiler cannot divide a kernel: it is told to run on what a device has, 2 of 8 examples and 2 of 4 heads."""
    sizes = {"rows": 8, "heads": 4, "groups": 2}
    mesh = build_mesh(MESHES["data2_fsdp2_tensor2"])
    text = lowered("tpu", 512, use_mesh(mesh, "fsdp_tensor"), sizes=sizes)
    calls = [line for line in text.splitlines() if FUSED in line]
    assert len(calls) == 1 and "tensor<2x2x512x8xf32>" in calls[0], calls
    given = inputs(512, **sizes)
    with use_mesh(mesh, "fsdp_tensor"):
        found = jax.jit(attend)(*given)
    np.testing.assert_allclose(found, attend(*given), atol=1e-6)


@pytest.mark.parametrize(
    "sizes", [{"rows": 2}, {"rows": 4, "heads": 3, "groups": 3}, {"rows": 4, "heads": 4, "groups": 1}]
)
def test_what_devices_do_not_divide_is_not_fused(sizes):
    mesh = build_mesh(MESHES["data2_fsdp2_tensor2"])
    assert FUSED not in lowered("tpu", 512, use_mesh(mesh, "fsdp_tensor"), sizes=sizes)


def test_shared_keys_are_not_repeated():
    """Four heads of queries ask one head of keys: no array has the keys four times."""
    query, key = jnp.ones((1, 3, 4, 7)), jnp.ones((1, 5, 1, 7))
    segments, keys = jnp.ones((1, 3), jnp.int32), jnp.ones((1, 5), jnp.int32)
    jaxpr = jax.make_jaxpr(attend)(query, key, key, segments, keys)
    sizes = [var.aval.size for equation in jaxpr.eqns for var in equation.outvars]
    assert 1 * 5 * 4 * 7 not in sizes and len(sizes) > 5, sizes
