"""The arm of faiss: an exact index of each side, searched with the other one, and the ratio of margins by NumPy.

XTREME's own loop over candidates takes minutes; here it is one expression, so that the search is what is compared.
"""

import faiss
import numpy as np
from timing import now, run


def mine(language, pivot, k, sample):
    found, once = {}, np.zeros(2)
    for name, index_of, queries in (("forward", pivot, language), ("backward", language, pivot)):
        begin = now()
        index = faiss.IndexFlatIP(index_of.shape[1])
        index.add(index_of)
        once += now() - begin
        found[f"{name}_scores"], found[f"{name}_numbers"] = index.search(queries[:sample], k)
        del index
    return found, once


def best(found):
    means = {name: found[f"{name}_scores"].mean(axis=1) for name in ("forward", "backward")}
    return [
        (scores / ((means[name][:, None] + means[other][numbers]) / 2)).argmax(axis=1)
        for name, other in (("forward", "backward"), ("backward", "forward"))
        for scores, numbers in [(found[f"{name}_scores"], found[f"{name}_numbers"])]
    ]


if __name__ == "__main__":
    run(
        "faiss",
        mine,
        best,
        {"version": faiss.__version__, "numpy": np.__version__, "threads": faiss.omp_get_max_threads()},
    )
