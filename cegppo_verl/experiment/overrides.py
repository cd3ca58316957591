"""A cell as the list of Hydra overrides for ``python -m verl.trainer.main_ppo`` (verl 0.9.1).

What the papers state is never left to verl's defaults. Ray's options and the environment belong to
the launcher, which appends the former.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.experiment import algorithms
from cegppo_verl.experiment.algorithms import ACTOR
from cegppo_verl.experiment.catalog import Platform, Scale
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.hydra_text import override
from cegppo_verl.experiment.platforms import platform_group

ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"

Group = dict[str, object]


@dataclass(frozen=True)
class RunPaths:
    """Where a run reads and writes, all absolute.

    Args:
        model: folder of the base model in Hugging Face format.
        train_files: parquet files of the training set.
        val_files: one parquet file per benchmark, in the order of the settings.
        reward_file: Python file with ``compute_score``.
        checkpoints: verl writes ``global_step_<n>`` folders here; the launcher says which to resume from.
        validation_dir: verl writes ``<step>.jsonl`` here, one line per evaluated sample.
        sampler_file: Python file with ``FastReplayBuffer``; used on the CPU only.
    """

    model: str | Path
    train_files: tuple[str | Path, ...]
    val_files: tuple[str | Path, ...]
    reward_file: str | Path
    checkpoints: str | Path
    validation_dir: str | Path
    sampler_file: str | Path | None = None


def placeholder_paths(root: str | Path = "/unbuilt") -> RunPaths:
    """Paths of nothing, for composing and validating a configuration before anything has been built."""
    base = Path(root)
    return RunPaths(
        model=base / "model",
        train_files=(base / "train.parquet",),
        val_files=(base / "val.parquet",),
        reward_file=base / "reward.py",
        checkpoints=base / "checkpoints",
        validation_dir=base / "validation",
        sampler_file=base / "replay.py",
    )


def compose_overrides(
    cell: Cell, scale: Scale, paths: RunPaths, *, platform: Platform | None = None, resuming: bool = False
) -> list[str]:
    """Every override of a cell, group after group.

    Args:
        platform: "cpu" or "cuda"; default: the scale's.
        resuming: a checkpoint exists. verl repeats the initial evaluation after every resume and logs it
            under the resumed step, where it would hide that step's training metrics; so it is left out.

    Returns:
        ``key=value`` strings, quoted for Hydra but not for a shell.
    """
    groups = override_groups(cell, scale, paths, platform=platform, resuming=resuming)
    return [line for group in groups.values() for line in group]


def override_groups(
    cell: Cell, scale: Scale, paths: RunPaths, *, platform: Platform | None = None, resuming: bool = False
) -> dict[str, list[str]]:
    """The same, by group name, for a readable listing."""
    method = _algorithm(cell)
    groups: dict[str, Group] = {
        "algorithm": method,
        "data": _data(cell, paths),
        "model": _model(paths),
        # What is part of a method's definition (GSPO's reduction, ERC's entropies) goes before the grid's.
        "actor": {key: value for key, value in _actor(cell).items() if key not in method},
        "rollout": _rollout(cell),
        "evaluation": _evaluation(cell, paths, resuming),
        "reward": _reward(paths),
        "trainer": _trainer(cell, scale, paths),
        "platform": platform_group(
            platform or scale.platform, cell.settings, scale, _text(paths.sampler_file)
        ),
    }
    return {name: _lines(group) for name, group in groups.items()}


def _lines(group: Mapping[str, object]) -> list[str]:
    return [override(key, value) for key, value in group.items()]


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _algorithm(cell: Cell) -> Group:
    settings = cell.settings
    return {
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": settings.norm_adv_by_std,
        "algorithm.use_kl_in_reward": False,
        **algorithms.overrides(cell.algorithm, cell.params),
    }


def _data(cell: Cell, paths: RunPaths) -> Group:
    settings = cell.settings
    return {
        "data.train_files": [str(file) for file in paths.train_files],
        "data.val_files": [str(file) for file in paths.val_files],
        "data.train_batch_size": settings.train_batch_size,
        "data.max_prompt_length": settings.max_prompt_length,
        "data.max_response_length": settings.max_response_length,
        # Real data has a few prompts that are too long. In generated data that is a mistake: let it fail.
        "data.filter_overlong_prompts": settings.train_prompts is None,
        "data.truncation": "error",
        "data.shuffle": True,
        # Read by the sampler that shuffles the training set (create_rl_sampler).
        "data.seed": cell.seed,
        "data.validation_shuffle": False,
    }


def _model(paths: RunPaths) -> Group:
    return {f"{MODEL}.path": str(paths.model)}


def _actor(cell: Cell) -> Group:
    settings = cell.settings
    return {
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.ppo_mini_batch_size": settings.mini_batch_size,
        f"{ACTOR}.ppo_epochs": settings.ppo_epochs,
        f"{ACTOR}.loss_agg_mode": settings.loss_agg_mode,
        f"{ACTOR}.entropy_coeff": settings.entropy_coeff,
        # The entropy that is logged comes from the old-log-prob pass. The update needs it for a bonus only,
        # and then verl computes it unasked; for nothing it would cost a softmax over the vocabulary.
        f"{ACTOR}.calculate_entropy": False,
        f"{ACTOR}.use_kl_loss": settings.kl_loss_coef > 0,
        f"{ACTOR}.kl_loss_coef": settings.kl_loss_coef,
        f"{ACTOR}.optim.lr": settings.learning_rate,
        f"{ACTOR}.optim.lr_warmup_steps": settings.warmup_steps,
        f"{ACTOR}.optim.lr_scheduler_type": "constant",
        f"{ACTOR}.optim.weight_decay": settings.weight_decay,
        # The FSDP engine reads optim.clip_grad; verl 0.9.1 ignores actor.grad_clip.
        f"{ACTOR}.optim.clip_grad": settings.grad_clip,
        # Mini-batches are taken in the order of the prompts, verl's default; the seed counts if that changes.
        f"{ACTOR}.shuffle": False,
        f"{ACTOR}.data_loader_seed": cell.seed,
        # verl reads it under full_determinism only. That is off: it would also give every rollout of a prompt
        # the same sampling seed, so all answers of a group would be equal. Models here have no dropout.
        f"{ACTOR}.fsdp_config.seed": cell.seed,
    }


def _rollout(cell: Cell) -> Group:
    settings = cell.settings
    return {
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": settings.rollouts_per_prompt,
        f"{ROLLOUT}.temperature": settings.temperature,
        f"{ROLLOUT}.top_p": settings.top_p,
        f"{ROLLOUT}.top_k": -1,
        # vLLM's engine seed is this plus the replica's rank: it decides what is sampled.
        f"{ROLLOUT}.seed": cell.seed,
        # Gives training/rollout_probs_diff_mean, the proof that vLLM has the trainer's weights.
        f"{ROLLOUT}.calculate_log_probs": True,
        f"{ROLLOUT}.max_model_len": settings.max_prompt_length + settings.max_response_length,
    }


def _evaluation(cell: Cell, paths: RunPaths, resuming: bool) -> Group:
    plan = cell.settings.eval
    return {
        "trainer.test_freq": plan.every,
        "trainer.val_before_train": plan.at_start and not resuming,
        "trainer.validation_data_dir": str(paths.validation_dir),
        f"{ROLLOUT}.val_kwargs.n": plan.samples,
        f"{ROLLOUT}.val_kwargs.do_sample": plan.temperature > 0,
        f"{ROLLOUT}.val_kwargs.temperature": plan.temperature,
        f"{ROLLOUT}.val_kwargs.top_p": plan.top_p,
        f"{ROLLOUT}.val_kwargs.top_k": -1,
    }


def _reward(paths: RunPaths) -> Group:
    return {
        "reward.custom_reward_function.path": str(paths.reward_file),
        "reward.custom_reward_function.name": "compute_score",
    }


def _trainer(cell: Cell, scale: Scale, paths: RunPaths) -> Group:
    settings = cell.settings
    return {
        "trainer.nnodes": scale.hardware.nodes,
        "trainer.n_gpus_per_node": scale.hardware.gpus_per_node,
        "trainer.project_name": cell.grid,
        "trainer.experiment_name": cell.run_name,
        # The file logger writes to VERL_FILE_LOGGER_PATH, one file per attempt.
        "trainer.logger": ["console", "file"],
        "trainer.total_training_steps": settings.total_steps,
        # More than enough: an epoch has at least one step, and total_training_steps ends the run. With just
        # enough, a resume at an epoch boundary exits with 0 and has trained nothing.
        "trainer.total_epochs": settings.total_steps + 1,
        "trainer.save_freq": settings.checkpoint.every,
        "trainer.max_actor_ckpt_to_keep": settings.checkpoint.keep,
        "trainer.default_local_dir": str(paths.checkpoints),
    }
