"""Tokenizers: ids in their family's order, and spans that are slices of the original text."""

import json
import pickle
import sys
import unicodedata

import numpy as np
import pytest

from xling_jax.data.tokenizers import (
    FAMILIES,
    PieceTokenizer,
    SentencePieceTokenizer,
    base,
    load_tokenizer,
    train_sentencepiece,
    train_vocabulary,
)
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
SIZES = {"xlmr": 150, "mt5": 410, "llama": 430, "qwen": 300}
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
        with pytest.raises(DataError, match=f"(?s)No .* at .*{name}"):
            load_tokenizer(tmp_path / name)


@pytest.mark.parametrize(
    ("made", "asked", "found"),
    [
        ("mt5", "xlmr", "<unk> 2, <s> -1, </s> 1, <pad> 0"),
        ("xlmr", "llama", "without byte"),
        ("llama", "xlmr", "with byte"),
    ],
)
def test_a_model_of_another_family_is_refused(families, made, asked, found):
    with pytest.raises(DataError) as caught:
        SentencePieceTokenizer(families[made], asked)
    said = str(caught.value)
    assert f"not laid out as a model of family '{asked}'" in said and found in said and "Allowed: " in said
    assert SentencePieceTokenizer(families[made]).family == made, "and without a name it is told by its file"


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Returns a trained vocabulary's file of each family."""
    folder = tmp_path_factory.mktemp("families")
    files = {name: folder / f"{name}{row.suffix}" for name, row in FAMILIES.items()}
    for name, file in files.items():
        train_vocabulary(name, TRAINING + AWKWARD, SIZES[name], file)
    return files


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, families):
    return load_tokenizer(families[request.param])


@pytest.mark.parametrize("text", TEXTS + AWKWARD)
def test_spans_of_each_family_cover_the_text(family, text):
    check_spans(family, text)
    assert family.ids(text).tolist() == family.encode(text).ids.tolist()


SPECIAL = {  # bos, pad, eos, unk, and what stands before, between and after two texts
    "xlmr": (0, 1, 2, 3, [0], [2, 2], [2]),
    "mt5": (-1, 0, 1, 2, [], [1], [1]),
    "llama": (1, 0, 2, 0, [1], [2], [2]),
    "qwen": (-1, SIZES["qwen"] - 1, SIZES["qwen"] - 1, -1, [], [SIZES["qwen"] - 1], [SIZES["qwen"] - 1]),
}


def test_special_tokens_of_each_family(family):
    frame = [part.tolist() for part in (family.frame.before, family.frame.between, family.frame.after)]
    assert (family.bos, family.pad, family.eos, family.unk, *frame) == SPECIAL[family.family]
    assert (family.mask == family.size - 1) == (family.family == "xlmr") and family.sentinels == ()


def test_pieces_spell_what_is_unknown(families):
    """☂ is in no training text: mT5 and Llama write its three bytes, XLM-R has nothing for it."""
    spelled = ["<0xE2>", "<0x98>", "<0x82>"]
    for name in ("mt5", "llama"):
        tokenizer = load_tokenizer(families[name])
        encoding = tokenizer.encode("fox ☂\tfox")
        pieces = tokenizer.pieces(encoding.ids)
        at = pieces.index(spelled[0])
        assert pieces[at : at + 3] == spelled and encoding.spans[at : at + 3].tolist() == [[4, 5]] * 3
        assert tokenizer.unk not in encoding.ids
    assert 3 in load_tokenizer(families["xlmr"]).ids("☂")


def test_white_space_in_bytes_has_empty_spans(families):
    tokenizer = load_tokenizer(families["llama"])
    encoding = tokenizer.encode("fox\u2028\rfox")  # a line separator and a carriage return: four bytes
    pieces = tokenizer.pieces(encoding.ids)
    blank = [tuple(span) for piece, span in zip(pieces, encoding.spans, strict=True) if piece.startswith("<0x")]
    assert len(blank) == 4 and all(begin == end for begin, end in blank), blank


def test_words_of_bytes_have_their_space(families):
    """In running text a word's first piece has the space before it; alone it would be another piece."""
    tokenizer = load_tokenizer(families["qwen"])
    words = "The quick brown fox".split()
    ids, word_index, first = tokenizer.encode_words(words)
    assert ids.tolist() == tokenizer.ids(" ".join(words)).tolist()
    assert word_index[first].tolist() == [0, 1, 2, 3]
    assert tokenizer.encode_words(["", "fox"])[0].tolist() == [tokenizer.eos, *tokenizer.ids(" fox")]


def test_words_are_read_once_however_often_they_come(sentencepiece):
    once = sentencepiece.encode_words(["brown", "fox"])
    again = sentencepiece.encode_words(["brown", "fox"])
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))


def test_a_text_is_encoded_once(model_file, monkeypatch):
    tokenizer = load_tokenizer(model_file)
    encoded, encode = [], tokenizer._encode
    monkeypatch.setattr(tokenizer, "_encode", lambda text: encoded.append(text) or encode(text))
    for _ in range(3):
        tokenizer.encode(TEXTS[0])
    assert encoded == TEXTS[:1]
    for number in range(base.TEXTS_KEPT + 1):
        tokenizer.encode(str(number))
    assert len(tokenizer._encoding_of_text) <= base.TEXTS_KEPT, "memory is bounded"


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        (" ab  c ", [(0, 3), (3, 5), (4, 7), (6, 7), (2, 2)], [(1, 3), (5, 5), (5, 6), (7, 7), (2, 2)]),
        ("", [], []),
        ("\u200bx\U000e0001", [(0, 3)], [(1, 2)]),
    ],
)
def test_tighten(text, spans, expected):
    found = base.tighten(text, np.array(spans, np.int32).reshape(-1, 2))
    assert found.dtype == np.int32 and [tuple(span) for span in found.tolist()] == expected


def test_the_table_of_blanks_is_complete():
    table = base._blank()
    wrong = [hex(code) for code in range(sys.maxunicode + 1) if bool(table[code]) != base.is_blank(chr(code))]
    assert not wrong


def publish(folder, file, name, **config):
    """Lays out a vocabulary as its publisher does, with these config files beside it."""
    folder.mkdir()
    (folder / name).write_bytes(file.read_bytes())
    for stem, content in config.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("said", ["model_type", "class", "nothing"])
def test_a_folder_says_its_family(families, name, said, tmp_path):
    row = FAMILIES[name]
    config = {
        "model_type": {"config": {"model_type": row.model_types.split()[-1]}},
        "class": {"tokenizer_config": {"tokenizer_class": f"{row.classes.split()[0]}TokenizerFast"}},
        "nothing": {},
    }[said]
    folder = publish(tmp_path / "folder", families[name], row.files[0], **config)
    assert load_tokenizer(folder).family == load_tokenizer(folder, name).family == name
    assert load_tokenizer(folder).fingerprint == load_tokenizer(families[name]).fingerprint


def test_a_folder_without_a_vocabulary(families, tmp_path):
    folder = publish(tmp_path / "one", families["mt5"], "other.model", config={"model_type": "mt5"})
    with pytest.raises(DataError) as caught:
        load_tokenizer(folder)
    assert "No vocabulary of family 'mt5'" in str(caught.value) and "other.model" in str(caught.value)
    folder = publish(tmp_path / "two", families["mt5"], "spiece.model", config={"model_type": "qwen22"})
    with pytest.raises(ConfigError, match=r"Unknown model type 'qwen22'(?s:.*)Did you mean: qwen2"):
        load_tokenizer(folder)
    with pytest.raises(ConfigError, match="Unknown family 'bert'"):
        load_tokenizer(folder, "bert")
    with pytest.raises(DataError, match="No vocabulary in"):
        load_tokenizer(tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json is not JSON"):
        load_tokenizer(folder)


def test_sentinels_that_are_not_in_the_file(families, tmp_path):
    folder = publish(tmp_path / "umt5", families["mt5"], "spiece.model", tokenizer_config={"extra_ids": 3})
    tokenizer = load_tokenizer(folder)
    size = SIZES["mt5"]
    assert (tokenizer.size, tokenizer.sentinels) == (size + 3, (size + 2, size + 1, size))
    assert tokenizer.pieces(tokenizer.sentinels[:2]) == ["<extra_id_0>", "<extra_id_1>"]
    assert tokenizer.fingerprint != load_tokenizer(families["mt5"]).fingerprint


def test_sentinels_that_are_in_the_file(tmp_path):
    """mT5's file ends in them, the first one last. Trained symbols come first, so the file is put together here."""
    model_pb2 = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    train_sentencepiece(TRAINING, 390, tmp_path / "plain.model", "mt5")
    model = model_pb2.ModelProto.FromString((tmp_path / "plain.model").read_bytes())
    for number in (2, 1, 0):
        model.pieces.add(piece=f"\u2581<extra_id_{number}>", score=0.0, type=4)  # USER_DEFINED
    (tmp_path / "spiece.model").write_bytes(model.SerializeToString())
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.size, tokenizer.sentinels) == (393, (392, 391, 390))


def test_vocab_and_merges_are_the_whole_file(families, tmp_path):
    whole = json.loads(families["qwen"].read_text(encoding="utf-8"))
    bpe = whole["model"]
    vocab = {piece: number for piece, number in bpe["vocab"].items() if number < SIZES["qwen"] - 1}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in bpe["merges"]))
    parts = load_tokenizer(tmp_path)
    for text in TEXTS + AWKWARD:
        assert parts.ids(text).tolist() == load_tokenizer(families["qwen"]).ids(text).tolist()
    assert (parts.eos, parts.size) == (SIZES["qwen"] - 1, SIZES["qwen"])
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    with pytest.raises(DataError, match=r"has no token '<\|im_end\|>'"):
        load_tokenizer(tmp_path)


def test_special_tokens_in_a_text_are_text(family):
    names = "<s> </s> <mask> <pad> <|endoftext|> <unk>"
    special = {family.bos, family.pad, family.eos, family.mask, *family.sentinels} - {-1, family.unk}
    assert not special & set(family.ids(names).tolist())
    check_spans(family, names)


def test_training_a_byte_level_vocabulary_twice_gives_the_same_file(families, tmp_path):
    train_vocabulary("qwen", TRAINING + AWKWARD, SIZES["qwen"], tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == families["qwen"].read_bytes()
    with pytest.raises(ConfigError, match="the texts give"):
        train_vocabulary("qwen", ["a b"], 400, tmp_path / "none.json")
    with pytest.raises(ConfigError, match="Unknown family 'bert'"):
        train_vocabulary("bert", ["a b"], 400, tmp_path / "none.json")


def test_a_tokenizer_can_be_sent_to_another_process(family):
    family.encode(TEXTS[0])
    there = pickle.loads(pickle.dumps(family))
    assert there.ids(TEXTS[2]).tolist() == family.ids(TEXTS[2]).tolist() and there.fingerprint == family.fingerprint
