"""The big rows on pod slices: which fit, how much memory they take, how fast they could be, what they would cost.

    python benchmarks/pods.py [--models xlmr_xxl ...] [--slices v5e-64 ...] [--data_dir DIR]
    python benchmarks/pods.py --page        # docs/pods.md again, from pods.json

Runs `xling plan --json --search` for each model on all slices, and writes pods.json beside this file and
the page. What is there already is not run again, so it can be stopped and started. It is a benchmark and no script,
because its figures are measurements of a compiler: they have a machine, versions and a date. Needs libtpu (the extra
tpu-aot); the whole takes an hour on two idle cores. --data_dir counts the examples that publishers do not.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from subjects import conditions

from xling_jax.planner.roofline import ASSUMPTIONS
from xling_jax.tables.slices import CHIPS, PRICES_CHANGE, SLICES, of_generation

HERE = pathlib.Path(__file__).resolve().parent
FOUND, PAGE = HERE / "pods.json", HERE.parent / "docs" / "pods.md"
MODELS = ("xlmr_xl", "xlmr_xxl", "mt5_xl", "mt5_xxl", "llama2_7b", "llama2_13b")
GENERATIONS = ("v4", "v5e", "v5p", "v6e")
CHIPS_OF_A_POD = 64
# Where the smallest slice that a model fits is looked for: it, and the next smaller one.
SMALL = {"xlmr_xxl": ("v4-8", "v4-16", "v5e-8", "v5e-16", "v5p-8", "v6e-4", "v6e-8")}
GIB = 2**30


def command(model: str, names: Sequence[str]) -> list[str]:
    """Returns what plans a model on slices: the fastest way by the estimates that the compiler says fits."""
    flags = ["--search", "--tries=1", "--compile=training", "--effort=fast", "--json"]
    return ["xling", "plan", f"--config=configs/pods.py:{model}", f"--topology={','.join(names)}", *flags]


def run(model: str, names: Sequence[str], data_dir: str | None) -> Iterator[dict]:
    """Yields what `xling plan` says of a model on slices, one after another; what it tells goes on to the terminal."""
    words = command(model, names)
    more = [f"--data_dir={data_dir}"] if data_dir else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    started = [sys.executable, "-m", "xling_jax", *words[1:], *more]
    with subprocess.Popen(started, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise SystemExit(process.returncode)


def keep(found: list[dict], path: pathlib.Path) -> None:
    """Writes all that was found, by model and slice."""
    order = [(model, name) for model in MODELS for name in SLICES]
    found.sort(key=lambda one: order.index((one["model"], one["topology"])))
    head = json.dumps(conditions("jax", "flax", "optax", "libtpu"))
    rows = ",\n".join(map(json.dumps, found))
    path.write_text(f'{head[:-1]}, "found": [\n{rows}\n]}}\n', encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--slices", nargs="*", default=[_pod(chip) for chip in GENERATIONS])
    parser.add_argument("--data_dir", default=os.environ.get("XLING_DATA"))
    parser.add_argument("--found", type=pathlib.Path, default=FOUND)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    found = json.loads(asked.found.read_text(encoding="utf-8"))["found"] if asked.found.exists() else []
    for model in () if asked.page else asked.models:
        there = {one["topology"] for one in found if one["model"] == model}
        names = [name for name in (*asked.slices, *SMALL.get(model, ())) if name not in there]
        for one in run(model, names, asked.data_dir) if names else ():
            found.append(one)
            keep(found, asked.found)
            print(f"{model} on {one['topology']}: {'fits' if one['fits'] else 'does not fit'}", flush=True)
    PAGE.write_text(page(json.loads(asked.found.read_text(encoding="utf-8"))), encoding="utf-8")


def _pod(chip: str) -> str:
    """Returns the slice of a generation that the table is about."""
    return next(where.name for where in of_generation(chip) if where.chips == CHIPS_OF_A_POD)


def page(kept: dict) -> str:
    """Returns docs/pods.md."""
    fitting = [one for one in kept["found"] if one["fits"]]
    versions = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    lines = [
        "# The big rows on pod slices",
        "",
        "Which slices the six largest models fit, and what one experiment of the study would take at least: no",
        "intermediate task and MNLI, then seven targets and retrieval, three seeds, evaluation in every language",
        "(`configs/pods.py`). Memory is what the TPU's compiler says of the real training step, on a machine without",
        "a TPU; **times and costs are lower bounds that were never checked on a chip**. Made by",
        "`python benchmarks/pods.py` from `benchmarks/pods.json`, which has all figures; one line of it is",
        "",
        "```",
        f"{' '.join(command('xlmr_xxl', ['v5e-64']))}",
        "```",
        "",
        f"{kept['date']}, {kept['machine']}, {versions}.",
        "",
        "## Memory, time and cost",
        "",
        "`peak` is the most that a chip holds in the step of the stage that takes the most memory, of what it has.",
        "`way` is how the step is divided: mesh of data x fsdp x tensor, what of a layer is computed again, and in how",
        "many micro-batches if in several; the fastest by estimate that the compiler says fits. `step` is the least",
        "time of a step of that stage, by its slowest part.",
        "",
        "| model | slice | chips | way | peak / memory, GiB | step, s | by | tokens/s | chip-hours | dollars |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(found) for found in fitting),
        "",
        "## The smallest slices of XLM-R XXL",
        "",
        "Trained whole with AdamW (two moments in float32) on inputs of up to 384 tokens, batches of 128.",
        "",
        "| generation | the smallest that it fits | chips | way | peak / memory, GiB | the next smaller one |",
        "|---|---|---|---|---|---|",
        *_smallest(kept["found"], "xlmr_xxl"),
        "",
        "## What is assumed",
        "",
        *(f"- {text}." for text in ASSUMPTIONS if text != PRICES_CHANGE),
        "- compiled in the compiler's fast mode, whose memory is 3 to 13% off; evaluations and stages other than the",
        "  largest are estimated.",
        "- dollars: list prices for an hour of a chip on demand, "
        + ", ".join(f"{name} ${CHIPS[name].price:.2f} ({CHIPS[name].priced})" for name in GENERATIONS)
        + f". {PRICES_CHANGE}",
        "",
    ]
    return "\n".join(lines)


def _line(found: dict) -> str:
    cells = (
        found["model"],
        found["topology"],
        found["chips"],
        _way(found),
        _memory(found),
        f"{found['step_seconds_roofline']:.2f}",
        found["bound"],
        f"{found['tokens_per_second']:,.0f}",
        f"{found['chip_hours']:,.0f}",
        f"{found['cost_dollars']:,.0f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _way(found: dict) -> str:
    parts = f", {found['accumulate']} parts" if found["accumulate"] > 1 else ""
    return f"{found['mesh']}, {found['remat']}{parts}"


def _alone(found: dict) -> str:
    """Returns why a model does not fit, whatever is computed again: what has to be held all the time."""
    held = 2 * found["parameter_bytes_per_chip"] + found["optimizer_bytes_per_chip"]
    of = f"{held / GIB:.1f} of {found['hbm_per_chip_bytes'] / GIB:.2f}"
    return f"parameters, moments and gradients alone are {of}"


def _memory(found: dict) -> str:
    return f"{found['peak_bytes_per_chip'] / GIB:.1f} / {found['hbm_per_chip_bytes'] / GIB:.2f}"


def _smallest(found: list[dict], model: str) -> list[str]:
    """Returns a line for each generation: its smallest slice that fits, if the next smaller one does not or is none."""
    lines = []
    for chip in GENERATIONS:
        names = [where.name for where in of_generation(chip)]
        tried = {one["topology"]: one for one in found if one["model"] == model and one["topology"] in names}
        fits = [name for name in names if name in tried and tried[name]["fits"]]
        before = names[names.index(fits[0]) - 1] if fits and names.index(fits[0]) else ""
        if fits and (not before or before in tried):
            one = tried[fits[0]]
            smaller = f"{before}: {_alone(tried[before])}" if before else "none"
            lines.append(f"| {chip} | {fits[0]} | {one['chips']} | {_way(one)} | {_memory(one)} | {smaller} |")
    return lines


if __name__ == "__main__":
    main()
