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
from cegppo_verl.verl_plugin.config import LossConfig

KEY = "actor_rollout_ref.actor.policy_loss"
SELECT = [
    f"{KEY}._target_=cegppo_verl.verl_plugin.config.LossConfig",
    f"{KEY}.loss_mode=cegppo",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    f"+{KEY}.params.epsilon_low=0.1",
    f"+{KEY}.params.epsilon_high=0.3",
]
BETAS = [f"+{KEY}.params.beta1=.25", f"+{KEY}.params.beta2=1"]


def composed(*overrides):
    """verl's real trainer configuration with overrides, its actor part as the worker instantiates it."""
    folder = Path(verl.trainer.__file__).parent / "config"
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=list(overrides))
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


def test_the_parameters_arrive_through_verls_composition():
    config = composed(*SELECT, *BETAS, f"+{KEY}.params.dual_clip=10.0")
    assert isinstance(config.policy_loss, LossConfig)
    params = policy_loss.params_of("cegppo", LOSSES["cegppo"], config)
    given = {"beta1": 0.25, "beta2": 1, "epsilon_low": 0.1, "epsilon_high": 0.3, "dual_clip": 10.0}
    assert params == LOSSES["cegppo"].params(**given)
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
        ([*SELECT, *BETAS, f"+{KEY}.params.dual_clip=.5"], "dual_clip must be a number"),
        ([*SELECT, *BETAS, f"+{KEY}.params.beta3=1"], "unknown parameter beta3"),
        ([*SELECT, *BETAS, f"+{KEY}.beta3=1"], "beta3"),
        (
            [SELECT[0], *SELECT[2:], *BETAS, f"+{KEY}.algorithm=cegppo"],
            "loss_mode is 'vanilla', which would ignore",
        ),
        ([SELECT[0], f"{KEY}.loss_mode=cegpo", *SELECT[2:], *BETAS], "did you mean 'cegppo'"),
    ],
    ids=["no_beta1", "no_beta2", "negative", "dual_clip", "unknown", "unknown_key", "loss_mode", "misspelt"],
)
def test_a_wrong_configuration_is_refused_with_its_reason(overrides, complaint):
    with pytest.raises(Exception, match=complaint):  # hydra wraps ours in its InstantiationException
        composed(*overrides)


def test_a_schedule_arrives_with_whole_steps():
    config = composed(*SELECT, BETAS[1], f"+{KEY}.params.beta1={{1:0.0,585:0.5}}")
    assert config.policy_loss.given["beta1"] == {1: 0.0, 585: 0.5}
    assert config.policy_loss.starting_params().beta1 == 0.0


def test_the_configuration_is_frozen_like_verls():
    config = LossConfig(loss_mode="cegppo", params={"beta1": 0.5, "beta2": 1.0})
    with pytest.raises(Exception, match="frozen"):
        config.params = {}
    assert config.get("params") == config["params"] == {"beta1": 0.5, "beta2": 1.0}


def test_an_upper_clip_bound_left_open_falls_back_to_clip_ratio():
    config = SimpleNamespace(clip_ratio=0.25, clip_ratio_low=None, clip_ratio_high=None)
    assert policy_loss.clip_bounds(config) == (0.25, 0.25)
