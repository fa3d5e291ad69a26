"""The default experiment, on the generated world: does a multilingual intermediate task help more than an English one?

    xling run --config=configs/quickstart.py --workdir=work/quickstart

One small encoder is pretrained by masked language modelling on six generated languages. Three arms - no
intermediate task, question answering in the source language only, the same number of examples spread over
all languages - are each fine-tuned in the source language on four targets and evaluated in all languages.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete
from xling_jax.recipes import SHAPES, SIX, SIX_GROUPS

QUESTION = "Does a multilingual intermediate task help zero-shot transfer more than an English-only one?"
INTERMEDIATE_EXAMPLES = 7_200

# size: (steps of each kind of stage, seeds, limits of splits)
SIZES = {
    "default": (
        {"world_text": 2500, "world_qa": 750, "world_qa2": 350, "world_pos": 200, "world_nli": 500},
        (0, 1),
        {"train": 8000},
    ),
    "test": (
        {"world_text": 20, "world_qa": 6, "world_qa2": 4, "world_pos": 4, "world_nli": 4},
        (0, 1),
        {"train": 400, "test": 40},
    ),
}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment in seconds, with meaningless numbers."""
    steps, seeds, limits = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(task, languages, rate, **more):
        length, batch_size = SHAPES[task]
        return {
            "data": (f"{task}.train.{languages}",),
            "steps": steps[task],
            "batch_size": batch_size,
            "max_length": length,
            "optim": {"learning_rate": rate, "weight_decay": 0.01},
            **more,
        }

    def intermediate(languages):
        return {"stage": stage("world_qa", languages, 1e-3, examples=min(INTERMEDIATE_EXAMPLES, limits["train"]))}

    def fine_tune(task):
        return {"task": task, "languages": SIX, "stage": stage(task, "qen", 1e-3)}

    return ConfigDict(
        complete(
            {
                "name": "quickstart",
                "question": QUESTION,
                "synthetic": True,
                "model": "world",
                "vocabulary": {"kind": "world"},
                "limits": limits,
                "pretrain": stage("world_text", SIX, 3e-3, save_every=500),
                "seeds": seeds,
                "arms": {
                    "none": {},
                    "english": intermediate("qen"),
                    "multilingual": intermediate(SIX),
                },
                "targets": {
                    "qa2": fine_tune("world_qa2"),
                    "pos": fine_tune("world_pos"),
                    "nli": fine_tune("world_nli"),
                    "retrieval": {
                        "task": "world_parallel",
                        "languages": SIX,
                        "max_length": 16,
                        "protocol": {"layer": 1},
                    },
                },
                "eval_batch_size": 32,
                "source_language": "qen",
                "language_groups": SIX_GROUPS,
                "baseline": "none",
                "comparisons": (("multilingual", "english"), ("english", "none"), ("multilingual", "none")),
                "headline": ("multilingual", "english", "qa2"),
            }
        )
    )
