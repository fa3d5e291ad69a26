"""`xling plan`: flags, one clear error for each mistake, a table for people and JSON for programs."""

import json

import pytest

from xling_jax.doors import plan as door
from xling_jax.doors.plan_table import lines
from xling_jax.errors import ConfigError

FLAGS = ["--config=configs/quickstart.py:test", "--config.strategy=fsdp", "--config.mesh=fsdp", "--compile=none"]


def run(capsys, *flags):
    door.main([*FLAGS, *flags])
    return capsys.readouterr()


@pytest.fixture(scope="module")
def found():
    """One run for all tests of what it prints."""
    import contextlib  # noqa: PLC0415
    import io  # noqa: PLC0415

    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        door.main([*FLAGS, "--json", "--stage=targets.pos", "--topology=v5e-4,v4-8"])
    return [json.loads(line) for line in out.getvalue().splitlines()], said.getvalue()


def test_a_line_for_each_slice(found):
    rows, said = found
    assert [(row["topology"], row["chips"], row["stage"]) for row in rows] == [
        ("v5e-4", 4, "targets.pos"),
        ("v4-8", 4, "targets.pos"),
    ]
    assert {row["method"] for row in rows} == {"estimated"}
    assert "v5e-4: targets.pos: training step: estimated" in said, "it is never silent"


def test_the_table_says_the_same(found):
    row, _ = found[0]
    text = "\n".join(lines(row))
    assert "on v5e-4: 4 chips, 1 hosts" in text and "strategy fsdp, mesh 1x4x1" in text
    assert "fits, " in text and "chip-hours" in text and "estimated" in text
    for said in row["assumptions"]:
        assert f"- {said}" in text
    large = row | {"fits": False, "spare_bytes_per_chip": -(2**30)}
    assert "DOES NOT FIT by 1.00 GiB" in "\n".join(lines(large))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--topology=v5e-65"], r"Unknown topology 'v5e-65' in '--topology'\.\nDid you mean: .*v5e-64"),
        ([], r"--topology is not given"),
        (["--topology=v5e-4", "--stage=targets.pso"], r"Unknown stage 'targets.pso'\.\nDid you mean: targets.pos"),
        (["--topology=v5e-64", "--stage=targets.pos"], r"has batches of \d+, and on v5e-64 the mesh 1x64x1"),
        (["--topology=v5e-4", "--config.mesh=1x8x1"], r"Mesh '1x8x1' is 1 x 8 x 1 chips, and the slice has 4"),
        (["--topology=v5e-4", "--search", "--batches=many"], r"--batches has 'many'"),
        (["--topology=v5e-4", "more"], r"takes flags only"),
    ],
)
def test_a_mistake_is_one_clear_error(capsys, flags, words):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        run(capsys, *flags)
