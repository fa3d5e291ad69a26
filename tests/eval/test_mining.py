"""Mining: against slow code after the published formulas, by hand where sentences repeat, and through an evaluator."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answered import Given
from answered import answers as answered

from xling_jax.errors import ConfigError, NumericalError
from xling_jax.eval import mining
from xling_jax.eval.margin import SMALLEST, best, margins
from xling_jax.eval.predict import Outputs
from xling_jax.eval.search import build_index, search_both
from xling_jax.eval.suite import Evaluator, OpenCell, Setting, protocol_of
from xling_jax.experiment import Target
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.protocol import ALL, Protocol, check_protocol, resolve
from xling_jax.stages.reading import Ask
from xling_jax.tables.meshes import Mesh
from xling_jax.tables.tasks import Cell


def setting(split: str = "dev", **fields) -> Setting:
    return Setting(Target(task="bucc2018", split=split, protocol=Protocol(**{"centre": False} | fields)))


def sentences(language: int, pivot: int, gold: int = 0, withheld: bool = False) -> list[dict]:
    """Returns examples of which the first `gold` of both sides are translations."""
    raw = []
    for side, count in (("language", language), ("pivot", pivot)):
        for number in range(count):
            answers = [f"p{number}"] if side == "language" and number < gold else []
            name = f"{side[0]}{number}"
            raw.append({"id": name, "text": name, "side": side, "gold": None if withheld else answers})
    return raw


def outputs_of(vectors: np.ndarray) -> Outputs:
    made = Outputs(np.arange(len(vectors)), len(vectors))
    made.add(np.arange(len(vectors)), {"vectors": vectors})
    return made


def answers(vectors, raw, how):
    return mining.answers(outputs_of(vectors), raw, how)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def translated(seed: int, language: int, pivot: int, gold: int, noise: float = 0.3) -> np.ndarray:
    """Returns vectors of the language, then of the pivot, whose first `gold` are those of the language, with noise."""
    first, second = draw(seed, language, 48), draw(seed + 1, pivot, 48)
    second[:gold] = first[:gold] + noise * second[:gold]
    return np.concatenate([first, second])


def slow(language, pivot, protocol):
    """Returns {(row, column): score} of the pairs that are mined, by definition."""
    cosines = (unit(language.astype(float)) @ unit(pivot.astype(float)).T).tolist()
    rows, columns = range(len(language)), range(len(pivot))
    near = {i: sorted(columns, key=lambda j, i=i: -cosines[i][j])[: protocol.k] for i in rows}
    back = {j: sorted(rows, key=lambda i, j=j: -cosines[i][j])[: protocol.k] for j in columns}
    mean = {i: sum(cosines[i][j] for j in near[i]) / len(near[i]) for i in rows}
    mean_back = {j: sum(cosines[i][j] for i in back[j]) / len(back[j]) for j in columns}

    def margin(i, j):
        around = (mean[i] + mean_back[j]) / 2
        compared = {"absolute": cosines[i][j], "distance": cosines[i][j] - around, "ratio": cosines[i][j] / around}
        return compared[protocol.margin]

    forward = [(i, max(near[i], key=lambda j, i=i: margin(i, j))) for i in rows]
    backward = [(max(back[j], key=lambda i, j=j: margin(i, j)), j) for j in columns]
    found, used = {}, (set(), set())
    for i, j in sorted(
        {"language": forward, "pivot": backward}.get(protocol.queries, forward + backward),
        key=lambda pair: -margin(*pair),
    ):
        if protocol.queries != "both" or (i not in used[0] and j not in used[1]):
            used[0].add(i)
            used[1].add(j)
            found[i, j] = margin(i, j)
    return found


@pytest.mark.parametrize("queries", ["language", "pivot", "both"])
@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
@pytest.mark.parametrize("k", [1, 4])
def test_pairs_against_slow_code(queries, margin, k):
    """Vectors lie on one side of the origin, as a model's do, so that the ratio has means above zero."""
    language, pivot = (draw(seed, count, 6) + 1 for seed, count in ((k, 30), (k + 9, 40)))
    protocol = Protocol(queries=queries, margin=margin, k=k)
    scores, rows, columns = mining.pairs_of(language, pivot, protocol)
    wanted = slow(language, pivot, protocol)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == set(wanted)
    for at, pair in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        assert scores[at] == pytest.approx(wanted[pair], abs=2e-6)  # float32 cosines over means of about 0.5
    counts = [len(set(rows.tolist())), len(set(columns.tolist()))]
    assert counts == {"language": [30, counts[1]], "pivot": [counts[0], 40], "both": [len(rows)] * 2}[queries]


@pytest.mark.parametrize("margin", ["absolute", "distance", "ratio"])
def test_both_directions_are_symmetric(margin):
    language, pivot, protocol = draw(3, 50, 8), draw(4, 60, 8), Protocol(queries="both", margin=margin)
    scores, rows, columns = mining.pairs_of(language, pivot, protocol)
    back, columns_back, rows_back = mining.pairs_of(pivot, language, protocol)
    there = dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), scores.tolist(), strict=True))
    again = dict(zip(zip(rows_back.tolist(), columns_back.tolist(), strict=True), back.tolist(), strict=True))
    assert there == pytest.approx(again, abs=1e-6)  # sums of the product in another order
    turned = mining.pairs_of(pivot, language, dataclasses.replace(protocol, queries="language"))
    straight = mining.pairs_of(language, pivot, dataclasses.replace(protocol, queries="pivot"))
    assert turned[1].tolist() == straight[2].tolist() and turned[2].tolist() == straight[1].tolist()


def test_the_order_and_the_lengths_of_vectors_do_not_count():
    raw, vectors = sentences(40, 50, 30), translated(5, 40, 50, 30)
    how = setting(threshold="1.1")
    wanted = {example["id"]: names for example, names in zip(raw, answers(vectors, raw, how), strict=True)}
    assert 20 < sum(map(len, wanted.values())) < 40
    order = np.random.default_rng(6).permutation(90)
    lengths = np.exp(draw(7, 90, 1) * 5)
    moved = [raw[number] for number in order]
    found = answers((vectors * lengths)[order], moved, how)
    assert {example["id"]: names for example, names in zip(moved, found, strict=True)} == wanted


def test_ratios_and_distances_have_bounds():
    found, back = search_both(draw(8, 40, 4) + 3, build_index(draw(9, 30, 4) + 3), 4)
    assert (np.abs(margins(found, back, "distance")) <= 2).all()
    assert (margins(found, back, "ratio")[:, 0] > 0).all()
    assert (margins(found, back, "absolute") == found.scores).all()
    best_N, _ = best(found, back, "ratio")
    assert (best_N == margins(found, back, "ratio").max(axis=1)).all()


def test_a_mean_of_zero_or_less_is_not_divided_by():
    """Two sentences on each side, centred: each has one at cosine 1 and one at -1."""
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    scores, rows, columns = mining.pairs_of(
        vectors[:2] - 0.5, vectors[2:] - 0.5, Protocol(queries="both", margin="ratio")
    )
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert scores.tolist() == pytest.approx([1 / SMALLEST] * 2)
    assert answers(vectors, sentences(2, 2, 2), setting(centre=True, threshold="0")) == [["p0"], ["p1"], [], []]


def test_sentences_that_repeat_take_part_and_are_no_answer():
    raw = sentences(3, 3, 3)
    vectors = np.eye(6, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    assert answers(vectors, raw, setting(threshold="0.5", margin="absolute"))[:3] == [["p0"], ["p1"], ["p2"]]
    raw[5]["text"] = raw[4]["text"]  # p2 says what p1 says: its own vector is not looked at
    assert answers(vectors, raw, setting(threshold="0.5", margin="absolute"))[:3] == [["p0"], [], []]
    raw[2]["text"] = raw[0]["text"]
    assert answers(vectors, raw, setting(threshold="0.5", margin="absolute"))[:3] == [[], [], []]


def test_one_side_may_have_several_partners_of_the_other():
    raw, vectors = sentences(2, 3), np.array([[1, 0], [0, 1], [1, 0.1], [1, 0.2], [1, 0.3]], np.float32)
    how = {"threshold": "-1", "margin": "absolute"}
    assert answers(vectors, raw, setting(queries="pivot", **how))[:2] == [["p0", "p1", "p2"], []]
    assert answers(vectors, raw, setting(queries="language", **how))[:2] == [["p0"], ["p2"]]
    assert answers(vectors, raw, setting(queries="both", **how))[:2] == [["p0"], ["p2"]]


def test_a_threshold_nothing_reaches_and_one_that_is_reached_exactly():
    raw, vectors = sentences(2, 2), np.array([[1, 0], [0, 1], [1, 0], [3, 4]], np.float32)
    assert answers(vectors, raw, setting(threshold="1.5", margin="absolute")) == [[]] * 4
    exactly = answers(vectors, raw, setting(threshold="1", margin="absolute"))
    assert exactly == [["p0"], [], [], []]
    assert mining.submission([[]] * 4, raw) == ("tsv", "")


def evaluate(folder, cells: dict[str, tuple[list[dict], np.ndarray]], split: str, change=lambda x: x, **fields):
    """Returns (metrics, which cells were opened); the cells are of BUCC's Chinese."""
    how, opened = setting(split, **fields), []

    def open_cell(cell):
        raw, vectors = cells[cell.split]
        opened.append(str(cell))
        return OpenCell(cell, raw, Given({"v": vectors}, 7), {}, {})

    def output_fn(batch):
        return {"vectors": jnp.asarray(change(batch["v"]))}

    ((values, _),) = Evaluator(how, answered(output_fn), open_cell)([Cell("bucc2018", split, "zh")], folder)
    return values, opened


def test_perfect_vectors_score_100_where_each_half_tunes_the_other(tmp_path):
    raw, vectors = sentences(60, 70, 20), translated(10, 60, 70, 20, noise=0.01)
    values, opened = evaluate(tmp_path, {"dev": (raw, vectors)}, "dev")
    assert values == {"f1": 100.0} and opened == ["bucc2018.dev.zh"]
    assert (tmp_path / "bucc2018" / "dev-zh.tsv").read_text() == "".join(f"l{at}\tp{at}\n" for at in range(20))
    worse, _ = evaluate(tmp_path, {"dev": (raw, vectors)}, "dev", change=lambda x: x[:, :2])
    assert worse["f1"] < 100


def test_the_threshold_of_dev_answers_a_test_without_labels(tmp_path):
    dev = (sentences(60, 70, 20), translated(10, 60, 70, 20, noise=0.01))
    test = (sentences(50, 40, 9, withheld=True), translated(20, 50, 40, 9, noise=0.01))
    values, opened = evaluate(tmp_path, {"dev": dev, "test": test}, "test")
    assert values == {} and opened == ["bucc2018.test.zh", "bucc2018.dev.zh"]
    lines = (tmp_path / "bucc2018" / "test-zh.tsv").read_text().splitlines()
    assert lines == [f"l{at}\tp{at}" for at in range(9)], "and none of the pairs that are no translations"
    items = [json.loads(line) for line in (tmp_path / "bucc2018" / "test-zh.items.jsonl").read_text().splitlines()]
    assert items[0] == {"id": "l0"} and len(items) == 90


def test_a_number_needs_no_dev(tmp_path):
    test = (sentences(50, 40, 9, withheld=True), translated(20, 50, 40, 9, noise=0.01))
    values, opened = evaluate(tmp_path, {"test": test}, "test", threshold="9")
    assert values == {} and opened == ["bucc2018.test.zh"]
    assert (tmp_path / "bucc2018" / "test-zh.tsv").read_text() == ""


def test_the_result_says_where_the_threshold_is_from():
    def said(split, **fields):
        return protocol_of(setting(split, **fields).target).rpartition(" ")[2]

    assert said("test") == "threshold=dev" and said("dev") == "threshold=crossfit"
    assert said("dev", threshold="1.06") == said("test", threshold="1.06") == "threshold=1.06"
    assert protocol_of(setting().target).startswith(
        "layer=0 pooling=mean special=False centre=False queries=both margin=ratio k=4"
    )
    with pytest.raises(ConfigError, match="threshold='crossfit'"):
        check_protocol(Protocol(threshold="crossfit"), "mining", "target 'x'")
    with pytest.raises(ConfigError, match="layer=-1"):
        check_protocol(Protocol(layer=ALL), "mining", "target 'x'")


def test_candidates_are_kept_below_the_threshold_too_if_asked_for():
    raw, vectors = sentences(2, 2), np.array([[1, 0], [0, 1], [1, 0], [3, 4]], np.float32)
    how = setting(threshold="0.9", margin="absolute")
    assert mining.detail(outputs_of(vectors), raw, how) == [{}] * 4
    asked = dataclasses.replace(how, probabilities=True)
    assert mining.detail(outputs_of(vectors), raw, asked) == [
        {"candidates": [["p0", 1.0]], "threshold": 0.9},
        {"candidates": [["p1", 0.8]], "threshold": 0.9},
        {},
        {},
    ]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_all_layers_at_once_answer_as_each_of_them(split):
    raw = sentences(20, 25, 10)
    layers = [translated(30 + layer, 20, 25, 10, noise=0.1 + 0.3 * layer) for layer in range(3)]
    everything = np.asarray(Ask.of(setting(split, layer=ALL).target).device(jnp.stack(layers))["vectors"])
    assert everything.shape == (45, 3, 48)

    def answered(vectors, layer):
        how = setting(split, layer=layer)
        if split == "test":  # tuned on the same vectors
            beside = mining.gather({Cell("bucc2018", "dev", "zh"): (outputs_of(vectors), raw)}, how)
            how = dataclasses.replace(how, beside=beside)
        return mining.layer_scores(outputs_of(vectors), raw, how)

    found = answered(everything, ALL)
    each = [answered(vectors, layer) for layer, vectors in enumerate(layers)]
    assert found == {layer: answer for made in each for layer, answer in made.items()}
    assert len({str(answer) for answer in found.values()}) > 1


def test_every_mesh_mines_the_same():
    raw, vectors = sentences(300, 400, 100), translated(40, 300, 400, 100)
    found = []
    for devices in (1, 2, 8):
        mesh = build_mesh(Mesh("t", devices), jax.devices()[:devices])
        found.append(answers(vectors, raw, dataclasses.replace(setting(), mesh=mesh)))
    assert found[0] == found[1] == found[2]
    assert sum(map(len, found[0])) > 50


def test_a_vector_that_is_no_number_names_its_sentence():
    raw, vectors = sentences(3, 3), draw(50, 6, 4)
    vectors[4, 0] = np.nan
    with pytest.raises(NumericalError, match="'p1'"):
        answers(vectors, raw, setting(centre=True))


def test_the_kind_has_choices_of_its_own():
    own = resolve(Protocol(), "mining")
    assert (own.queries, own.margin, own.k) == ("both", "ratio", 4)
    assert list(itertools.islice(mining.others(Cell("bucc2018", "test", "fr"), setting("test").target), 2)) == [
        Cell("bucc2018", "dev", "fr")
    ]
