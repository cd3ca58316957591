"""``python -m cegppo_verl.verl_plugin.train OVERRIDES...``: verl's ``main_ppo`` after one question.

verl swallows a plugin that fails to load, and looks a loss up only at the first update, minutes into the run
and in another process. So before anything is built, a Ray task in a worker process of the same cluster says
which losses it knows; if ours is not among them the run ends at once with exit code 2. Everything else is
verl's own entry point, through the argument it has for this purpose (``run_ppo(task_runner_class=…)``).
"""

from __future__ import annotations

import sys
from typing import Any

import hydra
import ray
from omegaconf import DictConfig
from verl.trainer import main_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device

from cegppo_verl.errors import EXIT_USER_ERROR, UserError

PROVEN = "cegppo: loss proven in a Ray worker:"


def loss_in_this_process(name: str, algorithm: str = "") -> str:
    """Module and name of the function that verl will call for ``name`` here.

    Args:
        algorithm: the module or file of a loss from outside this package.

    Raises:
        ValueError: verl knows no such loss in this process, or only its own, unwrapped.
    """
    import verl  # noqa: F401 - runs the plugins
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    from cegppo_verl.verl_plugin import policy_loss

    if algorithm:
        policy_loss.register_external(algorithm)
    function = get_policy_loss_fn(name)
    # verl's own losses are there without us, too; wrapped by us they carry the mark and log the anatomy.
    if not getattr(function, policy_loss.OURS, False):
        raise ValueError(f"'{name}' is verl's bare function here: the plugin did not wrap it")
    return f"{function.__module__}.{function.__qualname__}"


def prove_loss(name: str, algorithm: str = "") -> None:
    """Ask a Ray worker for the loss ``name`` and print where it comes from; arguments as above.

    Raises:
        SystemExit: the worker does not know it (exit code 2).
    """
    try:
        place = ray.get(ray.remote(num_cpus=0)(loss_in_this_process).remote(name, algorithm), timeout=300)
    except (
        ValueError,
        UserError,
    ) as error:  # Ray raises what the task raised; its own errors may pass and go through
        print(
            f"cegppo: the policy loss '{name}' is not registered inside Ray workers: {error}", file=sys.stderr
        )
        raise SystemExit(EXIT_USER_ERROR) from error
    print(f"{PROVEN} {name} = {place}", flush=True)


class ProvingTaskRunner(main_ppo.TaskRunnerV1.__ray_metadata__.modified_class):
    """verl's task runner, after the proof."""

    def run(self, config: DictConfig) -> None:
        """Prove the loss, then train as verl does."""
        policy = config.actor_rollout_ref.actor.policy_loss
        prove_loss(policy.loss_mode, policy.get("algorithm", ""))
        super().run(config)


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """As ``verl.trainer.main_ppo.main`` for the v1 trainer."""
    auto_set_device(config)
    validate_config(
        config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    runner: Any = ray.remote(ProvingTaskRunner)
    main_ppo.run_ppo(config, task_runner_class=runner)


if __name__ == "__main__":
    main()
