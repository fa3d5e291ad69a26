"""Does a large batch cost zero-shot transfer? Intermediate batches of 16 to 256 (pod: 4096), each with three rates.

    xling study --config=configs/studies/batch_size.py --workdir=work/batch_size
    xling study --config=configs/studies/batch_size.py:pod --workdir=work/batch_size_pod --data_dir=DATA

Every arm sees the same examples equally often, so a larger batch takes fewer steps; everything after the intermediate
stage is the same. A batch size is judged with its best rate, or it is blamed for a bad one: three rates around the
square-root rule, of which the analysis takes the best on the source language's dev cell. Factor `rate` is what a rate
is of that rule's. Dev scores along the way say how many examples each takes to a goal, and where 20% more are needed:
the critical batch size of Zhang et al. 2025 (arXiv 2410.21676), who find that it grows with the data and hardly with
the model (B* = 621 N^0.087 at fixed data): expect the same one at both sizes of `pod`. Whether zero-shot scores fall
before dev scores do is not known.

`world`, on generated data: 9 minutes of two cores. `pod`: XLM-R XL and XXL on 64 chips of v5e. Stages that are trained,
of those there were without sharing: world 63 of 94, pod 378 of 558 (docs/studies.md).
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.language_sets import families, orders_of
from xling_jax.recipes import PODS, SIX, SIX_GROUPS, world, world_stage, world_target
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI

RATES = (0.5, 1.0, 2.0)  # of the square-root rule's
CHECKPOINTS = 10  # that are judged on the dev cell


def on_world(*, seen, distinct, batches, steps, seeds, limits):
    """Returns the experiment on the generated world: `seen` draws of `distinct` examples in all six languages."""

    def arm(batch, rate):
        by_rule, count = 1.5e-3 * (batch / 32) ** 0.5, seen // batch
        stage = world_stage("world_qa", SIX, rate * by_rule, steps=count, examples=distinct, batch_size=batch)
        return judged(stage, count, "world_qa.dev.qen")

    pretrain, target = steps
    return {
        "encoder": world(
            steps=pretrain,
            limits=limits,
            seeds=seeds,
            arms={"none": {}, **crossed(batches, arm)},
            targets={"qa2": world_target("world_qa2", SIX, steps=target)},
            language_groups=SIX_GROUPS,
        )
    }


def on_pods(*, seen, batches, models):
    """Returns an experiment for each model: NLI in half of XNLI's languages, so that the other half stays unseen."""
    codes = XNLI.split()
    order = orders_of(families(codes), 1, first="en")[0][: len(codes) // 2 + 1]
    data = ("mnli.train.en", f"xnli_translated.train.{'+'.join(order[1:])}")

    def experiment(pod):
        def arm(batch, rate):
            optim = {**pod.optim, "learning_rate": pod.optim["learning_rate"] * rate * (batch / 128) ** 0.5}
            sizes = {"batch_size": batch, "accumulate": max(1, batch // 256), "optim": optim}
            stage = pod.stage(*data, length=128, steps=seen // batch, examples=seen, **sizes)
            return judged(stage, seen // batch, "mnli.dev.en")

        targets = {name: pod.target(name) for name in ("xnli", "panx", "tydiqa")}
        return pod.experiment(
            factors={"model": pod.model},
            arms={"none": {}, **crossed(batches, arm)},
            targets=targets,
            headline=(f"b{batches[-1]}_r1", f"b{batches[0]}_r1", "xnli"),
            mesh="1x16x4",  # sixteen ways, so that the smallest batch can be divided
            remat="dots",
        )

    return {model: experiment(PODS[model]) for model in models}


def judged(stage, steps, dev):
    """Returns a stage that hands on the checkpoint that is best on a dev cell."""
    selection = {"policies": ("source_dev",), "dev": dev}
    return stage | {"save_every": max(1, steps // CHECKPOINTS), "selection": selection}


def crossed(batches, arm):
    """Returns an arm for each batch size and rate."""
    return {
        f"b{batch}_r{rate:g}".replace(".", ""): {"stage": arm(batch, rate), "factors": {"batch": batch, "rate": rate}}
        for batch in batches
        for rate in RATES
    }


# size: (its experiments, their amounts, the dev score that steps are counted to, slice)
SIZES = {
    "world": (
        on_world,
        {
            "seen": 10_240,
            "distinct": 5120,
            "batches": (16, 32, 64, 128, 256),
            "steps": (2500, 120),
            "seeds": (0, 1),
            "limits": {"train": 8000, "dev": 300},
        },
        50.0,
        "",
    ),
    "test": (
        on_world,
        {
            "seen": 256,
            "distinct": 120,
            "batches": (16, 64),
            "steps": (10, 4),
            "seeds": (0, 1),
            "limits": {"train": 400, "dev": 40, "test": 40},
        },
        10.0,
        "",
    ),
    "pod": (
        on_pods,
        {"seen": 360_448, "batches": (16, 64, 256, 1024, 4096), "models": ("xlmr_xl", "xlmr_xxl")},
        85.0,
        "v5e-64",
    ),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, goal, topology = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    return ConfigDict(
        complete_study(
            {
                "name": "batch_size",
                "question": "Does a larger batch in the intermediate stage cost zero-shot transfer?",
                "size": size,
                "topology": topology,
                "experiments": build(**amounts),
                "analysis": {"method": "batch", "x": "batch", "tuned": "rate", "goal": goal},
            }
        )
    )
