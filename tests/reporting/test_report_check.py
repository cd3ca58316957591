"""``cegppo report --check``: quiet about what follows from the records, words about what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic import FakeRun

from cegppo_verl.errors import UserError
from cegppo_verl.launch.reports import _of_command
from cegppo_verl.reporting import comparable
from cegppo_verl.reporting.check import differences
from cegppo_verl.reporting.page import Aims
from cegppo_verl.reporting.report import build_report, write_report
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.reporting.scores.sweeps import NOT_IN_GRID, sweep_tables

VERDICTS = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
AIMS = Aims("demo", "why", "because", "else")


def runs(root: Path, **changes) -> list[RunView]:  # type: ignore[no-untyped-def]
    arms = [FakeRun(arm=name, verdicts={0: VERDICTS, 8: VERDICTS}) for name in ("grpo", "dapo")]
    return [FakeRun(**{**vars(arm), **changes}).view(root) for arm in arms]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    write_report(AIMS, runs(root / "runs"), root, "cegppo report demo.yaml")
    return root


@pytest.fixture
def report(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept / "demo", tmp_path / "demo"))


@pytest.fixture(scope="module")
def expected(kept: Path) -> dict[str, bytes]:
    return build_report(AIMS, runs(kept / "runs"), "cegppo report demo.yaml")


def test_a_report_follows_from_its_records(report: Path, expected: dict[str, bytes]) -> None:
    assert differences(report, expected) == []


def test_the_last_digits_may_differ_and_the_drawing_too(report: Path, expected: dict[str, bytes]) -> None:
    """Another processor, another matplotlib: the sidecar's hash is then that of the other file."""
    rows = (report / "tables/entropy.csv").read_text()
    (report / "tables/entropy.csv").write_text(rows.replace("1.02", "1.0200000001"))
    other = {**expected, "figures/clip-anatomy.svg": b"<svg/>"}
    assert differences(report, other) == []


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: edit(f / "report.md", "| 50.0 ", "| 51.0 "), "report.md: line"),
        (lambda f: edit(f / "tables/arms.csv", "grpo", "dapo"), "tables/arms.csv: line 2 reads"),
        (lambda f: (f / "report.md").write_text(""), "report.md"),
        (lambda f: (f / "tables/entropy.csv").unlink(), "tables/entropy.csv: missing"),
        (
            lambda f: (f / "figures/clip-anatomy.png").write_bytes(b"x"),
            "not the file that its sidecar is about",
        ),
        (lambda f: (f / "tables/old.csv").write_text("a"), "tables/old.csv: no part of the report"),
        (lambda f: (f / "report.md.json").write_text("{"), "report.md.json: is not JSON"),
        (lambda f: (f / "report.html").write_text((f / "report.html").read_text() + "x"), "report.html"),
    ],
    ids=["number", "word", "empty", "missing", "picture", "stray", "sidecar", "html"],
)
def test_what_was_changed_by_hand_is_named(
    report: Path, expected: dict[str, bytes], damage, said: str
) -> None:
    damage(report)
    found = differences(report, expected)
    assert any(said in line for line in found), found


def test_another_curve_is_another_figure(kept: Path, report: Path, tmp_path: Path) -> None:
    moved = runs(tmp_path / "moved", entropy=lambda step: 1.3 - 0.03 * step)
    found = differences(report, build_report(AIMS, moved, "cegppo report demo.yaml"))
    assert any(line.startswith("figures/accuracy-entropy.svg.json: drawn differs") for line in found)
    assert not any(line.startswith("figures/clip-anatomy.svg.json: drawn") for line in found)
    assert any("records changed" in line and "attempts/001/metrics.jsonl" in line for line in found)
    assert any(line.startswith("tables/entropy.csv: line 2 reads") for line in found)


def test_the_command_of_a_report_is_taken_apart(tmp_path: Path) -> None:
    beside = tmp_path / "report.md.json"
    beside.write_text(
        json.dumps({"command": "cegppo report ablations/a.yaml --scale toy-xs --seed 1 --seed 2"})
    )
    found = _of_command(beside)
    assert (found.grid, found.scale, found.seeds) == (Path("ablations/a.yaml"), "toy-xs", (1, 2))
    beside.write_text(json.dumps({"command": "cegppo study ablations/studies/s.yaml"}))
    assert _of_command(beside).is_study
    beside.write_text("{}")
    with pytest.raises(UserError, match="names no command"):
        _of_command(beside)


def test_the_guard_refuses_two_definitions(tmp_path: Path) -> None:
    views = [FakeRun(verdicts={8: VERDICTS}).view(tmp_path)]
    assert (
        comparable.require_one(views, comparable.entropy_definition, "entropy") == "token-mean, temperature 1"
    )
    views.append(FakeRun(arm="gspo", algorithm="gspo", verdicts={8: VERDICTS}).view(tmp_path))
    with pytest.raises(UserError, match="entropy means different things"):
        comparable.require_one(views, comparable.entropy_definition, "entropy")


def test_a_sweep_is_a_table_of_two_knobs(tmp_path: Path) -> None:
    from cegppo_verl.reporting.arms import studies

    right = {(0.0, 1.0): 0, (0.5, 1.0): 2, (1.0, 1.0): 4, (1.0, 0.5): 3}
    views = []
    for (beta1, beta2), count in right.items():
        table = np.array([[1, 1]] * count + [[0, 0]] * (4 - count))
        params = {"beta1": beta1, "beta2": beta2, "epsilon_low": 0.2}
        arm = FakeRun(arm=f"b-{beta1}-{beta2}", algorithm="cegppo", params=params, verdicts={8: table})
        views.append(arm.view(tmp_path))
    accuracy, entropy = sweep_tables(studies(views)[0])
    shown = {
        (line.head, column): score
        for line in accuracy.lines
        for column, score in zip(accuracy.columns, line.scores, strict=True)
    }
    for (beta1, beta2), count in right.items():
        assert shown[f"beta1 = {beta1:g}", f"beta2 = {beta2:g}"].value == pytest.approx(25 * count)
    assert shown["beta1 = 0", "beta2 = 0.5"].missing == NOT_IN_GRID
    assert not any(score.bold for score in shown.values())  # one seed
    assert entropy.lines[0].scores[1].value == pytest.approx(1.02)
