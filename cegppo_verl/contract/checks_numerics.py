"""Numbers at their ends: extreme log-ratios, and low precision."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from cegppo_verl.contract.batch import Batch, Info, build, random, run, tokens
from cegppo_verl.contract.compare import bare, largest, relative, weights
from cegppo_verl.contract.outcome import Measured
from cegppo_verl.contract.search import Case
from cegppo_verl.contract.subjects import Subject, Values

EXTREMES = (-1000.0, -104.0, -100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 89.0, 100.0, 1000.0)
ORDINARY = (1e-3, 1e3)  # cutting off a weight of e^20, as verl's clamp does, protects rather than loses
FAR = (-1000.0, -100.0, -21.0, 21.0, 100.0, 1000.0)


def finite(subject: Subject) -> Measured:
    """Log-ratios of 0, ±1, ±20, ±100 and ±1000 in float32 and float64: loss and gradient stay finite."""
    return _all_finite(subject, [[x] for x in EXTREMES] + [list(EXTREMES)])


def infinite(subject: Subject) -> Measured:
    """A token that π_θ gives the probability 0: loss and gradient stay finite."""
    return _all_finite(subject, [[-math.inf], [0.5, -math.inf]])


def _all_finite(subject: Subject, rows: list[list[float]]) -> Measured:
    values = subject.settings[0]
    tried = [
        (row, sign, dtype) for row in rows for sign in (1.0, -1.0) for dtype in (torch.float32, torch.float64)
    ]
    bad = [entry for entry in tried if _bad(subject, build([entry[0]], entry[1]).to(entry[2]), values)]
    if not bad:
        return Measured(0.0, 0.0, "inputs without a finite answer")
    row, sign, dtype = bad[0]
    example = f"{Case(values, [[(x, sign, 1, -1.25, 1, 1) for x in row]])}\n# {dtype}"
    return Measured(float(len(bad)), 0.0, f"of {len(tried)} inputs without a finite answer", example)


def _bad(subject: Subject, batch: Batch, values: Values) -> bool:
    loss, gradient = subject.run(batch, values)
    return not (loss.isfinite() and gradient.isfinite().all())


def not_silenced(subject: Subject) -> Measured:
    """Beyond ±20 nats a weight of ordinary size does not vanish: no clamp cuts its gradient off."""
    subject, losses = bare(subject), []
    for values in subject.settings:
        for sign in (1.0, -1.0):
            for log_ratio in FAR:
                near, far = (
                    _weight(subject, x, sign, values) for x in (math.copysign(19.9, log_ratio), log_ratio)
                )
                losses.append(
                    (_lost(abs(near), abs(far)), str(Case(values, [[(log_ratio, sign, 1, -1.25, 1, 1)]])))
                )
    lost, example = max(losses, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
    return Measured(max(lost, 0.0), 0.5, "largest share of a weight lost", example)


def _lost(near: float, far: float) -> float:
    if near < ORDINARY[0] or near > ORDINARY[1]:
        return 0.0
    return 1 - far / near


def _weight(subject: Subject, log_ratio: float, sign: float, values: Values) -> float:
    return weights(subject, tokens([log_ratio], [sign]), values).item()


def bf16(subject: Subject) -> Measured:
    """bfloat16 inputs against the same numbers in float64: only the result's rounding remains, 2⁻⁸."""
    subject, values = bare(subject), subject.settings[0]
    low = random(seed=6).to(torch.bfloat16)
    exact, found = low.to(torch.float64), subject.run(low, values).gradient
    expected = subject.run(exact, values).gradient
    steady = _steady(subject, exact, values, expected) & low.mask
    steady |= (found.isnan() | expected.isnan()) & low.mask
    error = (found.double() - expected).abs()[steady] / expected.abs()[steady].clamp(min=1e-9)
    return Measured(error.max().item(), 2.0**-8, "largest relative error")


def autocast(subject: Subject) -> Measured:
    """Inside ``torch.autocast``, where verl's FSDP engine calls losses: the same bits as outside.

    float32 inputs, as verl passes them; autocast to bfloat16 on the CPU. The gradient is formed outside, as
    the engine does it.
    """
    batch = random(seed=7).to(torch.float32)
    found = [_autocast_change(subject, batch, values) for values in subject.settings]
    return Measured(largest(found), 0.0, "largest relative change (∞: another dtype)")


def _autocast_change(subject: Subject, batch: Batch, values: Values) -> float:
    def inside(part: Batch, info: Info) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return subject.total(part, values, info)

    pairs = list(zip(run(inside, batch), subject.run(batch, values), strict=True))
    if any(found.dtype != expected.dtype for found, expected in pairs):
        return math.inf
    return largest(relative(found, expected) for found, expected in pairs)


def _steady(subject: Subject, batch: Batch, values: Values, expected: Tensor) -> Tensor:
    """Tokens away from a jump of the weight, where float32 may fall on the other side than float64."""
    moved = [
        subject.run(replace(batch, log_prob=batch.log_prob + step), values).gradient for step in (-1e-5, 1e-5)
    ]
    change = torch.stack([(other - expected).abs() for other in moved]).amax(0)
    return (change <= 1e-3 * expected.abs()) & (expected != 0)
