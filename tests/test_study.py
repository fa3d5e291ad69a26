"""A study is checked as a whole: its experiments, and what its analysis names."""

import dataclasses

import pytest

from xling_jax.errors import ConfigError
from xling_jax.experiment import from_config
from xling_jax.stages.plan import make_plan
from xling_jax.study import complete_study, study_from_config, study_languages

OPTIM = {"learning_rate": 1e-3}
STAGE = {"batch_size": 8, "max_length": 44, "steps": 2, "optim": OPTIM}
TEXT = {**STAGE, "data": ("world_text.train.qen",)}


def stage(data, **more):
    return {**STAGE, "data": (data,), **more}


def fields(**more):
    """Returns an experiment with an arm of three stages."""
    return {
        "synthetic": True,
        "model": "world",
        "vocabulary": {"kind": "world"},
        "pretrain": TEXT,
        "arms": {
            "none": {},
            "qa": {"stage": stage("world_qa.train.qen"), "factors": {"languages": 1}},
            "long": {"first": TEXT, "stage": stage("world_qa.train.qen"), "then": TEXT, "factors": {"languages": 1}},
        },
        "targets": {"qa2": {"task": "world_qa2", "languages": "qen", "stage": stage("world_qa2.train.qen")}},
        "source_language": "qen",
        **more,
    }


def declared(**more):
    experiments = {"a": fields(factors={"size": "small"}), "b": fields(factors={"size": "large"}, seeds=(0, 1))}
    return {"name": "mine", "question": "Why?", "size": "test", "experiments": experiments, **more}


def test_experiments_have_the_studys_name_and_question():
    study = study_from_config(declared())
    assert [(e.name, e.question) for e in study.experiments.values()] == [("a", "Why?"), ("b", "Why?")]
    assert study.synthetic


def test_a_complete_study_declares_itself():
    complete = complete_study(declared())
    assert study_from_config(complete) == study_from_config(declared())
    assert complete["experiments"]["a"]["arms"]["long"]["first"]["data"] == ("world_text.train.qen",)
    assert complete["experiments"]["a"]["arms"]["none"]["factors"] == {}


def test_factors_are_numbers_or_words():
    study = study_from_config(declared())
    assert study.experiments["a"].arms["qa"].factors == {"languages": 1.0}
    assert study.experiments["a"].factors == {"size": "small"}


def plans(study):
    known = {}
    return [make_plan(one, "vocabulary", str, known=known) for one in study.experiments.values()], known


def test_experiments_share_stages_and_their_names():
    (first, second), known = plans(study_from_config(declared()))
    shared = {node.hash for node in first.nodes} & {node.hash for node in second.nodes}
    assert shared == {node.hash for node in first.nodes}  # the second has another seed on top
    assert [node for node in second.nodes if node.hash in shared] == list(first.nodes)
    assert len(known) == len(second.nodes)


def test_a_stage_that_another_experiment_names_otherwise_is_the_same_stage():
    other = fields(arms={"none": {}, "renamed": {"stage": stage("world_qa.train.qen")}})
    (first, second), known = plans(study_from_config(declared(experiments={"a": fields(), "b": other})))
    assert {node.folder for node in second.nodes} <= {node.folder for node in first.nodes}
    assert set(known.values()) == set(first.nodes)


def test_the_stages_of_an_arm_follow_one_another():
    (plan, _), _ = plans(study_from_config(declared()))
    nodes = {node.name: node for node in plan.nodes}
    target = nodes["long_qa2_s0"]
    names = []
    while target is not None:
        names.append(target.name)
        target = target.parent
    assert names == ["long_qa2_s0", "long_then_s0", "long_s0", "long_first_s0", "pretrain"]
    assert nodes["long_s0"].hash != nodes["qa_s0"].hash


@pytest.mark.parametrize("part", ["first", "then"])
def test_every_stage_of_an_arm_is_checked(part):
    arms = {"none": {}, "bad": {part: {**TEXT, "steps": 0}}}
    with pytest.raises(ConfigError, match=rf"arms.bad_{part}' has steps=0"):
        from_config(fields(name="a", arms=arms))


def analysis(**more):
    return {"analysis": more}


MISTAKES = {
    "no experiments": ({"experiments": {}}, "has no experiments"),
    "a name": ({"name": "no-dashes"}, "name is 'no-dashes'"),
    "a field": ({"sized": "test"}, "Unknown field 'sized'"),
    "another name": ({"experiments": {"a": fields(name="b")}}, "calls itself 'b'"),
    "an experiment's field": ({"experiments": {"a": fields(seed=1)}}, r"In experiment 'a' of study 'mine': .*'seed'"),
    "a method": (analysis(method="curves"), "Unknown method 'curves'"),
    "a needed field": (analysis(method="curve"), "has no x"),
    "a factor": (analysis(method="curve", x="language"), "Unknown factor 'language'"),
    "a pair": (analysis(pair=("qa", "none", "long")), "Allowed: two arms"),
    "an arm": (analysis(pair=("qa", "non")), "Unknown arm 'non'"),
    "a target": (analysis(target="qa3"), "Unknown target 'qa3'"),
    "a distance": (analysis(method="regression", x="size", distance="miles"), "Unknown distance 'miles'"),
    "no source": ({"published": ({"arm": "qa", "target": "qa2", "metric": "f1", "value": 1.0},)}, "has no source"),
    "no such arm": ({"published": ({"arm": "q", "target": "qa2", "source": "x"},)}, "Unknown arm 'q'"),
}


@pytest.mark.parametrize("change, says", MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_one_error(change, says):
    with pytest.raises(ConfigError, match=says):
        study_from_config(declared(**change))


def test_factors_decide_no_stage():
    plain = from_config(fields(name="a"))
    other = dataclasses.replace(
        plain, arms={name: dataclasses.replace(arm, factors={"x": 1.0}) for name, arm in plain.arms.items()}
    )
    hashes = [[node.hash for node in make_plan(one, "vocabulary", str).nodes] for one in (plain, other)]
    assert hashes[0] == hashes[1]


def test_languages_that_distances_may_be_asked_of():
    """Those of the targets, and the values of the factor."""
    more = {"factors": {"source": "qnd"}}
    arms = {"none": {}, "far": {"stage": stage("world_qa.train.qda"), "factors": {"source": "qda"}}}
    declared_of = declared(
        experiments={"a": fields(**more), "b": fields(arms=arms)},
        analysis={"method": "regression", "x": "source", "distance": "grammar"},
    )
    assert set(study_languages(study_from_config(declared_of))) == {"qen", "qnd", "qda"}
