"""Every format once as it should be, and once for each way a file can be broken."""

import json

import pytest

from xling_jax.data.readers import File
from xling_jax.data.sources import read
from xling_jax.errors import DataError
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import cells

XNLI = "xnli_text", "test", "th", "xnli/test-th.tsv"
MNLI = "mnli", "dev", "en", "mnli/multinli_1.0_dev_matched.jsonl"
UDPOS = "udpos", "test", "ta", "udpos/test-ta.tsv"
SQUAD = "squad", "dev", "en", "squad/dev-v1.1.json"
TATOEBA = "tatoeba", "test", "th", "tatoeba/v1/tatoeba.tha-eng.tha"
PIVOT = "tatoeba/v1/tatoeba.tha-eng.eng"

NLI_ROW = '{"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}\n'


def squad(answer="kiwi", start=2, **fields):
    question = {"id": "q1", "question": "What?", "answers": [{"text": answer, "answer_start": start}], **fields}
    paragraph = {"context": "A kiwi flew.", "qas": [question]}
    return json.dumps({"data": [{"title": "", "paragraphs": [paragraph]}]})


GOOD = [
    (
        XNLI,
        {XNLI[3]: "ก\tข\tneutral\r\nก\tค\tentailment\nง\tข\tneutral"},
        [
            {"id": "1.premise", "text": "ก"},
            {"id": "1.hypothesis", "text": "ข"},
            {"id": "2.hypothesis", "text": "ค"},
            {"id": "3.premise", "text": "ง"},
        ],
    ),
    (
        MNLI,
        {MNLI[3]: NLI_ROW + NLI_ROW.replace("neutral", "-") + NLI_ROW.replace('"a"', '"c", "pairID": "7n"')},
        [
            {"id": "1", "text": "a", "text_pair": "b", "label": "neutral"},
            {"id": "7n", "text": "c", "text_pair": "b", "label": "neutral"},
        ],
    ),
    (
        UDPOS,
        {UDPOS[3]: "\ufeffஎன்\tPRON\n.\tPUNCT\n\n\n\u2028\u0085x\tX\n"},  # only \n ends a line
        [
            {"id": "ta.1", "tokens": ["என்", "."], "tags": ["PRON", "PUNCT"]},
            {"id": "ta.2", "tokens": ["\u2028\u0085x"], "tags": ["X"]},
        ],
    ),
    (
        SQUAD,
        {SQUAD[3]: squad()},
        [{"id": "q1", "question": "What?", "context": "A kiwi flew.", "answers": [{"text": "kiwi", "start": 2}]}],
    ),
    (
        TATOEBA,
        {TATOEBA[3]: "ก\nข\n", PIVOT: "a\nb"},
        [{"id": "th.1", "text": "ก", "text_pair": "a"}, {"id": "th.2", "text": "ข", "text_pair": "b"}],
    ),
]


def read_all(where, files, folder):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        (folder / path).write_bytes(data)
    (cell,) = cells(*where[:3])
    return list(read(cell, folder))


@pytest.mark.parametrize(("where", "files", "expected"), GOOD, ids=[good[0][0] for good in GOOD])
def test_a_good_file(where, files, expected, tmp_path):
    examples = read_all(where, files, tmp_path)
    assert examples == expected
    (cell,) = cells(*where[:3])
    assert all(set(example) == {"id", *KINDS[cell.row.kind].fields} for example in examples)


BROKEN = [
    # (cell and file, content, what the error says)
    (XNLI, "a\tb\tneutral\na\tb\n", r"test-th\.tsv:2: 2 columns"),
    (XNLI, "a\tb\tneutral\tx\n", r"test-th\.tsv:1: 4 columns"),
    (XNLI, "a\t \tneutral\n", r"test-th\.tsv:1: 3 columns, 1 of them empty"),
    (XNLI, "", r"test-th\.tsv:1: the file is empty"),
    (XNLI, b"a\tb\tneutral\na\t\xff\tneutral\n", r"test-th\.tsv:2: byte 0xff is not UTF-8"),
    (MNLI, NLI_ROW + '{"sentence1": "a", "sen', r"\.jsonl:2: column 20: Unterminated string"),
    (MNLI, NLI_ROW + "\n" + NLI_ROW, r"\.jsonl:2: column 1: Expecting value"),
    (MNLI, "[1]\n", r"\.jsonl:1: \[1\]"),
    (MNLI, NLI_ROW.replace("sentence2", "hypothesis"), r"\.jsonl:1: no field 'sentence2'"),
    (MNLI, NLI_ROW.replace('"b"', "3"), r"\.jsonl:1: field 'sentence2' is 3"),
    (MNLI, NLI_ROW.replace('"b"', '"\\ud800"'), r"\.jsonl:1: field 'sentence2' is"),
    (
        MNLI,
        NLI_ROW.replace("neutral", "Neutral"),
        r"(?s)\.jsonl:1: label 'Neutral'.*contradiction entailment neutral -",
    ),
    (MNLI, NLI_ROW.replace("{", '{"pairID": "7n", ') * 2, r"\.jsonl:2: id '7n' of line 1 again"),
    (MNLI, " \n", "the file is empty"),
    (UDPOS, "a\tNOUN\nb\n", r"test-ta\.tsv:2: 1 column, 0 of them empty"),
    (UDPOS, "a\tNOUN\tx\n", r"test-ta\.tsv:1: 3 columns"),
    (UDPOS, "a\tNOUN\n\tNOUN\n", r"test-ta\.tsv:2: 2 columns, 1 of them empty"),
    (UDPOS, "a\tNOUN\n \nb\tX\n", r"test-ta\.tsv:2: 1 column, 1 of them empty"),
    (UDPOS, "a\tNOUN\n\nb\tNOMEN\n", r"(?s)test-ta\.tsv:3: tag 'NOMEN'.*Allowed: ADJ ADP .* X\."),
    (UDPOS, b"a\tNOUN\n\n\xe0\xae\tX\n", r"test-ta\.tsv:3: byte 0xe0 is not UTF-8"),
    (UDPOS, "\n\n", "the file is empty"),
    (SQUAD, squad()[:-4], r"dev-v1\.1\.json:1: column \d+: "),
    (SQUAD, "{\n\n,", r"dev-v1\.1\.json:3: column 1: "),
    (SQUAD, "", "the file is empty"),
    (SQUAD, "[]", "document: no field 'data'"),
    (SQUAD, '{"data": []}', "document: no question"),
    (SQUAD, squad().replace("context", "text"), "article 1, paragraph 1: no field 'context'"),
    (SQUAD, squad(id=3), "article 1, paragraph 1: field 'id' is 3"),
    (SQUAD, squad(question=None), "question 'q1': no field 'question'"),
    (SQUAD, squad(start="2"), r"question 'q1': field 'answer_start' is '2'"),
    (SQUAD, squad(start=True), r"question 'q1': field 'answer_start' is True"),
    (SQUAD, squad(start=3), r"(?s)question 'q1': answer 'kiwi' at character 3\..*'iwi '"),
    (SQUAD, squad(answer="flew", start=-5), "question 'q1': answer 'flew' at character -5"),
    (SQUAD, squad(answer="", start=0), "question 'q1': answer '' at character 0"),
    (SQUAD, squad(answers=[]), "question 'q1': no answer"),
    (SQUAD, squad().replace("flew", "\\ud800"), "field 'context' is 'A kiwi"),
    (SQUAD, squad()[:-2] + ", " + squad()[len('{"data": [') :], "question 'q1': this id is there twice"),
]


@pytest.mark.parametrize(("where", "content", "message"), BROKEN)
def test_a_broken_file_is_named_with_its_place(where, content, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read_all(where, {where[3]: content}, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / where[3])), "the error begins with the path"
    assert "\nAllowed: " in str(caught.value)


@pytest.mark.parametrize(
    ("foreign", "pivot", "message"),
    [
        ("ก\nข\n", "a\n", r"eng\.eng:2: the file ends, but .*\.tha has 2 lines"),
        ("ก\n", "a\nb\n", r"eng\.tha:2: the file ends, but .*\.eng has 2 lines"),
        ("ก\n\n", "a\nb\n", r"eng\.tha:2: a blank line"),
        ("ก\nข\n", "a\n \n", r"eng\.eng:2: a blank line"),
        ("ก\n", "", r"eng\.eng:1: the file is empty"),
    ],
)
def test_two_files_that_do_not_fit(foreign, pivot, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_all(TATOEBA, {TATOEBA[3]: foreign, PIVOT: pivot}, tmp_path)


TEXTS = {
    "plain": b"a\nb\n",
    "no end": b"a\nb",
    "carriage returns": b"a\r\nb\r\n",
    "blank lines": b"\n \na\n\nb\n\n\n",
    "byte order mark": b"\xef\xbb\xbfa\nb\n",
    "other ends of lines": "a\u2028b\x0bc\x85d\n".encode(),
}


@pytest.mark.parametrize("data", TEXTS.values(), ids=TEXTS)
def test_lines_are_the_same_from_a_file_and_from_memory(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    text = data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    for file in (File("file", path), File("file", data)):
        assert list(file.lines()) == text.split("\n") and file.size == len(data)


@pytest.mark.parametrize("data", [b"", b"\n \n", b"a\nb\xff\n", b"\xff"])
def test_errors_line_by_line_are_those_of_the_whole_text(data):
    messages = []
    for read_all in (File.text, lambda file: list(file.lines())):
        with pytest.raises(DataError) as caught:
            read_all(File("file", data))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
