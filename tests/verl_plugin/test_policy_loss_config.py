"""The typed configuration: through verl's Hydra composition into the loss, and refused with a reason."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import verl.trainer
from hydra import compose, initialize_config_dir
from losses.loss_contract import PAPER
from verl.utils.config import omega_conf_to_dataclass
from verl_plugin.adapter_cases import as_subject, call, cegppo, tensors

from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import policy_loss
from cegppo_verl.verl_plugin.config import CEGPPOPolicyLossConfig

SELECT = [
    "actor_rollout_ref.actor.policy_loss._target_=cegppo_verl.verl_plugin.config.CEGPPOPolicyLossConfig",
    "actor_rollout_ref.actor.policy_loss.loss_mode=cegppo",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.actor.clip_ratio_low=0.1",
    "actor_rollout_ref.actor.clip_ratio_high=0.3",
]
BETAS = ["+actor_rollout_ref.actor.policy_loss.beta1=.25", "+actor_rollout_ref.actor.policy_loss.beta2=1"]


def composed(*overrides):
    """verl's real trainer configuration with overrides, its actor part as the worker instantiates it."""
    folder = Path(verl.trainer.__file__).parent / "config"
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=list(overrides))
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


def test_the_parameters_arrive_through_verls_composition():
    config = composed(*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.dual_clip=10.0")
    assert isinstance(config.policy_loss, CEGPPOPolicyLossConfig)
    assert (config.policy_loss.beta1, config.policy_loss.beta2) == (0.25, 1)
    params = policy_loss.params_of("cegppo", LOSSES["cegppo"], config)
    assert params == LOSSES["cegppo"].params(
        beta1=0.25, beta2=1, epsilon_low=0.1, epsilon_high=0.3, dual_clip=10.0
    )
    old, log_prob, advantages, mask = tensors()
    gradient = call(cegppo, old, log_prob, advantages, mask, "token-mean", config)[1]
    hyper = PAPER | {"beta1": 0.25, "epsilon_low": 0.1, "epsilon_high": 0.3, "dual_clip": 10.0}
    expected = torch.autograd.grad(as_subject(old, log_prob, advantages, mask, **hyper), log_prob)[0]
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (SELECT, "beta1 is required"),
        ([*SELECT, BETAS[0]], "beta2 is required"),
        ([*SELECT, BETAS[0], BETAS[1].replace("=1", "=-1")], "beta2 must be a number"),
        (
            [*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.dual_clip=.5"],
            "dual_clip must be a number",
        ),
        ([SELECT[0], *SELECT[2:], *BETAS], "loss_mode is 'vanilla', which would ignore"),
        ([*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.beta3=1"], "beta3"),
    ],
    ids=["no_beta1", "no_beta2", "negative", "dual_clip", "loss_mode", "unknown_key"],
)
def test_a_wrong_configuration_is_refused_with_its_reason(overrides, complaint):
    with pytest.raises(Exception, match=complaint):  # hydra wraps ours in its InstantiationException
        composed(*overrides)


def test_the_configuration_is_frozen_like_verls():
    config = CEGPPOPolicyLossConfig(beta1=0.5, beta2=1.0)
    with pytest.raises(Exception, match="frozen"):
        config.beta1 = 1.0
    assert config.get("beta1") == config["beta1"] == 0.5


def test_an_upper_clip_bound_left_open_falls_back_to_clip_ratio():
    config = SimpleNamespace(clip_ratio=0.25, clip_ratio_low=None, clip_ratio_high=None)
    assert policy_loss.clip_bounds(config) == (0.25, 0.25)
