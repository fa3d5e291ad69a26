"""A question and a context that holds its answer: SQuAD, its kin, and its translations."""

from xling_jax.tables.rows.task import Split, Task

XQUAD = "ar de el en es hi ru th tr vi zh"
XQUAD_R = f"{XQUAD} ro"  # XTREME-R's
MLQA = "ar de en es hi vi zh"
TYDIQA = "ar bn en fi id ko ru sw te"
TYDIQA_DEV = "921 113 440 782 565 276 812 499 669"


def _qa(name: str, splits: dict[str, Split], **columns) -> Task:
    return Task(name, "span_qa", "squad_json", splits, head="qa", **columns)


ROWS = (
    _qa(
        "squad",
        {
            "train": Split("squad/train-v1.1.json", "en", "87599", tfds="squad/v1.1:3.0.0/train"),
            "train44": Split("squad/train-v1.1.subset44.json", "en", "11877"),  # 44 of the 442 training articles
            "dev": Split("squad/dev-v1.1.json", "en", "10570", tfds="squad/v1.1:3.0.0/validation"),
        },
        licence="CC BY-SA 4.0",
        source="rajpurkar/SQuAD-explorer on GitHub",
    ),
    _qa(
        "squad2",
        {
            "train": Split("squad/train-v2.0.json", "en", "130319", tfds="squad/v2.0:3.0.0/train"),
            "dev": Split("squad/dev-v2.0.json", "en", "11873", tfds="squad/v2.0:3.0.0/validation"),
            "dev16": Split("squad/dev-v2.0.subset16.json", "en", "6078"),  # 16 of the 35 articles of dev
        },
        unanswerable=True,
        scorer="squad2",
        licence="CC BY-SA 4.0",
        source="rajpurkar/SQuAD-explorer on GitHub",
    ),
    _qa(
        "xquad",
        {"test": Split("xquad/xquad.{language}.json", XQUAD_R, "1190")},
        train_from="squad.train.en",
        licence="CC BY-SA 4.0",
        source="google-deepmind/xquad on GitHub",
    ),
    _qa(
        "mlqa",
        {
            "dev": Split(
                "mlqa/MLQA_V1/dev/dev-context-{language}-question-{language}.json",
                MLQA,
                "517 512 1148 500 507 511 504",
            ),
            "test": Split("mlqa/MLQA_V1/test/test-context-{language}-question-{language}.json", MLQA),
        },
        scorer="mlqa",
        train_from="squad.train.en",
        licence="CC BY-SA 3.0",
        source="facebookresearch/MLQA on GitHub",
    ),
    _qa(
        "tydiqa",
        {
            "train": Split(
                "tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{language}.train.json",
                TYDIQA,
                "- - 3696 - - 1625 - 2755 -",
                tfds="tydi_qa/goldp:3.0.0/train",
            ),
            # Published as dev; the benchmarks score it, so nothing is chosen on it.
            "test": Split(
                "tydiqa/tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-{english}.json",
                TYDIQA,
                TYDIQA_DEV,
                tfds="tydi_qa/goldp:3.0.0/validation",
            ),
            # The same as XTREME's download leaves it: one file for each language, the answers taken out.
            "test_blind": Split(
                "tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{language}.dev.json", TYDIQA, TYDIQA_DEV, labels="withheld"
            ),
        },
        faults="ids",  # of training files: questions of one article are numbered, and articles begin again
        train_from="tydiqa.train.en",
        licence="Apache 2.0",
        source="google-research-datasets/tydiqa on GitHub; files by language as XTREME's download writes them",
    ),
    _qa(
        "squad_translated",
        {
            "train": Split(
                "xtreme_translations/SQuAD/translate-train/squad.translate.train.en-{language}.json",
                XQUAD.replace("en ", ""),
            )
        },
        fields={"source": "id"},
        faults="offsets",
        licence="CC BY-SA 4.0",
        source="XTREME's machine translations: bucket xtreme_translations, folder SQuAD",
    ),
    _qa(
        "tydiqa_translated",
        {
            "train": Split(
                "xtreme_translations/TyDiQA-GoldP/translate-train/tydiqa.translate.train.en-{language}.json",
                TYDIQA.replace("en ", ""),
            )
        },
        fields={"source": "id"},
        faults="offsets",
        licence="Apache 2.0",
        source="XTREME's machine translations: bucket xtreme_translations, folder TyDiQA-GoldP",
    ),
    _qa(
        "korquad",
        {
            "train": Split("korquad/KorQuAD_v1.0_train.json", "ko"),
            "dev": Split("korquad/KorQuAD_v1.0_dev.json", "ko", "5774"),
        },
        licence="CC BY-ND 2.0 KR",
        source="korquad/korquad.github.io on GitHub",
    ),
    _qa(
        "cmrc2018",
        {
            "train": Split("cmrc2018/squad-style-data/cmrc2018_train.json", "zh"),
            "dev": Split("cmrc2018/squad-style-data/cmrc2018_dev.json", "zh", "3219"),
            "trial": Split("cmrc2018/squad-style-data/cmrc2018_trial.json", "zh", "1002"),
        },
        faults="offsets",
        licence="CC BY-SA 4.0",
        source="ymcui/cmrc2018 on GitHub",
    ),
    _qa(
        "jsquad",
        {
            "train": Split("jglue/jsquad-v1.3/train-v1.3.json", "ja"),
            "dev": Split("jglue/jsquad-v1.3/valid-v1.3.json", "ja", "4442"),
            "test": Split("jglue/jsquad-v1.3/test-v1.3.json", "ja", "4420"),
        },
        licence="CC BY-SA 4.0",
        source="yahoojapan/JGLUE on GitHub",
    ),
    _qa(
        "arcd",
        {
            "train": Split("arcd/arcd-train.json", "ar", "693"),
            "test": Split("arcd/arcd-test.json", "ar", "702"),
        },
        faults="offsets",  # six answers differ from the context in their white space
        licence="MIT",
        source="husseinmozannar/SOQAL on GitHub",
    ),
    _qa(
        "parsinlu_qa",
        {
            "train": Split("parsinlu/reading_comprehension/train.json", "fa", "600"),
            "dev": Split("parsinlu/reading_comprehension/dev.json", "fa", "125"),
            "test": Split("parsinlu/reading_comprehension/eval.json", "fa", "570"),
        },
        faults="answers",  # of the test set, one is blank
        licence="CC BY-NC-SA 4.0",
        source="persiannlp/parsinlu on GitHub",
    ),
)
