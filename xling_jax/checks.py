"""What an experiment may not be: each mistake that the tables can see is one error, before anything is read."""

import math
import sys
import typing
from collections.abc import Iterator

from xling_jax.errors import ConfigError, unknown
from xling_jax.mixing import Mixing
from xling_jax.optim import check_optim
from xling_jax.protocol import check_protocol
from xling_jax.selection import check_selection, source_dev
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import language
from xling_jax.tables.meshes import MESHES, mesh
from xling_jax.tables.models import FAMILIES, Model, model
from xling_jax.tables.prompts import HEADS, LABELS, asked
from xling_jax.tables.tasks import TASKS, Cell, cells, parse_cells, task, tasks_of_head

if typing.TYPE_CHECKING:  # `from_config` there calls `check` here
    from xling_jax.experiment import Experiment, Stage, Target

MIN_LENGTH = 8  # special tokens, and something to say
MIN_ANSWER = 2  # a token, and the end
WHERE = "Fields are declared in xling_jax/experiment.py."
WHERE_MIXING = "Fields are declared in xling_jax/mixing.py."


def _check_lengths(lengths: tuple[int, ...], where: str, positions: int) -> None:
    if list(lengths) != sorted(set(lengths)) or not MIN_LENGTH <= lengths[0] <= lengths[-1] <= positions:
        raise ConfigError(
            f"The lengths of {where} are {lengths}.\n"
            f"Allowed: ascending, from {MIN_LENGTH} to the {positions} positions of the model, ending at max_length.\n"
            f"{WHERE}"
        )


def _check_kind(cells: tuple[Cell, ...], asks: str, done: str) -> None:
    """Raises ConfigError for cells of kinds that are not `done`: trained or evaluated."""
    for cell in cells:
        if not getattr(KINDS[cell.row.kind], done):
            allowed = " ".join(name for name, kind in KINDS.items() if getattr(kind, done))
            raise ConfigError(
                f"{asks} asks for {cell}, of kind '{cell.row.kind}', which is not {done} here.\n"
                f"Allowed: tasks of the kinds {allowed}.\nKinds are rows of xling_jax/tables/kinds.py."
            )


def _check_labels(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells whose labels are withheld: they can be answered, not trained on."""
    for cell in cells:
        if cell.withheld:
            there = " ".join(name for name, split in cell.row.splits.items() if split.labels == "there")
            raise ConfigError(
                f"{asks} needs the labels of {cell}, which their publisher withholds.\n"
                f"Allowed: the splits of '{cell.task}' with labels: {there}.\n{WHERE}"
            )


def _check_pairs(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells of queries or of candidates: a model is trained on pairs of them."""
    for cell in cells:
        if cell.among or cell.searched:
            searched = {split.among for split in cell.row.splits.values()}
            pairs = [name for name, split in cell.row.splits.items() if not split.among and name not in searched]
            raise ConfigError(
                f"{asks} asks for {cell}, which has queries and candidates apart.\n"
                f"Allowed: splits of pairs: {' '.join(pairs) or 'of other tasks, as this one has none'}.\n{WHERE}"
            )


def _check_queries(cells: tuple[Cell, ...], asks: str) -> None:
    """Raises ConfigError for cells of a dual encoder's task that have no queries to search with."""
    for cell in cells:
        if cell.row.kind == "dual_encoder" and not cell.among:
            there = [name for name, split in cell.row.splits.items() if split.among]
            raise ConfigError(
                f"{asks} asks for {cell}, which has no queries.\n"
                f"Allowed: splits of queries: {' '.join(there) or 'of other tasks, as this one has none'}.\n{WHERE}"
            )


def _check_stage(stage: "Stage", where: str, positions: int) -> None:
    if not stage.data:
        raise ConfigError(f"Stage '{where}' has no data.\nAllowed: cells, for example mnli.dev.en.\n{WHERE}")
    for text in stage.data:
        found = parse_cells(text, f"stage '{where}'")
        _check_kind(found, f"Stage '{where}'", "trained")
        _check_labels(found, f"Stage '{where}'")
        _check_pairs(found, f"Stage '{where}'")
    if (stage.steps > 0) == (stage.epochs > 0):
        raise ConfigError(
            f"Stage '{where}' has steps={stage.steps} and epochs={stage.epochs}.\n"
            f"Allowed: one of them above zero, the other zero.\n{WHERE}"
        )
    _check_lengths(stage.lengths(), f"stage '{where}'", positions)
    kinds = sorted({cell.row.kind for cell in stage.cells()})
    if stage.packing and not any(KINDS[kind].packs for kind in kinds):
        raise ConfigError(
            f"Stage '{where}' has packing=True, and its data are of kind {', '.join(kinds)}.\n"
            f"Allowed: data of kind {', '.join(row.name for row in KINDS.values() if row.packs)} among them.\n{WHERE}"
        )
    if stage.batch_size < 1 or stage.accumulate < 1 or stage.batch_size % stage.accumulate:
        raise ConfigError(
            f"Stage '{where}' has batch_size={stage.batch_size} and accumulate={stage.accumulate}.\n"
            f"Allowed: a batch size above zero that the micro-batches divide.\n{WHERE}"
        )
    if stage.examples and stage.examples < len(stage.counted()):
        raise ConfigError(
            f"Stage '{where}' takes {stage.examples} examples of {len(stage.counted())} cells.\n"
            f"Allowed: at least one of each, or 0 for all of them.\n{WHERE}"
        )
    check_mixing(stage.mixing, len(stage.data), where)
    check_selection(stage.selection, stage.labelled_languages(), stage.save_every, f"stage '{where}'")


def check_mixing(mixing: Mixing, items: int, where: str) -> None:
    """Raises ConfigError for a mixing that means nothing for so many items of data."""

    def wrong(found: str, allowed: str) -> ConfigError:
        return ConfigError(f"The mixing of stage '{where}' has {found}.\nAllowed: {allowed}.\n{WHERE_MIXING}")

    if mixing.cap < 0:
        raise wrong(f"cap={mixing.cap}", "at least 1 example, or 0 for no cap")
    if mixing.cap and mixing.rule == "uniform":
        raise wrong(f"cap={mixing.cap} beside the rule 'uniform'", "no cap, as uniform mixing counts no examples")
    if not 0 < mixing.temperature < math.inf:
        raise wrong(f"temperature={mixing.temperature:g}", "a number above zero")
    if mixing.temperature != 1 and mixing.rule != "temperature":
        raise wrong(
            f"temperature={mixing.temperature:g} and rule='{mixing.rule}'", "a temperature with rule='temperature'"
        )
    if mixing.rates and len(mixing.rates) != items:
        raise wrong(f"{len(mixing.rates)} rates for {items} items of data", "one rate for each item, or none")
    if not all(0 < rate < math.inf for rate in mixing.rates):
        raise wrong(f"rates={mixing.rates}", "numbers above zero; leave out data that is not to be drawn")


def _check_head(experiment: "Experiment", name: str, target: "Target") -> None:
    """Raises ConfigError if a stage that the target is evaluated on does not train the head that answers it."""
    row = task(target.task)
    if not KINDS[row.kind].trained:
        return
    before = {} if experiment.checkpoint else {"": experiment.pretrain}  # a checkpoint's heads are known when it opens
    chains = {f"arms.{arm}": [*(before | made.chain()).values()] for arm, made in experiment.arms.items()}
    arms = {where: stages[-1] for where, stages in chains.items() if stages}
    for where, stage in {f"targets.{name}": target.stage}.items() if target.stage else arms.items():
        heads = {cell.row.head_name for cell in stage.cells()}
        if row.head_name not in heads:
            raise ConfigError(
                f"Target '{name}' is answered by head '{row.head_name}', and stage '{where}' trains "
                f"{', '.join(sorted(heads))}.\n"
                f"Allowed: a stage with data of a task that has this head: {', '.join(tasks_of_head(row.head_name))}.\n"
                f"{WHERE}"
            )


def _stages(experiment: "Experiment") -> Iterator[tuple[str, "Stage"]]:
    """Yields (name, stage) of every training that an experiment declares."""
    if not experiment.checkpoint:
        yield "pretrain", experiment.pretrain
    yield from named_stages(experiment)


def named_stages(experiment: "Experiment") -> Iterator[tuple[str, "Stage"]]:
    """Yields (name, stage) of every arm and target that trains: arms.NAME, arms.NAME_first, targets.NAME."""
    for name, arm in experiment.arms.items():
        yield from ((f"arms.{name}{part}", stage) for part, stage in arm.chain().items())
    yield from ((f"targets.{name}", row.stage) for name, row in experiment.targets.items() if row.stage is not None)


def _check_start(experiment: "Experiment") -> None:
    """Raises ConfigError if a field says otherwise what the checkpoint says."""
    for name in ("model", "vocabulary", "pretrain"):
        if getattr(experiment, name) != getattr(type(experiment)(), name):
            raise ConfigError(
                f"The config has checkpoint='{experiment.checkpoint}', and {name} beside it.\n"
                f"Allowed: one of them. A checkpoint has its model and vocabulary, and is pretrained; text to go on "
                f"with is the data of an arm's stage.\n{WHERE}"
            )


def check_vocabulary(row: Model, vocabulary: str) -> None:
    """Raises ConfigError if a model is not trained with a family of vocabularies. Cells are prepared with any."""
    allowed = FAMILIES[row.family].vocabularies
    if vocabulary not in allowed:
        raise ConfigError(
            f"Model '{row.name}' is of family '{row.family}'; the vocabulary is of family '{vocabulary}'.\n"
            f"Allowed: {' '.join(allowed)}. Set `vocabulary.kind` in the config.\n"
            "Families are rows of xling_jax/tables/models.py."
        )


def form_of(experiment: "Experiment", row: Model) -> str:
    """Returns how a model is asked and answers: "heads", or the name of prompts.

    Raises ConfigError for a form that its family has not.
    """
    family = FAMILIES[row.family]
    form = experiment.form or next(iter(family.forms))
    if form not in family.forms or (form == HEADS and experiment.prompts):
        found = f"form='{form}'" + (f" with prompts='{experiment.prompts}'" if experiment.prompts else "")
        raise ConfigError(
            f"Model '{row.name}' is of family '{row.family}', and the experiment has {found}.\n"
            f"Allowed: {' '.join(family.forms)}; prompts with form='text' alone.\n"
            "Families are rows of xling_jax/tables/models.py."
        )
    return HEADS if form == HEADS else experiment.prompts or family.prompts


def check_model(experiment: "Experiment", row: Model) -> None:
    """Raises ConfigError for inputs that are longer than a model has positions, and for what its family cannot do."""
    family, form = FAMILIES[row.family], form_of(experiment, row)
    text = form != HEADS
    kinds = family.forms["text" if text else HEADS]
    asked = {cell.row.kind: f"stage '{where}'" for where, stage in _stages(experiment) for cell in stage.cells()}
    asked |= {task(target.task).kind: f"target '{name}'" for name, target in experiment.targets.items()}
    for kind, where in asked.items():
        if kind not in kinds:
            raise ConfigError(
                f"Model '{row.name}' is of family '{row.family}', and {where} is of kind '{kind}'.\n"
                f"Allowed: {' '.join(kinds)}.\n"
                "Families are rows of xling_jax/tables/models.py."
            )
    _check_watched(experiment, row)
    for where, stage in _stages(experiment):
        _check_lengths(stage.lengths(), f"stage '{where}'", row.positions)
        check_optim(stage.optim, where, row)
        if text:
            _check_answers(stage.cells(), stage.answer_length, stage.lengths()[-1], f"stage '{where}'", row)
            _check_apart(stage, where)
    for name, target in experiment.targets.items():
        check_protocol(target.protocol, TASKS[target.task].kind, f"target '{name}'", text)
        _check_lengths(target.lengths(), f"target '{name}'", row.positions)
        if text:
            _check_answers(target.cells(), target.answers(), target.lengths()[-1], f"target '{name}'", row)
        else:
            _check_head(experiment, name, target)
        if target.protocol.pooling not in family.pooling:
            raise ConfigError(
                f"Model '{row.name}' is of family '{row.family}', and target '{name}' has pooling="
                f"'{target.protocol.pooling}'.\nAllowed: {' '.join(family.pooling)}.\n"
                "Families are rows of xling_jax/tables/models.py."
            )


def _check_answers(cells: tuple[Cell, ...], tokens: int, prompt: int, where: str, row: Model) -> None:
    """Raises ConfigError for answers that no text fits into, or that a decoder has no room for behind a prompt."""
    if all(cell.row.kind in LABELS or not asked(cell.row.kind) for cell in cells):
        return
    room = row.positions - prompt if row.family == "decoder" else sys.maxsize
    if not MIN_ANSWER <= tokens <= room:
        raise ConfigError(
            f"The answers of {where} have up to answer_length={tokens} tokens, behind prompts of {prompt}.\n"
            f"Allowed: {MIN_ANSWER} or more; of a decoder, both together no more than its {row.positions} positions.\n"
            f"{WHERE}"
        )


def _check_prompts(declared: "Stage | Target", where: str) -> None:
    """Raises ConfigError for prompts of a part of an experiment: all of it is asked alike."""
    if declared.prompts:
        raise ConfigError(
            f"'{where}' has prompts='{declared.prompts}'.\n"
            f"Allowed: prompts of the whole experiment, beside its form.\n{WHERE}"
        )


def _check_apart(stage: "Stage", where: str) -> None:
    """Raises ConfigError for packing: prompts and their answers have a row each."""
    if stage.packing:
        raise ConfigError(
            f"Stage '{where}' has packing=True, and its answers are texts.\n"
            f"Allowed: packing=False, or form='heads' of a model that has them.\n{WHERE}"
        )


def check(experiment: "Experiment") -> None:
    positions = sys.maxsize  # those of a checkpoint are known when it is opened
    if experiment.checkpoint:
        _check_start(experiment)
    else:
        positions = model(experiment.model, "'config.model'").positions
    _check_mesh(experiment)
    if experiment.readers < 0:
        raise ConfigError(f"The experiment has readers={experiment.readers}.\nAllowed: 0 or more processes.\n{WHERE}")
    if not experiment.name.replace("_", "").isalnum():
        raise ConfigError(f"The experiment's name is '{experiment.name}'.\nAllowed: letters, digits and _.\n{WHERE}")
    for where, stage in _stages(experiment):
        _check_prompts(stage, where)
        _check_stage(stage, where, positions)
    for name, target in experiment.targets.items():
        task(target.task, f"'config.targets.{name}'")
        found = cells(target.task, target.split, target.languages, f"'config.targets.{name}'")
        if not found:
            raise ConfigError(f"Target '{name}' is evaluated nowhere.\nAllowed: at least one language.\n{WHERE}")
        _check_kind(found, f"Target '{name}'", "evaluated")
        _check_prompts(target, f"targets.{name}")
        _check_queries(found, f"Target '{name}'")
        _check_lengths(target.lengths(), f"target '{name}'", positions)
    _check_watch(experiment, positions)
    if not experiment.checkpoint:
        check_model(experiment, model(experiment.model))
    _check_unseen(experiment)
    _check_remembered(experiment)
    _check_clock(experiment)
    language(experiment.source_language, "'config.source_language'")
    _check_names(experiment)


def _check_watch(experiment: "Experiment", positions: int) -> None:
    """Raises ConfigError for what cannot be watched."""
    watch = experiment.watch
    if watch.every < 0 or watch.count < 0 or watch.count == 1 or (watch.every and not watch.cells):
        raise ConfigError(
            f"'config.watch' has every={watch.every}, count={watch.count} and {len(watch.cells)} cells.\n"
            f"Allowed: every so many steps, 0 for never; 2 or more sentences, 0 for all; cells where it is not off.\n"
            f"{WHERE}"
        )
    found = [cell for text in watch.cells for cell in parse_cells(text, "'config.watch'")]
    for cell in found:
        if not KINDS[cell.row.kind].parallel:
            raise ConfigError(
                f"'config.watch' has {cell}, of kind '{cell.row.kind}', which has no parallel text.\n"
                f"Allowed: kinds of sentences and their translations, "
                f"{' '.join(row.name for row in KINDS.values() if row.parallel)}: tatoeba.test.de.\n{WHERE}"
            )
    languages = [cell.language for cell in found]
    for code in languages:
        if languages.count(code) > 1:
            raise ConfigError(
                f"'config.watch' has {languages.count(code)} cells in language '{code}'.\n"
                f"Allowed: one of each language, as curves are named by them.\n{WHERE}"
            )
    if watch.on:
        _check_lengths((watch.max_length,), "'config.watch'", positions)


def _check_watched(experiment: "Experiment", row: Model) -> None:
    """Raises ConfigError for hidden states that a model does not have, and for a pooling that says nothing of it."""
    watch, pooling = experiment.watch, FAMILIES[row.family].pooling
    if not watch.on:
        return
    _check_lengths((watch.max_length,), "'config.watch'", row.positions)
    if watch.pooling not in pooling or not all(0 <= layer <= row.layers for layer in watch.layers):
        raise ConfigError(
            f"'config.watch' has pooling='{watch.pooling}' and layers={watch.layers}, and model '{row.name}' is of "
            f"family '{row.family}'.\nAllowed: {' '.join(pooling)}; layers from 0 to {row.layers}, or none for all.\n"
            f"{WHERE}"
        )


def _check_clock(experiment: "Experiment") -> None:
    """Raises ConfigError for what inference cannot be measured on."""
    clock = experiment.clock
    if not clock.target:
        return
    if clock.target not in experiment.targets:
        raise unknown(
            "target", clock.target, experiment.targets, "Targets are declared in the config.", "'config.clock'"
        )
    target = experiment.targets[clock.target]
    code = clock.language or experiment.source_language
    if len(cells(target.task, target.split, code, "'config.clock'")) != 1:
        raise ConfigError(f"'config.clock' has language='{code}'.\nAllowed: one language.\n{WHERE}")
    if clock.repeats < 1 or clock.examples < 0 or min(clock.batches, default=0) < 1:
        raise ConfigError(
            f"'config.clock' has batches={clock.batches}, repeats={clock.repeats} and examples={clock.examples}.\n"
            f"Allowed: batches of 1 or more examples, 1 or more repeats, examples of 1 or more or 0 for all.\n{WHERE}"
        )
    row = mesh(experiment.mesh, "'config.mesh'")
    check_divided(experiment, max(row.data, 1) * max(row.fsdp, 1))


def check_divided(experiment: "Experiment", devices: int) -> None:
    """Raises ConfigError for a batch of the clock that a mesh cannot split over so many devices."""
    wrong = [size for size in experiment.clock.batches if size % devices]
    if experiment.clock.target and wrong:
        raise ConfigError(
            f"'config.clock' has batches of {', '.join(map(str, wrong))}, and mesh '{experiment.mesh}' splits a batch "
            f"over {devices} devices.\n"
            f"Allowed: multiples of {devices}, or another mesh (xling_jax/tables/meshes.py).\n{WHERE}"
        )


def _check_mesh(experiment: "Experiment") -> None:
    """Raises ConfigError for a mesh that is not known, or on which a strategy would silently divide nothing."""
    row = mesh(experiment.mesh, "'config.mesh'")
    if experiment.strategy != "data" and row.data != 1 and (row.fsdp, row.tensor) == (1, 1):
        fitting = [name for name, other in MESHES.items() if (other.fsdp, other.tensor) != (1, 1)]
        raise ConfigError(
            f"Strategy '{experiment.strategy}' divides no parameters on mesh '{row.name}', whose devices are all for "
            f"data.\nAllowed: strategy='data', or a mesh with fsdp or tensor devices: {' '.join(fitting)}.\n{WHERE}"
        )


def _check_remembered(experiment: "Experiment") -> None:
    """Raises ConfigError for cells to be asked again that are not one cell each, or that no stage has a head for."""
    heads = {cell.row.head_name for _, stage in _stages(experiment) for cell in stage.cells()}
    for text in experiment.remember:
        found = parse_cells(text, "'config.remember'")
        _check_kind(found, "'config.remember'", "evaluated")
        _check_labels(found, "'config.remember'")
        head = found[0].row.head_name
        if len(found) != 1 or (head not in heads and not experiment.checkpoint):
            raise ConfigError(
                f"'{text}' in 'config.remember' is {len(found)} cells, answered by head '{head}'.\n"
                f"Allowed: one cell, of a head that a stage trains: {' '.join(sorted(heads))}.\n{WHERE}"
            )


def _check_unseen(experiment: "Experiment") -> None:
    """Raises ConfigError if a stage selects on a cell that a target is evaluated on."""
    evaluated = {cell: name for name, target in experiment.targets.items() for cell in target.cells()}
    for where, stage in _stages(experiment):
        if stage.selection.judged:
            cell = source_dev(stage.selection, stage.labelled_languages(), f"stage '{where}'").cell
            if cell in evaluated:
                raise ConfigError(
                    f"Stage '{where}' selects on {cell}, which target '{evaluated[cell]}' is evaluated on.\n"
                    f"Allowed: a cell that no target is evaluated on.\n{WHERE}"
                )


def _check_names(experiment: "Experiment") -> None:
    """Checks the languages, arms and targets that the report is told of."""
    for _, codes in experiment.language_groups:
        for code in codes:
            language(code, "'config.language_groups'")
    arms_named = [arm for pair in experiment.comparisons for arm in pair] + list(experiment.headline[:2])
    for arm in [*arms_named, *([experiment.baseline] if experiment.baseline else [])]:
        if arm not in experiment.arms:
            raise unknown("arm", arm, experiment.arms, "Arms are declared in the config, under arms.")
    for name in experiment.headline[2:]:
        if name not in experiment.targets:
            raise unknown("target", name, experiment.targets, "Targets are declared in the config, under targets.")
