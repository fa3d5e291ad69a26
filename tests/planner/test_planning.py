"""A plan of a small experiment on eight simulated devices, compiled and estimated."""

import dataclasses

import pytest
from small_plans import fields

from xling_jax.errors import ConfigError
from xling_jax.experiment import from_config
from xling_jax.planner.draft import Draft
from xling_jax.planner.planning import open_plan, plan_on
from xling_jax.planner.roofline import Figures, bound, chip_hours, seconds, step_seconds
from xling_jax.planner.topology import devices_of
from xling_jax.tables.slices import slice_of

EIGHT = slice_of("cpu-8")
CONTRACT = """topology chips hbm_per_chip_bytes peak_bytes_per_chip fits flops_per_step collective_bytes_per_chip
step_seconds_roofline tokens_per_second chip_hours strategy remat global_batch mesh stage method assumptions
cost_dollars""".split()


@pytest.fixture(scope="module")
def estimated(plan, count, counted):
    return plan_on(Draft(plan, EIGHT, None, counted=counted), count, effort="fast")


@pytest.fixture(scope="module")
def compiled(plan, count, counted, tmp_path_factory):
    """Only the classification stage: its step and its evaluation are compiled."""
    draft = Draft(plan, EIGHT, devices_of(EIGHT), cache=tmp_path_factory.mktemp("cache"), counted=counted)
    said = []
    found = plan_on(draft, count, only="arms.nli", effort="full", say=said.append)
    return found, said, draft


def test_the_fields_are_a_contract(estimated):
    assert set(CONTRACT) <= set(estimated)
    inside = set(CONTRACT) - {"assumptions"}
    assert [row["stage"] for row in estimated["stages"]] == ["pretrain", "targets.pos", "arms.nli"], "as they run"
    assert all(inside <= set(row) for row in estimated["stages"])
    assert (estimated["topology"], estimated["chips"], estimated["mesh"]) == ("cpu-8", 8, "1x8x1")
    assert (estimated["strategy"], estimated["remat"], estimated["method"]) == ("fsdp", "none", "estimated")
    assert any("never checked on a chip" in text for text in estimated["assumptions"])
    assert any("without a compiler" in text for text in estimated["assumptions"])


def test_hours_add_up(estimated):
    hours = sum(row["training_chip_hours"] + row["evaluation_chip_hours"] for row in estimated["stages"])
    assert estimated["chip_hours"] == pytest.approx(hours)
    assert estimated["cost_dollars"] == pytest.approx(hours * EIGHT.chip.price)
    (row,) = (row for row in estimated["stages"] if row["stage"] == "targets.pos")
    step = row["step_seconds_roofline"]
    assert row["training_chip_hours"] == pytest.approx(4 * 30 * step * 8 / 3600), "four trainings of 30 steps"
    asked = sum(one["batches"] * one["step_seconds_roofline"] for one in row["evaluations"])
    assert row["evaluation_chip_hours"] == pytest.approx(asked * 8 / 3600)
    assert estimated["tokens_per_second"] == pytest.approx(
        estimated["tokens_per_step"] / estimated["step_seconds_roofline"]
    )


def test_what_is_compiled(compiled, plan):
    found, said, _ = compiled
    (row,) = found["stages"]
    assert found["method"] == row["method"] == "compiled" and found["fits"]
    assert {one["method"] for one in row["evaluations"]} == {"compiled"}
    assert sum("compiling" in line for line in said) == 2, "one step, one evaluation; and it says so"
    parameters = found["parameter_bytes_per_chip"]
    assert 2 * parameters < found["optimizer_bytes_per_chip"] < 2 * parameters + 64, "two moments, a counter"
    assert parameters + found["optimizer_bytes_per_chip"] < found["peak_bytes_per_chip"]
    assert found["collectives"] and found["collective_bytes_per_chip"] == sum(found["collectives"].values())
    assert not any("without a compiler" in text for text in found["assumptions"])


def test_an_estimate_promises_no_more_than_what_is_compiled(compiled, estimated):
    """The factor of two is that of models worth planning (test_tpu.py); of this one small arrays make it larger."""
    (row,) = compiled[0]["stages"]
    (guess,) = (row for row in estimated["stages"] if row["stage"] == "arms.nli")
    assert guess["flops_per_step"] == row["flops_per_step"]
    assert guess["parameter_bytes_per_chip"] == row["parameter_bytes_per_chip"]
    assert guess["optimizer_bytes_per_chip"] == row["optimizer_bytes_per_chip"]
    assert 0.5 < guess["peak_bytes_per_chip"] / row["peak_bytes_per_chip"] < 8


def test_flops_of_a_step_by_hand(estimated):
    """A tenth of a percent: products of the embedding's size are none, and nothing else is left out."""
    (row,) = (row for row in estimated["stages"] if row["stage"] == "targets.pos")
    width, mlp, layers, tokens, length, labels = 16, 32, 2, 16 * 24, 24, 17
    layer = 2 * tokens * (4 * width * width + 2 * width * mlp) + 2 * 2 * tokens * length * width
    assert row["flops_per_step"] == 3 * (layers * layer + 2 * tokens * width * labels)


def test_what_was_said_is_kept(compiled, plan, count, counted):
    found, _, draft = compiled
    kept = [*draft._cache.iterdir()]
    assert len(kept) == 2
    for path in kept:
        path.write_text(path.read_text().replace('"peak": ', '"peak": 1'))
    again = plan_on(
        Draft(plan, EIGHT, devices_of(EIGHT), cache=draft._cache, counted=counted),
        count,
        only="arms.nli",
        effort="full",
    )
    assert str(again["peak_bytes_per_chip"]) == f"1{found['peak_bytes_per_chip']}", "read, and not compiled again"


def test_a_batch_that_the_mesh_does_not_divide(plan, count):
    with pytest.raises(
        ConfigError, match=r"(?s)Stage .pretrain. has batches of 32, and on v5e-64 the mesh 1x64x1 splits.*--search"
    ):
        plan_on(Draft(plan, slice_of("v5e-64"), None), count, effort="fast")


def test_a_mesh_of_another_number_of_chips(plan):
    experiment = dataclasses.replace(plan.experiment, mesh="1x4x1")
    with pytest.raises(ConfigError, match="Mesh '1x4x1' is 1 x 4 x 1 chips, and the slice has 8"):
        Draft(dataclasses.replace(plan, experiment=experiment), EIGHT, None)


def test_what_does_not_fit_has_no_time(plan, count, counted):
    small = dataclasses.replace(EIGHT, chip=dataclasses.replace(EIGHT.chip, memory=10_000))
    found = plan_on(Draft(plan, small, None, counted=counted), count, effort="fast")
    assert not found["fits"] and found["spare_bytes_per_chip"] < 0
    for name in ("step_seconds_roofline", "tokens_per_second", "chip_hours", "cost_dollars"):
        assert found[name] is None, name


def test_a_model_that_nobody_knows():
    experiment = from_config(fields(model="", pretrain={}, checkpoint="work/somewhere"))
    with pytest.raises(ConfigError, match=r"(?s)no checkpoint work/somewhere.*--model=NAME"):
        open_plan(experiment)
    assert open_plan(experiment, "tiny").row.name == "tiny"
    with pytest.raises(ConfigError, match="Unknown model 'tny'"):
        open_plan(experiment, "tny")


def test_the_slowest_part_is_the_step():
    where = slice_of("v5e-64")
    figures = Figures("estimated", "", True, 1, 1, 1, 1, 197 * 64 * 10**12, 162 * 10**10, {"all-gather": 10**9}, 64)
    assert seconds(figures, where) == pytest.approx({"compute": 1.0, "memory": 2.0, "links": 1 / 180})
    assert (step_seconds(figures, where), bound(figures, where)) == (2.0, "memory")
    assert chip_hours(figures, where, 1800) == pytest.approx(64)
