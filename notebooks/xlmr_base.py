# ruff: noqa: E402 - a notebook imports in the cell that needs it
"""The source of xlmr_base.ipynb, which `python notebooks/build.py` makes of it."""

# %% [markdown]
# # XLM-R base, zero-shot, on one TPU chip
#
# Published weights of XLM-R base come in from a folder as Hugging Face lays it out, are fine-tuned on English part of
# speech tags, evaluated in every language whose test file is there, and go out again. In Colab choose a TPU runtime
# (v5e-1: *Runtime, Change runtime type*); a GPU does, too, and a CPU with much patience.
#
# Nothing is downloaded but the program: weights and data are files of yours, on this machine or in Google Drive. Every
# cell can be run again, and "Restart and run all" goes on where it was.

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
# - `WEIGHTS`: a folder with `config.json`, `model.safetensors` and `sentencepiece.bpe.model` or `tokenizer.json`.
# - `DATA`: a folder with `udpos/train-en.tsv`, `udpos/test-de.tsv` and so on, as XTREME-R's download writes them, with
#   tags; `docs/tasks.md` has what other tasks need. Where there is none, generated languages stand in, if it is tiny.
# - `WORK`: the folder of the run. Checkpoints of this model take 3 GB each; Drive is slower than the machine's disk,
#   but it stays.
#
# What lies below `/content/drive` is mounted; Colab asks you for leave. `TINY` makes a tiny XLM-R of its own in the
# same format, and is what tests of this notebook use: its numbers mean nothing.

# %%
TINY = os.environ.get("XLING_TINY") == "1"
DRIVE = "/content/drive/MyDrive"
WORK = pathlib.Path(os.environ.get("XLING_WORK", "work")) / "xlmr_base"
DATA = pathlib.Path(os.environ.get("XLING_DATA", "" if TINY else f"{DRIVE}/xling_data"))
WEIGHTS = pathlib.Path(os.environ.get("XLING_WEIGHTS", WORK / "published" if TINY else f"{DRIVE}/xlm-roberta-base"))
MADE = TINY and "XLING_WEIGHTS" not in os.environ  # here, and not brought

REAL = bool(DATA.name)  # files; else the generated languages
SOURCE, TASK = ("en", "udpos") if REAL else ("qen", "world_pos")
colab.mount(WEIGHTS, DATA, WORK)
if not MADE and not (WEIGHTS / "config.json").exists():
    raise colab.Stopped(f"{WEIGHTS} has no config.json. WEIGHTS has to be a folder as Hugging Face lays it out.")

# %% [markdown]
# ## The machine
#
# Versions, devices, the data folder. The notebook itself leaves the TPU alone, as it belongs to one process at a time:
# each `xling` takes it and gives it back. Seconds.

# %%
colab.xling("doctor", *([f"--data_dir={DATA}"] if REAL else []))

# %% [markdown]
# ## Only in the tiny setting: a model to begin with
#
# A SentencePiece vocabulary and a model of two layers, trained for a few steps on the text at hand, and written as
# Hugging Face does. Otherwise this cell does nothing.

# %%
TEXT = ("ud_text.ttb_train.ta", "ud_text.mtg_train.te") if REAL else ("world_text.train.qen+qda",)
DATA_DIR = [f"--data_dir={DATA}"] if REAL else []


def make_model():
    """Trains the tiny model and writes it to WEIGHTS."""
    few = {"steps": 4, "batch_size": 16, "max_length": 40, "optim": {"learning_rate": 1e-3}}
    tags = {"task": TASK, "languages": SOURCE, "stage": few | {"data": (f"{TASK}.train.{SOURCE}",), "steps": 1}}
    fields = {
        "name": "published",
        "model": "tiny",
        "vocabulary": {"kind": "xlmr", "size": 400 if REAL else 200, "data": TEXT},
        "limits": {"train": 200, "ttb_train": 200, "mtg_train": 200, "test": 8},
        "pretrain": few | {"data": TEXT},
        "arms": {"none": {}},
        "targets": {"tags": tags},
        "source_language": SOURCE,
        "baseline": "none",
        "synthetic": not REAL,
    }
    config = colab.write_config(WORK / "published.py", fields)
    colab.xling("run", f"--config={config}", f"--workdir={WORK / 'making'}", *DATA_DIR)
    (stage,) = (WORK / "making/stages").glob("pretrain-*")
    colab.xling("convert", "to-hf", stage, WEIGHTS)


if MADE and not WEIGHTS.exists():
    make_model()

# %% [markdown]
# ## Weights, in
#
# Every tensor, every field of `config.json` and the vocabulary are checked before anything is written; what is printed
# says where each parameter comes from. About a minute for XLM-R base, seconds if it has been done.

# %%
colab.xling("convert", "from-hf", WEIGHTS, WORK / "imported", "--head=none")

# %% [markdown]
# ## The experiment
#
# Three epochs of English, a rate of 2e-5, batches of 32, then the test set of each language whose file is there. To ask
# whether an intermediate task helps, add an arm and a comparison: `configs/xlmr_base.py` has the published recipe.

# %%
from xling_jax.data.sources import is_there
from xling_jax.tables.tasks import cells

there = [cell.language for cell in cells(TASK, "test", "all") if is_there(cell, DATA if REAL else None)]
asked = sorted(there, key=lambda code: code != SOURCE)
if not asked:
    raise colab.Stopped(f"{DATA} has no test file of {TASK}. Say in Parameters where the files are.")
LENGTH, EPOCHS = (40, 0.2) if TINY else (128, 3.0)
FIELDS = {
    "name": "xlmr_base",
    "question": "How well does XLM-R base, trained on English tags, tag other languages?",
    "checkpoint": str(WORK / "imported"),
    "limits": {"train": 400, "test": 24} if TINY else {},
    "seeds": (0,),
    "arms": {"none": {}},
    "targets": {
        "tags": {
            "task": TASK,
            "languages": "+".join(asked[:4] if TINY else asked),
            "stage": {
                "data": (f"{TASK}.train.{SOURCE}",),
                "epochs": EPOCHS,
                "batch_size": 32,
                "max_length": LENGTH,
                "buckets": () if TINY else (64, 128),
                "optim": {"learning_rate": 2e-5, "warmup": 0.1, "weight_decay": 0.01},
                "save_every": 0 if TINY else 500,
                "log_every": 1 if TINY else 50,
            },
        },
    },
    "source_language": SOURCE,
    "baseline": "none",
    "dtype": "float32" if TINY else "bfloat16",
    "synthetic": not REAL,
}
CONFIG = colab.write_config(WORK / "experiment.py", FIELDS)
print(len(asked), "languages:", *asked)

# %% [markdown]
# ## Train and evaluate
#
# It saves every 500 steps. If the machine is taken away, run all again: it goes on from there. Nobody has measured how
# long it takes on a chip yet; `xling plan --config=work/xlmr_base/experiment.py --topology=v5e-1` says a lower bound.

# %%
RUN = ["run", f"--config={CONFIG}", f"--workdir={WORK / 'run'}", *DATA_DIR]
colab.xling(*RUN)

# %% [markdown]
# ## Each language
#
# The bar is the score, the dark line the floor: the most frequent tag of each word form in English, and nothing else.
# Blue are languages of English's family. The gap between English and the others is what zero-shot transfer loses.

# %%
from xling_jax.report.collect import collect
from xling_jax.report.contents import build_experiment
from xling_jax.report.figures import BLUE, INK, LINE, VERMILION, painted
from xling_jax.tables.languages import LANGUAGES

(found,) = collect([WORK / "run"])
rows = sorted((row for key, row in found.scores.items() if key[2] == "tags"), key=lambda row: -row.value)
family = LANGUAGES[SOURCE].family


def draw(figure):
    """Draws a bar for each language, the best first."""
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour = BLUE if LANGUAGES[row.language].family == family else VERMILION
        axes.barh(place, row.value, height=0.7, color=colour, alpha=0.6)
        axes.plot([row.floor] * 2, [place - 0.35, place + 0.35], color=INK, lw=1.6)
        axes.text(110, place, f"{row.value:.1f}", ha="right", va="center", color=INK)
    names = [f"{LANGUAGES[row.language].name} ({LANGUAGES[row.language].family})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlim=(0, 110), ylim=(len(rows) - 0.4, -0.6), xlabel=f"{rows[0].metric}, percent")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x", color=LINE, lw=0.5)
    axes.set_axisbelow(True)


report = build_experiment(found)
caption = f"Score of each language; dark lines: floors. Blue: {family}."
colab.show(painted("languages", caption, (6.4, 0.9 + 0.28 * len(rows)), draw))
colab.show(*(table for table in report.targets[0].tables if table.name in ("scores", "gap", "kinds")))

# %% [markdown]
# The loss of the training, and what the time went to:

# %%
colab.show(*report.curves)

# %% [markdown]
# ## Weights, out
#
# The trained model with its head and the names of its tags, as a folder that `transformers` loads. About a minute.

# %%
import json

(stage,) = (WORK / "run/stages").glob("none_tags_s0-*")
exported = WORK / "exported" / stage.name
if not exported.exists():  # it appears when it is whole
    colab.xling("convert", "to-hf", stage, exported)
config = json.loads((exported / "config.json").read_text())
print(*config["architectures"], "answers", *config["id2label"].values())
print(exported.resolve())
for path in sorted(exported.iterdir()):
    print(f"{path.stat().st_size / 1e6:10,.2f} MB  {path.name}")
