"""Which source language should an intermediate task be in, and does its gain fall with the distance of languages?

    xling study --config=configs/studies/source_language.py --workdir=work/source_language
    xling study --config=configs/studies/source_language.py:real --workdir=work/source_real --data_dir=$XLING_DATA
    xling study --config=configs/studies/source_language.py:pod --workdir=work/source_pod --data_dir=DATA

Arms have the same examples, by their ids, in one source language each; experiments differ by the language that the
target is trained in, and so each source is crossed with it: a source is not good because the target happens to be in
it. Gains are over no intermediate task, in languages that are neither; the analysis goes by distances of grammars (of
real languages URIEL's syntax) and removes what a source gives at home, and what it gives everywhere, as English does
that data were made in. Experiments are in the order of their names: the source language of the first is the one that
others are held against.

Expected: German and Russian often transfer better than English, even machine-translated from it (Turc et al. 2021,
arXiv 2106.16171; numbers are not given). Whether distance explains it is what is asked.

`world`, on generated data, all eight languages: 12 minutes of two cores. `real`: POS tags of the Parallel
UD treebanks and NLI of XNLI's dev files, both parallel, in ten languages; asked in languages without such a treebank,
as the test files of the others have the same sentences; an encoder that is trained from nothing, an hour of one
accelerator. `real_cpu`, POS alone from six languages, on two cores in about half an hour. OCNLI, IndoNLI and FarsTail
are in hand and not used: no two of them say the same. `pod`: XTREME's machine translations of MNLI from ten languages
of resource class 4 and 5, targets in English, Russian and Chinese; XLM-R XL on 64 chips of v5e. Times of `real`
are estimated, not measured. Stages that are trained, of those there were without sharing: world 53 of 104,
real 97 of 192, real_cpu 27 of 40, pod 228 of 378.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.recipes import EIGHT, PODS, TEXT, real, real_stage, world, world_stage, world_target
from xling_jax.study import complete_study
from xling_jax.tables.benchmarks import XNLI
from xling_jax.tables.languages import LANGUAGES

HIGH = 4  # the resource class of Joshi et al. 2020 from which on a language is a source
# Of POS: languages whose test files have no sentence of the Parallel UD treebanks, and whose text is pretrained on.
ASKED = "af bg el et eu fa he hu kk mr nl ta te tl ur vi"


def arms(sources, stage):
    """Returns no intermediate task, and one in each source language."""
    return {"none": {}} | {f"from_{code}": {"stage": stage(code), "factors": {"source": code}} for code in sources}


def on_world(*, examples, sources, targets, steps, seeds, limits):
    """Returns an experiment for each language of the target on the generated world: QA, then the second QA."""
    pretrain, intermediate, target = steps

    def stage(code):
        return world_stage("world_qa", code, steps=intermediate, examples=examples)

    return {
        f"target_{code}": world(
            EIGHT,
            steps=pretrain,
            limits=limits,
            seeds=seeds,
            source_language=code,
            factors={"target": code},
            arms=arms(sources.split("+"), stage),
            targets={"qa2": world_target("world_qa2", EIGHT, code, steps=target)},
        )
        for code in targets
    }


def on_files(*, sources, tasks, pieces, pretrain, steps, seeds):
    """Returns the experiment on files: `tasks` are parallel sets to train on, then POS tags (and NLI) in English."""
    intermediate, target = steps

    def stage(code):
        return real_stage(*(f"{name}.{code}" for name in tasks), rate=1e-3, length=96, steps=intermediate)

    tags = real_stage("udpos.train.en", rate=1e-3, steps=target, examples=2000)
    targets = {"udpos": {"task": "udpos", "languages": ASKED, "stage": tags}}
    if "xnli.dev" in tasks:
        targets["xnli"] = {"task": "xnli", "stage": real_stage("mnli.dev.en", length=96, steps=2 * target)}
    text = (*TEXT, "tatoeba_text.other.all")
    built = real("small", pieces=pieces, steps=pretrain, text=text, seeds=seeds, arms=arms(sources, stage))
    return {"target_en": built | {"factors": {"target": "en"}, "targets": targets}}


def on_pods(*, examples, model, targets):
    """Returns an experiment for each language of the targets on a big row: NLI in each source, then NLI and QA."""
    pod = PODS[model]
    sources = [code for code in XNLI.split() if (LANGUAGES[code].resources or 0) >= HIGH]

    def stage(code):
        cell = "mnli.train.en" if code == "en" else f"xnli_translated.train.{code}"
        return pod.stage(cell, steps=examples // pod.batch_size, examples=examples)

    return {
        f"target_{code}": pod.experiment(
            source_language=code,
            factors={"target": code},
            arms=arms(sources, stage),
            targets={name: pod.target(name, source=code) for name in ("xnli", "xquad")},
            headline=("from_de", "from_en", "xnli"),
        )
        for code in targets
    }


# size: (its experiments, their amounts, target that answers, distance, slice)
SIZES = {
    "world": (
        on_world,
        {
            "examples": 4000,
            "sources": EIGHT,
            "targets": ("qen", "qms"),
            "steps": (3000, 400, 200),
            "seeds": (0, 1),
            "limits": {"train": 8000},
        },
        "qa2",
        "grammar",
        "",
    ),
    "test": (
        on_world,
        {
            "examples": 60,
            "sources": "qen+qdt+qms",
            "targets": ("qen", "qms"),
            "steps": (10, 4, 2),
            "seeds": (0, 1),
            "limits": {"train": 200, "test": 20},
        },
        "qa2",
        "grammar",
        "",
    ),
    "real": (
        on_files,
        {
            "sources": ("ar", "de", "en", "es", "fr", "hi", "ru", "th", "tr", "zh"),
            "tasks": ("ud_pud.test", "xnli.dev"),
            "pieces": 16_000,
            "pretrain": 20_000,
            "steps": (1000, 500),
            "seeds": (0, 1, 2),
        },
        "udpos",
        "syntax",
        "",
    ),
    "real_cpu": (
        on_files,
        {
            "sources": ("ar", "de", "en", "fi", "hi", "ru"),
            "tasks": ("ud_pud.test",),
            "pieces": 8000,
            "pretrain": 8000,
            "steps": (500, 300),
            "seeds": (0, 1),
        },
        "udpos",
        "syntax",
        "",
    ),
    "pod": (
        on_pods,
        {"examples": 360_000, "model": "xlmr_xl", "targets": ("en", "ru", "zh")},
        "xnli",
        "syntax",
        "v5e-64",
    ),
}


def get_config(size: str = "world") -> ConfigDict:
    """Returns the study; `test` is `world` in seconds, with meaningless numbers."""
    build, amounts, target, distance, topology = choose(
        "size", size, SIZES, "Sizes are rows of SIZES in the config file."
    )
    return ConfigDict(
        complete_study(
            {
                "name": "source_language",
                "question": "Which source language should an intermediate task be in?",
                "size": size.partition("_")[0],
                "topology": topology,
                "experiments": build(**amounts),
                "analysis": {"method": "regression", "x": "source", "distance": distance, "target": target},
            }
        )
    )
