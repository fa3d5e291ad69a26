"""Recipes that several configs share: stages of the generated world, of the real data in hand, and of the big rows.

A config says what it varies. What is the same wherever the world, the small encoders or a big row are trained stands
here, once; so studies of one size differ by their question alone. Functions return fields of Experiment, Target and
Stage as mappings, as configs have them.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from xling_jax.flops import layer_weights
from xling_jax.tables.benchmarks import benchmark
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import parse_cells, task

Fields = dict[str, Any]

# ---- The generated world -------------------------------------------------------------------------------------------

SOURCE = "qen"
SIX = "qen+qnd+qnr+qms+qda+qdt"
EIGHT = f"{SIX}+qmg+qdx"
SIX_GROUPS = (("near", ("qnd", "qnr")), ("middle", ("qms",)), ("distant", ("qda", "qdt")))
# task: (longest input in tokens, batch size). One compiled shape a task, little padding.
SHAPES = {
    "world_text": (28, 64),
    "world_qa": (44, 32),
    "world_qa2": (44, 32),
    "world_pos": (18, 32),
    "world_ner": (18, 32),
    "world_nli": (32, 32),
    "world_choice": (24, 16),
    "world_parallel": (16, 32),
}


def world_stage(name: str, languages: str = SOURCE, rate: float = 1e-3, **more: Any) -> Fields:
    """Returns a stage on the training set of a task of the world; `more` says how long it is."""
    length, batch_size = SHAPES[name]
    stage = {"data": (f"{name}.train.{languages}",), "batch_size": batch_size, "max_length": length}
    return stage | {"optim": {"learning_rate": rate}} | more


def world_target(name: str, languages: str, source: str = SOURCE, **more: Any) -> Fields:
    """Returns a target that is trained in one language of the world and asked in several; retrieval is not trained."""
    if task(name).kind == "retrieval":
        return {"task": name, "languages": languages, "max_length": SHAPES[name][0], "protocol": {"layer": 1}}
    return {"task": name, "languages": languages, "stage": world_stage(name, source, **more)}


def world(languages: str = SIX, *, steps: int, limits: Mapping[str, int], model: str = "world", **more: Any) -> Fields:
    """Returns an experiment on an encoder that is pretrained on the text of the world's languages for some steps.

    How near translations lie to the source language is looked at in every stage.
    """
    others = "+".join(code for code in languages.split("+") if code != SOURCE)
    return {
        "synthetic": True,
        "model": model,
        "vocabulary": {"kind": "world"},
        "limits": limits,
        "pretrain": world_stage("world_text", languages, 3e-3, steps=steps, save_every=500),
        "watch": {"cells": (f"world_parallel.dev.{others}",), "every": 100, "count": 128, "max_length": 16},
        "eval_batch_size": 32,
        "source_language": SOURCE,
        "baseline": "none",
    } | more


# ---- The real data in hand -----------------------------------------------------------------------------------------

# Text of XNLI's dev files in 15 languages: that of the test files is asked for again by the target XNLI.
TEXT = ("xnli_text.dev.ar+bg+de+el+en+es+fr+hi+ru+sw+th+tr+ur+vi+zh",)
REAL_BUCKETS = {64: (24, 40, 64), 96: (40, 64, 96), 128: (64, 96, 128)}


def real_stage(*data: str, rate: float = 5e-4, length: int = 64, **more: Any) -> Fields:
    """Returns a stage of a small encoder on published files; `more` says how long it is."""
    optim = {"learning_rate": rate, "warmup": 0.1, "weight_decay": 0.01}
    shape = {"batch_size": 32, "max_length": length, "buckets": REAL_BUCKETS[length]}
    return {"data": data, **shape, "optim": optim} | more


def real(model: str = "small", *, pieces: int, steps: int, text: tuple[str, ...] = TEXT, **more: Any) -> Fields:
    """Returns an experiment on an encoder that is trained from nothing here, its vocabulary too."""
    return {
        "model": model,
        "vocabulary": {"kind": "xlmr", "size": pieces, "data": text},
        "pretrain": real_stage(*text, rate=3e-3, steps=steps, batch_size=64, save_every=1000),
        "eval_batch_size": 64,
        "source_language": "en",
        "baseline": "none",
    } | more


# ---- The big rows --------------------------------------------------------------------------------------------------

# XLM-R as its authors fine-tuned it on XNLI; of Llama 2 its own supervised fine-tuning (Touvron et al. 2023, section
# 3.1), as nobody published a recipe for these tasks, and the same for Qwen2.5; mT5 as its authors did it. `JIANT` is
# what the authors of Phang et al. 2020 released (nyu-mll/jiant: model_setup.py, scripts/benchmarks/xtreme).
XLMR = types.MappingProxyType({"learning_rate": 5e-6, "warmup": 0.1, "weight_decay": 0.01})
JIANT = types.MappingProxyType({"learning_rate": 1e-5, "warmup": 0.1, "weight_decay": 0.01})
LLAMA = types.MappingProxyType({"learning_rate": 2e-5, "warmup": 0.1, "weight_decay": 0.1, "b2": 0.95})
ADAFACTOR = types.MappingProxyType(
    {
        "name": "adafactor",
        "learning_rate": 1e-3,
        "schedule": "constant",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip": 0.0,
    }
)
BUCKETS = {64: (64,), 128: (64, 128), 256: (64, 128, 256), 384: (128, 256, 384)}


@dataclasses.dataclass(frozen=True)
class Pod:
    """How a row of the models is fine-tuned on 64 chips of v5e, whose memory is the least.

    `mesh` and `remat` are as `xling plan --search` found the fastest that fits, so they fit 64 of the other chips, too
    (docs/pods.md). `layer` is that of retrieval's vectors: two thirds of the way up.
    """

    model: str
    optim: Mapping[str, Any]
    mesh: str
    remat: str
    layer: int
    batch_size: int = 128
    strategy: str = "fsdp_tensor"

    def stage(self, *data: str, length: int = 256, answer: int = 8, **more: Any) -> Fields:
        """Returns a stage with this recipe; `more` says how long it is."""
        shape = {"batch_size": self.batch_size, "max_length": length, "buckets": BUCKETS[length]}
        return {"data": data, **shape, "answer_length": answer, "optim": dict(self.optim)} | more

    def target(self, row: str, languages: str = "all", source: str = "en", **more: Any) -> Fields:
        """Returns a target as its benchmark prescribes that it is trained, in English or in another source language.

        A checkpoint is chosen by the dev cell of the source language, where the task has one whose questions the
        target does not ask again; `more` replaces fields of the target.
        """
        if row not in TRAINING:
            protocol = {"layer": self.layer}
            return {"task": row, "languages": languages, "max_length": 128, "protocol": protocol} | more
        how, data = TRAINING[row], task(row).train_from.split()
        amount: Fields = {"epochs": how.epochs}
        if source != "en":
            # Of translations nobody publishes how many there are.
            amount = {"steps": round(how.epochs * published(*data) / self.batch_size)}
            data = [f"{TRANSLATED[name]}.{source}" for name in data]
        dev = how.dev and how.dev.format(source)
        chosen = {"save_every": 500} | ({"selection": {"policies": ("source_dev",), "dev": dev}} if dev else {})
        stage = self.stage(*data, length=how.length, answer=how.answer, **amount, **chosen)
        return {"task": row, "languages": languages, "stage": stage} | more

    def targets(self, name: str, *leave: str) -> dict[str, Fields]:
        """Returns the targets of a benchmark under its own names and in its own languages, but for those left out."""
        entries = [entry for entry in benchmark(name).entries if entry.name not in leave]
        return {entry.name: self.target(entry.task, entry.languages, split=entry.split) for entry in entries}

    def experiment(self, **more: Any) -> Fields:
        """Returns an experiment that starts from the published checkpoint, in the folder that is named like its row."""
        return {
            "checkpoint": f"work/{self.model}",
            "seeds": (0, 1, 2),
            "eval_batch_size": 256,
            "source_language": "en",
            "baseline": "none",
            "dtype": "bfloat16",
            "strategy": self.strategy,
            "mesh": self.mesh,
            "remat": self.remat,
        } | more


@dataclasses.dataclass(frozen=True)
class Training:
    """How long a target is trained, by the recipes that were published, and the dev cell that chooses.

    Epochs and lengths are those of jiant, of XCOPA, LAReQA and Mewsli-X those of google-research/xtreme. SQuAD's dev
    set is no dev cell: XQuAD and LAReQA ask its questions. `{}` in `dev` stands for the source language.
    """

    epochs: float
    length: int
    answer: int = 8
    dev: str = ""


TRAINING = {
    "xnli": Training(2, 256, dev="xnli.dev.{}"),
    "pawsx": Training(5, 256, dev="pawsx.dev.{}"),
    "udpos": Training(10, 256, 192, dev="udpos.dev.{}"),
    "panx": Training(10, 256, 192, dev="panx.dev.{}"),
    "xquad": Training(2, 384, 64),
    "mlqa": Training(2, 384, 64),
    "tydiqa": Training(2, 384, 64),
    "xcopa": Training(5, 128, 48, dev="copa.dev.{}"),
    "lareqa": Training(3, 256),
    "mewslix": Training(2, 64),
}
# Training sets and XTREME's machine translations of them.
TRANSLATED = {"mnli.train.en": "xnli_translated.train", "squad.train.en": "squad_translated.train"}

PODS = {
    pod.model: pod
    for pod in (
        Pod("xlmr_base", XLMR, "1x32x2", "none", 8),
        Pod("xlmr_large", XLMR, "1x64x1", "none", 14, strategy="fsdp"),
        Pod("xlmr_xl", XLMR, "1x32x2", "none", 24),
        Pod("xlmr_xxl", XLMR, "2x16x2", "dots", 32),
        Pod("mt5_small", ADAFACTOR, "2x16x2", "none", 5),
        Pod("mt5_base", ADAFACTOR, "1x32x2", "none", 8),
        Pod("mt5_large", ADAFACTOR, "1x32x2", "none", 16),
        Pod("mt5_xl", ADAFACTOR, "1x32x2", "none", 16),
        Pod("mt5_xxl", ADAFACTOR, "1x16x4", "dots", 16),
        Pod("llama2_7b", LLAMA, "1x32x2", "none", 21),
        Pod("llama2_13b", LLAMA, "2x16x2", "dots", 27),
        Pod("qwen25_7b", LLAMA, "2x16x2", "dots", 19),
        Pod("qwen25_14b", LLAMA, "2x16x2", "dots", 32),
    )
}


def published(*data: str) -> int:
    """Returns how many examples the publishers of cells count together; those of text and of translations are not."""
    found = [cell.row.splits[cell.split].published(cell.language) for text in data for cell in parse_cells(text)]
    return sum(count or 0 for count in found)


def weights(model: str) -> float:
    """Returns how many million numbers are in the matrices of a model's layers: what inference multiplies with.

    Embeddings are looked up, and most of a small multilingual model; models are compared without them.
    """
    row = MODELS[model]
    layer, decoder_layer, over_memory = layer_weights(row)
    return (row.layers * layer + row.decoder_layers * (decoder_layer + over_memory)) / 1e6
