"""How often intervals hold the truth, how often claims are false, and what regressions over pairs of languages say.

    python benchmarks/coverage.py [--studies=2000] [--processes=2]
    python benchmarks/coverage.py --page        # the tables of docs/statistics.md again, from coverage.json

Simulates studies whose truth is known (simulated.py) and writes coverage.json beside this file, and the tables between
the marks of docs/statistics.md. Everything is drawn from fixed seeds. Twelve minutes on two cores.
"""

import argparse
import dataclasses
import json
import multiprocessing
import pathlib
import time
from collections.abc import Iterator

import numpy as np
from scipy import stats
from simulated import Condition, combined_gain, crossed_pairs, mean_gain, mean_weights, studies
from subjects import conditions

from xling_jax.report.claims import judge_family
from xling_jax.report.pairs import fit_pairs
from xling_jax.report.statistics import Estimate, contrast, pooled

HERE = pathlib.Path(__file__).resolve().parent
FOUND, PAGE = HERE / "coverage.json", HERE.parent / "docs" / "statistics.md"
MARK = "<!-- {} of benchmarks/coverage.py -->"
SEEDS, RATIOS = (2, 3, 5, 10), (0.0, 0.5, 1.0, 2.0, 4.0)
NOMINAL, ALLOWED = 95.0, 2.0

KINDS = (
    Condition("accuracy"),
    Condition("100 items", items=100),
    Condition("1000 items, 8 languages", items=1000, languages=8),
    Condition("1 language", languages=1),
    Condition("near 100", base=0.94, gain=0.03, items=200),
    Condition("near 0", base=0.03, gain=0.03, items=200),
    Condition("near 100, 1 language, 100 items", base=0.95, gain=0.02, items=100, languages=1),
    Condition("F1", metric="f1"),
    Condition("much interaction", interaction=1.2),
    Condition("no interaction", interaction=0.0, answer=0.05),
)
OTHERS = (  # name, what is estimated, condition
    ("difference of gains", "interaction", Condition("difference", arms=4)),
    ("one arm's score near 100", "score", Condition("score", base=0.95, gain=0.02, items=100, languages=1)),
    ("pooled over 5 arms", "pooled", Condition("pooled", arms=5)),
    ("pooled, one arm 3 times as noisy", "pooled", Condition("unstable", arms=5, unstable=3.0)),
    ("not pooled, one arm 3 times as noisy", "gain", Condition("unstable apart", arms=5, unstable=3.0)),
)
FAMILIES = tuple(
    (true, Condition(f"{true} of 10 true", seeds=seeds, ratio=ratio, arms=11, gain=0.0, languages=2, items=200))
    for true in (0, 3, 7)
    for seeds, ratio in ((2, 1.0), (3, 1.0), (5, 0.5), (5, 2.0))
)
LANGUAGES = ((3, 5), (4, 6), (6, 10))  # sources, targets


def estimate(what: str, cells: dict, condition: Condition) -> Estimate:
    """Returns the contrast that is looked at; its truth is in `truth`."""
    match what:
        case "interaction":
            return contrast(cells, combined_gain(condition))
        case "score":
            return contrast(cells, mean_weights(condition, 0))
        case "pooled":
            factors = (1.0, -1.0, *(0.0 for _ in range(condition.arms - 2)))
            return pooled(cells, [(factor, mean_weights(condition, arm)) for arm, factor in enumerate(factors)])
    return mean_gain(cells, condition)


def truth(what: str, true_A: np.ndarray) -> float:
    """Returns what the contrast would be of all items and trainings there are, in points."""
    if what == "interaction":
        return float(true_A[0] - true_A[1] - true_A[2] + true_A[3])
    return float(true_A[0] - (0 if what == "score" else true_A[1]))


def coverage(job: tuple[str, str, Condition, int]) -> dict:
    """Returns how often intervals of one condition hold the truth, how wide they are, and the ratio that came out."""
    name, what, condition, count = job
    held, width, parts = 0, [], []
    for cells, true_A in studies(condition, count):
        found = estimate(what, cells, condition)
        low, high = found.interval()
        held += low <= truth(what, true_A) <= high
        noise = found.noise
        width.append(2 * noise.half_width())
        parts.append((noise.training / noise.seeds, noise.interaction / noise.seeds + noise.items))
    training, items = np.mean(parts, axis=0)
    return {
        "name": name,
        "seeds": condition.seeds,
        "ratio": condition.ratio,
        "studies": count,
        "coverage": round(100 * held / count, 2),
        "median_width": round(float(np.median(width)), 2),
        "ratio_found": round(float((training / items) ** 0.5), 2),
    }


def false_claims(job: tuple[int, Condition, int]) -> dict:
    """Returns the mean share of false claims among those decided, and how often a true one was decided.

    Ten arms are compared with an eleventh; the first `true` of them have a gain of 12 points. A claim is
    false if it is decided and the arm has no gain, or a gain of the other sign; so it is counted for each study.
    """
    true, condition, count = job
    wrong: dict[str, list[float]] = {"bh": [], "by": [], "one by one": []}
    right: dict[str, list[float]] = {name: [] for name in wrong}
    missed: list[float] = []
    last = condition.arms - 1
    for cells, _ in studies(condition, count, gains=(0.12,) * true):
        claims = {arm: mean_gain(cells, condition, arm, last) for arm in range(last)}
        judged = {m: judge_family(claims, dict.fromkeys(claims, condition.seeds), m) for m in ("bh", "by")}
        alone = {arm: claim.p_value <= 0.05 for arm, claim in claims.items()}
        decided = {m: {arm: j.adjusted <= 0.05 for arm, j in found.items()} for m, found in judged.items()}
        for method, said in (decided | {"one by one": alone}).items():
            hits = [arm for arm in said if said[arm]]
            good = [arm for arm in hits if arm < true and claims[arm].value > 0]
            wrong[method].append((len(hits) - len(good)) / max(len(hits), 1))
            right[method].append(len(good) / max(true, 1))
        chosen = [arm for arm in claims if decided["bh"][arm]]
        true_gain = {arm: 12.0 if arm < true else 0.0 for arm in claims}
        out = [not judged["bh"][arm].low <= true_gain[arm] <= judged["bh"][arm].high for arm in chosen]
        missed.append(sum(out) / max(len(out), 1))
    return {
        "true": true,
        "seeds": condition.seeds,
        "ratio": condition.ratio,
        "studies": count,
        "false": {method: round(100 * float(np.mean(shares)), 2) for method, shares in wrong.items()},
        "seen": {method: round(100 * float(np.mean(shares)), 1) for method, shares in right.items()},
        "intervals_of_decided_miss": round(100 * float(np.mean(missed)), 2),
    }


def of_pairs(job: tuple[int, int, str, int]) -> dict:
    """Returns how often a slope of zero is rejected at 5%, by method."""
    sources, targets, effects, count = job
    rng = np.random.default_rng([sources, targets, len(effects)])
    rejected = {"every pair by itself": 0, "clustered two ways": 0, "permuted languages": 0, "effects of both": 0}
    for _ in range(count):
        gain_P, distance_P, pair_P = crossed_pairs(rng, sources, targets, effects)
        fit = fit_pairs(gain_P, distance_P, *zip(*pair_P, strict=True))
        assert fit is not None, "distances are drawn at random"
        rejected["effects of both"] += fit.p_value < 0.05
        rejected["every pair by itself"] += stats.linregress(distance_P, gain_P).pvalue < 0.05
        rejected["clustered two ways"] += _clustered(gain_P, distance_P, pair_P) < 0.05
        rejected["permuted languages"] += _permuted(gain_P, distance_P, pair_P, rng) < 0.05
    shares = {name: round(100 * hits / count, 2) for name, hits in rejected.items()}
    return {"sources": sources, "targets": targets, "effects": effects, "studies": count, "rejected": shares}


def _clustered(gain_P: np.ndarray, distance_P: np.ndarray, pair_P: list) -> float:
    """The p-value by errors clustered by source and by target, t with the fewer clusters - 1 degrees of freedom."""
    x_P = distance_P - distance_P.mean()
    slope = x_P @ gain_P / (x_P @ x_P)
    score_P = x_P * (gain_P - gain_P.mean() - slope * x_P)
    total, fewest = -float(score_P @ score_P), len(pair_P)
    for side in (0, 1):
        names = sorted({pair[side] for pair in pair_P})
        sums = np.array([sum(s for s, pair in zip(score_P, pair_P, strict=True) if pair[side] == n) for n in names])
        total += float(sums @ sums) * len(names) / (len(names) - 1)
        fewest = min(fewest, len(names))
    if total <= 0:
        return 0.0
    return float(2 * stats.t.sf(abs(slope) / (total**0.5 / (x_P @ x_P)), fewest - 1))


def _permuted(gain_P: np.ndarray, distance_P: np.ndarray, pair_P: list, rng: np.random.Generator) -> float:
    """The p-value by permuting which source, and which target, a row and a column of distances belong to."""
    sources, targets = (sorted({pair[side] for pair in pair_P}) for side in (0, 1))
    place = {pair: at for at, pair in enumerate(pair_P)}
    at_SxT = np.array([[place[s, t] for t in targets] for s in sources])
    gain_SxT, distance_SxT = gain_P[at_SxT], distance_P[at_SxT] - distance_P.mean()
    found = abs(float((gain_SxT * distance_SxT).sum()))
    drawn = [
        abs(float((gain_SxT * distance_SxT[rng.permutation(len(sources))][:, rng.permutation(len(targets))]).sum()))
        for _ in range(199)
    ]
    return (1 + sum(value >= found for value in drawn)) / 200


def run(count: int, processes: int) -> dict:
    """Returns all that was found."""
    grid = [(seeds, ratio) for seeds in SEEDS for ratio in RATIOS]
    jobs = [
        (kind.name, "gain", dataclasses.replace(kind, seeds=seeds, ratio=ratio), count)
        for kind in KINDS
        for seeds, ratio in grid
    ]
    jobs += [
        (name, what, dataclasses.replace(kind, seeds=seeds, ratio=ratio), count)
        for name, what, kind in OTHERS
        for seeds, ratio in grid
    ]
    families = [(true, condition, count) for true, condition in FAMILIES]
    pairs = [(*sizes, effects, count) for sizes in LANGUAGES for effects in ("none", "of sources and targets")]
    started = time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        found = {
            "coverage": pool.map(coverage, jobs, chunksize=4),
            "false_claims": pool.map(false_claims, families, chunksize=1),
            "pairs": pool.map(of_pairs, pairs, chunksize=1),
        }
    command = f"python benchmarks/coverage.py --studies={count} --processes={processes}"
    about = conditions("numpy", "scipy") | {"command": command, "minutes": round((time.monotonic() - started) / 60, 1)}
    return about | found


def tables(found: dict) -> Iterator[str]:
    """Yields the lines of the page's tables."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield f"Made by `{found['command']}` on {found['date']} in {found['minutes']:.0f} minutes."
    yield f"Machine: {found['machine']}, shared with other work; Python {found['python']}, {versions}."
    off = [row for row in found["coverage"] if abs(row["coverage"] - NOMINAL) > ALLOWED]
    ours = [row for row in found["coverage"] if row["name"] in {kind.name for kind in KINDS}]
    outside = sum(abs(row["coverage"] - NOMINAL) > ALLOWED for row in ours)
    yield from ("", "### Coverage of 95% intervals", "")
    yield (
        f"Of {len(ours)} conditions of a gain, {outside} are more than {ALLOWED:.0f} points off; in bold, here and "
        f"below. {found['coverage'][0]['studies']} studies each, so a number is known to about 1 point. Columns: the "
        "error from training runs over that from items. In brackets the median width, in points."
    )
    yield from ("", f"| | seeds | {' | '.join(map(str, RATIOS))} |", f"|---|---|{'---|' * len(RATIOS)}")
    by_place = {(row["name"], row["seeds"], row["ratio"]): row for row in found["coverage"]}
    for name in dict.fromkeys(row["name"] for row in found["coverage"]):
        for seeds in SEEDS:
            rows = [by_place[name, seeds, ratio] for ratio in RATIOS]
            words = [f"{row['coverage']:.1f}" for row in rows]
            words = [f"**{word}**" if row in off else word for word, row in zip(words, rows, strict=True)]
            words = [f"{word} ({row['median_width']:.1f})" for word, row in zip(words, rows, strict=True)]
            yield f"| {name} | {seeds} | {' | '.join(words)} |"
    yield from ("", "### False claims among those decided, in percent", "")
    yield "Ten gains over one baseline, in one study; a true one is of 12 points. In brackets, true ones that are seen."
    yield from (
        "",
        "| true | seeds | ratio | one by one | Benjamini & Hochberg | Benjamini & Yekutieli | intervals miss |",
    )
    yield "|---|---|---|---|---|---|---|"
    for row in found["false_claims"]:
        words = [f"{row['false'][m]:.1f} ({row['seen'][m]:.0f})" for m in ("one by one", "bh", "by")]
        missed = row["intervals_of_decided_miss"]
        yield f"| {row['true']} | {row['seeds']} | {row['ratio']} | {' | '.join(words)} | {missed:.1f} |"
    yield from ("", "### A slope of zero over pairs of languages, rejected at 5%, in percent", "")
    methods = list(found["pairs"][0]["rejected"])
    yield f"| sources | targets | effects of languages | {' | '.join(methods)} |"
    yield f"|---|---|---|{'---|' * len(methods)}"
    for row in found["pairs"]:
        words = [f"{row['rejected'][method]:.1f}" for method in methods]
        yield f"| {row['sources']} | {row['targets']} | {row['effects']} | {' | '.join(words)} |"


def with_tables(page: str, found: dict) -> str:
    """Returns the page with the tables between its marks."""
    before, rest = page.split(MARK.format("tables"))
    after = rest.split(MARK.format("end"))[1]
    body = "\n".join(tables(found))
    return f"{before}{MARK.format('tables')}\n\n{body}\n\n{MARK.format('end')}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="write the tables again, simulate nothing")
    options = parser.parse_args()
    if not options.page:
        FOUND.write_text(json.dumps(run(options.studies, options.processes), indent=1) + "\n", encoding="utf-8")
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
