"""Text without labels, and parallel text."""

from xling_jax.tables.rows.pairs import XNLI
from xling_jax.tables.rows.task import Split, Task

TATOEBA = "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi zh"
TATOEBA_R = f"{TATOEBA} az lt pl ro uk"  # XTREME-R's
TATOEBA_PAIRS = (
    "1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 205 746 575 "
    "1000 687 1000 1000 1000 1000 390 307 234 548 1000 1000 1000 1000 1000 - - - - -"
)

ROWS = (
    # Text of the XNLI files, to pretrain on where XNLI itself is not a target; splits are named by their files.
    Task(
        "xnli_text",
        "mlm",
        "tsv_text",
        {"test": Split("xnli/test-{language}.tsv", XNLI), "dev": Split("xnli/dev-{language}.tsv", XNLI)},
        licence="CC BY-NC 4.0",
        source="facebookresearch/XNLI on GitHub; files as XTREME's download writes them",
    ),
    Task(
        "tatoeba",
        "retrieval",
        "tatoeba",
        {
            "test": Split(
                "tatoeba/v1/tatoeba.{iso3}-eng.{side}",
                TATOEBA_R,
                TATOEBA_PAIRS,
                tfds="tatoeba/tatoeba_{language}:1.0.0/train",
            )
        },
        licence="CC BY 2.0 FR",
        source="facebookresearch/LASER on GitHub, data/tatoeba/v1",
    ),
)
