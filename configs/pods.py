"""The big rows on pod slices: an intermediate task in English, then each target in English, zero-shot.

    xling plan --config=configs/pods.py:xlmr_xxl --topology=v5e-64,v4-128        # before anything is paid for
    xling convert from-hf path/to/xlm-roberta-xxl work/xlmr_xxl
    xling run --config=configs/pods.py:xlmr_xxl --workdir=work/run --data_dir=$XLING_DATA

The argument is the model. Which slices each one fits, time bounds and chip-hours are in docs/pods.md. Each is divided
as was found the fastest for 64 chips of v5e, whose memory is the least: so it fits 64 of the others, too. For others,
--config.mesh=DATAxFSDPxTENSOR and --config.remat=full, as `xling plan --search` says.

Encoders are fine-tuned as XLM-R's authors fine-tuned it on XNLI (batches of 128, a rate of 5e-6, AdamW), with the
epochs and lengths that the study's authors released (jiant: guides/projects/xstilts.md, scripts/benchmarks/xtreme); mT5
as its authors did it (google-research/multilingual-t5: Adafactor at a constant 0.001, batches of 128). For Llama 2
nobody published a recipe for these tasks: optimiser and rate are those of its own supervised fine-tuning (Touvron et
al. 2023, section 3.1: 2e-5, weight decay 0.1), with our linear schedule in the place of a cosine. None has been run: no
score is expected here until one has been. `test` is XLM-R XXL with a hundredth of the epochs, and meaningless numbers.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete

XLMR = {"learning_rate": 5e-6, "warmup": 0.1, "weight_decay": 0.01}
LLAMA = {"learning_rate": 2e-5, "warmup": 0.1, "weight_decay": 0.1, "b2": 0.95}
ADAFACTOR = {"name": "adafactor", "learning_rate": 1e-3, "schedule": "constant"}
ADAFACTOR |= {"warmup": 0.0, "weight_decay": 0.0, "clip": 0.0}
# size: (model, optimiser, mesh of 64 chips, what of a layer is computed again, the layer of retrieval's vectors: two
# thirds of the way up)
SIZES = {
    "xlmr_xl": ("xlmr_xl", XLMR, "1x32x2", "none", 24),
    "xlmr_xxl": ("xlmr_xxl", XLMR, "2x16x2", "dots", 32),
    "mt5_xl": ("mt5_xl", ADAFACTOR, "1x32x2", "none", 16),
    "mt5_xxl": ("mt5_xxl", ADAFACTOR, "1x16x4", "dots", 16),
    "llama2_7b": ("llama2_7b", LLAMA, "1x32x2", "none", 21),
    "llama2_13b": ("llama2_13b", LLAMA, "2x16x2", "dots", 27),
    "test": ("xlmr_xxl", XLMR, "2x16x2", "dots", 32),
}
SHARE = {"test": 0.01}  # of the recipe's epochs
BATCH, SEEDS = 128, (0, 1, 2)
# target: (task, trained on, epochs, longest input, longest answer in words)
TARGETS = {
    "xnli": ("xnli", "mnli.train.en", 2, 256, 8),
    "pawsx": ("pawsx", "pawsx.train.en", 5, 256, 8),
    "pos": ("udpos", "udpos.train.en", 10, 256, 192),
    "ner": ("panx", "panx.train.en", 10, 256, 192),
    "xquad": ("xquad", "squad.train.en", 2, 384, 64),
    "mlqa": ("mlqa", "squad.train.en", 2, 384, 64),
    "tydiqa": ("tydiqa", "tydiqa.train.en", 2, 384, 64),
}
MNLI = ("mnli.train.en", 3, 256, 8)
BUCKETS = {256: (64, 128, 256), 384: (128, 256, 384)}


def get_config(size: str = "xlmr_xxl") -> ConfigDict:
    """Returns the config of a model."""
    row, optim, mesh, remat, layer = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(data, epochs, length, answer):
        sizes = {"batch_size": BATCH, "max_length": length, "buckets": BUCKETS[length], "answer_length": answer}
        return {"data": (data,), "epochs": epochs * SHARE.get(size, 1), **sizes, "optim": optim, "save_every": 500}

    return ConfigDict(
        complete(
            {
                "name": f"pods_{row}",
                "question": f"Does MNLI as an intermediate task help {row} zero-shot?",
                "checkpoint": f"work/{row}",
                "seeds": SEEDS,
                "arms": {"none": {}, "mnli": {"stage": stage(*MNLI)}},
                "targets": {name: {"task": task, "stage": stage(*how)} for name, (task, *how) in TARGETS.items()}
                | {"tatoeba": {"task": "tatoeba", "max_length": 128, "protocol": {"layer": layer}}},
                "eval_batch_size": 256,
                "source_language": "en",
                "baseline": "none",
                "comparisons": (("mnli", "none"),),
                "headline": ("mnli", "none", "xnli"),
                "dtype": "bfloat16",
                "strategy": "fsdp_tensor",
                "mesh": mesh,
                "remat": remat,
            }
        )
    )
