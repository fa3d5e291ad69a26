"""Every gin file parses and builds, against stand-ins that have the names and parameters of t5x and SeqIO, and no more.

gin checks each name and parameter as it reads a file, so a misspelt one fails here and not on a pod.
"""

import importlib.util  # noqa: F401  gin 0.5.0 uses it without importing it
import pathlib
import sys
import types

import pytest

gin = pytest.importorskip("gin.config", reason="gin-config is not installed")  # plain `gin` is also a folder of ours

ROOT = pathlib.Path(__file__).resolve().parent.parent
FINETUNE = "gin/runs/finetune.gin"
MODELS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/models/mt5_*.gin"))

# Parameters in the order of t5x at cc342d4 (April 2026) and seqio 0.0.20; those with a default end in "=".
SIGNATURES = {
    "__main__": {
        "train": "model train_dataset_cfg train_eval_dataset_cfg infer_eval_dataset_cfg checkpoint_cfg partitioner "
        "trainer_cls model_dir total_steps eval_steps eval_period relative_steps= stats_period= random_seed "
        "use_hardware_rng= summarize_config_fn inference_evaluator_cls= get_dataset_fn= concurrent_metrics= actions= "
        "train_eval_get_dataset_fn= run_eval_before_training= train_state_initializer_cls= use_orbax= "
        "verify_matching_vocabs_fn= gc_period=",
    },
    "seqio": {
        "SentencePieceVocabulary": "sentencepiece_model_file extra_ids= normalizer_spec_overrides= reverse_extra_ids= "
        "use_fast_tokenizer=",
        "Evaluator": "mixture_or_task_name feature_converter eval_split= use_cached= seed= sequence_length= "
        "num_examples= shuffle= logger_cls= log_dir= use_memory_cache= async_compute_metrics= target_field_name=",
        "PyLoggingLogger": "output_dir level=",
        "TensorBoardLogger": "output_dir",
        "JSONLogger": "output_dir write_n_results= json_encoder_cls=",
    },
    "t5x.adafactor": {
        "Adafactor": "learning_rate= factored= multiply_by_parameter_scale= beta1= decay_rate= step_offset= "
        "clipping_threshold= weight_decay_rate= min_dim_size_to_factor= epsilon1= epsilon2= dtype_momentum= "
        "factor_map= logical_factor_rules= weight_decay_rate_lr_exponent= global_norm_clip_threshold= "
        "max_parameter_scale= skip_nan_updates=",
        "standard_logical_factor_rules": "",
    },
    "t5x.examples.t5.network": {
        "Transformer": "config",
        "T5Config": "vocab_size dtype= emb_dim= num_heads= num_encoder_layers= num_decoder_layers= head_dim= mlp_dim= "
        "mlp_activations= dropout_rate= logits_via_embedding= float32_attention_logits=",
    },
    "t5x.gin_utils": {"summarize_gin_config": "model_dir summary_writer step"},
    "t5x.models": {
        "EncoderDecoderModel": "module input_vocabulary output_vocabulary optimizer_def decode_fn= "
        "feature_converter_cls= label_smoothing= z_loss= loss_normalizing_factor= default_decoder_params=",
    },
    "t5x.partitioning": {
        "PjitPartitioner": "num_partitions= model_parallel_submesh= params_on_devices= backend= ici_mesh_shape= "
        "dcn_mesh_shape= logical_axis_rules=",
        "standard_logical_axis_rules": "activation_partitioning_dims= parameter_partitioning_dims= additional_rules=",
    },
    "t5x.trainer": {
        "Trainer": "model train_state partitioner eval_names summary_dir train_state_axes rng learning_rate_fn "
        "num_microbatches weight_metrics_computer=",
    },
    "t5x.utils": {
        "DatasetConfig": "mixture_or_task_name task_feature_lengths split batch_size shuffle seed use_cached= pack= "
        "use_custom_packing_ops= module= use_memory_cache= trim_output_features= runtime_preprocessors= "
        "num_prefetch_threads= num_workers=",
        "CheckpointConfig": "save= restore=",
        "RestoreCheckpointConfig": "path mode= assignment_map= strict= fallback_to_scratch= dtype= restore_dataset= "
        "checkpointer_cls= state_transformation_fns= checkpoint_manager_cls=",
        "SaveCheckpointConfig": "dtype= period= checkpoint_steps= keep= keep_dataset_checkpoints= save_dataset= "
        "checkpointer_cls= state_transformation_fns= checkpoint_manager_cls=",
        "create_learning_rate_scheduler": "factors= base_learning_rate= warmup_steps= decay_factor= steps_per_decay= "
        "steps_per_cycle= step_offset= min_learning_rate=",
    },
}


def stand_in(name: str, parameters: str, module: str) -> object:
    """Returns a class (for a capital) or function with these parameters, that keeps or returns its arguments."""
    listed = ", ".join(f"{word}None" if word.endswith("=") else word for word in parameters.split())
    keywords = f"*, {listed}" if listed else ""
    if name[0].isupper():
        body = f"class {name}:\n  def __init__(self, {keywords}): self.__dict__.update(locals())"
    else:
        body = f"def {name}({keywords}): return types.SimpleNamespace(**locals())"
    space: dict[str, object] = {"types": types, "__name__": module}
    exec(body, space)
    return space[name]


def stand_ins() -> dict[str, types.ModuleType]:
    """Returns the modules of SIGNATURES, with the packages above them."""
    made: dict[str, types.ModuleType] = {}
    for dotted, names in SIGNATURES.items():
        parts = dotted.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in made:
                made[name] = types.ModuleType(name)
                made[name].__path__ = []
                setattr(made.get(name.rpartition(".")[0]), parts[end - 1], made[name]) if end > 1 else None
        for name, parameters in names.items():
            setattr(made[dotted], name, stand_in(name, parameters, dotted))
    return made


STAND_INS = stand_ins()
GIVEN = """
MODEL_DIR = '/runs/squad'
INITIAL_CHECKPOINT_PATH = '/weights/mt5/checkpoint_1000000'
MIXTURE_OR_TASK_NAME = 'squad'
TASK_FEATURE_LENGTHS = {'inputs': 256, 'targets': 16}
TRAIN_STEPS = 1002000
"""


@pytest.fixture
def build(monkeypatch):
    """Returns a function that reads gin files and text in a clone's root, and calls what they configure: `train`."""
    for name, module in STAND_INS.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(ROOT)

    def read_and_train(files: list[str], text: str = GIVEN) -> types.SimpleNamespace:
        gin.parse_config_files_and_bindings(files, text)
        return gin.get_configurable(STAND_INS["__main__"].train)()

    gin.clear_config()
    yield read_and_train
    gin.clear_config()


def test_every_file_is_built_here():
    built = {*MODELS, FINETUNE, "gin/models/mt5.gin"}
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("gin/**/*.gin")} == built


@pytest.mark.parametrize(
    ("file", "dimensions"),
    [("gin/models/mt5_small.gin", (512, 6, 8, 8, 64, 1024)), ("gin/models/mt5_base.gin", (768, 12, 12, 12, 64, 2048))],
)
def test_a_size_is_the_published_one(build, file, dimensions):
    config = build([file, FINETUNE]).model.module.config
    names = ("emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers", "head_dim", "mlp_dim")
    assert tuple(getattr(config, name) for name in names) == dimensions
    assert (config.vocab_size, config.mlp_activations, config.logits_via_embedding) == (
        250112,
        ("gelu", "linear"),
        False,
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_what_it_says(build, model):
    run = build([model, FINETUNE])
    train, train_eval, infer_eval = run.train_dataset_cfg, run.train_eval_dataset_cfg, run.infer_eval_dataset_cfg
    assert {config.mixture_or_task_name for config in (train, train_eval, infer_eval)} == {"squad"}
    assert {config.module for config in (train, train_eval, infer_eval)} == {"xling_jax.t5x_bridge"}
    assert (train.split, train_eval.split, infer_eval.split) == ("train", "dev", "dev")
    assert (train.shuffle, train_eval.shuffle, infer_eval.shuffle) == (True, False, False)
    assert not infer_eval.pack, "predictions need one example in a row"
    assert run.checkpoint_cfg.restore.mode == "specific"
    assert run.checkpoint_cfg.save.save_dataset
    assert (run.total_steps, run.relative_steps) == (1002000, None)
    assert run.model.module.config.dropout_rate == 0.1
    assert run.model.input_vocabulary.sentencepiece_model_file == run.model.output_vocabulary.sentencepiece_model_file


@pytest.mark.parametrize("line", GIVEN.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_what_a_run_needs_is_asked_for(build, line):
    with pytest.raises(ValueError, match=line.split()[0]):
        build([MODELS[0], FINETUNE], GIVEN.replace(line, ""))


def test_a_run_without_a_model_fails(build):
    with pytest.raises(ValueError, match="MODEL"):
        build([FINETUNE])


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("  keep = 3", "  kepe = 3", "doesn't have a parameter named 'kepe'"),
        ("utils.SaveCheckpointConfig:", "utils.SaveCheckpointConfg:", "SaveCheckpointConfg"),
        ("trainer_cls = @trainer.Trainer", "trainer_cls = @trainer.Trianer", "Trianer"),
        ("from t5x import trainer", "from t5x import trianer", "trianer"),
        ("from t5x import partitioning\n", "", "partitioning"),
        ("total_steps = %TRAIN_STEPS", "total_steps = %TRIAN_STEPS", "TRIAN_STEPS"),
    ],
)
def test_a_misspelt_name_fails(build, tmp_path, right, wrong, complaint):
    text = (ROOT / FINETUNE).read_text(encoding="utf-8")
    assert text.count(right) >= 1
    broken = tmp_path / "finetune.gin"
    broken.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises((AttributeError, ImportError, NameError, RuntimeError, TypeError, ValueError), match=complaint):
        build([MODELS[0], str(broken)])
