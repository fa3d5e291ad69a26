"""What the experiments of a study have in common: cells and programs."""

import threading
from collections.abc import Callable, Sequence

from xling_jax.ledger import Ledger
from xling_jax.stages.cells import Cells
from xling_jax.stages.plan import Plan
from xling_jax.stages.programs import Programs
from xling_jax.stages.run import check_batches, make_programs, prepare_cells
from xling_jax.stages.study import StudyPlan
from xling_jax.train.writer import Display


class Shelf:
    """What experiments have in common, made once: cells and programs by what decides them."""

    def __init__(self, study: StudyPlan, display: Display):
        self._study, self._display = study, display
        self._cells: dict[tuple, Cells] = {}
        self._programs: dict[tuple, Programs] = {}
        self._ready: set[str] = set()
        self._lock = threading.RLock()

    def _cells_key(self, plan: Plan) -> tuple:
        experiment = plan.experiment
        limits = tuple(sorted(experiment.limits.items()))
        return plan.vocabulary, experiment.source_language, limits, experiment.eval_batch_size

    def programs_key(self, plan: Plan) -> tuple:
        """Returns what decides the programs of an experiment."""
        experiment = plan.experiment
        way = experiment.dtype, experiment.mesh, experiment.strategy, experiment.remat
        return plan.row, plan.vocabulary, experiment.source_language, way

    def has(self, plan: Plan) -> bool:
        """Whether the programs of an experiment are here."""
        return self.programs_key(plan) in self._programs

    def take(self, plan: Plan, ledger: Ledger, stop: Callable[[], bool]) -> tuple[Cells, Programs]:
        """Returns the cells of an experiment, prepared, and its programs."""
        name, experiment = plan.experiment.name, plan.experiment
        with self._lock:
            if (key := self._cells_key(plan)) not in self._cells:
                where = self._study.workdir, self._study.data_dir, self._study.vocabularies[name]
                self._cells[key] = Cells(experiment, *where, self._study.checksums)
            cells = self._cells[key]
            if name not in self._ready:
                with ledger.event("prepare"):
                    prepare_cells(plan, cells, self._display, stop)
                self._ready.add(name)
            if (key := self.programs_key(plan)) not in self._programs:
                with ledger.event("prepare"):
                    self._programs[key] = make_programs(plan, cells)
            check_batches(plan, self._programs[key])
            return cells, self._programs[key]

    def keep(self, plans: Sequence[Plan]) -> None:
        """Drops what none of some experiments needs: a study of several models does not hold all of them."""
        with self._lock:
            cells = {self._cells_key(plan) for plan in plans}
            programs = {self.programs_key(plan) for plan in plans}
            self._cells = {key: made for key, made in self._cells.items() if key in cells}
            self._programs = {key: made for key, made in self._programs.items() if key in programs}
