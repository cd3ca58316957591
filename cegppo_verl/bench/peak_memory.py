"""The most memory a process has held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_megabytes() -> float:
    """Of this process since its program began, in MB.

    Linux carries ``ru_maxrss`` over from the parent through fork and exec, so that a small program that a
    large one starts would seem large; VmHWM belongs to the program. Elsewhere ``ru_maxrss`` has to do.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
