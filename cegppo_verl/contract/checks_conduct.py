"""How a loss treats what is around it: gradients elsewhere, inputs written to, accelerators kept waiting."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cegppo_verl.contract.batch import random
from cegppo_verl.contract.compare import largest
from cegppo_verl.contract.outcome import Measured, NotApplicableError
from cegppo_verl.contract.subjects import LossObject, Subject, blocks

# verl's own losses turn up to four metrics into numbers; a loop over rows or tokens needs far more.
SYNCHRONISATIONS = 8


def no_other_gradient(subject: Subject) -> Measured:
    """log π_old, Â and the entropies get no gradient: they are data."""
    if not isinstance(subject, LossObject):
        raise NotApplicableError("verl hands these over without a graph")
    batch = random()
    names = [item.name for item in fields(batch) if item.name != "mask"]
    leaves = replace(batch, **{name: getattr(batch, name).requires_grad_() for name in names})
    subject.total(leaves, subject.settings[0], batch.info).backward()
    leaked = {n: getattr(leaves, n).grad for n in names if n != "log_prob"}
    found = {n: g.abs().max().item() for n, g in leaked.items() if g is not None}
    return Measured(largest(found.values()), 0.0, "largest |gradient|", f"{found}")


def inputs_kept(subject: Subject) -> Measured:
    """No input is written to."""
    batch = random()
    before = batch.map(torch.clone)
    subject.run(batch, subject.settings[0])
    changed = [
        f.name for f in fields(batch) if not torch.equal(getattr(batch, f.name), getattr(before, f.name))
    ]
    return Measured(float(len(changed)), 0.0, "inputs changed", ", ".join(changed))


def fresh_weight(subject: Subject) -> Measured:
    """``weight`` returns a tensor of its own, of the right shape: writing to it changes nothing else."""
    if not isinstance(subject, LossObject):
        raise NotApplicableError("only a gradient weight is multiplied in place")
    loss, changed = subject.checked, 0
    w = loss.bound(loss.params(**subject.settings[0]))
    for tokens in blocks(random(), loss):
        held = {name: getattr(tokens, name) for name in HELD}
        before = {name: tensor.clone() for name, tensor in held.items()}
        answer = w(tokens)
        changed += answer.shape != tokens.ratio.shape or answer.requires_grad
        answer.zero_()
        changed += sum(not torch.equal(held[name], before[name]) for name in HELD)
    return Measured(float(changed), 0.0, "tensors changed or misshapen")


HELD = ("log_ratio", "ratio", "advantages", "padding", "mask", "old_log_prob", "old_prob", "log_prob")


def synchronisations(subject: Subject) -> Measured:
    """Operations for which an accelerator must be waited: numbers read, boolean indexing, nonzero."""
    batch = random()
    info = batch.info
    subject.run(batch, subject.settings[0], info)  # first calls may set things up
    with _Waits() as waits:
        subject.run(batch, subject.settings[0], info)
    bound = 0 if isinstance(subject, LossObject) else SYNCHRONISATIONS
    return Measured(float(waits.count), float(bound), "per call", ", ".join(sorted(waits.names)))


class _Waits(TorchDispatchMode):
    """Counts the operations whose result the host must see."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.names = 0, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal") or _boolean_index(name, args):
            self.count += 1
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def _boolean_index(name: str, args: Any) -> bool:
    if name not in ("index", "index_put", "index_put_"):
        return False
    return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])
