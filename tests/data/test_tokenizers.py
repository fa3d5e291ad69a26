"""Tokenizers: ids in XLM-R's order, and spans that are slices of the original text."""

import unicodedata

import numpy as np
import pytest

from xling_jax.data.tokenizers import PieceTokenizer, SentencePieceTokenizer, load_tokenizer, train_sentencepiece
from xling_jax.errors import ConfigError, DataError

TEXTS = [
    "The quick brown fox jumps over the lazy dog, 123 times.",
    "Ｈｅｌｌｏ half ½ of ① it ... was fine",
    "สวัสดีครับ ฉันไม่ได้คิดอะไร กำลังทำ",
    "مرحبا بك في المدينة الكبيرة",
    "می‌خواهم به خانه بروم",
    "我喜欢你。北京，上海！",
    "मैं घर जा रहा हूँ।",
    "நான் வீட்டிற்கு செல்கிறேன்",
]
TRAINING = [*TEXTS, *(" ".join(reversed(text.split())) for text in TEXTS)]  # so that some words are there twice
SIZE = 130  # between the number of characters and of all the pieces that can be found
AWKWARD = [
    "",
    " ",
    "  two  spaces  ",
    "\ttab\nline\u00a0fixed\u3000wide\u200bnone",
    "ﬁne ﬂat ½ Ⅳ ﷺ",  # one character becomes two, three, eighteen
    "㍿ ｶﾞ a\u0301 e\u0301",  # several, and two become one
    "\ufeffmark \u00ad hyphen",
    "กำลัง ำ",  # a vowel that NFKC takes apart
    "😀 𠀀 𐍈",  # outside the first plane: not where UTF-16 would count
]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    train_sentencepiece(TRAINING, SIZE, path)
    return path


@pytest.fixture(scope="module")
def sentencepiece(model_file):
    return load_tokenizer(model_file)


def is_blank(character):
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def check_spans(tokenizer, text):
    """Asserts the promises of Encoding for one text."""
    encoding = tokenizer.encode(text)
    spans = encoding.spans
    assert encoding.ids.dtype == spans.dtype == np.int32
    assert spans.shape == (len(encoding.ids), 2)
    assert (np.diff(spans, axis=0) >= 0).all(), f"begins and ends go back in {text!r}: {spans.tolist()}"
    assert (spans >= 0).all() and (spans[:, 0] <= spans[:, 1]).all() and (spans <= len(text)).all()
    covered = {position for begin, end in spans for position in range(begin, end)}
    missing = [character for i, character in enumerate(text) if i not in covered and not is_blank(character)]
    assert not missing, f"no piece covers {missing} of {text!r}"
    for begin, end in spans:
        assert text[begin:end] == text[begin:end].strip(), f"a span of {text!r} starts or ends in white space"


@pytest.mark.parametrize("text", TEXTS + AWKWARD)
def test_sentencepiece_spans_cover_the_text(sentencepiece, text):
    check_spans(sentencepiece, text)


def test_sentencepiece_spans_are_characters_of_the_text_as_written(sentencepiece):
    text = "  กำลัง ½ Ｈｅ"
    encoding = sentencepiece.encode(text)
    pieces = sentencepiece.pieces(encoding.ids)
    of_half = [tuple(span) for piece, span in zip(pieces, encoding.spans, strict=True) if "1" in piece or "2" in piece]
    assert of_half == [(8, 9), (8, 9)], "both digits of ½ are its one character"
    assert tuple(encoding.spans[-1])[1] == len(text)
    whole = "".join(text[begin:end] for begin, end in dict.fromkeys(map(tuple, encoding.spans.tolist())))
    assert whole == "กำลัง½Ｈｅ"


def test_sentencepiece_ids_are_those_of_fairseq(sentencepiece, model_file):
    import sentencepiece as library  # noqa: PLC0415

    model = library.SentencePieceProcessor(model_file=str(model_file))
    assert (len(model), sentencepiece.size, sentencepiece.mask) == (SIZE, SIZE + 2, SIZE + 1)
    assert sentencepiece.pieces(range(5)) == ["<s>", "<pad>", "</s>", "<unk>", model.id_to_piece(3)]
    assert sentencepiece.pieces([SIZE, SIZE + 1]) == [model.id_to_piece(SIZE - 1), "<mask>"]
    assert sentencepiece.encode("fox ☃").ids.tolist()[-1] == sentencepiece.unk == 3
    known = sentencepiece.encode(TEXTS[0]).ids
    assert known.tolist() == [number + 1 for number in model.encode(TEXTS[0])]


def test_training_twice_gives_the_same_file(model_file, tmp_path):
    train_sentencepiece(iter(TRAINING), SIZE, tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == model_file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.model"], "nothing half-written is left"
    train_sentencepiece(TRAINING, SIZE - 5, tmp_path / "other.model")
    assert load_tokenizer(tmp_path / "other.model").fingerprint != load_tokenizer(model_file).fingerprint


def test_training_reads_long_texts(tmp_path):
    long = "xyλ " * 2_000
    train_sentencepiece([long, *TRAINING], SIZE, tmp_path / "long.model")
    assert 3 not in load_tokenizer(tmp_path / "long.model").encode("xyλ").ids


@pytest.mark.parametrize(("texts", "reason"), [([], "no text"), (["a b"], "too high")])
def test_training_on_too_little_is_an_error(texts, reason, tmp_path):
    with pytest.raises(ConfigError, match=f"(?s)200 pieces: .*{reason}"):
        train_sentencepiece(texts, 200, tmp_path / "none.model")
    assert not list(tmp_path.iterdir())


def test_words_have_a_piece_each(sentencepiece):
    words = ["brown", "", "\u200b", "กำลัง", "☃"]
    ids, word_index, first = sentencepiece.encode_words(words)
    assert sorted(set(word_index.tolist())) == [0, 1, 2, 3, 4]
    assert first.sum() == 5 and (first[1:] == (np.diff(word_index) > 0)).all() and first[0]
    assert ids[word_index == 1].tolist() == ids[word_index == 2].tolist() == [3]
    assert ids[word_index == 0].tolist() == sentencepiece.encode("brown").ids.tolist()
    assert (ids.dtype, word_index.dtype, first.dtype) == (np.int32, np.int32, bool)
    assert [len(part) for part in sentencepiece.encode_words([])] == [0, 0, 0]


def test_pieces_match_the_longest_first():
    tokenizer = PieceTokenizer(["ab", "a", "##b", "##bc", "b"])
    encoding = tokenizer.encode(" ab  abbc\tabx b")
    assert tokenizer.pieces(encoding.ids) == ["ab", "ab", "##bc", "<unk>", "b"]
    assert encoding.spans.tolist() == [[1, 3], [5, 7], [7, 9], [10, 13], [14, 15]]
    assert (tokenizer.size, tokenizer.mask, tokenizer.unk) == (10, 9, 3)
    assert encoding.ids.tolist() == [4, 4, 7, 3, 8]
    check_spans(tokenizer, "ab xyz  abbc")


def test_a_special_token_in_the_text_is_not_special():
    tokenizer = PieceTokenizer(["a", "longer"])
    assert tokenizer.encode("<s> <mask> <pad> a").ids.tolist() == [3, 3, 3, 4]


def test_a_vocabulary_has_no_piece_twice():
    for pieces in (["a", "a"], ["a", "<s>"], [""], ["##"]):
        with pytest.raises(ConfigError, match="vocabulary has"):
            PieceTokenizer(pieces)


def test_the_fingerprint_is_of_the_content():
    assert PieceTokenizer(["a", "b"]).fingerprint == PieceTokenizer(["a", "b"]).fingerprint
    assert PieceTokenizer(["a", "b"]).fingerprint != PieceTokenizer(["b", "a"]).fingerprint


def test_load_tokenizer(tmp_path):
    (tmp_path / "pieces.txt").write_text("ab\n##c\n", encoding="utf-8")
    assert load_tokenizer(tmp_path / "pieces.txt").encode("abc").ids.tolist() == [4, 5]
    (tmp_path / "broken.model").write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"broken\.model is not a SentencePiece model"):
        load_tokenizer(tmp_path / "broken.model")
    for name in ("none.model", "none.txt", "pieces.json"):
        with pytest.raises(DataError, match=f"No .* at .*{name}"):
            load_tokenizer(tmp_path / name)


def test_a_model_with_other_specials_is_refused(tmp_path):
    import io  # noqa: PLC0415

    import sentencepiece as library  # noqa: PLC0415

    model = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING),
        model_writer=model,
        vocab_size=SIZE,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )  # T5's order
    (tmp_path / "t5.model").write_bytes(model.getvalue())
    with pytest.raises(DataError, match="not laid out as XLM-R's model"):
        SentencePieceTokenizer(tmp_path / "t5.model")
