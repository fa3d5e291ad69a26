"""The cells of an experiment: vocabulary, prepared examples, floors and ceilings."""

import itertools
import json
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xling_jax.data.formats import format_of_part
from xling_jax.data.prepare import Prepared, Records, keeps_raw, prepare, raw_examples, sweep
from xling_jax.data.sources import checksum, is_there
from xling_jax.data.tokenizers import FAMILIES, PieceTokenizer, Tokenizer, load_tokenizer, train_vocabulary
from xling_jax.data.workers import default_jobs, prepare_all
from xling_jax.disk import as_path
from xling_jax.errors import ConfigError
from xling_jax.eval.suite import OpenCell, scores_of
from xling_jax.experiment import Experiment, Part, Stage, Target, Vocabulary, digest
from xling_jax.models.card import VocabularyCard
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text
from xling_jax.scoring.floors import FLOORS, LEARNING, Searched
from xling_jax.scoring.metrics import scorer_of, value
from xling_jax.scoring.pairs import Sentences
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import TASKS, Cell, parse_cells

NOTHING: dict[str, dict[str, float]] = {"floors": {}, "ceilings": {}}


class Cells:
    """Opens cells for training and for evaluation, making what is not there yet."""

    def __init__(
        self,
        experiment: Experiment,
        workdir: pathlib.Path,
        data_dir: pathlib.Path | None,
        vocabulary: Vocabulary | None = None,
        checksums: dict[Cell, str] | None = None,
    ):
        """Opens nothing yet.

        Args:
          experiment: whose cells they are.
          workdir: for what is made.
          data_dir: the data folder.
          vocabulary: that of the experiment's checkpoint, if it has one.
          checksums: of sources that were read before, by others; what is read here is added.
        """
        self.experiment = experiment
        self.vocabulary = vocabulary or experiment.vocabulary
        self._workdir = workdir
        self._data_dir = data_dir
        self._checksums = {} if checksums is None else checksums
        self._tokenizer: Tokenizer | None = None
        self._prepared: dict[Part, Prepared] = {}
        self._lock = threading.Lock()
        self._seen: tuple[tuple[Part, ...], list[dict]] = ((), [])
        self._among: tuple[tuple[Cell, ...], Searched | None] = ((), None)

    def checksum(self, cell: Cell) -> str:
        """Returns the checksum of a cell's source, read once."""
        if cell not in self._checksums:
            self._checksums[cell] = checksum(cell, self._data_dir)
        return self._checksums[cell]

    def vocabulary_hash(self) -> str:
        """Returns the hash of what decides the vocabulary, without making it."""
        spec = self.vocabulary
        if spec.kind == "world":
            return self._world_tokenizer().fingerprint
        if spec.path:
            return load_tokenizer(spec.path, spec.kind).fingerprint
        return digest(spec.kind, spec.size, {str(cell): self.checksum(cell) for cell in self._vocabulary_cells()})

    def _world_tokenizer(self) -> Tokenizer:
        from xling_jax import world  # noqa: PLC0415 - only experiments on generated data need it

        return PieceTokenizer(world.pieces())

    def _vocabulary_cells(self) -> list[Cell]:
        spec = self.vocabulary
        if not (spec.data and spec.size):
            raise ConfigError(
                f"The vocabulary has path='{spec.path}', size={spec.size} and data={spec.data}.\n"
                "Allowed: the path of a vocabulary, or a size and cells of text to train one on.\n"
                "Fields are declared in xling_jax/experiment.py."
            )
        return [cell for text in spec.data for cell in parse_cells(text, "'config.vocabulary'")]

    def tokenizer(self) -> Tokenizer:
        """Returns the experiment's tokenizer, training its vocabulary the first time."""
        if self._tokenizer is None:
            spec = self.vocabulary
            if spec.kind == "world":
                self._tokenizer = self._world_tokenizer()
            else:
                self._tokenizer = load_tokenizer(spec.path or self._train_vocabulary(), spec.kind)
        return self._tokenizer

    def vocabulary_card(self) -> VocabularyCard:
        """Returns what a checkpoint says of the vocabulary."""
        tokenizer, spec = self.tokenizer(), self.vocabulary
        path = "" if spec.kind == "world" else str(as_path(spec.path or self._train_vocabulary()).absolute())
        return VocabularyCard(tokenizer.family, tokenizer.size, tokenizer.fingerprint, path)

    def _train_vocabulary(self) -> pathlib.Path:
        spec = self.vocabulary
        path = self._workdir / "vocabularies" / f"{self.vocabulary_hash()}{FAMILIES[spec.kind].suffix}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            texts = (text for cell in self._vocabulary_cells() for text in self._texts(cell))
            train_vocabulary(spec.kind, texts, spec.size, path)
        return path

    def _texts(self, cell: Cell):
        """Yields the text of a cell's examples, whatever their kind."""
        for example in raw_examples(Part(cell, 0, self.experiment.limits.get(cell.split, 0), 0), self._data_dir):
            for field in ("text", "text_pair", "question", "context"):
                if field in example:
                    yield example[field]
            if "tokens" in example:
                yield " ".join(example["tokens"])

    def ids(self, part: Part, numbers: set[int]) -> dict[int, Any]:
        """Returns {number in the cell: id} of examples of a part, as its source has them; none of those without."""
        last = max(numbers, default=-1) + 1 - part.first
        examples = enumerate(itertools.islice(raw_examples(part, self._data_dir), last), start=part.first)
        return {number: example["id"] for number, example in examples if number in numbers and "id" in example}

    def blank(self, task: str, form: str) -> np.ndarray:
        """Returns the ids of a task's prompt in a form, without content."""
        cell = Cell(task, next(iter(TASKS[task].splits)), self.experiment.source_language)
        return format_of_part(Part(cell, 0, 0, 0, form), self.tokenizer()).blank()

    def prepare_all(
        self, parts: Sequence[Part], tell: Callable[[Part], None], pause: Callable[[], None] = lambda: None
    ) -> None:
        """Makes the vocabulary and all prepared parts, with as many processes as pay; see `prepare_all` of workers.

        Of several hosts the first one does; the others find what it has made.
        """
        folder = self._workdir / "prepared"

        def make():
            prepare_all(parts, self.tokenizer(), folder, self._data_dir, jobs=default_jobs(), tell=tell, pause=pause)

        hosts.first_does("prepared examples", make)

    def sweep(self) -> None:
        """Removes what killed processes have left of cells: what was too young for that when others were prepared."""
        if hosts.first():
            sweep(self._workdir / "prepared")

    def prepare(self, part: Part) -> Prepared:
        """Returns a prepared part of a cell."""
        if part not in self._prepared:
            self._prepared[part] = prepare(part, self.tokenizer(), self._workdir / "prepared", self._data_dir)
        return self._prepared[part]

    def open(self, cell: Cell, target: Target, beside: bool = True, trained: Stage | None = None) -> OpenCell:
        """Returns a cell opened for evaluation on a target.

        `beside`: with floors and ceilings; floors learn from what the stage `trained` is trained on.
        """
        with self._lock:  # two stages must not write the same floors at once
            return self._open(cell, target, beside, trained)

    def _open(self, cell: Cell, target: Target, beside: bool, trained: Stage | None) -> OpenCell:
        part = target.part(cell, self.experiment.limits)
        raw = self._examples(part) if hosts.first() else []  # which prepares them; the others find that done

        def made():
            return self._beside(self.prepare(part), raw, target, part, trained) if beside else NOTHING

        found = hosts.first_does(f"{cell} to evaluate", made)
        prepared, raw = self.prepare(part), raw if hosts.first() else self._examples(part)
        return OpenCell(cell, raw, prepared, found["floors"], found["ceilings"])

    def _examples(self, part: Part) -> Sequence[dict]:
        return self.prepare(part).raw() if keeps_raw(part.cell) else list(raw_examples(part, self._data_dir))

    def _beside(
        self, prepared: Prepared, raw: Sequence[dict], target: Target, made: Part, trained: Stage | None
    ) -> dict[str, dict[str, float]]:
        """Returns floors and ceilings of a cell, computed once.

        A floor that learns does so from what the stage is trained on that answers; where a checkpoint is evaluated as
        it is, from what the task's benchmark prescribes. Where that is not here it is left out.
        """
        cell, kind = prepared.cell, prepared.cell.row.kind
        if cell.withheld or cell.searched:
            return NOTHING
        parts = trained.parts(self.experiment.limits) if trained else ()
        train = tuple(part for part in parts if part.cell.row.kind == kind)  # a stage may train other kinds beside
        train = train or self._prescribed(cell)
        depends = [(self.checksum(part.cell), part) for part in train]
        name = digest([scorer_of(kind, cell.row.scorer).id, *depends, *(self.checksum(other) for other in cell.among)])
        path = self._workdir / "prepared" / prepared.path.name / f"beside-{name}.json"  # on a bucket, where all see it
        if not path.is_file():
            seen = self._raw(train) if kind in LEARNING else []
            answerable = kind in FLOORS and (seen or kind not in LEARNING)
            floors = scores_of(cell, raw, self._floor(cell, seen, raw, target)) if answerable else {}
            reachable = self._reachable(prepared, raw, made)
            ceilings = scores_of(cell, raw, reachable) if reachable else {}
            beside = {
                "floors": {metric: value(pairs) for metric, pairs in floors.items()},
                "ceilings": {metric: value(pairs) for metric, pairs in ceilings.items()},
            }
            write_text(path, json.dumps(beside))
        return json.loads(path.read_text())

    def _prescribed(self, cell: Cell) -> tuple[Part, ...]:
        """Returns the training cells that a benchmark prescribes for a task, as far as their files are here."""
        found = [cell for text in cell.row.train_from.split() for cell in parse_cells(text)]
        limits = self.experiment.limits
        return tuple(Part(cell, 0, limits.get(cell.split, 0), 0) for cell in found if is_there(cell, self._data_dir))

    def _floor(self, cell: Cell, seen: Sequence[dict], raw: Sequence[dict], target: Target) -> list:
        """Returns what a program without a model answers."""
        among = {}
        if cell.among:
            if self._among[0] != cell.among:  # the last ones are kept, as the queries of all languages need them
                each = ((self.prepare(target.part(one, self.experiment.limits)).raw(), one) for one in cell.among)
                self._among = cell.among, Searched((some, LANGUAGES[one.language].spaced) for some, one in each)
            among = {"among": self._among[1]}
        return FLOORS[cell.row.kind](seen, raw, LANGUAGES[cell.language].spaced, **among)

    def _raw(self, parts: tuple[Part, ...]) -> list[dict]:
        """Returns the raw examples that floors are counted on; the last ones are kept, as all languages need them."""
        if self._seen[0] != parts:
            self._seen = (parts, [example for part in parts for example in raw_examples(part, self._data_dir)])
        return self._seen[1]

    def _reachable(self, prepared: Prepared, raw: Sequence[dict], made: Part) -> list:
        """Returns the best answers there can be, where they may fall short of the gold ones; else nothing.

        For a question that is the gold answer as tokens can say it, "" if no window holds it; for a sentence to be
        mined, its translations of which neither side repeats.
        """
        if prepared.cell.row.kind == "mining":
            return Sentences.of(raw).reachable()
        if prepared.cell.row.kind != "span_qa":
            return []
        best, form = [""] * len(raw), format_of_part(made, self.tokenizer())
        features = Records(prepared).read(np.arange(len(prepared.example_N)).tolist())
        for number, feature in zip(prepared.example_N, features, strict=True):
            best[number] = form.said(raw[number]["context"], feature) or best[number]
        return best
