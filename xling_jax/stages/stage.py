"""One stage of a plan: start, train, evaluate, record, mark done."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from xling_jax.data.batches import Batches, BatchPlan, examples_of_step, stream
from xling_jax.data.prepare import Prepared
from xling_jax.data.tokenizers.base import NONE
from xling_jax.errors import CheckpointError, DataError, Interrupted
from xling_jax.eval.suite import Evaluator, Setting, protocol_of, result_rows, write_text
from xling_jax.experiment import Target
from xling_jax.models.card import CHECKPOINTS, NAME, Card, as_text
from xling_jax.models.lora import merge_lora
from xling_jax.optim import Optim
from xling_jax.partitioning.feed import batch_multiple
from xling_jax.results import Result, read_results, write_results
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import Node, Plan
from xling_jax.stages.programs import Programs
from xling_jax.stages.record import stage_folder
from xling_jax.stages.start import check_labels
from xling_jax.stages.transfer import merge, plan_loading, source_tree, with_adapters
from xling_jax.tables.prompts import HEADS
from xling_jax.tables.tasks import TASKS, Cell, tasks_of_head
from xling_jax.train.checkpoint import PARAMS, Checkpoints
from xling_jax.train.loop import train
from xling_jax.train.optimizer import learning_rate
from xling_jax.train.partition import count
from xling_jax.train.writer import Display, open_metrics, write_metrics

POLICY = "last"


def unevaluated(workdir: pathlib.Path, plan: Plan, node: Node) -> list[tuple[str, list[Cell]]]:
    """Returns (target, its cells that have no result yet) of a stage."""
    folder = stage_folder(workdir, node.folder)
    path = folder / "results.jsonl"
    done = {(r.task, r.split, r.language, r.protocol) for r in read_results(path)} if path.exists() else set()

    def there(cell: Cell, target: Target) -> bool:
        if cell.withheld:  # predictions are all there is
            return any((folder / "predictions" / cell.task).glob(f"{cell.split}-{cell.language}.items.jsonl"))
        return (cell.task, cell.split, cell.language, protocol_of(target, plan.form)) in done

    missing = []
    for name in plan.targets_of(node):
        target = plan.experiment.targets[name]
        left = [cell for cell in target.cells() if not there(cell, target)]
        if left:
            missing.append((name, left))
    return missing


def is_done(workdir: pathlib.Path, plan: Plan, node: Node) -> bool:
    """Whether nothing of a stage is left to do."""
    return (stage_folder(workdir, node.folder) / "DONE").exists() and not unevaluated(workdir, plan, node)


@dataclasses.dataclass(frozen=True)
class StageRunner:
    """Runs stages of one plan in one folder. Several threads may run several stages with it."""

    plan: Plan
    workdir: pathlib.Path
    cells: Cells
    programs: Programs
    display: Display
    alone: bool  # no other stage runs at the same time

    def __call__(self, node: Node, stop_asked: Callable[[], bool]) -> None:
        """Does what is left of a stage. Raises an XlingError; what was saved before stays."""
        folder = stage_folder(self.workdir, node.folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.json", json.dumps(self._identity(node), indent=1, sort_keys=True) + "\n")
        if node.imported:
            self._evaluate_imported(node, stop_asked)
            return
        write_text(folder / NAME, as_text(self._card(node)))
        checkpoints = Checkpoints(folder / CHECKPOINTS, background=self.alone)
        try:
            state, steps = self._train(node, checkpoints, stop_asked)
            # What is evaluated is what is handed over and exported: adapters merged.
            self._evaluate(node, merge_lora(state["params"]), steps, stop_asked)
        finally:
            checkpoints.close()
        write_text(folder / "DONE", "")

    def _identity(self, node: Node) -> dict[str, Any]:
        return {
            "stage": dataclasses.asdict(node.stage),
            "seed": node.seed,
            "parent": node.parent.folder if node.parent else None,
            "hash": node.hash,
            "model": self.plan.row.name,
            "vocabulary": self.plan.vocabulary,
            "seen_languages": node.seen_languages(),
        }

    def _card(self, node: Node) -> Card:
        """Returns what the stage's checkpoint is of, for whoever reads it without the experiment."""
        vocabulary, tokenizer = self.cells.vocabulary_card(), self.cells.tokenizer()
        row = dataclasses.replace(self.plan.row, vocab=self.plan.row.vocab or vocabulary.size)
        words = {head.name: next((TASKS[name].labels for name in tasks_of_head(head.name)), ()) for head in node.heads}
        labels = {name: labels for name, labels in words.items() if labels}
        ids = {name: getattr(tokenizer, name) for name in ("bos", "eos", "pad")}
        special = {f"{name}_token_id": number for name, number in ids.items() if number != NONE}
        return Card(row, node.heads, labels, vocabulary, special, {"stage": node.folder})

    def _evaluate_imported(self, node: Node, stop_asked: Callable[[], bool]) -> None:
        """Evaluates a checkpoint from elsewhere as it is, if a target asks for that."""
        folder = stage_folder(self.workdir, node.folder)
        if unevaluated(self.workdir, self.plan, node):
            _, abstract = self.programs.state_maker(node.heads, Optim())
            self._evaluate(node, self._read_parent(node, abstract["params"]), 0, stop_asked)
        else:
            write_results(folder / "results.jsonl", [])
        write_text(folder / "DONE", "")

    def _prepared(self, node: Node) -> list[Prepared]:
        """Returns the stage's cells; DataError if one has fewer examples than its share."""
        parts = node.stage.parts(self.plan.experiment.limits, self.plan.form)
        prepared = [self.cells.prepare(part) for part in parts]
        for part, cell in zip(parts, prepared, strict=True):
            if node.stage.examples and part.cell in node.stage.counted() and cell.examples < part.count:
                raise DataError(
                    f"Stage '{node.name}' wants {part.count} examples of {part.cell} from number {part.first} on, "
                    f"there are {cell.examples}.\nAllowed: as many as there are; lower `examples` of the stage."
                )
        return prepared

    def _train(self, node: Node, checkpoints: Checkpoints, stop_asked: Callable[[], bool]) -> tuple[Any, int]:
        """Returns (the last state, its step), training what is left to train."""
        stage = node.stage
        prepared = self._prepared(node)
        features = [cell.features for cell in prepared]
        rates = stage.rates(features)
        plan = BatchPlan(stage.batch_size, node.seed, stage.lengths(), stage.packing)
        steps = stage.length(features, examples_of_step(prepared, rates, plan))
        start, state = self._start(node, checkpoints)
        if start >= steps:
            return state, steps
        source = Batches(
            prepared,
            rates=rates,
            plan=plan,
            steps=steps,
            multiple=batch_multiple(self.programs.mesh) * stage.accumulate,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )
        metrics_path = stage_folder(self.workdir, node.folder) / "metrics.jsonl"
        with open_metrics(metrics_path, start) as metrics, self.display.bar(f"  {node.name}", steps, start) as bar:
            counts = {f"parameters/{name}": number for name, number in self._counts(node).items()}

            def log(step, values):
                write_metrics(metrics, step, values | counts)
                loss = next(value for name, value in values.items() if name.endswith("/loss"))
                bar.advance(step, f"loss {loss:.3f}")

            state = train(
                state,
                steps,
                stream(source, start, readers=self.plan.experiment.readers),
                self._step_fns(node),
                start=start,
                rate=lambda step: learning_rate(stage.optim, step, steps),
                place=self.programs.place,
                log_every=stage.log_every,
                save_every=stage.save_every,
                log=log,
                save=checkpoints.save,
                stop_asked=stop_asked,
                identify=source.identify,
            )
        return state, steps

    def _step_fns(self, node: Node) -> dict[str, Callable]:
        def bind(head):
            step = self.programs.step(node.heads, head, node.stage.optim, node.stage.accumulate)
            return lambda state, batch, rate: step(state, batch, rate, node.seed)

        return {head.name if self.plan.form == HEADS else "text": bind(head) for head in node.heads}

    def _counts(self, node: Node) -> dict[str, int]:
        """Returns the numbers of parameters: those that the stage trains, and all."""
        _, abstract = self.programs.state_maker(node.heads, node.stage.optim)
        leaves = self.programs.leaves(node.heads, node.stage.optim)
        return {"trained": count(abstract["params"], leaves), "all": count(abstract["params"])}

    def _start(self, node: Node, checkpoints: Checkpoints) -> tuple[int, Any]:
        """Returns (step, state) of the newest checkpoint, or of step 0 with what the hand-over takes."""
        make, abstract = self.programs.state_maker(node.heads, node.stage.optim)
        step = checkpoints.latest()
        if step is not None:
            self.display.say(f"  {node.name} goes on from its checkpoint at step {step}")
            return step, checkpoints.restore(step, abstract)
        state = make(node.seed)
        counts = self._counts(node)
        if counts["trained"] < counts["all"]:
            self.display.say(f"  {node.name} trains {counts['trained']:,} of {counts['all']:,} parameters")
        if node.parent is None:
            self.display.say(f"  {node.name} starts from random parameters")
            return 0, state
        loading = plan_loading(node.stage.handover, node.heads, node.parent.heads)
        if node.parent.imported and self.plan.start:
            check_labels(self.plan.start, loading.loaded, node.heads)
        self.display.say(f"  {node.name} from {node.parent.folder}: {loading}")
        _, plain = self.programs.state_maker(node.heads, Optim())
        read = self._read_parent(node.parent, source_tree(loading, plain["params"]))
        return 0, state | {"params": merge(loading, state["params"], read)}

    def _read_parent(self, parent: Node, wanted: Any) -> Any:
        """Returns parameters of a stage's last checkpoint or of an imported one, merged with adapters beside them."""
        start = self.plan.start
        folder = start.folder if start and parent.imported else stage_folder(self.workdir, parent.folder)
        checkpoints = Checkpoints(folder / CHECKPOINTS, background=self.alone)
        try:
            step = checkpoints.latest()
            if step is None:
                raise CheckpointError(
                    f"Stage {parent.folder} is marked done, and {folder} has no checkpoint.\n"
                    f"Delete {folder}; the next run trains it again."
                )
            shapes = checkpoints.meta(step)[PARAMS]["shapes"]
            return merge_lora(checkpoints.restore_params(step, with_adapters(wanted, shapes)))
        finally:
            checkpoints.close()

    def _evaluator(self, node: Node, params: Any, target: Target) -> Evaluator:
        """Returns the evaluator of a target on a stage's parameters."""
        function = self.programs.output(node.heads, target)
        how: dict[str, Any] = {"probabilities": self.plan.experiment.probabilities, "form": self.plan.form}
        setting = Setting(target, self.programs.mesh, decode=self.cells.tokenizer().decode, **how)
        return Evaluator(
            setting,
            lambda batch: function(params, batch),
            self.programs.place,
            lambda cell: self.cells.open(cell, target),
        )

    def _evaluate(self, node: Node, params: Any, step: int, stop_asked: Callable[[], bool]) -> None:
        """Evaluates what has no result yet. Results are written cell by cell; Interrupted when asked to stop."""
        folder = stage_folder(self.workdir, node.folder)
        path = folder / "results.jsonl"
        rows: list[Result] = list(read_results(path)) if path.exists() else []
        stage = {"seed": node.seed, "stage": node.name, "stage_hash": node.hash, "step": step, "policy": POLICY}
        for name, cells in unevaluated(self.workdir, self.plan, node):
            target = self.plan.experiment.targets[name]
            evaluate = self._evaluator(node, params, target)
            with self.display.bar(f"  {node.name} evaluates {name}", len(cells), unit="languages") as bar:
                for number, cell in enumerate(cells, start=1):
                    if stop_asked():
                        raise Interrupted(f"Stopped before {cell}.\nRun the same command again to go on.")
                    values, opened = evaluate(cell, folder / "predictions")
                    rows += result_rows(values, opened, target, stage, self.plan.form)
                    write_results(path, rows)
                    bar.advance(number, str(cell))
        if not path.exists():
            write_results(path, rows)
