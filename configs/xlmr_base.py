"""The published recipe with XLM-R base: an intermediate task in English, then each target in English, zero-shot.

    xling convert from-hf path/to/xlm-roberta-base work/xlmr_base
    xling run --config=configs/xlmr_base.py --workdir=work/run --data_dir=$XLING_DATA

Rates, epochs, batches and lengths of intermediate and target stages are those that the study's authors released for
XLM-R large (jiant: guides/projects/xstilts.md, scripts/benchmarks/xtreme); XLM-R base is
`--config.checkpoint=FOLDER` away from large. An epoch of MNLI is 12,000 steps of 32 examples of up to 256 tokens. The
whole needs an accelerator and has not been run yet: no score is expected here until it has been.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete
from xling_jax.recipes import BUCKETS, JIANT

# size: (seeds, share of the recipe's epochs, limits of splits)
SIZES = {
    "default": ((0, 1, 2), 1.0, {}),
    "test": ((0,), 0.01, {"train": 400, "dev": 40, "test": 40}),
}
# target: (task, trained on, epochs, batch, longest input)
TARGETS = {
    "xnli": ("xnli", "mnli.train.en", 2, 32, 256),
    "pawsx": ("pawsx", "pawsx.train.en", 5, 32, 256),
    "pos": ("udpos", "udpos.train.en", 10, 32, 256),
    "ner": ("panx", "panx.train.en", 10, 32, 256),
    "xquad": ("xquad", "squad.train.en", 2, 16, 384),
    "mlqa": ("mlqa", "squad.train.en", 2, 16, 384),
    "tydiqa": ("tydiqa", "tydiqa.train.en", 2, 16, 384),
}
ARMS = {"mnli": ("mnli.train.en", 32, 256), "squad": ("squad.train.en", 32, 256)}
TATOEBA_LAYER = 8  # two thirds of the way up, as layer 14 of XLM-R large's 24 is nearly


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment with a hundredth of the epochs, and meaningless numbers."""
    seeds, share, limits = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(data, epochs, batch, length):
        sizes = {"batch_size": batch, "max_length": length, "buckets": BUCKETS[length]}
        return {"data": (data,), "epochs": epochs * share, **sizes, "optim": dict(JIANT), "save_every": 2000}

    targets = {
        name: {"task": task, "stage": stage(data, epochs, batch, length)}
        for name, (task, data, epochs, batch, length) in TARGETS.items()
    }
    return ConfigDict(
        complete(
            {
                "name": "xlmr_base",
                "question": "Does MNLI or SQuAD as an intermediate task help XLM-R base zero-shot?",
                "checkpoint": "work/xlmr_base",
                "limits": limits,
                "seeds": seeds,
                "arms": {"none": {}} | {name: {"stage": stage(data, 3, *how)} for name, (data, *how) in ARMS.items()},
                "targets": targets
                | {"tatoeba": {"task": "tatoeba", "max_length": 512, "protocol": {"layer": TATOEBA_LAYER}}},
                "source_language": "en",
                "baseline": "none",
                "comparisons": (("mnli", "none"), ("squad", "none")),
                "headline": ("mnli", "none", "xnli"),
                "dtype": "bfloat16",
                "remat": "none",
            }
        )
    )
