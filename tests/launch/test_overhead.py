"""What counts as watching: runner and node side, not the run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cegppo_verl.bench import overhead

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
RUN = BURN.format(seconds=1.5) + "print('ready', flush=True); time.sleep(60)"
NODE = (
    "import subprocess, sys\n"
    + BURN.format(seconds=0.4)
    + "run = subprocess.Popen([sys.executable, '-c', sys.argv[2]]); run.wait()"
)
RUNNER = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).wait()"


def test_the_run_itself_does_not_count() -> None:
    command = [sys.executable, "-c", RUNNER, NODE, overhead.NODE_SIDE, RUN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "ready\n"
        process = psutil.Process(runner.pid)
        try:
            assert 0.4 <= overhead.processor_seconds(process) < 1.5
        finally:
            for one in [*process.children(recursive=True), process]:
                one.kill()


def test_the_share_is_between_the_first_step_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, used, now = overhead.Meter(tmp_path / "metrics.jsonl", steps=3), [7.0], [100.0]
    monkeypatch.setattr(overhead, "processor_seconds", lambda runner: used[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for step in range(4):
        if step:
            with meter.log.open("a") as log:
                log.write(json.dumps({"step": step, "data": {"training/global_step": step}}) + "\n")
        for cost in (0.1, 0.2):
            meter.look(psutil.Process())
            used[0] += cost if step in (1, 2) else 5.0
            now[0] += 10.0
    assert meter.share == pytest.approx((0.1 + 0.2 + 0.1) / 30)


def test_without_steps_there_is_no_share(tmp_path: Path) -> None:
    assert math.isnan(overhead.Meter(tmp_path / "none", steps=3).share)
