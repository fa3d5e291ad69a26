# ruff: noqa: E402 - a notebook imports in the cell that needs it
"""The source of world.ipynb, which `python notebooks/build.py` makes of it."""

# %% [markdown]
# # An experiment from nothing, in minutes
#
# Does training on an *intermediate task* in many languages help a model, **zero-shot**, in languages it gets no labels
# in? This notebook asks it of six small **generated** languages, on a CPU, and shows how the program is used: start,
# watch, interrupt, go on, read the table, change one thing.
#
# Nothing is downloaded but the program. Every cell can be run again: what is done is not done twice, and "Restart and
# run all" goes on where it was. On two cores the whole takes about a quarter of an hour, installing included.

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
# `WORK` is the folder of the run. In Colab it is lost with the machine. `TINY` is the same in a minute or two, with
# meaningless numbers; tests of this notebook use it.

# %%
TINY = os.environ.get("XLING_TINY") == "1"
WORK = pathlib.Path(os.environ.get("XLING_WORK", "work")) / "world"

SIZE = ":test" if TINY else ""
RUN = ["run", f"--config=configs/quickstart.py{SIZE}", f"--workdir={WORK}"]
if TINY:  # pretraining is long enough to be interrupted
    RUN += ["--config.seeds=(0,)", "--config.model=tiny", "--config.limits.test=20"]
    RUN += ["--config.pretrain.steps=500", "--config.pretrain.log_every=2"]
print("xling", *RUN)
# Two experiments lie in two folders, and have their compiled programs in common.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(WORK.with_name("compiled").resolve()))

# %% [markdown]
# ## The experiment
#
# `configs/quickstart.py` declares it. One encoder is pretrained on text of all six languages. Three *arms* go on from
# there: no intermediate task, question answering in the source language `qen` only, and as many questions spread over
# all languages. Each is then fine-tuned on the targets **in `qen` only**, and asked in every language.
#
# The plan: each line is a stage. What a stage's name ends with is a hash of everything that decides its result, so
# stages that arms share are trained once, and one that is there is not trained again. A few seconds.

# %%
colab.xling(*RUN, "--dry_run")

# %% [markdown]
# ## Start, watch, interrupt
#
# The run is a process of its own. While it pretrains, its loss is read from `metrics.jsonl` and drawn. After some steps
# we ask it to stop, as a machine that is taken away does: it saves, and leaves with code 75, *interrupted and
# resumable*. Half a minute; when the run is done already, there is nothing to interrupt.

# %%
import time

from IPython.display import display

from xling_jax.report.collect import read_curves
from xling_jax.report.figures import BLUE_LINE, LINE, painted

AFTER = 4 if TINY else 300  # steps


def curve():
    """Returns the loss of pretraining so far; None before its first line."""
    found = [read_curves(path) for path in WORK.glob("stages/pretrain-*/metrics.jsonl")]
    return found[0].get("world_text") if found else None


def drawn(seen):
    """Returns the picture of a loss curve."""

    def draw(figure):
        axes = figure.add_subplot()
        axes.plot(seen.steps, seen.losses, color=BLUE_LINE)
        axes.set(xlabel="step", ylabel="masked-LM loss")
        axes.grid(axis="y", color=LINE, lw=0.5)

    return colab.picture(painted("loss", "Loss of pretraining.", (4.4, 2.4), draw))


def watch(run, steps):
    """Draws the loss until the run has done so many steps of pretraining, or has ended."""
    shown = None
    while run.poll() is None and not ((seen := curve()) and seen.steps[-1] >= steps):
        if seen:
            shown = shown or display(drawn(seen), display_id=True)
            shown.update(drawn(seen))
        time.sleep(1)


if (WORK / "report/index.html").exists():
    print("The run is done: there is nothing to interrupt.")
else:
    run = colab.begin(*RUN, stdout=subprocess.DEVNULL)
    try:
        watch(run, AFTER)
    finally:
        code = colab.stop(run)
    print(f"Asked to stop at step {curve().steps[-1]:.0f}; it left with code {code}.")
display(drawn(curve()))

# %% [markdown]
# ## Go on
#
# The same command goes on where it was, says from which step, and ends with its tables. About six minutes on two cores;
# when it is done already, seconds. Interrupt the cell whenever you like, and run it again.

# %%
colab.xling(*RUN)

# %% [markdown]
# ## The table
#
# Scores are in percent: mean over seeds, with the lowest and the highest seed. The **floor** is what a program without
# a model reaches; † marks a score that is no better. A **gain** is a difference of two arms, paired over seeds and test
# items, with its 95% interval.

# %%
from xling_jax.report.collect import collect
from xling_jax.report.contents import build_experiment

(full,) = collect([WORK])
report = build_experiment(full)
qa2 = next(target for target in report.targets if target.name == "qa2")
colab.show(*(table for table in qa2.tables if table.name in ("scores", "gains")))

# %% [markdown]
# ## The report
#
# The whole report is one file, `report/index.html` of the folder, with every target, curves and where the time went: in
# Colab right-click it in the file browser to download it. Here are its pictures of this target, and its answer: the
# sentence names the comparison, the interval, and whether it decides the question.

# %%
colab.show(*qa2.drawings, f"**{report.answer.sentence}**", *report.answer.remarks)
print(WORK.resolve() / "report/index.html")

# %% [markdown]
# ## One changed option
#
# Any field of a config is a flag, `--config.FIELD=VALUE`. Here the intermediate stages get a third of their steps. It
# is another experiment, so it has a name and a folder of its own. About five minutes.

# %%
LESS = WORK.with_name("world_less")
STEPS = 2 if TINY else 250
changed = [f"--config.arms.{arm}.stage.steps={STEPS}" for arm in ("english", "multilingual")]
colab.xling(*RUN, f"--workdir={LESS}", "--config.name=less", *changed)

# %% [markdown]
# Both were asked the same test items, so the difference has an interval, too: the multilingual arm with a third of the
# steps minus the one with all of them, in the mean of the languages without labels.

# %%
from xling_jax.report.intervals import average, contrast_number, gain_weights

(less,) = collect([LESS])
target, record = full.record.target("qa2"), full.record
zero_shot = average([code for code in target.languages if code != record.source_language])


def score(name):
    """Returns the weights of an experiment's score in the mean of those languages."""
    return gain_weights(name, "qa2", ("multilingual",), zero_shot)


weights = score("less") | {key: -weight for key, weight in score("quickstart").items()}
cost = contrast_number([full, less], weights, record.seeds)
colab.show(
    *(f"**{one.record.name}**: {build_experiment(one).answer.sentence}" for one in (full, less)),
    f"**less minus quickstart**: {cost.value:+.1f} points [{cost.low:.1f}, {cost.high:.1f}].",
)

# %% [markdown]
# ## What it means
#
# - An interval that leaves out 0 decides. One that does not says *undecided*; more seeds are what settles it,
#   `--config.seeds="(0,1,2,3,4)"` in a folder of its own.
# - With one seed an interval speaks of the test items alone, and not of training again. With two it is wide, because
#   the noise of training is known from one difference.
# - A score below its floor (†) says that the model does worse than a program that compares words, whatever its gain.
# - These languages are generated: that the program finds an effect here says that it can, and nothing of real ones.
