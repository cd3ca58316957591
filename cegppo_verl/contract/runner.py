"""Run every check on a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from cegppo_verl.contract import checks_conduct, checks_formula, checks_mask, checks_numerics, checks_split
from cegppo_verl.contract.outcome import EXCUSED, Measured, NotApplicableError, Report, Result
from cegppo_verl.contract.subjects import Subject
from cegppo_verl.errors import UserError

Check = Callable[[Subject], Measured]

CHECKS: dict[str, Check] = {
    "gradient as printed": checks_formula.gradient,
    "value as printed": checks_formula.value,
    "weight = slope of value": checks_formula.differences,
    "worked by hand": checks_formula.worked,
    "limits": checks_formula.limits,
    "on-policy": checks_formula.on_policy,
    "linear in Â": checks_formula.linear,
    "bounds are inside": checks_mask.bounds,
    "padding": checks_mask.padding,
    "padding of NaN and ∞": checks_mask.padding_not_finite,
    "kinds of mask": checks_mask.mask_kinds,
    "no tokens": checks_mask.empty,
    "micro-batches": checks_split.micro_batches,
    "data-parallel ranks": checks_split.ranks,
    "loss_agg_mode": checks_split.reduction,
    "rollout weights": checks_split.rollout_weights,
    "extremes are finite": checks_numerics.finite,
    "log π = −∞": checks_numerics.infinite,
    "extremes keep gradients": checks_numerics.not_silenced,
    "bf16": checks_numerics.bf16,
    "under autocast": checks_numerics.autocast,
    "no other gradient": checks_conduct.no_other_gradient,
    "inputs kept": checks_conduct.inputs_kept,
    "fresh weight": checks_conduct.fresh_weight,
    "host synchronisations": checks_conduct.synchronisations,
}


def check(subject: Subject, only: Iterable[str] = CHECKS) -> Report:
    """All results, in the order of ``CHECKS``; what a loss raises during a check fails that check."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
    try:
        with torch.random.fork_rng(devices=[]):
            results = tuple(_result(subject, name) for name in only)
            return Report(subject.name, subject.form, results, subject.expected.own)
    finally:
        torch.set_num_threads(threads)


def _result(subject: Subject, name: str) -> Result:
    excuse = subject.expected.exceptions.get(name, "")
    try:
        measured = CHECKS[name](subject)
    except NotApplicableError as why:
        return Result(name, "not applicable", str(why))
    except UserError:
        raise
    except Exception as raised:  # anybody's code runs here
        problem = f"raised {type(raised).__name__}: {raised}"
        return Result(name, EXCUSED, f"{excuse} ({problem})") if excuse else Result(name, "FAILED", problem)
    if not excuse:
        return Result(name, "passed" if measured.passed else "FAILED", "", measured)
    return _excused(name, excuse, measured, subject.expected.own)


def _excused(name: str, excuse: str, measured: Measured, own: bool) -> Result:
    if not measured.passed:
        return Result(name, EXCUSED, excuse, measured)
    if own:  # other parameters may need it: the test suite, which tries the row's, fails if none does
        return Result(name, "passed", "with these parameters", measured)
    note = f"passes: its exception is no longer needed ({excuse})"
    return Result(name, "FAILED", note, replace(measured, example=""))
