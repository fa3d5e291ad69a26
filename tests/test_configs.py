"""Every config is built, checked against the tables, and written out in full beside its golden text."""

import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import re

import pytest

from xling_jax.checks import check_model
from xling_jax.errors import ConfigError
from xling_jax.experiment import Vocabulary, as_json, from_config
from xling_jax.models.card import Card
from xling_jax.planner.study import open_study
from xling_jax.stages.plan import Start, describe, make_plan
from xling_jax.stages.study import describe_study
from xling_jax.study import is_study, study_from_config
from xling_jax.tables.models import MODELS

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = sorted((ROOT / "configs").glob("*.py"))  # of experiments; those of studies are in test_study_configs.py


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start_of(experiment):
    """Returns what stands in for an experiment's checkpoint, which is not here: the row that its folder is named by."""
    if not experiment.checkpoint:
        return None
    folder = pathlib.Path(experiment.checkpoint)
    return Start(folder, 0, Card(MODELS[folder.name], (), {}, None), Vocabulary(), "checkpoint")


def sizes():
    return [pytest.param(path, size, id=f"{path.stem}-{size}") for path in CONFIGS for size in load(path).SIZES]


def expanded(config, workdir):
    """Returns the lines of a config's plan, or of all plans of a study, and what is declared."""
    if is_study(config):
        study = study_from_config(config)
        return describe_study(study, open_study(study), workdir), dataclasses.asdict(study)
    experiment = from_config(config)
    plan = make_plan(experiment, "vocabulary", str, start_of(experiment))
    return describe(plan, workdir), json.loads(as_json(experiment))


def experiments(path):
    config = load(path).get_config().to_dict()
    return study_from_config(config).experiments.values() if is_study(config) else [from_config(config)]


def test_the_gallery_has_every_config_and_its_sizes():
    """In the order of SIZES, but that the default stands first."""
    text = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[.*?\]\((\S+\.py)\) \| (.*?) \|", text, flags=re.MULTILINE))
    files = {path.relative_to(ROOT / "configs").as_posix(): path for path in (ROOT / "configs").rglob("*.py")}
    assert {name: re.findall(r"`(.*?)`", listed.get(name, "")) for name in files} == {
        name: sorted(load(path).SIZES, key=lambda size: size != first_size(path)) for name, path in files.items()
    }


def first_size(path):
    return inspect.signature(load(path).get_config).parameters["size"].default


@pytest.mark.parametrize("path, size", sizes())
def test_config_is_what_it_was(path, size, tmp_path):
    lines, declared = expanded(load(path).get_config(size).to_dict(), tmp_path)
    text = "\n".join([*lines, json.dumps(declared, indent=1), ""])
    golden = GOLDEN / path.parent.relative_to(ROOT / "configs") / f"{path.stem}-{size}.txt"
    if "XLING_WRITE_GOLDEN" in os.environ:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists() and text == golden.read_text(), (
        f"The config expands to something else than {golden.name}. If that is meant, run this test with "
        "XLING_WRITE_GOLDEN=1 and read the difference. A changed hash alone means that stages are trained anew."
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_says_its_command(path):
    verb = "study" if is_study(load(path).get_config().to_dict()) else "run"
    assert f"xling {verb} --config={path.relative_to(ROOT)}" in load(path).__doc__


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_target_language_is_trained_on_in_a_target_stage(path):
    for experiment in experiments(path):
        for target in experiment.targets.values():
            trained = target.stage.cells() if target.stage else ()
            assert {cell.language for cell in trained} <= {experiment.source_language}
            assert set(trained).isdisjoint(target.cells())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_unknown_size_is_an_error(path):
    with pytest.raises(ConfigError, match="Unknown size 'larg'"):
        load(path).get_config("larg")


def test_a_study_is_expanded_to_all_its_plans(tmp_path):
    """The loader, on a study that is no config of the project."""
    lines, declared = expanded(load(ROOT / "tests" / "studies" / "tiny.py").get_config().to_dict(), tmp_path)
    first, sharing, *rest = lines
    assert first == "study tiny_study, size test: 3 experiments, analysis 'matrix'"
    assert sharing.startswith("8 stages are trained; experiments one by one declare 12, so sharing among them saves 4;")
    assert [line.split(":")[0] for line in rest if line.startswith("experiment ")] == [
        "experiment far",
        "experiment near",
        "experiment other",
    ]
    assert json.dumps(declared) and declared["experiments"]["far"]["factors"] == {"model": "tiny"}


QUICKSTART = load(ROOT / "configs" / "quickstart.py")


def changed(change):
    fields = QUICKSTART.get_config("test").to_dict()
    change(fields)
    return fields


WRONG = {
    "field": (lambda c: c.update(modle="x"), "Unknown field 'modle' in 'config'.\nDid you mean: model"),
    "nested field": (lambda c: c["pretrain"].update(step=3), "Unknown field 'step' in 'config.pretrain'"),
    "type": (lambda c: c["pretrain"].update(steps="3"), "Config field 'config.pretrain.steps' is '3'"),
    "type in a tuple": (lambda c: c.update(seeds=(0, "1")), r"Config field 'config.seeds\[1\]' is '1'"),
    "choice": (lambda c: c["pretrain"]["optim"].update(schedule="cosine"), "Unknown value 'cosine'"),
    "optimiser": (
        lambda c: c["pretrain"]["optim"].update(name="adafctor"),
        "Unknown optimiser 'adafctor' in stage 'pretrain'.\nDid you mean: adafactor",
    ),
    "a field of the other optimiser": (
        lambda c: c["pretrain"]["optim"].update(name="adafactor", b1=0.8),
        "b1=0.8 and name='adafactor'.\nAllowed: b1 with name='adamw'",
    ),
    "more frozen layers than there are": (
        lambda c: c["pretrain"]["optim"].update(freeze_layers=4),
        "freeze_layers=4.\nAllowed: 0 to the 3 layers of model 'world'",
    ),
    "layer decay": (
        lambda c: c["pretrain"]["optim"].update(layer_decay=1.5),
        "layer_decay=1.5.\nAllowed: above 0, up to 1",
    ),
    "rank": (
        lambda c: c["pretrain"]["optim"]["lora"].update(rank=65),
        "lora.rank=65.\nAllowed: 0 for none, to the width 64",
    ),
    "adapters without a rank": (
        lambda c: c["pretrain"]["optim"]["lora"].update(alpha=8.0),
        "alpha=8.0.*\nAllowed: a rank of at least 1",
    ),
    "alpha": (
        lambda c: c["pretrain"]["optim"]["lora"].update(rank=2, alpha=0.0),
        "lora.alpha=0.\nAllowed: a number above zero",
    ),
    "adapter dropout": (
        lambda c: c["pretrain"]["optim"]["lora"].update(rank=2, dropout=1.0),
        "lora.dropout=1.\nAllowed: 0 to below 1",
    ),
    "projection": (
        lambda c: c["pretrain"]["optim"]["lora"].update(rank=2, targets=("qury",)),
        "Unknown projection 'qury' in lora.targets of stage 'pretrain'.\nDid you mean: query",
    ),
    "no projection": (
        lambda c: c["pretrain"]["optim"]["lora"].update(rank=2, targets=()),
        "lora.targets=\\(\\).\nAllowed: projections: query key",
    ),
    "adapters of frozen layers": (
        lambda c: c["targets"]["pos"]["stage"]["optim"].update(freeze_layers=3, lora={"rank": 2}),
        "stage 'targets.pos' has lora.rank=2 and all 3 layers frozen",
    ),
    "checkpoint beside a model": (
        lambda c: c.update(checkpoint="work/xlmr"),
        "The config has checkpoint='work/xlmr', and model beside it.\nAllowed: one of them",
    ),
    "checkpoint beside pretraining": (
        lambda c: c.update(checkpoint="work/xlmr", model=""),
        "The config has checkpoint='work/xlmr', and pretrain beside it.\nAllowed: one of them",
    ),
    "mesh": (lambda c: c.update(mesh="pod"), "Unknown mesh 'pod' in 'config.mesh'"),
    "nothing divided": (
        lambda c: c.update(strategy="fsdp"),
        "Strategy 'fsdp' divides no parameters on mesh 'any'.*\nAllowed: strategy='data', or a mesh .*: fsdp data2_",
    ),
    "no model": (lambda c: c.update(model=""), "Unknown model ''"),
    "model": (lambda c: c.update(model="wrld"), "Unknown model 'wrld'.*\nDid you mean: world"),
    "task": (lambda c: c["pretrain"].update(data=("world_txt.train.qen",)), "Unknown task 'world_txt' in stage"),
    "split": (lambda c: c["pretrain"].update(data=("world_text.test.qen",)), "Unknown split 'test'"),
    "language": (lambda c: c["targets"]["pos"].update(languages="qen qnx"), "Unknown language 'qnx'"),
    "language elsewhere": (lambda c: c["targets"]["pos"].update(languages="qen en"), "Unknown language 'en' in cell"),
    "cell": (lambda c: c["pretrain"].update(data=("world_text",)), "'world_text'.*is not a cell"),
    "arm": (lambda c: c.update(comparisons=(("englsh", "none"),)), "Unknown arm 'englsh'.\nDid you mean: english"),
    "target": (lambda c: c.update(headline=("english", "none", "pso")), "Unknown target 'pso'"),
    "withheld labels to train on": (
        lambda c: c["pretrain"].update(data=("ocnli.test.zh",)),
        "Stage 'pretrain' needs the labels of ocnli.test.zh.*with labels: train train10k dev",
    ),
    "a kind without a head": (
        lambda c: c["pretrain"].update(data=("tatoeba.test.de",)),
        "Stage 'pretrain' asks for tatoeba.test.de, of kind 'retrieval', which is not trained here.*kinds mlm pair",
    ),
    "candidates to search with": (
        lambda c: c["targets"]["pos"].update(task="lareqa", split="candidates", languages="th"),
        "Target 'pos' asks for lareqa.candidates.th, which has no queries.\nAllowed: splits of queries: test",
    ),
    "pairs to search with": (
        lambda c: c["targets"]["pos"].update(task="mewslix", split="dev_pairs", languages="en"),
        "asks for mewslix.dev_pairs.en, which has no queries.\nAllowed: splits of queries: dev test",
    ),
    "masked words to score": (
        lambda c: c["targets"]["pos"].update(task="world_text", split="train", languages="qda"),
        "Target 'pos' asks for world_text.train.qda, of kind 'mlm', which is not evaluated here",
    ),
    "queries to train on": (
        lambda c: c["pretrain"].update(data=("mewslix.dev.en",)),
        "Stage 'pretrain' asks for mewslix.dev.en, which has queries and candidates apart.*of pairs: train dev_pairs",
    ),
    "candidates to train on": (
        lambda c: c["pretrain"].update(data=("lareqa.candidates.en",)),
        "asks for lareqa.candidates.en, which has queries and candidates apart.*of other tasks",
    ),
    "no data": (lambda c: c["pretrain"].update(data=()), "Stage 'pretrain' has no data"),
    "steps and epochs": (lambda c: c["pretrain"].update(epochs=1.0), "Allowed: one of them above zero"),
    "batch": (lambda c: c["pretrain"].update(accumulate=3), "Allowed: a batch size above zero"),
    "packing": (
        lambda c: c["pretrain"].update(data=("world_choice.train.qen",), packing=True),
        "packing=True, and its data are of kind multiple_choice.\nAllowed: data of kind mlm, pair_classification",
    ),
    "head of a target": (
        lambda c: c["targets"]["pos"]["stage"].update(data=("world_nli.train.qen",)),
        "Target 'pos' is answered by head 'world_pos', and stage 'targets.pos' trains world_nli.\nAllowed: .*world_pos",
    ),
    "head of a target without a stage": (
        lambda c: c["targets"]["pos"].update(stage=None, max_length=18),
        "Target 'pos' is answered by head 'world_pos', and stage 'arms[.]",
    ),
    "length": (lambda c: c["pretrain"].update(max_length=65), "64 positions of the model"),
    "buckets": (lambda c: c["pretrain"].update(buckets=(24, 16)), "Allowed: ascending"),
    "mixing": (lambda c: c["pretrain"].update(mixing={"rule": "proportonal"}), "Unknown value 'proportonal'"),
    "mixing in an arm": (
        lambda c: c["arms"]["english"]["stage"]["mixing"].update(cap=-3),
        "stage 'arms.english' has cap=-3.\nAllowed: at least 1",
    ),
    "rates": (lambda c: c["pretrain"]["mixing"].update(rates=(0.5, 0.5)), "2 rates for 1 items of data"),
    "a decoder that reads masks": (
        lambda c: c.update(model="tiny_decoder"),
        "'tiny_decoder' is of family 'decoder', and stage 'pretrain' is of kind 'mlm'.\nAllowed: pair_classification",
    ),
    "an encoder-decoder": (
        lambda c: c.update(model="tiny_mt5"),
        "of family 'seq2seq', and stage 'pretrain' is of kind 'mlm'",
    ),
    "a pooling": (lambda c: c["targets"]["retrieval"]["protocol"].update(pooling="max"), "Unknown value 'max'"),
    "a layer below the first": (
        lambda c: c["targets"]["retrieval"]["protocol"].update(layer=-2),
        "protocol of target 'retrieval' has layer=-2.\nAllowed: 0 or more",
    ),
    "a protocol of another kind": (
        lambda c: c["targets"]["pos"]["protocol"].update(layer=1),
        "target 'pos' has layer=1, which kind 'tagging' has no use for.\nAllowed: no field",
    ),
    "both directions of retrieval": (
        lambda c: c["targets"]["retrieval"]["protocol"].update(queries="both"),
        "target 'retrieval' has queries=both.\nAllowed: pivot, language",
    ),
    "a threshold": (
        lambda c: c["targets"]["retrieval"]["protocol"].update(threshold="best"),
        "has threshold=best, which kind 'retrieval' has no use for",
    ),
    "a policy": (
        lambda c: c["pretrain"].update(selection={"policies": ("source-dev",)}, save_every=5),
        "Unknown policy 'source-dev' in stage 'pretrain'.\nDid you mean: source_dev",
    ),
    "a policy that looks at targets first": (
        lambda c: c["pretrain"].update(selection={"policies": ("oracle",)}, save_every=5),
        "The first policy of stage 'pretrain' is .'oracle'.*\nAllowed: last, source_dev, average; target_dev and",
    ),
    "a choice of one": (
        lambda c: c["pretrain"].update(selection={"policies": ("average",)}, save_every=0),
        "selects among checkpoints and has save_every=0",
    ),
    "patience": (
        lambda c: c["pretrain"].update(selection={"patience": -1}, save_every=5),
        "selection.patience=-1 and average=0.\nAllowed: 0 or more",
    ),
    "nothing to select on": (
        lambda c: c["targets"]["pos"]["stage"].update(selection={"policies": ("source_dev",)}, save_every=5),
        "selects on 0 cells: selection.dev=''.\nAllowed: one, for example mnli.dev.en",
    ),
    "a test cell to select on": (
        lambda c: c["targets"]["pos"]["stage"].update(
            selection={"policies": ("source_dev",), "dev": "world_pos.test.qen"}, save_every=5
        ),
        "would be selected on world_pos.test.qen.\nAllowed: a cell with labels of a split other than test",
    ),
    "a target language's cell to select on": (
        lambda c: c["targets"]["pos"]["stage"].update(
            selection={"patience": 2, "dev": "world_pos.dev.qda"}, save_every=5
        ),
        "would be selected on world_pos.dev.qda.\n.*in a language that the stage has labels in: qen",
    ),
    "a cell to select on that is evaluated": (
        lambda c: c["targets"]["pos"].update(
            split="dev",
            stage=c["targets"]["pos"]["stage"]
            | {"selection": {"policies": ("source_dev",), "dev": "world_pos.dev.qen"}, "save_every": 5},
        ),
        "selects on world_pos.dev.qen, which target 'pos' is evaluated on",
    ),
    "what nobody learned to remember": (
        lambda c: c.update(remember=("world_ner.test.qen",)),
        "'world_ner.test.qen' in 'config.remember' is 1 cells, answered by head 'world_ner'.\nAllowed: one cell, of",
    ),
    "a watched cell": (
        lambda c: c["watch"].update(every=5, cells=("world_paralel.test.qda",)),
        "Unknown task 'world_paralel' in 'config.watch'.\nDid you mean: world_parallel",
    ),
    "a watched language": (
        lambda c: c["watch"].update(every=5, cells=("world_parallel.test.de",)),
        "Unknown language 'de' in cell 'world_parallel.test'",
    ),
    "text to watch that is not parallel": (
        lambda c: c["watch"].update(every=5, cells=("bucc2018.dev.de",)),
        "'config.watch' has bucc2018.dev.de, of kind 'mining', which has no parallel text.\nAllowed: .* retrieval",
    ),
    "a language that is watched twice": (
        lambda c: c["watch"].update(every=5, cells=("world_parallel.test.qda+qnd", "world_parallel.dev.qda")),
        "'config.watch' has 2 cells in language 'qda'.\nAllowed: one of each language",
    ),
    "steps between looks": (
        lambda c: c["watch"].update(every=-1),
        "'config.watch' has every=-1, count=500 and 0 cells",
    ),
    "nothing to look at": (lambda c: c["watch"].update(every=5), "has every=5, count=500 and 0 cells.\nAllowed: every"),
    "one sentence": (lambda c: c["watch"].update(count=1), "count=1 and 0 cells.\nAllowed: .*2 or more sentences"),
    "watched texts that are too long": (
        lambda c: c["watch"].update(every=5, cells=("world_parallel.test.qda",)),
        "The lengths of 'config.watch' are \\(128,\\).\nAllowed: .*64 positions",
    ),
    "a watched layer": (
        lambda c: c["watch"].update(every=5, cells=("world_parallel.test.qda",), max_length=32, layers=(1, 4)),
        "layers=\\(1, 4\\), and model 'world'.*\nAllowed: mean first last; layers from 0 to 3",
    ),
    "pooling of what is watched": (
        lambda c: c["watch"].update(every=5, cells=("world_parallel.test.qda",), max_length=32, pooling="max"),
        "'config.watch' has pooling='max' and layers=\\(\\), .*\nAllowed: mean first last; layers",
    ),
    "a target to measure": (
        lambda c: c["clock"].update(target="pso"),
        "Unknown target 'pso' in 'config.clock'.\nDid you mean: pos",
    ),
    "a language to measure": (
        lambda c: c["clock"].update(target="pos", language="de"),
        "Unknown language 'de' in cell 'world_pos.test'",
    ),
    "languages to measure": (
        lambda c: c["clock"].update(target="pos", language="all"),
        "'config.clock' has language='all'.\nAllowed: one language",
    ),
    "no batch to measure": (
        lambda c: c["clock"].update(target="pos", batches=()),
        "'config.clock' has batches=\\(\\), repeats=5 and examples=256.\nAllowed: batches of 1 or more",
    ),
    "passes to measure": (
        lambda c: c["clock"].update(target="pos", repeats=0),
        "repeats=0 and examples=256.\nAllowed: ",
    ),
    "batches that a mesh does not divide": (
        lambda c: c.update(mesh="2x4x1", clock=c["clock"] | {"target": "pos", "batches": (4, 16)}),
        "'config.clock' has batches of 4, and mesh '2x4x1' splits a batch over 8 devices.\nAllowed: multiples of 8",
    ),
    "readers": (lambda c: c.update(readers=-1), "readers=-1.\nAllowed: 0 or more"),
    "name": (lambda c: c.update(name="a/b"), "Allowed: letters, digits and _"),
    "no languages": (lambda c: c["targets"]["pos"].update(languages=""), "evaluated nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_config_is_one_clear_error(case):
    change, words = WRONG[case]
    with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
        from_config(changed(change))
    assert str(caught.value).count("\n") <= 3 and caught.value.exit_code == 2


def test_the_first_token_of_a_decoder_stands_for_no_text():
    target = {"task": "bucc2018", "split": "dev", "languages": "zh", "max_length": 16, "protocol": {"pooling": "first"}}
    config = {"name": "x", "checkpoint": "folder", "arms": {"none": {"stage": None}}, "targets": {"bucc2018": target}}
    experiment = from_config(config)
    check_model(experiment, MODELS["tiny"])
    with pytest.raises(ConfigError, match=r"target 'bucc2018' has pooling='first'\.\nAllowed: mean last"):
        check_model(experiment, MODELS["tiny_decoder"])
