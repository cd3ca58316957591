"""CE-GPPO's numbers for tests, and the contract's checks for a function that reduces like verl.

A subject of ``CHECKS`` is a function

    subject(old_log_prob, log_prob, advantages, mask, *, beta1, beta2, epsilon_low, epsilon_high,
            dual_clip=None, dp_size, batch_num_tokens, global_batch_size) -> scalar loss, token-mean reduced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from losses.rows import load
from losses.rows.cegppo import LOPSIDED, PAPER
from torch import Tensor

from cegppo_verl.contract import batch as batches
from cegppo_verl.contract import rows, runner, table
from cegppo_verl.contract.batch import Batch, Info
from cegppo_verl.contract.subjects import Subject, Values
from cegppo_verl.losses.registry import LOSSES

__all__ = ["CHECKS", "LOPSIDED", "PAPER", "Reduced", "batch", "failures", "subject"]


def batch(rows: int = 6, length: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """float64 log-ratios that visit every region, advantages, and a ragged mask."""
    found = batches.random(rows, length, seed)
    return found.log_prob - found.old_log_prob, found.advantages, found.mask


@dataclass(frozen=True, kw_only=True)
class Reduced(Subject):
    """A function of this module's signature as a subject of the contract."""

    function: Callable[..., Tensor]

    def total(self, batch: Batch, values: Values, info: Info) -> Tensor:
        tensors = batch.old_log_prob, batch.log_prob, batch.advantages, batch.mask
        return self.function(*tensors, **values, **info._asdict())


def subject(function: Callable[..., Tensor]) -> Reduced:
    """CE-GPPO in the form of a function, with its row."""
    row = load("cegppo")
    expected = rows.expected(row, "cegppo", LOSSES["cegppo"])
    return Reduced(name="cegppo", settings=row.parameters, expected=expected, function=function)


def failures(tested: Subject, names: tuple[str, ...] = tuple(runner.CHECKS)) -> dict[str, str]:
    """The checks that fail, with what they say."""
    return {result.name: table.explained(result) for result in runner.check(tested, names).failures}


def _assert(function: Callable[..., Tensor], name: str) -> None:
    found = failures(subject(function), (name,))
    assert not found, found[name]


# Those that mean something for this form.
OTHERS = ("weight = slope of value", "loss_agg_mode", "rollout weights", "no other gradient", "fresh weight")
CHECKS = [partial(_assert, name=name) for name in runner.CHECKS if name not in OTHERS]
for _check in CHECKS:
    _check.__name__ = _check.keywords["name"].replace(" ", "_")  # type: ignore[attr-defined]
