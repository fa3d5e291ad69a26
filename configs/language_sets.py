"""How many languages? Nested sets of 2, 4 and 6 along two orders, in two regimes, beside one-language controls.

    xling run --config=configs/language_sets.py --workdir=work/language_sets

On the generated world, whose source language takes the place of English. The orders are random, and cover the
clusters of its grammars evenly at every size. Two of the eight languages are always unseen by the intermediate task.
`test` takes less than three minutes of one core; the default has not been run to its end.
"""

from ml_collections import ConfigDict

from xling_jax.errors import choose
from xling_jax.experiment import complete
from xling_jax.language_sets import nested_arms, orders_of
from xling_jax.typology import clusters, grammar_features

SOURCE = "qen"
LANGUAGES = ("qen", "qnd", "qnr", "qms", "qda", "qdt", "qmg", "qdx")
CLUSTERS = 3
ORDERS = 2
SETS = (2, 4, 6)

# size: (pretraining steps, epochs of the sets, steps of the target, examples by regime, limits of splits)
SIZES = {
    "default": (3000, 4.0, 400, {"total": 6000, "per_language": 1500}, {"train": 8000}),
    "test": (10, 1.0, 2, {"total": 48, "per_language": 12}, {"train": 200, "test": 20}),
}


def get_config(size: str = "default") -> ConfigDict:
    """Returns the config; `test` is the same experiment in minutes, with meaningless numbers."""
    pretrain, epochs, target, counts, limits = choose(
        "size", size, SIZES, "Sizes are rows of SIZES in the config file."
    )
    everywhere = "+".join(LANGUAGES)

    def stage(rate, length, batch_size=32, **more):
        return {"batch_size": batch_size, "max_length": length, "optim": {"learning_rate": rate}, **more}

    orders = orders_of(clusters(grammar_features(LANGUAGES), CLUSTERS), ORDERS, first=SOURCE)
    shared = stage(1e-3, 44, epochs=epochs)
    arms, comparisons = nested_arms("world_qa.train", orders, SETS, counts, source=SOURCE, stage=shared)
    return ConfigDict(
        complete(
            {
                "name": "language_sets",
                "question": "How many languages should an intermediate task have?",
                "synthetic": True,
                "model": "world",
                "vocabulary": {"kind": "world"},
                "limits": limits,
                "pretrain": stage(3e-3, 28, 64, data=(f"world_text.train.{everywhere}",), steps=pretrain),
                "arms": {"none": {}, **arms},
                "targets": {
                    "qa2": {
                        "task": "world_qa2",
                        "languages": everywhere,
                        "stage": stage(1e-3, 44, data=(f"world_qa2.train.{SOURCE}",), steps=target),
                    }
                },
                "eval_batch_size": 32,
                "source_language": SOURCE,
                "baseline": "none",
                "comparisons": comparisons,
                "headline": (*comparisons[len(SETS) * ORDERS - 1], "qa2"),
            }
        )
    )
