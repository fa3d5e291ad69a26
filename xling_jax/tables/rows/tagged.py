"""A tag for each word: parts of speech, names, supertags."""

from xling_jax.tables.rows.task import UPOS, Split, Task

NER = tuple("O B-PER I-PER B-ORG I-ORG B-LOC I-LOC".split())
SUPERTAGS = tuple(str(number) for number in range(1363))  # lines of the file of categories, from 0

UDPOS = "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh"
UDPOS_R = f"{UDPOS} lt pl ro uk wo"  # XTREME-R's
UDPOS_TEST = (
    "425 1680 1116 - 456 5440 3147 4127 1799 2055 6544 5013 491 2684 449 1931 3518 2365 1047 4276 47 1471 2680 8973 "
    "654 146 1000 222 5842 535 800 318 3455 - - - - -"
)
PANX = (
    "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl tr ur vi "
    "yo zh"
)
PANX_R = f"{PANX} az gu lt pa pl qu ro uk"  # XTREME-R's
PANX_DEV = (
    "1000 10000 10000 1000 10000 10000 10000 10000 10000 10000 10000 10000 10000 10000 1000 10000 10000 10000 10000 "
    "100 10000 1000 10000 1000 1000 1000 100 10000 10000 10000 1000 1000 1000 - 1000 10000 1000 10000 100 10000 1000 "
    "100 10000 100 10000 100 10000 10000"
)
PANX_TEST = (
    "- - - - 10000 - 10000 10000 - - - - - - - - - - - - - - - - - - - 10000 - 10000 - - - - - - - - - - "
    "- - - - 10000 - - -"
)
PUD = "ar de en es fi fr hi id ja ko ru th tr zh"


def _treebank(name: str, splits: dict[str, Split], licence: str, treebank: str) -> Task:
    return Task(
        name,
        "tagging",
        "conllu",
        splits,
        UPOS,
        head="upos",
        train_from="udpos.train.en",
        licence=licence,
        source=f"Universal Dependencies 2.7, UniversalDependencies/{treebank} on GitHub",
    )


ROWS = (
    Task(
        "udpos",
        "tagging",
        "tagged_tsv",
        {
            "train": Split("udpos/train-{language}.tsv", "en hu kk mr ta te vi", "21787 910 31 373 400 1051 1400"),
            "dev": Split("udpos/dev-{language}.tsv", "en lt pl ro uk wo", "3974 672 3960 2247 672 449"),
            "test": Split("udpos/test-{language}.tsv", UDPOS_R, UDPOS_TEST),
            # As XTREME's download leaves it in its own folder: the tags taken out.
            "test_blind": Split("download/udpos/test-{language}.tsv", UDPOS_R, UDPOS_TEST, labels="withheld"),
        },
        UPOS,
        head="upos",
        train_from="udpos.train.en",
        licence="each treebank's own (CC BY-SA, CC BY-NC-SA, GPL)",
        source="Universal Dependencies 2.7; files as XTREME-R's download writes them, with tags",
    ),
    _treebank(
        "ud_ewt",
        {
            "train": Split("ud/UD_English-EWT/en_ewt-ud-train.conllu", "en", "12543"),
            "dev": Split("ud/UD_English-EWT/en_ewt-ud-dev.conllu", "en", "2002"),
            "test": Split("ud/UD_English-EWT/en_ewt-ud-test.conllu", "en", "2077"),
        },
        "CC BY-SA 4.0",
        "UD_English-EWT",
    ),
    _treebank(
        "ud_pud",
        {"test": Split("ud/UD_{name}-PUD/{language}_pud-ud-test.conllu", PUD, "1000")},
        "CC BY-SA 3.0 (Finnish CC BY-SA 4.0)",
        "UD_*-PUD",
    ),
    _treebank(
        "ud_ttb",
        {
            "train": Split("ud/UD_Tamil-TTB/ta_ttb-ud-train.conllu", "ta", "400"),
            "dev": Split("ud/UD_Tamil-TTB/ta_ttb-ud-dev.conllu", "ta", "80"),
            "test": Split("ud/UD_Tamil-TTB/ta_ttb-ud-test.conllu", "ta", "120"),
        },
        "CC BY-NC-SA 3.0",
        "UD_Tamil-TTB",
    ),
    _treebank(
        "ud_mtg",
        {
            "train": Split("ud/UD_Telugu-MTG/te_mtg-ud-train.conllu", "te", "1051"),
            "dev": Split("ud/UD_Telugu-MTG/te_mtg-ud-dev.conllu", "te", "131"),
            "test": Split("ud/UD_Telugu-MTG/te_mtg-ud-test.conllu", "te", "146"),
        },
        "CC BY-SA 4.0",
        "UD_Telugu-MTG",
    ),
    _treebank(
        "ud_ytb",
        {"test": Split("ud/UD_Yoruba-YTB/yo_ytb-ud-test.conllu", "yo", "318")},
        "CC BY-SA 4.0",
        "UD_Yoruba-YTB",
    ),
    _treebank(
        "ud_trg",
        {"test": Split("ud/UD_Tagalog-TRG/tl_trg-ud-test.conllu", "tl", "128")},
        "CC BY-SA 4.0",
        "UD_Tagalog-TRG",
    ),
    Task(
        "panx",
        "tagging",
        "tagged_tsv",
        {
            "train": Split("panx/train-{language}.tsv", "en", "20000"),
            "dev": Split("panx/dev-{language}.tsv", PANX_R, PANX_DEV),
            "test": Split("panx/test-{language}.tsv", PANX_R, PANX_TEST),
            "test_blind": Split("download/panx/test-{language}.tsv", PANX_R, PANX_TEST, labels="withheld"),
        },
        NER,
        head="ner",
        train_from="panx.train.en",
        licence="none stated; Wikipedia's text is CC BY-SA",
        source="WikiANN (Rahimi et al. 2019, arXiv 1902.00193); files as XTREME's download writes them, with tags",
    ),
    Task(
        "ccg",
        "tagging",
        "ccg",
        {
            "train": Split("ccg/train.tsv ccg/categories.txt", "en"),
            "dev": Split("ccg/dev.tsv ccg/categories.txt", "en"),
            "test": Split("ccg/test.tsv ccg/categories.txt", "en"),
        },
        SUPERTAGS,
        licence="LDC User Agreement: made by each user from a copy of CCGbank",
        source="CCGbank (Hockenmaier and Steedman 2007), LDC2005T13; docs/ccg.md says how to lay it out",
    ),
)
