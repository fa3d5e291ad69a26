"""What is asked of the cloud: one or more slices of TPUs under a name, and what they cost."""

import dataclasses
import re

from xling_jax.errors import ConfigError
from xling_jax.tables.slices import PRICES_CHANGE, SLICES, Slice, slice_of

WHERE = "`scripts/tpu.sh --help` lists the flags."
NAME = "[a-z][-a-z0-9]{0,37}[a-z0-9]"  # room for the "-12" of slices; what all of Google's names allow
ZONE = "[a-z]+-[a-z]+[0-9]+-[a-z]"
BUCKET = "gs://[a-z0-9][a-z0-9._-]+(/[A-Za-z0-9._=-]+)*"


@dataclasses.dataclass(frozen=True)
class Request:
    """Slices of one kind. The name is the key: the cloud has no two of one name in a project and zone.

    `queued` asks by a queued resource, which waits for room; else the cloud gives it at once or says that there is
    none. `more` are further flags of gcloud's create. `price` is of a chip-hour, in dollars.
    """

    name: str
    zone: str
    slice: Slice
    slices: int = 1
    spot: bool = False
    queued: bool = True
    project: str = ""
    runtime: str = ""
    more: tuple[str, ...] = ()
    price: float = 0.0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Returns the cloud's names of the slices."""
        return (self.name,) if self.slices == 1 else tuple(f"{self.name}-{number}" for number in range(self.slices))

    @property
    def hosts(self) -> int:
        return self.slice.hosts * self.slices

    @property
    def dollars_an_hour(self) -> float:
        return (self.price or self.slice.chip.price) * self.slice.chips * self.slices

    @property
    def about(self) -> str:
        """Returns what it is and costs, on a line."""
        many = f"{self.slices} x " if self.slices > 1 else ""
        tier = "spot" if self.spot else "on demand"
        whose = "your price" if self.price else f"list price on demand, {self.slice.chip.priced}"
        chips = self.slice.chips * self.slices
        cost = f"${self.dollars_an_hour:,.2f} an hour ({whose})"
        return f"{many}{self.slice.sold}, {tier}, in {self.zone}: {chips} chips, {self.hosts} hosts, {cost}"


def request(
    name: str, zone: str, type_: str, *, slices: int = 1, queued: bool = True, price: float = 0.0, **more
) -> Request:
    """Returns a request; ConfigError for what no cloud takes."""
    matched("name", name, NAME, "small letters, digits and dashes, a letter first, 2 to 39 of them")
    matched("--zone", zone, ZONE, "a zone that has such TPUs, for example us-west4-a")
    where = slice_of(type_)
    if where.chip.platform != "tpu":
        tpus = " ".join(row.name for row in SLICES.values() if row.chip.platform == "tpu")
        raise ConfigError(f"--type={type_} is no slice of TPUs. Allowed: {tpus}. {PRICES_CHANGE}")
    if slices < 1 or price < 0:
        raise ConfigError(f"--slices={slices} --price={price}. Allowed: at least one slice, and no negative price.")
    if slices > 1 and not queued:
        raise ConfigError(f"--slices={slices} with --noqueued. Allowed: several slices as a queued resource only.")
    return Request(name, zone, where, slices, queued=queued, price=price, **more)


def matched(what: str, text: str, pattern: str, allowed: str) -> str:
    """Returns the text if it is of that pattern; else raises ConfigError."""
    if not re.fullmatch(pattern, text):
        raise ConfigError(f"{what} is '{text}'. Allowed: {allowed}. {WHERE}")
    return text
