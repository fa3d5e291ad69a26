"""Which rows of a batch a host reads, on meshes of devices that are not here."""

import dataclasses

import numpy as np
import pytest

from xling_jax.errors import ConfigError
from xling_jax.partitioning.feed import Share, share_of


@dataclasses.dataclass(frozen=True)
class Device:
    number: int
    process_index: int


class Grid:
    """What `share_of` asks of a mesh: `hosts` has the host of each device, in the order of the mesh."""

    def __init__(self, sizes, hosts):
        self.shape = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
        devices = [Device(number, host) for number, host in enumerate(hosts)]
        self.devices = np.array(devices, object).reshape(sizes)


@pytest.mark.parametrize(
    ("sizes", "hosts", "expected"),
    [
        ((8, 1, 1), [0, 0, 0, 0, 1, 1, 1, 1], [Share(0, 2, (0, 1, 2, 3)), Share(1, 2, (4, 5, 6, 7))]),
        ((2, 2, 2), [0, 0, 0, 0, 1, 1, 1, 1], [Share(0, 2, (0, 1)), Share(1, 2, (2, 3))]),
        ((1, 4, 1), [0, 1, 1, 0], [Share(0, 2, (0, 3)), Share(1, 2, (1, 2))]),  # as a torus may have it
        ((1, 1, 4), [0, 0, 1, 1], [Share(0, 1, (0,))] * 2),  # both see every example
        ((2, 1, 4), [0, 0, 1, 1, 2, 2, 3, 3], [Share(0, 2, (0,))] * 2 + [Share(1, 2, (1,))] * 2),
        ((4, 1, 1), [1, 1, 0, 0], [Share(1, 2, (2, 3)), Share(0, 2, (0, 1))]),
    ],
)
def test_every_row_is_read_by_those_who_need_it(sizes, hosts, expected):
    assert [share_of(Grid(sizes, hosts), host) for host in sorted(set(hosts))] == expected


def test_hosts_that_would_share_a_part_of_their_rows_are_refused():
    with pytest.raises(ConfigError, match="divides its 2 hosts unevenly"):
        share_of(Grid((3, 1, 2), [0, 0, 0, 1, 1, 1]), 0)
