"""For all tests: no hub, no display, no usage reports; cheap tests first; CI cannot skip the pipeline."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pipeline_gate
import pytest

pytest_plugins = ["pytester"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A background job starts with SIGINT ignored, one under nohup with SIGHUP, and so would every process that
# a test starts. A signal that is handled here is back at its default in them.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_configure(config: pytest.Config) -> None:
    """Install the gate that .ci/run switches on."""
    pipeline_gate.install(config, Path(__file__).parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes minutes last, so that a cheap failure shows at once."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is not None)
