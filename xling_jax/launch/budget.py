"""What may be spent on a name, and what was.

It is kept in a file, so that a babysitter that is started again goes on counting.
"""

import dataclasses
import json
import os
import pathlib
import time

from xling_jax.errors import XlingError
from xling_jax.launch.gcloud import lasted
from xling_jax.launch.machine import Seen


class BudgetReached(XlingError):
    """A limit of hours or money is reached."""

    exit_code = 1


def state_folder() -> pathlib.Path:
    """Returns the folder of what is known of each name."""
    return pathlib.Path(os.environ.get("XLING_TPU_STATE") or pathlib.Path.home() / ".xling_tpu")


def known(name: str) -> dict:
    """Returns what earlier commands were told of a name, {} if nothing."""
    try:
        return json.loads((state_folder() / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def remember(name: str, **what) -> None:
    """Adds to what is known of a name."""
    path = state_folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(known(name) | what, indent=1), encoding="utf-8")
    part.replace(path)


@dataclasses.dataclass
class Budget:
    """Hours that slices may be there and dollars that they may cost, 0 for no limit; `kept` is off in dry runs."""

    name: str
    dollars_an_hour: float
    max_hours: float = 0.0
    max_dollars: float = 0.0
    kept: bool = True
    seconds: float = 0.0
    _last: float | None = None

    def __post_init__(self) -> None:
        self.seconds = float(known(self.name).get("seconds", 0.0)) if self.kept else 0.0

    @property
    def dollars(self) -> float:
        return self.seconds / 3600 * self.dollars_an_hour

    @property
    def spent(self) -> str:
        """Returns what was spent so far, in words."""
        return f"{lasted(self.seconds)} of slices, at most ${self.dollars:,.2f}"

    def heard(self, seen: Seen) -> None:
        """Counts the time since the last look if slices were there then, or are now."""
        now = time.monotonic()
        if self._last is not None:
            self.seconds += now - self._last
            if self.kept:
                remember(self.name, seconds=round(self.seconds, 1))
        self._last = now if seen.costs else None

    def done(self) -> None:
        """Begins to count anew, for the next run of this name."""
        if self.kept:
            remember(self.name, seconds=0.0)

    def check(self) -> None:
        """Raises BudgetReached at a limit."""
        hours = self.seconds / 3600
        for what, limit, found in (
            ("max_hours", self.max_hours, hours),
            ("max_dollars", self.max_dollars, self.dollars),
        ):
            if limit and found >= limit:
                raise BudgetReached(
                    f"The limit is reached: --{what}={limit:g}, spent {self.spent}. "
                    f"What was saved stays; a higher limit goes on, {self.name} is counted from where it is."
                )
