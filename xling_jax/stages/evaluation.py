"""What is evaluated after a stage: every target by every policy, and what earlier stages knew, each cell once."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from xling_jax.data.texts import with_company
from xling_jax.errors import Interrupted
from xling_jax.eval.suite import Evaluator, Setting, protocol_of, result_rows, submission_path
from xling_jax.experiment import Experiment, Stage, Target
from xling_jax.models.build import HeadSpec
from xling_jax.partitioning import hosts
from xling_jax.results import Result, read_results, write_results
from xling_jax.selection import LAST, STEP, TARGET_DEV, compared
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import Node, Plan, compares_dev, dev_of
from xling_jax.stages.programs import Programs
from xling_jax.stages.record import stage_folder
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, Cell
from xling_jax.train.writer import Display


@dataclasses.dataclass(frozen=True)
class Question:
    """A target asked of one checkpoint of a stage.

    `policy` chose it; for policy `step`, nothing did. `step` is its number where all checkpoints are asked. `head` is
    the stage whose head answers, where that is not the stage itself.
    """

    name: str
    target: Target
    policy: str
    step: int | None = None
    head: Node | None = None

    @property
    def protocol(self) -> str:
        """Returns the protocol as its rows have it; it says whose head answers."""
        said = protocol_of(self.target)
        return f"head={self.head.folder} {said}".strip() if self.head else said

    def key(self, cell: Cell) -> tuple:
        """Returns what its row of a cell is known by."""
        return cell.task, cell.split, cell.language, self.protocol, self.policy, self.step

    def folder(self, stage: pathlib.Path, policy: str) -> pathlib.Path | None:
        """Returns where its predictions go, given the stage's own policy; None for those that nobody reads."""
        if self.step is not None or self.head:
            return None
        return stage / ("predictions" if self.policy == policy else f"predictions-{self.policy}")


def questions(plan: Plan, node: Node) -> list[Question]:
    """Returns what is asked after a stage, of the checkpoints that policies choose."""
    targets = plan.targets_of(node).items()
    found = [Question(name, target, policy) for policy in node.stage.selection.own for name, target in targets]
    known = {(q.target.task, cell) for q in found for cell in q.target.cells()}
    for text, (target, owner) in plan.remembered(node).items():
        (cell,) = target.cells()
        if owner != node or (cell.task, cell) not in known:
            policy = node.stage.selection.policy
            found.append(Question(text, target, policy, head=None if owner == node else owner))
    return found


def step_questions(plan: Plan, node: Node, steps: Sequence[int]) -> list[Question]:
    """Returns what is asked of every checkpoint, where policies compare them."""
    found = []
    for step in steps if node.stage.selection.compared else ():
        for name, target in plan.targets_of(node).items():
            found.append(Question(name, target, STEP, step))
            if compares_dev(node):
                found.append(Question(f"{name} (dev)", dev_of(target), STEP, step))
    return found


def known_rows(folder: pathlib.Path) -> list[Result]:
    """Returns the rows that a stage has."""
    path = folder / "results.jsonl"
    return list(read_results(path)) if path.is_file() else []


def write_rows(folder: pathlib.Path, rows: Iterable[Result]) -> None:
    """Writes the rows of a stage; of several hosts the first one does."""
    if hosts.first():
        write_results(folder / "results.jsonl", rows)


def left_of(asked: Sequence[Question], folder: pathlib.Path, policy: str) -> list[tuple[Question, list[Cell]]]:
    """Returns (question, its cells that have no answer yet), as host 0 finds them."""
    left = hosts.first_does(f"what is left of {folder.name}", lambda: _left_of(asked, folder, policy))
    return [(asked[number], [asked[number].target.cells()[at] for at in cells]) for number, cells in left]


def _left_of(asked: Sequence[Question], folder: pathlib.Path, policy: str) -> list[tuple[int, list[int]]]:
    """Returns (number of a question, numbers of its cells that have no answer yet)."""
    rows = known_rows(folder)
    done = {(r.task, r.split, r.language, r.protocol, r.policy, step) for r in rows for step in (r.step, None)}

    def there(question: Question, cell: Cell) -> bool:
        place = question.folder(folder, policy)
        if cell.withheld and place:  # predictions are all there is
            return submission_path(place, cell, "items.jsonl").is_file()
        return question.key(cell) in done

    left = [
        (number, [at for at, cell in enumerate(question.target.cells()) if not there(question, cell)])
        for number, question in enumerate(asked)
    ]
    return [(number, cells) for number, cells in left if cells]


def unevaluated(workdir: pathlib.Path, plan: Plan, node: Node) -> list[tuple[Question, list[Cell]]]:
    """Returns (question, cells left) of a stage's policies."""
    return left_of(questions(plan, node), stage_folder(workdir, node.folder), node.stage.selection.policy)


@dataclasses.dataclass(frozen=True)
class Examinee:
    """Parameters, without adapters, that are asked: their heads, the folder of their stage, what its rows say of it.

    `stage` has seed, stage, stage_hash, step, and the stage's own policy under "policy". `trained` is what they were
    trained on, if that is known: what floors learn from.
    """

    heads: tuple[HeadSpec, ...]
    params: Any
    folder: pathlib.Path
    stage: dict[str, Any]
    trained: Stage | None = None


@dataclasses.dataclass(frozen=True)
class Examiner:
    """Asks checkpoints questions and writes down the answers."""

    experiment: Experiment
    cells: Cells
    programs: Programs
    display: Display

    def evaluator(
        self,
        heads: tuple[HeadSpec, ...],
        params: Any,
        target: Target,
        beside: bool = True,
        trained: Stage | None = None,
        *,
        heed: Callable[[float], None] = lambda answered: None,
    ) -> Evaluator:
        """Returns the evaluator of a target on parameters without adapters.

        `beside`: with floors and ceilings; floors learn from the data of the target's stage, else of `trained`. For
        `heed` see `Evaluator`.
        """
        output, params = self.programs.output(heads, target), self.programs.laid_out(params)
        size = self.experiment.eval_batch_size
        return Evaluator(
            Setting(
                target,
                self.programs.mesh,
                probabilities=self.experiment.probabilities,
                decode=self.cells.tokenizer().decode,
            ),
            lambda cells, heed: output.answers(params, cells, size, heed),
            lambda cell: self.cells.open(cell, target, beside, target.stage or trained),
            heed,
        )

    def ask(self, left: Sequence[tuple[Question, list[Cell]]], asked: Examinee, stop_asked: Callable[[], bool]) -> None:
        """Evaluates the cells that are left of questions that the same parameters answer.

        Results are written cell by cell. Raises Interrupted when asked to stop, at the next batch.
        """
        rows = known_rows(asked.folder)
        for question, cells in left:
            self._ask(question, cells, asked, rows, stop_asked)

    def _ask(
        self,
        question: Question,
        cells: list[Cell],
        asked: Examinee,
        rows: list[Result],
        stop_asked: Callable[[], bool],
    ) -> None:
        """Evaluates cells of a question; adds their rows to those of the stage, and writes all.

        Cells that have answers are asked again where they are read together with some that have none, which so get the
        answers, to the last digit, that they get where nothing is stopped.
        """
        owner, policy, done = question.head, asked.stage["policy"], 0
        trained = asked.trained if owner is None else None if owner.imported else owner.stage
        place = question.folder(asked.folder, policy)
        said = f"  {asked.stage['stage']} evaluates {question.name}" + _which(question, policy)
        with self.programs.keeping(), self.display.bar(said, len(cells), unit="languages") as bar:

            def heed(answered: float) -> None:
                bar.advance(max(done, min(answered, len(cells))))
                if stop_asked():
                    raise Interrupted(f"Stopped before {cells[done]}.\nRun the same command again to go on.")

            evaluate = self.evaluator(asked.heads, asked.params, question.target, trained=trained, heed=heed)
            try:
                for values, opened in evaluate(self._with_company(question.target, cells), place):
                    if opened.cell not in cells:
                        continue  # answered again because its texts share rows with those of others
                    done += 1
                    made = result_rows(values, opened, question.target, asked.stage | {"policy": question.policy})
                    rows += [dataclasses.replace(row, protocol=question.protocol) for row in made]
                    write_rows(asked.folder, rows)
                    bar.advance(max(done, bar.done), str(opened.cell))
                    if done == len(cells):
                        break  # what is read together with the last one, and behind it, has its answers
            finally:
                bar.advance(done)  # what is written: more may have been answered

    def _with_company(self, target: Target, cells: Sequence[Cell]) -> Iterable[Cell]:
        """Returns cells of a target, and those that are read together with them."""
        if target.speaks:
            return cells
        limits = self.experiment.limits
        return with_company(target.cells(), cells, lambda cell: self.cells.prepare(target.part(cell, limits)))


def _which(question: Question, policy: str) -> str:
    if question.head:
        return f" with the head of {question.head.name}"
    if question.step is not None:
        return f" at step {question.step}"
    return f" by {question.policy}" if policy != LAST or question.policy != LAST else ""


def compare(plan: Plan, node: Node, rows: Sequence[Result]) -> Iterator[Result]:
    """Yields the rows of the comparisons, from those of every checkpoint.

    For each language the checkpoint is taken that has the best first metric on its dev split (target_dev) or on what is
    evaluated itself (oracle); its values of all metrics are the rows.
    """
    of_cell: dict[tuple, list[Result]] = collections.defaultdict(list)
    for row in rows:
        if row.policy == STEP:
            of_cell[row.task, row.split, row.language, row.protocol].append(row)
    for name in node.stage.selection.compared:
        for target in plan.targets_of(node).values():
            split = dev_of(target).split if name == TARGET_DEV else target.split
            metric = target.metric or KINDS[TASKS[target.task].kind].metrics[0]
            for cell in target.cells():
                looked_at = of_cell[cell.task, split, cell.language, protocol_of(target)]
                step = compared({row.step: row.value for row in looked_at if row.metric == metric})
                there = of_cell[cell.task, cell.split, cell.language, protocol_of(target)]
                yield from (dataclasses.replace(row, policy=name) for row in there if row.step == step)
