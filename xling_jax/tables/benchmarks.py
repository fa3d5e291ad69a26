"""Benchmarks: XTREME and XTREME-R as their published scorer has them (google-research/xtreme, evaluate.py).

A task's score is the mean over its languages, English among them, of the mean of its metrics; a group's is the mean
over its tasks. XTREME's overall score is the mean over all tasks. The published scorer computes none for XTREME-R:
it has no languages, metric or group for LAReQA, and counts XCOPA in two groups.
"""

import dataclasses

from xling_jax.errors import choose
from xling_jax.tables.languages import LANGUAGES

XTREME_PANX = (
    "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl tr ur vi "
    "yo zh"
)
XTREME_UDPOS = "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh"
XTREME_TATOEBA = (
    "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi zh"
)
XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh"
XQUAD = "ar de el en es hi ru th tr vi zh"
MLQA = "ar de en es hi vi zh"
TYDIQA = "ar bn en fi id ko ru sw te"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A task of a benchmark, under the scorer's own names for it, its metrics and its groups; `task` is its row."""

    name: str
    task: str
    languages: str
    metrics: tuple[str, ...]
    groups: tuple[str, ...]
    split: str = "test"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Tasks that are scored together."""

    name: str
    entries: tuple[Entry, ...]

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Returns the names of each group's tasks, in the order of the entries."""
        names = dict.fromkeys(group for entry in self.entries for group in entry.groups)
        return {group: tuple(entry.name for entry in self.entries if group in entry.groups) for group in names}

    def languages(self) -> tuple[str, ...]:
        """Returns every language that a task is scored in, in order."""
        return tuple(sorted({code for entry in self.entries for code in entry.languages.split()}))


ACCURACY, F1, SPANS, RANKS = ("accuracy",), ("f1",), ("exact_match", "f1"), ("map@20",)

_ROWS = (
    Benchmark(
        "xtreme",
        (
            Entry("xnli", "xnli", XNLI, ACCURACY, ("classification",)),
            Entry("pawsx", "pawsx", "de en es fr ja ko zh", ACCURACY, ("classification",)),
            Entry("udpos", "udpos", XTREME_UDPOS, F1, ("tagging",)),
            Entry("panx", "panx", XTREME_PANX, F1, ("tagging",)),
            Entry("xquad", "xquad", XQUAD, SPANS, ("qa",)),
            Entry("mlqa", "mlqa", MLQA, SPANS, ("qa",)),
            Entry("tydiqa", "tydiqa", TYDIQA, SPANS, ("qa",)),
            Entry("bucc2018", "bucc2018", "de fr ru zh", F1, ("retrieval",)),
            Entry("tatoeba", "tatoeba", XTREME_TATOEBA, ACCURACY, ("retrieval",)),
        ),
    ),
    Benchmark(
        "xtreme_r",
        (
            Entry("xnli", "xnli", XNLI, ACCURACY, ("classification",)),
            Entry("xcopa", "xcopa", "et ht id it qu sw ta th tr vi zh", ACCURACY, ("classification", "multi_choice")),
            Entry("udpos", "udpos", f"{XTREME_UDPOS} lt pl ro uk wo", F1, ("tagging",)),
            Entry("panx", "panx", f"{XTREME_PANX} az gu lt pa pl qu ro uk", F1, ("tagging",)),
            Entry("xquad", "xquad", f"{XQUAD} ro", SPANS, ("qa",)),
            Entry("mlqa", "mlqa", MLQA, SPANS, ("qa",)),
            Entry("tydiqa", "tydiqa", TYDIQA, SPANS, ("qa",)),
            Entry("lareqa", "lareqa", XQUAD, RANKS, ()),
            Entry("mewslix", "mewslix", "ar de en es fa ja pl ro ta tr uk", RANKS, ("retrieval",)),
            Entry("tatoeba", "tatoeba", f"{XTREME_TATOEBA} az lt pl ro uk", ACCURACY, ("retrieval",)),
        ),
    ),
)

BENCHMARKS = {row.name: row for row in _ROWS}


def benchmark(name: str, inside: str = "") -> Benchmark:
    """Returns the row of a benchmark; ConfigError with suggestions if there is none."""
    return choose("benchmark", name, BENCHMARKS, "Benchmarks are rows of xling_jax/tables/benchmarks.py.", inside)


assert all(code in LANGUAGES for row in _ROWS for code in row.languages()), "a benchmark in an unknown language"
