"""What must not count does not: padding, other kinds of mask, parts without a token; where bounds lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from cegppo_verl.contract import search
from cegppo_verl.contract.batch import Batch, Info, random, tokens
from cegppo_verl.contract.compare import bare, largest, relative
from cegppo_verl.contract.outcome import Measured, NotApplicableError
from cegppo_verl.contract.search import Case
from cegppo_verl.contract.subjects import Subject, Values

SAME = 1e-12
JUNK = (3.0, -1e6)
NOT_FINITE = (math.nan, math.inf, -math.inf)


def padding(subject: Subject) -> Measured:
    """Masked tokens get exactly zero gradient and change nothing, whatever finite numbers they hold."""
    return search.worst(
        subject, lambda case: _influence(subject, case, JUNK), SAME, "largest relative change"
    )


def padding_not_finite(subject: Subject) -> Measured:
    """The same with NaN and ±∞ in the padding."""
    return search.worst(
        subject, lambda case: _influence(subject, case, NOT_FINITE), SAME, "largest relative change"
    )


def _influence(subject: Subject, case: Case, junk: tuple[float, ...]) -> float:
    clean = case.batch.with_padding(-1.0)
    loss, gradient = subject.run(clean, case.params)
    found = [gradient[~clean.mask].abs().sum().item()]
    scale = 1e3 * gradient.abs().sum().item()
    for dirty in _dirty(clean, junk):
        other_loss, other = subject.run(dirty, case.params)
        found += [
            relative(other, gradient),
            relative(other_loss, loss, scale),
            other[~clean.mask].abs().sum().item(),
        ]
    return largest(found)


def _dirty(clean: Batch, junk: tuple[float, ...]) -> Iterator[Batch]:
    """Junk in everything, and in Â alone: an operation that swallows one NaN may let the other through."""
    for value in junk:
        everything = clean.with_padding(value)
        yield everything
        yield replace(clean, advantages=everything.advantages)


def mask_kinds(subject: Subject) -> Measured:
    """Boolean, integer and float masks mean the same."""
    values, batch = subject.settings[0], random()
    loss, gradient = subject.run(batch, values)
    found = []
    for kind in (torch.int64, torch.float32, torch.float64):
        other_loss, other = subject.run(replace(batch, mask=batch.mask.to(kind)), values)
        found += [relative(other, gradient), relative(other_loss, loss)]
    return Measured(largest(found), 1e-6, "largest relative change")


def empty(subject: Subject) -> Measured:
    """Micro-batches without a row or without an unmasked token: loss and gradient finite, gradient zero."""
    values, whole = subject.settings[0], Info(7, 3, 2)
    found = []
    for part in (_masked(random(rows=2, length=3)), random(rows=2, length=3).rows(slice(0, 0))):
        loss, gradient = subject.run(part, values, whole)
        found.append(math.nan if not loss.isfinite() else gradient.abs().sum().item())
    return Measured(largest(found), 0.0, "largest |gradient|", "no tokens")


def _masked(batch: Batch) -> Batch:
    return replace(batch, mask=torch.zeros_like(batch.mask))


# By the names that parameters have here and in verl. ε = .5, 1 and c = 4 make every edge exact in binary.
EXACT = {
    "epsilon": 0.5,
    "epsilon_low": 0.5,
    "epsilon_high": 1.0,
    "clip_ratio": 0.5,
    "clip_ratio_low": 0.5,
    "clip_ratio_high": 1.0,
    "dual_clip": 4.0,
    "clip_ratio_c": 4.0,
}


def bounds(subject: Subject) -> Measured:
    """A token exactly on a bound is inside: it weighs what its neighbour towards δ = 1 weighs."""
    subject = bare(subject)
    values = _exact(subject)
    found = [
        (_jump(subject, values, log_ratio, sign), log_ratio, sign) for log_ratio in EDGES for sign in (1, -1)
    ]
    jump, log_ratio, sign = max(found, key=lambda entry: math.inf if math.isnan(entry[0]) else entry[0])
    case = Case(dict(values), [[(log_ratio, float(sign), 1, 0.0, 1, 1)]])
    return Measured(jump, 1e-6, "largest relative jump at a bound", str(case))


EDGES = tuple(edge for edge in map(math.log, (0.5, 1.5, 2.0, 4.0)) if math.exp(edge) in (0.5, 1.5, 2.0, 4.0))


def _exact(subject: Subject) -> dict[str, Any]:
    given = subject.settings[0]
    known = set(given) | _fields(subject)
    if not known & set(EXACT):
        raise NotApplicableError(
            "no parameter with a bound's usual name: epsilon_low, epsilon_high, epsilon, dual_clip"
        )
    exact = {k: v for k, v in EXACT.items() if k in known and given.get(k, v) is not None}
    # β = 1 would hide a token on the wrong side: there the weight is continuous.
    return _allowed(subject, given | exact | {k: 0.5 for k in given if k in ("beta1", "beta2")})


def _fields(subject: Subject) -> set[str]:
    return set(subject.loss.params.__dataclass_fields__) if subject.loss is not None else set()


def _allowed(subject: Subject, values: dict[str, Any]) -> dict[str, Any]:
    if subject.loss is not None:
        try:
            subject.loss.params(**values)
        except ValueError as error:
            raise NotApplicableError(f"bounds that are exact in binary are not allowed: {error}") from None
    return values


def _jump(subject: Subject, values: Values, log_ratio: float, sign: float) -> float:
    """How much the weight at an edge differs from that just inside of it."""
    inside = log_ratio * (1 - 1e-11)
    weigh: Callable[[float], torch.Tensor] = lambda x: subject.run(_on(x, sign), values).gradient  # noqa: E731
    return relative(weigh(log_ratio), weigh(inside), scale=1e6)  # in units of at least 1e-3


def _on(log_ratio: float, sign: float) -> Batch:
    """One token whose log π − log π_old is log_ratio to the last bit: the larger of the two is 0."""
    return tokens([log_ratio], [sign], old_log_prob=-max(log_ratio, 0.0))
