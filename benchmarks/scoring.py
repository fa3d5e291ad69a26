"""How fast submissions of both benchmarks are scored, against the same rules in plain Python (plain_scorer.py).

    python benchmarks/scoring.py WORKDIR [PYTHON CHECKOUT]

Writes scoring.json beside this file. With a copy of google-research/xtreme, and a Python that has NumPy and seqeval
0.0.12, its scorer is measured, too, once and without LAReQA, which it cannot score. Predictions and labels are
generated, as many as are published for each task and language; contexts of questions are there, too, because label
files have them. Every repetition is a process of its own, which says its own time and its largest resident size. Some
minutes.
"""

import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import time

from plain_scorer import ENDINGS, score_task
from subjects import conditions, write

from xling_jax.scoring.submission import evaluate_task
from xling_jax.tables.benchmarks import BENCHMARKS, Entry
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.rows.tagged import PANX_DEV, PANX_R
from xling_jax.tables.tasks import TASKS

REPEATS = 5
GOAL = 10
WORDS = {"udpos": 18, "panx": 8}  # of a sentence, on average
CONTEXT = {True: 800, False: 250}  # characters of a paragraph, where words have spaces between them and where not
# Where the tables have no count. MLQA: Lewis et al. 2020, table 2. BUCC's gold pairs: 1,896 to 14,330 in XTREME's
# table 1. PAN-X's test sets are as large as its dev sets. German UD is the largest of XTREME's; of those that
# are new in XTREME-R no count is known.
MLQA = {"ar": 5335, "de": 4517, "en": 11590, "es": 5253, "hi": 4918, "vi": 5495, "zh": 5137}
BUCC = {"de": 9580, "fr": 9086, "ru": 14330, "zh": 1896}
PANX = {
    code: int(count) if count != "-" else 10000 for code, count in zip(PANX_R.split(), PANX_DEV.split(), strict=True)
}
KNOWN = {"mlqa": MLQA, "bucc2018": BUCC, "panx": PANX, "udpos": {"de": 20436}}
GUESS = 1000


def count(entry: Entry, code: str) -> int:
    """Returns how many examples a language's test set has."""
    known = KNOWN.get(entry.name, {}).get(code)
    return known or TASKS[entry.task].splits[entry.split].published(code) or GUESS


def some_words(rng: random.Random, code: str, number: int) -> str:
    """Returns words of letters of about the language's script."""
    first = {"Latin": 0x61, "Cyrillic": 0x430, "Arabic": 0x627, "Han": 0x4E00}.get(LANGUAGES[code].script, 0x905)
    joined = " " if LANGUAGES[code].spaced else ""
    letters = [chr(first + at) for at in range(26)]
    return joined.join("".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(number))


def make(entry: Entry, code: str, rng: random.Random) -> tuple[str, str]:
    """Returns the content of a file of labels and of predictions, about two thirds of them right."""
    size, task = count(entry, code), TASKS[entry.task]
    right = [rng.random() < 0.67 for _ in range(size)]
    match task.kind:
        case "pair_classification" | "retrieval":
            words = task.labels or [str(number) for number in range(size)]
            gold = rng.choices(words, k=size)
            said = [one if ok else rng.choice(words) for one, ok in zip(gold, right, strict=True)]
        case "tagging":
            runs = [rng.choices(task.labels, k=rng.randint(1, 2 * WORDS[entry.name])) for _ in range(size)]
            gold = [line for run in runs for line in (*run, "")]
            said = [line if not line or rng.random() < 0.8 else rng.choice(task.labels) for line in gold]
        case "mining":
            gold = [f"{code}-{number:09}\ten-{rng.randrange(400000):09}" for number in range(size)]
            said = [one if ok else f"{one[:-3]}000" for one, ok in zip(gold, right, strict=True)]
        case "multiple_choice":
            labels = rng.choices((0, 1), k=size)
            texts = [some_words(rng, code, 20) for _ in labels]
            gold = [json.dumps({"premise": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
            said = [json.dumps({"label": label if ok else 1 - label}) for label, ok in zip(labels, right, strict=True)]
        case "span_qa":
            return questions(entry, code, right, rng)
        case _:
            ids = [f"Q{rng.randrange(10**7)}" for _ in range(size)]
            golds = {f"{code}{number:030}": [name] for number, name in enumerate(ids)}
            ranked = {key: [f"Q{rng.randrange(10**7)}" for _ in range(20)] for key in golds}
            for (key, (name,)), ok in zip(golds.items(), right, strict=True):
                ranked[key][rng.randrange(20)] = name if ok else ranked[key][0]
            return json.dumps(golds), json.dumps(ranked)
    return "\n".join([*gold, ""]), "\n".join([*said, ""])


def questions(entry: Entry, code: str, right: list[bool], rng: random.Random) -> tuple[str, str]:
    """Returns SQuAD's JSON, five questions to a paragraph in XQuAD and one elsewhere, and answers."""
    each = 5 if entry.name == "xquad" else 1
    pool = [some_words(rng, code, 1) for _ in range(500)]
    paragraphs, named = [], {}
    for number, ok in enumerate(right):
        if number % each == 0:
            spaced = LANGUAGES[code].spaced
            paragraphs.append({"context": some_words(rng, code, 200)[: CONTEXT[spaced]], "qas": []})
        words = rng.choices(pool, k=rng.randint(1, 5))
        key, text = f"{code}-{number:040}", (" " if LANGUAGES[code].spaced else "").join(words)
        paragraphs[-1]["qas"].append(
            {
                "id": key,
                "question": some_words(rng, code, 8),
                "answers": [{"text": text, "answer_start": 0}] * rng.choice((1, 1, 3)),
            }
        )
        named[key] = text if ok else f"the {text[:6]} {rng.choice(pool)}."
    return json.dumps({"data": [{"paragraphs": paragraphs}]}), json.dumps(named)


def generate(folder: pathlib.Path) -> None:
    """Writes both benchmarks, once."""
    for row in BENCHMARKS.values():
        for entry in row.entries:
            for code in entry.languages.split():
                rng = random.Random(f"{row.name} {entry.name} {code}")
                ending = ENDINGS.get(TASKS[entry.task].kind, "tsv")
                for side, content in zip(("labels", "predictions"), make(entry, code, rng), strict=True):
                    path = folder / row.name / side / entry.name / f"test-{code}.{ending}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(content, encoding="utf-8")


def ours(row, entry: Entry, predictions: pathlib.Path, labels: pathlib.Path) -> dict:
    """Returns {language: {metric: percent}} by `xling score`'s function, corrected numbers and all."""
    scores = evaluate_task(row, entry, predictions, labels)
    return {
        code: each.published | ({"token accuracy": each.corrected["accuracy"]} if "accuracy" in each.corrected else {})
        for code, each in scores.items()
    }


def measure(folder: pathlib.Path, arm: str) -> None:
    """Scores both benchmarks by one arm, and prints times by task, scores, and what memory it took."""
    score = ours if arm == "ours" else lambda row, *where: score_task(*where)
    found = {}
    for row in BENCHMARKS.values():
        sides = [folder / row.name / side for side in ("predictions", "labels")]
        for entry in row.entries:
            began, used = time.perf_counter(), time.process_time()
            scores = score(row, entry, *sides)
            times = time.perf_counter() - began, time.process_time() - used
            found[f"{row.name} {entry.name}"] = {"s": times[0], "cpu_s": times[1], "scores": scores}
    print(json.dumps({"tasks": found, "most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def run(folder: pathlib.Path, arm: str) -> dict:
    command = [sys.executable, __file__, str(folder), arm]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


PUBLISHED = """
import json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
import evaluate
versions = ("xtreme", "xtreme-r")
for version in versions:
    evaluate.XTREME_VERSIONS_LANG_DICT[version].pop("lareqa", None)
found = {}
began, used = time.perf_counter(), time.process_time()
for version in versions:
    sides = [os.path.join(sys.argv[2], version.replace("-", "_"), side) for side in ("predictions", "labels")]
    found[version] = evaluate.evaluate(*sides, version)[1]
times = time.perf_counter() - began, time.process_time() - used
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"s": times[0], "cpu_s": times[1], "most": most, "scores": found}))
"""


def run_published(python: str, checkout: str, folder: pathlib.Path, ours: dict) -> dict:
    """Returns what the published scorer took for all tasks but LAReQA; stops if its scores are not ours."""
    command = [python, "-c", PUBLISHED, checkout, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONUTF8": "1"})
    found = json.loads(done.stdout)
    for version, tasks in found.pop("scores").items():
        for task, detail in tasks.items():
            mine = ours["tasks"][f"{version.replace('-', '_')} {task}"]["scores"]
            for metric, by_code in detail.items():
                for code, percent in by_code.items() if isinstance(by_code, dict) else ():
                    assert abs(mine[code][metric] - percent) < 1e-9, f"{version} {task} {code} {metric}"
    return found


def check(ours: dict, plain: dict) -> None:
    """Stops if the arms do not give the same scores."""
    for task, found in plain["tasks"].items():
        for code, scores in found["scores"].items():
            for metric, percent in scores.items():
                mine = ours["tasks"][task]["scores"][code][metric]
                assert abs(mine - percent) < 1e-9, f"{task} {code} {metric}: {mine} and {percent}"


def main() -> None:
    """Measures both arms in turn."""
    folder = pathlib.Path(sys.argv[1])
    generate(folder)
    runs: dict[str, list[dict]] = {"plain": [], "ours": []}
    for _ in range(REPEATS):
        for arm, found in runs.items():
            found.append(run(folder, arm))
    check(runs["ours"][0], runs["plain"][0])
    tasks = {task: times(runs, [task]) for task in runs["ours"][0]["tasks"]}
    benchmarks = {name: times(runs, [task for task in tasks if task.split()[0] == name]) for name in BENCHMARKS}
    total = times(runs, list(tasks))
    published = {}
    if len(sys.argv) == 4:
        tasks_of_both = [task for task in tasks if not task.endswith("lareqa")]
        found = run_published(*sys.argv[2:], folder, runs["ours"][0])
        mine = times(runs, tasks_of_both)
        published = {
            "published_scorer": {
                "s": round(found["s"], 1),
                "cpu_s": round(found["cpu_s"], 1),
                "ratio": round(found["s"] / mine["ours_s"], 1),
                "cpu_ratio": round(found["cpu_s"] / mine["ours_cpu_s"], 1),
                "resident_most_mib": round(found["most"], 1),
            }
        }
    record = {
        "what": f"seconds to read and score what is published, median of {REPEATS} processes each; ours has the "
        f"corrected numbers of answers beside, which plain has not. Goal: {GOAL} times",
        "files": sum(1 for path in folder.rglob("test-*") if path.is_file()),
        "mib": round(sum(path.stat().st_size for path in folder.rglob("test-*")) / 2**20, 1),
        "tasks": tasks,
        "benchmarks": benchmarks,
        "total": total,
        "goal_met": total["ratio"] >= GOAL,
        "resident_most_mib": {
            arm: round(statistics.median(run["most"] for run in found), 1) for arm, found in runs.items()
        },
    }
    write(pathlib.Path(__file__).with_suffix(".json"), record | published | conditions("numpy"))


def times(runs: dict[str, list[dict]], tasks: list[str]) -> dict[str, float]:
    """Returns the median seconds of some tasks in each arm, and their ratio; in CPU seconds, too."""
    found: dict[str, float] = {}
    for what in ("s", "cpu_s"):
        of_arm = {
            arm: statistics.median(sum(run["tasks"][task][what] for task in tasks) for run in repeated)
            for arm, repeated in runs.items()
        }
        found |= {f"{arm}_{what}": round(seconds, 4) for arm, seconds in of_arm.items()}
        found["ratio" if what == "s" else "cpu_ratio"] = round(of_arm["plain"] / of_arm["ours"], 1)
    return found


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(pathlib.Path(sys.argv[1]), sys.argv[2])
    else:
        main()
