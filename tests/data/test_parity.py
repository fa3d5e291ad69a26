"""Our ids are those of transformers: of a golden file made by its slow tokenizers, and of the installed version.

The vocabularies are trained here on made-up sentences in 41 languages; `benchmarks/tokenizer_parity.py` compares on
whole data sets, and writes the golden file.
"""

import importlib.util
import json
import pathlib

import pytest

from xling_jax.data.tokenizers import FAMILIES, load_tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
MADE_AGAIN = "If the training of vocabularies changed on purpose, run benchmarks/tokenizer_parity.py --golden."


@pytest.fixture(scope="module")
def parity():
    spec = importlib.util.spec_from_file_location("tokenizer_parity", ROOT / "benchmarks/tokenizer_parity.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sentences(parity):
    return json.loads(parity.SENTENCES.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, parity, sentences, tmp_path_factory):
    """Returns the folder of a vocabulary of each family, in the layout of its publisher."""
    if request.param == "qwen":
        pytest.importorskip("tokenizers")
    every = [text for texts in sentences.values() for text in texts] * 2
    return parity.vocabulary(request.param, tmp_path_factory.getbasetemp() / "parity", every, parity.SMALL)


def test_ids_are_those_of_the_slow_tokenizers(published, parity, sentences):
    tokenizer = load_tokenizer(published)
    golden = json.loads(parity.GOLDEN.read_text())[tokenizer.family]
    assert golden.keys() == sentences.keys() and len(golden) > 30
    for code, texts in sentences.items():
        for text, ids in zip(texts, golden[code], strict=True):
            assert tokenizer.ids(text).tolist() == ids, f"{code}: {text}\n{MADE_AGAIN}"


def test_ids_are_those_of_the_installed_transformers(published, parity, sentences):
    """Where they differ, it is for a reason that has a name and a count in docs/results/tokenizers.md."""
    pytest.importorskip("transformers")
    tokenizer, theirs = load_tokenizer(published), parity.reference(published)
    unexplained = [
        (code, text)
        for code, texts in sentences.items()
        for text in texts
        if (one := tokenizer.ids(text).tolist()) != (other := theirs(text))
        and parity.cause(text, one, other, tokenizer) == "other"
    ]
    assert not unexplained


def test_a_difference_has_a_cause(published, parity):
    tokenizer = load_tokenizer(published)
    one, other = tokenizer.ids("boot").tolist(), tokenizer.ids("storm").tolist()
    assert parity.cause("a <s> b", one, other, tokenizer) == "literal special"
    assert parity.cause("\u0c15\u0c46\u0c56", one, other, tokenizer) == "composition"
    assert parity.cause(" a", one, other, tokenizer) == parity.cause("a\nb", one, other, tokenizer) == "spaces"
    assert parity.cause("boot", one, other, tokenizer) == "other", "two texts are no tie"


def test_languages_of_files(parity):
    names = {
        "xnli/test-sw.tsv": "sw",
        "tatoeba/v1/tatoeba.tha-eng.tha": "th",
        "tatoeba/v1/tatoeba.tha-eng.eng": "th",
        "mlqa/dev-context-de-question-de.json": "de",
        "jglue/jnli/valid.json": "ja",
        "squad/dev-v1.1.json": "en",
        "ud/UD_Yoruba-YTB/yo_ytb-ud-test.conllu": "yo",
    }
    assert {name: parity._language(name) for name in names} == names


def test_texts_of_a_folder(parity, tmp_path):
    (tmp_path / "xnli").mkdir()
    (tmp_path / "xnli/dev-th.tsv").write_text("เรือ\tเกาะ\t1\nเรือ\tฝน\t2\n", encoding="utf-8")
    (tmp_path / "squad.json").write_text(json.dumps({"a": [{"b": "storm"}, 3]}))
    (tmp_path / "LICENSE.txt").write_text("words")
    assert parity.texts_of(tmp_path) == {"en": ["storm"], "th": ["เรือ", "เกาะ", "ฝน"]}
