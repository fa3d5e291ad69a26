"""The arms of `benchmarks/finetuning.py` that are this program: its batches, its step, its evaluation."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from inputs import VOCABULARY, opened
from shared import JOBS, SIZE, answers, flops_of, matmul_peak, parser, serve

from xling_jax.data.batches import Batches, BatchPlan, blank, examples_of_step, stream
from xling_jax.doors.run import call_one_by_one
from xling_jax.experiment import Experiment, Stage, Target
from xling_jax.heap import keep_memory, large_kept
from xling_jax.models.build import head_spec
from xling_jax.optim import Optim
from xling_jax.partitioning.feed import batch_multiple
from xling_jax.stages.programs import Programs, fast_products
from xling_jax.stages.workload import text_lengths
from xling_jax.tables.models import model


def main() -> None:
    """Serves turns."""
    out = answers()

    keep_memory()
    call_one_by_one()
    asked = parser().parse_args()
    job, row = JOBS[asked.job], model(asked.model)
    cells, vocab = opened(asked.folder, asked.job), row.vocab or VOCABULARY
    make_turn = {"train": training, "infer": inference}[job.does]
    turn = make_turn(asked, job, row, cells, vocab)
    device = jax.devices()[0]
    size = SIZE if device.platform != "cpu" else SIZE // 2
    square = jnp.ones((size, size), asked.dtype)
    options = fast_products() if device.platform == "cpu" else None
    product = jax.jit(lambda a: a @ a, compiler_options=options)
    stats = device.memory_stats() or {}
    about = {
        "what": f"jax {jax.__version__} on {device.device_kind}",
        "matmul_peak_flops": matmul_peak(lambda: jax.block_until_ready(product(square)), size),
    }
    memory = (lambda: device.memory_stats()["peak_bytes_in_use"]) if "peak_bytes_in_use" in stats else None
    flops = flops_of(row.layers, row.width, row.mlp, 3 if job.does == "train" else 1)
    with large_kept():  # as training and evaluation do
        serve(out, about, turn, flops, memory)


def programs_of(asked, job, row, cells, vocab):
    """Returns (programs, head, target) of a job."""

    cell = cells[0].cell
    stage = Stage(data=(str(cell),), max_length=job.max_length, buckets=job.buckets or (job.max_length,))
    target = Target(cell.task, stage, max_length=job.max_length)
    targets = {"target": target} if job.does == "infer" else {}
    experiment = Experiment(model=row.name, dtype=asked.dtype, eval_batch_size=asked.eval_batch, targets=targets)
    return Programs(experiment, row, vocab, vocab - 1), head_spec(cell.row), target


def training(asked, job, row, cells, vocab):
    """Returns a turn of some steps."""

    programs, head, _ = programs_of(asked, job, row, cells, vocab)
    packing, optim = asked.arm == "packed", Optim(learning_rate=1e-5)
    plan = BatchPlan(asked.batch, 0, (job.max_length,) if packing else job.buckets, packing)
    features = sum(cell.features for cell in cells)
    steps, epoch = (asked.turns + 1) * asked.steps, features / examples_of_step(cells, [1.0] * len(cells), plan)
    steps = math.ceil(math.ceil(steps / epoch) * epoch)  # whole epochs, so that no batch is a rest
    multiple = batch_multiple(programs.mesh)
    source = Batches(cells, rates=[1.0] * len(cells), plan=plan, steps=steps, multiple=multiple)
    batches, held = stream(source), {"state": programs.state_maker((head,), optim)[0](0)}
    step = programs.step((head,), head, optim, 1)
    for length in () if packing else job.buckets:  # a turn should not compile
        empty = programs.place_share(blank(cells[0].table, asked.batch, length))
        held["state"], _ = step(held["state"], empty, 0.0, 0)

    def turn():
        lengths, places, metrics = [], 0, None
        for _, batch in itertools.islice(batches, asked.steps):
            lengths += text_lengths(batch).tolist()
            places += batch["input_ids"].size
            held["state"], metrics = step(held["state"], programs.place_share(batch), 1e-5, 0)
        jax.block_until_ready((held["state"], metrics))
        return lengths, places

    return turn


def inference(asked, job, row, cells, vocab):
    """Returns a turn through all texts of all cells: from prepared texts to answers on the host.

    The first turn, which warms up, is through one cell.
    """
    programs, head, target = programs_of(asked, job, row, cells, vocab)
    output = programs.output((head,), target)
    make = programs.maker((head,), Optim())
    params = programs.laid_out(jax.jit(lambda: nn.meta.unbox(make(0, {})["params"]))())

    def batches_of(some):
        return [batch.arrays for batch in output.batches(((None, cell) for cell in some), asked.eval_batch)]

    batches = {count: batches_of(cells[:count]) for count in (1, len(cells))}
    places = {count: sum(batch["input_ids"].size for batch in found) for count, found in batches.items()}
    for batch in {batch["input_ids"].shape: batch for batch in batches[len(cells)]}.values():  # a turn does not compile
        jax.block_until_ready(output(params, output.send(batch)))
    del batches
    turns = itertools.count()

    def turn():
        some = cells if next(turns) else cells[:1]
        for _ in output.answers(params, some, asked.eval_batch):
            pass
        return [int(length) for cell in some for length in cell.lengths_N], places[len(some)]

    return turn


if __name__ == "__main__":
    main()
