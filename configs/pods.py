"""The big rows on pod slices: an intermediate task in English, then each target in English, zero-shot.

    xling plan --config=configs/pods.py:xlmr_xxl --topology=v5e-64,v4-128        # before anything is paid for
    xling convert from-hf path/to/xlm-roberta-xxl work/xlmr_xxl
    xling run --config=configs/pods.py:xlmr_xxl --workdir=work/run --data_dir=$XLING_DATA

The argument is the model. Which slices each one fits, time bounds and chip-hours are in docs/pods.md. Each is divided
(xling_jax/recipes.py) as was found the fastest for 64 chips of v5e, whose memory is the least: so it fits 64 of the
others, too. For others, --config.mesh=DATAxFSDPxTENSOR and --config.remat=full, as `xling plan --search` says.

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
from xling_jax.recipes import PODS, TRAINING
from xling_jax.tables.tasks import task

SIZES = {name: PODS[name] for name in ("xlmr_xl", "xlmr_xxl", "mt5_xl", "mt5_xxl", "llama2_7b", "llama2_13b")}
SIZES |= {"test": PODS["xlmr_xxl"]}
SHARE = {"test": 0.01}  # of the recipe's epochs
TARGETS = {
    "xnli": "xnli",
    "pawsx": "pawsx",
    "pos": "udpos",
    "ner": "panx",
    "xquad": "xquad",
    "mlqa": "mlqa",
    "tydiqa": "tydiqa",
}


def get_config(size: str = "xlmr_xxl") -> ConfigDict:
    """Returns the config of a model."""
    pod = choose("size", size, SIZES, "Sizes are rows of SIZES in the config file.")

    def stage(*data, epochs, **more):
        return pod.stage(*data, epochs=epochs * SHARE.get(size, 1), save_every=500, **more)

    def target(row):
        how = TRAINING[row]
        made = stage(*task(row).train_from.split(), epochs=how.epochs, length=how.length, answer=how.answer)
        return {"task": row, "stage": made}

    return ConfigDict(
        complete(
            pod.experiment(
                name=f"pods_{pod.model}",
                question=f"Does MNLI as an intermediate task help {pod.model} zero-shot?",
                arms={"none": {}, "mnli": {"stage": stage("mnli.train.en", epochs=3)}},
                targets={name: target(row) for name, row in TARGETS.items()} | {"tatoeba": pod.target("tatoeba")},
                comparisons=(("mnli", "none"),),
                headline=("mnli", "none", "xnli"),
            )
        )
    )
