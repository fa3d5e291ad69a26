"""What is measured of a tiny model's inference: counts against those counted here, times as far as they must agree."""

import json
import pathlib
import time

import numpy as np
import pytest

from xling_jax.data.batches import in_order
from xling_jax.data.texts import in_rows
from xling_jax.errors import ConfigError, Interrupted
from xling_jax.experiment import from_config
from xling_jax.flops import Work, forward
from xling_jax.stages import clock
from xling_jax.stages.clock import clock_path, is_unclocked, measure_clock
from xling_jax.stages.programs import Program
from xling_jax.stages.run import Run
from xling_jax.stages.workload import answering
from xling_jax.tables.models import MODELS

CLOCK = {"target": "nli", "language": "qda", "batches": (1, 8), "repeats": 3, "examples": 20}
BUCKETS = (16, 24, 48)


def stage(data, steps):
    return {"data": (data,), "batch_size": 8, "steps": steps, "max_length": 48, "log_every": 1}


def experiment(measured, **more):
    nli = stage("world_nli.train.qen", 2) | {"buckets": BUCKETS}
    return from_config(
        {
            "name": "timed",
            "synthetic": True,
            "model": "tiny",
            "limits": {"train": 32, "dev": 24, "test": 24},
            "pretrain": stage("world_text.train.qen", 2),
            "arms": {"none": {}},
            "targets": {
                "nli": {"task": "world_nli", "languages": "qnd", "stage": nli},
                "parallel": {"task": "world_parallel", "languages": "qda", "max_length": 24},
            },
            "baseline": "none",
            "source_language": "qen",
            "eval_batch_size": 8,
            "mesh": "one",
            "clock": measured,
        }
        | more
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run(experiment(CLOCK), tmp_path_factory.mktemp("clock"), None)
    made(jobs=1)
    return made


@pytest.fixture(scope="module")
def record(run):
    return json.loads(clock_path(run.workdir, "timed").read_text())


def test_it_says_what_was_measured(run, record):
    assert (record["cell"], record["examples"], record["features"]) == ("world_nli.test.qda", 20, 20)
    conditions = record["conditions"]
    assert (conditions["model"], conditions["dtype"], conditions["mesh"]) == ("tiny", "float32", "one")
    assert conditions["lengths"] == [48] and conditions["device_kind"] == "cpu"
    assert record["parameter_bytes"] == 4 * record["parameters"] > 0
    assert [one["batch"] for one in record["batches"]] == [1, 8]
    assert record["peak_flops"] is None and record["batches"][0]["share_of_peak"] is None, "none is guessed"


def test_batches_are_those_of_evaluation(run, record):
    prepared = run.cells.prepare(run.plan.experiment.timed())
    tokens = prepared.lengths_N.sum()
    for one in record["batches"]:
        batches = [batch.arrays for batch in in_rows([("", prepared)], {48: one["batch"]})]
        lengths = [batch["input_ids"].shape[-1] for batch in batches]
        assert one["batches_of_length"] == {str(length): lengths.count(length) for length in sorted(set(lengths))}
        places = sum(batch["input_ids"].size for batch in batches)
        assert one["padding"] == pytest.approx(100 * (1 - tokens / places)), "what fills the last batch up is padding"
        rate = one["tokens_per_second"] / one["examples_per_second"]
        assert rate == pytest.approx(tokens / 20, rel=1e-4)
    assert record["batches"][0]["padding"] < record["batches"][1]["padding"]


def test_times_agree_with_each_other(record):
    for one in record["batches"]:
        for part, name in ((one, "latency_ms"), (one, "examples_per_second"), (one["end_to_end"], "tokens_per_second")):
            low, high = part[f"{name}_range"]
            assert 0 < low <= part[name] <= high
        by_length = one["latency_ms_by_length"]
        assert by_length.keys() == one["batches_of_length"].keys() and all(value > 0 for value in by_length.values())
        assert one["compile_seconds"] > 0 and one["programs"] == len(by_length)
    best = max(record["batches"], key=lambda one: one["examples_per_second"])
    assert record["best_batch"] == best["batch"]


def test_flops_are_those_of_the_texts(run, record):
    """`tiny`: 2 layers of 2,048 numbers, width 16: 2 n P for the tokens, 4 A l^2 for a text's attention."""
    lengths_N = run.cells.prepare(run.plan.experiment.timed()).lengths_N.astype(int)
    expected = 2 * 2 * 2048 * lengths_N.sum() + 2 * 4 * 16 * (lengths_N**2).sum()
    assert record["flops_per_example"] == pytest.approx(expected / 20)
    for one in record["batches"]:
        rate = one["examples_per_second"]
        assert one["flops_per_second"] == pytest.approx(rate * expected / 20, rel=1e-3)


def test_memory_holds_the_parameters(record):
    for one in record["batches"]:
        assert 0.5 * record["parameter_bytes"] < one["peak_bytes"], "heads of other tasks are left out"
    assert record["batches"][0]["peak_bytes"] < record["batches"][1]["peak_bytes"]


def test_it_is_measured_once(run, monkeypatch, tmp_path):
    path = clock_path(run.workdir, "timed")
    before = path.read_text()
    monkeypatch.setattr(clock, "_measured", lambda *given, **named: pytest.fail("measured again"))
    Run(run.experiment, run.workdir, None)(jobs=1)
    assert path.read_text() == before
    monkeypatch.setattr(clock, "__version__", "another one")
    assert is_unclocked(run.plan, run.workdir)
    monkeypatch.undo()
    path.write_text(before[: len(before) // 2])
    assert is_unclocked(run.plan, run.workdir), "a file that is torn is no measurement"
    path.write_text(before)
    assert not is_unclocked(run.plan, run.workdir)


def test_it_is_measured_after_the_last_stage_if_the_file_is_gone(run):
    path = clock_path(run.workdir, "timed")
    path.unlink()
    stages = {place: place.stat().st_mtime_ns for place in run.workdir.glob("stages/*/DONE")}
    Run(run.experiment, run.workdir, None)(jobs=1)
    assert json.loads(path.read_text())["examples"] == 20
    assert stages == {place: place.stat().st_mtime_ns for place in run.workdir.glob("stages/*/DONE")}
    assert any('"clock"' in line for line in (run.workdir / "time.jsonl").read_text().splitlines())


def test_asked_to_stop_it_writes_nothing(run, tmp_path):
    for name in ("stages", "prepared"):
        (tmp_path / name).symlink_to(run.workdir / name)
    programs = run._programs()
    with pytest.raises(Interrupted, match="Stopped before batches of 1 were measured"):
        measure_clock(run.plan, tmp_path, run.cells, programs, display=run.display, stop_asked=lambda: True)
    assert not clock_path(tmp_path, "timed").exists()


@pytest.mark.slow
def test_what_a_batch_takes_is_what_is_written(run, tmp_path, monkeypatch):
    """A program that takes 20 ms longer than it does: latency and throughput say so."""
    for name in ("stages", "prepared"):
        (tmp_path / name).symlink_to(run.workdir / name)
    call = Program.__call__

    def slow(self, *given):
        time.sleep(0.02)
        return call(self, *given)

    monkeypatch.setattr(Program, "__call__", slow)
    measure_clock(run.plan, tmp_path, run.cells, run._programs(), display=run.display)
    alone, eight = json.loads(clock_path(tmp_path, "timed").read_text())["batches"]
    assert alone["latency_ms_range"][0] >= 20 and eight["latency_ms_range"][0] >= 20
    for one in (alone, eight):
        seconds = 0.02 * sum(one["batches_of_length"].values())
        for rates in (one, one["end_to_end"]):
            assert rates["examples_per_second_range"][1] <= 20 / seconds, "20 examples, a batch every 20 ms at most"


@pytest.mark.slow
def test_a_target_without_a_head(tmp_path):
    """Sentence vectors: two texts an example."""
    made = Run(experiment(CLOCK | {"target": "parallel", "batches": (8,)}), tmp_path, None)
    made(jobs=1)
    found = json.loads(clock_path(tmp_path, "timed").read_text())
    assert found["cell"] == "world_parallel.test.qda" and found["batches"][0]["batches_of_length"] == {"48": 2}
    assert found["lengths"] == [48], "rows are those of the target with the longest texts"
    prepared = made.cells.prepare(made.plan.experiment.timed())
    batches = [batch.arrays for batch in in_rows([("", prepared)], {48: 8})]
    lengths = np.concatenate([batch["lengths"][batch["index"] >= 0] for batch in batches]).astype(int)
    assert lengths.shape == (40,), "what fills the last batch up is no work"
    expected = 2 * 2 * 2048 * lengths.sum() + 2 * 4 * 16 * (lengths**2).sum()
    assert found["flops_per_example"] == pytest.approx(expected / 20)


def test_batches_that_the_devices_do_not_divide(tmp_path):
    """Found before anything is trained."""
    made = Run(experiment(CLOCK, mesh="any", eval_batch_size=8), tmp_path, None)
    with pytest.raises(ConfigError, match=r"'config.clock' has batches of 1, and mesh 'any' splits.*over 8 devices"):
        made(jobs=1)
    assert not list(pathlib.Path(tmp_path).glob("stages/*/DONE"))


def test_answers_in_words_by_hand():
    """Prompts of 6 and 3 tokens; two answers to each are ranked, of 2 and 1, and 3 and 0 tokens."""
    batch = {"input_ids": np.zeros((2, 6), np.int32), "lengths": np.array([6, 3])}
    said = np.array([[2, 1], [3, 0]])
    assert answering(batch, "lm", said) == Work(tokens=9 + 6, pairs=36 + 9 + 2 * (18 + 9) + 4 + 1 + 9, places=6)
    assert answering(batch, "text_to_text", said) == Work(
        tokens=9, pairs=45, targets=6, target_pairs=14, crossing=6 * 3 + 3 * 3, places=6
    )
    assert answering(batch, "", said) == Work(tokens=9, pairs=45), "a head's answers are no tokens"


def test_forward_by_hand():
    each = forward(MODELS["tiny_mt5"], 50, "text_to_text")
    assert each.tokens == 2 * 2 * (4 * 16 * 12 + 3 * 16 * 32) + 2 * 3 * (2 * 16 * 12)
    assert each.targets == 2 * 3 * (6 * 16 * 12 + 3 * 16 * 32)
    assert (each.pairs, each.target_pairs, each.crossing) == (2 * 4 * 12, 3 * 4 * 12 / 2, 3 * 4 * 12)
    assert each.places == 2 * 16 * 50
    assert forward(MODELS["tiny_decoder"], 50, "lm").pairs == 2 * 4 * 32 / 2
    assert forward(MODELS["tiny"], 50, "").places == 0


@pytest.fixture(scope="module")
def in_words(tmp_path_factory):
    """An encoder-decoder that ranks answers to one target, and writes those to another."""
    folder, found = tmp_path_factory.mktemp("words"), {}
    stage_in_words = stage("world_nli.train.qen", 2) | {"answer_length": 24}
    target = {"languages": "qda", "max_length": 48, "answer_length": 24}
    fields = {
        "model": "tiny_mt5",
        "limits": {"train": 300, "test": 24},
        "vocabulary": {"kind": "mt5", "size": 480, "data": ("world_text.train.qen+qda",)},
        "pretrain": stage_in_words,
        "targets": {"choice": target | {"task": "world_choice"}, "qa": target | {"task": "world_qa2"}},
    }
    fields["watch"] = {"cells": ("world_parallel.test.qda",), "every": 1, "count": 10, "max_length": 48}
    for name in ("choice", "qa"):
        measured = CLOCK | {"target": name, "batches": (8,), "examples": 10, "repeats": 1}
        made = Run(experiment(measured, **fields, name=f"words_{name}"), folder / name, None)
        made(jobs=1)
        found[name] = made, json.loads(clock_path(made.workdir, f"words_{name}").read_text())
    return found


@pytest.mark.slow
def test_an_encoder_decoder_is_watched(in_words):
    """Its encoder's states: two layers, and the embeddings."""
    run, _ = in_words["qa"]
    (path,) = run.workdir.glob("stages/pretrain-*/metrics.jsonl")
    lines = [line for line in map(json.loads, path.read_text().splitlines()) if "align/qda/sentences" in line]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert [key for key in lines[0] if key.endswith("accuracy")] == [
        f"align/qda/layer{layer}/accuracy" for layer in range(3)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["choice", "qa"])
def test_models_that_answer_in_words(in_words, name):
    run, record = in_words[name]
    assert record["answer_length"] == 24 and record["examples"] == 10
    prepared = run.cells.prepare(run.plan.experiment.timed())
    read = forward(MODELS["tiny_mt5"], run.cells.tokenizer().size, "text_to_text")
    prompts = Work(tokens=prepared.lengths_N.sum(), pairs=(prepared.lengths_N.astype(int) ** 2).sum()).cost(read)
    said = record["flops_per_example"] * 10 - prompts
    if name == "choice":  # what is ranked is known before it is asked
        batches = list(in_order([("", prepared)], 8, (48,)))
        answers = [batch.arrays["answers"][: batch.count] >= 0 for batch in batches]
        lengths = [batch.arrays["lengths"][: batch.count] for batch in batches]
        tokens_BxC, length_B = np.concatenate(answers).sum(axis=-1), np.concatenate(lengths).astype(int)
        work = {"targets": tokens_BxC.sum(), "places": tokens_BxC.sum(), "target_pairs": (tokens_BxC**2).sum()}
        work["crossing"] = (tokens_BxC * length_B[:, None]).sum()
        assert said == pytest.approx(Work(**work).cost(read), rel=1e-6)
    else:  # written, and read again: of each window a token at least, and no more than there is room for
        least = read.targets + read.places
        most = 24 * (least + 24 * read.target_pairs + 48 * read.crossing)
        assert 2 * prepared.features * least < said <= 2 * prepared.features * most
