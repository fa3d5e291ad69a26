"""The checkpoint that an experiment starts from: opened, and told by what it holds."""

import pathlib

from xling_jax.checks import check_model
from xling_jax.data.tokenizers import load_tokenizer
from xling_jax.disk import as_path
from xling_jax.errors import CheckpointError
from xling_jax.experiment import Experiment, Vocabulary, digest
from xling_jax.models.build import HeadSpec
from xling_jax.models.card import TOKENIZER, Card, read_card
from xling_jax.stages.plan import Start
from xling_jax.tables.models import decides
from xling_jax.tables.tasks import TASKS, tasks_of_head
from xling_jax.train.checkpoint import PARAMS, open_own


def open_start(experiment: Experiment) -> Start | None:
    """Returns an experiment's checkpoint, None if it pretrains. Reads no parameters.

    Raises:
      CheckpointError: there is none, it is damaged, or it has no vocabulary.
      ConfigError: a stage's inputs are longer than its model has positions, or its optimiser asks for what it has not.
    """
    if not experiment.checkpoint:
        return None
    folder = as_path(experiment.checkpoint)
    card = read_card(folder)
    done = "stage" not in card.origin or (folder / "DONE").is_file()
    if experiment.checkpoint_step is None and not done:
        raise CheckpointError(
            f"{folder} is a stage that is not done.\nAllowed: one that is. Run its experiment to the end."
        )
    check_model(experiment, card.model)
    vocabulary = vocabulary_of(folder, card)
    with open_own(folder, experiment.checkpoint_step, create=False) as (checkpoints, step):
        held = checkpoints.meta(step)[PARAMS]
    fingerprint = digest(decides(card.model), card.heads, card.labels, held)
    return Start(folder, step, card, vocabulary, fingerprint)


def vocabulary_of(folder: pathlib.Path, card: Card) -> Vocabulary:
    """Returns a checkpoint's vocabulary. Raises CheckpointError if it has none, or not the one it had."""
    if card.vocabulary is None:
        raise CheckpointError(
            f"{folder} has no vocabulary, so no text can be put into it.\n"
            "Allowed: a checkpoint with one. Convert it again with --tokenizer=FOLDER."
        )
    if card.vocabulary.family == "world":
        return Vocabulary()
    path = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else as_path(card.vocabulary.path)
    found = load_tokenizer(path, card.vocabulary.family).fingerprint
    if found != card.vocabulary.fingerprint:
        raise CheckpointError(
            f"{path} is not the vocabulary that {folder} was made with ({found}, not {card.vocabulary.fingerprint}).\n"
            "Allowed: the same files. Convert or train it again."
        )
    return Vocabulary(kind=card.vocabulary.family, path=str(path))


def check_labels(start: Start, loaded: dict[str, str], heads: tuple[HeadSpec, ...]) -> None:
    """Raises CheckpointError if a head would be loaded whose labels have another order than its task's.

    Args:
      start: the checkpoint.
      loaded: part here -> part there, as `transfer.Loading` has it.
      heads: those of the stage.
    """
    for head in heads:
        there = loaded.get(f"head_{head.name}", "").removeprefix("head_")
        published = start.card.labels.get(there, ())
        mine = next((TASKS[name].labels for name in tasks_of_head(head.name)), ())
        if published and [word.casefold() for word in published] != [word.casefold() for word in mine]:
            raise CheckpointError(
                f"Head '{there}' of {start.folder} answers {', '.join(published)}, and head '{head.name}' "
                f"{', '.join(mine)}.\nAllowed: the same labels in the same order. Convert it again with --task=NAME of "
                "a task that has them, or set handover.head='reinit' for a new head."
            )
