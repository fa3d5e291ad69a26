"""Does what a multilingual intermediate task gives over an English one grow with the model, at 7B against 13B?

    xling study --config=configs/studies/llm_scale.py --workdir=work/llm_scale
    xling study --config=configs/studies/llm_scale.py:pod --workdir=work/llm_scale_pod --data_dir=DATA

Pairs of a small and a large model that differ by nothing else that is known: Llama 2 of 7B and 13B, Qwen2.5 of 7B and
14B, XLM-R XL and XXL (3.5B, 10.7B), mT5 XL and XXL (3.7B, 12.9B). Each has three arms - no intermediate task, NLI in
English, the same number of the same examples in 15 languages - and the targets of XTREME-R that its family answers.
The answer is a difference of differences: (multilingual - English) in large models less that in small ones, paired by
seeds and items. Names of experiments sort the small model of each pair first, as the report has them in this order.

Expected: with mT5 translate-train over English gains more the larger the model (XNLI: small -2.8, base +0.5, large
+0.7, XL +1.9, XXL +2.8 points; Xue et al. 2021, arXiv 2010.11934). Consistency with English was not found to grow
with the model where accuracy did (Qi et al. 2023, arXiv 2310.10378): the report has it beside.

`world`, on generated data, encoders of 0.04 and 0.10 million weights: 7 minutes of two cores. It has no
decoder: none is trained from nothing here. `pod`: 64 chips of v5e for each model. Stages that are trained, of those
there were without sharing: world 32 of 48, pod 516 of 948 (docs/studies.md).
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.recipes import PODS, SIX, SIX_GROUPS, SOURCE, weights, world, world_stage, world_target
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI
from xling_jax.tables.models import MODELS

SMALL, LARGE = "small", "large"
ENCODERS = {"encoder_1": ("world_small", SMALL), "encoder_2": ("world", LARGE)}
# experiment: (row of the models, its place in the pair)
PAIRS = {
    "llama2_07b": ("llama2_7b", SMALL),
    "llama2_13b": ("llama2_13b", LARGE),
    "mt5_xl": ("mt5_xl", SMALL),
    "mt5_xxl": ("mt5_xxl", LARGE),
    "qwen25_07b": ("qwen25_7b", SMALL),
    "qwen25_14b": ("qwen25_14b", LARGE),
    "xlmr_xl": ("xlmr_xl", SMALL),
    "xlmr_xxl": ("xlmr_xxl", LARGE),
}
DUAL_ENCODERS = ("lareqa", "mewslix")  # tasks that encoders alone answer


def compared(target):
    """Returns the fields that say what is compared with what, on a target."""
    return {
        "comparisons": (("multilingual", "english"), ("english", "none"), ("multilingual", "none")),
        "headline": ("multilingual", "english", target),
    }


def factors(model, size):
    """Returns what tells experiments apart."""
    return {"size": size, "model": model, "weights": weights(model)}


def on_world(*, examples, steps, seeds, limits):
    """Returns the experiments on the generated world: QA in the source language or in all six, then the second QA."""
    pretrain, intermediate, target = steps

    def arm(languages):
        return {"stage": world_stage("world_qa", languages, steps=intermediate, examples=examples)}

    return {
        name: world(
            model=model,
            steps=pretrain,
            limits=limits,
            seeds=seeds,
            factors=factors(model, size),
            arms={"none": {}, "english": arm(SOURCE), "multilingual": arm(SIX)},
            targets={"qa2": world_target("world_qa2", SIX, steps=target)},
            remember=("world_qa.dev.qen",),
            language_groups=SIX_GROUPS,
            **compared("qa2"),
        )
        for name, (model, size) in ENCODERS.items()
    }


def on_pods(*, examples):
    """Returns the experiments on the big rows."""
    others = "+".join(code for code in XNLI.split() if code != "en")

    def experiment(model, size):
        pod, leave = PODS[model], () if MODELS[model].family == "encoder" else DUAL_ENCODERS
        english = pod.stage("mnli.train.en", steps=examples // pod.batch_size, examples=examples)
        multilingual = {"data": ("mnli.train.en", f"xnli_translated.train.{others}")}
        return pod.experiment(
            factors=factors(model, size),
            arms={"none": {}, "english": {"stage": english}, "multilingual": {"stage": english | multilingual}},
            targets=pod.targets("xtreme_r", *leave),
            **compared("xnli"),
        )

    return {name: experiment(*pair) for name, pair in PAIRS.items()}


# size: (its experiments, their amounts, slice)
SIZES = {
    "world": (
        on_world,
        {"examples": 7200, "steps": (2500, 600, 250), "seeds": (0, 1, 2), "limits": {"train": 8000}},
        "",
    ),
    "test": (
        on_world,
        {"examples": 60, "steps": (10, 4, 2), "seeds": (0, 1), "limits": {"train": 200, "dev": 20, "test": 20}},
        "",
    ),
    "pod": (on_pods, {"examples": 360_000}, "v5e-64"),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, topology = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    return ConfigDict(
        complete_study(
            {
                "name": "llm_scale",
                "question": "Does the gain of a multilingual over an English intermediate task grow with the model?",
                "size": size,
                "topology": topology,
                "experiments": build(**amounts),
                "analysis": {"method": "interaction", "x": "size", "pair": ("multilingual", "english")},
            }
        )
    )
