"""What is measured: English MNLI, SQuAD and UD as far as the data folder has them, and under which conditions."""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
from importlib import metadata

from xling_jax.data.prepare import Prepared, prepare, raw_examples
from xling_jax.data.tokenizers import SentencePieceTokenizer, train_sentencepiece
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells

VOCABULARY = 16_000  # pieces; trained on the subjects' own text, English words have about as many as in XLM-R's


@dataclasses.dataclass(frozen=True)
class Subject:
    """A training cell, its longest input, and the lengths that a batch of it is padded to without packing."""

    cell: str
    max_length: int
    buckets: tuple[int, ...]


SUBJECTS = {
    "mnli": Subject("mnli.dev.en", 128, (24, 32, 40, 48, 64, 80, 96, 128)),
    "squad": Subject("squad.train44.en", 384, (128, 160, 192, 224, 256, 320, 384)),
    "udpos": Subject("udpos.train.en", 128, (8, 16, 24, 32, 40, 48, 64, 80, 96, 128)),
}


def _part(subject: Subject) -> Part:
    return Part(*parse_cells(subject.cell), 0, 0, subject.max_length)


def _texts(data_dir: pathlib.Path):
    for subject in SUBJECTS.values():
        for example in raw_examples(_part(subject), data_dir):
            yield from (example[name] for name in ("text", "text_pair", "question", "context") if name in example)
            if "tokens" in example:
                yield " ".join(example["tokens"])


def open_subjects(workdir: pathlib.Path, data_dir: pathlib.Path) -> dict[str, Prepared]:
    """Returns the prepared cells, made the first time."""
    model = workdir / f"{VOCABULARY}.model"
    if not model.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        train_sentencepiece(dict.fromkeys(_texts(data_dir)), VOCABULARY, model)
    tokenizer = SentencePieceTokenizer(model)
    parts = {name: _part(subject) for name, subject in SUBJECTS.items()}
    return {name: prepare(part, tokenizer, workdir / "prepared", data_dir) for name, part in parts.items()}


def conditions(*packages: str) -> dict:
    """Returns what a reader has to know of a measurement: machine, load, versions, date, commit."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
    }


def _processor() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "processor not named")


def write(path: pathlib.Path, record: dict) -> None:
    """Writes a measurement beside the script that made it, and says so."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
