"""How fast stages trained, and what the time of the run went to."""

from collections.abc import Callable, Mapping, Sequence

from xling_jax.ledger import KINDS, STEPS
from xling_jax.report.collect import Collected
from xling_jax.report.table import NONE, Column, Number, Row, Table

Speed = Mapping[str, float]  # seconds, steps, and what was done in them; see `collect.read_speed`
SPEED_NOTE = (
    "Over all steps of a stage; mean over seeds, lowest and highest below. Compiling, saving and evaluating are no "
    "part of a step; waiting for batches is. Tokens are counted without padding. MFU: FLOPs of the model's products, "
    "without padding, by what the devices could do; shown where their peak is known."
)
TIME_NOTE = (
    "Wall time of all sessions of this run, up to when this was written; the time between sessions is not counted. "
    "Where stages ran side by side each moment is divided among them. Goodput is the share of the first row."
)

# column: (its number of a stage's speed, digits); None where the stage's metrics do not say
COLUMNS: dict[str, tuple[Callable[[Speed], float | None], int]] = {
    "ms a step": (lambda speed: 1000 * speed["seconds"] / speed["steps"], 1),
    "examples/s": (lambda speed: speed["examples"] / speed["seconds"], 0),
    "tokens/s": (lambda speed: speed["tokens"] / speed["seconds"], 0),
    "% padding": (lambda speed: 100 * (1 - speed["tokens"] / speed["padded"]), 1),
    "% waiting for input": (lambda speed: 100 * speed["input"] / speed["seconds"], 1),
    "% MFU": (lambda speed: 100 * speed["mfu"] / speed["seconds"] if speed["mfu"] else None, 1),
}


def speed_table(collected: Collected) -> Table:
    """Returns, for each kind of stage, how fast its steps were."""
    kinds: dict[str, list[Speed]] = {}
    for stage in collected.record.stages:
        if stage.dir in collected.speeds:
            kinds.setdefault(stage.name.removesuffix(f"_s{stage.seed}"), []).append(collected.speeds[stage.dir])
    shown = {
        name: how
        for name, how in COLUMNS.items()
        if any(how[0](s) is not None for each in kinds.values() for s in each)
    }
    rows = [
        Row(kind, "value", tuple(_over_seeds([of(speed) for speed in speeds], digits) for of, digits in shown.values()))
        for kind, speeds in kinds.items()
    ]
    columns = tuple(Column(name, "", (), "value") for name in shown)
    return Table("speed", "Throughput", SPEED_NOTE, columns, tuple(rows))


def _over_seeds(values: Sequence[float | None], digits: int) -> Number:
    known = [value for value in values if value is not None]
    return Number(sum(known) / len(known), min(known), max(known), digits=digits) if known else NONE


def time_table(collected: Collected) -> Table:
    """Returns what the wall time of the run went to."""
    found = collected.time
    columns = (Column("seconds", "", (), "value"), Column("% of the time", "", (), "value"))
    if found is None or not found.wall:
        return Table("time", "Time", TIME_NOTE, columns, ())
    names = sorted(found.seconds, key=lambda name: (name != STEPS, -found.seconds[name]))
    rows = [Row(KINDS[name], "value", (Number(found.seconds[name]), Number(100 * found.share(name)))) for name in names]
    rows.append(Row("all", "bound", (Number(found.wall), Number(100.0))))
    sessions = f" {found.sessions} session{'s' * (found.sessions != 1)}, {found.killed} of them killed."
    programs = f" {found.compiled} programs were compiled and {found.cached} read from the cache."
    return Table("time", "Time", TIME_NOTE + sessions + programs, columns, tuple(rows))
