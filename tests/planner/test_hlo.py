"""Bytes that a compiled program moves, of a text written by hand and of programs that are compiled here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from xling_jax.planner.hlo import parse, traffic

# A loop of 12 steps, counted by twos, in a TPU's words: a gather that is hidden behind other work stands twice, half
# of a sum is kept, and what only takes a slice of an array reads the slice.
TEXT = """HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8,16]{1,0:T(8,128)})->f32[8,16]{1,0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%fused (p.0: f32[12,8,16], p.1: s32[]) -> f32[1,8,16] {
  %p.0 = f32[12,8,16]{2,1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)S(6)} parameter(1)
  %zero.1 = s32[] constant(0)
  ROOT %taken = f32[1,8,16]{2,1,0:T(8,128)} dynamic-slice(%p.0, %p.1, %zero.1, %zero.1), dynamic_slice_sizes={1,8,16}
}

%all-reduce-scatter.1 (part: bf16[64,16]) -> bf16[32,16] {
  %part = bf16[64,16]{1,0:T(8,128)(2,1)} parameter(0)
  %whole = bf16[64,16]{1,0} all-reduce(%part), channel_id=3, replica_groups=[4,2]<=[8], to_apply=%add
  %at = s32[] constant(0)
  ROOT %half = bf16[32,16]{1,0} dynamic-slice(%whole, %at, %at), dynamic_slice_sizes={32,16}
}

%body (state: (s32[], f32[12,8,16], bf16[64,16])) -> (s32[], f32[12,8,16], bf16[64,16]) {
  %state = (s32[], f32[12,8,16]{2,1,0}, bf16[64,16]{1,0}) parameter(0)
  %at.1 = s32[]{:T(128)} get-tuple-element(%state), index=0
  %two = s32[]{:T(128)} constant(2)
  %next = s32[]{:T(128)} add(%at.1, %two)
  %all = f32[12,8,16]{2,1,0} get-tuple-element(%state), index=1
  %grads = bf16[64,16]{1,0} get-tuple-element(%state), index=2
  %one = f32[1,8,16]{2,1,0:T(8,128)} fusion(%all, %at.1), kind=kLoop, calls=%fused
  %got = f32[4,8,16]{2,1,0} all-gather(%one), channel_id=1, replica_groups=mesh['a'=4,'b'=2], device_ids=([8]) {'a'}
  %again = f32[4,8,16]{2,1,0} all-gather(%one), channel_id=1, replica_groups=mesh['a'=4,'b'=2] {'a'}, dimensions={0}
  %kept = bf16[32,16]{1,0} fusion(%grads), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %out = (s32[], f32[12,8,16]{2,1,0}, bf16[64,16]{1,0}) tuple(%next, %all, %grads)
}

%condition (state.1: (s32[], f32[12,8,16], bf16[64,16])) -> pred[] {
  %state.1 = (s32[], f32[12,8,16]{2,1,0}, bf16[64,16]{1,0}) parameter(0)
  %at.2 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant(12)
  ROOT %less = pred[] compare(%at.2, %limit), direction=LT
}

ENTRY %main (first: f32[8,16], many: f32[12,8,16], grads.1: bf16[64,16]) -> f32[8,16] {
  %first = f32[8,16]{1,0:T(8,128)} parameter(0)
  %many = f32[12,8,16]{2,1,0} parameter(1)
  %grads.1 = bf16[64,16]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %init = (s32[], f32[12,8,16]{2,1,0}, bf16[64,16]{1,0}) tuple(%zero, %many, %grads.1)
  %loop = (s32[], f32[12,8,16]{2,1,0}, bf16[64,16]{1,0}) while(%init), condition=%condition, body=%body
  %total = f32[8,16]{1,0} all-reduce(%first), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %near = f32[8,16]{1,0:T(8,128)S(1)} copy(%total)
  ROOT %moved = f32[8,16]{1,0} collective-permute(%total), channel_id=8, source_target_pairs={{0,1},{1,0}}
}
"""
LINE, GRADS, TRIPS = 8 * 16 * 4, 64 * 16 * 2, 6


def test_collectives_of_a_text():
    assert traffic(TEXT, 8).collectives == {
        "all-gather": TRIPS * LINE * 3,  # three others of four, once for each channel
        "all-reduce": 2 * LINE * 7 // 8,
        "collective-permute": LINE,
        "reduce-scatter": TRIPS * GRADS // 2,
    }


def test_bytes_of_a_text():
    inside = (4 + 4 + 4) + (4 + 2 * LINE)  # the counter; the slice, read and written, and where it stands
    inside += 2 * (LINE + 4 * LINE) + (GRADS + GRADS // 2)  # both gathers of the text, the sum of which half is kept
    outside = 2 * LINE + LINE + 2 * LINE  # the sum, a copy into a memory that is not counted, what is sent on
    # The parameter of a fusion that is a scalar in scalar memory is not in the main one.
    assert traffic(TEXT, 8).moved == pytest.approx(TRIPS * inside + outside, abs=TRIPS * 8)


def test_names_and_the_entry():
    computations, entry = parse(TEXT)
    assert entry == "main" and set(computations) == {
        "add",
        "fused",
        "all-reduce-scatter.1",
        "body",
        "condition",
        "main",
    }
    assert computations["body"]["kept"].attribute("calls") == "all-reduce-scatter.1"
    assert [made.name for made in computations["body"].values() if made.root] == ["out"]


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def compiled(function, mesh, *arguments):
    shapes = [jax.ShapeDtypeStruct(shape, np.float32, sharding=NamedSharding(mesh, spec)) for shape, spec in arguments]
    return jax.jit(function, out_shardings=NamedSharding(mesh, P())).lower(*shapes).compile().as_text()


def test_a_sum_over_all_devices(mesh):
    text = compiled(lambda x: x.sum(axis=0), mesh, ((16, 128), P(("data", "fsdp"))))
    assert traffic(text, 8).collectives == {"all-reduce": 2 * 128 * 4 * 7 // 8}


def test_layers_that_are_gathered_one_by_one(mesh):
    def layers(x, kernels):
        return jax.lax.scan(lambda x, kernel: (jnp.sin(x @ kernel), None), x, kernels)[0].sum()

    text = compiled(layers, mesh, ((16, 64), P("data")), ((6, 64, 64), P(None, None, "fsdp")))
    found = traffic(text, 8).collectives
    # However the compiler does it: each of 6 layers brings together what 4 devices hold of 8 rows of 64.
    assert sum(found.values()) >= 6 * (8 * 64 * 4) * 3 // 4, found
    assert sum(found.values()) <= 3 * 6 * (64 * 64 * 4), found
    whole = 6 * 64 * 64 * 4
    assert whole // 4 <= traffic(text, 8).moved <= 20 * whole
