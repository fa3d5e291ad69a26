"""Formats: one raw example of each kind, then what happens when a text does not fit."""

import itertools

import numpy as np
import pytest

from xling_jax.checks import MIN_LENGTH
from xling_jax.data.formats import format_of, join, mlm, span_qa, tagging, truncate
from xling_jax.data.tokenizers import Frame, PieceTokenizer, load_tokenizer, train_sentencepiece
from xling_jax.errors import DataError
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

RAW = {
    "mlm": {"id": "1", "text": "abc de"},
    "pair_classification": {"id": "1", "text": "abc", "text_pair": "de f", "label": -1},
    "span_qa": {"id": "1", "question": "ab", "context": "cd ef", "answers": [{"text": "ef", "start": 3}]},
    "tagging": {"id": "1", "tokens": ["abc", "d"], "tags": [0, -1]},
    "multiple_choice": {"id": "1", "text": "abc", "choices": ["d", "efg"], "label": 1},
    "retrieval": {"id": "1", "text": "abc", "text_pair": "d"},
    "mining": {"id": "1", "text": "abc", "side": "language", "gold": ["2"]},
    "dual_encoder": {"id": "1", "text": "d", "context": "abc d", "side": "candidate", "gold": []},
}
# <s> 0, <pad> 1, </s> 2; a is 4 at the start of a word and 30 inside one, b 5 and 31, ...
A, IN = 4, 30
MADE = {
    "mlm": {"input_ids": [0, A, IN + 1, IN + 2, A + 3, IN + 4, 2]},
    "pair_classification": {"input_ids": [0, A, IN + 1, IN + 2, 2, 2, A + 3, IN + 4, A + 5, 2]},
    "span_qa": {
        "input_ids": [0, A, IN + 1, 2, 2, A + 2, IN + 3, A + 4, IN + 5, 2],
        "start": 7,
        "end": 8,
        "spans": [*[[-1, -1]] * 5, [0, 1], [1, 2], [3, 4], [4, 5], [-1, -1]],
    },
    "tagging": {"input_ids": [0, A, IN + 1, IN + 2, A + 3, 2], "word": [-1, 0, -1, -1, 1, -1]},
    "multiple_choice": {
        "input_ids": [[0, A, IN + 1, IN + 2, 2, 2, A + 3, 2, 1, 1], [0, A, IN + 1, IN + 2, 2, 2, A + 4, 35, 36, 2]],
        "lengths": [8, 10],
        "label": 1,
    },
    "retrieval": {"input_ids": [[0, A, IN + 1, IN + 2, 2], [0, A + 3, 2, 1, 1]], "lengths": [5, 3]},
    "mining": {"input_ids": [0, A, IN + 1, IN + 2, 2]},
    "dual_encoder": {"input_ids": [[0, A + 3, 2, 2, A, IN + 1, IN + 2, A + 3, 2]], "lengths": [9]},
}


@pytest.fixture(scope="module")
def letters():
    """Returns a tokenizer that makes a piece of every letter."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return PieceTokenizer([*alphabet, *(f"##{letter}" for letter in alphabet)])


def raw(row):
    """Returns the raw example of a row's kind with words of its labels."""
    example = dict(RAW[row.kind])
    if row.kind == "pair_classification":
        example["label"] = row.labels[example["label"]]
    if row.kind == "tagging":
        example["tags"] = [row.labels[number] for number in example["tags"]]
    return example


def inner(feature):
    """Returns the ids of a feature of one text without <s> and </s>."""
    assert feature["input_ids"][0] == 0 and feature["input_ids"][-1] == 2
    return feature["input_ids"][1:-1].tolist()


def test_every_kind_has_an_example():
    assert RAW.keys() == MADE.keys() == KINDS.keys()
    for name, kind in KINDS.items():
        assert {"id", *kind.fields} <= RAW[name].keys(), name


@pytest.mark.parametrize("name", TASKS)
def test_one_example_of_each_row(name, letters):
    row = TASKS[name]
    (feature,) = format_of(row.kind).features(raw(row), letters, 64, row)
    last = len(row.labels) - 1
    expected = MADE[row.kind] | {
        "pair_classification": {"label": last},
        "tagging": {"labels": [-1, 0, -1, -1, last, -1]},
    }.get(row.kind, {})
    if row.unanswerable:
        expected = expected | {"spans": [[0, 0], *expected["spans"][1:]]}
    assert {array: value.tolist() for array, value in feature.items()} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_says_what_is_made(kind, letters):
    row = next(row for row in TASKS.values() if row.kind == kind)
    table = format_of(kind).FEATURES
    (feature,) = format_of(kind).features(raw(row), letters, 64, row)
    length = feature["input_ids"].shape[-1]
    assert feature.keys() == table.keys() and table["input_ids"].pad == letters.pad
    for name, spec in table.items():
        assert feature[name].dtype == np.int32 and feature[name].ndim == len(spec.axes), name
        for axis, size in zip(spec.axes, feature[name].shape, strict=True):
            assert axis == "C" or size == (length if axis == "L" else int(axis)), f"{name}: {axis} is {size}"


@pytest.mark.parametrize("length", [MIN_LENGTH, 9, 12, 31])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_longer_than_allowed(kind, length, letters):
    row = next(row for row in TASKS.values() if row.kind == kind)
    long = {name: "abcdefghi" * 9 for name in ("text", "text_pair", "question", "context") if name in RAW[kind]}
    tokens = {"tokens": ["ab", "cdefghij" * 9]} if kind == "tagging" else {}
    example = raw(row) | long | tokens
    made = format_of(kind).features(example, letters, length, row)
    assert max(feature["input_ids"].shape[-1] for feature in made) == length, "the room is used"


def made_of(letters, example, length):
    """Returns the rows of ids of a dual encoder's example, without padding."""
    (feature,) = format_of("dual_encoder").features(example, letters, length, TASKS["lareqa"])
    return [row[row != letters.pad].tolist() for row in feature["input_ids"]]


def test_a_query_and_its_answer_have_a_row_each(letters):
    pair = {"id": "1", "text": "abc", "text_pair": "d", "context": "d ef"}
    query, candidate = {**pair, "side": "query"}, {"id": "2", "text": "d", "context": "d ef", "side": "candidate"}
    rows = made_of(letters, pair, 64)
    assert rows == [[0, A, IN + 1, IN + 2, 2], [0, A + 3, 2, 2, A + 3, A + 4, IN + 5, 2]]
    assert rows == made_of(letters, query, 64) + made_of(letters, candidate, 64), "as trained, so evaluated"
    assert made_of(letters, {"id": "1", "text": "abc", "text_pair": "d"}, 64)[1] == [0, A + 3, 2], "no context"


def test_queries_are_cut_earlier_than_candidates(letters):
    long = {"id": "1", "text": "ab" * 200, "text_pair": "cd", "context": "ef" * 200}
    query, candidate = made_of(letters, long, 256)
    assert (len(query), len(candidate)) == (96, 256)
    assert candidate[:4] == [0, A + 2, IN + 3, 2], "the context is cut, the sentence is not"
    assert [len(row) for row in made_of(letters, long, 64)] == [64, 64]


def test_longest_first_truncation_keeps_both_parts():
    for first, second, room in itertools.product(range(12), range(12), range(2, 14)):
        long, short = np.arange(first), np.arange(100, 100 + second)
        kept = truncate(long, short, room)
        sizes = [len(part) for part in kept]
        by_one = [first, second]
        while sum(by_one) > room:
            by_one[by_one[0] <= by_one[1]] -= 1  # one token from the longer part; from the second of two as long
        assert sizes == by_one, (first, second, room)
        assert all((part == whole[: len(part)]).all() for part, whole in zip(kept, (long, short), strict=True))


def test_both_texts_of_a_pair_are_cut(letters):
    row = TASKS["mnli"]
    example = raw(row) | {"text": "a" * 40, "text_pair": "b" * 40}
    (feature,) = format_of("pair_classification").features(example, letters, 16, row)
    a, b = letters.encode("a" * 6).ids, letters.encode("b" * 6).ids
    assert feature["input_ids"].tolist() == join(letters, a, b).tolist()


def test_long_text_becomes_several(letters):
    text = "abcdefghijklm"
    ids = letters.encode(text).ids.tolist()
    for length in range(3, 20):
        made = mlm.features({"id": "1", "text": text}, letters, length, TASKS["xnli_text"])
        assert [number for feature in made for number in inner(feature)] == ids
        assert [len(feature["input_ids"]) for feature in made[:-1]] == [length] * (len(made) - 1)
        assert len(inner(made[-1])) > 0, "an empty piece of text"
    (empty,) = mlm.features({"id": "1", "text": ""}, letters, 8, TASKS["xnli_text"])
    assert inner(empty) == []


WORDS = "ab c defg hi j k lmnopqrstuvw xyz a".split()


@pytest.mark.parametrize("length", range(3, 30))
def test_every_word_is_tagged_once(length, letters):
    row = TASKS["udpos"]
    tags = [row.labels[number] for number in range(len(WORDS))]
    made = tagging.features({"id": "1", "tokens": WORDS, "tags": tags}, letters, length, row)
    assert max(len(feature["input_ids"]) for feature in made) <= length
    assert [number for feature in made for number in inner(feature)] == letters.encode(" ".join(WORDS)).ids.tolist()
    found = {}
    for feature in made:
        first = feature["word"] >= 0
        assert ((feature["labels"] >= 0) == first).all(), "a label stands on a word's first piece, and nowhere else"
        assert (feature["word"][[0, -1]] == -1).all(), "special tokens are not words"
        for position in np.flatnonzero(first):
            number = int(feature["word"][position])
            assert number not in found, f"word {number} is there twice"
            found[number] = int(feature["labels"][position])
            assert feature["input_ids"][position] == letters.encode(WORDS[number]).ids[0]
    assert found == {number: number for number in range(len(WORDS))}


def test_words_are_cut_only_where_they_do_not_fit(letters):
    tags = [TASKS["udpos"].labels[0]] * len(WORDS)
    made = tagging.features({"id": "1", "tokens": WORDS, "tags": tags}, letters, 8, TASKS["udpos"])
    shown = ["".join(letters.pieces(inner(feature))).replace("##", "") for feature in made]
    assert shown == ["abc", "defghi", "jk", "lmnopq", "rstuvw", "xyza"]


@pytest.mark.parametrize("tags", [["NOUN"], ["NOUN"] * 3])
def test_a_tag_for_each_word(tags, letters):
    with pytest.raises(DataError) as caught:
        tagging.features({"id": "th.7", "tokens": ["a", "b"], "tags": tags}, letters, 16, TASKS["udpos"])
    assert f"'th.7' of task 'udpos' has 2 words and {len(tags)} tags" in str(caught.value)


TEXTS = {
    "en": "The river Ister rises in the hills near Brigantium and reaches the sea after 2850 miles .",
    "th": "แม่น้ำเจ้าพระยาเป็นแม่น้ำสายสำคัญของประเทศไทย ไหลผ่านกรุงเทพมหานคร",
    "zh": "长江发源于青藏高原，流经十一个省，在上海市注入东海。全长约６３９７公里。",
    "ar": "ينبع نهر النيل من بحيرة فيكتوريا ويصب في البحر الأبيض المتوسط بعد ٦٦٥٠ كيلومترا",
}


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    train_sentencepiece([text for text in TEXTS.values() for _ in range(2)], 128, path)
    return load_tokenizer(path)


def windows(tokenizer, context, gold, length, task="squad"):
    answers = [{"text": context[slice(*gold)], "start": gold[0]}] if gold else []
    example = {"id": "1", "question": context[:3], "context": context, "answers": answers}
    return span_qa.features(example, tokenizer, length, TASKS[task])


def places(made, spans):
    """Yields (window, its first piece of the context, the piece after its last)."""
    at = -1
    for feature in made:
        held = feature["spans"][(feature["spans"] >= 0).all(1)].tolist()
        assert held, "a window without context"
        at = next(n for n in range(at + 1, len(spans)) if spans[n : n + len(held)].tolist() == held)
        yield feature, at, at + len(held)


def said(feature, context):
    """Returns what a feature's label says, as a slice of the context."""
    return context[feature["spans"][feature["start"], 0] : feature["spans"][feature["end"], 1]]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("length", [16, 24, 200])
def test_gold_answers_come_back_whole(language, length, sentencepiece):
    """Every run of whole pieces, as the gold answer, is given back by each window that holds it."""
    context = TEXTS[language]
    spans = sentencepiece.encode(context).spans
    pieces = [number for number, (begin, end) in enumerate(spans) if begin < end]
    for first, last in [pair for pair in itertools.combinations(pieces, 2) if pair[1] - pair[0] in (1, 2, 3)]:
        gold = int(spans[first, 0]), int(spans[last, 1])
        made = windows(sentencepiece, context, gold, length)
        touched = np.flatnonzero((spans[:, 0] < gold[1]) & (spans[:, 1] > gold[0]))
        held = 0
        for feature, begin, end in places(made, spans):
            whole = begin <= touched[0] and touched[-1] < end
            assert (feature["start"] >= 0) == (feature["end"] >= 0) == whole, "labels where the answer is, only there"
            assert not whole or said(feature, context) == context[slice(*gold)]
            held += whole
        assert held, f"no window of {length} holds '{context[slice(*gold)]}'"


@pytest.mark.parametrize("language", TEXTS)
def test_an_answer_inside_pieces_is_covered(language, sentencepiece):
    context = TEXTS[language]
    for begin in range(len(context) - 5):
        gold = (begin, begin + 4)
        for feature in windows(sentencepiece, context, gold, 200):
            assert context[slice(*gold)].strip() in said(feature, context), gold


@pytest.mark.parametrize("gold", [None, (2, 9)])
def test_where_questions_may_have_no_answer_a_window_without_one_points_at_its_first_token(gold, sentencepiece):
    made = windows(sentencepiece, TEXTS["th"], gold, 20, "squad2")
    without = [feature for feature in made if feature["start"] == feature["end"] == 0]
    assert len(without) == len(made) if gold is None else 0 < len(without) < len(made)
    for feature in made:
        assert feature["spans"][0].tolist() == [0, 0] and (feature["spans"][1:4] < 0).all(), "<s> may be the answer"
        assert feature["start"] in np.flatnonzero(feature["spans"][:, 0] >= 0), "what is labelled can be answered"


@pytest.mark.parametrize("length", [MIN_LENGTH, 13, 20, 60])
def test_windows_cover_the_context_and_overlap(length, sentencepiece):
    spans = sentencepiece.encode(TEXTS["th"]).spans
    made = windows(sentencepiece, TEXTS["th"], None, length)
    seen, before = 0, -1
    for feature, begin, end in places(made, spans):
        assert feature["start"] == feature["end"] == -1
        assert len(feature["input_ids"]) == len(feature["spans"]) <= length
        assert before < begin <= seen - (end - begin) // 2 * (begin > 0), "the next window repeats half of the last"
        seen, before = end, begin
    assert seen == len(spans)


def test_a_long_question_leaves_room_for_the_context(letters):
    example = {"id": "1", "question": "a" * 100, "context": "b" * 50, "answers": [{"text": "b" * 50, "start": 0}]}
    for length in (MIN_LENGTH, 16, 64, 384):
        made = span_qa.features(example, letters, length, TASKS["squad"])
        spoken = [int((feature["spans"][:, 0] >= 0).sum()) for feature in made]
        assert min(spoken) > 0 and max(spoken) >= min(50, (length - 4) // 2), "half of the room is the context's"


FRAMES = {"xlmr": ([0], [2, 2], [2]), "mt5": ([], [2], [2]), "llama": ([0], [2], [2])}


@pytest.mark.parametrize("family", FRAMES)
def test_frames_of_the_families(family):
    """Whatever stands around the texts, labels and spans stay with their pieces, and the room is used."""
    before, between, after = FRAMES[family]
    tokenizer = PieceTokenizer([*"abcdefgh", *(f"##{letter}" for letter in "abcdefgh")])
    tokenizer.frame = Frame.of(before, between, after)
    a, b = tokenizer.ids("ab").tolist(), tokenizer.ids("cd").tolist()
    assert join(tokenizer, *map(np.array, (a, b))).tolist() == [*before, *a, *between, *b, *after]
    row = TASKS["udpos"]
    words = ["ab", "cd", "efgh"] * 3
    for feature in tagging.features({"id": "1", "tokens": words, "tags": ["NOUN"] * 9}, tokenizer, 9, row):
        assert len({len(array) for array in feature.values()}) == 1
        first = np.flatnonzero(feature["word"] >= 0)
        assert [tokenizer.ids(words[n])[0] for n in feature["word"][first]] == feature["input_ids"][first].tolist()
    context = "ab cd ef gh"
    for feature in windows(tokenizer, context, (3, 8), 12):
        inside = np.flatnonzero(feature["spans"][:, 0] >= 0)
        spoken = [context[begin:end] for begin, end in feature["spans"][inside]]
        assert [name.removeprefix("##") for name in tokenizer.pieces(feature["input_ids"][inside])] == spoken
        assert len(feature["spans"]) == len(feature["input_ids"]) <= 12
        assert feature["start"] < 0 or said(feature, context) == "cd ef"
    for kind in KINDS:
        row = next(row for row in TASKS.values() if row.kind == kind)
        long = {name: "abcdefgh" * 9 for name in ("text", "text_pair", "question", "context") if name in RAW[kind]}
        tokens = {"tokens": ["ab", "cdefgh" * 9]} if kind == "tagging" else {}
        made = format_of(kind).features(raw(row) | long | tokens, tokenizer, 16, row)
        assert max(feature["input_ids"].shape[-1] for feature in made) == 16, kind
