"""Several choices of which one is right: endings, answers, causes and effects."""

from xling_jax.tables.rows.task import Split, Task

XCOPA = "et ht id it qu sw ta th tr vi zh"
XSTORYCLOZE = "ar es eu hi id my ru sw te zh"

LETTERS = {letter: str(number) for number, letter in enumerate("ABCDE")}
TWO, THREE, FOUR = ({str(number + 1): str(number) for number in range(choices)} for choices in (2, 3, 4))  # from one

# XTREME asks "What was the cause?" or "What was the effect?", in English in every language.
COPA = {
    "text": "{premise} What was the {question}?",
    "choices": "choice1 choice2",
    "label": "label",
    "id": "idx",
}

ROWS = (
    Task(
        "hellaswag",
        "multiple_choice",
        "hellaswag",
        {
            "train": Split("hellaswag/hellaswag_train.jsonl", "en", "39905", tfds="hellaswag:1.1.0/train"),
            "dev": Split("hellaswag/hellaswag_val.jsonl", "en", "10042", tfds="hellaswag:1.1.0/validation"),
            "test": Split("hellaswag/hellaswag_test.jsonl", "en", labels="withheld"),
            # The validation set as plain text, and the first thousand of it.
            "dev_text": Split("hellaswag/hellaswag_val_full.txt.bz2", "en", "10042"),
            "dev_first": Split("hellaswag/hellaswag_val.first1000.jsonl", "en", "1000"),
        },
        fields={"text": "{activity_label}: {ctx}", "choices": "endings", "label": "label", "id": "ind"},
        choices=4,
        head="hellaswag",
        licence="MIT",
        source="rowanz/hellaswag on GitHub",
    ),
    Task(
        "cosmosqa",
        "multiple_choice",
        "csv",
        {
            "train": Split("cosmosqa/train.csv", "en", "25262", tfds="cosmos_qa:1.0.0/train"),
            "dev": Split("cosmosqa/valid.csv", "en", "2985", tfds="cosmos_qa:1.0.0/validation"),
        },
        fields={
            "text": "{context} {question}",
            "choices": "answer0 answer1 answer2 answer3",
            "label": "label",
            "id": "id",
        },
        choices=4,
        licence="CC BY 4.0",
        source="wilburOne/cosmosqa on GitHub",
    ),
    Task(
        "commonsenseqa",
        "multiple_choice",
        "jsonl",
        {
            "train": Split("commonsenseqa/train_rand_split.jsonl", "en", "9741"),
            "dev": Split("commonsenseqa/dev_rand_split.jsonl", "en", "1221"),
            "test": Split("commonsenseqa/test_rand_split_no_answers.jsonl", "en", labels="withheld"),
        },
        fields={"text": "question.stem", "choices": "question.choices", "label": "answerKey", "id": "id"},
        words=LETTERS,
        choices=5,
        head="commonsenseqa",
        licence="MIT",
        source="Talmor et al. 2019, arXiv 1811.00937",
    ),
    Task(
        "jcommonsenseqa",
        "multiple_choice",
        "jsonl",
        {
            "train": Split("jglue/jcommonsenseqa-v1.3/train-v1.3.json", "ja", "8939"),
            "dev": Split("jglue/jcommonsenseqa-v1.3/valid-v1.3.json", "ja", "1119"),
            "test": Split("jglue/jcommonsenseqa-v1.3/test-v1.3.json", "ja", "1118"),
        },
        fields={
            "text": "question",
            "choices": "choice0 choice1 choice2 choice3 choice4",
            "label": "label",
            "id": "q_id",
        },
        choices=5,
        head="commonsenseqa",
        licence="CC BY-SA 4.0",
        source="yahoojapan/JGLUE on GitHub",
    ),
    Task(
        "parsinlu_choice",
        "multiple_choice",
        "jsonl",
        {
            "train": Split("parsinlu/multiple-choice/train.jsonl", "fa", "1271"),
            "dev": Split("parsinlu/multiple-choice/valid.jsonl", "fa", "139"),
            "test": Split("parsinlu/multiple-choice/test.jsonl", "fa", "1050"),
        },
        fields={"text": "question", "choices": "candidates", "label": "answer"},  # its `id` is a web page
        words=FOUR | {"۴": "3"},  # one answer is written in Persian digits
        choices=4,
        faults="blank",  # some questions have fewer choices, and blank ones in their place
        head="commonsenseqa",
        licence="CC BY-NC-SA 4.0",
        source="persiannlp/parsinlu on GitHub",
    ),
    Task(
        "siqa",
        "multiple_choice",
        "labelled_beside",
        {
            "train": Split(
                "siqa/socialiqa-train-dev.zip/socialiqa-train-dev/train.jsonl "
                "siqa/socialiqa-train-dev.zip/socialiqa-train-dev/train-labels.lst",
                "en",
                "33410",
            ),
            "dev": Split("siqa/socialIQa_v1.4_dev.jsonl", "en", "1954"),
            "test": Split("siqa/socialIQa_v1.4_tst.jsonl", "en", "2224"),
        },
        fields={"text": "{context} {question}", "choices": "answerA answerB answerC", "label": "correct"},
        words={"A": "0", "B": "1", "C": "2"} | THREE,  # letters in the one publication, numbers in the other
        choices=3,
        head="copa",
        licence="CC BY 4.0",
        source="AI2 (Sap et al. 2019, arXiv 1904.09728); dev and test as XTREME-R has them, version 1.4",
    ),
    Task(
        "copa",
        "multiple_choice",
        "jsonl",
        {
            "train": Split("copa/train-{language}.jsonl", "en", "400", tfds="super_glue/copa:1.0.2/train"),
            "dev": Split("copa/val-{language}.jsonl", "en", "100", tfds="super_glue/copa:1.0.2/validation"),
            # Files of the test set that do have a label have the same one, 0, in every row.
            "test": Split("copa/test-{language}.jsonl", "en", "500", labels="withheld"),
        },
        fields=COPA,
        choices=2,
        head="copa",
        train_from="siqa.train.en copa.train.en",
        licence="BSD 2-clause",
        source="SuperGLUE (Wang et al. 2019, arXiv 1905.00537)",
    ),
    Task(
        "xcopa",
        "multiple_choice",
        "jsonl",
        {
            "dev": Split("xcopa/data/{language}/val.{language}.jsonl", XCOPA, "100"),
            "test": Split("xcopa/data/{language}/test.{language}.jsonl", XCOPA, "500"),
        },
        fields=COPA,
        choices=2,
        head="copa",
        train_from="siqa.train.en copa.train.en",
        licence="CC BY 4.0",
        source="cambridgeltl/xcopa on GitHub",
    ),
    Task(
        "xstorycloze",
        "multiple_choice",
        "tsv",
        {
            "train": Split("xstorycloze/spring2016.val.{language}.tsv.split_20_80_train.tsv", XSTORYCLOZE, "360"),
            "test": Split("xstorycloze/spring2016.val.{language}.tsv.split_20_80_eval.tsv", XSTORYCLOZE, "1511"),
        },
        fields={
            "text": "{InputSentence1} {InputSentence2} {InputSentence3} {InputSentence4}",
            "choices": "RandomFifthSentenceQuiz1 RandomFifthSentenceQuiz2",
            "label": "AnswerRightEnding",
            "id": "InputStoryid",
        },
        words=TWO,
        choices=2,
        head="hellaswag",  # both ask for the ending of a story
        licence="CC BY-SA 4.0",
        source="juletx/self-translate on GitHub (Lin et al. 2022, arXiv 2112.10668)",
    ),
)
