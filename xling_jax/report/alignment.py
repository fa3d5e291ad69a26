"""Where training begins to damage what languages share: how translations lie to each other over a stage's steps."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from xling_jax.report.collect import Collected
from xling_jax.report.record import Record
from xling_jax.report.table import NONE, Column, Number, Row, Table
from xling_jax.report.watched import ACCURACY, SIMILARITY, Watched

Aligned = tuple[np.ndarray, np.ndarray, np.ndarray]  # steps, accuracy in percent, similarity
LEVEL = 0.05  # of seeing a fall in a curve that does not fall
MEASURES = ("before", "after", "lowest", "falls at step")
NOTE = (
    "Retrieval of translations in percent, mean of both directions, over languages and over seeds, lowest and highest "
    "seed below; of sentences without labels, whose vectors are means of tokens. The layer is the one that is best "
    "over all languages where a stage begins (where it ends, of one that begins at random). A fall is the first "
    f"measurement that is lower than the first one by more than chance: {LEVEL:.0%} for all looks at a curve together, "
    "by the binomial error of both, with as many sentences as one language has, since languages say the same "
    "sentences. As both are of the same sentences, too, it is rather told too late than too early. – stands for none."
)


@dataclasses.dataclass(frozen=True)
class Course:
    """Accuracy of some languages over the steps of a stage, and how many sentences one of them has."""

    steps: np.ndarray
    percents: np.ndarray
    sentences: int

    def falls(self) -> float | None:
        """Returns the first step at which it is lower than at the start by more than chance, None if it never is."""
        below = self.percents[1:] < self.percents[0] - margin(self.percents[0], self.sentences, len(self.steps) - 1)
        return float(self.steps[1:][below.argmax()]) if below.any() else None


def alignment(collected: Collected) -> dict[str, dict[str, dict[int, Aligned]]]:
    """Returns {stage: {language: {layer: (steps, accuracy, similarity)}}} of the stages that were watched, by name."""
    found: dict[str, dict[str, dict[int, Aligned]]] = {}
    for stage in collected.record.stages:
        tracks = collected.watched[stage.dir].aligned if stage.dir in collected.watched else {}
        for (language, layer, what), track in tracks.items():
            if what == ACCURACY:
                similarity = tracks[language, layer, SIMILARITY]
                layers = found.setdefault(stage.name, {}).setdefault(language, {})
                layers[layer] = (track.steps, track.values, similarity.values)
    return found


def margin(percent: float, sentences: int, looks: int) -> float:
    """Returns the points by which one of so many later measurements is lower by chance, of a share of sentences.

    A share of 0 or 1 has an error, too: it is taken as if one more sentence of two had been found (Laplace).
    """
    share = (percent / 100 * sentences + 1) / (sentences + 2)
    error = np.sqrt(2 * share * (1 - share) / sentences)  # of a difference of two
    return 100 * float(stats.norm.isf(LEVEL / max(looks, 1)) * error)


def alignment_table(collected: Collected) -> Table:
    """Returns, for each kind of stage, accuracy at its best layer by groups of languages, and where it falls."""
    record = collected.record
    kinds: dict[str, list[Watched]] = {}
    begins: dict[str, bool] = {}
    for stage in record.stages:
        if stage.dir in collected.watched and collected.watched[stage.dir].aligned:
            kind = stage.name.removesuffix(f"_s{stage.seed}")
            kinds.setdefault(kind, []).append(collected.watched[stage.dir])
            begins[kind] = not stage.parents
    languages = dict.fromkeys(code for seeds in kinds.values() for seen in seeds for code, *_ in seen.aligned)
    groups = _groups(record, [*languages])
    columns = [Column("layer", "", (), "value")]
    columns += [Column(name, group, codes, "measure") for group, codes in groups.items() for name in MEASURES]
    rows = []
    for kind, seeds in kinds.items():
        layer = _best_layer(seeds, groups, at=-1 if begins[kind] else 0)
        numbers = [number for codes in groups.values() for number in _numbers(seeds, layer, codes)]
        rows.append(Row(kind, "value", (Number(layer, digits=0), *numbers)))
    return Table("alignment", "Alignment of translations", NOTE, tuple(columns), tuple(rows) if groups else ())


def _groups(record: Record, languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the watched languages by group, and all of them; the source language is its own translation."""
    watched = [code for code in languages if code != record.source_language]
    found = {name: tuple(code for code in codes if code in watched) for name, codes in record.language_groups.items()}
    found = {name: codes for name, codes in found.items() if codes}
    return (found if len(found) > 1 else {}) | ({"all languages": tuple(watched)} if watched else {})


def _best_layer(seeds: Sequence[Watched], groups: Mapping[str, tuple[str, ...]], at: int) -> int:
    """Returns the layer of the best mean over languages and seeds at a stage's first or last look."""
    codes = [*groups.values()][-1]
    layers = sorted({layer for seen in seeds for _, layer, _ in seen.aligned})
    means = {layer: np.mean([_course(seen, layer, codes).percents[at] for seen in seeds]) for layer in layers}
    return max(means, key=means.__getitem__)


def _course(seen: Watched, layer: int, codes: Sequence[str]) -> Course:
    """Returns the mean over languages, at the steps that all of them have."""
    tracks = [seen.aligned[code, layer, ACCURACY] for code in codes if (code, layer, ACCURACY) in seen.aligned]
    steps = functools.reduce(np.intersect1d, (track.steps for track in tracks))
    percents = np.mean([track.values[np.isin(track.steps, steps)] for track in tracks], axis=0)
    return Course(steps, percents, min(seen.sentences[code] for code in codes if code in seen.sentences))


def _numbers(seeds: Sequence[Watched], layer: int, codes: Sequence[str]) -> tuple[Number, ...]:
    """Returns the numbers of MEASURES: of the mean over seeds, the lowest and highest seed beside it."""
    each = [_course(seen, layer, codes) for seen in seeds]
    steps = functools.reduce(np.intersect1d, (course.steps for course in each))
    curves_SxK = np.array([course.percents[np.isin(course.steps, steps)] for course in each])
    mean = Course(steps, curves_SxK.mean(axis=0), min(course.sentences for course in each))
    told = [(curves_SxK[:, 0], mean.percents[0]), (curves_SxK[:, -1], mean.percents[-1])]
    told.append((curves_SxK.min(axis=1), mean.percents.min()))
    found = [Number(float(value), float(over.min()), float(over.max())) for over, value in told]
    falls, by_seed = mean.falls(), [at for course in each if (at := course.falls()) is not None]
    bounds = (min(by_seed), max(by_seed)) if by_seed else (None, None)
    return (*found, NONE if falls is None else Number(falls, *bounds, digits=0))
