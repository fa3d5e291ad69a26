"""Text to model without labels. A split is named by where its text comes from; all of it may be trained on.

Some of it is the text of evaluation sets: `xling data doctor` names what is in both.
"""

from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.rows.retrieval import ENTITIES
from xling_jax.tables.rows.task import Split, Task
from xling_jax.tables.rows.text import TATOEBA

REAL = " ".join(code for code, row in LANGUAGES.items() if row.family != "generated")
MC4 = " ".join(code for code in ENTITIES.split() if code not in ("qu", "wo"))  # which it does not have
TATOEBA_ENGLISH = " ".join(f"tatoeba/v1/tatoeba.{LANGUAGES[code].iso3}-eng.eng" for code in TATOEBA.split())
PUD = "ar de en es fi fr hi id ja ko ru th tr zh"

ROWS = (
    Task(
        "ud_text",
        "mlm",
        "conllu_text",
        {
            "ewt_train": Split("ud/UD_English-EWT/en_ewt-ud-train.conllu", "en", "12543"),
            "ttb_train": Split("ud/UD_Tamil-TTB/ta_ttb-ud-train.conllu", "ta", "400"),
            "mtg_train": Split("ud/UD_Telugu-MTG/te_mtg-ud-train.conllu", "te", "1051"),
            "pud": Split("ud/UD_{name}-PUD/{language}_pud-ud-test.conllu", PUD, "1000"),
        },
        licence="each treebank's own (CC BY-SA, CC BY-NC-SA)",
        source="Universal Dependencies 2.7, UniversalDependencies/UD_* on GitHub",
    ),
    Task(
        "tatoeba_text",
        "mlm",
        "lines",
        {
            "other": Split("tatoeba/v1/tatoeba.{iso3}-eng.{iso3}", TATOEBA),
            "english": Split(TATOEBA_ENGLISH, "en"),
        },
        licence="CC BY 2.0 FR",
        source="facebookresearch/LASER on GitHub, data/tatoeba/v1",
    ),
    Task(
        "text_lines",
        "mlm",
        "lines",
        {"train": Split("text/{language}.txt", REAL)},
        licence="your own text",
        source="your own files, a sentence or a document on each line",
    ),
    Task(
        "text_jsonl",
        "mlm",
        "jsonl",
        {"train": Split("text/{language}.jsonl", REAL)},
        fields={"text": "text"},
        licence="your own text",
        source="your own files, a JSON object with a text on each line",
    ),
    Task(
        "wikipedia",
        "mlm",
        "tfds",
        {"train": Split("", ENTITIES, tfds="wikipedia/20230601.{language}:1.0.0/train")},
        fields={"text": "text"},
        licence="CC BY-SA 3.0",
        source="tensorflow-datasets, wikipedia",
    ),
    Task(
        "mc4",
        "mlm",
        "tfds",
        {
            "train": Split("", MC4, tfds="c4/multilingual:3.1.0/{language}"),
            "validation": Split("", MC4, tfds="c4/multilingual:3.1.0/{language}-validation"),
        },
        fields={"text": "text"},
        codes={"he": "iw", "tl": "fil"},
        licence="ODC-By; the pages' own",
        source="tensorflow-datasets, c4/multilingual",
    ),
)
