"""The default experiment, on the generated world: does a multilingual intermediate task help more than an English one?

    xling run --config=configs/quickstart.py --workdir=work/quickstart

One small encoder is pretrained by masked language modelling on six generated languages. Three arms - no
intermediate task, question answering in the source language only, the same number of examples spread over
all languages - are each fine-tuned in the source language on four targets and evaluated in all languages.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete

QUESTION = "Does a multilingual intermediate task help zero-shot transfer more than an English-only one?"
LANGUAGES = "qen+qnd+qnr+qms+qda+qdt"
INTERMEDIATE_EXAMPLES = 7_200

# Longest inputs in tokens: one compiled shape a task, little padding.
LENGTHS = {"world_text": 28, "world_qa": 40, "world_qa2": 40, "world_pos": 16, "world_nli": 28}

# size: (pretraining steps, intermediate steps, target steps, seeds, limits of splits)
SIZES = {
    "default": (3000, 600, 300, (0, 1), {"train": 8000}),
    "test": (20, 6, 4, (0, 1), {"train": 400, "test": 40}),
}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment in seconds, with meaningless numbers."""
    pretrain, intermediate, target, seeds, limits = choose(
        "size", size, SIZES, "Sizes are rows of SIZES in the config file."
    )

    def stage(data, steps, rate, **more):
        optim = {"learning_rate": rate, "warmup": 0.1, "weight_decay": 0.01, "freeze_embeddings": False}
        length = LENGTHS[data.split(".")[0]]
        return {"data": (data,), "steps": steps, "batch_size": 64, "max_length": length, "optim": optim, **more}

    def intermediate_stage(languages):
        examples = min(INTERMEDIATE_EXAMPLES, limits.get("train", INTERMEDIATE_EXAMPLES))
        return stage(f"world_qa.train.{languages}", intermediate, 2e-3, examples=examples)

    def fine_tune(task):
        return {
            "task": task,
            "languages": LANGUAGES,
            "stage": stage(f"{task}.train.qen", target, 1e-3),
        }

    return ConfigDict(
        complete(
            {
                "name": "quickstart",
                "question": QUESTION,
                "synthetic": True,
                "model": "world",
                "vocabulary": {"kind": "world"},
                "limits": limits,
                "pretrain": stage(f"world_text.train.{LANGUAGES}", pretrain, 3e-3, save_every=500),
                "seeds": seeds,
                "arms": {
                    "none": {},
                    "english": {"stage": intermediate_stage("qen")},
                    "multilingual": {"stage": intermediate_stage(LANGUAGES)},
                },
                "targets": {
                    "qa2": fine_tune("world_qa2"),
                    "pos": fine_tune("world_pos"),
                    "nli": fine_tune("world_nli"),
                    "retrieval": {"task": "world_parallel", "languages": LANGUAGES, "max_length": 16, "layer": 1},
                },
                "source_language": "qen",
                "language_groups": {"near": ("qnd", "qnr"), "middle": ("qms",), "distant": ("qda", "qdt")},
                "baseline": "none",
                "comparisons": (("multilingual", "english"), ("english", "none"), ("multilingual", "none")),
                "headline": ("multilingual", "english", "qa2"),
            }
        )
    )
