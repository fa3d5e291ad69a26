"""Typological features of languages: how far two languages are apart, how diverse a set of them is.

Real languages have those of URIEL in the files that lang2vec publishes (Littell et al. 2017, "URIEL and lang2vec");
generated ones the columns of their grammar. Both are numbers from 0 to 1, or NaN where nobody knows.
"""

import dataclasses
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.errors import DataError
from xling_jax.tables.languages import language

GROUPS = {"syntax": "S_", "phonology": "P_", "inventory": "INV_"}  # prefixes of URIEL's feature names
FILES = {True: "feature_predictions.npz", False: "feature_averages.npz"}  # by whether gaps are filled
PUBLISHED = "Allowed: the files of lang2vec as published (features of URIEL), in the folder lang2vec of the data."
GRAMMAR = ("order", "adposition", "adjective", "tense", "negation", "plural", "question", "marking")


@dataclasses.dataclass(frozen=True)
class Features:
    """Values of named features; `value_GxN` has a row for each language, and NaN where a value is unknown."""

    codes: tuple[str, ...]
    names: tuple[str, ...]
    value_GxN: np.ndarray


def read_uriel(folder: pathlib.Path, codes: Sequence[str], group: str = "syntax", filled: bool = True) -> Features:
    """Returns URIEL's features of some languages.

    Args:
      folder: where lang2vec's npz files and letter_codes.json lie.
      codes: of languages, as in `tables/languages.py`.
      group: syntax (103 features), phonology (28) or inventory (158).
      filled: gaps hold what URIEL predicts from the nearest languages, as lang2vec's `syntax_knn`; else they stay NaN.

    Raises:
      DataError: a file is missing or broken, or URIEL has no row for a language.
    """
    letters = _read_letters(folder / "letter_codes.json")
    names, langs, value_GxN = _read_npz(folder / FILES[filled])
    row_of = {name: row for row, name in enumerate(langs)}
    rows = []
    for code in codes:
        name = letters.get(code, language(code).iso3)  # letter_codes.json has URIEL's own choice for macrolanguages
        if name not in row_of:
            raise DataError(
                f"URIEL has no row '{name}' for language '{code}' in {folder / FILES[filled]}.\n{PUBLISHED}"
            )
        rows.append(row_of[name])
    columns = [column for column, name in enumerate(names) if name.startswith(GROUPS[group])]
    return Features(tuple(codes), tuple(names[column] for column in columns), value_GxN[np.ix_(rows, columns)])


def _read_letters(path: pathlib.Path) -> Mapping[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}).\n{PUBLISHED}") from error


def _read_npz(path: pathlib.Path) -> tuple[list[str], list[str], np.ndarray]:
    """Returns feature names, language names and the mean of what the file's sources say, which give -1 if nothing."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, langs, sources = (arrays[key].tolist() for key in ("feats", "langs", "sources"))
            data_GxNxS = arrays["data"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}).\n{PUBLISHED}") from error
    if data_GxNxS.shape != (len(langs), len(names), len(sources)):
        shape = f"{len(langs)} languages, {len(names)} features, {len(sources)} sources"
        raise DataError(f"{path} has data of shape {data_GxNxS.shape} for {shape}.\n{PUBLISHED}")
    return names, langs, _mean(data_GxNxS, data_GxNxS >= 0, axis=2)


def _mean(values: np.ndarray, counted: np.ndarray, axis: int) -> np.ndarray:
    """Returns the mean over an axis of the values that count; NaN where none does."""
    count = counted.sum(axis)
    return np.where(count, np.where(counted, values, 0).sum(axis, dtype=np.float64) / np.maximum(count, 1), np.nan)


def grammar_features(codes: Sequence[str]) -> Features:
    """Returns the grammar of generated languages: one feature for each value of each column, as URIEL has S_SVO."""
    from xling_jax.world.typology import WORLD_LANGUAGES  # noqa: PLC0415 - only experiments on generated data need it

    values = sorted({(column, getattr(row, column)) for row in WORLD_LANGUAGES.values() for column in GRAMMAR})
    rows = [WORLD_LANGUAGES[code] for code in codes]
    value_GxN = np.array([[getattr(row, column) == value for column, value in values] for row in rows], np.float64)
    return Features(tuple(codes), tuple(f"{column}={value}" for column, value in values), value_GxN)


def distances(features: Features) -> np.ndarray:
    """Returns the distances between all languages, of shape (G, G), from 0 to 1.

    The distance is the mean absolute difference over the features that are known in both, so that gaps need no value.
    (It is not the distance that URIEL publishes, whose treatment of gaps is unclear: Toossi et al. 2024.)

    Raises:
      DataError: two languages have no known feature in common.
    """
    value_GxN = features.value_GxN
    known_GxN = ~np.isnan(value_GxN)
    both_GxGxN = known_GxN[:, None] & known_GxN[None, :]
    apart_GxGxN = np.abs(value_GxN[:, None] - value_GxN[None, :])
    distance_GxG = _mean(apart_GxGxN, both_GxGxN, axis=2)
    if np.isnan(distance_GxG).any():
        one, other = (features.codes[place] for place in np.argwhere(np.isnan(distance_GxG))[0])
        raise DataError(
            f"Nothing is known of both '{one}' and '{other}': no feature of {len(features.names)}.\n"
            "Allowed: languages with a feature in common; or read the features with gaps filled."
        )
    return distance_GxG


def distance_table(codes: Sequence[str], group: str, folder: pathlib.Path | None = None) -> dict[str, dict[str, float]]:
    """Returns the distances between languages as {code: {code: distance}}, as the record of a study holds them.

    Args:
      codes: of the languages.
      group: "grammar" of generated languages, or of URIEL syntax, phonology or inventory, with gaps filled.
      folder: lang2vec's, for URIEL.

    Raises:
      DataError: the features of a language are not there, or the languages are of both kinds.
    """
    if group in GROUPS:
        if folder is None:
            raise DataError(
                f"Distances by {group} need URIEL's features, and no folder was given.\n{PUBLISHED}\n"
                "The folder of the data is named by --data_dir or XLING_DATA."
            )
        features = read_uriel(folder, codes, group)
    else:
        features = _grammar_of(codes)
    rows = zip(codes, distances(features).tolist(), strict=True)
    return {code: dict(zip(codes, row, strict=True)) for code, row in rows}


def _grammar_of(codes: Sequence[str]) -> Features:
    from xling_jax.world.typology import WORLD_LANGUAGES  # noqa: PLC0415 - only experiments on generated data need it

    real = [code for code in codes if code not in WORLD_LANGUAGES]
    if real:
        raise DataError(
            f"Distances by grammar are those of generated languages, and {', '.join(real)} is none.\n"
            f"Allowed: {' '.join(WORLD_LANGUAGES)}; of real languages {', '.join(GROUPS)}."
        )
    return grammar_features(codes)


def diversity(features: Features) -> float:
    """Returns the typology index of a set of languages: mean entropy of its features, in nats (0 to 0.69).

    A feature is present with a probability of its mean over the languages where it is known. XTREME-R (Ruder et al.
    2021), after XCOPA (Ponti et al. 2020), takes the 103 syntactic features of URIEL.
    """
    known_GxN = ~np.isnan(features.value_GxN)
    share_N = _mean(features.value_GxN, known_GxN, axis=0)
    share_2xN = np.array([share_N, 1 - share_N])[:, ~np.isnan(share_N)]
    return float(-(share_2xN * np.log(np.where(share_2xN > 0, share_2xN, 1))).sum(0).mean())


def clusters(features: Features, count: int) -> dict[str, str]:
    """Returns {language: the first language of its cluster}, for at most `count` clusters.

    Clusters are merged by average linkage: always the two whose languages are nearest on the mean.
    Of equally near ones the first are taken, so that the same languages in the same order give the same.
    """
    distance_GxG = distances(features)
    groups = [[place] for place in range(len(features.codes))]
    while len(groups) > count:
        pairs = [(a, b) for b in range(len(groups)) for a in range(b)]
        a, b = min(pairs, key=lambda pair: distance_GxG[np.ix_(groups[pair[0]], groups[pair[1]])].mean())
        groups[a] = sorted(groups[a] + groups.pop(b))
    return {features.codes[place]: features.codes[group[0]] for group in groups for place in group}
