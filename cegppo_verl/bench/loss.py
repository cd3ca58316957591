"""How fast the losses are, next to verl's ``vanilla``: forward and backward, fp32, on one CPU core or a GPU.

    python -m cegppo_verl.bench.loss [--batch 64] [--length 16384] [--repeats 15] [--device cpu|cuda]

The first table, sides alternating in one process so that a disturbance of the machine hits all of them alike:

    vanilla        verl's own ``compute_policy_loss_vanilla``, unwrapped, with its metrics
    literal        CE-GPPO Eq. 8 written down as printed, its three cases by boolean indexing; no metrics
    ours           the registered ``cegppo`` loss with the metrics that vanilla returns
    ours+anatomy   the same with the whole anatomy, as it is used

The second: every loss of the registry in the same way against vanilla, verl's own ones bare and wrapped, with
their default parameters (a required one takes its example). What is more than twice vanilla is flagged. Time
that a loss spends outside of its call (mini-batch statistics, the controller's step) is not in it.

Time is the wall time of one loss and its backward pass: medians over rounds, ratios too (formed per round).
Peak memory is measured apart, see bench/loss_memory.py; the GPU, see bench/loss_gpu.py.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from cegppo_verl.bench import loss_gpu, loss_memory, loss_sides
from cegppo_verl.bench.loss_sides import SIDES

SLOW = 2.0  # × vanilla: needs a stated reason
REGISTRY_SHARE = 3  # the second table runs a third of the rounds


def bench_loss(
    batch: int = 64, length: int = 16_384, repeats: int = 15, device: str = "cpu"
) -> dict[str, Any]:
    """Measure all sides and print the tables.

    Args:
        batch, length: shape of the tensors. repeats: timed rounds, each running every side once.
        device: "cuda" measures there too, and says "not run" where there is none.

    Returns:
        ``time_s`` (median per side), ``time_ratio`` and ``time_to_literal`` (medians over rounds of
        side/vanilla and side/literal), ``peak_bytes`` (per side, None where /proc cannot tell),
        ``peak_ratio`` (side/vanilla), ``registry`` (``time_s`` and ``time_ratio`` of every loss), ``gpu``,
        and the settings of the measurement.
    """
    result: dict[str, Any] = {"batch": batch, "length": length, "repeats": repeats, "threads": 1}
    result |= {"dtype": "float32"} | core(batch, length, repeats)
    rounds = timed_rounds(
        ["vanilla", *loss_sides.registry_sides()], batch, length, -(-repeats // REGISTRY_SHARE)
    )
    result["registry"] = _medians(rounds)
    result["gpu"] = None if device == "cpu" else loss_gpu.measure(batch, length, repeats, device)
    _print(result)
    return result


def core(batch: int, length: int, repeats: int) -> dict[str, Any]:
    """The first table's numbers."""
    rounds = timed_rounds(SIDES, batch, length, repeats)
    peaks = {side: loss_memory.peak_bytes(side, batch, length) for side in SIDES}
    base = peaks["vanilla"]
    ratios = {side: peak / base if peak is not None and base else None for side, peak in peaks.items()}
    literal = {side: statistics.median(r[side] / r["literal"] for r in rounds) for side in SIDES}
    return _medians(rounds) | {"time_to_literal": literal, "peak_bytes": peaks, "peak_ratio": ratios}


def timed_rounds(sides: Sequence[str], batch: int, length: int, repeats: int) -> list[dict[str, float]]:
    """Seconds per side and round, on one core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tensors, runs = loss_sides.inputs(batch, length), {side: loss_sides.side(side) for side in sides}
        for run in runs.values():  # warm-up: lazy imports, allocator
            loss_sides.once(run, tensors)
        return [{side: _seconds(run, tensors) for side, run in runs.items()} for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)


def _seconds(run: loss_sides.Side, tensors: dict[str, Any]) -> float:
    start = time.perf_counter()
    loss_sides.once(run, tensors)
    return time.perf_counter() - start


def _medians(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    times = {side: statistics.median(r[side] for r in rounds) for side in rounds[0]}
    return {
        "time_s": times,
        "time_ratio": {side: statistics.median(r[side] / r["vanilla"] for r in rounds) for side in times},
    }


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_core_table(result))
    console.print(_registry_table(result))
    if result["gpu"] is None:
        console.print("GPU: not run (--device cuda)")
    elif "not_run" in result["gpu"]:
        console.print(f"GPU: not run: {result['gpu']['not_run']}")
    else:
        console.print(_gpu_table(result["gpu"]))


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _core_table(result: dict[str, Any]) -> Any:
    title = (
        f"Policy loss, forward + backward, {result['batch']} × {result['length']:,} tokens, fp32, one core"
    )
    columns = ("side", "time, ms", "× vanilla", "× literal", "peak extra memory, MiB", "× vanilla")
    table = _table(title, *columns)
    for side in SIDES:
        peak, ratio = result["peak_bytes"][side], result["peak_ratio"][side]
        memory = ("unknown", "unknown") if peak is None else (f"{peak / 2**20:.1f}", f"{ratio:.2f}")
        ratios = (f"{result[key][side]:.3f}" for key in ("time_ratio", "time_to_literal"))
        table.add_row(side, f"{result['time_s'][side] * 1e3:.1f}", *ratios, *memory)
    return table


def _registry_table(result: dict[str, Any]) -> Any:
    table = _table("Every loss, with its metrics and the whole anatomy", "loss", "time, ms", "× vanilla", "")
    times, ratios = result["registry"]["time_s"], result["registry"]["time_ratio"]
    for side, ratio in ratios.items():
        table.add_row(side, f"{times[side] * 1e3:.1f}", f"{ratio:.2f}", "> 2 ×" if ratio > SLOW else "")
    return table


def _gpu_table(gpu: dict[str, Any]) -> Any:
    title = (
        f"{gpu['device']}: the bytes need {gpu['bytes_ms']:.3f} ms at {gpu['copy_gb_per_s']:.0f} GB/s (copy)"
    )
    table = _table(title, "side", "time, ms", "× the bytes' time")
    for side, milliseconds in gpu["time_ms"].items():
        table.add_row(side, f"{milliseconds:.3f}", f"{gpu['to_bytes'][side]:.2f}")
    return table


def main() -> None:
    """Command line of the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    bench_loss(args.batch, args.length, args.repeats, args.device)


if __name__ == "__main__":
    main()
