"""Alignment over the steps of stages: read back, and told in numbers worked out by hand."""

import json

import numpy as np
import pytest
from work_folders import collected_from, numbers, stage, values

from xling_jax.report.alignment import Course, alignment, alignment_table, margin
from xling_jax.report.render import write_report
from xling_jax.report.watched import read_watched

N = 400  # sentences of a language
# Accuracy of layers 0 and 1 at steps 0, 10, 20 and 100: of arm "english" the better layer falls, of "multilingual" not.
ENGLISH = {"qnd": ((30, 30, 30, 30), (80, 79, 60, 70)), "qda": ((10, 10, 10, 10), (60, 40, 30, 20))}
MULTILINGUAL = {"qnd": ((30, 30, 30, 30), (80, 81, 82, 90)), "qda": ((10, 10, 10, 10), (60, 61, 59, 70))}
STEPS = (0, 10, 20, 100)


def lines(accuracies, off=0.0):
    """Returns the lines of a stage: those of training, and between them what was watched."""
    for at, step in enumerate(STEPS):
        if step:
            yield {"step": step, "train/world_qa2/loss": 1.0, "time/step": 0.5}
        watched = {"step": step}
        for code, layers in accuracies.items():
            watched[f"align/{code}/sentences"] = float(N)
            for layer, percents in enumerate(layers):
                watched[f"align/{code}/layer{layer}/accuracy"] = percents[at] + off
                watched[f"align/{code}/layer{layer}/similarity"] = percents[at] / 200
        yield watched
    yield {"step": 100, "dev/world_qa2.dev.qen/f1": 71.5}


@pytest.fixture
def workdir(make_workdir):
    made = make_workdir()
    for arm, accuracies in (("english", ENGLISH), ("multilingual", MULTILINGUAL)):
        for seed in (0, 1):
            text = "".join(json.dumps(line) + "\n" for line in lines(accuracies, off=2.0 * seed))
            made.metrics(arm, seed).write_text(text)
    return made


def test_it_is_read_by_stage_language_and_layer(workdir):
    collected, _ = collected_from(workdir)
    found = alignment(collected)
    assert list(found) == [f"{arm}_qa2_s{seed}" for arm in ("english", "multilingual") for seed in (0, 1)]
    assert {code: [*layers] for code, layers in found["english_qa2_s0"].items()} == {"qnd": [0, 1], "qda": [0, 1]}
    steps, accuracy, similarity = found["english_qa2_s1"]["qda"][1]
    assert steps.tolist() == [*STEPS] and accuracy.tolist() == [62, 42, 32, 22]
    assert similarity.tolist() == [0.3, 0.2, 0.15, 0.1]


def test_dev_scores_are_read(workdir):
    collected, _ = collected_from(workdir)
    (track,) = collected.watched[stage("english", 0)].dev.values()
    assert [*collected.watched[stage("english", 0)].dev] == [("world_qa2.dev.qen", "f1")]
    assert (track.steps.tolist(), track.values.tolist()) == ([100], [71.5])


def test_what_is_watched_is_no_part_of_training(workdir):
    """Losses, and the time of steps, are read as before."""
    collected, _ = collected_from(workdir)
    assert collected.curves[stage("english", 0)]["world_qa2"].steps.tolist() == [10, 20, 100]


def test_the_margin_by_hand():
    """Half of 400 sentences: a difference errs by sqrt(2 * 0.25 / 400), 3.54 points; 1.64 times it of one look."""
    assert margin(50, 400, 1) == pytest.approx(1.6449 * 3.5355, rel=1e-4)
    assert margin(50, 400, 5) == pytest.approx(2.3263 * 3.5355, rel=1e-4), "a hundredth for each of five looks"
    assert margin(100, 400, 1) == pytest.approx(164.49 * np.sqrt(2 * 401 / 402 / 402 / 400), rel=1e-4)


def test_false_falls_are_as_rare_as_they_should_be():
    """A curve that does not fall, drawn a thousand times: of ten looks one is below in 5% at most."""
    draws = np.random.default_rng(0)
    curves = 100 * draws.binomial(N, 0.7, (1000, 11)) / N
    told = sum(Course(np.arange(11), curve, N).falls() is not None for curve in curves)
    assert 10 < told < 60, "looks share the first measurement, so that fewer are told than 5%"


def test_a_fall_is_found_where_it_begins(workdir):
    collected, _ = collected_from(workdir)
    found = numbers(alignment_table(collected), "english_qa2")
    assert found["layer"].value == 1, "the best one at the start"
    told = {name: number.value for name, number in found.items() if name.startswith("near")}
    assert told == {"near: before": 81, "near: after": 71, "near: lowest": 61, "near: falls at step": 20}
    told = {name: number.value for name, number in found.items() if name.startswith("distant")}
    assert told == {"distant: before": 61, "distant: after": 21, "distant: lowest": 21, "distant: falls at step": 10}
    before = found["all languages: before"]
    assert (before.value, before.low, before.high) == (71, 70, 72), "over languages, then seeds"


def test_what_does_not_fall_has_no_step(workdir):
    collected, _ = collected_from(workdir)
    found = numbers(alignment_table(collected), "multilingual_qa2")
    assert found["distant: lowest"].value == 60 and found["distant: falls at step"].state == "none"


def test_pretraining_is_told_at_the_layer_it_ends_with(workdir):
    path = workdir.path / "stages" / "pretrain-aa" / "metrics.jsonl"
    path.parent.mkdir(exist_ok=True)
    curve = {"qnd": ((9, 9, 9, 10), (1, 20, 30, 50)), "qda": ((9, 9, 9, 10), (1, 20, 30, 50))}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines(curve)))
    collected, _ = collected_from(workdir)
    assert values(alignment_table(collected), "pretrain")["layer"] == 1


def test_it_is_in_the_report(workdir, tmp_path):
    write_report([workdir.path], tmp_path)
    assert "<h3>Alignment of translations</h3>" in (tmp_path / "index.html").read_text()
    assert "tiny,,alignment,english_qa2,distant: falls at step,10.0" in (tmp_path / "tables.csv").read_text()


def test_a_run_that_was_not_watched_has_none(make_workdir):
    collected, _ = collected_from(make_workdir())
    assert alignment(collected) == {} and alignment_table(collected).rows == ()


def test_a_step_that_was_done_again(tmp_path):
    """Of two lines of a step the later one stands."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "dev/a.dev.en/f1": 1.0}\n{"step": 2, "dev/a.dev.en/f1": 3.0}\n')
    assert read_watched(path).dev["a.dev.en", "f1"].values.tolist() == [3.0]
