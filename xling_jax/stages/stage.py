"""One stage of a plan: start, train, evaluate, record, mark done."""

import dataclasses
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any

from xling_jax.data.batches import Batches, BatchPlan, examples_of_step, stream
from xling_jax.data.prepare import Prepared
from xling_jax.data.tokenizers.base import NONE
from xling_jax.disk import writing
from xling_jax.errors import DamagedError, DataError
from xling_jax.ledger import Ledger
from xling_jax.models.build import HeadSpec
from xling_jax.models.card import NAME, Card, as_text
from xling_jax.models.lora import merge_lora
from xling_jax.optim import Optim
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import batch_multiple, share_of
from xling_jax.partitioning.hosts import write_text
from xling_jax.selection import AVERAGE, COMPARISONS, LAST, Selection, averaged, best, planned
from xling_jax.stages.cells import Cells
from xling_jax.stages.diverged import written_down
from xling_jax.stages.evaluation import (
    Examinee,
    Examiner,
    Question,
    compare,
    known_rows,
    left_of,
    step_questions,
    unevaluated,
    write_rows,
)
from xling_jax.stages.mending import owner, set_aside
from xling_jax.stages.plan import Node, Plan, judge
from xling_jax.stages.programs import Programs
from xling_jax.stages.record import stage_folder
from xling_jax.stages.saving import Saver
from xling_jax.stages.start import check_labels
from xling_jax.stages.telemetry import Asked, Telemetry
from xling_jax.stages.transfer import BODY, head_part, named_here, plan_loading, source_tree, with_adapters
from xling_jax.stages.trials import Solo, Trial
from xling_jax.stages.watching import Watcher, dev_key
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, tasks_of_head
from xling_jax.train.checkpoint import (
    AVERAGED,
    CHECKPOINTS,
    CHOSEN,
    HISTORY,
    PARAMS,
    Checkpoints,
    choose,
    chosen,
    open_own,
    save_alone,
    sweep,
)
from xling_jax.train.loop import train
from xling_jax.train.optimizer import learning_rate
from xling_jax.train.partition import count
from xling_jax.train.writer import Display


def is_done(workdir: pathlib.Path, plan: Plan, node: Node) -> bool:
    """Whether nothing of a stage is left to do."""
    return (stage_folder(workdir, node.folder) / "DONE").is_file() and not unevaluated(workdir, plan, node)


@dataclasses.dataclass(frozen=True)
class StageRunner:
    """Runs stages of one plan in one folder. Several threads may run several stages with it."""

    plan: Plan
    workdir: pathlib.Path
    cells: Cells
    programs: Programs
    display: Display
    alone: bool  # no other stage runs at the same time
    skip_damaged: bool = False  # go back behind a damaged checkpoint
    _mending: Any = dataclasses.field(default_factory=threading.RLock)
    _mended: set[pathlib.Path] = dataclasses.field(default_factory=set)
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    asked: Asked = dataclasses.field(default_factory=Asked)
    before_done: Callable[[Node], None] = lambda node: None  # raises where the stage is not ours any more
    company: Solo | Trial = dataclasses.field(default_factory=Solo)  # with which a stage is trained

    @property
    def telemetry(self) -> Telemetry:
        """Returns what watches the stages."""
        return Telemetry(self.workdir, self.plan, self.display.say, self.ledger, self.asked, self.company.beside)

    def within(self, company: Solo | Trial, node: Node, stop_asked: Callable[[], bool]) -> None:
        """Does what is left of a stage, in company or not."""
        with company:
            dataclasses.replace(self, company=company)(node, stop_asked)

    def __call__(self, node: Node, stop_asked: Callable[[], bool]) -> None:
        """Does what is left of a stage. Raises an XlingError; what was saved before stays."""
        try:
            self._run(node, stop_asked)
        except DamagedError as error:
            if not self.skip_damaged:
                raise
            with self._mending:
                self._mend(error, node, stop_asked)
            self(node, stop_asked)
        hosts.meet(f"the end of {node.folder}")  # where the next stage reads what the first host has written

    def _mend(self, error: DamagedError, asking: Node, stop_asked: Callable[[], bool]) -> None:
        """Sets a damaged checkpoint aside, and makes it again if it is another stage's than the one that asks.

        Raises the error for a checkpoint that no stage of the plan makes, or that is damaged again.
        """
        node = owner(self.plan, self.workdir, error)
        if error.is_other():  # another stage that needs it has mended it meanwhile
            return
        if node is None or error.path in self._mended:
            raise error
        self._mended.add(error.path)
        moved = set_aside(stage_folder(self.workdir, node.folder), error.path)
        self.display.say(f"{error.args[0].splitlines()[0]}\n  kept aside: {' '.join(map(str, moved)) or 'nothing'}")
        if node != asking:
            self.display.say(f"  {node.folder} makes it again")
            dataclasses.replace(self, company=Solo())(node, stop_asked)

    def _run(self, node: Node, stop_asked: Callable[[], bool]) -> None:
        folder = stage_folder(self.workdir, node.folder)
        write_text(folder / "config.json", json.dumps(self._identity(node), indent=1, sort_keys=True) + "\n")
        if node.imported:
            self._evaluate_imported(node, stop_asked)
            return
        write_text(folder / NAME, as_text(self._card(node)))
        keep = 1 if node.stage.selection == Selection() else None
        sweep(folder / CHECKPOINTS)
        checkpoints = Checkpoints(folder / CHECKPOINTS, keep, background=self.alone)
        try:
            state, step = self._train(node, checkpoints, stop_asked)
        finally:
            with self.telemetry.doing("save", node):
                checkpoints.close()
        params = merge_lora(state["params"])  # what is evaluated is what is handed over and exported
        del state  # the optimiser's moments need not stay
        with self.telemetry.doing("evaluate", node):
            self._evaluate(node, {LAST: (params, step)}, stop_asked)
        self.before_done(node)
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
        assert self.plan.start, "an imported stage without a start"
        if unevaluated(self.workdir, self.plan, node):
            _, abstract = self.programs.state_maker(node.heads, Optim())
            with self.telemetry.doing("restore", node):
                params = self._read_parent(node, abstract["params"])
            with self.telemetry.doing("evaluate", node):
                self._evaluate(node, {LAST: (params, self.plan.start.step)}, stop_asked)
        else:
            write_rows(folder, known_rows(folder))
        self.before_done(node)
        write_text(folder / "DONE", "")

    def _prepared(self, node: Node) -> list[Prepared]:
        """Returns the stage's cells; DataError if one has fewer examples than its share."""
        parts = node.stage.parts(self.plan.experiment.limits)
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
        with self.telemetry.doing("prepare", node):
            prepared = self._prepared(node)
            features = [cell.features for cell in prepared]
            rates = stage.rates(features)
            plan = BatchPlan(stage.batch_size, node.seed, stage.lengths(), stage.packing)
            steps = stage.length(features, examples_of_step(prepared, rates, plan))
        with self.telemetry.doing("restore", node):
            start, state = self._start(node, checkpoints)
        saver = Saver(checkpoints, stage, steps, self._judge(node))
        saver.go_on(start)
        if start >= steps or saver.enough():
            return state, start
        with self.telemetry.doing("prepare", node):
            share, multiple = share_of(self.programs.mesh), batch_multiple(self.programs.mesh) * stage.accumulate
            mine = {"host": share.number, "hosts": share.count}
            source = Batches(prepared, rates=rates, plan=plan, steps=steps, multiple=multiple, **mine)
        step_fns, place, stop_asked = self.company.training(self.programs, node, source, start, stop_asked)
        watched = self.telemetry.training(node, start, self.cells.tokenizer().size, self.programs.mesh)
        folder, parts = stage_folder(self.workdir, node.folder), stage.parts(self.plan.experiment.limits)
        with (
            written_down(folder, source, parts, self.cells.ids),
            writing(folder / "metrics.jsonl"),
            self.programs.keeping(),
            watched as training,
            self.display.bar(f"  {node.name}", steps, start) as bar,
        ):
            counts = {f"parameters/{name}": number for name, number in self._counts(node).items()}

            def log(step, values):
                training.log(step, values | counts)
                loss = next(value for name, value in values.items() if name.endswith("/loss"))
                bar.advance(step, f"loss {loss:.3f}")

            watcher = Watcher(self._examiner, training.log, lambda: self.telemetry.doing("evaluate", node))

            def save(step, state):
                score = saver.judge(step, state)
                if score is not None:
                    training.log(step, {dev_key(stage): score})
                if step == steps or saver.enough():
                    watcher(step, state)
                with (
                    self.company.beside("save"),
                    training.saving(step),
                ):  # last, for what is written before is kept as soon as this is whole
                    saver(step, state)

            return train(
                state,
                steps,
                stream(source, start, readers=self.plan.experiment.readers),
                step_fns,
                start=start,
                rate=lambda step: learning_rate(stage.optim, step, steps),
                place=place,
                log_every=stage.log_every,
                save_every=stage.save_every,
                log=log,
                save=save,
                stop_asked=stop_asked,
                identify=source.identify,
                enough=saver.enough,
                meter=training.meter,
                trace=training.trace,
                watch=watcher,
                watch_every=watcher.every,
            )

    def _judge(self, node: Node) -> Callable[[Any], float] | None:
        """Returns what scores a state's parameters on the stage's dev cell, None if nothing is selected by it.

        The cell comes as a `SourceDev`: there is no other way for a trainer to one.
        """
        selection = node.stage.selection
        if not selection.judged:
            return None
        target = judge(node.stage)
        (cell,) = target.cells()

        def score(params):
            with self.telemetry.doing("evaluate", node):
                evaluate = self._examiner.evaluator(node.heads, merge_lora(params), target, beside=False)
                ((values, _),) = evaluate([cell])
            return hosts.first_does("the score of a checkpoint", lambda: values[KINDS[cell.row.kind].metrics[0]])

        return score

    def _counts(self, node: Node) -> dict[str, int]:
        """Returns the numbers of parameters: those that the stage trains, and all."""
        _, abstract = self.programs.state_maker(node.heads, node.stage.optim)
        leaves = self.programs.leaves(node.heads, node.stage.optim)
        return {"trained": count(abstract["params"], leaves), "all": count(abstract["params"])}

    def _start(self, node: Node, checkpoints: Checkpoints) -> tuple[int, Any]:
        """Returns (step, state) of the newest checkpoint, or of step 0 with what the hand-over takes."""
        optim = node.stage.optim
        make, abstract = self.programs.state_maker(node.heads, optim)
        step = checkpoints.latest()
        if step is not None:
            state = checkpoints.restore(step, abstract)
            self.display.say(f"  {node.name} goes on from its checkpoint at step {step}")
            return step, state
        counts = self._counts(node)
        if counts["trained"] < counts["all"]:
            self.display.say(f"  {node.name} trains {counts['trained']:,} of {counts['all']:,} parameters")
        if node.parent is None:
            self.display.say(f"  {node.name} starts from random parameters")
            return 0, make(node.seed)
        loading = plan_loading(node.stage.handover, node.heads, node.parent.heads)
        if node.parent.imported and self.plan.start:
            check_labels(self.plan.start, loading.loaded, node.heads)
        self.display.say(f"  {node.name} from {node.parent.folder}: {loading}")
        _, plain = self.programs.state_maker(node.heads, Optim())
        read = named_here(loading, self._read_parent(node.parent, source_tree(loading, plain["params"])))
        make, _ = self.programs.state_maker(node.heads, optim, tuple(read))
        return 0, make(node.seed, read)

    def _read_parent(self, parent: Node, wanted: Any) -> Any:
        """Returns parameters of a stage's own checkpoint or of an imported one, merged with adapters beside them."""
        start = self.plan.start
        imported = start if start and parent.imported else None
        folder = imported.folder if imported else stage_folder(self.workdir, parent.folder)
        policy = "last" if imported else parent.stage.selection.policy
        if not imported and hosts.first_does(f"the policy of {folder.name}", lambda: chosen(folder)[2]) != policy:
            raise DamagedError(
                f"{folder / CHOSEN}, which says which checkpoint was chosen by {policy}, is not there.\n"
                f"Delete {folder / 'DONE'} and run again: it is chosen as before. --skip_damaged does the same.",
                folder / CHOSEN,
            )
        with open_own(folder, imported.step if imported else None, create=False) as (checkpoints, step):
            shapes = checkpoints.meta(step)[PARAMS]["shapes"]
            return merge_lora(checkpoints.restore_params(step, with_adapters(wanted, shapes)))

    @property
    def _examiner(self) -> Examiner:
        return Examiner(self.plan.experiment, self.cells, self.programs, self.display)

    def _evaluate(self, node: Node, there: dict[str, tuple[Any, int]], stop_asked: Callable[[], bool]) -> None:
        """Chooses checkpoints and evaluates what has no result yet.

        Args:
          node: the stage.
          there: (parameters without adapters, step) of policies whose parameters are in memory.
          stop_asked: whether to stop; raises Interrupted then.
        """
        folder, selection = stage_folder(self.workdir, node.folder), node.stage.selection
        seed = {"seed": node.seed, "stage": node.name, "stage_hash": node.hash, "policy": selection.policy}
        for policy in selection.own:
            params, step = there[policy] if policy in there else self._chosen(node, policy)
            left = [item for item in unevaluated(self.workdir, self.plan, node) if item[0].policy == policy]
            trained = None if node.imported else node.stage
            asked = Examinee(node.heads, params, folder, seed | {"step": step}, trained)
            self._examiner.ask([item for item in left if item[0].head is None], asked, stop_asked)
            for question, cells in left:
                if question.head is not None:
                    heads, mixed = self._with_head(question, params)
                    other = dataclasses.replace(asked, heads=heads, params=mixed)
                    self._examiner.ask([(question, cells)], other, stop_asked)
        if selection.compared:
            self._compare(node, seed, stop_asked)
        if not (folder / "results.jsonl").is_file():
            write_rows(folder, [])

    def _chosen(self, node: Node, policy: str) -> tuple[Any, int]:
        """Returns (parameters without adapters, step) of what a policy chooses; writes down the stage's own choice."""
        folder, selection = stage_folder(self.workdir, node.folder), node.stage.selection
        _, abstract = self.programs.state_maker(node.heads, node.stage.optim)
        checkpoints = Checkpoints(folder / CHECKPOINTS, None, background=False)
        try:
            last = checkpoints.steps()[-1]
            if policy == AVERAGE:
                steps = averaged(selection, planned(node.stage.save_every, last))
                checkpoints.need(steps)
                params = checkpoints.mean_params(steps, abstract["params"])
                step, name = last, AVERAGED
            else:
                step, name = best(checkpoints.meta(last)[HISTORY]), CHECKPOINTS
                params = checkpoints.restore_params(step, abstract["params"])
        finally:
            checkpoints.close()
        if policy == selection.policy:
            if name == AVERAGED:
                save_alone(folder / AVERAGED, step, params)
            choose(folder, name, step, policy)
        return merge_lora(params), step

    def _with_head(self, question: Question, params: Any) -> tuple[tuple[HeadSpec, ...], Any]:
        """Returns (heads, parameters) of this stage's body with the head of an earlier stage."""
        assert question.head is not None
        name = TASKS[question.target.task].head_name
        heads = tuple(head for head in question.head.heads if head.name == name)
        _, abstract = self.programs.state_maker(heads, Optim())
        part = head_part(name)
        read = self._read_parent(question.head, {part: abstract["params"][part]} if part in abstract["params"] else {})
        return heads, {BODY: params[BODY]} | read

    def _compare(self, node: Node, seed: dict[str, Any], stop_asked: Callable[[], bool]) -> None:
        """Evaluates every checkpoint, and writes what would have been chosen by looking at target languages."""
        folder = stage_folder(self.workdir, node.folder)
        _, abstract = self.programs.state_maker(node.heads, node.stage.optim)
        checkpoints = Checkpoints(folder / CHECKPOINTS, None, background=False)
        try:
            steps = planned(node.stage.save_every, checkpoints.steps()[-1])
            checkpoints.need(steps)
            for step in steps:
                left = left_of(step_questions(self.plan, node, [step]), folder, node.stage.selection.policy)
                if left:
                    params = merge_lora(checkpoints.restore_params(step, abstract["params"]))
                    self._examiner.ask(left, Examinee(node.heads, params, folder, seed | {"step": step}), stop_asked)
        finally:
            checkpoints.close()
        rows = [row for row in known_rows(folder) if row.policy not in COMPARISONS]
        write_rows(folder, [*rows, *compare(self.plan, node, rows)])
