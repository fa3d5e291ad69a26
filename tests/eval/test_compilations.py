"""A checkpoint with heads for all tasks of XTREME compiles four programs to be evaluated, and none a second time.

Six on a CPU that takes a wide model's layers apart, and asks what its compiler knows.
"""

import dataclasses
import json
import pathlib
import shutil

import flax.linen as nn
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from xling_jax import world
from xling_jax.data.sources import is_there
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import from_config
from xling_jax.ledger import CACHED, COMPILED, Ledger
from xling_jax.models.build import build_config, build_model, head_spec, init_params
from xling_jax.models.card import NAME, Card, VocabularyCard, as_text
from xling_jax.stages import programs as programs_module
from xling_jax.stages.asking import asked
from xling_jax.stages.follow import Follower
from xling_jax.stages.programs import UNROLL_FROM, fast_products
from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS
from xling_jax.train.checkpoint import CHECKPOINTS, save_alone
from xling_jax.train.compiling import watch_compiling
from xling_jax.train.writer import Display

PROGRAMS, WIDE = (
    4,
    6,
)  # rows of two lengths; the search of Tatoeba, for one neighbour, and of BUCC, for four in both directions
EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "data" / "examples"
XTREME = {entry.task for entry in BENCHMARKS["xtreme"].entries}
# What has labels where XTREME's own split has none, or no files.
MORE = ("bucc2018.dev", "mlqa.dev", "tydiqa.train")


@pytest.fixture
def own_cache(tmp_path):
    """Compiles everything anew, into a cache of its own, as `xling eval` does in a new folder."""
    wanted = {
        "jax_compilation_cache_dir": str(tmp_path / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in wanted}

    def set_to(values):
        for name, value in values.items():
            jax.config.update(name, value)
        forget()

    set_to(wanted)
    yield
    set_to(before)


def forget():
    """Leaves nothing that is compiled in this process: what comes is as in another one."""
    jax.clear_caches()
    fast_products.cache_clear()
    compilation_cache.reset_cache()


@pytest.fixture
def data(tmp_path):
    """Returns a data folder: a few examples of each task of XTREME, most in several languages; one has 480 tokens."""
    folder = tmp_path / "data"
    for name in ("xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa"):
        shutil.copytree(EXAMPLES / name, folder / name)
    context = " ".join(["The mill at Karo was built in 1820."] * 60)
    answers = [{"text": "1820", "answer_start": context.index("1820")}]
    paragraph = {"context": context, "qas": [{"id": "y1", "question": "When?", "answers": answers}]}
    said = {"version": "1.1", "data": [{"title": "", "paragraphs": [paragraph]}]}
    (folder / "xquad" / "xquad.de.json").write_text(json.dumps(said))
    (folder / "tatoeba" / "v1").mkdir(parents=True)
    for code, count in (("deu", 9), ("swh", 30)):
        for side in (code, "eng"):
            lines = "".join(f"{side} {'so ' * (at % 7)}{at}\n" for at in range(count))
            (folder / "tatoeba" / "v1" / f"tatoeba.{code}-eng.{side}").write_text(lines)
    (folder / "bucc2018").mkdir()
    for language in ("de", "zh"):
        for side in (language, "en"):
            lines = "".join(f"{side}-{at:09}\t{side} {'ja ' * (at % 5)}{at}\n" for at in range(1, 21))
            (folder / "bucc2018" / f"{language}-en.dev.{side}").write_text(lines)
        pairs = "".join(f"{language}-{at:09}\ten-{at:09}\n" for at in range(1, 9))
        (folder / "bucc2018" / f"{language}-en.dev.gold").write_text(pairs)
    return folder


def checkpoint(folder, **size):
    """Returns the folder of a tiny encoder, as it is drawn, with a head for each task of XTREME."""
    tokenizer = PieceTokenizer(world.pieces())
    trained = (TASKS[task] for task in XTREME if KINDS[TASKS[task].kind].trained)
    row = dataclasses.replace(MODELS["tiny"], layers=1, vocab=tokenizer.size, positions=512, **size)
    heads = tuple(sorted({*map(head_spec, trained)}))
    network = build_model(build_config(row, tokenizer.size), heads)
    make = jax.jit(lambda: nn.meta.unbox(init_params(network, jax.random.key(0))))
    save_alone(folder / CHECKPOINTS, 0, make())
    vocabulary = VocabularyCard("world", tokenizer.size, tokenizer.fingerprint, "")
    card = Card(row, heads, {}, vocabulary)
    (folder / NAME).write_text(as_text(card))
    (folder / "DONE").touch()
    return folder, card


def targets_of(card, folder):
    """Returns what is asked of XTREME, where the files are."""
    found = asked(["xtreme", *MORE], "all", card=card, fields={"layer": "1"}, data_dir=folder).targets
    there = {name: [one.language for one in target.cells() if is_there(one, folder)] for name, target in found.items()}
    return {
        name: dataclasses.asdict(dataclasses.replace(target, languages=" ".join(there[name])))
        for name, target in found.items()
        if there[name]
    }


def evaluated(place, card, data, work, **more):
    """Returns (rows, programs that were compiled, those that came from the cache), from opening the checkpoint on."""
    fields = {"name": "eval", "checkpoint": str(place), "arms": {"checkpoint": {}}, "mesh": "one", **more}
    experiment = from_config(fields | {"targets": targets_of(card, data)})
    watch_compiling()
    forget()
    with Ledger().event("evaluate") as event:
        rows = Follower(experiment, work, data, Display()).evaluate(None, lambda: False)
    return rows, event.counts.get(COMPILED, 0), event.counts.get(CACHED, 0)


def check(place, card, data, tmp_path, programs=PROGRAMS, **more):
    rows, compiled, cached = evaluated(place, card, data, tmp_path / "first", **more)
    assert {row.task for row in rows} == XTREME
    assert {name.partition(".")[0] for name in targets_of(card, data)} == XTREME
    assert (compiled, cached) == (programs, 0)
    again, recompiled, hits = evaluated(place, card, data, tmp_path / "second", **more)
    assert (recompiled, hits) == (0, compiled), "another process finds all programs in the cache"
    said = [[(row.task, row.language, row.metric, row.value) for row in found] for found in (rows, again)]
    assert said[0] == said[1]
    return rows


def test_all_tasks_and_languages_share_their_programs(own_cache, data, tmp_path):
    place, card = checkpoint(tmp_path / "checkpoint")
    rows = check(place, card, data, tmp_path)
    assert all(len({row.language for row in rows if row.task == task}) > 1 for task in XTREME - {"tydiqa", "panx"})


@pytest.mark.slow
def test_a_wide_model(own_cache, data, tmp_path):
    place, card = checkpoint(tmp_path / "checkpoint", width=UNROLL_FROM, heads=8)
    check(place, card, data, tmp_path, WIDE)


@pytest.mark.slow
def test_real_files_in_all_languages(own_cache, data_dir, tmp_path):
    """Of each cell the first fifty examples; a minute."""
    place, card = checkpoint(tmp_path / "checkpoint")
    rows = check(place, card, data_dir, tmp_path, limits=dict.fromkeys(("train", "dev", "test"), 50))
    assert len({(row.task, row.language) for row in rows}) > 100


def test_a_compiler_that_does_not_know_an_option(monkeypatch):
    monkeypatch.setattr(programs_module, "EIGEN", {"xla_cpu_no_such_option": "x"})
    fast_products.cache_clear()
    assert fast_products() is None
    fast_products.cache_clear()
