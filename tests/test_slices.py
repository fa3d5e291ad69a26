"""Slices: the clouds' names, how many chips and hosts they are, and what a chip is."""

import pytest

from xling_jax.errors import ConfigError
from xling_jax.tables.meshes import Mesh, mesh
from xling_jax.tables.slices import ALIASES, CHIPS, SLICES, of_generation, slice_of


@pytest.mark.parametrize(
    ("name", "topology", "chips", "hosts"),
    [
        ("v5e-64", "v5e:8x8", 64, 16),
        ("v5litepod-64", "v5e:8x8", 64, 16),
        ("v5e-8", "v5e:2x4", 8, 1),
        ("v5e-16", "v5e:4x4", 16, 4),
        ("v4-8", "v4:2x2x1", 4, 1),
        ("v4-128", "v4:4x4x4", 64, 16),
        ("v5p-128", "v5p:4x4x4", 64, 16),
        ("v6e-64", "v6e:8x8", 64, 16),
        ("v6e-256", "v6e:16x16", 256, 64),
        ("h100-8", "h100:8", 8, 1),
        ("cpu-8", "cpu:8", 8, 1),
    ],
)
def test_the_names_of_clouds(name, topology, chips, hosts):
    found = slice_of(name)
    assert (found.topology, found.chips, found.hosts) == (topology, chips, hosts)


@pytest.mark.parametrize(
    ("name", "guess"), [("v5e-60", "v5e-64"), ("v4-129", "v4-128"), ("v7-64", "v4-64"), ("v6e", "v6e-")]
)
def test_a_name_that_no_cloud_has(name, guess):
    with pytest.raises(ConfigError, match=rf"(?s)Unknown topology '{name}'.*Did you mean: .*{guess}.*slices\.py"):
        slice_of(name)


def test_rows_are_chips():
    assert set(CHIPS) == {"v4", "v5e", "v5p", "v6e", "h100", "cpu"}
    assert set(ALIASES.values()) <= set(CHIPS)
    for chip in CHIPS.values():
        assert chip.flops > chip.bandwidth > chip.link > 0, f"{chip.name}: a second has more products than bytes"
        assert chip.platform in ("tpu", "cuda", "cpu") and chip.price > 0 and chip.priced.isdigit()
    for name, row in SLICES.items():
        assert name == row.name and row.chips % row.hosts == 0
    assert len({row.topology for row in SLICES.values()}) == len(SLICES), "a topology stands twice"


def test_slices_of_a_generation_grow():
    for chip in CHIPS:
        sizes = [row.chips for row in of_generation(chip)]
        assert sizes == sorted(set(sizes))
    with pytest.raises(ConfigError, match="Unknown chip 'v9'"):
        of_generation("v9")


def test_a_mesh_can_be_said_by_its_sizes():
    assert mesh("2x32x1") == Mesh("2x32x1", 2, 32, 1)
    for name in ("2x32", "0x4x1", "2x32x1x1", "x4x1", "a"):
        with pytest.raises(ConfigError, match=rf"(?s)Unknown mesh '{name}'.*DATAxFSDPxTENSOR"):
            mesh(name)
