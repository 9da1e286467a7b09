"""What a key of other programs is called here, for the error about a key that does not exist."""

NAMES = {
    "optimizer.peak_rate": "lr learning_rate max_lr peak_lr peak_learning_rate rate",
    "optimizer.weight_decay": "wd decay l2",
    "optimizer.clip_norm": "clip grad_clip gradient_clip clip_grad max_grad_norm gradient_clipping",
    "schedule.name": "lr_schedule lr_scheduler lr_scheduler_type scheduler",
    "schedule.warmup_steps": "warmup warmup_steps warmup_iters num_warmup_steps",
    "model.width": "d_model dim hidden_size hidden_dim n_embd embed_dim embedding_dim model_dim",
    "model.depth": "layers n_layer n_layers num_layers num_hidden_layers num_blocks n_blocks",
    "model.heads": "n_head n_heads num_heads num_attention_heads",
    "model.kv_heads": "n_kv_heads num_kv_heads num_key_value_heads",
    "model.head_dim": "d_head d_kv head_size",
    "model.feed_forward_dim": "d_ff ff_dim ffn_dim mlp_dim intermediate_size n_inner hidden_ff",
    "model.vocab": "vocab_size n_vocab vocabulary vocabulary_size",
    "model.positions.base": "rope_theta rope_base rotary_base theta",
    "model.positions.name": "position_embedding pos_emb position_embedding_type",
    "model.remat": "remat_policy gradient_checkpointing activation_checkpointing checkpointing",
    "data.length": "block_size seq_len seq_length sequence_length max_len max_length max_seq_len "
    "context context_length n_ctx",
    "data.source.name": "dataset dataset_name dataset_path",
    "train.steps": "iters iterations max_iters max_steps n_steps num_steps num_train_steps "
    "total_steps train_steps",
    "train.batch_size": "batch bs global_batch_size",
    "train.microbatches": "accumulate accumulation accumulation_steps grad_accum grad_accum_steps "
    "gradient_accumulation gradient_accumulation_steps",
    "train.checkpoint_every_steps": "checkpoint_every checkpoint_interval ckpt_every save_every "
    "save_every_steps save_interval save_steps",
    "train.keep_checkpoints": "save_total_limit max_to_keep keep_last",
    "train.eval_every_steps": "eval_every eval_interval eval_steps",
    "train.log_every_steps": "log_every log_interval log_steps logging_steps",
    "train.average_decay": "ema ema_decay",
    "train.initial": "init_from pretrained from_pretrained",
    "precision.compute": "dtype amp mixed_precision bf16 fp16",
    "precision.parameters": "param_dtype",
    "adapter.rank": "lora_rank lora_r r",
    "mesh.data": "dp data_parallel ddp",
    "mesh.tensor": "tp tensor_parallel model_parallel",
    "mesh.sequence": "sp cp context_parallel sequence_parallel",
    "mesh.expert": "ep expert_parallel",
    "mesh.pipeline": "pp pipeline_parallel",
}
"""A key of a config, and what papers and other programs call it."""

_KEYS = {name: key for key, names in NAMES.items() for name in names.split()}


def key_of(name: str) -> str | None:
    """The key that a name of other programs means; None for one that none of them has."""
    return _KEYS.get(name.lower().replace("-", "_"))
