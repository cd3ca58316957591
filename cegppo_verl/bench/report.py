"""``cegppo bench report``: a whole report of 1,000 runs, and the bootstrap behind its tables against arch's.

Each size is reported by an interpreter of its own; its memory is that of it and its children together,
shared pages counted once (PSS), looked at twice a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from cegppo_verl.bench import report_records
from cegppo_verl.errors import UserError

REPLICATES, PEER_REPLICATES = 10_000, 300
TABLES = ((30, 32), (30, 32), (30, 32), (40, 32), (500, 32))  # problems × samples; 5 seeds
PEER = Path(__file__).with_name("report_peer.py")
LIMITS = {"seconds": 60.0, "megabytes": 3000.0, "growth": 2.2, "times faster": 50.0}


def reported(folder: str, out: str) -> dict[str, Any]:
    """Read every run below ``folder`` and write the report; in the interpreter that is measured."""
    from cegppo_verl.records.status import DONE, Status
    from cegppo_verl.reporting.page import Aims
    from cegppo_verl.reporting.report import write_report
    from cegppo_verl.reporting.runs import RunView, load_runs

    start = time.perf_counter()
    total = report_records.STEPS
    places = sorted(Path(folder).iterdir(), key=lambda place: place.name[-12:])
    runs = load_runs([partial(RunView.load, place, Status(DONE, total, total)) for place in places])
    loaded = time.perf_counter()
    written = write_report(Aims("large", "Fast?", "Yes.", "No."), runs, Path(out), "cegppo report large.yaml")
    return {
        "load": loaded - start,
        "report": time.perf_counter() - loaded,
        "seconds": time.perf_counter() - start,
        "files": len(written.files),
        "page, MB": written.html.stat().st_size / 1e6,
    }


def measure(runs: int) -> dict[str, Any]:
    """Make up the records, not counted, and report them."""
    program = "import json, sys; from cegppo_verl.bench.report import reported; " \
        "print(json.dumps(reported(*sys.argv[1:])))"  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rows = report_records.ROWS * len(list(report_records.write(Path(folder) / "runs", runs)))
        command = [sys.executable, "-c", program, f"{folder}/runs", f"{folder}/reports"]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the command sets it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        most = 0.0
        while process.poll() is None:
            most = max(most, _megabytes(process.pid))
            time.sleep(0.5)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise UserError("the report of the made-up records failed; its traceback is above")
    return {**json.loads(output), "megabytes": most, "runs": runs, "rows": rows}


def _megabytes(pid: int) -> float:
    total = 0.0
    try:
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            total += process.memory_full_info().pss / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass  # ended while it was looked at
    return total


def verdicts(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two arms' verdicts (5, P, K) per benchmark."""
    rng = np.random.default_rng(seed)
    arms = []
    for shift in (0.0, 0.03):
        levels = [rng.uniform(0.1, 0.9, problems) + shift for problems, _ in TABLES]
        sizes = [(5, problems, samples) for problems, samples in TABLES]
        pairs = zip(sizes, levels, strict=True)
        arms.append([(rng.random(size) < level[:, None]).astype(np.float64) for size, level in pairs])
    return arms[0], arms[1]


def bootstrap(peers: Path | None) -> dict[str, Any]:
    """Seconds of a comparison's interval, and how many times as long arch takes per replicate.

    Args:
        peers: interpreter of an environment that has arch; None: our side only.

    Raises:
        UserError: arch does not work there.
    """
    from cegppo_verl.stats import bootstrap_macro_difference

    a, b = verdicts()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        ours = bootstrap_macro_difference(a, b, np.random.default_rng(1), n_resamples=REPLICATES)
        times.append(time.perf_counter() - start)
    found: dict[str, Any] = {"ours, s": min(times), "ours": [ours.point, ours.low, ours.high]}
    return found if peers is None else found | _peer(peers, a, b, min(times) / REPLICATES)


def _peer(python: Path, a: list[np.ndarray], b: list[np.ndarray], own: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/verdicts.npz"
        named = {f"{arm}{i}": t for arm, tables in (("a", a), ("b", b)) for i, t in enumerate(tables)}
        np.savez(data, **named)  # type: ignore[arg-type]
        command = [str(python), str(PEER), data, str(PEER_REPLICATES)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        hint = "make one: python -m venv peers && peers/bin/pip install arch 'pandas<3'"
        raise UserError(f"arch does not work there: {done.stderr.strip()[-300:]}", file=python, hint=hint)
    peer = json.loads(done.stdout.splitlines()[-1])
    return {**peer, "times faster": peer["seconds per replicate"] / own}


def main(console: Console, runs: int, peers: Path | None) -> dict[str, Any]:
    """Measure and print; returns the numbers."""
    half, whole = measure(runs // 2), measure(runs)
    shown = Table(
        "runs", "sample rows", "load, s", "report, s", "all, s", "most memory, MB", "files", "page, MB"
    )
    shown.title = "Report from compact records; asked of 1,000 runs: 60 s, 3000 MB"
    for row in (half, whole):
        clocks = [f"{row[name]:.1f}" for name in ("load", "report", "seconds")]
        sizes = (f"{row['megabytes']:.0f}", str(row["files"]), f"{row['page, MB']:.1f}")
        shown.add_row(f"{row['runs']:,}", f"{row['rows']:,}", *clocks, *sizes)
    console.print(shown)
    growth = whole["seconds"] / half["seconds"]
    console.print(f"twice as many runs: {growth:.2f} times the time (asked: at most {LIMITS['growth']})")
    found = bootstrap(peers)
    console.print(f"bootstrap of a comparison, {REPLICATES:,} replicates: {found['ours, s']:.2f} s")
    if peers is None:
        console.print("arch: not run, no --peers given")
    else:
        said = f"{found['times faster']:.0f} times as long per replicate (asked: at least 50)"
        console.print(f"arch {found['arch']}: {said}; {PEER_REPLICATES} replicates")
        console.print(f"intervals: ours {found['ours']}, arch {found['interval']}", highlight=False)
    return {"half": half, "whole": whole, "growth": growth, "bootstrap": found}
