"""Every study is built at every size: its stages, its designs, and that no size leaks or is a placeholder."""

import dataclasses
import functools
import os

import pytest
from test_configs import GOLDEN, ROOT, load, start_of

from xling_jax.errors import ConfigError
from xling_jax.experiment import digest
from xling_jax.planner.planning import open_plan
from xling_jax.stages.plan import describe, make_plan
from xling_jax.study import study_from_config
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.leaks import KIN
from xling_jax.tables.meshes import mesh
from xling_jax.tables.slices import slice_of

CONFIGS = sorted((ROOT / "configs" / "studies").glob("*.py"))
CASES = [(path, size) for path in CONFIGS for size in load(path).SIZES]
PUD = "ar de en es fi fr hi id it ja ko pl pt ru th tr zh".split()  # languages whose treebanks of XTREME hold PUD


def cases(*sizes):
    """Returns the parameters of all studies in sizes, or in all sizes."""
    found = [(path, size) for path, size in CASES if not sizes or size in sizes]
    return pytest.mark.parametrize("path, size", found, ids=[f"{path.stem}-{size}" for path, size in found])


@functools.cache
def declared(path, size):
    """Returns a study."""
    return study_from_config(load(path).get_config(size).to_dict())


@functools.cache
def planned(path, size):
    """Returns ({experiment: plan}, stages by hash) of a study in one folder."""
    known = {}
    experiments = declared(path, size).experiments.items()
    return {name: make_plan(one, "vocabulary", str, start_of(one), known) for name, one in experiments}, known


def counted(path, size):
    """Returns how many stages a study trains, and how many it were if each answer had its own."""
    plans, known = planned(path, size)
    chains = sum(len(chain(one.node)) for plan in plans.values() for one in plan.evaluations)
    return len([node for node in known.values() if not node.imported]), chains


def chain(node):
    """Returns a stage and those before it that are trained."""
    return [] if node is None or node.imported else [*chain(node.parent), node]


def stages_of(experiment):
    """Returns the stages of an experiment by what they are called."""
    found = {} if experiment.checkpoint else {"pretrain": experiment.pretrain}
    found |= {f"{name}{part}": one for name, arm in experiment.arms.items() for part, one in arm.chain().items()}
    return found | {f"target {name}": target.stage for name, target in experiment.targets.items() if target.stage}


def told(path, size, tmp_path):
    """Yields a study as text: what it asks, then the first seed's stages, of targets those of the first arm alone."""
    study, (plans, _) = declared(path, size), planned(path, size)
    trained, alone = counted(path, size)
    yield f"study {study.name}, size {study.size}: {study.question}"
    yield f"{study.analysis}"
    yield f"topology '{study.topology}'; {trained} stages trained, {alone} without sharing; everything: {digest(study)}"
    yield from (f"published: {row}" for row in study.published)
    for name, plan in plans.items():
        one = plan.experiment
        yield f"{name}: factors {dict(one.factors)}; seeds {one.seeds}; source {one.source_language}; {one.comparisons}"
        yield from (f"  {arm}: {dict(made.factors)}" for arm, made in one.arms.items() if made.factors)
        first = next(iter(one.arms))
        kept = {
            n
            for e in plan.evaluations
            if e.seed == one.seeds[0]
            for n in chain(e.node)[: None if e.arm == first else -1]
        }
        ends = {e.node for e in plan.evaluations if e.seed == one.seeds[0] and e.arm == first}
        nodes = tuple(node for node in plan.nodes if node in kept | ends)
        yield from describe(dataclasses.replace(plan, nodes=nodes), tmp_path)


@cases()
def test_a_study_is_what_it_was(path, size, tmp_path):
    text = "\n".join([*told(path, size, tmp_path), ""])
    golden = GOLDEN / "studies" / f"{path.stem}-{size}.txt"
    if "XLING_WRITE_GOLDEN" in os.environ:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists() and text == golden.read_text(), (
        f"The study expands to something else than studies/{golden.name}. If that is meant, run this test with "
        "XLING_WRITE_GOLDEN=1 and read the difference. The last hash of its third line is of all fields."
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_study_says_its_command_and_how_much_it_shares(path):
    module = load(path)
    assert f"xling study --config={path.relative_to(ROOT)}" in module.__doc__
    said = " ".join(module.__doc__.split())
    for size in module.SIZES:
        trained, alone = counted(path, size)
        assert size == "test" or f"{size} {trained:,} of {alone:,}" in said, f"{size} {trained:,} of {alone:,}"
    with pytest.raises(ConfigError, match="Unknown size 'larg'"):
        module.get_config("larg")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_study_has_its_sizes(path):
    module = load(path)
    assert {"world", "test", "pod"} <= module.SIZES.keys()
    assert module.get_config().to_dict() == module.get_config("world").to_dict()
    for size in module.SIZES:
        study = declared(path, size)
        assert study.name == path.stem and study.size == size.partition("_")[0]
        assert study.synthetic == (study.size in ("world", "test"))
        assert bool(study.topology) == (study.size == "pod")
        assert all(one.watch.on == study.synthetic for one in study.experiments.values())
        assert all(bool(one.clock.target) == (path.stem == "model_size") for one in study.experiments.values())
        assert all(len(one.seeds) >= 2 for one in study.experiments.values())


@cases()
def test_every_experiment_is_paired_with_the_others(path, size):
    study = declared(path, size)
    assert len({one.seeds for one in study.experiments.values()}) == 1
    for one in study.experiments.values():
        assert one.baseline == "none" and not one.arms["none"].chain()
        assert study.analysis.target in ("", *one.targets) and len(one.arms) > 1


@cases()
def test_no_target_language_trains_or_chooses(path, size):
    for one in declared(path, size).experiments.values():
        for target in one.targets.values():
            trained = target.stage.cells() if target.stage else ()
            assert {cell.language for cell in trained} <= {one.source_language}
            assert set(trained).isdisjoint(target.cells())
        for stage in stages_of(one).values():
            dev = stage.selection.dev
            assert not dev or dev.endswith(f".{one.source_language}")


@cases()
def test_nothing_is_trained_on_that_is_asked_again_elsewhere(path, size):
    """By xling_jax/tables/leaks.py: the same examples, or translations of them."""
    for one in declared(path, size).experiments.values():
        stages = stages_of(one).values()
        trained = {f"{c.task}.{c.split}" for stage in stages for c in stage.cells()}
        trained |= {stage.selection.dev.rpartition(".")[0] for stage in stages if stage.selection.dev}
        for kin in KIN:
            splits = set(kin.splits.split())
            asked = [cell for target in one.targets.values() for cell in target.cells()]
            asked = [cell for cell in asked if f"{cell.task}.{cell.split}" in splits]
            if kin.name == "PUD":
                asked = [cell for cell in asked if cell.language in PUD]
            assert not (asked and trained & splits), f"{kin.name}: {sorted(map(str, asked))} and {trained & splits}"


@cases("pod")
def test_a_pod_size_resolves_and_is_divided(path, size):
    study = declared(path, size)
    chips = slice_of(study.topology).chips
    for name, one in study.experiments.items():
        plan, row = open_plan(one), mesh(one.mesh)
        assert row.data * row.fsdp * row.tensor == chips, f"{name} is divided for another slice"
        ways = row.data * row.fsdp
        for node in plan.nodes:
            rows = node.stage.batch_size // node.stage.accumulate
            assert node.imported or rows % ways == 0, f"{name}: {node.name} has {rows} examples for {ways} ways"
        assert one.eval_batch_size % ways == 0 and one.dtype == "bfloat16"
        assert not one.clock.target or all(batch % ways == 0 for batch in one.clock.batches)


def draws(stage):
    """Returns how many examples a stage draws."""
    return (stage.steps or round(stage.epochs * stage.examples / stage.batch_size)) * stage.batch_size


@pytest.mark.parametrize("size", ["world", "pod", "test"])
def test_sets_of_languages_and_their_controls_have_equal_data(size):
    for one in declared(ROOT / "configs/studies/num_languages.py", size).experiments.values():
        sets = {name: arm for name, arm in one.arms.items() if arm.factors}
        assert dict(one.comparisons).keys() == sets.keys()
        for arm, control in one.comparisons:
            first, second = one.arms[arm].stage, one.arms[control].stage
            assert (first.examples, draws(first)) == (second.examples, draws(second))
            assert len(first.labelled_languages()) == one.arms[arm].factors["languages"]
            assert second.labelled_languages() == (one.source_language,)
        orders = {name: {arm.factors["order"] for arm in sets.values()} for name in sets}
        assert all(len(found) >= 2 for found in orders.values()), "one order is confounded with its languages"


@pytest.mark.parametrize("size", ["world", "pod", "test"])
def test_batches_see_the_same_examples_equally_often(size):
    study = declared(ROOT / "configs/studies/batch_size.py", size)
    for one in study.experiments.values():
        arms = [arm for arm in one.arms.values() if arm.factors]
        assert len({(draws(arm.stage), arm.stage.examples, arm.stage.data) for arm in arms}) == 1
        by_rule = {a.stage.optim.learning_rate / a.factors["rate"] / a.stage.batch_size**0.5 for a in arms}
        assert max(by_rule) == pytest.approx(min(by_rule), rel=1e-9)
        assert len(arms) == 3 * len({arm.factors["batch"] for arm in arms})
        assert all(arm.stage.batch_size == arm.factors["batch"] for arm in arms)
        assert all(arm.stage.selection.policies == ("source_dev",) for arm in arms)


@pytest.mark.parametrize("size", ["world", "pod", "test"])
def test_a_pair_of_arms_differs_by_its_languages_alone(size):
    study = declared(ROOT / "configs/studies/llm_scale.py", size)
    assert list(dict.fromkeys(one.factors["size"] for one in study.experiments.values())) == ["small", "large"]
    for one in study.experiments.values():
        many, alone = (one.arms[arm].stage for arm in study.analysis.pair)
        assert dataclasses.replace(many, data=()) == dataclasses.replace(alone, data=()) and many.examples
        assert alone.labelled_languages() == (one.source_language,) and len(many.labelled_languages()) > 5


@cases("world", "pod", "real", "real_cpu", "test")
def test_sources_are_crossed_with_targets_at_equal_ids(path, size):
    if path.stem != "source_language":
        return
    study = declared(path, size)
    assert next(iter(study.experiments.values())).source_language in ("en", "qen")
    arms = [{k: v for k, v in one.arms.items() if v.factors} for one in study.experiments.values()]
    assert all(found == arms[0] for found in arms), "each target language has the same sources"
    for name, arm in arms[0].items():
        code = arm.factors["source"]
        assert arm.stage.labelled_languages() == (code,) and name == f"from_{code}"
    assert len({dataclasses.replace(arm.stage, data=()) for arm in arms[0].values()}) == 1


@cases()
def test_text_without_labels_is_no_intermediate_task_alone(path, size):
    for one in declared(path, size).experiments.values():
        for name, arm in one.arms.items():
            kinds = {cell.row.kind for stage in arm.chain().values() for cell in stage.cells()}
            assert name == "none" or any(KINDS[kind].metrics for kind in kinds)
