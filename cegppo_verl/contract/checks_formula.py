"""Is it the loss that was meant? The gradient against the printed surrogate, hand-worked numbers, limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cegppo_verl.contract import search
from cegppo_verl.contract.batch import Batch, coefficients, random, tokens
from cegppo_verl.contract.compare import bare, largest, relative, weights
from cegppo_verl.contract.outcome import Measured, NotApplicableError
from cegppo_verl.contract.search import Case
from cegppo_verl.contract.subjects import LossObject, Subject, Values, blocks

EXACT = 1e-6


def gradient(subject: Subject) -> Measured:
    """Gradient per token against autograd of the surrogate as printed, float64."""
    subject = bare(subject)
    _literal(subject)
    tried = [(random(seed=seed), values) for seed in (0, 1) for values in subject.settings]
    large = largest(_gradient_error(subject, *each) for each in tried)
    found = search.worst(subject, lambda case: _gradient_error(subject, case.batch, case.params), EXACT)
    return Measured(largest((large, found.value)), EXACT, found.what, found.example)


def value(subject: Subject) -> Measured:
    """Value of the loss: that of the printed surrogate, or w·Â where the loss states none of its own."""
    subject = bare(subject)
    if isinstance(subject, LossObject) and subject.checked.value is None:
        return search.worst(subject, lambda case: _product_error(subject, case), EXACT)
    _literal(subject)
    if subject.loss is not None and subject.loss.runs is not None:
        raise NotApplicableError("verl's own code, whose value is not changed")
    return search.worst(subject, lambda case: _value_error(subject, case), EXACT)


def differences(subject: Subject) -> Measured:
    """The weight against central differences of ``value``; points at a kink are left out."""
    if not isinstance(subject, LossObject) or subject.checked.value is None:
        raise NotApplicableError("no `value` beside the weight: ℓ = w·Â with w held fixed")
    plain = bare(subject)
    assert isinstance(plain, LossObject)
    return search.worst(plain, lambda case: _difference_error(plain, case), 1e-5)


def worked(subject: Subject) -> Measured:
    """Weights worked by hand from the paper, responses of one token."""
    if not subject.expected.worked:
        raise NotApplicableError("no numbers worked by hand are given")
    found = [_worked(bare(subject), *entry) for entry in subject.expected.worked]
    error, example = max(found, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
    return Measured(error, 1e-3, "largest relative error", example)


def limits(subject: Subject) -> Measured:
    """Settings for which the loss is another, known one."""
    if not subject.expected.limits:
        raise NotApplicableError("no limits are given")
    found = [_limit(bare(subject), *entry) for entry in subject.expected.limits]
    return next((each for each in found if not each.passed), max(found, key=lambda each: each.value))


def _limit(
    subject: Subject, given: dict[str, Any], name: str, w: Callable[[Tensor, Tensor], Tensor]
) -> Measured:
    def error(case: Case) -> float:
        batch = _single(case.batch)
        expected = w((batch.log_prob - batch.old_log_prob).exp(), batch.advantages)
        return relative(weights(subject, batch, case.params), expected)

    return search.worst(
        subject, error, EXACT, f"largest relative error, {name}", settings=(given,), vary=False
    )


def on_policy(subject: Subject) -> Measured:
    """At δ = 1 the gradient is the policy gradient: w = 1, for both signs of Â."""
    subject = bare(subject)
    batch = tokens([0.0] * 4, [1.0, -1.0, 0.25, -3.0])
    found = largest(relative(weights(subject, batch, v), torch.ones(4, 1)) for v in subject.settings)
    return Measured(
        found, EXACT, "largest |w − 1|", str(Case(subject.settings[0], [[(0.0, 1.0, 1, -1.25, 1, 1)]]))
    )


def linear(subject: Subject) -> Measured:
    """Advantages four times as large: a gradient four times as large; likewise a quarter."""
    subject = bare(subject)

    def error(case: Case) -> float:
        batch, before = case.batch, subject.run(case.batch, case.params).gradient
        return largest(
            relative(subject.run(_scaled(batch, factor), case.params).gradient, factor * before)
            for factor in (4.0, 0.25)
        )

    return search.worst(subject, error, 1e-9)


def _scaled(batch: Batch, factor: float) -> Batch:
    return replace(batch, advantages=batch.advantages * factor)


def _literal(subject: Subject) -> None:
    if subject.expected.literal is None:
        raise NotApplicableError("no surrogate to compare with: add a function `literal` beside the loss")


def surrogate(subject: Subject, batch: Batch, values: Values) -> tuple[Tensor, Tensor]:
    """(value, gradient) of the printed surrogate, as a loss reduced like the subject's."""
    assert subject.expected.literal is not None
    entropies = {name: getattr(batch, name) for name in sorted(subject.needs)}
    log_prob = batch.log_prob.detach().clone().requires_grad_()
    each = subject.expected.literal(
        log_prob, batch.old_log_prob, batch.advantages, batch.mask, **entropies, **values
    )
    live = torch.where(batch.mask.bool(), each, torch.zeros_like(each))
    total = -(live * coefficients(subject.mode, batch.mask, batch.info)).sum()
    if not total.requires_grad:
        return total.detach(), torch.zeros_like(log_prob)
    (found,) = torch.autograd.grad(total, log_prob)
    return total.detach(), found * batch.mask


def _gradient_error(subject: Subject, batch: Batch, values: Values) -> float:
    return relative(subject.run(batch, values).gradient, surrogate(subject, batch, values)[1])


def _value_error(subject: Subject, case: Case) -> float:
    total, slope = surrogate(subject, case.batch, case.params)
    found = subject.run(case.batch, case.params).loss
    return relative(found, total, 1e3 * (total.abs() + slope.abs().sum()).item())


def _product_error(subject: Subject, case: Case) -> float:
    found = subject.run(case.batch, case.params)
    return relative(found.loss, found.gradient.sum(), 1e3 * found.gradient.abs().sum().item())


def _difference_error(subject: LossObject, case: Case) -> float:
    step, batch = 1e-5, case.batch
    exact = subject.run(batch, case.params).gradient
    columns = range(batch.mask.shape[1])
    left, middle, right = (
        torch.stack([_rows(subject, case, c, h) for c in columns], 1) for h in (-step, 0, step)
    )
    tokens_ = batch.info.batch_num_tokens
    slopes = [-(a - b) / step / tokens_ for a, b in ((middle, left), (right, middle))]
    kink = (slopes[0] - slopes[1]).abs() > 1e-3 * exact.abs().max()  # a NaN is none: it shows as an error
    central = torch.where(~kink & batch.mask.bool(), (slopes[0] + slopes[1]) / 2, exact)
    # A difference has the precision of the value: weights below 1e-3 count as 1e-3.
    return relative(central, exact, 1e6 * batch.advantages.abs().max().item() / tokens_)


def _rows(subject: LossObject, case: Case, column: int, step: float) -> Tensor:
    """Σ ℓ per row with one column's log π moved by ``step``."""
    moved = case.batch.log_prob.clone()
    moved[:, column] += step
    loss, params = subject.checked, subject.checked.params(**case.params)
    assert loss.value is not None
    parts = blocks(replace(case.batch, log_prob=moved), loss)
    return torch.cat([loss.value(t, params).masked_fill(t.padding, 0.0).sum(-1) for t in parts])


def _worked(
    subject: Subject, ratio: float, advantage: float, expected: float, given: dict[str, Any]
) -> tuple[float, str]:
    values = {k: v for k, v in given.items() if k not in ("old_prob", "entropy", "old_entropy")}
    others = {k: given[k] for k in ("entropy", "old_entropy") if k in given}
    old = math.log(given.get("old_prob", 1.0))
    batch = tokens([math.log(ratio)], [advantage], old_log_prob=old, **others)
    found = weights(subject, batch, values).item()
    example = f"δ = {ratio}, Â = {advantage}, {given}: w = {found:.6g}, by hand {expected}"
    return abs(found - expected) / max(abs(expected), 1e-6), example


def _single(batch: Batch) -> Batch:
    """Every live token with Â ≠ 0 as a response of its own."""
    live = batch.mask.bool() & (batch.advantages != 0)
    return batch.map(lambda t: t[live][:, None])
