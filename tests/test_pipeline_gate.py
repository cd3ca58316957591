"""The gate that keeps CI from passing without the pipeline."""

from __future__ import annotations

from pathlib import Path

import pipeline_gate
import pytest

CONFTEST = """
import pathlib, pipeline_gate
def pytest_configure(config):
    config.addinivalue_line("markers", "pipeline: slow")
    pipeline_gate.install(config, pathlib.Path(__file__).parent)
"""
RAN = "import pytest\n@pytest.mark.pipeline\ndef test_cell(): pass\n"
SKIPPED = "import pytest\n@pytest.mark.pipeline\ndef test_cell(): pytest.skip('slow')\n"
SKIPPED_BY_MARK = (
    "import pytest\n@pytest.mark.pipeline\n@pytest.mark.skipif(True, reason='x')\ndef test_cell(): pass\n"
)
XFAIL = "import pytest\n@pytest.mark.pipeline\n@pytest.mark.xfail\ndef test_cell(): assert 0\n"
XPASS = "import pytest\n@pytest.mark.pipeline\n@pytest.mark.xfail\ndef test_cell(): pass\n"
MODULE_SKIPPED = "import pytest\npytest.importorskip('no_such_module')\n" + RAN
OTHER = "def test_other(): pass\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv(pipeline_gate.VARIABLE, "1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # importing them again takes a second each time
    pytester.syspathinsert(Path(__file__).parent)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(test_pipeline=source, test_other=OTHER)
    return project.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_passes_when_the_pipeline_ran(project: pytest.Pytester) -> None:
    assert run(project, RAN).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("source", [SKIPPED, SKIPPED_BY_MARK, XFAIL, XPASS, MODULE_SKIPPED, OTHER])
def test_fails_when_it_did_not(project: pytest.Pytester, source: str) -> None:
    assert run(project, source).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    "arguments", [("-m", "not pipeline"), ("-k", "other"), ("--ignore=test_pipeline.py",)]
)
def test_fails_when_it_was_left_out(project: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    result = run(project, RAN, *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*{pipeline_gate.VARIABLE}=1: *test_pipeline*"])


def test_a_marked_file_cannot_hide_behind_another(project: pytest.Pytester) -> None:
    project.makepyfile(test_second=MODULE_SKIPPED)
    assert run(project, RAN).ret == pytest.ExitCode.TESTS_FAILED


def test_without_the_variable_a_skip_stays_a_skip(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(pipeline_gate.VARIABLE)
    assert run(project, SKIPPED).ret == pytest.ExitCode.OK
