"""Which text of a language is the translation of a given text in the pivot language?

As in XTREME's Tatoeba: the texts of the language are indexed, those of the pivot language are the queries, the nearest
by cosine is the answer. The protocol may turn the direction round, or compare margins. Mean-pooled vectors of one
language lie close together, so the language's mean is subtracted first unless the protocol says otherwise; XTREME's
code does not subtract it.
"""

from collections.abc import Sequence

import numpy as np

from xling_jax.eval.margin import best_of
from xling_jax.eval.predict import Outputs
from xling_jax.eval.search import build_index, centred, check_vectors
from xling_jax.eval.suite import Setting

QUERIES = {"pivot": 1, "language": 0}  # the text of a pair that asks; the other one is to be found


def answers(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[str]:
    """Returns for each text of the queries' side the id of the text that was found."""
    vectors_Nx2xD, names = outputs.stack("vectors"), [example["id"] for example in raw]
    check_vectors(vectors_Nx2xD, names)
    return _found(vectors_Nx2xD, names, setting)


def layer_scores(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> dict[int, list[str]]:
    """Returns the answers from each hidden state, of outputs that have all of them (layer `ALL`)."""
    vectors_Nx2xExD, names = outputs.stack("vectors"), [example["id"] for example in raw]
    check_vectors(vectors_Nx2xExD, names)
    return {layer: _found(vectors_Nx2xExD[:, :, layer], names, setting) for layer in range(vectors_Nx2xExD.shape[2])}


def _found(vectors_Nx2xD: np.ndarray, names: Sequence[str], setting: Setting) -> list[str]:
    protocol = setting.protocol
    sides = [vectors_Nx2xD[:, side] for side in range(2)]
    if protocol.centre:
        sides = [centred(side_NxD) for side_NxD in sides]
    asks = QUERIES[protocol.queries]
    index = build_index(sides[1 - asks], mesh=setting.mesh)
    _, number_N = best_of(sides[asks], index, protocol.margin, protocol.k)
    return [names[number] for number in number_N.tolist()]


def detail(outputs: Outputs, raw: Sequence[dict], setting: Setting) -> list[dict]:
    """Returns nothing more."""
    return [{}] * len(raw)


def submission(predictions: list[str], raw: Sequence[dict]) -> tuple[str, str]:
    """Returns for each pair, in the order of its text in the pivot language, the line of the text found, from 0.

    XTREME sorts the file of the pivot language before it is given out, so that its order says nothing, and leaves the
    other one as it is; its labels are in that order, too (`tatoeba_preprocess` of its utils_preprocess.py).
    """
    pivot = [example["text_pair"].strip() for example in raw]
    line = {example["id"]: number for number, example in enumerate(raw)}
    order = sorted(range(len(pivot)), key=pivot.__getitem__)
    return "tsv", "".join(f"{line[predictions[number]]}\n" for number in order)
