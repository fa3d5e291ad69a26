"""Which of a stage's checkpoints answers: policies that look at no target language, and comparisons that do.

English dev scores say little of other languages (Keung et al. 2020, arXiv 2004.15001), and choosing on the target's
own dev set overstates zero-shot transfer (Schmidt et al. 2023, arXiv 2305.16834). So every result says its policy, and
what looks at a target language is computed after training, is never handed on, and is no answer to the question.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from xling_jax.errors import ConfigError, unknown
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import Cell, parse_cells

LAST, SOURCE_DEV, AVERAGE = POLICIES = ("last", "source_dev", "average")
TARGET_DEV, ORACLE = COMPARISONS = ("target_dev", "oracle")
STEP = "step"  # the policy of a checkpoint that nothing chose: it is evaluated because it is there
TEST = "test"  # no split whose name begins so can be selected on
WHERE = "Fields are declared in xling_jax/selection.py."

History = tuple[tuple[int, float], ...]  # (step, score on the dev cell) of each checkpoint, in order


@dataclasses.dataclass(frozen=True)
class Selection:
    """How a stage's checkpoint is chosen. The first policy is the stage's: its checkpoint is handed on and reported.

    last: the last checkpoint. source_dev: the best one on `dev`, the first among equals. average: the mean of the
    parameters of the last `average` checkpoints (0 for all). Results of the other policies stand beside. target_dev and
    oracle take for each language the checkpoint that is best on its dev split, or on what is evaluated itself.
    `dev` is a development cell in a language that the stage has labels in. Training stops after `patience`
    checkpoints that were not the best so far; 0 never.
    """

    policies: tuple[str, ...] = (LAST,)
    dev: str = ""
    patience: int = 0
    average: int = 0

    @property
    def policy(self) -> str:
        """Returns the stage's own policy."""
        return self.policies[0]

    @property
    def own(self) -> tuple[str, ...]:
        """Returns the policies that look at no target language."""
        return tuple(name for name in self.policies if name in POLICIES)

    @property
    def compared(self) -> tuple[str, ...]:
        """Returns the comparisons, which need a score of every checkpoint."""
        return tuple(name for name in self.policies if name in COMPARISONS)

    @property
    def judged(self) -> bool:
        """Whether checkpoints are scored on the dev cell while the stage is trained."""
        return SOURCE_DEV in self.policies or self.patience > 0


@dataclasses.dataclass(frozen=True)
class SourceDev:
    """The only cell that a trainer can look at: a development cell in a language that it has labels in.

    Made of anything else it is an error, so that what selects cannot be handed a test or a target language's cell.
    """

    cell: Cell
    labelled: tuple[str, ...]

    def __post_init__(self):
        if self.cell.split.startswith(TEST) or self.cell.language not in self.labelled or self.cell.withheld:
            raise ConfigError(
                f"A checkpoint would be selected on {self.cell}.\n"
                f"Allowed: a cell with labels of a split other than test, in a language that the stage has labels in: "
                f"{' '.join(self.labelled) or 'none'}.\n{WHERE}"
            )


def source_dev(selection: Selection, labelled: tuple[str, ...], where: str) -> SourceDev:
    """Returns the cell that a stage's checkpoints are judged on. Raises ConfigError if it is not one it may see."""
    found = parse_cells(selection.dev, f"selection.dev of {where}") if selection.dev else ()
    if len(found) != 1:
        raise ConfigError(
            f"{where} selects on {len(found)} cells: selection.dev='{selection.dev}'.\n"
            f"Allowed: one, for example mnli.dev.en.\n{WHERE}"
        )
    if not KINDS[found[0].row.kind].metrics:
        raise ConfigError(
            f"{where} selects on {found[0]}, of kind '{found[0].row.kind}', which has no score.\n"
            f"Allowed: a cell of a task with labels.\n{WHERE}"
        )
    return SourceDev(found[0], labelled)


def check_selection(selection: Selection, labelled: tuple[str, ...], save_every: int, where: str) -> None:
    """Raises ConfigError for what a stage cannot select by."""
    for name in selection.policies:
        if name not in POLICIES + COMPARISONS:
            raise unknown("policy", name, POLICIES + COMPARISONS, WHERE, where)
    if not selection.policies or selection.policy not in POLICIES:
        raise ConfigError(
            f"The first policy of {where} is {selection.policies[:1]}.\n"
            f"Allowed: {', '.join(POLICIES)}; {' and '.join(COMPARISONS)} look at target languages and stand beside.\n"
            f"{WHERE}"
        )
    if selection.patience < 0 or selection.average < 0:
        raise ConfigError(
            f"{where} has selection.patience={selection.patience} and average={selection.average}.\n"
            f"Allowed: 0 or more checkpoints.\n{WHERE}"
        )
    if (selection.patience or selection.policies != (LAST,)) and not save_every:
        raise ConfigError(
            f"{where} selects among checkpoints and has save_every=0, so there is only one.\n"
            f"Allowed: save_every of at least 1 step.\nIt is declared in xling_jax/experiment.py."
        )
    if selection.judged or selection.dev:
        source_dev(selection, labelled, where)


def best(history: Iterable[tuple[int, float]]) -> int:
    """Returns the step of the best score, the first among equals."""
    return max(history, key=lambda item: (item[1], -item[0]))[0]


def exhausted(selection: Selection, history: Sequence[tuple[int, float]]) -> bool:
    """Says whether as many checkpoints as patience allows have come after the best one."""
    if not selection.patience or not history:
        return False
    after = [step for step, _ in history].index(best(history)) + 1
    return len(history) - after >= selection.patience


def candidates(steps: Sequence[int], save_every: int, last: int) -> list[int]:
    """Returns the steps that can be chosen: those a run saves that nobody stops.

    A run that is asked to stop saves where it is, to go on from there; that must not change what is selected.
    """
    return [step for step in steps if step == last or (save_every > 0 and step % save_every == 0)]


def planned(save_every: int, last: int) -> list[int]:
    """Returns the candidates of a run whose last step is known, whether they are there or not."""
    return sorted({*range(save_every, last, save_every), last}) if save_every else [last]


def needed(selection: Selection, history: Sequence[tuple[int, float]], steps: Sequence[int]) -> set[int]:
    """Returns which of the steps that could be chosen a policy may still ask for."""
    if selection.compared or (AVERAGE in selection.policies and not selection.average):
        return set(steps)
    wanted = set(steps[-selection.average :]) if AVERAGE in selection.policies else set()
    if selection.judged and history:
        wanted.add(best(history))
    return wanted & set(steps)


def averaged(selection: Selection, steps: Sequence[int]) -> list[int]:
    """Returns the steps whose parameters are averaged."""
    return list(steps[-selection.average :] if selection.average else steps)


def compared(scores: Mapping[int, float]) -> int:
    """Returns the step of the best of {step: score}, the first among equals."""
    return best(sorted(scores.items()))
