"""Sentences of English text: by hand, and against the sentence breaks that LAReQA's publisher made."""

import json

import pytest

from xling_jax.data.sentences import sentence_at, sentence_spans
from xling_jax.data.sources import load_files
from xling_jax.tables.tasks import Cell


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One bird. Two birds!  Why? ", ["One bird.", "Two birds!", "Why?"]),
        ('He said "go." (They went.) "Now?" She', ['He said "go."', "(They went.)", '"Now?"', "She"]),
        ("It was so.[4] Then", ["It was so.[4]", "Then"]),
        ("Dr. Who met J. R. Hartley. e.g. this", ["Dr. Who met J. R. Hartley. e.g. this"]),
        ("About 3.5 km. 20 more", ["About 3.5 km.", "20 more"]),
        ("no end", ["no end"]),
        ("  ", []),
    ],
)
def test_sentences(text, sentences):
    assert [text[begin:end] for begin, end in sentence_spans(text)] == sentences


def test_the_sentence_of_a_character():
    spans = sentence_spans("One bird. Two.")
    assert [sentence_at(spans, at) for at in (0, 8, 9, 10, 13, 14)] == [(0, 9), (0, 9), None, (10, 14), (10, 14), None]
    assert sentence_at([], 0) is None


def test_as_the_publisher_breaks_them(data_dir):
    """99% of the answers of XQuAD-R's English questions stand in the same sentence."""
    file = load_files(Cell("lareqa", "candidates", "en"), data_dir)[0]
    same = total = 0
    for article in json.loads(file.data)["data"]:
        for paragraph in article["paragraphs"]:
            spans = sentence_spans(paragraph["context"])
            theirs = [tuple(pair) for pair in paragraph["sentence_breaks"]]
            starts = [question["answers"][0]["answer_start"] for question in paragraph["qas"]]
            same += sum(sentence_at(spans, start) == sentence_at(theirs, start) for start in starts)
            total += len(starts)
    assert total == 1190 and same / total > 0.98, f"{same} of {total}"
