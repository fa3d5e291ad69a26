"""Every task of XTREME and XTREME-R that the data folder has, zero-shot, with the small encoder of real_small.py.

    xling run --config=configs/real_tasks.py --workdir=work/real_tasks --data_dir=$XLING_DATA

One seed, no intermediate task: this shows that every evaluator runs on real files in all of their languages, beside its
floor, and nothing about XLM-R. The encoder has read 75,000 sentences of XNLI's dev files in 15 languages; other
languages are pieces it has never seen, many of them unknown ones. What stands in for files that are not at hand: MNLI's
dev set is trained on, and PAWS-X's English one; PAN-X is scored on dev files where the test labels are missing; of
TyDiQA the answers of Korean and Swahili are there alone, in its training files; MLQA's and BUCC's dev files are scored.
PAN-X gets above its floor in most languages, UD-POS in half of them, little else. All but the pretraining took 19
minutes on two cores.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete
from xling_jax.recipes import TEXT

POS = "af ar bg el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh"
PANX_TEST = "de en es nl pl ru"
PANX_DEV = (
    "af ar az bg bn el et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my pa pt qu ro sw ta te tl tr uk ur "
    "vi yo zh"
)
XQUAD = "ar de el en es hi ru th tr vi zh"
TATOEBA = "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi zh"

# size: (pieces, pretraining steps, share of the epochs, questions of SQuAD, limits of splits)
SIZES = {
    "default": (8_000, 6000, 1.0, 4_000, {}),
    "test": (
        2_000,
        4,
        0.01,
        40,
        dict.fromkeys(("train", "train44", "dev", "test", "candidates"), 40),
    ),
}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment in a minute or two, with meaningless numbers."""
    pieces, pretrain, share, asked, limits = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(*data, rate, length, buckets=(), epochs=0.0, **more):
        optim = {"learning_rate": rate, "warmup": 0.1, "weight_decay": 0.01}
        amount = {"epochs": epochs * share} if epochs else {}
        return (
            {"data": data, "batch_size": 32, "max_length": length, "buckets": buckets, "optim": optim} | amount | more
        )

    sentences = (24, 40, 64)
    questions = stage("squad.train44.en", rate=5e-4, length=128, epochs=1, examples=asked)
    entities = stage("panx.train.en", rate=1e-3, length=64, buckets=sentences, epochs=1)
    search = {"max_length": 64, "protocol": {"layer": 1}}
    return ConfigDict(
        complete(
            {
                "name": "real_tasks",
                "question": "What does a small encoder score zero-shot in every task and language at hand?",
                "model": "small",
                "vocabulary": {"kind": "xlmr", "size": pieces, "data": TEXT},
                "limits": limits,
                "pretrain": stage(
                    *TEXT, rate=3e-3, length=64, buckets=sentences, steps=pretrain, batch_size=64, save_every=1000
                ),
                "arms": {"none": {}},
                "targets": {
                    "xnli": {
                        "task": "xnli",
                        "stage": stage("mnli.dev.en", rate=5e-4, length=96, buckets=(40, 64, 96), epochs=2),
                    },
                    "pawsx": {
                        "task": "pawsx",
                        "stage": stage("pawsx.dev.en", rate=5e-4, length=96, buckets=(64, 96), epochs=3),
                    },
                    "udpos": {
                        "task": "udpos",
                        "languages": POS,
                        "stage": stage(
                            "udpos.train.en",
                            rate=1e-3,
                            length=64,
                            buckets=sentences,
                            epochs=1,
                            save_every=150,
                            selection={"policies": ("source_dev", "last", "average"), "dev": "udpos.dev.en"},
                        ),
                    },
                    "panx": {"task": "panx", "languages": PANX_TEST, "stage": entities},
                    "panx_dev": {"task": "panx", "split": "dev", "languages": PANX_DEV, "stage": entities},
                    "xquad": {"task": "xquad", "languages": XQUAD, "stage": questions},
                    "mlqa": {"task": "mlqa", "split": "dev", "stage": questions},
                    "tydiqa": {
                        "task": "tydiqa",
                        "split": "train",
                        "languages": "ko sw",
                        "stage": stage("tydiqa.train.en", rate=5e-4, length=128, epochs=1),
                    },
                    "xcopa": {
                        "task": "xcopa",
                        "stage": stage(
                            "siqa.train.en", "copa.train.en", rate=5e-4, length=64, buckets=(40, 64), epochs=0.5
                        ),
                    },
                    "lareqa": {
                        "task": "lareqa",
                        "stage": stage("squad_retrieval.train44.en", rate=5e-4, length=128, epochs=1),
                    },
                    "tatoeba": {"task": "tatoeba", "languages": TATOEBA} | search,
                    "bucc": {"task": "bucc2018", "split": "dev", "languages": "zh"} | search,
                },
                "remember": ("mnli.dev.en",),
                "eval_batch_size": 32,
                "source_language": "en",
                "baseline": "none",
            }
        )
    )
