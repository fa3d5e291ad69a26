"""The programs of an experiment on a slice, divided in some way: the figures of each, compiled or estimated."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding

from xling_jax.errors import ConfigError
from xling_jax.experiment import Optim
from xling_jax.models.build import HeadSpec
from xling_jax.partitioning.feed import BATCH_SPEC, batch_multiple
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.partitioning.place import shardings_of
from xling_jax.partitioning.rules import MESH_AXES
from xling_jax.planner.compiled import FAST, FULL, compile_for
from xling_jax.planner.estimate import Split, estimate
from xling_jax.planner.flops import count_flops
from xling_jax.planner.roofline import COMPILED, ESTIMATED, Figures
from xling_jax.planner.work import Asking, Batch, Training
from xling_jax.stages.plan import Plan
from xling_jax.stages.programs import Programs
from xling_jax.stages.words import Words
from xling_jax.tables.meshes import Mesh, mesh
from xling_jax.tables.slices import Slice

BLANK = 16  # tokens of a prompt without content, about


def programs_of(plan: Plan, on: Any) -> Programs:
    """Returns the programs of a plan on a mesh. The vocabulary has as many pieces as the model's row says."""
    row = plan.row
    words = Words(row.eos, max(row.pad, 0), lambda task, form: np.zeros(BLANK, np.int32))
    return Programs(plan.experiment, row, row.vocab, row.vocab - 1, words, on=on)


def sizes_on(row: Mesh, chips: int) -> tuple[int, int, int]:
    """Returns the sizes of a mesh on so many chips. Raises ConfigError if it is one of another number."""
    sizes = [row.data, row.fsdp, row.tensor]
    if 0 in sizes:
        fixed = int(np.prod([size for size in sizes if size]))
        sizes[sizes.index(0)] = chips // fixed
    if int(np.prod(sizes)) != chips:
        raise ConfigError(
            f"Mesh '{row.name}' is {row.data} x {row.fsdp} x {row.tensor} chips, and the slice has {chips}.\n"
            "Allowed: a mesh of as many; or one with a 0, which is as many as there are.\n"
            "Set it with --config.mesh=DATAxFSDPxTENSOR, or let --search find one."
        )
    return sizes[0], sizes[1], sizes[2]


class Draft:
    """A plan on a slice. Figures are made once for each program, however many stages have it."""

    def __init__(
        self,
        plan: Plan,
        where: Slice,
        devices: Sequence[Any] | None,
        *,
        cache: pathlib.Path | None = None,
        counted: dict[tuple, Any] | None = None,
    ):
        """Compiles nothing yet.

        Args:
          plan: with the mesh, the strategy and the remat to plan for.
          where: the slice.
          devices: its devices; None: everything is estimated.
          cache: a folder for what compilers said.
          counted: operations and sizes of programs, shared by drafts that differ in how they are divided.
        """
        self.plan, self.where = plan, where
        self.sizes = sizes_on(mesh(plan.experiment.mesh), where.chips)
        self._devices, self._cache = devices, cache
        self._counted = {} if counted is None else counted
        self._known: dict[tuple, Figures] = {}
        self._off = {True: 1.0, False: 1.0}  # by what estimates of training, and of asking, have to be multiplied
        self._here = functools.cache(lambda: programs_of(plan, build_mesh(Mesh("one", 1), jax.devices("cpu")[:1])))
        self._there = functools.cache(
            lambda: programs_of(plan, build_mesh(Mesh("slice", *self.sizes), list(devices or ())))
        )

    def split(self, accumulate: int = 1) -> Split:
        return Split(*self.sizes, self.plan.experiment.strategy, self.plan.experiment.remat, accumulate)

    def check(self, batch: Batch, accumulate: int, what: str) -> None:
        """Raises ConfigError if the mesh does not divide a batch."""
        devices = self.sizes[0] * self.sizes[1]
        if batch.rows % (devices * accumulate):
            parts = f" in {accumulate} parts" if accumulate > 1 else ""
            raise ConfigError(
                f"{what} has batches of {batch.rows}{parts}, and on {self.where.name} the mesh "
                f"{'x'.join(map(str, self.sizes))} splits a batch over {devices} chips.\n"
                f"Allowed: a multiple of {devices * accumulate}; or a mesh with fewer chips of data and fsdp and more "
                "of tensor, --config.mesh=DATAxFSDPxTENSOR with strategy 'fsdp_tensor', which --search finds."
            )

    def figures(self, one: Training | Asking, effort: str = "") -> Figures:
        """Returns the figures of a training step or of a batch of an evaluation."""
        return self.training(one, effort) if isinstance(one, Training) else self.asking(one, effort)

    def training(self, one: Training, effort: str = "") -> Figures:
        """Returns the figures of a training step: compiled if an effort is given and there is a compiler."""
        stage = one.stage
        if not stage.packing:
            self.check(one.batch, stage.accumulate, f"Stage '{one.name}'")
        optim = dataclasses.replace(stage.optim, learning_rate=0.0, warmup=0.0, schedule="constant")  # arguments

        def traced(programs: Programs):
            _, state = programs.state_maker(one.heads, optim)
            step = programs.step(one.heads, one.head, optim, stage.accumulate)
            return step.trace(state, _shapes(one.batch, programs), 0.0, 0)

        key = (one.head, one.batch)  # micro-batches change no product
        subject = _Subject(key, one.heads, optim, traced, one.batch, one.head.kind, stage.accumulate)
        return self._figures(subject, effort)

    def asking(self, one: Asking, effort: str = "") -> Figures:
        """Returns the figures of a batch of an evaluation; compiled as a training step is.

        One program reads the texts of all targets; its rows are filled up to what a mesh divides.
        """
        if one.target.speaks:
            self.check(one.batch, 1, f"The evaluation of '{one.name}'")

        def traced(programs: Programs):
            _, state = programs.state_maker(one.heads, Optim())
            output = programs.output(one.heads, one.target)
            return output.program.trace(state["params"], _shapes(one.batch, programs))

        loops = one.target.answers() if one.target.speaks else 1
        how = dataclasses.replace(one.target, stage=None, languages="", split="") if one.target.speaks else "texts"
        key = (how, one.batch)
        return self._figures(_Subject(key, one.heads, Optim(), traced, one.batch, one.kind, loops=loops), effort)

    def _figures(self, subject: "_Subject", effort: str) -> Figures:
        """Returns the figures of a program; what was compiled once stands in for its estimate.

        Where a program was compiled, the memory of others like it is estimated by how far the estimate was off.
        """
        effort = effort if self._devices is not None else ""
        key = (subject.heads, subject.optim, *subject.key, subject.accumulate)
        for known in (FULL, effort) if effort else (FULL, FAST):
            if (*key, known) in self._known:
                return self._known[*key, known]
        if (*key, "") not in self._known:
            self._known[*key, ""] = self._estimated(subject)
        guess, training = self._known[*key, ""], subject.accumulate > 0
        if effort:
            made = self._known[*key, effort] = self._compiled(subject, effort)
            self._off[training] = made.peak / guess.peak
            return made
        peak = round(guess.peak * self._off[training])
        return dataclasses.replace(guess, peak=peak, fits=peak <= self.where.chip.memory)

    def _estimated(self, subject: "_Subject") -> Figures:
        parameters, held, optimizer = self._held(subject)
        guess = estimate(
            self.plan.experiment,
            self.plan.row,
            subject.batch,
            self.split(max(subject.accumulate, 1)),
            kind=subject.kind,
            parameters=parameters,
            held=held,
            optimizer=optimizer,
            training=subject.accumulate > 0,
        )
        fits = guess.peak <= self.where.chip.memory
        parts = dataclasses.asdict(guess)
        return Figures(ESTIMATED, "", fits, **parts, **self._common(subject))

    def _compiled(self, subject: "_Subject", effort: str) -> Figures:
        lowered = subject.traced(self._there()).lower()
        said = compile_for(lowered, self.where, effort=effort, loops=subject.loops, cache=self._cache)
        parts = dataclasses.asdict(said)
        seconds = parts.pop("seconds")
        return Figures(COMPILED, effort, compile_seconds=seconds, **parts, **self._common(subject))

    def _common(self, subject: "_Subject") -> dict[str, int]:
        _, held, optimizer = self._held(subject)
        flops = self._flops(subject)
        return {"parameters": held, "optimizer": optimizer, "flops": flops, "tokens": subject.batch.tokens}

    def _flops(self, subject: "_Subject") -> int:
        """Returns the operations of a program, which how it is divided does not change."""
        key = ("flops", subject.heads, subject.optim, *subject.key, self.plan.experiment.remat)
        if key not in self._counted:
            self._counted[key] = count_flops(subject.traced(self._here()).jaxpr, subject.loops)
        return self._counted[key]

    def _held(self, subject: "_Subject") -> tuple[int, int, int]:
        """Returns (the number of parameters, bytes of them on each chip, bytes of the optimiser's state)."""
        boxed_key = ("state", subject.heads, subject.optim)
        if boxed_key not in self._counted:
            make = self._here().maker(subject.heads, subject.optim)
            self._counted[boxed_key] = jax.eval_shape(make, np.uint32(0), {})
        key, strategy = ("held", *boxed_key, self.sizes), self.plan.experiment.strategy
        if (*key, strategy) not in self._counted:
            boxed = self._counted[boxed_key]
            mesh_of_sizes: Any = AbstractMesh(self.sizes, MESH_AXES)  # no device is asked for
            shardings = shardings_of(boxed, mesh_of_sizes, strategy)
            shapes = nn.meta.unbox(boxed)
            held, optimizer = (_bytes(shapes[name], shardings[name]) for name in ("params", "opt"))
            number = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
            self._counted[*key, strategy] = number, held, optimizer
        number, held, optimizer = self._counted[*key, strategy]
        return number, held, optimizer if subject.accumulate else 0


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A program: what decides it, whose state it takes, and what traces it with the programs on some mesh.

    `kind` of the head that is trained or the task that is asked. `accumulate`: micro-batches; 0 where nothing is
    trained. `loops`: how often a loop runs whose end is not known ahead.
    """

    key: tuple
    heads: tuple[HeadSpec, ...]
    optim: Optim
    traced: Callable[[Programs], Any]
    batch: Batch
    kind: str
    accumulate: int = 0
    loops: int = 1


def _bytes(shapes: Any, shardings: Any) -> int:
    """Returns the bytes of a tree of shapes on each device."""
    pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    return sum(math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, sharding in pairs)


def _shapes(batch: Batch, programs: Programs) -> dict[str, Any]:
    """Returns the arrays of a batch as shapes with shardings; packed ones are filled up as training fills them up."""
    sharding = NamedSharding(programs.mesh, BATCH_SPEC)
    rows = -(-batch.rows // batch_multiple(programs.mesh)) * batch_multiple(programs.mesh)
    return {
        name: jax.ShapeDtypeStruct((rows, *shape[1:]), dtype, sharding=sharding) for name, shape, dtype in batch.arrays
    }
