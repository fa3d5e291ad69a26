"""mT5's recipe, answers in words: an intermediate task in English, then each target in English, zero-shot.

    xling convert from-hf path/to/mt5-small work/mt5_small
    xling run --config=configs/mt5_small.py --workdir=work/run --data_dir=$XLING_DATA

Prompts, optimiser and rate are those that mT5's authors fine-tuned with (google-research/multilingual-t5,
`finetune_mt5_tasks.sh` and Xue et al. 2021: Adafactor at a constant 0.001), batches of 128 examples those of its QA and
PAWS-X; XNLI's are eight times as large there. They trained for a number of steps and chose the best on dev: epochs are
ours, and so is NER, whose answers are a tag for each word here. The whole needs an accelerator and has not been run
yet: no score is expected here until it has been.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete

# size: (seeds, share of the recipe's epochs, limits of splits)
SIZES = {
    "default": ((0, 1, 2), 1.0, {}),
    "test": ((0,), 0.01, {"train": 400, "dev": 40, "test": 40}),
}
# target: (task, trained on, epochs, longest prompt, longest answer)
TARGETS = {
    "xnli": ("xnli", "mnli.train.en", 3, 256, 8),
    "pawsx": ("pawsx", "pawsx.train.en", 10, 256, 8),
    "xquad": ("xquad", "squad.train.en", 3, 512, 64),
    "mlqa": ("mlqa", "squad.train.en", 3, 512, 64),
    "tydiqa": ("tydiqa", "tydiqa.train.en", 20, 512, 64),
    "ner": ("panx", "panx.train.en", 10, 256, 192),
}
ARMS = {"mnli": ("mnli.train.en", 1, 256, 8), "squad": ("squad.train.en", 1, 512, 64)}
BUCKETS = {256: (64, 128, 256), 512: (128, 256, 512)}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment with a hundredth of the epochs, and meaningless numbers."""
    seeds, share, limits = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    optim = {"name": "adafactor", "learning_rate": 1e-3, "schedule": "constant"}
    optim |= {"warmup": 0.0, "weight_decay": 0.0, "clip": 0.0}

    def stage(data, epochs, length, answer):
        sizes = {"batch_size": 128, "max_length": length, "buckets": BUCKETS[length], "answer_length": answer}
        return {"data": (data,), "epochs": epochs * share, **sizes, "optim": optim, "save_every": 200}

    return ConfigDict(
        complete(
            {
                "name": "mt5_small",
                "question": "Does MNLI or SQuAD as an intermediate task help mT5 small zero-shot?",
                "checkpoint": "work/mt5_small",
                "form": "text",
                "limits": limits,
                "seeds": seeds,
                "arms": {"none": {}} | {name: {"stage": stage(*how)} for name, how in ARMS.items()},
                "targets": {name: {"task": task, "stage": stage(*how)} for name, (task, *how) in TARGETS.items()},
                "source_language": "en",
                "baseline": "none",
                "comparisons": (("mnli", "none"), ("squad", "none")),
                "headline": ("mnli", "none", "xquad"),
                "dtype": "bfloat16",
            }
        )
    )
