"""Failures that are excused: seen, counted, and no way to switch the contract off quietly."""

from dataclasses import replace

import pytest
from contract.examples import CLIPPED, CUBED, CUBED_REASONS, LINEAR, ran, write

from cegppo_verl import cli
from cegppo_verl.contract import outcome, resolve, runner, search, table
from cegppo_verl.contract.subjects import Expected


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "EXAMPLES", 15)
    monkeypatch.setattr(cli.console, "_width", 120)
    monkeypatch.chdir(tmp_path)


def row_of(done, check):
    return next(line for line in done.output.splitlines() if line.strip().startswith(check))


def test_an_excused_failure_shows_as_one_and_exits_with_1(tmp_path):
    done = ran(write(tmp_path, CUBED + CUBED_REASONS))
    assert "EXCUSED (fails)" in row_of(done, "linear in Â")
    assert "Â³ on purpose" in done.output
    assert " 0 FAILED, 4 EXCUSED (fails), " in done.output
    assert "--allow-exceptions" in done.output
    assert done.exit_code == 1


def test_excused_failures_can_be_allowed(tmp_path):
    done = ran(write(tmp_path, CUBED + CUBED_REASONS), "--allow-exceptions")
    assert "4 EXCUSED (fails)" in done.output
    assert done.exit_code == 0


def test_allowing_exceptions_allows_nothing_else(tmp_path):
    done = ran(write(tmp_path, CUBED + LINEAR), "--allow-exceptions")
    assert "FAILED gradient as printed" in done.output
    assert done.exit_code == 1


def test_an_exception_that_is_no_longer_needed_fails(tmp_path):
    done = ran(write(tmp_path, CLIPPED + LINEAR), "--allow-exceptions")
    assert "FAILED linear in Â: passes: its exception is no longer needed (Â³ on purpose)" in done.output
    assert done.exit_code == 1


def test_an_excused_exception_that_is_raised_is_shown():
    tested = resolve.subject("cegppo", {"beta1": 0.5, "beta2": 1.0})
    broken = replace(tested, loss=None, expected=Expected(exceptions={"inputs kept": "it never works"}))
    report = runner.check(broken, ["inputs kept"])
    assert "it never works (raised AssertionError" in table.explained(report.excused[0])
    assert not report.passed
    assert report.accepted(allow_exceptions=True)


def test_excuses_are_yellow_and_carry_their_number():
    report = outcome.Report("x", "y", (outcome.Result("bf16", outcome.EXCUSED, "why", FAILING),))
    cells = [next(iter(column.cells)) for column in table.table(report).columns]
    assert cells[1].style == "yellow"
    assert (cells[2], cells[3], str(cells[4])) == ("0.5", "0.1", "error; why")


FAILING = outcome.Measured(0.5, 0.1, "error")


def test_verls_own_exceptions_show_and_exit_with_0():
    done = ran("gpg")
    assert "EXCUSED (fails)" in row_of(done, "padding of NaN and ∞")
    assert " 0 FAILED, 2 EXCUSED (fails), " in done.output
    assert done.exit_code == 0, done.output


def test_our_exceptions_are_not_failures_for_parameters_that_need_none():
    known = Expected(exceptions={"inputs kept": "for others"}, own=True)
    report = runner.check(replace(resolve.subject("dapo"), expected=known), ["inputs kept"])
    assert report.results[0].status == "passed"
