"""What `xling eval` asks of a checkpoint: from names of tasks and benchmarks to targets."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xling_jax.checks import form_of
from xling_jax.data.sources import is_there
from xling_jax.errors import ConfigError, choose, unknown
from xling_jax.experiment import Experiment, Stage, Target
from xling_jax.models.card import Card
from xling_jax.protocol import WHERE, Protocol, check_protocol, fields_of
from xling_jax.stages.plan import answered_by
from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import language
from xling_jax.tables.prompts import HEADS
from xling_jax.tables.tasks import TASKS, cells, task

DEFAULT_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class Asked:
    """Targets by name, and, for each task that is left out and each language whose files are missing, why."""

    targets: Mapping[str, Target]
    left_out: tuple[str, ...]


def asked(
    names: Sequence[str],
    languages: str,
    *,
    card: Card,
    fields: Mapping[str, Any],
    data_dir: pathlib.Path | None,
    max_length: int = 0,
    form: str = "",
) -> Asked:
    """Returns what is asked.

    Args:
      names: tasks ("xnli", its test split), splits of tasks ("bucc2018.dev") or benchmarks. Of a benchmark, tasks that
        the checkpoint has no head for are left out, and so are languages whose files are missing; what is named is not.
      languages: codes separated by spaces, commas or '+'; "all".
      card: of the checkpoint.
      fields: of the protocol, for the kinds that have a use for them.
      data_dir: the data folder.
      max_length: of inputs, in tokens; 0 for that of the kind, as far as the model has positions.
      form: of answers, as an experiment has it.

    Raises:
      ConfigError: a name, a language or a field that nothing knows, or that nothing here has a use for.
    """
    protocol, text = _protocol(fields), form_of(Experiment(form=form), card.model) != HEADS
    codes = languages.replace(",", " ").replace("+", " ").split()
    for code in codes if codes != ["all"] else ():
        language(code, "'--languages'")
    targets: dict[str, Target] = {}
    left_out: list[str] = []
    for name, split, known, optional in _expanded(names):
        row = TASKS[name]
        reason = _unanswered(row.name, card, text)
        if reason and not optional:
            raise ConfigError(f"{reason}.\nAllowed: tasks that it can answer; or train it on one with this head first.")
        if reason:
            left_out.append(reason)
            continue
        there = [cell.language for cell in cells(name, split, known)]
        wanted = [code for code in there if codes == ["all"] or code in codes]
        if optional:
            missing = [cell.language for cell in cells(name, split, " ".join(wanted)) if not is_there(cell, data_dir)]
            left_out += [f"{name}.{split}: no files in {' '.join(missing)}"] if missing else []
            wanted = [code for code in wanted if code not in missing]
        if wanted:
            used = {field: getattr(protocol, field) for field in fields if field in fields_of(row.kind, text)}
            made = Protocol(**used)
            check_protocol(made, row.kind, f"task '{name}'", text)
            behind = Stage().answer_length if text and card.model.family == "decoder" else 0
            length = max_length or min(KINDS[row.kind].length, card.model.positions - behind)
            targets[f"{name}.{split}"] = Target(name, None, split, " ".join(wanted), length, protocol=made)
    _check_used(targets, codes, fields, text)
    return Asked(targets, tuple(dict.fromkeys(left_out)))


def _expanded(names: Sequence[str]) -> Iterable[tuple[str, str, str, bool]]:
    """Yields (task, split, languages, whether it came with a benchmark)."""
    for name in names:
        if name.replace("-", "_") in BENCHMARKS:
            for entry in BENCHMARKS[name.replace("-", "_")].entries:
                there = TASKS[entry.task].splits[entry.split].languages.split()
                yield entry.task, entry.split, " ".join(code for code in there if code in entry.languages.split()), True
            continue
        first, _, split = name.partition(".")
        if first not in TASKS:
            raise unknown(
                "task or benchmark", first, [*TASKS, *BENCHMARKS], "They are rows of xling_jax/tables.", "'--tasks'"
            )
        row, split = task(first), split or DEFAULT_SPLIT
        choose("split", split, row.splits, "Tasks are rows of xling_jax/tables/rows.", f"task '{first}'")
        yield first, split, "all", False


def _unanswered(name: str, card: Card, text: bool) -> str:
    """Returns why a checkpoint cannot answer a task, with heads or in words (`text`); "" if it can."""
    row = TASKS[name]
    if not KINDS[row.kind].evaluated:
        return f"{name} is of kind '{row.kind}', which is not evaluated here"
    head = answered_by(row, card.model, text)
    if head and head not in {each.name for each in card.heads}:
        there = ", ".join(each.name for each in card.heads) or "none"
        return f"{name} is answered by head '{head}', and the checkpoint has: {there}"
    return ""


def _protocol(fields: Mapping[str, Any]) -> Protocol:
    """Returns the protocol of what a user wrote, with values of the right types."""
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Protocol)}
    made: dict[str, Any] = {}
    for name, text in fields.items():
        if name not in kinds:
            raise unknown("field", name, kinds, WHERE, "'--protocol'")
        try:
            made[name] = {"true": True, "false": False}[text.lower()] if kinds[name] is bool else kinds[name](text)
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"'--protocol' has {name}={text}.\nAllowed: a value of type {kinds[name].__name__}.\n{WHERE}"
            ) from error
    return Protocol(**made)


def _check_used(targets: Mapping[str, Target], codes: Sequence[str], fields: Mapping[str, Any], text: bool) -> None:
    """Raises ConfigError for a language or a field of the protocol that no task has, and if nothing is asked."""
    evaluated = {cell.language for target in targets.values() for cell in target.cells()}
    unused = [code for code in codes if code != "all" and code not in evaluated]
    if unused or not targets:
        raise ConfigError(
            f"--languages={' '.join(codes)}: no task has {' '.join(unused) or 'any'}.\n"
            f"Allowed: all, or some of {' '.join(sorted(evaluated)) or 'the languages of tasks whose files are there'}."
        )
    kinds = {TASKS[target.task].kind for target in targets.values()}
    for field in fields:
        if not any(field in fields_of(kind, text) for kind in kinds):
            raise ConfigError(
                f"'--protocol' has {field}, which no task asked here has a use for: {', '.join(sorted(kinds))}.\n"
                f"Allowed: fields of their kinds.\n{WHERE}"
            )
