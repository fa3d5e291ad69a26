# ruff: noqa: E402 - a notebook imports in the cell that needs it
"""The source of study.ipynb, which `python notebooks/build.py` makes of it."""

# %% [markdown]
# # Looking into a study
#
# A *study* is a set of trained arms in one folder and a way to answer its question. This notebook opens one, shows its
# claims with their intervals, recomputes one of them from the rows, and asks the rows a question that the study did
# not ask. It takes your own folder, of `xling study` or of `xling run`; or it makes a small one.
#
# Making it takes five to eight minutes on two cores, everything else seconds. Every cell can be run again.

# %%
import os
import pathlib
import subprocess
import sys

# The address of the repository; "" where this notebook lies in a clone of it, or beside one.
REPOSITORY = os.environ.get("XLING_REPOSITORY", "")

here = pathlib.Path.cwd()
places = (here, *here.parents, here / "xling_jax")
root = next((place for place in places if (place / "notebooks/colab.py").exists()), None)
if root is None and not REPOSITORY:
    sys.exit("No clone of xling_jax is here. Say its address as REPOSITORY in this cell, and run it again.")
if root is None:
    root = here / "xling_jax"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", REPOSITORY, str(root)], check=True)
os.chdir(root)
sys.path.insert(0, str(root))

# %%
from notebooks import colab

colab.install()

# %% [markdown]
# ## Parameters
#
# `FOLDER`: a folder that `xling study` wrote; "" to make one in `WORK`. `TINY` makes it in less than a minute,
# with meaningless numbers; tests of this notebook use it.

# %%
TINY = os.environ.get("XLING_TINY") == "1"
WORK = pathlib.Path(os.environ.get("XLING_WORK", "work")) / "study"
FOLDER = os.environ.get("XLING_STUDY", "")

folder = pathlib.Path(FOLDER) if FOLDER else WORK
colab.mount(folder)
if FOLDER and not (folder / "experiments").is_dir():
    raise colab.Stopped(
        f"{folder} has no experiments. FOLDER has to be the work folder of `xling study` or `xling run`."
    )

# %% [markdown]
# ## A small study
#
# *How many examples should a multilingual intermediate task have?* On generated languages: one encoder, pretrained on
# text of four languages; arms with more and more questions, spread over all four, three times through; then another
# kind of question, trained in the source language `qen` only. Run again, it says that all is done.

# %%
LANGUAGES = "qen+qnd+qda" if TINY else "qen+qnd+qms+qda"
COUNTS = (16, 64) if TINY else (300, 1200, 4800)


def stage(data, rate=1e-3, **more):
    """Returns a stage on generated data."""
    size = 16 if TINY else 32
    return {"data": (data,), "batch_size": size, "max_length": 44, "optim": {"learning_rate": rate}} | more


def arm(count):
    """Returns an intermediate task of so many examples."""
    data = stage(f"world_qa.train.{LANGUAGES}", examples=count, epochs=1.0 if TINY else 3.0)
    return {"stage": data, "factors": {"examples": count}}


experiment = {
    "synthetic": True,
    "model": "tiny" if TINY else "world",
    "limits": {"train": 100, "test": 24} if TINY else {"train": 8000},
    "pretrain": stage(f"world_text.train.{LANGUAGES}", 3e-3, steps=4 if TINY else 2500),
    "seeds": (0, 1),
    "arms": {"none": {}} | {f"qa_{count}": arm(count) for count in COUNTS},
    "targets": {
        "qa2": {
            "task": "world_qa2",
            "languages": LANGUAGES,
            "stage": stage("world_qa2.train.qen", steps=2 if TINY else 300),
        }
    },
    "source_language": "qen",
    "baseline": "none",
    "comparisons": tuple((f"qa_{count}", "none") for count in COUNTS),
    "headline": (f"qa_{COUNTS[-1]}", "none", "qa2"),
    "eval_batch_size": 32,
}
FIELDS = {
    "name": "examples",
    "question": "How many examples should a multilingual intermediate task have?",
    "size": "test" if TINY else "world",
    "experiments": {"world": experiment},
    "analysis": {"method": "curve", "x": "examples"},
}
if not FOLDER:
    config = colab.write_config(WORK / "config.py", FIELDS, study=True)
    colab.xling("study", f"--config={config}", f"--workdir={WORK}")

# %% [markdown]
# ## Its claims
#
# Each claim rests on a number with an interval; verdicts are corrected for the number of claims. *Undecided* says that
# the study is too small to tell, and how many seeds would.

# %%
from xling_jax.report.collect import collect
from xling_jax.report.collect_study import collect_study, is_study
from xling_jax.report.study_contents import build_study

if is_study(folder):
    study = collect_study(folder)
    report = build_study(study)
    experiments = dict(study.experiments)
    colab.show(f"**{report.question}**", *(answer.sentence for answer in report.answers), report.claims_table)
    for section in report.sections[:1]:
        colab.show(f"### {section.title}", *section.tables, *section.drawings)
else:
    experiments = {one.record.name: one for one in collect([folder])}
    print("experiments of a run:", *experiments)

# %% [markdown]
# ## The rows
#
# Under all of it lie rows: `results.jsonl`, a measured number on each line, with the arm, seed, task and language it is
# of. Here are those of one experiment, one pair of arms and one target; change them to look at others.

# %%
NAME = next(iter(experiments))
chosen = experiments[NAME]
record = chosen.record
others = [name for name in record.arms if name != record.baseline]
PAIR = record.headline.comparison if record.headline else (others[-1], record.baseline)
TARGET = record.headline.target if record.headline else record.targets[0].name

target = record.target(TARGET)
print(f"{len(chosen.rows)} rows of {NAME}. Arms: {', '.join(record.arms)}.")
print(f"Targets: {', '.join(one.name for one in record.targets)}. Shown: {TARGET}.")
print(f"{'arm':>10} {'seed':>4} {'language':>8} {target.metric:>10} {'floor':>6} {'items':>6}")
for (name, seed, of, language), row in sorted(chosen.scores.items()):
    if of == TARGET and name in PAIR:
        print(f"{name:>10} {seed:4} {language:>8} {row.value:10.1f} {row.floor:6.1f} {row.n:6}")

# %% [markdown]
# ## A claim, checked
#
# The gain of the first arm over the second in the mean of all zero-shot languages, by hand: the mean of each seed, the
# difference, the mean over seeds. Then as the report has it. The values have to be the same. The intervals are not: by
# hand seeds alone are noise, the report counts the test items, too (`docs/statistics.md`).

# %%
import numpy as np
from scipy import stats

from xling_jax.report.intervals import average, intervals

zero_shot = [code for code in target.languages if code != record.source_language]


def mean(name, seed):
    """Returns an arm's mean score over zero-shot languages, with one seed."""
    return np.mean([chosen.scores[name, seed, TARGET, code].value for code in zero_shot])


differences = [mean(PAIR[0], seed) - mean(PAIR[1], seed) for seed in record.seeds]
(gain,) = intervals(chosen, target, PAIR, [average(zero_shot)])
print(f"{PAIR[0]} minus {PAIR[1]} on {TARGET}, seeds {record.seeds}: {np.round(differences, 2)}")
print(f"by hand    {np.mean(differences):+.2f}", end="")
if len(differences) > 1:
    half = stats.t.isf(0.025, len(differences) - 1) * stats.sem(differences)
    print(f" [{np.mean(differences) - half:.2f}, {np.mean(differences) + half:.2f}] by seeds alone", end="")
print(f"\nthe report {gain.value:+.2f} [{gain.low:.2f}, {gain.high:.2f}]")
assert abs(np.mean(differences) - gain.value) < 0.01, "the report does not say what its rows say"

# %% [markdown]
# ## A question of your own
#
# *Is the gain larger in languages that are written as the source language is?* Any weights over languages are a
# contrast with an interval: here the mean of those with its script minus the mean of the others.

# %%
from xling_jax.report.figures import BLUE_LINE, INK, LINE, MUTED, VERMILION_LINE, painted
from xling_jax.tables.languages import LANGUAGES as TABLE

script = TABLE[record.source_language].script
same = [code for code in zero_shot if TABLE[code].script == script]
other = [code for code in zero_shot if TABLE[code].script != script]
if same and other:
    weights = average(same) | {code: -weight for code, weight in average(other).items()}
    (found,) = intervals(chosen, target, PAIR, [weights])
    verdict = "undecided" if found.low <= 0 <= found.high else "larger" if found.value > 0 else "smaller"
    print(
        f"{script} ({' '.join(same)}) minus others ({' '.join(other)}): "
        f"{found.value:+.1f} points [{found.low:.1f}, {found.high:.1f}]: {verdict}"
    )
else:
    print(f"All of {' '.join(zero_shot)} are on one side: nothing to compare.")
ordered = [*same, *other]
gains = intervals(chosen, target, PAIR, [average([code]) for code in ordered])


def draw(figure):
    """Draws the gain in each language with its interval."""
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, lw=0.8)
    for place, (code, number) in enumerate(zip(ordered, gains, strict=True)):
        colour = BLUE_LINE if code in same else VERMILION_LINE
        axes.plot([number.low, number.high], [place] * 2, color=colour, lw=1.8)
        axes.plot(number.value, place, "o" if code in same else "s", color=colour, ms=5)
    axes.set_yticks(range(len(ordered)), [f"{code}, {TABLE[code].script}" for code in ordered])
    axes.set(ylim=(len(ordered) - 0.5, -0.5), xlabel=f"{PAIR[0]} minus {PAIR[1]}, points of {target.metric}")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x", color=LINE, lw=0.5)


colab.show(painted("own", f"Gains with 95% intervals; circles: {script}.", (5.2, 0.9 + 0.32 * len(ordered)), draw))

# %% [markdown]
# ## What to keep in mind
#
# A question that is asked after looking at the rows is one of many that could have been asked: one in twenty such
# intervals leaves out 0 by chance. Declare it in a study, with seeds of its own, before you believe it.
