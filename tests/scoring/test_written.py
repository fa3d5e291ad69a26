"""What was written is read back by hand-made rows: one legal and one illegal text of each kind."""

import pytest

from xling_jax.scoring.written import Said, make_reader
from xling_jax.tables.prompts import PROMPTS, prompt_of
from xling_jax.tables.tasks import TASKS

CHOICES = {"choices": ["der Hund", "die Katze", "die Katze"]}
CONTEXT = {"context": "Die Katze sitzt."}
TAGS = ["DET", "NOUN", "VERB"]
SENTENCE = {"tokens": ["die", "Katze", "sitzt"]}


@pytest.mark.parametrize(
    ("task", "example", "said", "answer", "legal"),
    [
        ("xnli", {}, [Said("1")], "neutral", True),
        ("xnli", {}, [Said(" １ ")], "neutral", True),  # full width, as another vocabulary may write it
        ("xnli", {}, [Said("neutral")], "", False),
        ("xcopa", CHOICES, [Said("die  Katze")], 1, True),
        ("xcopa", CHOICES, [Said("Katze")], -1, False),
        ("xquad", CONTEXT, [Said("Hund", -3.0), Said("Katze", -2.0)], "Katze", True),
        ("xquad", CONTEXT, [Said("Hund", -1.0), Said("Katze", -2.0)], "Hund", False),
        ("squad2", CONTEXT, [Said("no answer", -0.1), Said("Katze", -5.0)], "Katze", True),
        ("squad2", CONTEXT, [Said("no answer", -0.1)], "", True),
        ("udpos", SENTENCE, [Said("DET NOUN", words=(0, 2)), Said("VERB", words=(2, 3))], TAGS, True),
        ("udpos", SENTENCE, [Said("DET", words=(0, 2)), Said("VERB", words=(2, 3))], ["DET", "O", "VERB"], False),
        ("udpos", SENTENCE, [Said("DET NOUN WORD", words=(0, 3))], ["DET", "NOUN", "O"], False),
    ],
)
def test_a_text_is_the_answer_it_says(task, example, said, answer, legal):
    row = TASKS[task]
    assert make_reader(row, prompt_of(row, "mt5"))(example, said) == (answer, legal)


def test_every_kind_that_is_asked_can_be_read():
    kinds = {row.kind for row in TASKS.values()} & set(PROMPTS["mt5"])
    rows = {row.kind: row for row in TASKS.values()}
    assert all(make_reader(rows[kind], prompt_of(rows[kind], "mt5")) for kind in kinds)
