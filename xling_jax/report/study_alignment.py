"""Where damage begins: how the alignment of languages goes while arms are trained, by layer.

Before anything is trained a layer finds translations so often; training may break that, and the languages that were not
trained on pay for it. Damage has begun at the first step from which on the accuracy stays more than a point below that
of the first measurement.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.figures import Drawing, file_name
from xling_jax.report.record import Record, Stage
from xling_jax.report.study_figures import Series, step_lines
from xling_jax.report.study_report import Section
from xling_jax.report.table import NONE, Column, Number, Row, Table
from xling_jax.report.watched import ACCURACY, Track

DAMAGE = 1.0  # points below the first measurement
NOTE = (
    "Retrieval of translations between the source and the other languages, in percent: mean over languages and seeds. "
    f"Damage begins at the first step from which on it stays more than {DAMAGE:g} point below the first measurement, "
    "in the layer where that comes first, the lowest of equals. The best layer is that of the first measurement."
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """Stages of one name in an experiment, which differ by their seed: the alignment of each layer and language."""

    label: str
    tracks: Mapping[tuple[str, int], Track]  # by language and layer, mean over seeds

    def layer(self, number: int) -> Track:
        """Returns a layer's mean over languages."""
        return mean([track for (_, layer), track in self.tracks.items() if layer == number])

    @property
    def layers(self) -> list[int]:
        return sorted({layer for _, layer in self.tracks})


def alignment_section(study: CollectedStudy) -> Section:
    """Returns where damage begins in each kind of stage, and how alignment goes; nothing where none was watched."""
    kinds = stage_kinds(study)
    drawings = tuple(_drawing(study, kind) for kind in kinds)
    table = damage_table(kinds)
    return Section("Alignment of languages", (table,) if table.rows else (), drawings)


def stage_kinds(study: CollectedStudy) -> list[Kind]:
    """Returns the watched stages of all experiments, those that differ only by seed together; shared ones once."""
    groups: dict[str, dict[str, Stage]] = {}
    seen: set[str] = set()
    for record in study.records:
        for stage in record.stages:
            if stage.dir in study.watched and study.watched[stage.dir].aligned and stage.dir not in seen:
                seen.add(stage.dir)
                groups.setdefault(_label(study, record, stage), {})[stage.dir] = stage
    return [Kind(label, _over_seeds(study, list(stages))) for label, stages in groups.items()]


def damage_table(kinds: Sequence[Kind]) -> Table:
    """Returns by kind of stage the alignment of its best layer at both ends, and where damage begins."""
    labels = ("best layer", "at first", "at last", "change", "lowest", "damage from step", "in layer")
    columns = tuple(Column(label, "", (), "gain" if label == "change" else "value") for label in labels)
    rows = []
    for kind in kinds:
        best = max(kind.layers, key=lambda layer: kind.layer(layer).values[0])
        values = kind.layer(best).values
        begun = {layer: step for layer in kind.layers if (step := damage(kind.layer(layer))) is not None}
        first = min(begun, key=lambda layer: (begun[layer], layer)) if begun else None
        where = (
            NONE if first is None else Number(begun[first], digits=0),
            NONE if first is None else Number(first, digits=0),
        )
        ends = (Number(float(values[0])), Number(float(values[-1])), Number(float(values[-1] - values[0])))
        rows.append(Row(kind.label, "value", (Number(best, digits=0), *ends, Number(float(values.min())), *where)))
    return Table("alignment", "Where damage begins", NOTE, columns, tuple(rows), names="stage")


def damage(track: Track) -> float | None:
    """Returns the first step from which on a track stays more than DAMAGE below its start; None if it does not."""
    below_N = track.values < track.values[0] - DAMAGE
    if not below_N[-1]:
        return None
    above = np.flatnonzero(~below_N)
    return float(track.steps[above[-1] + 1])


def mean(tracks: Sequence[Track]) -> Track:
    """Returns the mean of tracks at the steps that all have."""
    steps = sorted(set.intersection(*(set(track.steps) for track in tracks)))
    picked = [track.values[np.isin(track.steps, steps)] for track in tracks]
    return Track(np.array(steps), np.mean(picked, axis=0))


def _over_seeds(study: CollectedStudy, stages: Sequence[str]) -> dict[tuple[str, int], Track]:
    found: dict[tuple[str, int], list[Track]] = {}
    for stage in stages:
        for (language, layer, what), track in study.watched[stage].aligned.items():
            if what == ACCURACY:
                found.setdefault((language, layer), []).append(track)
    return {key: mean(tracks) for key, tracks in found.items()}


def _label(study: CollectedStudy, record: Record, stage: Stage) -> str:
    name = stage.name.removesuffix(f"_s{stage.seed}")
    return name if len(study.record.experiments) == 1 else f"{record.name}: {name}"


def _drawing(study: CollectedStudy, kind: Kind) -> Drawing:
    """Returns a panel for each layer, and in it a line for each language."""
    shown = {}
    for layer in kind.layers:
        tracks = {language: track for (language, number), track in kind.tracks.items() if number == layer}
        shown[f"layer {layer}"] = [Series(language, track.steps, track.values) for language, track in tracks.items()]
    caption = f"Alignment with the source while {kind.label} is trained: retrieval of translations, mean over seeds."
    name = f"{study.record.name}-align-{file_name(kind.label)}"
    return step_lines(name, caption, shown, "accuracy in percent")
