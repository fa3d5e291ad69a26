"""The smallest study with something of everything: two models, stages in common, other evaluations of the same stage.

xling study --config=tests/studies/tiny.py --workdir=work/tiny
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.study import complete_study

SIZES = {"default": 6, "long": 40}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config. By argument: how many steps a stage has."""
    steps = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(data, **more):
        batch = {"batch_size": 8, "max_length": 48, "log_every": 2, "save_every": 5, "optim": {"learning_rate": 1e-2}}
        return {"data": (data,), "steps": steps, **batch, **more}

    def experiment(model, languages, **more):
        return {
            "synthetic": True,
            "model": model,
            "limits": {"train": 64, "dev": 16, "test": 16},
            "pretrain": stage("world_text.train.qen+qda"),
            "arms": {"none": {}, "nli": {"stage": stage("world_nli.train.qen")}},
            "targets": {
                "pos": {"task": "world_pos", "languages": languages, "stage": stage("world_pos.train.qen")},
                "parallel": {"task": "world_parallel", "languages": "qda+qnd", "max_length": 48},
            },
            "baseline": "none",
            "comparisons": (("nli", "none"),),
            "headline": ("nli", "none", "pos"),
            "source_language": "qen",
            "eval_batch_size": 8,
            "mesh": "one",
            **more,
        }

    experiments = {
        "near": experiment("tiny", "qnd", factors={"model": "tiny"}),
        "far": experiment("tiny", "qda", factors={"model": "tiny"}),
        "other": experiment("tiny", "qda", pretrain_seed=1, targets={}, factors={"model": "tiny"}),
    }
    experiments["other"]["targets"] = {"pos": experiments["near"]["targets"]["pos"]}
    return ConfigDict(
        complete_study(
            {
                "name": "tiny_study",
                "question": "Does NLI help tagging?",
                "size": "test",
                "experiments": experiments,
                "topology": "v5e-1",
            }
        )
    )
