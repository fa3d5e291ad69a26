"""Which English intermediate task helps which target zero-shot? Phang et al. 2020 (arXiv 2005.13013) again.

    xling study --config=configs/studies/english_intermediate.py --workdir=work/english
    xling study --config=configs/studies/english_intermediate.py:real --workdir=work/english_real --data_dir=$XLING_DATA
    xling study --config=configs/studies/english_intermediate.py:pod --workdir=work/english_pod --data_dir=DATA

Their nine tasks one by one, all of them at once (in proportion, capped at 2^17 examples, as T5), masked LM mixed into
the best ones or trained between them and the target, and translated tasks; all targets of XTREME. Where the released
code (nyu-mll/jiant: guides/projects/xstilts.md, scripts/benchmarks/xtreme) says how, it is followed. What it does not
say is ours: a tenth of masked LM, languages sampled with the exponent 0.3 as XLM-R, and how long it is; its head is
new but for the matrix, which is the embeddings'. Translated MNLI and SQuAD have as many draws as the English ones, of
nearly as many examples, each in one language: what no translation has is left out. BUCC is scored on its dev pairs,
as the test labels are withheld; CCG is made from a copy of CCGbank (docs/ccg.md).

Expected, as published: MNLI, SQuAD and HellaSwag are best; several tasks at once add little; neither masked LM nor
translation is consistently better than English alone; the best task of each target gives +5.4 points of XTREME over
XLM-R Large, most of it in retrieval and TyDi QA. On the generated world (docs/results/quickstart.md) translated QA
beats English QA by +14.5 points [13.2, 15.7] on the second QA, English QA alone gives nothing there, and retrieval
hardly moves.

`world`, on generated data, where "translated" is in all six languages: 16 minutes of two cores. `real`: what of eight
of the tasks is in hand (dev sets, parts of SQuAD; no CCG) and an encoder that is trained from nothing, two hours of
one accelerator, by estimate; `real_cpu`, with shorter stages and three targets, half an hour of two cores. They say
what so small a model learns from so little, and nothing of XLM-R. `pod`: XLM-R Large on 8 chips of v5e. Stages that
are trained, of those there were without sharing: world 106 of 297, real 334 of 966, real_cpu 83 of 224, pod 396 of
966 (docs/studies.md).
"""

import dataclasses
import sys

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.recipes import (
    JIANT,
    PODS,
    SIX,
    SIX_GROUPS,
    TEXT,
    published,
    real,
    real_stage,
    world,
    world_stage,
    world_target,
)
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI, XQUAD, benchmark
from xling_jax.tables.sets import SETS

RATE = 2e-3  # of intermediate tasks on the generated world: at half of it QA is learned less, and gives half as much
MLM = 0.1  # of the draws, where masked LM is mixed into a task
EVEN = {"rule": "temperature", "temperature": 1 / 0.3}  # of languages
BEST = ("hellaswag", "mnli", "squad1")  # as published

REMBERT = "RemBERT's table 7 and 16 (Chung et al. 2021, arXiv 2010.12821)"
VECO = "VECO (Luo et al. 2021, arXiv 2010.16046)"
BOTH = "exact_match+f1"
# target: (metric, XLM-R Large, X-STILTs: the best of their tasks, which is not said)
KNOWN = {
    "xnli": ("accuracy", 79.2, 80.0),
    "pawsx": ("accuracy", 86.4, 87.9),
    "udpos": ("f1", 73.8, 74.9),
    "panx": ("f1", 65.4, 64.0),
    "xquad": (BOTH, 68.7, 71.0),
    "mlqa": (BOTH, 62.4, 63.05),
    "tydiqa": (BOTH, 55.05, 67.75),
}


def others():
    """Returns what others had: XLM-R Large without an intermediate task, and Phang et al. with the best one."""
    rows = []
    for name, (metric, plain, best) in KNOWN.items():
        rows.append({"arm": "none", "target": name, "metric": metric, "value": plain, "source": REMBERT})
        rows.append({"arm": "", "target": name, "metric": metric, "value": best, "source": f"X-STILTs, {REMBERT}"})
    return (*rows, {"arm": "none", "target": "tatoeba", "metric": "accuracy", "value": 57.3, "source": VECO})


def against(names, variants=()):
    """Returns the comparisons of arms with none, and of others with the arm that they are a variant of."""
    return (*((name, "none") for name in names), *variants)


def on_world(*, steps, examples, targets, seeds, limits):
    """Returns the experiment on the generated world."""
    mixed = {"rates": (1 - MLM, MLM)}

    def arm(name, languages="qen", **more):
        return {"stage": world_stage(name, languages, RATE, steps=steps[name], examples=examples, **more)}

    cells = tuple(f"world_{name}.train.qen" for name in ("choice", "ner", "nli", "qa"))
    qa, text = arm("world_qa"), world_stage("world_text", SIX, steps=steps["between"])
    together = qa["stage"] | {"data": cells, "buckets": (24, 44), "examples": 0, "steps": steps["multi"]}
    more = round(steps["world_qa"] / (1 - MLM))  # so that the task has as many draws as without text
    beside = qa["stage"] | {"data": (*qa["stage"]["data"], *text["data"]), "steps": more, "mixing": mixed}
    beside |= {"buckets": (28, 44)}
    variants = {"qa_mlm": {"stage": beside}, "qa_then_mlm": {**qa, "then": text}, "qa_translated": arm("world_qa", SIX)}
    single = {name: arm(f"world_{name}") for name in ("choice", "ner", "nli")} | {"qa": qa}
    arms = {"none": {}, **single, "multi": {"stage": together}, **variants}
    experiment = world(
        steps=steps["world_text"],
        limits=limits,
        seeds=seeds,
        arms=arms,
        targets={name: world_target(f"world_{name}", SIX, steps=count) for name, count in targets.items()}
        | {"retrieval": world_target("world_parallel", SIX)},
        remember=("world_qa.dev.qen", "world_nli.dev.qen"),
        language_groups=SIX_GROUPS,
        comparisons=against((*single, "multi"), [(name, "qa") for name in variants]),
        headline=("qa_translated", "qa", "qa2"),
    )
    return {"encoder": experiment}, ("qa_translated", "qa"), ()


# What of each task the data folder has: (cells, longest input, batch size)
FILES = {
    "anli": (
        ("snli.sample0.en", "mnli.dev.en", "anli_r1.dev.en", "anli_r2.dev.en", "anli_r3.dev.en"),
        96,
        32,
    ),
    "mnli": (("mnli.dev.en",), 96, 32),
    "qqp": (("qqp.train.en",), 96, 32),
    "squad2": (("squad2.dev16.en",), 128, 32),
    "squad1": (("squad.train44.en",), 128, 32),
    "hellaswag": (("hellaswag.dev_text.en",), 128, 8),
    "cosmosqa": (("cosmosqa.dev.en",), 128, 8),
    "commonsenseqa": (("commonsenseqa.train.en",), 64, 8),
}
# target: (task, split, languages, trained on, longest input); XQuAD is left out: SQuAD 2's dev set has its questions.
POS = "en ar bg el es fr hi ru th tr ur vi zh"
TARGETS = {
    "udpos": ("udpos", "test", POS, ("udpos.train.en",), 64),
    "panx": ("panx", "test", "de en es nl pl ru", ("panx.train.en",), 64),
    "xnli": ("xnli", "test", "all", ("mnli.dev.en",), 96),
    "pawsx": ("pawsx", "test", "all", ("pawsx.dev.en",), 96),
    "mlqa": ("mlqa", "dev", "all", ("squad.train44.en",), 128),
    "tydiqa": ("tydiqa", "train", "ko sw", ("tydiqa.train.en",), 128),
    "xcopa": ("xcopa", "test", "all", ("siqa.train.en", "copa.train.en"), 64),
}
TATOEBA = "ar bg de el es fr hi ru sw th tr ur vi zh"


def on_files(*, pieces, pretrain, steps, targets, seeds, limits):
    """Returns the experiment on an encoder that is trained from nothing; stages of each kind have the same steps."""
    intermediate, target = steps
    found = {
        name: real_stage(*data, length=n, batch_size=b, steps=intermediate) for name, (data, n, b) in FILES.items()
    }
    cells = tuple(dict.fromkeys(cell for data, *_ in FILES.values() for cell in data))
    multi = real_stage(*cells, length=128, batch_size=16, steps=2 * intermediate, mixing={"cap": 4096})
    mixed = {"rule": "temperature", "temperature": EVEN["temperature"], "rates": (1 - MLM, MLM)}
    between = real_stage(*TEXT, steps=intermediate, batch_size=64, mixing=EVEN)
    # XNLI's dev set is in 15 languages: one of them, or all with as many examples.
    parallel = {
        name: real_stage(f"xnli.dev.{codes}", length=96, examples=2490, steps=intermediate)
        for name, codes in (("nli_english", "en"), ("nli_translated", "all"))
    }
    beside = found["mnli"] | {"data": (*found["mnli"]["data"], *TEXT), "mixing": mixed}
    beside |= {"steps": round(intermediate / (1 - MLM))}
    variants = {"mnli_mlm": {"stage": beside}, "mnli_then_mlm": {"stage": found["mnli"], "then": between}}
    singles = {name: {"stage": stage} for name, stage in (found | {"multi": multi} | parallel).items()}
    made = {
        name: {"task": row, "split": split, "languages": codes, "stage": real_stage(*data, length=n, steps=target)}
        for name, (row, split, codes, data, n) in TARGETS.items()
        if name in targets
    }
    search = {"task": "tatoeba", "languages": TATOEBA, "max_length": 64, "protocol": {"layer": 1}}
    others = [("mnli_mlm", "mnli"), ("mnli_then_mlm", "mnli"), ("nli_translated", "nli_english")]
    experiment = real(
        pieces=pieces,
        steps=pretrain,
        limits=limits,
        seeds=seeds,
        arms={"none": {}, **singles, **variants},
        targets=made | {"tatoeba": search},
        comparisons=against(singles, others),
        headline=("multi", "none", "udpos"),
    )
    return {"small": experiment}, (), ()


# Of each task its training set, or sets under one head.
NINE = {
    "anli": SETS["anli_plus.train"],
    "ccg": ("ccg.train.en",),
    "commonsenseqa": ("commonsenseqa.train.en",),
    "cosmosqa": ("cosmosqa.train.en",),
    "hellaswag": ("hellaswag.train.en",),
    "mnli": ("mnli.train.en",),
    "qqp": ("qqp.train.en",),
    "squad1": ("squad.train.en",),
    "squad2": ("squad2.train.en",),
}
# CCGbank is licensed and each user makes the file: about as many sentences, of which nobody publishes the count.
UNCOUNTED = {"ccg.train.en": 38_000}


def on_pods(*, epochs, cap, between, layer):
    """Returns the experiment as published: batches of 32 (QA targets 16), a rate of 1e-5, three epochs."""
    pod = dataclasses.replace(PODS["xlmr_large"], optim=JIANT, mesh="1x8x1", batch_size=32, layer=layer)
    text = f"wikipedia.train.{'+'.join(benchmark('xtreme').languages())}"

    def steps(cells, share=1.0, most=sys.maxsize):
        """Returns the steps of the epochs of cells that have a share of the draws, each counted up to the most."""
        return round(
            epochs * sum(min(published(cell) or UNCOUNTED[cell], most) for cell in cells) / pod.batch_size / share
        )

    def with_text(cells):
        mixing = EVEN | {"rates": (*((1 - MLM) / len(cells) for _ in cells), MLM)}
        return {"stage": pod.stage(*cells, text, steps=steps(cells, 1 - MLM), mixing=mixing)}

    def translated(cells, into, languages, examples):
        others = "+".join(code for code in languages.split() if code != "en")
        return {"stage": pod.stage(*cells, f"{into}.train.{others}", steps=steps(cells), examples=examples)}

    single = {name: {"stage": pod.stage(*cells, epochs=epochs)} for name, cells in NINE.items()}
    single["ccg"] = {"stage": pod.stage(*NINE["ccg"], steps=steps(NINE["ccg"]))}
    cells = tuple(dict.fromkeys(cell for own in NINE.values() for cell in own))
    then = pod.stage(text, steps=between, mixing=EVEN)
    arms = {
        "none": {},
        **single,
        "multi": {"stage": pod.stage(*cells, steps=steps(cells, most=cap), mixing={"cap": cap})},
        **{f"{name}_mlm": with_text(NINE[name]) for name in BEST},
        **{f"{name}_then_mlm": {**single[name], "then": then} for name in BEST},
        "mnli_translated": translated(NINE["mnli"], "xnli_translated", XNLI, 360_000),
        "squad1_translated": translated(NINE["squad1"], "squad_translated", XQUAD, 75_000),
    }
    vectors = {"protocol": {"layer": layer, "centre": False}}
    targets = pod.targets("xtreme", "bucc2018") | {"bucc2018": pod.target("bucc2018", split="dev")}
    targets |= {name: targets[name] | vectors for name in ("bucc2018", "tatoeba")}
    for name in ("xquad", "mlqa", "tydiqa"):
        targets[name]["stage"]["batch_size"] = 16
    variants = [(name, name.partition("_")[0]) for name in arms if "_" in name]
    more = {"comparisons": against((*single, "multi"), variants), "headline": ("mnli", "none", "xnli")}
    return {"xlmr_large": pod.experiment(arms=arms, targets=targets, **more)}, (), others()


STEPS = {"world_text": 2500, "world_nli": 500, "world_qa": 500, "world_ner": 200, "world_choice": 300}
STEPS |= {"multi": 800, "between": 250}
# size: (its experiments, their amounts, slice)
SIZES = {
    "world": (
        on_world,
        {
            "steps": STEPS,
            "examples": 6000,
            "targets": {"nli": 350, "pos": 150, "qa2": 250},
            "seeds": (0, 1, 2),
            "limits": {"train": 8000},
        },
        "",
    ),
    "test": (
        on_world,
        {
            "steps": dict.fromkeys(STEPS, 3),
            "examples": 60,
            "targets": {"qa2": 2},
            "seeds": (0, 1),
            "limits": {"train": 200, "dev": 20, "test": 20},
        },
        "",
    ),
    "real": (
        on_files,
        {
            "pieces": 16_000,
            "pretrain": 20_000,
            "steps": (1000, 1500),
            "targets": tuple(TARGETS),
            "seeds": (0, 1, 2),
            "limits": {},
        },
        "",
    ),
    "real_cpu": (
        on_files,
        {
            "pieces": 8000,
            "pretrain": 3000,
            "steps": (150, 200),
            "targets": ("udpos", "panx"),
            "seeds": (0, 1),
            "limits": {"test": 1000},
        },
        "",
    ),
    "pod": (on_pods, {"epochs": 3, "cap": 2**17, "between": 10_000, "layer": 14}, "v5e-8"),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, topology = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")
    experiments, pair, known = build(**amounts)
    return ConfigDict(
        complete_study(
            {
                "name": "english_intermediate",
                "question": "Which English intermediate task helps which target zero-shot?",
                "size": size.partition("_")[0],
                "topology": topology,
                "experiments": experiments,
                "analysis": {"method": "matrix", "pair": pair},
                "published": known,
            }
        )
    )
