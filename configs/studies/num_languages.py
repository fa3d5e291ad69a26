"""How many languages should the intermediate task have, with equal data? Nested sets along several orders.

    xling study --config=configs/studies/num_languages.py --workdir=work/num_languages
    xling study --config=configs/studies/num_languages.py:pod --workdir=work/num_languages_pod --data_dir=DATA

Sets of N languages in two regimes: they share a fixed number of examples, or each has a fixed number. Beside each
stands the source language alone with as many examples, the same ones: that is N = 1, and gains are over it. So
neither the amount of data nor what is said grows with N. Which languages a set has is not N either: several orders,
each covering families (of generated languages, clusters of grammars) as evenly as it can. Seen and unseen languages
stand apart.

Expected: on the generated world the gain grows with N (docs/results/quickstart.md: six languages against one +14.5
points [13.2, 15.7] on the second QA), mostly in seen languages. Published are ends of the curve alone: translate-train
of all of XNLI's languages has 86.0 with XLM-R XXL (Goyal et al. 2021, arXiv 2105.00572), and with mT5 XXL 87.8
against 85.0 zero-shot (Xue et al. 2021). Ji and Chen 2025 (arXiv 2404.04850) add languages in one fixed order, and
data with them.

`world`, on generated data: 13 minutes of two cores. `pod`: XLM-R XXL and mT5 XXL on 64 chips of v5e, with
XTREME's machine translations of MNLI, English among them. Stages that are trained, of those there were without
sharing: world 67 of 130, pod 1,296 of 5,472 (docs/studies.md).
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.language_sets import families, nested_arms, orders_of
from xling_jax.recipes import EIGHT, PODS, SOURCE, world, world_stage, world_target
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI
from xling_jax.typology import clusters, grammar_features

CLUSTERS = 3
# Beyond XTREME-R, whose XNLI has no language that the largest set has not seen.
WIDER = {"xnli_eu": "all", "myxnli": "all", "cxnli": "all", "kornli": "all", "americasnli": "all"}


def on_world(*, sizes, orders, counts, epochs, steps, seeds, limits):
    """Returns the experiment on the generated world; two of its eight languages are never in a set."""
    codes = EIGHT.split("+")
    found = orders_of(clusters(grammar_features(codes), CLUSTERS), orders, first=SOURCE)
    stage = world_stage("world_qa", epochs=epochs)
    arms, comparisons = nested_arms("world_qa.train", found, sizes, counts, source=SOURCE, stage=stage)
    pretrain, target = steps
    return {
        "encoder": world(
            EIGHT,
            steps=pretrain,
            limits=limits,
            seeds=seeds,
            arms={"none": {}, **arms},
            targets={"qa2": world_target("world_qa2", EIGHT, steps=target)},
            remember=("world_qa.dev.qen",),
            comparisons=comparisons,
            headline=(*_largest(comparisons, sizes), "qa2"),
        )
    }


def on_pods(*, sizes, orders, counts, models):
    """Returns an experiment for each model, on NLI; targets are XTREME-R's that all of them answer, and wider NLI."""
    found = orders_of(families(XNLI.split()), orders, first="en")

    def experiment(pod):
        stage = pod.stage()
        arms, comparisons = nested_arms(
            "xnli_translated.train", found, sizes, counts, source="en", stage=stage, elsewhere={"en": "mnli.train"}
        )
        targets = pod.targets("xtreme_r", "lareqa", "mewslix")
        wider = {name: targets["xnli"] | {"task": name, "languages": codes} for name, codes in WIDER.items()}
        headline = (*_largest(comparisons, sizes), "xnli")
        return pod.experiment(
            factors={"model": pod.model},
            arms={"none": {}, **{name: arm | {"stage": paced(arm["stage"])} for name, arm in arms.items()}},
            targets=targets | wider,
            comparisons=comparisons,
            headline=headline,
        )

    return {model: experiment(PODS[model]) for model in models}


def paced(stage):
    """Returns a stage with the steps of one epoch: of translations nobody publishes how many there are."""
    return stage | {"steps": stage["examples"] // stage["batch_size"]}


def _largest(comparisons, sizes):
    """Returns the first set of the most languages, and its control."""
    return next(pair for pair in comparisons if pair[0] == f"total_{max(sizes)}_o0")


# size: (its experiments, their amounts, slice)
SIZES = {
    "world": (
        on_world,
        {
            "sizes": (2, 4, 6),
            "orders": 3,
            "counts": {"total": 4800, "per_language": 800},
            "epochs": 3.0,
            "steps": (3000, 200),
            "seeds": (0, 1),
            "limits": {"train": 8000},
        },
        "",
    ),
    "test": (
        on_world,
        {
            "sizes": (2, 3),
            "orders": 2,
            "counts": {"total": 48, "per_language": 16},
            "epochs": 1.0,
            "steps": (10, 2),
            "seeds": (0, 1),
            "limits": {"train": 200, "dev": 20, "test": 20},
        },
        "",
    ),
    "pod": (
        on_pods,
        {
            "sizes": (2, 4, 8, 15),
            "orders": 4,
            "counts": {"total": 360_000, "per_language": 24_000},
            "models": ("mt5_xxl", "xlmr_xxl"),
        },
        "v5e-64",
    ),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, topology = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    return ConfigDict(
        complete_study(
            {
                "name": "num_languages",
                "question": "How many languages should an intermediate task have, at equal data?",
                "size": size,
                "topology": topology,
                "experiments": build(**amounts),
                "analysis": {"method": "curve", "x": "languages", "by": ("regime",)},
            }
        )
    )
