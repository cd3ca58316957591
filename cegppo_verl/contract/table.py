"""The table that ``cegppo check-loss`` prints; the words carry it, colours only help."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cegppo_verl.contract.outcome import EXCUSED, Measured, Report, Result
from cegppo_verl.contract.subjects import Subject

STYLES = {"passed": "green", "FAILED": "bold red", EXCUSED: "yellow", "not applicable": "dim"}


def show(report: Report, subject: Subject, console: Console) -> None:
    """Print the form, the parameters, one row per check, and an input for every failure."""
    console.print(Text(f"{report.loss}: {report.form}"), soft_wrap=True)
    shown = "; ".join(_values(setting) for setting in subject.settings)
    console.print(Text(f"parameters: {shown}"), soft_wrap=True)
    if subject.expected.literal is not None:
        console.print(Text(f"printed surrogate: {subject.expected.source}"), soft_wrap=True)
    console.print(table(report))
    for result in report.failures:
        console.print(Text(explained(result)), soft_wrap=True)
    console.print(Text(summary(report)), soft_wrap=True)


def table(report: Report) -> Table:
    """One row per check: name, result, the number measured, its bound, what it is or why there is none."""
    found = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("check", "result", "measured", "bound"):
        found.add_column(column, no_wrap=True)
    found.add_column("what, or why not")
    for result in report.results:
        numbers = _numbers(result.measured)
        found.add_row(
            Text(result.name),
            Text(result.status, style=STYLES[result.status]),
            *numbers,
            Text(_remark(result)),
        )
    return found


def explained(result: Result) -> str:
    """A failed check, excused or not, with its smallest input."""
    lines = [f"{result.status} {result.name}: {_remark(result)}"]
    if result.measured is not None:
        lines[0] += f" {result.measured.value:.3g}, at most {result.measured.bound:.3g} allowed"
        lines += [f"    {line}" for line in result.measured.example.splitlines()]
    return "\n".join(lines)


def summary(report: Report) -> str:
    """How many checks ended how."""
    counts = {status: sum(r.status == status for r in report.results) for status in STYLES}
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def _numbers(measured: Measured | None) -> tuple[str, str]:
    return ("–", "–") if measured is None else (f"{measured.value:.2g}", f"{measured.bound:.2g}")


def _remark(result: Result) -> str:
    what = result.measured.what if result.measured is not None else ""
    if result.status == EXCUSED and what:
        return f"{what}; {result.note}"
    return result.note or what


def _values(setting: dict[str, object]) -> str:
    return (
        ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in setting.items()
        )
        or "none"
    )
