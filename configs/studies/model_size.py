"""Which model gives most zero-shot for what inference costs, after a multilingual intermediate task?

    xling study --config=configs/studies/model_size.py --workdir=work/model_size
    xling study --config=configs/studies/model_size.py:real --workdir=work/model_size_real --data_dir=$XLING_DATA
    xling study --config=configs/studies/model_size.py:pod --workdir=work/model_size_pod --data_dir=DATA

An experiment for each model, with the same data, recipe and seeds. The answer is the smallest one that is surely
within a point of the best, and the front of score against latency, throughput, FLOPs and memory. Factor `weights` is
millions of numbers in the matrices of the layers: an encoder-decoder reads as much as an encoder of half its weights.

Expected: zero-shot XNLI from English of mT5 small to XXL is 67.5, 75.4, 81.1, 82.9, 85.0 (Xue et al. 2021), of XLM-R
large 79.2 (Hu et al. 2020); with translate-train XLM-R large, XL, XXL have 83.6, 85.4, 86.0 (Goyal et al. 2021).
Large models gain less and less for what they cost; where the front bends is what is asked.

`world`, on generated data, three encoders: 10 minutes of two cores. `real`: encoders that are trained from
nothing on the 15 languages of XNLI's dev files, scored by POS tags: an hour of one accelerator; `real_cpu`, three of
them on two cores: 47 minutes beside other work (`real` is an estimate). They say nothing of published models. `pod`:
XLM-R base to XXL and mT5 small to XXL, 64 chips of v5e for each. Stages that are trained, of those there were without
sharing: world 33 of 78, real 40 of 60, real_cpu 21 of 30, pod 351 of 594 (docs/studies.md).
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.recipes import PODS, SIX, SIX_GROUPS, real, real_stage, weights, world, world_stage, world_target
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI

POS = "en ar bg el es fr hi ru tr ur vi"  # that the data folder has tests of, and the pretraining has text of


def factors(model):
    """Returns what tells experiments apart."""
    return {"model": model, "weights": weights(model)}


def compared(arm, target, clock):
    """Returns the fields that say what is compared with what, on a target, and how its inference is timed."""
    return {"comparisons": ((arm, "none"),), "headline": (arm, "none", target), "clock": {"target": target, **clock}}


def on_world(*, models, steps, clock, seeds, limits):
    """Returns the experiments on the generated world: QA in all six languages, then the second QA and POS tags."""
    pretrain, intermediate, qa2, pos = steps
    arm = world_stage("world_qa", SIX, steps=intermediate)
    return {
        model: world(
            model=model,
            steps=pretrain,
            limits=limits,
            seeds=seeds,
            factors=factors(model),
            arms={"none": {}, "multilingual": {"stage": arm}},
            targets={
                "qa2": world_target("world_qa2", SIX, steps=qa2),
                "pos": world_target("world_pos", SIX, steps=pos),
                "retrieval": world_target("world_parallel", SIX),
            },
            remember=("world_qa.dev.qen",),
            language_groups=SIX_GROUPS,
            **compared("multilingual", "qa2", clock),
        )
        for model in models
    }


def on_files(*, models, pieces, pretrain, epochs, clock, seeds):
    """Returns the experiments on encoders that are trained from nothing: names in English, then POS tags."""
    names, tags = epochs
    arm = real_stage("panx.train.en", rate=1e-3, epochs=names)
    tag = real_stage("udpos.train.en", rate=1e-3, epochs=tags)
    return {
        model: real(
            model,
            pieces=pieces,
            steps=pretrain,
            seeds=seeds,
            factors=factors(model),
            arms={"none": {}, "names": {"stage": arm}},
            targets={"udpos": {"task": "udpos", "languages": POS, "stage": tag}},
            remember=("panx.dev.en",),
            **compared("names", "udpos", clock),
        )
        for model in models
    }


def on_pods(*, examples, models, clock):
    """Returns the experiments on published checkpoints: NLI in 15 languages, then XTREME."""
    others = "+".join(code for code in XNLI.split() if code != "en")

    def experiment(pod):
        cells, steps = ("mnli.train.en", f"xnli_translated.train.{others}"), examples // pod.batch_size
        arm = pod.stage(*cells, steps=steps, examples=examples)
        return pod.experiment(
            factors=factors(pod.model),
            arms={"none": {}, "multilingual": {"stage": arm}},
            targets=pod.targets("xtreme", "bucc2018"),  # whose test labels are withheld
            **compared("multilingual", "xnli", clock),
        )

    return {model: experiment(PODS[model]) for model in models}


WORLD = ("world_small", "world", "world_large")
PUBLISHED = tuple(f"xlmr_{size}" for size in ("base", "large", "xl", "xxl"))
PUBLISHED += tuple(f"mt5_{size}" for size in ("small", "base", "large", "xl", "xxl"))
# size: (its experiments, their amounts, slice)
SIZES = {
    "world": (
        on_world,
        {
            "models": WORLD,
            "steps": (2000, 400, 200, 150),
            "clock": {"examples": 256},
            "seeds": (0, 1),
            "limits": {"train": 8000},
        },
        "",
    ),
    "test": (
        on_world,
        {
            "models": WORLD[:2],
            "steps": (10, 4, 2, 2),
            "clock": {"batches": (1, 4), "repeats": 1, "examples": 8},
            "seeds": (0, 1),
            "limits": {"train": 200, "test": 20},
        },
        "",
    ),
    "real": (
        on_files,
        {
            "models": ("mini", "small", "midi", "maxi"),
            "pieces": 16_000,
            "pretrain": 20_000,
            "epochs": (3.0, 5.0),
            "clock": {},
            "seeds": (0, 1, 2),
        },
        "",
    ),
    "real_cpu": (
        on_files,
        {
            "models": ("mini", "small", "midi"),
            "pieces": 8000,
            "pretrain": 2000,
            "epochs": (0.5, 0.5),
            "clock": {},
            "seeds": (0, 1),
        },
        "",
    ),
    # A slice splits each batch, so that nothing is said of one example's latency there.
    "pod": (on_pods, {"examples": 360_000, "models": PUBLISHED, "clock": {"batches": (64, 256)}}, "v5e-64"),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, topology = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    return ConfigDict(
        complete_study(
            {
                "name": "model_size",
                "question": "Which model gives most zero-shot for what inference costs?",
                "size": size.partition("_")[0],
                "topology": topology,
                "experiments": build(**amounts),
                "analysis": {"method": "pareto", "x": "model"},
            }
        )
    )
