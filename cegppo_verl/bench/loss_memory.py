"""Peak memory of one side of ``cegppo bench loss``, measured in a fresh process.

Growth of the process's resident set (Linux' VmHWM, reset just before) over what it held with the inputs in
place, during one forward and backward pass; the gradient of log_prob is part of it on every side.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cegppo_verl.bench import loss_sides


def peak_bytes(side: str, batch: int, length: int) -> int | None:
    """Peak extra bytes of a side; None where the system does not tell.

    Raises:
        RuntimeError: the measuring process failed.
    """
    command = [sys.executable, "-m", "cegppo_verl.bench.loss_memory", side, str(batch), str(length)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"measuring the memory of '{side}' failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak_bytes"]


def _peak_here(side: str, batch: int, length: int) -> int | None:
    import torch

    torch.set_num_threads(1)
    run, tensors = loss_sides.side(side), loss_sides.inputs(batch, length)
    loss_sides.once(run, loss_sides.inputs(2, 8))  # lazy imports and first-use buffers do not count
    before = _status_bytes("VmRSS")
    if before is None or not _reset_high_water_mark():
        return None
    loss_sides.once(run, tensors)
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


if __name__ == "__main__":
    print(json.dumps({"peak_bytes": _peak_here(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))}))
