"""The GPU half of ``cegppo bench loss``: times against what the bytes need at the copy bandwidth.

Bytes: log_prob, old_log_prob and advantages (fp32) and the mask read once, the gradient written once.
Bandwidth: a copy of a large tensor on the device in the same rounds, counting what it reads and writes.
Compiled: ``torch.compile`` of the pass that computes w·Â and the row sums; what is around it stays eager.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

from cegppo_verl.bench import loss_sides

SIDES = ("vanilla", "ours", "ours compiled", "ours+anatomy", "ours+anatomy compiled")
COPIED_BYTES = 2**30


def measure(batch: int, length: int, repeats: int, device: str) -> dict[str, Any]:
    """Median milliseconds and ratio to the bytes' time per side; {"not_run": why} without such a device."""
    import torch

    if not torch.cuda.is_available():
        return {"not_run": "torch sees no CUDA device"}
    tensors = loss_sides.inputs(batch, length, device)
    source = torch.empty(COPIED_BYTES // 4, device=device)
    runs = {"copy": lambda: source.clone()} | {side: _run(side, tensors) for side in SIDES}
    for _ in range(3):  # warm-up and compilation
        for run in runs.values():
            run()
    rounds = [{side: _milliseconds(run) for side, run in runs.items()} for _ in range(repeats)]
    needed = batch * length * (3 * 4 + tensors["response_mask"].element_size() + 4)
    bytes_ms = [r["copy"] * needed / (2 * COPIED_BYTES) for r in rounds]
    return {
        "device": torch.cuda.get_device_name(),
        "copy_gb_per_s": 2 * COPIED_BYTES / statistics.median(r["copy"] for r in rounds) / 1e6,
        "bytes_ms": statistics.median(bytes_ms),
        "time_ms": {side: statistics.median(r[side] for r in rounds) for side in SIDES},
        "to_bytes": {
            side: statistics.median(r[side] / b for r, b in zip(rounds, bytes_ms, strict=True))
            for side in SIDES
        },
    }


def _run(side: str, tensors: dict[str, Any]) -> Callable[[], None]:
    run = loss_sides.side(side.removesuffix(" compiled"))
    compiled = _compiled() if side.endswith(" compiled") else contextlib.nullcontext

    def once() -> None:
        with compiled():
            loss_sides.once(run, tensors)

    return once


def _compiled() -> Callable[[], Any]:
    import torch

    from cegppo_verl.losses import weighted

    row_losses = torch.compile(weighted.row_losses)
    return lambda: mock.patch.object(weighted, "row_losses", row_losses)


def _milliseconds(run: Callable[[], Any]) -> float:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)
