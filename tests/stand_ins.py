"""A t5x and a SeqIO that have the names and parameters that our gin files bind, and no more.

`tests/test_under_t5x.py` holds them against the real ones, where t5x is installed.
"""

import types

# Parameters in the order of t5x at cc342d4 (April 2026) and seqio 0.0.20; those with a default end in "=".
SIGNATURES = {
    "__main__": {
        "train": "model train_dataset_cfg train_eval_dataset_cfg infer_eval_dataset_cfg checkpoint_cfg partitioner "
        "trainer_cls model_dir total_steps eval_steps eval_period relative_steps= stats_period= random_seed "
        "use_hardware_rng= summarize_config_fn inference_evaluator_cls= get_dataset_fn= concurrent_metrics= actions= "
        "train_eval_get_dataset_fn= run_eval_before_training= train_state_initializer_cls= use_orbax= "
        "verify_matching_vocabs_fn= gc_period=",
        "evaluate": "model dataset_cfg restore_checkpoint_cfg partitioner output_dir inference_evaluator_cls= "
        "training_evaluator_cls= summarize_config_fn= train_state_initializer_cls= train_eval_get_dataset_fn= "
        "fallback_init_rng= use_orbax=",
        "infer": "mode model dataset_cfg restore_checkpoint_cfg partitioner output_dir checkpoint_period shard_id= "
        "num_shards= merge_chunked_results= write_fn= checkpoint_ds_iter= train_state_initializer_cls= "
        "fallback_init_rng= merge_fn= summarize_config_fn= verify_matching_vocabs_fn= output_vocab_feature_name= "
        "file_extension= keep_aux_as_numpy= use_orbax=",
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
    "t5x.decoding": {
        "temperature_sample": "inputs cache tokens_to_logits eos_id decode_rng= num_decodes= temperature= topk= topp= "
        "cache_offset= initial_index= max_decode_steps= max_decode_steps_hard_limit= rescale_log_probs= "
        "state_callback_fn= logit_callback_fn=",
    },
    "t5x.examples.scalable_t5.network": {
        "Transformer": "config",
        "T5Config": "vocab_size dtype= emb_dim= num_heads= num_encoder_layers= num_decoder_layers= head_dim= mlp_dim= "
        "mlp_activations= dropout_rate= logits_via_embedding= remat_policy= scan_layers= param_scan_axis=",
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
