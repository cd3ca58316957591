"""With CEGPPO_REQUIRE_PIPELINE=1 (what .ci/run sets) the pipeline tests must have run, or the session fails.

A test run that skips the real verl + vLLM pipeline looks as green as one that ran it. So every test marked
``pipeline`` that is skipped, deselected or expected to fail becomes a failure, and every file under tests/
that holds the mark must have contributed at least one test that passed.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

VARIABLE = "CEGPPO_REQUIRE_PIPELINE"


def uses_mark(path: Path) -> bool:
    """Whether the file's code (not its strings or comments) says ``mark.pipeline``."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    return any(
        node.attr == "pipeline" and isinstance(node.value, ast.Attribute) and node.value.attr == "mark"
        for node in nodes
    )


class PipelineGate:
    """The pytest plugin; ``root`` is the folder whose files are searched for the mark."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.passed: set[Path] = set()
        self.deselected: list[str] = []

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember the pipeline tests that a -m or -k left out."""
        self.deselected += [item.nodeid for item in items if item.get_closest_marker("pipeline")]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Turn a skipped or expected-to-fail pipeline test into a failure."""
        report = yield
        if item.get_closest_marker("pipeline"):
            if report.skipped or hasattr(report, "wasxfail"):
                report.outcome, report.longrepr = "failed", f"{VARIABLE}=1: did not run: {report.longrepr}"
                vars(report).pop("wasxfail", None)
            elif report.when == "call" and report.passed:
                self.passed.add(item.path)
        return report

    def complaints(self) -> list[str]:
        """What is missing, one line each; empty when the pipeline really ran."""
        marked = sorted(path for path in self.root.rglob("test_*.py") if uses_mark(path))
        lines = [f"deselected: {name}" for name in self.deselected]
        lines += [f"no pipeline test passed in {path}" for path in marked if path not in self.passed]
        return lines if marked else [*lines, f"no test under {self.root} is marked pipeline"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session when anything is missing."""
        if self.complaints() and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        for line in self.complaints():
            terminalreporter.write_line(f"{VARIABLE}=1: {line}", red=True)


def install(config: pytest.Config, root: Path) -> None:
    """Add the gate when the environment asks for it."""
    if os.environ.get(VARIABLE) == "1":
        config.pluginmanager.register(PipelineGate(root), "cegppo-pipeline-gate")
