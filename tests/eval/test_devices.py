"""One, two and eight devices answer alike, and every example once: 21 of them, in batches of eight."""

import dataclasses
import functools

import jax
import pytest

from xling_jax.experiment import Target, from_config
from xling_jax.models.build import head_spec
from xling_jax.optim import Optim
from xling_jax.protocol import Protocol
from xling_jax.stages.cells import Cells
from xling_jax.stages.evaluation import Examiner
from xling_jax.stages.programs import Programs
from xling_jax.tables.models import model
from xling_jax.tables.tasks import TASKS, Cell
from xling_jax.train.writer import Display

EXAMPLES = 21
TRAINED = ("world_nli", "world_choice", "world_qa", "world_pos")
TARGETS = {name: Target(name, max_length=48) for name in TRAINED} | {
    "world_parallel": Target("world_parallel", max_length=48, protocol=Protocol(layer=1, margin="ratio", k=3)),
}
HEADS = tuple(sorted(head_spec(TASKS[name]) for name in TRAINED))


@functools.cache
def examiner(folder, mesh, strategy):
    fields = {
        "name": "devices",
        "model": "tiny",
        "limits": {"test": EXAMPLES},
        "pretrain": {"data": ("world_text.train.qen",), "steps": 1, "max_length": 48},
        "arms": {"none": {}},
        "eval_batch_size": 8,
        "probabilities": True,
        "source_language": "qen",
    }
    experiment = from_config(fields | {"mesh": mesh, "strategy": strategy})
    cells = Cells(experiment, folder, None)
    tokenizer = cells.tokenizer()
    programs = Programs(experiment, model("tiny"), tokenizer.size, tokenizer.mask)
    make, _ = programs.state_maker(HEADS, Optim())
    return Examiner(experiment, cells, programs, Display()), make(3)["params"]


def answers(folder, mesh, strategy, task):
    """Returns (metrics, the text of the predictions, the ids of the items)."""
    asks, params = examiner(folder, mesh, strategy)
    out = folder / f"{mesh}-{strategy}"
    cell = Cell(task, "test", "qda")
    ((values, opened),) = asks.evaluator(HEADS, params, TARGETS[task], beside=False)([cell], out)
    assert len(opened.raw) == EXAMPLES
    files = {path.name: path.read_text() for path in sorted((out / task).glob("test-qda.*"))}
    items = files.pop("test-qda.items.jsonl")
    assert items.count("\n") == EXAMPLES
    (predictions,) = files.values()
    return values, predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


SLOW = pytest.mark.slow
OTHERS = (("any", "data"), ("2x1x1", "data"), ("data2_fsdp4", "fsdp"))


@pytest.mark.parametrize(
    ("task", "mesh", "strategy"),
    [
        pytest.param(task, *mesh, marks=() if mesh[0] == "any" and task in ("world_qa", "world_parallel") else SLOW)
        for task in TARGETS
        for mesh in OTHERS
    ],
)
def test_devices_answer_alike(folder, task, mesh, strategy):
    assert answers(folder, mesh, strategy, task) == answers(folder, "one", "data", task)


def test_all_languages_share_what_is_compiled(tmp_path, caplog):
    """Three languages, one length: the function of the outputs is compiled once."""
    asks, params = examiner(tmp_path, "one", "data")
    evaluate = asks.evaluator(HEADS, params, TARGETS["world_pos"], beside=False)
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        assert len([*evaluate(Cell("world_pos", "test", language) for language in ("qda", "qnd", "qen"))]) == 3
    compiled = [record.getMessage() for record in caplog.records if "Compiling jit(read)" in record.getMessage()]
    assert len(compiled) == 1, compiled


def test_all_that_is_asked_of_texts_shares_a_program(folder):
    """Heads and vectors; of another target than an experiment's there is another program."""
    asks, _ = examiner(folder, "one", "data")
    programs = Programs(dataclasses.replace(asks.experiment, targets=TARGETS), model("tiny"), 764, 3)
    made = {id(programs.output(HEADS, target).program) for target in TARGETS.values()}
    assert len(made) == 1
    other = Target("world_parallel", max_length=48, protocol=Protocol(layer=2))
    assert id(programs.output(HEADS, other).program) not in made
