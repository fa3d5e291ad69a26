"""Named sets are cells that SeqIO can mix, and the ones that other programs ask for by name are there."""

import pytest

from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.sets import _ROWS, SETS
from xling_jax.tables.tasks import TASKS, cells, parse_cells


def cells_of(name):
    return [cell for text in SETS[name] for cell in parse_cells(text, f"set '{name}'")]


@pytest.mark.parametrize("name", SETS)
def test_a_set_can_be_mixed(name):
    found = cells_of(name)
    assert found and len(set(found)) == len(found)
    assert len({(cell.row.kind, cell.row.labels, cell.row.head) for cell in found}) == 1, "one head"
    assert {cell.split for cell in found} == {name.rpartition(".")[2]}, "its name says of which split it is"


def test_no_set_hides_another_or_a_cell():
    whole = {f"{row.name}.{split}" for row in TASKS.values() for split in row.splits}
    of_benchmarks = {f"{row.name}.{entry.name}.{entry.split}" for row in BENCHMARKS.values() for entry in row.entries}
    every = {str(cell) for row in TASKS.values() for split in row.splits for cell in cells(row.name, split)}
    for one, other in ((whole, of_benchmarks), (whole, set(_ROWS)), (of_benchmarks, set(_ROWS)), (set(SETS), every)):
        assert not one & other


def test_sets_by_name():
    assert cells_of("xnli.test") == list(cells("xnli", "test"))
    assert [
        cell.language for cell in cells_of("xtreme.xnli.test")
    ] == "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
    assert len(cells_of("xtreme.panx.test")) == 40 and len(cells_of("xtreme_r.panx.test")) == 48
    anli = cells_of("anli_plus.train")
    assert [cell.task for cell in anli] == ["snli", "mnli", "anli_r1", "anli_r2", "anli_r3"]
    published = sum(int(cell.row.splits["train"].examples) for cell in anli)
    assert published == 1_104_934, "SNLI 549,367, MNLI 392,702, ANLI 162,865"
