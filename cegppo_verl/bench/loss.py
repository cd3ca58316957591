"""How fast the CE-GPPO loss is, next to verl's ``vanilla``: forward and backward on one CPU core, fp32.

    python -m cegppo_verl.bench.loss [--batch 64] [--length 16384] [--repeats 15]

Three sides, alternating in one process so that a disturbance of the machine hits all of them alike:

    vanilla   verl's own ``compute_policy_loss_vanilla``, unwrapped, with its metrics
    literal   CE-GPPO Eq. 8 written down as printed, with boolean indexing; token mean, no metrics
    ours      the registered ``cegppo`` loss: same metrics as vanilla and the anatomy counts

Time is the wall time of one loss and its backward pass. Peak memory is measured apart, in a fresh process
per side: growth of the process's resident set (Linux' VmHWM, reset just before) over what it held with the
inputs in place, during one forward and backward; the gradient of log_prob is part of it on every side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = ("vanilla", "literal", "ours")
BETA1, BETA2, EPSILON = 0.5, 1.0, 0.2  # the paper's first setting


def bench_loss(batch: int = 64, length: int = 16_384, repeats: int = 15) -> dict[str, Any]:
    """Measure all sides and print a table.

    Args:
        batch, length: shape of the tensors. repeats: timed rounds, each running every side once.

    Returns:
        ``time_s`` (median per side), ``peak_bytes`` (per side, None where /proc cannot tell),
        ``time_ratio`` (median over rounds of side/vanilla) and ``peak_ratio`` (side/vanilla),
        with the settings of the measurement.
    """
    rounds = _timed_rounds(batch, length, repeats)
    peaks = {side: _peak_in_fresh_process(side, batch, length) for side in SIDES}
    base = peaks["vanilla"]
    result: dict[str, Any] = {
        "batch": batch,
        "length": length,
        "repeats": repeats,
        "threads": 1,
        "dtype": "float32",
        "time_s": {s: statistics.median(r[s] for r in rounds) for s in SIDES},
        "time_ratio": {s: statistics.median(r[s] / r["vanilla"] for r in rounds) for s in SIDES},
        "peak_bytes": peaks,
        "peak_ratio": {s: p / base if p is not None and base else None for s, p in peaks.items()},
    }
    _print(result)
    return result


def _timed_rounds(batch: int, length: int, repeats: int) -> list[dict[str, float]]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        inputs, runs = _inputs(batch, length), {side: _side(side) for side in SIDES}
        for run in runs.values():  # warm-up: lazy imports, allocator
            _once(run, inputs)
        return [{side: _once(run, inputs) for side, run in runs.items()} for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)


def _once(run: Callable[..., Any], inputs: dict[str, Any]) -> float:
    inputs["log_prob"].grad = None
    start = time.perf_counter()
    run(**inputs).backward()
    return time.perf_counter() - start


def _inputs(batch: int, length: int) -> dict[str, Any]:
    """Ragged responses, group-normalised advantages, log-ratios of deviation .1: 4 % outside .8–1.2."""
    import torch

    g = torch.Generator().manual_seed(0)
    old = -3.0 * torch.rand(batch, length, generator=g)
    log_prob = old + 0.1 * torch.randn(batch, length, generator=g)
    ends = torch.randint(length // 4, length + 1, (batch, 1), generator=g)
    return {
        "old_log_prob": old,
        "log_prob": log_prob.requires_grad_(),
        "advantages": torch.randn(batch, 1, generator=g).repeat(1, length),
        "response_mask": torch.arange(length)[None] < ends,
    }


def _side(side: str) -> Callable[..., Any]:
    if side == "literal":
        return _literal
    from verl.trainer.ppo import core_algos
    from verl.workers.config import ActorConfig

    from cegppo_verl.losses.registry import LOSSES
    from cegppo_verl.verl_plugin.config import CEGPPOPolicyLossConfig
    from cegppo_verl.verl_plugin.policy_loss import verl_loss

    settings = CEGPPOPolicyLossConfig(beta1=BETA1, beta2=BETA2)
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, policy_loss=settings)
    ours = verl_loss("cegppo", LOSSES["cegppo"])
    loss = core_algos.compute_policy_loss_vanilla if side == "vanilla" else ours
    return lambda **tensors: loss(**tensors, config=config)[0]


def _literal(old_log_prob: Any, log_prob: Any, advantages: Any, response_mask: Any) -> Any:
    ratio = (log_prob - old_log_prob).exp()
    low = (ratio < 1 - EPSILON) & (advantages < 0)
    high = (ratio > 1 + EPSILON) & (advantages > 0)
    objective = ratio * advantages
    sg = ratio.detach()
    objective[low] = BETA1 * (1 - EPSILON) / sg[low] * ratio[low] * advantages[low]
    objective[high] = BETA2 * (1 + EPSILON) / sg[high] * ratio[high] * advantages[high]
    return -objective[response_mask].sum() / response_mask.sum()


def _peak_in_fresh_process(side: str, batch: int, length: int) -> int | None:
    command = [sys.executable, "-m", "cegppo_verl.bench.loss", "--peak", side, "--batch", str(batch)]
    command += ["--length", str(length)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"measuring the memory of '{side}' failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak_bytes"]


def _peak_here(side: str, batch: int, length: int) -> int | None:
    import torch

    torch.set_num_threads(1)
    run, inputs = _side(side), _inputs(batch, length)
    _once(run, _inputs(2, 8))  # lazy imports and first-use buffers do not count
    before = _status_bytes("VmRSS")
    if before is None or not _reset_high_water_mark():
        return None
    _once(run, inputs)
    peak = _status_bytes("VmHWM")
    return None if peak is None else max(0, peak - before)


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(field + ":")]
    return int(found[0][1]) * 1024 if found else None


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset VmHWM to the present VmRSS
    except OSError:
        return False
    return True


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = (
        f"Policy loss, forward + backward, {result['batch']} × {result['length']:,} tokens, fp32, one core"
    )
    table = Table(title=title)
    for column in ("side", "time, ms", "× vanilla", "peak extra memory, MiB", "× vanilla"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for side in SIDES:
        peak, ratio = result["peak_bytes"][side], result["peak_ratio"][side]
        memory = ("unknown", "unknown") if peak is None else (f"{peak / 2**20:.1f}", f"{ratio:.2f}")
        table.add_row(
            side, f"{result['time_s'][side] * 1e3:.1f}", f"{result['time_ratio'][side]:.2f}", *memory
        )
    Console().print(table)


def main() -> None:
    """Command line of the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peak", choices=SIDES, help="internal: measure one side's memory in this process")
    args = parser.parse_args()
    if args.peak:
        print(json.dumps({"peak_bytes": _peak_here(args.peak, args.batch, args.length)}))
    else:
        bench_loss(args.batch, args.length, args.repeats)


if __name__ == "__main__":
    main()
