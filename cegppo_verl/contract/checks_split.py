"""The same mini-batch cut differently is the same update: micro-batches, ranks, verl's reductions."""

from __future__ import annotations

import torch

from cegppo_verl.contract import search
from cegppo_verl.contract.batch import Batch, Info, coefficients, random, run
from cegppo_verl.contract.compare import largest, relative
from cegppo_verl.contract.outcome import Measured, NotApplicableError
from cegppo_verl.contract.search import Case
from cegppo_verl.contract.subjects import Subject
from cegppo_verl.contract.verl_form import VerlFunction

MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")


def micro_batches(subject: Subject) -> Measured:
    """Gradients summed over unequal micro-batches under the global token count: what the whole gives."""
    _reduced_globally(subject)
    return search.worst(
        subject, lambda case: _split(subject, case, 1), 1e-9, "largest relative change", rows=2
    )


def ranks(subject: Subject) -> Measured:
    """Data-parallel ranks whose gradients are averaged, as FSDP does: what one rank gives."""
    _reduced_globally(subject)
    return search.worst(
        subject, lambda case: _split(subject, case, 2), 1e-9, "largest relative change", rows=2
    )


def _reduced_globally(subject: Subject) -> None:
    if subject.loss is not None and subject.loss.reduction == "micro-batch":
        raise NotApplicableError("reduction is per micro-batch, by the method's definition")


def _split(subject: Subject, case: Case, dp_size: int) -> float:
    whole, parts = case.batch, [case.batch.rows(slice(0, 1)), case.batch.rows(slice(1, None))]
    expected = subject.run(whole, subject.agreed([whole], case.params))
    info, values = whole.info._replace(dp_size=dp_size), subject.agreed(parts, case.params)
    found = [subject.run(part, values, info) for part in parts]
    gradient = torch.cat([part.gradient for part in found]) / dp_size
    loss = torch.stack([part.loss for part in found]).sum() / dp_size
    scale = 1e3 * expected.gradient.abs().sum().item()
    return largest((relative(gradient, expected.gradient), relative(loss, expected.loss, scale)))


def reduction(subject: Subject) -> Measured:
    """``loss_agg_mode`` is obeyed: every mode gives each row's tokens verl's factor."""
    function, batch = _verl(subject), random(rows=4, length=7)
    if subject.loss is not None and subject.loss.loss_agg_mode is not None:
        raise NotApplicableError(f"the method's own reduction is {subject.loss.loss_agg_mode}")
    plain = _per_token(function, batch, "token-sum")
    found = [
        relative(_per_token(function, batch, mode), plain * coefficients(mode, batch.mask, INFO))
        for mode in MODES
    ]
    return Measured(
        largest(found), EXACT, "largest relative error", f"modes {dict(zip(MODES, found, strict=True))}"
    )


# Any numbers that the batch does not have itself: a loss that counts its own tokens shows.
INFO = Info(batch_num_tokens=50, global_batch_size=9)
EXACT = 1e-6


def _per_token(function: VerlFunction, batch: Batch, mode: str) -> torch.Tensor:
    return run(lambda part, info: function.call(part, function.settings[0], info, mode), batch, INFO).gradient


def rollout_weights(subject: Subject) -> Measured:
    """``rollout_is_weights`` multiply every token's gradient."""
    function, batch = _verl(subject), random(rows=4, length=7)
    scale = 0.5 + torch.arange(batch.mask.numel()).reshape(batch.mask.shape).double() / batch.mask.numel()
    values = function.settings[0]
    plain = function.run(batch, values).gradient
    found = run(lambda part, info: function.call(part, values, info, None, scale), batch).gradient
    return Measured(relative(found, plain * scale), EXACT, "largest relative error")


def _verl(subject: Subject) -> VerlFunction:
    if not isinstance(subject, VerlFunction):
        raise NotApplicableError("the adapter to verl does it, for every loss of this form alike")
    return subject
