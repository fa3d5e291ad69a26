"""Sentences, answers and entities to be found among many others."""

from xling_jax.tables.rows.task import Split, Task

BUCC = "de fr ru zh"
BUCC_TEXT = "bucc2018/{{language}}-en.{0}.{{language}} bucc2018/{{language}}-en.{0}.en"
LAREQA = "ar de el en es hi ru th tr vi zh"
LAREQA_TEXT = "lareqa/xquad-r/{language}.json"
LAREQA_SENTENCES = "1222 1276 1234 1180 1215 1244 1219 852 1167 1209 1196"
MENTIONS = "ar de en es fa ja pl ro ta tr uk"
ENTITIES = (
    "af ar az bg bn de el en es et eu fa fi fr gu he hi ht hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro ru "
    "sw ta te th tl tr uk ur vi wo yo zh"
)
ENTITY_COUNTS = (
    "2026 28220 3914 6138 1768 73076 4316 257008 41808 6072 5755 16895 13174 62236 1419 6924 5158 1852 10411 14339 "
    "41808 50817 1339 2841 7186 14463 5606 1919 1434 7937 2232 60409 996 37691 26384 412 8236 43192 1344 4864 2369 "
    "3550 1841 8326 23277 3355 42423 23 376 34734"
)

ROWS = (
    Task(
        "bucc2018",
        "mining",
        "bucc",
        {
            # XTREME's dev is the shared task's sample, its test the shared task's training set without the pairs.
            "dev": Split(f"{BUCC_TEXT.format('dev')} bucc2018/{{language}}-en.dev.gold", BUCC, "- - - 22213"),
            "test": Split(BUCC_TEXT.format("test"), BUCC, labels="withheld"),
        },
        licence="none stated; sentences of Wikipedia and of News Commentary",
        source="BUCC 2018 shared task; files as XTREME's download writes them",
    ),
    Task(
        "lareqa",
        "dual_encoder",
        "lareqa",
        {
            # A question's answers lie in all languages, so its cell is read with all of them, its own first.
            "test": Split(
                " ".join((LAREQA_TEXT, *(LAREQA_TEXT.format(language=code) for code in LAREQA.split()))),
                LAREQA,
                "1190",
                among="candidates",
            ),
            "candidates": Split(LAREQA_TEXT, LAREQA, LAREQA_SENTENCES),
        },
        train_from="squad_retrieval.train.en",
        licence="CC BY-SA 4.0",
        source="google-research-datasets/lareqa on GitHub (XQuAD-R)",
    ),
    Task(
        "squad_retrieval",
        "dual_encoder",
        "squad_retrieval",
        {
            # No dev: SQuAD's holds the questions that LAReQA translated.
            "train": Split("squad/train-v1.1.json", "en", "87599"),
            "train44": Split("squad/train-v1.1.subset44.json", "en", "11877"),
        },
        head="lareqa",
        licence="CC BY-SA 4.0",
        source="rajpurkar/SQuAD-explorer on GitHub, dataset/",
    ),
    Task(
        "mewslix",
        "dual_encoder",
        "mewslix",
        {
            "train": Split("mewslix/wikipedia_pairs-train.jsonl", "en", "167719"),
            "dev_pairs": Split("mewslix/wikipedia_pairs-dev.jsonl", "en", "14051"),
            "dev": Split(
                "mewslix/wikinews_mentions-dev.jsonl",
                MENTIONS,
                "318 326 316 311 72 310 304 145 312 262 315",
                among="candidates",
            ),
            "test": Split(
                "mewslix/wikinews_mentions-test.jsonl",
                MENTIONS,
                "1501 1551 1490 1552 458 1519 1562 672 1567 1215 1537",
                among="candidates",
            ),
            "candidates": Split("mewslix/candidate_set_entities.jsonl", ENTITIES, ENTITY_COUNTS),
        },
        fields={"language": "language"},  # one file holds the records of all languages
        train_from="mewslix.train.en",
        licence="none stated; text of Wikipedia and Wikinews",
        source="google-research/google-research on GitHub, dense_representations_for_entity_retrieval/mel (20220518_6)",
    ),
)
