"""Compiled functions of a run, each made once and shared by every stage that needs the same one."""

import contextlib
import dataclasses
import functools
import platform
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from xling_jax.data.batches import EvalBatch, in_order
from xling_jax.data.prepare import Prepared
from xling_jax.data.texts import in_rows, rows_of
from xling_jax.eval.predict import Outputs, predict
from xling_jax.experiment import Experiment, Optim, Target
from xling_jax.heap import large_kept, set_apart
from xling_jax.models.answers import joined
from xling_jax.models.build import HeadSpec, build_config, build_model, init_params
from xling_jax.models.encoder import EncoderConfig
from xling_jax.models.layers import ROWS, Unstacked
from xling_jax.models.rates import relative_rates
from xling_jax.models.seq2seq import Seq2SeqConfig
from xling_jax.partitioning.feed import batch_multiple, feed, fetched, put, spread
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.partitioning.place import creator, fits, shardings_of
from xling_jax.partitioning.trials import at_once, sharding_of_batches, sharding_of_states
from xling_jax.stages.reading import Ask, asks_of, of_texts, sent
from xling_jax.stages.transfer import BODY, head_part, merge
from xling_jax.stages.words import Words, make_output_fn
from xling_jax.tables.meshes import mesh
from xling_jax.tables.models import Model as ModelRow
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.partition import Leaf, Leaves, take
from xling_jax.train.step import init_state, train_step

UNROLL_FROM = 512  # width of layers that are unrolled on a CPU, where a loop copies their parameters and gradients
# On x86 Eigen's products of many rows are faster than YNNPACK's, which XLA prefers; attention in one piece stays there.
EIGEN = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def fast_products() -> dict[str, str] | None:
    """Returns options for programs of a CPU that are mostly large products, None where its compiler has none."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        jax.jit(lambda: 0, compiler_options=EIGEN).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version, without this option
        return None
    return EIGEN


@jax.jit
def _taken_apart(stacked: Any) -> Any:
    """Returns parameters of all layers, each layer's by itself; one program, however many targets are evaluated."""
    return jax.tree.map(Unstacked.of, stacked)


class Program:
    """A function that is always compiled and called on the mesh, by one thread the first time.

    `given` makes its arguments of those of the caller.
    """

    def __init__(self, function: Any, inside: Callable, given: Callable[..., tuple]):
        """Takes a function of `jax.jit`, and what makes a context of the mesh."""
        self._function, self._inside, self._given = function, inside, given
        self._shapes: set[tuple] = set()
        self._lock = threading.Lock()

    def __call__(self, *arguments):
        given = self._given(*arguments)
        shape = tuple(leaf.shape for leaf in jax.tree.leaves(given[1]))
        with self._inside():
            if shape in self._shapes:
                return self._function(*given)
            with self._lock:
                results = jax.block_until_ready(self._function(*given))
                set_apart()  # for what follows, behind what compiling has left in memory
                self._shapes.add(shape)
            return results

    def trace(self, *arguments) -> Any:
        """Returns the program of arguments, or of shapes with shardings: its `jaxpr`, and `lower()` for a compiler.

        Nothing is run, so the devices of the mesh need not be here.
        """
        with self._inside():
            return self._function.trace(*self._given(*arguments))


@dataclasses.dataclass(frozen=True)
class Output:
    """What answers a target: a program, by its texts, of which the target's answer has a name; or in words.

    Batches are sent by `send`, answered by calling this, and what is fetched of them is made whole by `whole`;
    `answers` does it all. `lengths` are those of rows; `multiple`: what the mesh divides rows by.
    """

    program: Program
    place: Callable
    lengths: tuple[int, ...]
    multiple: int
    name: str = ""

    def __call__(self, params: Any, sent: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        """Returns the answers to what was sent, with a row for each of its rows."""
        answers = self.program(params, sent)
        return answers[self.name] if self.name else answers

    def answers(
        self, params: Any, cells: Iterable[Prepared], size: int, heed: Callable[[float], None] = lambda answered: None
    ) -> Iterator[Outputs]:
        """Yields what is answered of each cell, in batches of about so many examples; for `heed` see `Evaluator`."""
        texts = lambda cell: cell.texts if self.name else ()  # noqa: E731 - a feature is answered as one in words
        given = ((Outputs(cell.example_N, cell.examples, texts(cell)), cell) for cell in cells)
        batches = _heeded(self.batches(given, size), heed)
        return predict(lambda sent: self(params, sent), batches, self.send, self.whole)

    def batches(self, cells: Iterable[tuple[Any, Prepared]], size: int) -> Iterator[EvalBatch]:
        """Yields batches of (key, cell), by about so many examples: of their texts, or, in words, of their features."""
        if not self.name:
            return in_order(cells, size, self.lengths)
        return in_rows(cells, {length: rows_of(size, length, self.multiple) for length in self.lengths})

    def send(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, jax.Array]:
        """Returns a batch on the mesh."""
        return self.place(sent(batch) if self.name else batch)

    def whole(self, answers: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns answers by the numbers of the batch, with what stands beside them there."""
        return of_texts(answers, batch) if self.name else answers


def _heeded(batches: Iterable[EvalBatch], heed: Callable[[float], None]) -> Iterator[EvalBatch]:
    """Yields batches, whose keys are outputs; tells before each how many of these are answered."""
    answered = 0.0
    for batch in batches:
        heed(answered)
        yield batch
        answered += sum(len(numbers) / outputs.size for outputs, numbers in batch.pieces)


class Programs:
    """The model of an experiment on its mesh: makers of states, steps and outputs."""

    def __init__(
        self,
        experiment: Experiment,
        row: ModelRow,
        vocab: int,
        mask_id: int,
        words: Words | None = None,
        *,
        on: Any = None,
    ):
        """Compiles nothing yet.

        Args:
          experiment: says the mesh, the strategy and the dtype.
          row: of the model.
          vocab: pieces of the vocabulary.
          mask_id: of them, the one that masks.
          words: of an experiment whose answers are said in words.
          on: a mesh, maybe of devices that are not here; None: the experiment's, of all that are.
        """
        self.mesh = build_mesh(mesh(experiment.mesh)) if on is None else on
        self._strategy = experiment.strategy
        self._config = build_config(row, vocab, experiment.dtype, experiment.remat)
        self._on_cpu = self.mesh.devices.flat[0].platform == "cpu"
        self._unroll = self._on_cpu and row.width >= UNROLL_FROM
        self._apart = self._unroll and isinstance(self._config, EncoderConfig)
        self._mask_id = mask_id
        self._words = words
        self.leaves = functools.cache(self._leaves)
        self.state_maker = functools.cache(self._state_maker)
        self.step = functools.cache(self._step)
        self.steps_at_once = functools.cache(self._steps_at_once)
        self._asks, self._lengths = asks_of(experiment), experiment.lengths_of
        self._read = functools.cache(self._reading)
        self._in_words = functools.cache(self._speaking)

    def output(self, heads: tuple[HeadSpec, ...], target: Target) -> "Output":
        """Returns what answers a target. Stages, splits and languages change nothing that is compiled."""
        how = self.place, self._lengths(target), batch_multiple(self.mesh)
        if target.speaks:
            asked = Target(target.task, prompts=target.prompts, protocol=target.protocol)
            return Output(self._in_words(heads, asked), *how)
        ask = Ask.of(target)
        assert ask.head is None or ask.head in heads, f"no head '{ask}': from_config lets no such target pass"
        asks = self._asks if ask in self._asks else (ask,)
        return Output(self._read(asks), *how, str(ask))

    def laid_out(self, params: Any) -> Any:
        """Returns parameters as evaluation reads them fastest: each layer's by itself where a program is unrolled."""
        if not self._apart:
            return params
        with use_mesh(self.mesh, self._strategy):
            layers = _taken_apart(params[BODY]["layers"])
        return params | {BODY: params[BODY] | {"layers": layers}}

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns a batch that every host has whole as global arrays."""
        return spread(batch, self.mesh)

    def place_share(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns a batch of which each host has its share as global arrays."""
        return feed(batch, self.mesh)

    def keeping(self) -> contextlib.AbstractContextManager:
        """Returns what keeps the memory of programs that are run again and again, where the host's is theirs."""
        return large_kept() if self._on_cpu else contextlib.nullcontext()

    def _program(self, function: Callable, given: Callable[..., tuple], **how: Any) -> Program:
        return Program(jax.jit(function, **how), lambda: use_mesh(self.mesh, self._strategy), given)

    def _model(self, heads: tuple[HeadSpec, ...], optim: Optim) -> Any:
        how = {"lora": optim.lora, "frozen": optim.freeze_layers, "unroll": self._unroll}
        return build_model(dataclasses.replace(self._config, **how), heads)

    def _leaves(self, heads: tuple[HeadSpec, ...], optim: Optim) -> Leaves:
        """Returns what training is told of each parameter."""
        boxed = jax.eval_shape(lambda: init_params(self._model(heads, optim), jax.random.key(0)))
        rates = relative_rates(nn.meta.unbox(boxed), self._config, optim, heads)
        names = {path: tuple(box.names) for path, box in flatten_dict(boxed, sep="/").items()}
        return {path: Leaf(names[path], rates[path]) for path in names}

    def maker(self, heads: tuple[HeadSpec, ...], optim: Optim) -> Callable:
        """Returns (seed, parameters that are given) -> a state, boxed with the names of axes; pure."""
        leaves = self.leaves(heads, optim)
        optimizer = make_optimizer(optim, leaves)

        def make(seed, given):
            fresh = init_params(self._model(heads, optim), jax.random.key(seed))
            return init_state(merge(fresh, given), optimizer, leaves)

        return make

    def _state_maker(
        self, heads: tuple[HeadSpec, ...], optim: Optim, parts: tuple[str, ...] = ()
    ) -> tuple[Callable, Any]:
        """Returns ((seed, parameters that are given) -> state, the state's shapes and shardings).

        `parts` names those that are given, without adapters. They are donated and never drawn, so that a model which
        takes half of the memory can start from another one.
        """
        plain = self.state_maker(heads, Optim())[1]["params"] if parts else {}
        shapes = {part: plain[part] for part in parts}
        make = self.maker(heads, optim)
        made, abstract = creator(make, self.mesh, self._strategy, np.uint32(0), shapes, donate=(1,))
        return lambda seed, given=types.MappingProxyType({}): made(np.uint32(seed), dict(given)), abstract

    def _one_step(
        self, heads: tuple[HeadSpec, ...], head: HeadSpec, optim: Optim, accumulate: int, divide: Callable[[Any], Any]
    ) -> Callable:
        """Returns (state, batch, learning rate, seed) -> (state, metrics), pure; see `train_step` for `divide`."""
        network, leaves = self._model(heads, optim), self.leaves(heads, optim)
        # Where words are looked up and nothing else is done with their embeddings.
        alone = head.kind not in ("lm", "mlm") and not isinstance(self._config, Seq2SeqConfig)
        table = (BODY, "word", "embedding") if alone and optim.name == "adamw" else ()

        def apply(params, dropout_key, batch, rows=None):
            given = {"params": params} | ({ROWS: rows} if rows else {})
            return network.apply(given, head.name, batch, False, rngs={"dropout": dropout_key})

        def step(state, batch, rate, seed):
            return train_step(
                state,
                joined(batch) if head.kind == "lm" else batch,
                rate,
                jax.random.key(seed),
                apply=apply,
                kind=head.kind,
                optimizer=make_optimizer(optim, leaves),
                accumulate=accumulate,
                mask_id=self._mask_id,
                leaves=leaves,
                divide=divide,
                table=table,
            )

        return step

    def _step(self, heads: tuple[HeadSpec, ...], head: HeadSpec, optim: Optim, accumulate: int) -> Program:
        """Returns (state, batch, learning rate, seed) -> (state, metrics). The state is donated."""
        network, leaves = self._model(heads, optim), self.leaves(heads, optim)
        boxed = jax.eval_shape(lambda: take(init_params(network, jax.random.key(0)), leaves))
        trained = shardings_of(boxed, self.mesh, self._strategy)

        def divide(gradient):
            there = jax.tree.map(lambda leaf, sharding: fits(sharding, leaf.shape), gradient, trained)
            return jax.lax.with_sharding_constraint(gradient, there)

        _, abstract = self.state_maker(heads, optim)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)

        def given(state, batch, rate, seed):
            return state, batch, np.float32(rate), np.uint32(seed)

        step = self._one_step(heads, head, optim, accumulate, divide)
        return self._program(step, given, donate_argnums=0, out_shardings=(shardings, None))

    def _steps_at_once(
        self, heads: tuple[HeadSpec, ...], head: HeadSpec, optim: Optim, accumulate: int, count: int
    ) -> Program:
        """Returns `step` of several trainings, on a mesh of data alone: all that is taken and given is stacked.

        See `partitioning/trials.py`. Batches are NumPy's, or shapes with shardings.
        """
        step = self._one_step(heads, head, optim, accumulate, lambda gradient: gradient)
        where, batches = sharding_of_states(self.mesh, count), sharding_of_batches(self.mesh, count)

        def given(state, batch, rates, seeds):
            traced = isinstance(batch["input_ids"], jax.ShapeDtypeStruct)
            return state, batch if traced else put(batch, batches), np.float32(rates), np.uint32(seeds)

        many = at_once(step, self.mesh, count)
        return self._program(many, given, donate_argnums=0, out_shardings=(where, None))

    def _reading(self, asks: tuple[Ask, ...]) -> Program:
        """Returns (params without adapters, texts) -> the answers to all that is asked, by name."""
        heads = tuple(ask.head for ask in asks if ask.head)
        network = build_model(dataclasses.replace(self._config, unroll=self._apart), heads)
        _, plain = self.state_maker(heads, Optim())
        parts = [BODY, *(head_part(head.name) for head in heads)]

        def read(params, texts):
            answers: Any = network.apply({"params": params}, texts, {str(ask): ask.how for ask in asks}, method="read")
            return {str(ask): ask.device(answers[str(ask)]) for ask in asks}

        @functools.cache
        def nothing(part, traced):
            """Returns the parameters of a head that a stage does not have: its answers are read by nobody."""
            if traced:
                return plain["params"][part]
            return jax.tree.map(
                lambda leaf: put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding), plain["params"][part]
            )

        def given(params, texts):
            traced = isinstance(jax.tree.leaves(params)[0], jax.ShapeDtypeStruct)
            return {part: params[part] if part in params else nothing(part, traced) for part in parts}, texts

        options = fast_products() if self._apart else None
        return self._program(read, given, out_shardings=fetched(self.mesh), compiler_options=options)

    def _speaking(self, heads: tuple[HeadSpec, ...], target: Target) -> Program:
        """Returns (params without adapters, batch) -> answers that are ranked or written."""
        words = self._words
        assert words, "a target whose answers are said in words, and nothing to say them with"
        mine = tuple(head for head in heads if head.kind == "lm")
        network = build_model(self._config, mine)
        output = make_output_fn(network, mine[0].name if mine else "", words, target)
        parts = [BODY, *(head_part(head.name) for head in mine)]
        # A head whose matrix is that of the embeddings has no parameters.
        given = lambda params, batch: ({part: params[part] for part in parts if part in params}, batch)  # noqa: E731
        return self._program(output, given, out_shardings=fetched(self.mesh))
