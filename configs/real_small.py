"""The same program on real files: a vocabulary and a small encoder made here, then MNLI or SQuAD, then POS and Tatoeba.

    xling run --config=configs/real_small.py --workdir=work/real_small --data_dir=$XLING_DATA

The text is that of the XNLI files in 15 languages (about 100,000 sentences: very little). The published
training sets of MNLI and SQuAD are used as far as the data folder has them: MNLI dev-matched (9,815 pairs)
and 44 articles of SQuAD v1.1. The numbers say what a tiny model can do with that, and nothing about XLM-R: POS gets
above its floor in English and in eight of twelve other languages, Tatoeba does not, and MNLI is not learned at all, so
neither intermediate task can help. It takes 34 minutes on two cores, preparing included (56 minutes of processor time).
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete

XNLI = "ar+bg+de+el+en+es+fr+hi+ru+sw+th+tr+ur+vi+zh"
POS = "en+ar+bg+el+es+fr+hi+ru+th+tr+ur+vi+zh"
TATOEBA = "ar+bg+de+el+es+fr+hi+ru+sw+th+tr+ur+vi+zh"
TEXT = (f"xnli_text.test.{XNLI}", f"xnli_text.dev.{XNLI}")

# size: (pieces, pretraining steps, (MNLI, SQuAD, POS) epochs, SQuAD questions, seeds, limits of splits)
SIZES = {
    "default": (8_000, 8000, (2.0, 1.0, 3.0), 3_000, (0, 1), {}),
    "test": (2_000, 6, (0.1, 0.1, 0.1), 100, (0,), {"train": 600, "train44": 200, "dev": 100, "test": 60}),
}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment in seconds, with meaningless numbers."""
    pieces, pretrain, (mnli, squad, pos), questions, seeds, limits = choose(
        "size", size, SIZES, "Sizes are rows of SIZES in the config file."
    )

    def stage(data, rate, length, buckets=(), **more):
        optim = {"learning_rate": rate, "warmup": 0.1, "weight_decay": 0.01}
        return {"data": data, "batch_size": 32, "max_length": length, "buckets": buckets, "optim": optim, **more}

    return ConfigDict(
        complete(
            {
                "name": "real_small",
                "question": "Does MNLI or SQuAD as an intermediate task help a small encoder zero-shot?",
                "model": "small",
                "vocabulary": {"kind": "xlmr", "size": pieces, "data": TEXT},
                "limits": limits,
                "pretrain": stage(TEXT, 3e-3, 64, (24, 40, 64), steps=pretrain, batch_size=64, save_every=1000),
                "seeds": seeds,
                "arms": {
                    "none": {},
                    "mnli": {"stage": stage(("mnli.dev.en",), 5e-4, 96, (40, 64, 96), epochs=mnli)},
                    "squad": {"stage": stage(("squad.train44.en",), 5e-4, 128, epochs=squad, examples=questions)},
                },
                "targets": {
                    "pos": {
                        "task": "udpos",
                        "languages": POS,
                        "stage": stage(("udpos.train.en",), 1e-3, 64, (24, 40, 64), epochs=pos),
                    },
                    "tatoeba": {"task": "tatoeba", "languages": TATOEBA, "max_length": 64, "protocol": {"layer": 1}},
                },
                "source_language": "en",
                "baseline": "none",
                "comparisons": (("mnli", "none"), ("squad", "none"), ("mnli", "squad")),
                "headline": ("mnli", "none", "tatoeba"),
            }
        )
    )
