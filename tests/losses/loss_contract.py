"""What any implementation of the CE-GPPO loss must satisfy. Each check raises AssertionError.

A subject is a function

    subject(old_log_prob, log_prob, advantages, mask, *, beta1, beta2, epsilon_low, epsilon_high,
            dual_clip=None, **global_batch_info) -> scalar loss, token-mean reduced as verl does it:
            Σ over tokens / batch_num_tokens (None: own tokens) × dp_size.

The expectations are closed forms written here independently, in Python floats; they import nothing from
the package under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Subject = Callable[..., Tensor]
PAPER = {"beta1": 0.5, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.2}
# All four numbers different, so that no two can be swapped unnoticed.
LOPSIDED = {"beta1": 0.3, "beta2": 0.7, "epsilon_low": 0.1, "epsilon_high": 0.4}


def closed_form(
    log_ratio: float, advantage: float, *, beta1: float, beta2: float, epsilon_low: float, epsilon_high: float
) -> float:
    """w of Eq. 8, by hand, with δ capped at e^20."""
    ratio = math.exp(min(log_ratio, 20.0))
    if advantage < 0 and ratio < 1 - epsilon_low:
        return beta1 * (1 - epsilon_low)
    if advantage > 0 and ratio > 1 + epsilon_high:
        return beta2 * (1 + epsilon_high)
    return ratio


def weights(subject: Subject, log_ratio: Tensor, advantages: Tensor, **hyper: float) -> Tensor:
    """The weights that a subject's gradient implies: −∂(Σ loss)/∂log π / Â, per token."""
    gradient = run(subject, log_ratio, advantages, torch.ones_like(log_ratio, dtype=torch.bool), **hyper)[1]
    return -gradient * log_ratio.numel() / advantages


def run(
    subject: Subject, log_ratio: Tensor, advantages: Tensor, mask: Tensor, **hyper: float
) -> tuple[Tensor, Tensor]:
    """(loss, gradient) of a subject at log π_old = −1.25 (exact in bf16), log π = log π_old + log_ratio."""
    old = torch.full_like(log_ratio, -1.25)
    log_prob = (old + log_ratio).requires_grad_()
    loss = subject(old, log_prob, advantages, mask, **hyper)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    return loss.detach(), gradient


def batch(rows: int = 6, length: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """float64 log-ratios that visit every region, advantages, and a ragged mask."""
    g = torch.Generator().manual_seed(seed)
    log_ratio = torch.randn(rows, length, generator=g, dtype=torch.float64) * 0.5
    advantages = torch.randn(rows, length, generator=g, dtype=torch.float64)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=g)
    return log_ratio, advantages, torch.arange(length)[None] < lengths


def expected_gradient(log_ratio: Tensor, advantages: Tensor, mask: Tensor, **hyper: float) -> Tensor:
    """−w·Â·mask / Σ mask, token by token from the closed form."""
    w = [
        closed_form(r, a, **hyper)
        for r, a in zip(log_ratio.flatten().tolist(), advantages.flatten().tolist(), strict=True)
    ]
    w = torch.tensor(w, dtype=torch.float64).reshape(log_ratio.shape)
    return -w * advantages * mask / mask.sum()


# --- the checks ---------------------------------------------------------------------------------------


def check_worked_weights(subject: Subject) -> None:
    """The worked weights of the project's notes: ε = .2, β = (.5, 1)."""
    ratio = torch.tensor([[0.5, 0.1, 0.01, 2.0, 5.0]], dtype=torch.float64)
    advantages = torch.tensor([[-1.0, -1.0, -1.0, 1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[0.40, 0.40, 0.40, 1.20, 1.20]], dtype=torch.float64)
    torch.testing.assert_close(
        weights(subject, ratio.log(), advantages, **PAPER), expected, rtol=1e-12, atol=0
    )


def check_every_region(subject: Subject) -> None:
    """Gradient per region against the closed form, float64, rtol 1e-6; every region is visited."""
    log_ratio, advantages, mask = batch()
    for hyper in (PAPER, LOPSIDED):
        loss, gradient = run(subject, log_ratio, advantages, mask, **hyper)
        expected = expected_gradient(log_ratio, advantages, mask, **hyper)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(loss, expected.sum(), rtol=1e-6, atol=0)


def check_pessimistic_branches(subject: Subject) -> None:
    """w = δ where PPO does not clip: Â < 0 above (even at δ = 50: no dual clip), Â > 0 below."""
    ratio = torch.tensor([[1.5, 4.0, 50.0, 0.5, 0.01]], dtype=torch.float64)
    advantages = torch.tensor([[-1.0, -2.0, -0.5, 1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(weights(subject, ratio.log(), advantages, **PAPER), ratio, rtol=1e-9, atol=0)


def check_dual_clip_when_asked(subject: Subject) -> None:
    """With c = 10: tokens with Â < 0 and δ > 10 get zero gradient, all others what they had."""
    ratio = torch.tensor([[9.0, 11.0, 11.0, 0.1]], dtype=torch.float64)
    advantages = torch.tensor([[-1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    expected = torch.tensor([[9.0, 0.0, 1.2, 0.4]], dtype=torch.float64)
    w = weights(subject, ratio.log(), advantages, **PAPER, dual_clip=10.0)
    torch.testing.assert_close(w, expected, rtol=1e-9, atol=1e-12)


def check_bounds_are_inside(subject: Subject) -> None:
    """Strict inequalities: at δ = 1 ∓ ε exactly (ε = .5 and 1: exact in binary) w is δ, not β(1 ∓ ε)."""
    hyper = {"beta1": 0.0, "beta2": 0.0, "epsilon_low": 0.5, "epsilon_high": 1.0}
    ratio = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    assert torch.equal(ratio.log().exp(), ratio), "this platform's exp(log x) is not exact here"
    w = weights_at_zero(subject, ratio.log(), torch.tensor([[-1.0, 1.0]], dtype=torch.float64), **hyper)
    torch.testing.assert_close(w, ratio, rtol=1e-12, atol=0)


def weights_at_zero(subject: Subject, log_ratio: Tensor, advantages: Tensor, **hyper: float) -> Tensor:
    """``weights`` with log π_old = 0, so that log π − log π_old is log_ratio to the last bit."""
    log_prob = log_ratio.clone().requires_grad_()
    mask = torch.ones_like(log_ratio, dtype=torch.bool)
    loss = subject(torch.zeros_like(log_ratio), log_prob, advantages, mask, **hyper)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    return -gradient * log_ratio.numel() / advantages


def check_beta_zero_is_ppo_clip(subject: Subject) -> None:
    """β1 = β2 = 0: the gradient of min(δÂ, clip(δ)Â), by autograd."""
    log_ratio, advantages, mask = batch(seed=1)
    hyper = {"beta1": 0.0, "beta2": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.28}
    gradient = run(subject, log_ratio, advantages, mask, **hyper)[1]

    def ppo(old: Tensor, log_prob: Tensor, adv: Tensor, keep: Tensor, **_: float) -> Tensor:
        ratio = (log_prob - old).exp()
        return -(torch.minimum(ratio * adv, ratio.clamp(0.8, 1.28) * adv) * keep).sum() / keep.sum()

    expected = run(ppo, log_ratio, advantages, mask)[1]
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-15)


def check_beta_one_is_gppo(subject: Subject) -> None:
    """β1 = β2 = 1, ε .2/.28: GPPO's min(δ, 1.28) for Â > 0 and max(δ, .8) for Â < 0 (arXiv 2508.07629)."""
    log_ratio, advantages, _ = batch(seed=2)
    hyper = {"beta1": 1.0, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.28}
    ratio = log_ratio.exp()
    expected = torch.where(advantages > 0, ratio.clamp(max=1.28), ratio.clamp(min=0.8))
    w = weights(subject, log_ratio, advantages, **hyper)
    torch.testing.assert_close(w, expected, rtol=1e-9, atol=0)


def check_padding_is_inert(subject: Subject) -> None:
    """Masked tokens get exactly zero gradient and change nothing, whatever finite numbers they hold."""
    log_ratio, advantages, mask = batch(seed=3)
    loss, gradient = run(subject, log_ratio, advantages, mask, **PAPER)
    assert torch.all(gradient[~mask] == 0)
    wild, far = advantages.masked_fill(~mask, 1e6), log_ratio.masked_fill(~mask, 3.0)
    other_loss, other_gradient = run(subject, far, wild, mask, **PAPER)
    torch.testing.assert_close(other_loss, loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-12, atol=0)
    assert torch.all(other_gradient[~mask] == 0)


def check_extremes(subject: Subject) -> None:
    """fp32, log-ratios up to ±1000: all finite, preserved gradients exact at every one of them."""
    extremes = torch.tensor([[-1000.0, -104.0, -100.0, -21.0, -2.0, 2.0, 21.0, 89.0, 100.0, 1000.0]])
    for sign in (-1.0, 1.0):
        advantages = torch.full_like(extremes, sign)
        loss, gradient = run(
            subject, extremes, advantages, torch.ones_like(extremes, dtype=torch.bool), **PAPER
        )
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        w = -gradient * extremes.numel() / advantages
        kept = extremes < 0 if sign < 0 else extremes > 0
        torch.testing.assert_close(w[kept], torch.full((5,), 0.4 if sign < 0 else 1.2), rtol=1e-6, atol=0)


def check_micro_batches(subject: Subject) -> None:
    """Accumulating unequal micro-batches under one global token count changes nothing."""
    log_ratio, advantages, mask = batch(seed=4)
    whole = run(subject, log_ratio, advantages, mask, **PAPER)
    info = {"dp_size": 1, "batch_num_tokens": int(mask.sum()), "global_batch_size": mask.shape[0]}
    parts = [run(subject, log_ratio[r], advantages[r], mask[r], **PAPER, **info) for r in ROWS]
    torch.testing.assert_close(sum(p[0] for p in parts), whole[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), whole[1], rtol=1e-9, atol=0)


def check_two_ranks(subject: Subject) -> None:
    """Two data-parallel ranks whose gradients are averaged, as FSDP does, change nothing."""
    log_ratio, advantages, mask = batch(seed=5)
    whole = run(subject, log_ratio, advantages, mask, **PAPER)
    info = {"dp_size": 2, "batch_num_tokens": int(mask.sum()), "global_batch_size": mask.shape[0]}
    ranks = [run(subject, log_ratio[r], advantages[r], mask[r], **PAPER, **info) for r in ROWS]
    torch.testing.assert_close(sum(r[0] for r in ranks) / 2, whole[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(torch.cat([r[1] for r in ranks]) / 2, whole[1], rtol=1e-9, atol=0)


ROWS = (slice(0, 2), slice(2, 6))


def check_bf16(subject: Subject) -> None:
    """bf16 inputs: computed in fp32, so only the rounding of inputs and of the result remains (2^-8)."""
    log_ratio, advantages, mask = batch(seed=6)
    low = [t.bfloat16() for t in (log_ratio, advantages)]
    old = torch.full_like(low[0], -1.25)
    log_prob = (old + low[0]).requires_grad_()
    loss = subject(old, log_prob, low[1], mask, **PAPER)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    seen = log_prob.detach().double() - old.double()
    expected = expected_gradient(seen, low[1].double(), mask, **PAPER)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.double(), expected, rtol=2**-8, atol=0)
    torch.testing.assert_close(loss.detach().double(), expected.sum(), rtol=1e-5, atol=0)


CHECKS = [value for name, value in globals().items() if name.startswith("check_")]


def failures(subject: Subject) -> list[str]:
    """Names of the checks that a subject fails."""
    failed = []
    for check in CHECKS:
        try:
            check(subject)
        except (AssertionError, RuntimeError):
            failed.append(check.__name__)
    return failed
