"""The fastest way that fits: every way is legal, estimates prune, compilers decide."""

import dataclasses

import pytest

from xling_jax.errors import ConfigError
from xling_jax.planner import search as search_module
from xling_jax.planner.draft import Draft
from xling_jax.planner.search import Way, search, ways, with_way
from xling_jax.planner.topology import devices_of
from xling_jax.tables.models import MODELS
from xling_jax.tables.slices import slice_of

EIGHT = slice_of("cpu-8")
XXL = MODELS["xlmr_xxl"]


def test_every_way_divides_what_it_must():
    found = list(ways(XXL, 64, 128, 256))
    assert len(set(found)) == len(found) > 50
    for way in found:
        data, fsdp, tensor = map(int, way.mesh.split("x"))
        assert data * fsdp * tensor == 64 and 128 % (data * fsdp * way.accumulate) == 0
        assert XXL.heads % tensor == 0 and XXL.mlp % tensor == 0
        assert (tensor > 1) == (way.strategy == "fsdp_tensor") and (fsdp > 1 or tensor > 1 or way.strategy == "data")
    assert Way("fsdp", "1x64x1", "full", 2, 0) in found and Way("data", "64x1x1", "none", 1, 0) in found


def test_groups_of_heads_are_not_divided():
    grouped = dataclasses.replace(XXL, groups=4)
    assert max(int(way.mesh.split("x")[2]) for way in ways(grouped, 64, 128, 256)) == 4


def test_batches_decide_how_many_chips_share_one():
    def shares(*sizes, **how):
        return {way.devices for way in ways(XXL, 64, *sizes, **how)}

    assert shares(128, 256) == {4, 8, 16, 32, 64}, "at most sixteen chips share a layer"
    assert shares(128, 8) == {4, 8} == shares(8, 256), "evaluation has batches, too"
    assert shares(7, 256) == set() and shares(7, 256, batches=(32,)) == {4, 8, 16, 32}
    assert {way.batch for way in ways(XXL, 64, 7, 256, batches=(32, 64))} == {32, 64}


def test_no_mesh_divides_the_batches(plan, count):
    odd = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, eval_batch_size=7))
    with pytest.raises(ConfigError, match="No mesh of the 128 chips of v5e-128 divides the batches of training and"):
        search(odd, slice_of("v5e-128"), None, count, only="arms.nli")


def test_a_plan_is_divided_whole(plan):
    way = Way("fsdp_tensor", "1x4x2", "dots", 2, 0)
    divided = with_way(plan, way)
    assert (divided.experiment.strategy, divided.experiment.mesh, divided.experiment.remat) == way_of(way)
    trained = [node for node in divided.nodes if not node.imported]
    assert {(node.stage.accumulate, node.stage.batch_size) for node in trained} == {(2, 16), (2, 32)}
    other = with_way(plan, dataclasses.replace(way, batch=64, accumulate=16))
    assert {(node.stage.accumulate, node.stage.batch_size) for node in other.nodes} == {(16, 64)}
    assert [node.name for node in divided.nodes] == [node.name for node in plan.nodes]
    assert all(one.node in divided.nodes for one in divided.evaluations), "evaluations follow their stages"


def way_of(way):
    return way.strategy, way.mesh, way.remat


def test_without_a_compiler_the_best_estimate_wins(plan, count, counted):
    said: list[str] = []
    found = search(plan, EIGHT, None, count, only="arms.nli", counted=counted, say=said.append)
    assert any("ways to divide" in line for line in said) and any("may fit" in line for line in said)
    best = found.plan_on(count, only="arms.nli", compiling="largest", effort="full", say=said.append)
    assert best["method"] == "estimated" and best["fits"] and best["remat"] == found.way.remat
    others = {
        way: Draft(with_way(plan, way), EIGHT, None, counted=counted) for way in [*ways(plan.row, 8, 16, 64)][::7]
    }
    for _, (_, row) in search_module._guesses(others, count, "arms.nli"):
        assert search_module._rate(row, EIGHT) >= -best["tokens_per_second"] - 1e-6


def test_where_nothing_fits_the_least_is_told(plan, count, counted):
    tiny = dataclasses.replace(EIGHT, chip=dataclasses.replace(EIGHT.chip, memory=1000))
    said: list[str] = []
    found = search(plan, tiny, None, count, only="arms.nli", counted=counted, say=said.append)
    assert any("nothing fits" in line for line in said)
    told = found.plan_on(count, only="arms.nli", compiling="largest", effort="full", say=said.append)
    assert not told["fits"] and told["peak_bytes_per_chip"] > 1000 and told["step_seconds_roofline"] is None
    assert found.way.remat == "full" and found.way.mesh.startswith("1x")


@pytest.mark.slow
def test_the_winner_is_compiled_in_full(plan, count, counted, tmp_path):
    said: list[str] = []
    found = search(
        plan,
        EIGHT,
        devices_of(EIGHT),
        count,
        only="arms.nli",
        tries=2,
        cache=tmp_path,
        counted=counted,
        say=said.append,
    )
    best = found.plan_on(count, only="arms.nli", compiling="largest", effort="full", say=said.append)
    assert (best["method"], best["effort"]) == ("compiled", "full")
    assert [line.split(": ")[1] for line in said if "compiling" in line][:2] == ["1 of at most 7", "2 of at most 7"]
