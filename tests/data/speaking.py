"""A vocabulary that can say everything, and what an evaluator makes of features whose labels a model has written."""

import pathlib

import numpy as np

from xling_jax.data.tokenizers import Tokenizer, load_tokenizer, train_vocabulary
from xling_jax.eval.predict import Outputs
from xling_jax.eval.suite import Setting, kind_module
from xling_jax.experiment import Target
from xling_jax.protocol import Protocol
from xling_jax.tables.tasks import Task


def tokenizer(folder: pathlib.Path) -> Tokenizer:
    """Returns byte-level pieces, to which every character is known."""
    path = folder / "tokenizer.json"
    train_vocabulary("qwen", ["True or False ? 0 1 2 O B-PER I-PER B-LOC NOUN VERB PROPN"] * 3, 280, path)
    return load_tokenizer(path, "qwen")


def read_back(row: Task, examples: list[dict], features: list[list[dict]], tokenizer: Tokenizer, form: str):
    """Returns (the answers, whether each is legal) that are read from the labels of the examples' features."""
    made_of = np.repeat(np.arange(len(examples)), [len(made) for made in features])
    outputs = Outputs(made_of, len(examples))
    for number, feature in enumerate(feature for made in features for feature in made):
        answered = {"text": feature["labels"], "score": -1.0 * (feature["labels"][0] < 0)}
        arrays = answered | {name: feature[name] for name in ("words",) if name in feature}
        outputs.add(np.array([number]), {name: np.asarray(array)[None] for name, array in arrays.items()})
    target = Target(task=row.name, protocol=Protocol(answer="generate"), prompts=form)
    setting = Setting(target, decode=tokenizer.decode)
    module = kind_module(row.kind)
    legal = [line["legal"] for line in module.detail(outputs, examples, setting)]
    return module.answers(outputs, examples, setting), legal
