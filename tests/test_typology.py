"""Distances and diversity against hand-worked numbers, and on URIEL's own files where they are there."""

import itertools
import math
import pathlib

import numpy as np
import pytest

from xling_jax.errors import DataError
from xling_jax.tables.languages import LANGUAGES
from xling_jax.typology import Features, clusters, distance_table, distances, diversity, grammar_features, read_uriel
from xling_jax.world.typology import WORLD_LANGUAGES

GAP = math.nan
XTREME_R = (
    "af ar az bg bn de el en es et eu fa fi fr gu he hi ht hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro ru "
    "sw ta te th tl tr uk ur vi wo yo zh"
).split()
XNLI, PAWSX = "ar bg de el en es fr hi ru sw th tr ur vi zh".split(), "de en es fr ja ko zh".split()


def features(*rows, codes="abcdefgh"):
    return Features(tuple(codes[: len(rows)]), tuple(map(str, range(len(rows[0])))), np.array(rows, float))


# ---- numbers worked by hand ----------------------------------------------------------------


def test_distance_is_over_what_is_known_of_both():
    found = distances(features([0, 1, 1, GAP], [0, 0, GAP, 1], [1, 0.5, 0, 1]))
    np.testing.assert_allclose(found, [[0, 1 / 2, 2.5 / 3], [1 / 2, 0, 1.5 / 3], [2.5 / 3, 1.5 / 3, 0]])


def test_a_table_of_distances():
    """qen and qnd differ in tense and plural, of eight columns: each is two of the features."""
    table = distance_table(("qen", "qnd"), "grammar")
    count = len(grammar_features(("qen",)).names)
    assert table == {"qen": {"qen": 0.0, "qnd": 4 / count}, "qnd": {"qen": 4 / count, "qnd": 0.0}}


@pytest.mark.parametrize(("group", "said"), [("grammar", "en is none"), ("syntax", "no folder was given")])
def test_a_table_of_distances_that_cannot_be_had(group, said):
    with pytest.raises(DataError, match=said):
        distance_table(("qen", "en"), group)


def test_languages_without_a_known_feature_in_common():
    with pytest.raises(DataError, match=r"Nothing is known of both 'a' and 'c': no feature of 2.\nAllowed:"):
        distances(features([0, GAP], [1, 1], [GAP, 1]))


def test_diversity_is_the_mean_entropy_of_features():
    half, third = math.log(2), -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert diversity(features([0, 1, 1], [1, 1, 1])) == pytest.approx(half / 3)
    assert diversity(features([0, 0], [0, 0], [1, GAP])) == pytest.approx(third / 2)
    assert diversity(features([1, 0])) == 0, "one language is not diverse"
    assert diversity(features([0, GAP], [1, GAP])) == pytest.approx(half), "what is known of nobody does not count"


def test_clusters_join_the_nearest():
    rows = features([0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 1])
    assert clusters(rows, 2) == {"a": "a", "b": "a", "e": "a", "c": "c", "d": "c"}
    assert clusters(rows, 3) == {"a": "a", "b": "a", "e": "e", "c": "c", "d": "c"}
    assert clusters(rows, 9) == {code: code for code in "abcde"}
    assert set(clusters(rows, 1).values()) == {"a"}


def test_generated_languages_are_as_far_as_their_grammar_says():
    codes = tuple(WORLD_LANGUAGES)
    from_source = dict(zip(codes, distances(grammar_features(codes))[codes.index("qen")], strict=True))
    kind = {
        code: [from_source[c] for c in codes if WORLD_LANGUAGES[c].distance == code] for code in ("near", "distant")
    }
    assert from_source["qen"] == 0 and max(kind["near"]) <= min(kind["distant"])
    assert from_source["qnd"] == pytest.approx(2 * 2 / 20), "tense and plural differ: two of 20 features each"
    assert grammar_features(["qda"]).value_GxN.sum() == 8, "one value in each column"


# ---- files in lang2vec's layout ------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with three languages, three features and two sources, as lang2vec publishes them."""
    named = {"feats": np.array(["S_SVO", "P_TONE", "S_VSO"]), "langs": np.array(["deu", "jpn", "zho"])}
    said = [[[1, 1], [-1, -1], [0, 1]], [[0, -1], [-1, 1], [-1, -1]], [[-1, 1], [1, 1], [0, 0]]]
    sources = np.array(["WALS", "SSWL"])
    np.savez_compressed(tmp_path / "feature_averages.npz", data=np.array(said, np.float32), sources=sources, **named)
    guessed = [[[1], [0], [0]], [[0], [1], [1]], [[1], [1], [0]]]
    predicted = {"data": np.array(guessed, np.float32), "sources": np.array(["predicted"])}
    np.savez_compressed(tmp_path / "feature_predictions.npz", **predicted, **named)
    (tmp_path / "letter_codes.json").write_text('{"de": "deu", "ja": "jpn", "zh": "zho"}')
    return tmp_path


def test_reading(folder):
    found = read_uriel(folder, ["zh", "de"])
    assert (found.codes, found.names) == (("zh", "de"), ("S_SVO", "S_VSO"))
    np.testing.assert_array_equal(found.value_GxN, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(read_uriel(folder, ["ja"], "phonology").value_GxN, [[1]])


def test_sources_are_averaged_and_gaps_stay(folder):
    found = read_uriel(folder, ["de", "ja", "zh"], filled=False)
    np.testing.assert_array_equal(found.value_GxN, [[1, 0.5], [0, GAP], [1, 0]])
    tone = read_uriel(folder, ["de", "ja", "zh"], "phonology", filled=False)
    np.testing.assert_array_equal(tone.value_GxN, [[GAP], [1], [1]])


def test_a_language_without_letters_is_found_by_its_row(folder):
    (folder / "letter_codes.json").write_text("{}")
    assert read_uriel(folder, ["de"]).codes == ("de",)
    with pytest.raises(DataError, match="URIEL has no row 'cmn' for language 'zh'"):
        read_uriel(folder, ["zh"])


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def spoil(path):
    content = bytearray(path.read_bytes())
    content[100:140] = b"x" * 40
    path.write_bytes(content)


BROKEN = {
    "missing": ("feature_predictions.npz", pathlib.Path.unlink),
    "cut": ("feature_predictions.npz", cut),
    "spoilt": ("feature_predictions.npz", spoil),
    "text": ("feature_predictions.npz", lambda path: path.write_text("no archive")),
    "another array": ("feature_predictions.npz", lambda path: np.savez(path, feats=np.array(["S_SVO"]))),
    "letters missing": ("letter_codes.json", pathlib.Path.unlink),
    "letters cut": ("letter_codes.json", lambda path: path.write_text('{"de": "d')),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_clear_error(folder, case):
    name, change = BROKEN[case]
    change(folder / name)
    with pytest.raises(DataError, match=rf"(?s){name} cannot be read.*Allowed: the files of lang2vec"):
        read_uriel(folder, ["de"])


def test_data_of_another_shape(folder):
    with np.load(folder / "feature_predictions.npz") as arrays:
        fields = dict(arrays) | {"data": np.zeros((3, 2, 1))}
    np.savez(folder / "feature_predictions.npz", **fields)
    with pytest.raises(DataError, match=r"shape \(3, 2, 1\) for 3 languages, 3 features, 1 sources"):
        read_uriel(folder, ["de"])


# ---- URIEL itself --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uriel(data_dir):
    return data_dir / "lang2vec"


def pair(found, one, other):
    return distances(found)[found.codes.index(one), found.codes.index(other)]


@pytest.mark.parametrize("filled", [True, False])
def test_relatives_are_near(uriel, filled):
    found = read_uriel(uriel, XTREME_R, filled=filled)
    assert found.value_GxN.shape == (len(XTREME_R), 103)
    near, far = ["de nl", "es pt", "hi ur", "et fi", "ja ko", "id ms"], ["de ja", "es zh", "hi sw", "fi vi"]
    assert max(pair(found, *two.split()) for two in near) < min(pair(found, *two.split()) for two in far)
    distance = distances(found)
    family = [LANGUAGES[code].family for code in XTREME_R]
    within, between = (
        np.mean(
            [
                distance[a, b]
                for a, b in itertools.combinations(range(len(XTREME_R)), 2)
                if (family[a] == family[b]) == same
            ]
        )
        for same in (True, False)
    )
    assert within < between


def test_every_language_of_xtreme_r_is_among_those_with_published_distances(uriel):
    """lang2vec lists, comma-separated on one line, the languages that it has distances of."""
    listed = set((uriel / "distances_languages.txt").read_text(encoding="utf-8").strip().split(","))
    assert {LANGUAGES[code].iso3 for code in XTREME_R} <= listed
    assert not np.isnan(read_uriel(uriel, XTREME_R).value_GxN).any(), "URIEL's predictions have no gaps"


def test_filling_gaps_keeps_what_is_known(uriel):
    known, filled = (read_uriel(uriel, XTREME_R, filled=filled).value_GxN for filled in (False, True))
    certain = np.isin(known, (0, 1))
    np.testing.assert_array_equal(known[certain], filled[certain])
    assert 0 < np.isnan(known).mean() < 0.3


def test_averages_are_those_of_the_sources(uriel, tmp_path):
    """The published averages, read from the file of all sources in their place: gaps count as nothing in both."""
    (tmp_path / "feature_averages.npz").symlink_to(uriel / "features.npz")
    (tmp_path / "letter_codes.json").symlink_to(uriel / "letter_codes.json")
    ours, published = (read_uriel(path, XTREME_R, filled=False).value_GxN for path in (tmp_path, uriel))
    np.testing.assert_allclose(ours, published, atol=5e-5)  # published with four decimals


def test_benchmarks_differ_in_diversity(uriel):
    """XTREME-R dropped PAWS-X as having few and alike languages."""
    index = {name: diversity(read_uriel(uriel, codes)) for name, codes in (("p", PAWSX), ("x", XNLI), ("r", XTREME_R))}
    assert index["p"] < index["x"] < index["r"] < math.log(2)


def test_clusters_are_the_well_known_ones(uriel):
    found = clusters(read_uriel(uriel, XTREME_R), 8)
    assert len(set(found.values())) == 8
    for alike in ("de nl en es fr ru", "hi ur ta te tr kk", "id jv ms th vi sw yo", "ja ko"):
        assert len({found[code] for code in alike.split()}) == 1, alike
    assert len({found[code] for code in ("de", "hi", "id", "ja", "eu")}) == 5
