"""The figures of `xling plan` as lines of text."""

from collections.abc import Iterator
from typing import Any

GIB = 2**30
COLUMNS = ("stage", "", "batch", "peak", "TFLOP/chip", "moved", "sent", "step >=", "by", "tokens/s <=", "steps")
COLUMNS += ("hours >=", "")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yields what a person reads of a plan on a slice."""
    what = f"{found['experiment']} ({found['model']})"
    yield f"{what} on {found['topology']}: {found['chips']} chips, {found['hosts']} hosts"
    yield (
        f"  strategy {found['strategy']}, mesh {found['mesh']} (data x fsdp x tensor), remat {found['remat']}, "
        f"{found['dtype']}"
    )
    spare = found["spare_bytes_per_chip"]
    verdict = f"fits, {_gib(spare)} spare" if found["fits"] else f"DOES NOT FIT by {_gib(-spare)}"
    yield f"  {verdict}: {_gib(found['peak_bytes_per_chip'])} of {_gib(found['hbm_per_chip_bytes'])} a chip"
    grid: list[tuple[str, ...]] = [COLUMNS]
    for row in found["stages"]:
        grid.append(_line(row))
        grid += [_evaluation(one, row) for one in row["evaluations"]]
    widths = [max(len(line[at]) for line in grid) for at in range(len(grid[0]))]
    for line in grid:
        yield "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
    for kind, sent in found["collectives"].items():
        yield f"  {found['stage']} sends by {kind}: {_gib(sent)} a chip and step"
    if found["fits"]:
        yield (
            f"  at least {found['chip_hours']:,.1f} chip-hours, {found['training_chip_hours']:,.1f} of training and "
            f"{found['evaluation_chip_hours']:,.1f} of evaluation: ${found['cost_dollars']:,.0f} at "
            f"${found['price_per_chip_hour']:.2f} ({found['priced']})"
        )
    yield from (f"  - {text}" for text in found["assumptions"])


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """Returns a stage's line: the step of its largest program, the hours of all that it trains."""
    return (
        row["stage"],
        "x" + str(row["trained"]) if row["trained"] else "",
        f"{row['global_batch']}x{row['max_length']}" + (f"/{row['accumulate']}" if row["accumulate"] > 1 else ""),
        _gib(row["peak_bytes_per_chip"]) + ("" if row["fits"] else " !"),
        f"{row['flops_per_step'] / row['chips'] / 1e12:.3g}",
        _gib(row["bytes_moved_per_chip"]),
        _gib(row["collective_bytes_per_chip"]),
        _seconds(row["step_seconds_roofline"]),
        row["bound"] or "",
        "" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.0f}",
        f"{row['steps']:,}" if row["steps"] else "",
        _hours(row["training_chip_hours"]),
        row["method"],
    )


def _evaluation(one: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    """Returns the line of an evaluation after a stage, in all languages."""
    return (
        f"  {one['target']}",
        "",
        f"{one['batch']}x{one['max_length']}",
        _gib(one["peak_bytes_per_chip"]) + ("" if one["fits"] else " !"),
        f"{one['flops_per_step'] / row['chips'] / 1e12:.3g}",
        "",
        "",
        _seconds(one["step_seconds_roofline"]),
        "",
        "",
        f"{one['batches']:,}",
        _hours(one["chip_hours"]),
        one["method"],
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s"


def _hours(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
