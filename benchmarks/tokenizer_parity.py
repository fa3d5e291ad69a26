"""Our ids against those of the tokenizers of transformers, on text of every language of a data folder.

Below version 5 transformers has slow tokenizers in Python, the stronger reference; from 5 on it has its fast ones only.
Run it in an environment with each, after `pip install sentencepiece tokenizers protobuf numpy` and one of these:

    pip install "transformers<5"     and     pip install "transformers>=5"
    XLING_DATA=/path/to/data PYTHONPATH=. python benchmarks/tokenizer_parity.py --folder=work/parity
    PYTHONPATH=. python benchmarks/tokenizer_parity.py --golden     # with transformers<5: tests/golden/tokenizers.json

The vocabularies are trained on the same text, one of each family, so that nothing has to be downloaded. Both runs add
to benchmarks/tokenizer_parity.json, from which docs/results/tokenizers.md is written.
"""

import argparse
import collections
import json
import lzma
import os
import pathlib
import re
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata

from xling_jax.data.tokenizers import FAMILIES, Tokenizer, load_tokenizer, train_vocabulary
from xling_jax.tables.languages import LANGUAGES

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/tokenizers.json"
SENTENCES = ROOT / "tests/golden/sentences.json"
COUNTS = ROOT / "benchmarks/tokenizer_parity.json"
DOCS = ROOT / "docs/results/tokenizers.md"
SMALL = {"xlmr": 900, "mt5": 1150, "llama": 1300, "qwen": 700}  # pieces, from the sentences of the golden file
LARGE = dict.fromkeys(SMALL, 8_000)
OF_A_FILE = 25  # most texts taken of a file, evenly spread
LONGEST = 300  # characters of a text: a slow tokenizer's time grows faster than its length
CONFIGS = {  # what a publisher's tokenizer_config.json says
    "xlmr": {"tokenizer_class": "XLMRobertaTokenizer"},
    "mt5": {"tokenizer_class": "T5Tokenizer", "extra_ids": 0},
    "llama": {"tokenizer_class": "LlamaTokenizer", "legacy": False},
    "qwen": {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
}
SPECIAL = re.compile(r"<(s|/s|pad|unk|mask)>|<\|\w+\|>|<extra_id_\d+>")
# What data sets seldom have, so that differences there are counted too.
AWKWARD = (
    "a <s> b </s>",
    "<pad><unk>",
    "say <mask> now",
    "<|endoftext|> end",
    "<extra_id_0> x",
    "  two",
    "two  ",
    "two  words",
    "a\ttab",
    "two\nlines\r\n",
    "\u200bzero\u200dwidth",
    "\u00a0fixed\u3000wide",
    "\ufeffmark",
    "\u00adhyphen",
    "ﷺ ﬁ ½ ① ㍿",
    "ﾊﾟﾝ ｶﾞ",
    "\u0c15\u0c46\u0c56",
    "e\u0301 é",
    "😀\U0001f469\u200d\U0001f467",
    "𠮷 𐍈",
    "....",
    "!!!!!!!!!",
    "\u1100\u1161\u11a8 한",
    "می\u200cخواهم",
    "1234567",
)
# Names of differences, in the order they are looked for.
CAUSES = {
    "literal special": "the text has the name of a special token, which transformers takes for the token itself",
    "bytes": "transformers gives `<unk>` where the model spells bytes (5 has no byte fallback for T5)",
    "composition": "characters that NFKC makes one of, which transformers 5 leaves apart (Telugu U+0C46 U+0C56, 'ﾊﾟ')",
    "spaces": "white space at the beginning, repeated, or other than a space",
    "tie": "another way to divide the text that has the same score",
    "other": "none of these",
}


def vocabulary(family: str, folder: pathlib.Path, texts: list[str], sizes: dict[str, int]) -> pathlib.Path:
    """Returns the folder of a family's vocabulary in the layout of its publisher, training it if it is not there."""
    path = folder / family
    if not (path / "tokenizer_config.json").exists():
        path.mkdir(parents=True, exist_ok=True)
        if family == "qwen":
            _publish_qwen(texts, sizes[family], path)
        else:
            train_vocabulary(family, texts, sizes[family], path / FAMILIES[family].files[0])
        (path / "config.json").write_text(json.dumps({"model_type": FAMILIES[family].model_types.split()[0]}))
        config = CONFIGS[family] | ({"added_tokens_decoder": _added(path)} if family == "qwen" else {})
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def _publish_qwen(texts: list[str], size: int, path: pathlib.Path) -> None:
    """Writes vocab.json and merges.txt: of tokenizer.json each version of transformers wants another form."""
    train_vocabulary("qwen", texts, size, path / "whole.json")
    model = json.loads((path / "whole.json").read_text(encoding="utf-8"))["model"]
    (path / "whole.json").unlink()
    (path / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")


def _added(path: pathlib.Path) -> dict[str, dict]:
    size = len(json.loads((path / "vocab.json").read_text(encoding="utf-8")))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {str(size): {"content": "<|endoftext|>", **flags}}


def reference(path: pathlib.Path) -> Callable[[str], list[int]]:
    """Returns the tokenizer of transformers over a published vocabulary; the slow one where there is one."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - not needed to read this module's tables

    tokenizer = AutoTokenizer.from_pretrained(path, use_fast=False)
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def cause(text: str, ours: list[int], theirs: list[int], tokenizer: Tokenizer) -> str:
    """Returns the name of what makes two lists of ids differ: a key of CAUSES."""
    if SPECIAL.search(text):
        return "literal special"
    if tokenizer.family != "xlmr" and tokenizer.unk in theirs and tokenizer.unk not in ours:
        return "bytes"
    if unicodedata.normalize("NFKC", text) != "".join(unicodedata.normalize("NFKC", letter) for letter in text):
        return "composition"
    if text != " ".join(text.split()) or not text.isprintable():
        return "spaces"
    return "tie" if _is_tie(ours, theirs, tokenizer) else "other"


def _is_tie(ours: list[int], theirs: list[int], tokenizer: Tokenizer) -> bool:
    if tokenizer.family == "qwen" or "".join(tokenizer.pieces(ours)) != "".join(tokenizer.pieces(theirs)):
        return False
    model = tokenizer._model  # ty: ignore[unresolved-attribute] - all but Qwen's are SentencePiece's
    scores = [
        sum(model.get_score(model.piece_to_id(piece)) for piece in tokenizer.pieces(ids)) for ids in (ours, theirs)
    ]
    return abs(scores[0] - scores[1]) < 1e-3  # sums of single-precision scores


def texts_of(data: pathlib.Path) -> dict[str, list[str]]:
    """Returns distinct texts by language, from every file of the folder and its archives.

    A text is a column of a table or a string of a JSON document. The language is the code in the file's name; files
    that name none are English, or of several languages ('other').
    """
    found: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for name, content in _files(data):
        texts = list(dict.fromkeys(text for text in _strings(name, content) if any(map(str.isalpha, text))))
        step = max(1, len(texts) // OF_A_FILE)
        found[_language(name)].update(dict.fromkeys(text[:LONGEST] for text in texts[::step][:OF_A_FILE]))
    return {code: list(texts) for code, texts in sorted(found.items())}


SUFFIXES = (
    ".json",
    ".jsonl",
    ".tsv",
    ".csv",
    ".txt",
    ".conllu",
    ".eng",
    *(f".{row.iso3}" for row in LANGUAGES.values()),
)
NOT_TEXT = re.compile(r"licen[sc]e|readme|lang2vec|letter_codes|distances|\.md$|sha256", re.IGNORECASE)


def _files(data: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields names and contents of the files of text, archives unpacked in memory."""
    for path in sorted(data.rglob("*")):
        if path.name.endswith(".tar.xz"):
            with lzma.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    opened = archive.extractfile(member) if _is_text(member.name) else None
                    if opened:
                        yield member.name, opened.read().decode("utf-8", "replace")
        elif path.is_file() and _is_text(str(path.relative_to(data))):
            yield str(path.relative_to(data)), path.read_bytes().decode("utf-8", "replace")


def _is_text(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not NOT_TEXT.search(name)


def _strings(name: str, content: str) -> Iterator[str]:
    if name.endswith((".json", ".jsonl")):
        try:
            documents = [json.loads(content)]
        except ValueError:
            documents = [json.loads(line) for line in content.splitlines() if line.startswith("{")]
        for document in documents:
            yield from _leaves(document)
    else:
        for line in content.split("\n"):
            yield from line.rstrip("\r").split("\t")


def _leaves(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)


# Folders whose files do not name their one language.
FOLDERS = dict(
    pair.split(":")
    for pair in "americasnli:other arcd:ar cmrc2018:zh cxnli:hr farstail:fa indonli:id jglue:ja klue:ko korquad:ko "
    "kornli:ko myxnli:my ocnli:zh parsinlu:fa "
    "UD_Tamil-TTB:ta UD_Telugu-MTG:te UD_Yoruba-YTB:yo UD_Tagalog-TRG:tl".split()
)
CODES = {row.iso3: code for code, row in LANGUAGES.items()} | {code: code for code in LANGUAGES}


def _language(name: str) -> str:
    for part in reversed(re.split(r"[/._-]", name)):
        if part in CODES and part not in ("eng", "en"):
            return CODES[part]
    folder = next((FOLDERS[part] for part in pathlib.PurePosixPath(name).parts if part in FOLDERS), None)
    return folder or next((CODES[part.lower()] for part in re.split(r"[/._-]", name) if part.lower() in CODES), "en")


def compare(texts: dict[str, list[str]], folder: pathlib.Path, sizes: dict[str, int]) -> dict[str, dict]:
    """Returns for each family how many texts of how many groups were compared, and the differences by cause."""
    every = [text for of_language in texts.values() for text in of_language]
    found = {}
    for family in FAMILIES:
        path = vocabulary(family, folder, every, sizes)
        tokenizer, theirs = load_tokenizer(path), reference(path)
        differing = collections.defaultdict(collections.Counter)
        for code, of_language in texts.items():
            for text in of_language:
                one, other = tokenizer.ids(text).tolist(), theirs(text)
                if one != other:
                    why = cause(text, one, other, tokenizer)
                    differing[why][code] += 1
                    if why == "other":
                        print(family, code, ascii(text), one, other)
        found[family] = {
            "pieces": tokenizer.size,
            "texts": len(every),
            "groups": len(texts),
            "differ": sum(sum(counter.values()) for counter in differing.values()),
            "causes": {why: dict(counter.most_common()) for why, counter in differing.items()},
        }
        print(family, found[family])
    return found


def write_golden(folder: pathlib.Path) -> None:
    """Writes the reference's ids of the made-up sentences, under vocabularies that are trained on them."""
    sentences = json.loads(SENTENCES.read_text(encoding="utf-8"))
    every = [text for texts in sentences.values() for text in texts] * 2
    ids = {}
    for family in FAMILIES:
        theirs = reference(vocabulary(family, folder, every, SMALL))
        ids[family] = {code: [theirs(text) for text in texts] for code, texts in sentences.items()}
    lines = [
        f' "{family}": {{\n' + ",\n".join(f'  "{code}": {json.dumps(rows)}' for code, rows in of.items()) + "\n }"
        for family, of in ids.items()
    ]
    versions = json.dumps({name: metadata.version(name) for name in ("transformers", "sentencepiece", "tokenizers")})
    GOLDEN.write_text(f'{{\n "made with": {versions},\n' + ",\n".join(lines) + "\n}\n")


def write_docs(results: dict[str, dict]) -> None:
    """Writes the page of the counts."""
    lines = [
        "# Tokenizers against transformers",
        "",
        "Ids of the same text under the same vocabulary, ours and theirs: of up to 25 texts of each data file,",
        "in 51 languages and a group of files with several, and 25 awkward ones made up for it.",
    ]
    lines += [
        "Spans are tested on their own (`tests/data/test_tokenizers.py`), since the slow tokenizers have none.",
        "",
    ]
    for version, run in sorted(results.items()):
        kind = "slow tokenizers" if int(version.split(".")[0]) < 5 else "fast tokenizers"
        lines += [f"## transformers {version} ({kind})", "", f"{run['date']}, {run['versions']}:", ""]
        lines += [
            f"    {run['command']}",
            "",
            f"| family | pieces | texts | groups | differ | {' | '.join(CAUSES)} |",
        ]
        lines += [f"|---|{'---:|' * (4 + len(CAUSES))}"]
        for family, counts in run["families"].items():
            causes = [str(sum(counts["causes"].get(why, {}).values())) for why in CAUSES]
            numbers = [counts[name] for name in ("pieces", "texts", "groups", "differ")]
            lines.append(f"| {family} | {' | '.join(map(str, numbers))} | {' | '.join(causes)} |")
        lines.append("")
    lines += ["## What the differences are", ""]
    lines += [f"- **{why}**: {meaning}." for why, meaning in CAUSES.items()]
    DOCS.write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=pathlib.Path, default=ROOT / "work/parity", help="where texts and vocabularies are kept"
    )
    parser.add_argument("--golden", action="store_true", help="write the golden file instead")
    options = parser.parse_args()
    if options.golden:
        write_golden(options.folder / "small")
        return
    kept = options.folder / "texts.json"  # for the second run
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(texts_of(pathlib.Path(os.environ["XLING_DATA"]))))
    texts = json.loads(kept.read_text()) | {"awkward": AWKWARD}
    print({code: len(of_language) for code, of_language in texts.items()})
    results = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    results[metadata.version("transformers")] = {
        "command": "XLING_DATA=... PYTHONPATH=. python benchmarks/tokenizer_parity.py",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"sentencepiece {metadata.version('sentencepiece')}, tokenizers {metadata.version('tokenizers')}",
        "families": compare(texts, options.folder / "large", LARGE),
    }
    COUNTS.write_text(json.dumps(results, indent=1) + "\n")
    write_docs(results)


if __name__ == "__main__":
    main()
