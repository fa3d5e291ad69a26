"""`datasets.map(batched=True)` with a fast tokenizer, as the published fine-tuning examples of transformers do it."""

import pathlib

import datasets
from transformers import AutoTokenizer

from preparing_arms import STRIDE, Run, examples, labels

datasets.disable_progress_bars()


def make(folder: pathlib.Path, cell: str, length: int, count: int) -> Run:
    """Returns what is timed."""
    rows = examples(cell, count)
    kind = cell.partition(".")[0]
    if kind == "squad":
        for row in rows:
            answer = row.pop("answers")[0]
            row |= {"begin": answer["start"], "end": answer["start"] + len(answer["text"])}
    source = datasets.Dataset.from_list(rows)
    function = {"mnli": _pairs, "squad": _windows, "udpos": _tags}[kind]
    given = {"fast": AutoTokenizer.from_pretrained(folder), "length": length}
    given |= {} if kind == "squad" else {"numbers": {name: number for number, name in enumerate(labels(cell))}}

    def run() -> tuple[int, int, int]:
        out = folder / "mapped.arrow"
        columns = source.column_names
        mapped = source.map(
            function,
            batched=True,
            fn_kwargs=given,
            remove_columns=columns,
            load_from_cache_file=False,
            cache_file_name=str(out),
        )
        features = len(mapped)
        out.unlink()
        return len(rows), features, -1

    return run


def _pairs(batch, fast, length, numbers):
    made = fast(batch["text"], batch["text_pair"], truncation="longest_first", max_length=length)
    return {"input_ids": made["input_ids"], "label": [numbers[name] for name in batch["label"]]}


def _windows(batch, fast, length):
    made = fast(
        batch["question"],
        batch["context"],
        truncation="only_second",
        max_length=length,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    gold = [
        _gold(made.sequence_ids(at), offsets, batch["begin"][number], batch["end"][number])
        for at, (offsets, number) in enumerate(
            zip(made["offset_mapping"], made["overflow_to_sample_mapping"], strict=True)
        )
    ]
    starts, ends = map(list, zip(*gold, strict=True))
    return {"input_ids": made["input_ids"], "spans": made["offset_mapping"], "start": starts, "end": ends}


def _gold(sequence, offsets, begin, stop):
    """Returns the first and last token of an answer, (-1, -1) where the window does not hold it."""
    first = sequence.index(1)
    last = len(sequence) - 1 - sequence[::-1].index(1)
    if offsets[first][0] > begin or offsets[last][1] < stop:
        return -1, -1
    while first < last and offsets[first][1] <= begin:
        first += 1
    while last > first and offsets[last][0] >= stop:
        last -= 1
    return first, last


def _tags(batch, fast, length, numbers):
    made = fast(batch["tokens"], is_split_into_words=True, truncation=True, max_length=length)
    every = []
    for at, names in enumerate(batch["tags"]):
        before, row = None, []
        for word in made.word_ids(at):
            row.append(-1 if word is None or word == before else numbers[names[word]])
            before = word
        every.append(row)
    return {"input_ids": made["input_ids"], "labels": every}
