"""How the alignment of languages goes while the stages of a study are trained, by layer, and where it falls."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.alignment import alignment_table
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.figures import Drawing, file_name
from xling_jax.report.record import Record, Stage
from xling_jax.report.study_figures import Series, step_lines
from xling_jax.report.study_report import Section
from xling_jax.report.watched import ACCURACY, Track


@dataclasses.dataclass(frozen=True)
class Kind:
    """Stages of one name in an experiment, which differ by their seed: the alignment of each layer and language."""

    label: str
    tracks: Mapping[tuple[str, int], Track]  # by language and layer, mean over seeds

    @property
    def layers(self) -> list[int]:
        return sorted({layer for _, layer in self.tracks})


def alignment_section(study: CollectedStudy) -> Section:
    """Returns where training damages alignment, and how it goes; nothing where none was watched."""
    tables = []
    for name, collected in study.experiments.items():
        table = alignment_table(collected)
        title = table.title if len(study.experiments) == 1 else f"{table.title}, {name}"
        tables += [dataclasses.replace(table, title=title, names="stage")] if table.rows else []
    return Section("Alignment of languages", tuple(tables), tuple(_drawing(study, kind) for kind in stage_kinds(study)))


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
