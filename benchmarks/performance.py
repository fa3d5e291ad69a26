"""Writes the tables of docs/performance.md from what the benchmarks have measured.

python benchmarks/performance.py
"""

import json
import pathlib
import re
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
GIB = 2**30
READING = "packed, 1 thread, batch 32"  # of the ways in reading.json


def _load(name: str) -> dict:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def table(head: str, rows: list[list[str]]) -> str:
    """Returns a table; columns of `head` are divided by |."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines)


COLUMNS: dict[str, Callable[[dict], str]] = {  # of an arm
    "real tokens/s": lambda arm: f"{arm['real_tokens_per_second']['median']:.0f}",
    "padding, %": lambda arm: f"{100 * arm['padding']:.1f}",
    "share of peak, %": lambda arm: f"{100 * arm['share_of_matmul_peak']:.0f}",
    "memory, GiB": lambda arm: f"{arm['peak_memory_bytes'] / GIB:.1f}",
}


def against(name: str) -> str:
    """Returns the pairs of a file of finetuning.py."""
    rows = []
    for found in _load(name).values():
        arms, ratio = found["arms"], found["ratio"]
        said = f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]"
        both = [" / ".join(column(arm) for arm in arms.values()) for column in COLUMNS.values()]
        rows.append([f"{found['job']} ({found['model']}, {found['dtype']})", " / ".join(arms), said, *both])
    return table("job | arms | ratio | " + " | ".join(COLUMNS), rows)


def start() -> str:
    """Returns startup.json."""
    seconds = _load("startup")["seconds"]
    return table(
        "what | wall, s | processor, s", [[name, f"{s['wall']:.2f}", f"{s['cpu']:.2f}"] for name, s in seconds.items()]
    )


def padding() -> str:
    """Returns padding.json."""
    rows = [
        [name, *(f"{100 * found[way]['padding']:.1f}" for way in ("padded", "bucketed", "packed"))]
        for name, found in _load("padding")["subjects"].items()
    ]
    return table("lengths of | to the longest, % | bucketed, % | packed, %", rows)


def reading() -> str:
    """Returns what padding.json says of evaluation."""
    rows = [
        [found["cells"], f"{found['texts']:,}", *(f"{100 * found[way]:.1f}" for way in ("alone", "together"))]
        for found in _load("padding")["evaluated"].values()
    ]
    return table("texts of | how many | each language alone, % | read together, %", rows)


def trials() -> str:
    """Returns trials.json."""
    models = _load("trials")["models"]
    counts = list(next(iter(models.values()))["by_seeds"])
    rows = [
        [f"{name}, {found['parameters'] / 1e6:.2f} million", *(f"{each['times_as_fast']:.2f}" for each in by.values())]
        for name, found in models.items()
        for by in [found["by_seeds"]]
    ]
    return table("parameters | " + " | ".join(f"seeds: {count}" for count in counts), rows)


def around() -> str:
    """Returns what surrounds the model: preparing.json, reading.json, scoring.json and mining.json."""
    prepared, read, scored, mined = (_load(name) for name in ("preparing", "reading", "scoring", "mining"))
    widths = ", ".join(str(size["width"]) for size in mined["sizes"])
    beside = "careful plain Python, the published scorer"
    lines = [
        (prepared, "prepare", prepared["cells"], "the faster of SeqIO and `datasets.map`"),
        (read, "read and pack", read["subjects"], "what XLM-R large takes on an H100, calculated"),
        (scored, "score", [f"{scored['files']} files of both benchmarks"], beside),
        (mined, "mine", [f"100,000 x 100,000 vectors of width {widths}"], "faiss"),
    ]
    ratios = [
        [cell["ratio_to_fastest_other"] for cell in prepared["cells"].values()],
        [each[READING]["times_one_accelerator_per_cpu_s"] for each in read["subjects"].values()],
        [scored["total"]["cpu_ratio"], scored["published_scorer"]["cpu_ratio"]],
        [size["times_as_fast_as_faiss"] for size in mined["sizes"]],
    ]
    rows = [
        [what, ", ".join(of), peer, ", ".join(f"{ratio:.1f}" for ratio in found), record["date"]]
        for (record, what, of, peer), found in zip(lines, ratios, strict=True)
    ]
    return table("what | of | beside | times as fast | date", rows)


TABLES: dict[str, Callable[[], str]] = {
    "against": lambda: against("finetuning"),
    "again": lambda: against("finetuning_again"),
    "padding": padding,
    "reading": reading,
    "around": around,
    "start": start,
    "trials": trials,
}


def filled(text: str) -> str:
    """Returns a page with its tables: what stands between <!-- table NAME --> and <!-- end -->."""
    return re.sub(
        r"(<!-- table (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    """Writes the page anew."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
