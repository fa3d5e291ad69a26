"""Readers of what is to be found among many, and of raw text: as it should be, broken, and the real files."""

import json

import pytest

from xling_jax.data.prepare import raw_examples
from xling_jax.data.sources import read
from xling_jax.errors import DataError
from xling_jax.experiment import Part
from xling_jax.scoring.metrics import SCORERS, score, value
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.rows.retrieval import LAREQA
from xling_jax.tables.tasks import cells, parse_cells


def write(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def examples(text, folder):
    (cell,) = parse_cells(text)
    return list(read(cell, folder))


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


BUCC = {
    "bucc2018/zh-en.dev.zh": "zh-1\t今天下雨。\nzh-2\t好书。\nzh-3\t好书。\n",
    "bucc2018/zh-en.dev.en": "en-1\tA good book.\nen-2\tThe sea.\n",
    "bucc2018/zh-en.dev.gold": "zh-2\ten-1\n",
}


def test_bucc_has_two_sides_and_pairs(tmp_path):
    write(tmp_path, BUCC | {path.replace("dev", "test"): text for path, text in BUCC.items() if "gold" not in path})
    found = examples("bucc2018.dev.zh", tmp_path)
    assert [(e["id"], e["side"], e["gold"]) for e in found] == [
        ("zh-1", "language", []),
        ("zh-2", "language", ["en-1"]),
        ("zh-3", "language", []),
        ("en-1", "pivot", []),
        ("en-2", "pivot", []),
    ]
    assert found[1]["text"] == found[2]["text"] == "好书。", "a sentence may stand there twice"
    blind = examples("bucc2018.test.zh", tmp_path)
    assert [e["text"] for e in blind] == [e["text"] for e in found]
    assert {e["gold"] for e in blind} == {None}, "withheld is not empty"


def test_a_limit_takes_as_many_of_each_side(tmp_path):
    write(tmp_path, BUCC)
    (cell,) = parse_cells("bucc2018.dev.zh")
    found = [[e["id"] for e in raw_examples(Part(cell, *some, 0), tmp_path)] for some in ((0, 1), (1, 9), (0, 0))]
    assert found == [["zh-1", "en-1"], ["zh-2", "zh-3", "en-2"], ["zh-1", "zh-2", "zh-3", "en-1", "en-2"]]


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("zh", "zh-1\t今天\nzh-1\t好书\n", r"dev\.zh:2: id 'zh-1' again"),
        ("zh", "zh-1\t今天\nzh-2\n", r"dev\.zh:2: 1 column"),
        ("en", "en-1\t \n", r"dev\.en:1: 2 columns, 1 of them empty"),
        ("en", b"en-1\t\xff\n", r"dev\.en:1: byte 0xff"),
        ("gold", "zh-2\ten-9\n", r"dev\.gold:1: id 'en-9'"),
        ("gold", "en-1\tzh-2\n", r"dev\.gold:1: id 'en-1'"),
        ("gold", "zh-2\ten-1\nzh-2\ten-1\n", r"dev\.gold:2: pair zh-2 en-1 again"),
        ("gold", "", r"dev\.gold:1: the file is empty"),
    ],
)
def test_a_broken_file_of_bucc(ending, content, message, tmp_path):
    write(tmp_path, BUCC | {f"bucc2018/zh-en.dev.{ending}": content})
    with pytest.raises(DataError, match=message):
        examples("bucc2018.dev.zh", tmp_path)


def xquad_r(context, breaks, answer, start):
    question = {"id": "q1", "question": f"{context[:3]}?", "answers": [{"text": answer, "answer_start": start}]}
    empty = {"context": "Z.", "sentence_breaks": [[0, 2]], "qas": []}
    paragraph = {"context": context, "sentence_breaks": breaks, "qas": [question]}
    return json.dumps({"data": [{"paragraphs": [empty]}, {"paragraphs": [paragraph]}]})


@pytest.fixture
def lareqa(tmp_path):
    """Writes one question in all languages; only in Thai does the second sentence answer it."""
    write(
        tmp_path,
        {
            f"lareqa/xquad-r/{code}.json": xquad_r("Kiwis fly. Not.", [[0, 10], [11, 15]], "fly", 6)
            for code in LAREQA.split()
        }
        | {"lareqa/xquad-r/th.json": xquad_r("นกกีวีบิน ไม่ใช่", [[0, 9], [10, 16]], "ไม่", 10)},
    )
    return tmp_path


def test_a_question_is_answered_in_every_language(lareqa):
    (query,) = examples("lareqa.test.th", lareqa)
    assert query["id"] == "q1" and query["text"] == "นกก?" and query["side"] == "query"
    assert query["gold"] == [f"{code}_2_{int(code == 'th')}" for code in LAREQA.split()]
    there = [e for cell in cells("lareqa", "candidates") for e in read(cell, lareqa)]
    assert len(there) == 3 * 11 and set(query["gold"]) < {e["id"] for e in there}
    assert {e["id"]: e["text"] for e in there}["th_2_1"] == "ไม่ใช่"
    assert there[1]["context"] == "Kiwis fly. Not." and {e["side"] for e in there} == {"candidate"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (xquad_r("Kiwis fly.", [[0, 5], [6, 10]], "flap", 6), "question 'q1': answer 'flap' at character 6"),
        (xquad_r("Kiwis fly.", [[0, 5]], "fly", 6), "question 'q1': an answer at character 6"),
        (xquad_r("Kiwis fly.", [[0, 12]], "fly", 6), "article 2, paragraph 1: sentence breaks that overlap"),
        (xquad_r("Kiwis fly.", [[0, 7], [5, 10]], "fly", 6), "sentence breaks that overlap or end outside"),
        (xquad_r("Kiwis fly.", [[0, 10]], "fly", 6).replace('"answers"', '"plausible"'), "no field 'answers'"),
        (xquad_r("Kiwis fly.", [[0, 10]], "fly", 6)[:-3], r"tr\.json:1: column"),
    ],
)
def test_a_broken_file_of_lareqa_is_named_in_every_cell(document, message, lareqa):
    write(lareqa, {"lareqa/xquad-r/tr.json": document})
    for code in ("tr", "ar"):
        with pytest.raises(DataError, match=message) as caught:
            examples(f"lareqa.test.{code}", lareqa)
        assert str(caught.value).startswith(str(lareqa / "lareqa/xquad-r/tr.json"))


def test_a_question_of_squad_goes_with_its_sentence(tmp_path):
    context = "A kiwi flew. Then it slept."
    questions = [
        {"id": name, "question": f"{text}?", "answers": [{"text": text, "answer_start": context.index(text)}]}
        for name, text in (("q1", "kiwi"), ("q2", "slept"), ("q3", "flew. Then"))
    ]
    paragraph = {"context": context, "qas": questions}
    write(tmp_path, {"squad/train-v1.1.json": json.dumps({"data": [{"paragraphs": [paragraph]}]})})
    found = examples("squad_retrieval.train.en", tmp_path)
    assert [e["text_pair"] for e in found] == ["A kiwi flew.", "Then it slept.", "A kiwi flew."]
    assert found[1] == {"id": "q2", "text": "slept?", "text_pair": "Then it slept.", "context": context}


SEA = {
    "entity_id": "Q165",
    "title": "море",
    "description": "Море — часть океана. Оно\nсолёное. X",
    "description_language": "ru",
    "description_url": "",
    "sentence_spans": [{"start": 0, "end": 20}, {"start": 21, "end": 33}],
}


def article(language, text, *mentions):
    spans = [{"start": 0, "end": len(text) // 2}, {"start": len(text) // 2, "end": len(text)}]
    context = {"document_id": "1", "language": language, "text": text, "sentence_spans": spans}
    found = [
        {
            "example_id": f"{language}{at}",
            "entity_id": "Q165",
            "mention_span": {"start": at, "end": at + 2, "text": said},
        }
        for at, said in mentions
    ]
    return {"context": context, "mentions": found}


MENTIONS = "mewslix/wikinews_mentions-dev.jsonl"


def test_mentions_entities_and_pairs_of_mewslix(tmp_path):
    pair = {"contextual_mention": article("en", "My sea. It {is} sea.", (16, "se")), "entity": SEA}
    pair["contextual_mention"]["mention"] = pair["contextual_mention"].pop("mentions")[0]
    write(
        tmp_path,
        {
            MENTIONS: lines(article("ja", "海。海は青い。"), article("ta", "abcdefgh", (1, "bc"), (5, "fg"))),
            "mewslix/candidate_set_entities.jsonl": lines(SEA, SEA | {"entity_id": "Q2", "description_language": "sw"}),
            "mewslix/wikipedia_pairs-train.jsonl": lines(pair),
        },
    )
    assert examples("mewslix.dev.ta", tmp_path) == [
        {"id": "ta1", "text": "bc: a { bc } d", "side": "query", "gold": ["Q165"]},
        {"id": "ta5", "text": "fg: e { fg } h", "side": "query", "gold": ["Q165"]},
    ]
    (entity,) = examples("mewslix.candidates.ru", tmp_path)
    assert entity == {"id": "Q165", "text": "Море — часть океана. Оно солёное.", "side": "candidate", "gold": []}
    assert [e["id"] for e in examples("mewslix.candidates.sw", tmp_path)] == ["Q2"]
    (trained,) = examples("mewslix.train.en", tmp_path)
    assert trained == {"id": "en16", "text": "se: (is) { se } a.", "text_pair": entity["text"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(article("ta", "abcdefgh", (1, "bx"))), ":1: mention 'bx' at character 1"),
        (lines(article("ta", "abcdefgh", (3, "de"))), ":1: mention 'de' in no sentence"),
        (lines(article("ta", "", (1, "bc"))), ":1: field 'context.text' is empty"),
        (lines(article("ta", "abcdefgh", (1, "bc"), (1, "bc"))), ":1: id 'ta1' of line 1 again"),
        (lines(article("de", "abcdefgh", (1, "bc"))), ":1: no example for cell mewslix.dev.ta"),
        (lines({"context": {}}), ":1: no field 'context.language'"),
        (lines({"context": {"language": "ta"}, "mentions": {}}), ":1: field 'mentions' is {}"),
        (lines([1]), ":1: a list"),
        (lines(article("ta", "abcdefgh"))[:-9], ":1: Unterminated string"),
        (b'{"a": "\xff"}\n', ":1: byte 0xff is not UTF-8"),
        ("\n", ":1: the file is empty"),
    ],
)
def test_a_broken_file_of_mewslix(content, message, tmp_path):
    write(tmp_path, {MENTIONS: content})
    with pytest.raises(DataError, match=message) as caught:
        examples("mewslix.dev.ta", tmp_path)
    assert str(caught.value).startswith(str(tmp_path / MENTIONS)) and "\nAllowed: " in str(caught.value)


CONLLU = (
    "# sent_id = 1\n# text = เขา บิน\n1\tเขา\t_\tPRON\t_\t_\t0\t_\t_\t_\n\n# text=a = b\n1\ta\t_\tX\t_\t_\t0\t_\t_\t_\n"
)
ENGLISH = "tatoeba/v1/tatoeba.{}-eng.eng"


def test_raw_text(tmp_path):
    english = dict.fromkeys(map(ENGLISH.format, ("afr", "tha")), "Hello.\nBye.\n")
    everywhere = dict.fromkeys(parse_paths("tatoeba_text.english.en"), "Hello.\n") | english
    write(
        tmp_path,
        everywhere
        | {
            "ud/UD_Thai-PUD/th_pud-ud-test.conllu": CONLLU,
            "tatoeba/v1/tatoeba.tha-eng.tha": "ก\n\nข\nก\n",
            "text/yo.txt": "Ẹ kú\r\n",
            "text/yo.jsonl": lines({"text": "Ẹ kú", "url": "x"}, {"text": "àárọ̀"}),
        },
    )
    assert [e["text"] for e in examples("ud_text.pud.th", tmp_path)] == ["เขา บิน", "a = b"]
    assert examples("tatoeba_text.other.th", tmp_path) == [{"id": "1", "text": "ก"}, {"id": "3", "text": "ข"}]
    assert examples("tatoeba_text.english.en", tmp_path) == [
        {"id": "1.1", "text": "Hello."},
        {"id": "1.2", "text": "Bye."},
    ]
    assert examples("text_lines.train.yo", tmp_path) == [{"id": "1", "text": "Ẹ kú"}]
    assert examples("text_jsonl.train.yo", tmp_path) == [{"id": "1", "text": "Ẹ kú"}, {"id": "2", "text": "àárọ̀"}]


def parse_paths(text):
    (cell,) = parse_cells(text)
    return cell.row.splits[cell.split].path.split()


@pytest.mark.parametrize(
    ("cell", "path", "content", "message"),
    [
        (
            "ud_text.pud.th",
            "ud/UD_Thai-PUD/th_pud-ud-test.conllu",
            CONLLU.replace("# text=", "# t="),
            ":5: a sentence without",
        ),
        ("text_jsonl.train.yo", "text/yo.jsonl", lines({"text": "a"}, {"txt": "b"}), ":2: no field 'text'"),
        ("text_jsonl.train.yo", "text/yo.jsonl", lines({"text": " "}), ":1: field 'text' is blank"),
        ("text_lines.train.yo", "text/yo.txt", "", ":1: the file is empty"),
    ],
)
def test_broken_raw_text(cell, path, content, message, tmp_path):
    write(tmp_path, {path: content})
    with pytest.raises(DataError, match=message):
        examples(cell, tmp_path)


SMALL = (
    "bucc2018.dev.zh lareqa.test.all lareqa.candidates.all squad_retrieval.train44.en ud_text.pud.all "
    "ud_text.ewt_train.en"
)


@pytest.mark.parametrize("text", SMALL.split())
def test_real_files_have_as_many_as_published(text, data_dir):
    for cell in parse_cells(text):
        found = list(read(cell, data_dir))
        kind = KINDS[cell.row.kind]
        assert len(found) == cell.row.splits[cell.split].published(cell.language), cell
        fields = kind.training if cell.split.startswith("train") and kind.training else kind.fields
        assert all({"id", *fields} <= example.keys() for example in found)
        assert len({example["id"] for example in found}) == len(found)


@pytest.mark.parametrize(("text", "left"), [("bucc2018.dev.zh", 0), ("lareqa.test.th", 100 * 10 / 11)])
def test_gold_of_real_files_scores_100_and_less_with_one_of_each_missing(text, left, data_dir):
    (cell,) = parse_cells(text)
    found = list(read(cell, data_dir))
    gold = [SCORERS[cell.row.kind].target(example) for example in found]
    missing = [golds[1:] for golds in gold]
    assert [value(pairs) for pairs in score(cell.row.kind, found, gold).values()] == [100.0]
    assert [value(pairs) for pairs in score(cell.row.kind, found, missing).values()] == [pytest.approx(left)]


def test_every_gold_candidate_of_lareqa_is_there(data_dir):
    there = {example["id"] for cell in cells("lareqa", "candidates") for example in read(cell, data_dir)}
    assert len(there) == 13014
    for cell in cells("lareqa", "test", "ar zh"):
        for example in read(cell, data_dir):
            assert len(set(example["gold"]) & there) == 11, example["id"]
