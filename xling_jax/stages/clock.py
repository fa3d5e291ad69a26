"""How fast a trained model answers: WORKDIR/clock/<experiment>.json, measured once, when nothing else runs.

The program is the one that evaluation calls, on the experiment's mesh and in its dtype, with the parameters of the
target's first stage. Batches are those that evaluation makes of the cell: rows of one or two lengths, each of several
texts, as many as are worth so many examples, the last ones filled up with empty rows; in words, a text a row, sorted by
length. What holds for all sizes of a batch stands beside them:

    flops_per_example     by the formula of `flops.py`, without padding; None where it is not counted
    parameter_bytes       of all parameters of the checkpoint, as they are held, wherever their parts lie

Each is measured in passes over all batches, after one that is not measured; numbers are the median pass, and its
`_range` the lowest and the highest one:

    compile_seconds       tracing and compiling for all lengths; of the `programs`, so many as `from_cache` says were
                          read from the compilation cache instead
    latency_ms            of a batch that is on the devices already, until its answers are there; nothing else is under
                          way. The mean of a pass
    latency_ms_by_length  the same by the length of rows: the median of all calls
    examples_per_second   batches on the devices already, sent one behind the other, and waited for at the end
    tokens_per_second     tokens of texts, or of prompts, that are read in that time, without padding and what is said
    end_to_end            both, from examples on disk to answers on the host: reading, laying out, sending, fetching, as
                          evaluation does it, the next batch sent before the last one is fetched. Scores are no part
    padding               the share of places that hold no token of an example, in percent
    flops_per_second      of one device; share_of_peak, of what it could do, in percent, None where that is not known
    peak_bytes            the most that the program holds on one device, by its compiler: parameters, batch, answers and
                          what is between
    device_bytes          in use on one device after the passes, if it tells
"""

import dataclasses
import datetime
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from xling_jax import __version__
from xling_jax.checks import check_divided
from xling_jax.data.batches import EvalBatch
from xling_jax.data.prepare import Prepared
from xling_jax.errors import Interrupted
from xling_jax.experiment import Part, Target
from xling_jax.flops import Work, forward
from xling_jax.ledger import CACHED, Ledger, current
from xling_jax.models.lora import merge_lora
from xling_jax.optim import Optim
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import batch_multiple
from xling_jax.partitioning.hosts import write_text
from xling_jax.protocol import resolve
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import SPEAKERS, Node, Plan
from xling_jax.stages.programs import Output, Programs
from xling_jax.stages.record import LIBRARIES, stage_folder
from xling_jax.stages.transfer import with_adapters
from xling_jax.stages.workload import answering, text_lengths
from xling_jax.tables.peaks import peak
from xling_jax.train.checkpoint import PARAMS, open_own
from xling_jax.train.compiling import watch_compiling
from xling_jax.train.writer import Display

FOLDER = "clock"
NO_ANSWERS = np.zeros((0, 0), np.int64)


def clock_path(workdir: pathlib.Path, experiment: str) -> pathlib.Path:
    """Returns where what was measured of an experiment lies."""
    return workdir / FOLDER / f"{experiment}.json"


def is_unclocked(plan: Plan, workdir: pathlib.Path) -> bool:
    """Whether inference is to be measured: it is declared, and not yet so, on such devices, by these versions."""
    if not plan.experiment.clock.target:
        return False
    path, wanted = clock_path(workdir, plan.experiment.name), _conditions(plan)

    def measured() -> bool:
        try:
            return json.loads(path.read_text(encoding="utf-8"))["conditions"] == wanted
        except (OSError, ValueError, KeyError, TypeError):
            return False

    return not hosts.first_does(f"{path} to be measured", measured)


def _conditions(plan: Plan) -> dict[str, Any]:
    """Returns what decides the numbers beside the machine's load: it is measured again where that differs."""
    experiment, device = plan.experiment, jax.devices()[0]
    node = _node(plan)
    found = {
        "clock": dataclasses.asdict(experiment.clock),
        "stage": node.folder,
        "model": plan.row.name,
        "dtype": experiment.dtype,
        "mesh": experiment.mesh,
        "strategy": experiment.strategy,
        "lengths": experiment.lengths_of(experiment.targets[experiment.clock.target]),
        "device_kind": device.device_kind,
        "devices": jax.device_count(),
        "versions": {"xling_jax": __version__} | {name: metadata.version(name) for name in LIBRARIES},
    }
    return json.loads(json.dumps(found))  # tuples are lists there


def _node(plan: Plan) -> Node:
    """Returns the first stage that the target is evaluated on: what is measured is alike for all."""
    return next(each.node for each in plan.evaluations if each.target == plan.experiment.clock.target)


def check_clock(plan: Plan, programs: Programs) -> None:
    """Raises ConfigError if the mesh cannot split the batches; asked before anything is trained."""
    check_divided(plan.experiment, batch_multiple(programs.mesh))


def measure_clock(
    plan: Plan,
    workdir: pathlib.Path,
    cells: Cells,
    programs: Programs,
    *,
    display: Display,
    ledger: Ledger | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
) -> None:
    """Measures how fast a target is answered, if that is to be done (see `is_unclocked`), and writes it down.

    Its stage must be done, and nothing else may run on the machine.

    Args:
      plan: of the experiment.
      workdir: where its stages are.
      cells: opens its cells.
      programs: of the experiment.
      display: what is said.
      ledger: of the run.
      stop_asked: whether to stop; raises Interrupted then, and nothing is written.
    """
    part = plan.experiment.timed()
    if part is None or not is_unclocked(plan, workdir):
        return
    check_clock(plan, programs)
    watch_compiling()
    with (ledger or Ledger()).event("clock"):
        record = _measured(plan, workdir, part, cells, programs, display=display, stop_asked=stop_asked)
    write_text(clock_path(workdir, plan.experiment.name), json.dumps(record, indent=1) + "\n")


def _measured(
    plan: Plan,
    workdir: pathlib.Path,
    part: Part,
    cells: Cells,
    programs: Programs,
    *,
    display: Display,
    stop_asked: Callable[[], bool],
) -> dict[str, Any]:
    experiment, node = plan.experiment, _node(plan)
    target = experiment.targets[experiment.clock.target]
    params = _params(plan, workdir, programs, node)
    prepared = cells.prepare(part)
    kind = SPEAKERS[plan.row.family].kind if target.speaks else ""
    each = forward(plan.row, cells.tokenizer().size, kind)
    output, laid_out = programs.output(node.heads, target), programs.laid_out(params)
    bench = _Bench(output, laid_out, programs, target, prepared, each, kind)
    found = []
    with display.bar(f"inference on {part.cell}", len(experiment.clock.batches), unit="batch sizes") as bar:
        for number, size in enumerate(experiment.clock.batches, start=1):
            if stop_asked():
                raise Interrupted(f"Stopped before batches of {size} were measured.\nRun the same command to go on.")
            found.append(bench(size, experiment.clock.repeats))
            bar.advance(number, f"batches of {size}: {found[-1]['examples_per_second']:.1f}/s")
    leaves, kind = jax.tree.leaves(params), programs.mesh.devices.flat[0].device_kind
    return {
        "experiment": experiment.name,
        "model": plan.row.name,
        "device": f"{programs.mesh.size} x {kind}",
        "date": datetime.date.today().isoformat(),
        "conditions": _conditions(plan),
        "cell": str(part.cell),
        "lengths": list(experiment.lengths_of(target)),
        "answer_length": part.answer_length,
        "examples": prepared.examples,
        "features": prepared.features,
        "repeats": experiment.clock.repeats,
        "parameters": sum(leaf.size for leaf in leaves),
        "parameter_bytes": sum(leaf.nbytes for leaf in leaves),
        "peak_flops": peak(kind),
        "flops_per_example": bench.flops / prepared.examples if bench.flops else None,
        "best_batch": max(found, key=lambda one: one["examples_per_second"])["batch"],
        "batches": found,
    }


def _params(plan: Plan, workdir: pathlib.Path, programs: Programs, node: Node) -> Any:
    """Returns the parameters of a stage's own checkpoint, without adapters, as evaluation has them."""
    _, abstract = programs.state_maker(node.heads, Optim())
    imported = plan.start if node.imported else None
    folder = imported.folder if imported else stage_folder(workdir, node.folder)
    with open_own(folder, imported.step if imported else None, create=False) as (checkpoints, step):
        shapes = checkpoints.meta(step)[PARAMS]["shapes"]
        return merge_lora(checkpoints.restore_params(step, with_adapters(abstract["params"], shapes)))


Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass
class _Bench:
    """One program on one cell, in batches of any size. `flops`: of all examples once, None if they are not counted."""

    output: Output
    params: Any
    programs: Programs
    target: Target
    prepared: Prepared
    each: Work
    kind: str
    flops: float | None = None

    def __call__(self, size: int, repeats: int) -> dict[str, Any]:
        """Returns what is measured of batches of a size, as the head of this file says."""
        batches = [*self.output.batches([(None, self.prepared)], size)]
        placed = [self.output.send(batch.arrays) for batch in batches]
        compiled = self._compile(placed)
        answers = [jax.device_get(self._call(batch)) for batch in placed]  # the first pass, which is not measured
        self.flops = self.flops or self._flops(batches, answers)
        latencies_RxB = np.array([[self._seconds(batch) for batch in placed] for _ in range(repeats)])
        lengths_B = np.array([batch.arrays["input_ids"].shape[-1] for batch in batches])
        sent_R = [self._sent(placed) for _ in range(repeats)]
        whole_R = [self._whole(size) for _ in range(repeats)]
        tokens = sum(int(text_lengths(self._rows(batch)).sum()) for batch in batches)
        places = sum(batch.arrays["input_ids"].size for batch in batches)
        speed = self.flops / float(np.median(sent_R)) / self.programs.mesh.size if self.flops else None
        most = peak(self.programs.mesh.devices.flat[0].device_kind)
        by_length = {length: latencies_RxB[:, lengths_B == length] for length in np.unique(lengths_B).tolist()}
        return {
            "batch": size,
            "batches_of_length": {str(length): found.shape[1] for length, found in by_length.items()},
            "padding": 100 * (1 - tokens / places),
            **compiled,
            **_spread("latency_ms", 1000 * latencies_RxB.mean(axis=1)),
            "latency_ms_by_length": {str(at): _short(1000 * np.median(found)) for at, found in by_length.items()},
            **self._rates(sent_R, tokens),
            "end_to_end": self._rates(whole_R, tokens),
            "flops_per_second": speed,
            "share_of_peak": 100 * speed / most if speed and most else None,
            "device_bytes": self._in_use(),
        }

    def _call(self, batch: Mapping[str, jax.Array]) -> Any:
        return self.output(self.params, batch)

    def _rows(self, batch: EvalBatch) -> Batch:
        """Returns a batch without what fills it up: in words, copies of a text; else there is none."""
        return _first(batch.arrays, batch.count) if self.target.speaks else batch.arrays

    def _seconds(self, batch: Mapping[str, jax.Array]) -> float:
        """Returns how long one batch takes alone."""
        began = time.perf_counter()
        jax.block_until_ready(self._call(batch))
        return time.perf_counter() - began

    def _sent(self, placed: Sequence[Mapping[str, jax.Array]]) -> float:
        """Returns how long all batches take that are sent one behind the other."""
        began = time.perf_counter()
        jax.block_until_ready([self._call(batch) for batch in placed])
        return time.perf_counter() - began

    def _whole(self, size: int) -> float:
        """Returns how long evaluation takes from the disk to answers on the host."""
        began = time.perf_counter()
        (_,) = self.output.answers(self.params, [self.prepared], size)
        return time.perf_counter() - began

    def _rates(self, seconds_R: Sequence[float], tokens: int) -> dict[str, Any]:
        seconds = np.array(seconds_R)
        examples = _spread("examples_per_second", self.prepared.examples / seconds)
        return examples | _spread("tokens_per_second", tokens / seconds)

    def _compile(self, placed: Sequence[Mapping[str, jax.Array]]) -> dict[str, Any]:
        """Returns what compiling for all lengths takes, and the most memory of the programs."""
        each = {tuple(leaf.shape for leaf in jax.tree.leaves(batch)): batch for batch in placed}
        event = current()
        assert event is not None, "compiled outside of an event"
        before, began = event.counts.get(CACHED, 0), time.perf_counter()
        made = [self.output.program.trace(self.params, batch).lower().compile() for batch in each.values()]
        seconds, cached = time.perf_counter() - began, event.counts.get(CACHED, 0) - before
        held = [_held(program.memory_analysis()) for program in made]
        most = max((size for size in held if size is not None), default=None)
        return {"compile_seconds": seconds, "from_cache": cached, "programs": len(made), "peak_bytes": most}

    def _in_use(self) -> int | None:
        """Returns the bytes that are in use on the device that has most; None where devices do not tell."""
        mine = [device for device in self.programs.mesh.devices.flat if device.process_index == jax.process_index()]
        stats = [device.memory_stats() for device in mine]
        return max((stat["bytes_in_use"] for stat in stats if stat and "bytes_in_use" in stat), default=None)

    def _flops(self, batches: Sequence[EvalBatch], answers: Sequence[Batch]) -> float | None:
        """Returns the FLOPs of answering every example once; None where answers are calibrated, which asks twice."""
        protocol = resolve(self.target.protocol, self.prepared.cell.row.kind)
        if self.target.speaks and protocol.answer == "rank" and protocol.score == "calibrated":
            return None
        total = Work()
        for batch, said in zip(batches, answers, strict=True):
            rows = self._rows(batch)
            total += answering(rows, self.kind, self._said(rows, _first(said, batch.count), protocol.beams))
        return total.cost(self.each)

    def _said(self, rows: Batch, said: Batch, beams: int) -> np.ndarray:
        """Returns the tokens BxC of each answer that was ranked or written; a beam is one."""
        if not self.target.speaks:
            return NO_ANSWERS
        if "text" not in said:
            return (rows["answers"] >= 0).sum(axis=-1)
        ranked = 1 if "score" in said else 0  # what was written of a window is read again
        return np.repeat((said["text"] >= 0).sum(axis=-1)[:, None], beams + ranked, axis=1)


def _first(batch: Batch, count: int) -> dict[str, np.ndarray]:
    """Returns the first rows of a batch; the others only fill it up."""
    return {name: np.asarray(array)[:count] for name, array in batch.items()}


def _spread(name: str, values: np.ndarray) -> dict[str, Any]:
    """Returns the median of passes, and the lowest and the highest."""
    return {name: _short(np.median(values)), f"{name}_range": [_short(values.min()), _short(values.max())]}


def _short(value: Any) -> float:
    return float(f"{value:.6g}")


def _held(memory: Any) -> int | None:
    """Returns the most bytes that a program holds on a device, by its compiler; None if that does not say."""
    if memory is None:
        return None
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return kept + memory.temp_size_in_bytes
