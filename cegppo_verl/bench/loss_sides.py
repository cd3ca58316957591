"""What ``cegppo bench loss`` compares: the inputs, and each side as a function from tensors to a loss."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Side = Callable[..., Any]

SIDES = ("vanilla", "literal", "ours", "ours+anatomy")
BETA1, BETA2, EPSILON = 0.5, 1.0, 0.2  # the paper's first setting
WRAPPED = " (wrapped)"


def inputs(batch: int, length: int, device: str = "cpu") -> dict[str, Any]:
    """Ragged responses, group-normalised advantages, log-ratios of deviation .1: 4 % outside .8–1.2."""
    import torch

    g = torch.Generator().manual_seed(0)
    old = -3.0 * torch.rand(batch, length, generator=g)
    log_prob = old + 0.1 * torch.randn(batch, length, generator=g)
    ends = torch.randint(length // 4, length + 1, (batch, 1), generator=g)
    tensors = {
        "old_log_prob": old,
        "log_prob": log_prob,
        "advantages": torch.randn(batch, 1, generator=g).repeat(1, length),
        "response_mask": torch.arange(length)[None] < ends,
    }
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    tensors["log_prob"].requires_grad_()
    return tensors


def side(name: str) -> Side:
    """One of :data:`SIDES`, or a loss of the registry; "… (wrapped)" is verl's own with the anatomy."""
    if name == "literal":
        return literal
    if name == "vanilla":
        return of_registry("grpo", wrapped=False)
    if name in ("ours", "ours+anatomy"):
        return of_registry("cegppo", full=name == "ours+anatomy", beta1=BETA1, beta2=BETA2)
    return of_registry(name.removesuffix(WRAPPED), wrapped=name.endswith(WRAPPED))


def registry_sides() -> list[str]:
    """The sides of the second table: every registered loss; verl's own bare and with the anatomy."""
    from cegppo_verl.losses.registry import LOSSES

    return [
        f"{name}{end}"
        for name, loss in LOSSES.items()
        for end in (("", WRAPPED) if loss.runs is not None else ("",))
    ]


def of_registry(name: str, wrapped: bool = True, full: bool = True, **given: Any) -> Side:
    """A registered loss as verl calls it: with metrics, and the entropies if it needs them.

    Args:
        wrapped: for verl's own losses, with the anatomy. full: the whole anatomy, or only what verl's
            metrics of ``vanilla`` need. given: parameters; required ones left out take their example.
    """
    from verl.trainer.ppo import core_algos

    from cegppo_verl.losses.registry import LOSSES
    from cegppo_verl.verl_plugin import context, policy_loss

    policy_loss.register()
    config = _config(name, given, full)
    loss = core_algos.get_policy_loss_fn(LOSSES[name].runs or name)
    if LOSSES[name].runs and not wrapped:
        loss = inspect.unwrap(loss)

    def run(**tensors: Any) -> Any:
        entropies = {need: _entropy(tensors, need) for need in LOSSES[name].needs}
        with context.use(context.Context(**entropies)):
            return loss(**tensors, config=config)[0]

    return run


def _config(name: str, given: dict[str, Any], full: bool) -> Any:
    from verl.workers.config import ActorConfig

    from cegppo_verl.losses.parameters import from_values, specs
    from cegppo_verl.losses.registry import LOSSES
    from cegppo_verl.verl_plugin.config import LossConfig

    loss = LOSSES[name]
    examples = {key: spec.example for key, spec in specs(loss.params).items() if spec.required}
    params = from_values(loss.params, examples | given)
    settings: dict[str, Any] = dict(loss.verl(params)) if loss.verl is not None else {}
    inner = {
        key.split(".", 1)[1]: settings.pop(key) for key in list(settings) if key.startswith("policy_loss.")
    }
    mode = loss.runs or name
    hyper: dict[str, Any] = {"algorithm": name, "params": examples | given, "full_anatomy": full}
    policy = LossConfig(loss_mode=mode, **hyper, **inner)
    return ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, policy_loss=policy, **settings
    )


@functools.cache
def _constant_entropy(shape: tuple[int, ...], device: str, value: float) -> Any:
    import torch

    return torch.full(shape, value, device=device)


def _entropy(tensors: dict[str, Any], need: str) -> Any:
    like = tensors["log_prob"]
    return _constant_entropy(tuple(like.shape), str(like.device), 0.5 if need == "entropy" else 0.51)


def literal(old_log_prob: Any, log_prob: Any, advantages: Any, response_mask: Any) -> Any:
    """CE-GPPO Eq. 8 as printed: its three cases, each by boolean indexing; token mean, no metrics."""
    import torch

    ratio = (log_prob - old_log_prob).exp()
    low = (ratio < 1 - EPSILON) & (advantages < 0)
    high = (ratio > 1 + EPSILON) & (advantages > 0)
    other = ~(low | high)
    sg, objective = ratio.detach(), torch.zeros_like(ratio)
    objective[low] = BETA1 * (1 - EPSILON) / sg[low] * ratio[low] * advantages[low]
    objective[high] = BETA2 * (1 + EPSILON) / sg[high] * ratio[high] * advantages[high]
    objective[other] = ratio[other] * advantages[other]
    return -objective[response_mask].sum() / response_mask.sum()


def once(run: Side, tensors: dict[str, Any]) -> None:
    """One forward and backward pass."""
    tensors["log_prob"].grad = None
    run(**tensors).backward()
