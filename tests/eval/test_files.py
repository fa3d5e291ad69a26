"""What is handed in scores what the rows say: an evaluator's file against the label file, by `xling score`."""

import pathlib
import random

import pytest

from xling_jax.eval.suite import kind_module
from xling_jax.scoring.files import ScoreFile
from xling_jax.scoring.layouts import LAYOUTS
from xling_jax.scoring.metrics import score, value
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

WORDS = "la 北京 大学 der Hund, «x» ไทย the a Peru".split()


def text(draw):
    return " ".join(draw.choices(WORDS, k=draw.randrange(1, 4)))


def half(draw, right, wrong):
    return right if draw.random() < 0.5 else wrong


def labels(draw, ids, row):
    return [{"id": i, "label": draw.choice(row.labels)} for i in ids], draw.choices(row.labels, k=len(ids))


def choices(draw, ids, row):
    raw = [{"id": i, "choices": ["x", "y"], "label": draw.randrange(2)} for i in ids]
    return raw, [draw.randrange(2) for _ in ids]


def tags(draw, ids, row):
    raw = [{"id": i, "tags": draw.choices(row.labels, k=draw.randrange(1, 9))} for i in ids]
    return raw, [[half(draw, tag, draw.choice(row.labels)) for tag in example["tags"]] for example in raw]


def spans(draw, ids, row):
    golds = [[{"text": text(draw), "start": 0} for _ in range(draw.randrange(1, 4))] for _ in ids]
    raw = [{"id": i, "question": "?", "context": "c", "answers": gold} for i, gold in zip(ids, golds, strict=True)]
    return raw, [half(draw, gold[-1]["text"], text(draw)) for gold in golds]


def translations(draw, ids, row):
    raw = [{"id": i, "text": "t", "text_pair": text(draw) + i} for i in ids]
    return raw, [half(draw, i, draw.choice(ids)) for i in ids]


def pairs(draw, ids, row):
    pivots = [f"p{at}" for at in range(len(ids))]
    golds = [half(draw, [pivot], []) for pivot in pivots]
    raw = [{"id": i, "side": "language", "gold": gold} for i, gold in zip(ids, golds, strict=True)]
    found = [half(draw, gold, [draw.choice(pivots)]) for gold in golds]
    return raw + [{"id": pivot, "side": "pivot", "gold": []} for pivot in pivots], found + [[] for _ in pivots]


def rankings(draw, ids, row):
    names = [f"c{at}" for at in range(30)]
    raw = [{"id": i, "side": "query", "gold": draw.sample(names, draw.randrange(1, 12))} for i in ids]
    return raw, [draw.sample(names, 20) for _ in ids]


DRAW = {  # kind -> raw examples, and answers of which about half are right
    "pair_classification": labels,
    "multiple_choice": choices,
    "tagging": tags,
    "span_qa": spans,
    "retrieval": translations,
    "mining": pairs,
    "dual_encoder": rankings,
}
CELLS = ("xnli.sw", "xcopa.qu", "udpos.th", "panx.en", "xquad.zh", "mlqa.zh", "mlqa.de", "tatoeba.sw", "bucc2018.zh")


@pytest.mark.parametrize("cell", [*CELLS, "lareqa.ar"])
@pytest.mark.parametrize("seed", range(3))
def test_a_file_scores_what_its_rows_say(cell, seed):
    task, _, language = cell.partition(".")
    row, draw = TASKS[task], random.Random(seed)
    raw, answers = DRAW[row.kind](draw, [f"{task}-{at}" for at in range(40)], row)
    ending, text = kind_module(row.kind).submission(answers, raw)
    layout = LAYOUTS[row.kind]
    assert ending == layout.ending
    gold, found = (
        ScoreFile(pathlib.Path(name), written.encode())
        for name, written in (("gold", layout.gold(raw)), ("found", text))
    )
    scored = layout.score(gold, found, row, language)
    rows = {name: value(pairs) for name, pairs in score(row.kind, raw, answers, language, row.scorer).items()}
    assert 5 < rows[KINDS[row.kind].metrics[0]] < 95, "neither all wrong nor all right"
    for metric, percent in rows.items():
        assert (scored.corrected | scored.published)[metric] == pytest.approx(percent, abs=1e-9), metric
