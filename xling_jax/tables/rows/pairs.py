"""Two texts and a label: inference and paraphrase, in English, translated, and in other languages."""

from xling_jax.tables.rows.task import NLI, Split, Task

XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh"
PAWSX = "de en es fr ja ko zh"
AMERICAS = "aym bzd cni gn hch nah oto quy shp tar"
SAME = ("0", "1")  # the files' own words: 1 is a paraphrase

INITIALS = {"e": "entailment", "n": "neutral", "c": "contradiction"}
NUMBERS = {"0": "entailment", "1": "neutral", "2": "contradiction"}
NO_MAJORITY = {"-": ""}  # annotators did not agree

SENTENCES = {"text": "sentence1", "text_pair": "sentence2", "label": "gold_label", "id": "pairID"}
PREMISES = {"text": "premise", "text_pair": "hypothesis", "label": "label"}
COLUMNS = {"text": "0", "text_pair": "1", "label": "2"}
TRANSLATED = {"source": "0 1", "text": "2", "text_pair": "3", "label": "4"}  # English, its translation, label

ANLI_LICENCE, ANLI_SOURCE = "CC BY-NC 4.0", "facebookresearch/anli on GitHub (Nie et al. 2020, arXiv 1910.14599)"


def _nli(name: str, reader: str, splits: dict[str, Split], **columns) -> Task:
    return Task(name, "pair_classification", reader, splits, NLI, head="nli", **columns)


def _anli(number: int, train: int, dev: int) -> Task:
    """Returns a round of ANLI; it is published as three data sets that have everything else in common."""
    path, tfds = f"anli/anli_v1.0/R{number}/{{}}.jsonl", f"anli/r{number}:0.1.0/{{}}"
    splits = {
        "train": Split(path.format("train"), "en", str(train), tfds=tfds.format("train")),
        "dev": Split(path.format("dev"), "en", str(dev), tfds=tfds.format("validation")),
        "test": Split(path.format("test"), "en", str(dev), tfds=tfds.format("test")),
    }
    fields = {"text": "context", "text_pair": "hypothesis", "label": "label", "id": "uid"}
    columns = {"fields": fields, "words": INITIALS, "licence": ANLI_LICENCE, "source": ANLI_SOURCE}
    return _nli(f"anli_r{number}", "jsonl", splits, **columns)


ROWS = (
    _nli(
        "snli",
        "jsonl",
        {
            "train": Split("snli/snli_1.0_train.jsonl", "en", "549367", tfds="snli:1.1.0/train"),
            "dev": Split("snli/snli_1.0_dev.jsonl", "en", tfds="snli:1.1.0/validation"),
            "test": Split("snli/snli_1.0_test.jsonl", "en", tfds="snli:1.1.0/test"),
            # Samples of the training set, as nyu-mll/CNLI-generalization on GitHub has them.
            "sample0": Split("snli_cnli/snlisub0/train.jsonl", "en", "8329"),
            "sample1": Split("snli_cnli/snlisub1/train.jsonl", "en", "8315"),
            "sample3": Split("snli_cnli/snlisub3/train.jsonl", "en", "8316"),
            "sample4": Split("snli_cnli/snlisub4/train.jsonl", "en", "8316"),
        },
        fields=SENTENCES,
        words=NO_MAJORITY,
        licence="CC BY-SA 4.0",
        source="Bowman et al. 2015, arXiv 1508.05326",
    ),
    _nli(
        "snli_counterfactual",
        "jsonl",
        {
            "train": Split("snli_cnli/counterfactual_nli/train.jsonl", "en", "8330"),
            "train_seed": Split("snli_cnli/counterfactual_nli/train_seed.jsonl", "en", "1666"),
        },
        fields=PREMISES,
        licence="MIT; SNLI CC BY-SA 4.0",
        source="nyu-mll/CNLI-generalization on GitHub",
    ),
    _nli(
        "mnli",
        "jsonl",
        {
            "train": Split("mnli/multinli_1.0_train.jsonl", "en", "392702", tfds="multi_nli:1.1.0/train"),
            "dev": Split(
                "mnli/multinli_1.0_dev_matched.jsonl", "en", "9815", tfds="multi_nli:1.1.0/validation_matched"
            ),
            "dev_mismatched": Split(
                "mnli/multinli_1.0_dev_mismatched.jsonl", "en", "9832", tfds="multi_nli:1.1.0/validation_mismatched"
            ),
        },
        fields=SENTENCES,
        words=NO_MAJORITY,
        licence="MultiNLI licence (OANC and others, see the paper)",
        source="Williams et al. 2018, arXiv 1704.05426",
    ),
    _anli(1, train=16946, dev=1000),
    _anli(2, train=45460, dev=1000),
    _anli(3, train=100459, dev=1200),
    Task(
        "qqp",
        "pair_classification",
        "tsv",
        {
            "train": Split("qqp/train.tsv", "en", "363846", tfds="glue/qqp:2.0.0/train"),
            "dev": Split("qqp/dev.tsv", "en", "40430", tfds="glue/qqp:2.0.0/validation"),
        },
        SAME,
        fields={"text": "question1", "text_pair": "question2", "label": "is_duplicate", "id": "id"},
        head="qqp",
        licence="Quora's terms",
        source="Quora, as GLUE publishes it (Wang et al. 2019, arXiv 1804.07461)",
    ),
    _nli(
        "xnli",
        "quoted_columns",
        {
            "train": Split("xnli/train-{language}.tsv", "en", "392702"),  # MNLI, as XTREME's download writes it
            "dev": Split("xnli/dev-{language}.tsv", XNLI, "2490", tfds="xnli:1.1.0/validation"),
            "test": Split("xnli/test-{language}.tsv", XNLI, "5010", tfds="xnli:1.1.0/test"),
            # As XTREME's download leaves it in its own folder: the labels taken out.
            "test_blind": Split("download/xnli/test-{language}.tsv", XNLI, "5010", labels="withheld"),
        },
        fields=COLUMNS,
        train_from="mnli.train.en",
        licence="CC BY-NC 4.0",
        source="facebookresearch/XNLI on GitHub; files as XTREME's download writes them, with labels",
    ),
    Task(
        "pawsx",
        "pair_classification",
        "quoted_columns",
        {
            "train": Split("pawsx/train-{language}.tsv", "en", "49401"),
            "dev": Split("pawsx/dev-{language}.tsv", PAWSX, "2000"),
            "test": Split("pawsx/test-{language}.tsv", PAWSX, "2000"),
            "test_blind": Split("download/pawsx/test-{language}.tsv", PAWSX, "2000", labels="withheld"),
        },
        SAME,
        fields=COLUMNS,
        head="pawsx",
        train_from="pawsx.train.en",
        licence="free for any purpose, acknowledging Google LLC",
        source="google-research-datasets/paws on GitHub; files as XTREME's download writes them, with labels",
    ),
    _nli(
        "xnli_translated",
        "columns",
        {
            "train": Split(
                "xtreme_translations/XNLI/translate-train/en-{language}-translated.tsv", XNLI.replace("en ", "")
            )
        },
        fields=TRANSLATED,
        words={"contradictory": "contradiction", "contradiction": "contradiction"},
        faults="rows",
        licence="as MNLI",
        source="XTREME's machine translations: bucket xtreme_translations, folder XNLI",
    ),
    Task(
        "pawsx_translated",
        "pair_classification",
        "columns",
        {"train": Split("xtreme_translations/PAWSX/translate-train/en-{language}-translated.tsv", "de es fr ja ko zh")},
        SAME,
        fields=TRANSLATED,
        faults="rows",
        head="pawsx",
        licence="as PAWS-X",
        source="XTREME's machine translations: bucket xtreme_translations, folder PAWSX",
    ),
    _nli(
        "americasnli",
        "tsv",
        {
            "dev": Split("americasnli/dev.tsv", AMERICAS, "743 743 658 743 743 376 222 743 743 743"),
            "test": Split("americasnli/test.tsv", AMERICAS, "750 750 750 750 750 738 748 750 750 750"),
        },
        fields=PREMISES | {"language": "language", "id": "{language}.{number}"},
        faults="blank",  # Nahuatl has a premise, of three examples, that is a space
        train_from="mnli.train.en",
        licence="none stated; derived from XNLI (CC BY-NC 4.0)",
        source="nala-cub/AmericasNLI on GitHub",
    ),
    _nli(
        "kornli",
        "tsv",
        {
            "train": Split("kornli/multinli.train.{language}.tsv", "ko"),
            "train_snli": Split("kornli/snli_1.0_train.{language}.tsv", "ko"),
            "dev": Split("kornli/xnli.dev.{language}.tsv", "ko", "2490"),
            "test": Split("kornli/xnli.test.{language}.tsv", "ko", "5010"),
        },
        fields={"text": "sentence1", "text_pair": "sentence2", "label": "gold_label"},
        licence="CC BY-SA 4.0",
        source="kakaobrain/KorNLUDatasets on GitHub",
    ),
    _nli(
        "xnli_eu",
        "csv_tabs",
        {
            "test": Split("xnlivar/{language}/xnli-{language}-original.tsv", "eu", "5010"),
            "native": Split("xnlivar/{language}/xnli-{language}-native.tsv", "eu", "621"),
        },
        fields=PREMISES,
        words=NUMBERS,
        train_from="mnli.train.en",
        licence="CC BY-NC 4.0",
        source="hitz-zentroa/XNLIvar on GitHub",
    ),
    _nli(
        "xnli_variants",
        "csv_tabs",
        {"test": Split("xnlivar/{language}/xnli-{language}-var.tsv", "es eu", "666 894")},
        fields=PREMISES | {"id": "{language}.{number}"},
        words=NUMBERS,
        train_from="mnli.train.en",
        licence="CC BY-NC 4.0",
        source="hitz-zentroa/XNLIvar on GitHub",
    ),
    _nli(
        "myxnli",
        "tsv",
        {
            "dev": Split("myxnli/{language}.genre.dev.tsv", "my", "2490"),
            "test": Split("myxnli/{language}.genre.test.tsv", "my", "5010"),
        },
        fields={"text": "sentence1_my", "text_pair": "sentence2_my", "label": "label"},
        train_from="mnli.train.en",
        licence="CC BY-NC 4.0",
        source="akhtet/myXNLI on GitHub",
    ),
    _nli(
        "cxnli",
        "csv",
        {
            "dev": Split("cxnli/xnli.dev.{language}.csv", "hr", "2490"),
            "test": Split("cxnli/xnli.test.{language}.csv", "hr", "5010"),
        },
        fields={"text": "premise", "text_pair": "hypo", "label": "label"},
        train_from="mnli.train.en",
        licence="CC BY-NC 4.0",
        source="lobadic/C-XNLI on GitHub",
    ),
    _nli(
        "ocnli",
        "jsonl",
        {
            "train": Split("ocnli/train.50k.json", "zh"),
            "train10k": Split("ocnli/train.10k.json", "zh", "9985"),  # the published small part of train
            "dev": Split("ocnli/dev.json", "zh", "2950"),
            "test": Split("ocnli/test.json", "zh", "3000", labels="withheld"),
        },
        fields={"text": "sentence1", "text_pair": "sentence2", "label": "label", "id": "id"},
        words=NO_MAJORITY,
        licence="CC BY-NC 2.0",
        source="CLUEbenchmark/OCNLI on GitHub",
    ),
    _nli(
        "jnli",
        "jsonl",
        {
            "train": Split("jglue/jnli-v1.3/train-v1.3.json", "ja"),
            "dev": Split("jglue/jnli-v1.3/valid-v1.3.json", "ja", "2434"),
            "test": Split("jglue/jnli-v1.3/test-v1.3.json", "ja", "2508"),
        },
        fields={"text": "sentence1", "text_pair": "sentence2", "label": "label", "id": "sentence_pair_id"},
        licence="CC BY-SA 4.0",
        source="yahoojapan/JGLUE on GitHub",
    ),
    _nli(
        "klue_nli",
        "json",
        {
            "train": Split("klue/klue-nli-v1.1/klue-nli-v1.1_train.json", "ko"),
            "dev": Split("klue/klue-nli-v1.1/klue-nli-v1.1_dev.json", "ko", "3000"),
        },
        fields={"text": "premise", "text_pair": "hypothesis", "label": "gold_label", "id": "guid"},
        licence="CC BY-SA 4.0",
        source="KLUE-benchmark/KLUE on GitHub",
    ),
    _nli(
        "indonli",
        "jsonl",
        {
            "train": Split("indonli/train.jsonl", "id", "10330"),
            "dev": Split("indonli/val.jsonl", "id", "2197"),
            "test": Split("indonli/test_lay.jsonl", "id", "2201"),
            "test_expert": Split("indonli/test_expert.jsonl", "id", "2984"),
        },
        fields=PREMISES | {"id": "pair_id"},
        words=INITIALS,
        faults="ids",
        licence="CC BY-SA (see its README)",
        source="ir-nlp-csui/indonli on GitHub",
    ),
    _nli(
        "farstail",
        "csv_tabs",
        {
            "train": Split("farstail/Train-word.csv", "fa", "7266"),
            "dev": Split("farstail/Val-word.csv", "fa", "1537"),
            "test": Split("farstail/Test-word.csv", "fa", "1564"),
        },
        fields=PREMISES,
        words=INITIALS,
        licence="Apache 2.0",
        source="dml-qom/FarsTail on GitHub",
    ),
    _nli(
        "parsinlu_nli",
        "csv",
        {
            "train": Split("parsinlu/entailment/train.csv", "fa", "754"),
            "dev": Split("parsinlu/entailment/dev.csv", "fa", "270"),
            "test": Split("parsinlu/entailment/test.csv", "fa", "1673"),
        },
        fields={"text": "sent1", "text_pair": "sent2", "label": "label"},
        words=INITIALS | NO_MAJORITY | {"xx": ""},  # of 2,700 rows, two have '-' and one has 'xx'
        licence="CC BY-NC-SA 4.0",
        source="persiannlp/parsinlu on GitHub",
    ),
    Task(
        "parsinlu_qqp",
        "pair_classification",
        "jsonl",
        {
            "train": Split("parsinlu/qqp/train.jsonl", "fa", "1830"),
            "dev": Split("parsinlu/qqp/dev.jsonl", "fa", "898"),
            "test": Split("parsinlu/qqp/test.jsonl", "fa", "1916"),
        },
        SAME,
        fields={"text": "q1", "text_pair": "q2", "label": "label"},
        head="qqp",
        licence="CC BY-NC-SA 4.0",
        source="persiannlp/parsinlu on GitHub",
    ),
)
