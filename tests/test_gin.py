"""Every gin file parses and builds, against stand-ins that have the names and parameters of t5x and SeqIO, and no more.

gin checks each name and parameter as it reads a file, so a misspelt one fails here and not on a pod.
"""

import importlib.util  # noqa: F401  gin 0.5.0 uses it without importing it
import itertools
import pathlib
import re
import shutil
import sys
import types

import pytest
from stand_ins import stand_ins

from xling_jax import t5x_bridge
from xling_jax.data import text_tasks
from xling_jax.recipes import ADAFACTOR
from xling_jax.tables.models import MODELS as ROWS

gin = pytest.importorskip("gin.config", reason="gin-config is not installed")  # plain `gin` is also a folder of ours

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAND_INS = stand_ins()
PROGRAMS = {"train": "train", "eval": "evaluate", "infer": "infer"}
PHASES = {f"gin/runs/{phase}.gin": PROGRAMS[script] for phase, script in t5x_bridge.PHASES.items()}
FRESH = "gin/runs/fresh_optimizer.gin"
FAMILIES = {"mt5": "gin/models/mt5.gin", "umt5": "gin/models/umt5.gin"}
SIZES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/models/*mt5_*.gin"))
PUBLISHED = {row.name: row for row in ROWS.values() if row.family == "seq2seq" and row.source}
SMALL, TARGET = "gin/models/mt5_small.gin", "gin/runs/target.gin"
GIVEN = """
VOCABULARY_FILE = '/vocabularies/sentencepiece.model'
DATA = 'mnli.train.en'
DEV_DATA = 'xnli.dev.en'
TASK_FEATURE_LENGTHS = {'inputs': 256, 'targets': 16}
MODEL_DIR = '/runs/mnli'
INITIAL_CHECKPOINT_PATH = '/weights/mt5/checkpoint_1000000'
TRAIN_STEPS = 1002000
INITIAL_STEP = 1000000
CHECKPOINT_PATH = '/runs/mnli/checkpoint_1002000'
OUTPUT_DIR = '/runs/scores'
"""
# What each phase needs to be given beside what a model needs.
NEEDS = {
    "pretrain": "DATA TASK_FEATURE_LENGTHS MODEL_DIR INITIAL_CHECKPOINT_PATH TRAIN_STEPS",
    "intermediate": "DATA TASK_FEATURE_LENGTHS MODEL_DIR INITIAL_CHECKPOINT_PATH TRAIN_STEPS",
    "target": "DATA DEV_DATA TASK_FEATURE_LENGTHS MODEL_DIR INITIAL_CHECKPOINT_PATH TRAIN_STEPS",
    "evaluate": "DATA TASK_FEATURE_LENGTHS CHECKPOINT_PATH OUTPUT_DIR",
    "infer": "DATA TASK_FEATURE_LENGTHS CHECKPOINT_PATH OUTPUT_DIR",
}


@pytest.fixture
def build(monkeypatch):
    """Returns a function that reads gin files and text in a clone's root, and calls what they configure.

    The name of a mixture is what it is registered with.
    """
    for name, module in STAND_INS.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(text_tasks, "register_texts", lambda *given: given)
    monkeypatch.chdir(ROOT)
    gin.clear_config()

    def read_and_run(files: list[str], text: str = GIVEN, program: str = "") -> types.SimpleNamespace:
        gin.clear_config()
        gin.parse_config_files_and_bindings(files, text)
        program = program or next(PHASES[file] for file in files if file in PHASES)
        return gin.get_configurable(getattr(STAND_INS["__main__"], program))()

    yield read_and_run
    gin.clear_config()


def included(file: str) -> list[str]:
    """Returns a file and those it includes, each once for each time that it is read."""
    found = [file]
    for name in re.findall(r"^include '(.*)'$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE):
        found += included(name)
    return found


def runs() -> list[list[str]]:
    """Returns the files of every run: each size in each phase, with a fresh optimizer where there is training."""
    pairs = [list(pair) for pair in itertools.product(SIZES, PHASES)]
    return pairs + [[*pair, FRESH] for pair in pairs if PHASES[pair[1]] == "train"]


def test_every_file_is_part_of_a_run():
    read = {name for files in runs() for file in files for name in included(file)}
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("gin/**/*.gin")} == read


def test_every_published_size_has_a_file_and_a_small_one_is_there_to_try():
    assert {pathlib.Path(file).stem for file in SIZES} == {*PUBLISHED, "mt5_tiny", "umt5_tiny"}


@pytest.mark.parametrize("file", SIZES)
def test_a_size_is_the_published_one(build, file):
    name = pathlib.Path(file).stem
    model = build([file, TARGET]).model
    config, vocabulary = model.module.config, model.input_vocabulary
    assert (config.mlp_activations, config.logits_via_embedding) == (("gelu", "linear"), False)
    per_layer = name.startswith("umt5")
    assert hasattr(config, "scan_layers") == per_layer
    assert vocabulary.extra_ids == (100 if name == "mt5_tiny" else 300 * per_layer)
    assert vocabulary.sentencepiece_model_file == model.output_vocabulary.sentencepiece_model_file
    if name in PUBLISHED:
        row = PUBLISHED[name]
        assert (row.relative == "layer") == per_layer
        assert (config.emb_dim, config.num_heads, config.head_dim, config.mlp_dim, config.vocab_size) == (
            *(row.width, row.heads, row.head_width, row.mlp, row.vocab),
        )
        assert (config.num_encoder_layers, config.num_decoder_layers) == (row.layers, row.decoder_layers)
        assert config.dtype == "bfloat16"
    momentum = (0.9, False, 1.0) if name == "umt5_xxl" else (None, None, None)
    optimizer = model.optimizer_def
    assert (optimizer.beta1, optimizer.factored, optimizer.global_norm_clip_threshold) == momentum


@pytest.mark.parametrize("file", [name for name, program in PHASES.items() if program == "train"])
def test_a_training_is_what_it_says(build, file):
    run = build([SMALL, file])
    name, lengths, vocabulary, _, mixing = run.train_dataset_cfg.mixture_or_task_name
    assert (name, lengths, mixing.rule) == (["mnli.train.en"], {"inputs": 256, "targets": 16}, "proportional")
    assert vocabulary.sentencepiece_model_file == run.model.input_vocabulary.sentencepiece_model_file
    config = run.train_dataset_cfg
    assert (config.split, config.shuffle, config.pack) == ("train", True, True)
    assert (run.total_steps, run.relative_steps) == (1002000, None)
    assert run.checkpoint_cfg.restore.mode == "specific"
    assert run.checkpoint_cfg.restore.assignment_map is None
    assert run.checkpoint_cfg.save.save_dataset
    assert run.model.loss_normalizing_factor == "NUM_REAL_TARGET_TOKENS"
    assert run.model.module.config.dropout_rate == (0.0 if "pretrain" in file else 0.1)
    others = "model train_state partitioner eval_names summary_dir train_state_axes rng"
    schedule = run.trainer_cls(**dict.fromkeys(others.split())).learning_rate_fn
    assert (schedule.factors, schedule.base_learning_rate) == (ADAFACTOR["schedule"], ADAFACTOR["learning_rate"])


def test_only_a_target_looks_at_labels_on_the_way(build):
    for phase in ("pretrain", "intermediate"):
        run = build([SMALL, f"gin/runs/{phase}.gin"])
        assert (run.train_eval_dataset_cfg, run.infer_eval_dataset_cfg) == (None, None)
    run = build([SMALL, TARGET])
    for config in (run.train_eval_dataset_cfg, run.infer_eval_dataset_cfg):
        assert config.mixture_or_task_name[0] == ["xnli.dev.en"]
        assert (config.split, config.shuffle, config.pack) == ("dev", False, False)
        assert config.task_feature_lengths == {"inputs": 256, "targets": 16}, "the limit is not the longest gold answer"


@pytest.mark.parametrize("phase", ["evaluate", "infer"])
def test_a_checkpoint_is_asked_greedily(build, phase):
    run = build([SMALL, f"gin/runs/{phase}.gin"], GIVEN.replace("mnli.train.en", "xnli.test.all"))
    assert run.restore_checkpoint_cfg.path == "/runs/mnli/checkpoint_1002000"
    assert run.restore_checkpoint_cfg.mode == "specific"
    assert (run.output_dir, run.dataset_cfg.split) == ("/runs/scores", "test")
    assert run.dataset_cfg.mixture_or_task_name[0] == ["xnli.test.all"]
    decoded = run.model.decode_fn(inputs=0, cache=0, tokens_to_logits=0, eos_id=1)
    assert (decoded.temperature, decoded.rescale_log_probs) == (0.0, False)


def test_a_fresh_optimizer_counts_its_own_steps(build):
    run = build([SMALL, TARGET, FRESH])
    assert run.model.optimizer_def.step_offset == 1000000
    (pattern, there), *others = run.checkpoint_cfg.restore.assignment_map
    assert re.fullmatch(pattern, "state/param_states/decoder/logits_dense/kernel") and there is None and not others
    assert not re.fullmatch(pattern, "target/decoder/logits_dense/kernel")
    assert run.checkpoint_cfg.restore.fallback_to_scratch
    with pytest.raises(ValueError, match="INITIAL_STEP"):
        build([SMALL, TARGET, FRESH], GIVEN.replace("INITIAL_STEP", "SOME_STEP"))


@pytest.mark.parametrize("phase", NEEDS)
def test_what_a_run_needs_is_asked_for(build, phase):
    files = [SMALL, f"gin/runs/{phase}.gin"]
    for name in ["VOCABULARY_FILE", *NEEDS[phase].split()]:
        with pytest.raises(ValueError, match=name):
            build(files, re.sub(rf"^{name} = .*$", "", GIVEN, flags=re.MULTILINE))
    needed = {"VOCABULARY_FILE", *NEEDS[phase].split()}
    build(files, "\n".join(line for line in GIVEN.split("\n") if line.split(" ")[0] in needed))


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_without_a_model_fails(build, phase):
    with pytest.raises(ValueError, match="MODEL"):
        build([phase])


@pytest.mark.parametrize("files", runs(), ids=lambda files: "+".join(pathlib.Path(file).stem for file in files))
def test_no_macro_is_bound_twice(files):
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for file in files for name in included(file))
    macros = re.findall(r"^([A-Z_]+) = ", text, re.MULTILINE)
    assert len(macros) == len(set(macros)), sorted(name for name in macros if macros.count(name) > 1)


def test_files_include_only_our_own():
    for path in ROOT.glob("gin/**/*.gin"):
        for name in re.findall(r"^\s*include\s+(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.fullmatch(r"'gin/(models|runs)/\w+\.gin'", name), f"{path} includes {name}"


# A word that is misspelt: the name of a parameter, of what is bound, of what is called, of a module, of a macro.
WORDS = (
    r"^  (\w+) = ",
    r"^(?:\w+/)?[\w.]+\.(\w+):$",
    r"^(?:\w+/)?(?:[a-z]\w*\.)+(\w+) = ",
    r"@(?:\w+/)?[\w.]*?(\w+)\b(?!\.)",
    r"^(?:from [\w.]+ )?import (\w+)",
    r"%(?!gin\.)(\w+)",
)
BROKEN = [
    (str(path.relative_to(ROOT)), number, match.start(1), match[1])
    for path in sorted(ROOT.glob("gin/**/*.gin"))
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"))
    for match in (found for pattern in WORDS for found in re.finditer(pattern, line.partition("#")[0]))
]


def test_a_misspelt_name_fails(build, tmp_path, monkeypatch):
    """Every word of every file, one at a time: no run that reads it is built any more."""
    assert len(BROKEN) > 200
    shutil.copytree(ROOT / "gin", tmp_path / "gin")
    monkeypatch.chdir(tmp_path)
    run_of = {name: files for files in runs() for file in files for name in included(file)}
    survived = []
    for name, number, at, word in BROKEN:
        right = (tmp_path / name).read_text(encoding="utf-8")
        lines = right.split("\n")
        lines[number] = f"{lines[number][:at]}{word}q{lines[number][at + len(word) :]}"
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        try:
            build(run_of[name])
            survived.append(f"{name}:{number + 1}: {word}")
        except (AttributeError, ImportError, NameError, RuntimeError, SyntaxError, TypeError, ValueError):
            pass
        finally:
            (tmp_path / name).write_text(right, encoding="utf-8")
    assert survived == []
