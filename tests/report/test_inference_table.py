"""How fast a trained model answers, as the report shows it."""

import json

import pytest
from work_folders import collected_from, numbers, values

from xling_jax.errors import DataError
from xling_jax.report.inference import inference_table, read_inference
from xling_jax.report.render import write_report


def batch(size, milliseconds, **more):
    rate = 1000 * size / milliseconds
    both = {
        "examples_per_second": rate,
        "examples_per_second_range": [rate - 1, rate + 1],
        "tokens_per_second": 20 * rate,
    }
    slower = {name: value / 2 for name, value in both.items() if not name.endswith("range")}
    found = {"batch": size, "latency_ms": milliseconds, "latency_ms_range": [milliseconds - 1, milliseconds + 1]}
    return found | both | {"end_to_end": slower, "padding": 12.5, "peak_bytes": 2_500_000} | more


RECORD = {
    "model": "tiny",
    "device": "1 x cpu",
    "cell": "world_qa2.test.qda",
    "lengths": [16, 44],
    "examples": 64,
    "repeats": 5,
    "flops_per_example": 3.5e9,
    "batches": [batch(1, 4.0, share_of_peak=None), batch(8, 16.0, share_of_peak=42.0)],
}


@pytest.fixture
def workdir(make_workdir):
    made = make_workdir()
    path = made.path / "clock" / "tiny.json"
    path.parent.mkdir()
    path.write_text(json.dumps(RECORD))
    return made


def test_a_row_for_each_batch(workdir):
    collected, _ = collected_from(workdir)
    table = inference_table(collected.inference)
    assert [row.label for row in table.rows] == ["tiny, batch 1", "tiny, batch 8"]
    assert values(table, "tiny, batch 8") == {
        "ms a batch": 16,
        "examples/s": 500,
        "tokens/s": 10_000,
        "end to end: examples/s": 250,
        "% padding": 12.5,
        "GFLOPs an example": 3.5,
        "% of peak": 42,
        "MB of a device": 2.5,
    }
    first = numbers(table, "tiny, batch 1")
    assert (first["ms a batch"].low, first["ms a batch"].high) == (3, 5)
    assert first["% of peak"].state == "none", "a peak that is not known"
    assert "64 examples of world_qa2.test.qda on 1 x cpu" in table.note and "rows of 16, 44 tokens" in table.note


def test_it_is_in_the_report(workdir, tmp_path):
    write_report([workdir.path], tmp_path)
    assert "<h3>Inference</h3>" in (tmp_path / "index.html").read_text()
    assert 'tiny,,inference,"tiny, batch 1",ms a batch,4.0,3.0,5.0' in (tmp_path / "tables.csv").read_text()


def test_where_nothing_was_measured(make_workdir):
    collected, _ = collected_from(make_workdir())
    assert collected.inference == {} and inference_table(collected.inference).rows == ()


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is not JSON"), ('{"model": "tiny"}', "lacks device, cell"), ("[]", "lacks")]
)
def test_a_damaged_file_is_an_error(tmp_path, text, words):
    path = tmp_path / "tiny.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_inference(path)
