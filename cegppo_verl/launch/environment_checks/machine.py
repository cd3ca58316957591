"""CPU, memory, disk and shared memory, as a container sees them."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from cegppo_verl.launch.environment_checks.finding import Context, Finding

GIB = 1024**3
SHARED_MEMORY = Path("/dev/shm")
CGROUP = Path("/sys/fs/cgroup")
# One toy cell on CPU peaks below 12 GB for the whole process tree; smaller machines swap or are killed.
MEMORY_NEEDED, MEMORY_LEAST = 12.0, 6.0
DISK_NEEDED, DISK_LEAST = 10.0, 2.0
# Ray's object store and verl's weight transfer live there. A container's default is 0.0625 GiB.
SHM_NEEDED, SHM_LEAST = 2.0, 0.5


def cpus(_: Context) -> list[Finding]:
    """Cores that this process may use."""
    count = usable_cpus()
    if count >= 2:
        return [Finding("ok", "CPU", f"{count:g} cores")]
    fix = "give the container or job two cores"
    return [Finding("warn", "CPU", f"{count:g} core; start-up alone takes minutes", fix)]


def memory(_: Context) -> list[Finding]:
    """Memory that this process may use."""
    amount = memory_limit() / GIB
    fix = "use a machine with more memory, or raise the container's limit"
    return [_amount("memory", amount, MEMORY_NEEDED, MEMORY_LEAST, "GiB", fix)]


def disk(context: Context) -> list[Finding]:
    """Room for checkpoints and Ray's session files."""
    places = {str(context.folder): context.folder, "temporary files": Path(tempfile.gettempdir())}
    fix = "free some, or write elsewhere (TMPDIR for temporary files)"
    return [
        _amount(f"disk, {label}", free_bytes(path) / GIB, DISK_NEEDED, DISK_LEAST, "GiB free", fix)
        for label, path in places.items()
    ]


def shared_memory(_: Context) -> list[Finding]:
    """Room in /dev/shm, proven by writing to it."""
    if not SHARED_MEMORY.is_dir():
        fix = "run on Linux with /dev/shm mounted"
        return [Finding("fail", "shared memory", f"{SHARED_MEMORY} is missing", fix)]
    problem = write_problem(SHARED_MEMORY)
    if problem:
        fix = f"make {SHARED_MEMORY} writable (docker: --shm-size=4g)"
        return [Finding("fail", "shared memory", f"{SHARED_MEMORY} is not writable: {problem}", fix)]
    fix = f"free some of {SHARED_MEMORY} or enlarge it (docker: --shm-size=4g)"
    free = free_bytes(SHARED_MEMORY) / GIB
    return [_amount("shared memory", free, SHM_NEEDED, SHM_LEAST, "GiB free", fix)]


def _amount(name: str, amount: float, needed: float, least: float, unit: str, fix: str) -> Finding:
    if amount >= needed:
        return Finding("ok", name, f"{amount:.1f} {unit}")
    message = f"{amount:.1f} {unit}; {needed:g} are wanted, {least:g} at the least"
    return Finding("fail" if amount < least else "warn", name, message, fix)


def usable_cpus() -> float:
    """Cores of the affinity mask, cut by the cgroup's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(affinity, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else affinity


def memory_limit() -> int:
    """Bytes: physical memory, cut by the cgroup's limit."""
    limit = _cgroup("memory.max")
    total: int = psutil.virtual_memory().total
    return min(total, int(limit)) if limit.isdigit() else total


def _cgroup(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""


def free_bytes(path: Path) -> float:
    """Bytes free for this user where ``path`` is or will be; infinite when that cannot be told."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    try:
        return shutil.disk_usage(existing).free if existing else math.inf
    except OSError:
        return math.inf


def write_problem(folder: Path) -> str | None:
    """Why a small file cannot be written to ``folder``; None when it can. Leaves nothing behind."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="cegppo-doctor-") as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None
