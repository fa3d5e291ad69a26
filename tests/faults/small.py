"""The smallest experiment with two arms and a selection among several checkpoints: what faults are tried on."""

from ml_collections import ConfigDict

from xling_jax.experiment import complete

DEV = "world_nli.dev.qen"


def get_config() -> ConfigDict:
    """Returns the config: four stages, ten checkpoints."""

    def stage(data, steps, every, **more):
        batch = {"batch_size": 8, "max_length": 48, "log_every": 3, "optim": {"learning_rate": 1e-2}}
        return {"data": (data,), "steps": steps, "save_every": every, **batch, **more}

    selection = {"policies": ("source_dev", "last", "average"), "dev": DEV, "average": 2}
    return ConfigDict(
        complete(
            {
                "name": "faults",
                "synthetic": True,
                "model": "tiny",
                "limits": {"train": 96, "dev": 24, "test": 24},
                "pretrain": stage("world_text.train.qen+qda", 30, 10),
                "arms": {"none": {}, "nli": {"stage": stage("world_nli.train.qen", 24, 6, selection=selection)}},
                "targets": {
                    "pos": {"task": "world_pos", "languages": "qda+qnd", "stage": stage("world_pos.train.qen", 9, 5)},
                    "parallel": {"task": "world_parallel", "languages": "qda+qnd", "max_length": 48},
                },
                "baseline": "none",
                "comparisons": (("nli", "none"),),
                "headline": ("nli", "none", "pos"),
                "source_language": "qen",
                "eval_batch_size": 8,
                "mesh": "one",
            }
        )
    )
