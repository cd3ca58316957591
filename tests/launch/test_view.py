"""What a person sees: numbers, time left, and a terminal that is given back."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from launch.fake_trainer import make_cells
from rich.console import Console

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import view
from cegppo_verl.launch.view import Board, LiveView, PlainView, Row, choose_view, duration, number
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.status import DONE, FAILED, PLANNED, RUNNING, Status


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return make_cells(tmp_path, arms=("grpo", "dapo"))


def trained(step: int, seconds: float = 2.0, **data: float) -> LoggedStep:
    return LoggedStep(step, {"training/global_step": float(step), "timing_s/step": seconds, **data})


def planned(cells: list[Cell]) -> dict[str, Status]:
    return {c.id: Status(PLANNED, 0, 4) for c in cells}


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=160, height=40, color_system=None), file


def plain() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=160), file


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_number_that_is_not_known_is_a_dash() -> None:
    assert (number(None), number(0.0), number(0.12349)) == ("–", "0.000", "0.123")


def test_a_row_takes_over_what_a_line_says(cells: list[Cell]) -> None:
    row = Row(cells[0], RUNNING, 0)
    row.update(trained(1, 2.0, **{"actor/entropy": 1.5, "critic/score/mean": 0.25}))
    row.update(trained(2, 4.0, **{"timing_s/testing": 1.0, "val-core/a/acc/mean@1": 0.4}))
    assert (row.step, row.entropy, row.train_score, row.accuracy) == (2, 1.5, 0.25, 0.4)
    assert row.per_step() == pytest.approx(3.5)


def test_a_validation_is_no_step(cells: list[Cell]) -> None:
    row = Row(cells[0], RUNNING, 3)
    row.update(LoggedStep(2, {"val-core/a/acc/mean@8": 0.0}))
    assert (row.step, row.accuracy, row.per_step()) == (3, 0.0, None)


def test_accuracy_is_the_mean_over_benchmarks() -> None:
    data = {
        "val-core/a/acc/mean@4": 0.2,
        "val-core/b/acc/mean@32": 0.6,
        "val-core/b/acc/best@32/mean": 0.9,
        "val-aux/a/acc/mean@4": 0.9,
        "val-core/a/reward/mean@4": 0.9,
    }
    assert view.validation_accuracy(data) == pytest.approx(0.4)
    assert view.validation_accuracy({"actor/entropy": 1.0}) is None


def test_time_left(cells: list[Cell]) -> None:
    board = Board(startup=40.0)
    board.begin(cells, planned(cells))
    assert board.total_left() is None  # no pace is known, and none is invented
    first, second = board.rows.values()
    first.state = RUNNING
    first.update(trained(1, 5.0))
    assert board.left(first) == 15.0
    assert board.left(second) == 4 * 5.0 + 40.0  # by the pace of the cell before it, and its own start-up
    assert board.total_left() == 75.0
    first.state, second.state = DONE, FAILED
    assert board.left(first) == 0.0
    assert board.total_left() is None


def test_another_scales_pace_says_nothing(cells: list[Cell]) -> None:
    other = cells[1].model_copy(update={"scale": "toy-m"})
    board = Board()
    board.begin([cells[0], other], planned(cells))
    first, second = board.rows.values()
    first.update(trained(1))
    assert board.left(second) is None


def test_plain_lines(cells: list[Cell]) -> None:
    console, file = plain()
    shown, cell = PlainView(console), cells[0]
    shown.begin(cells, planned(cells))
    shown.cell_started(cell, 2, 2)
    shown.step(cell, trained(3, 1.0, **{"actor/entropy": 1.234}))
    shown.cell_ended(cell, Status(FAILED, 3, 4, "KeyError: [bold]x[/]"), "KeyError")
    shown.note("trying [again]")
    shown.end({c.id: Status(DONE, 4, 4) for c in cells})
    lines = file.getvalue().splitlines()
    assert lines[0] == "2 cells, 0 done"
    assert lines[1] == f"{cell.slug}: attempt 2, resuming from step 2"
    assert lines[2].startswith(f"{cell.slug}: step 3 of 4  accuracy –  entropy 1.234  left 1 s (grid ")
    assert lines[3].startswith(f"{cell.slug}: failed, step 3 of 4: KeyError: [bold]x[/] after ")
    assert lines[4:] == ["trying [again]", "2 of 2 cells done"]


def test_the_live_table(cells: list[Cell]) -> None:
    console, file = terminal()
    shown, cell = LiveView(console), cells[0]
    shown.begin(cells, planned(cells))
    shown.cell_started(cell, 1, 0)
    shown._draw()
    shown.step(cell, trained(1, 5.0, **{"actor/entropy": 1.234}))
    shown.note("a [note]")
    shown._draw()
    shown.cell_ended(cell, Status(FAILED, 1, 4, "KeyError: '[/red]'"), "KeyError: '[/red]'")
    shown.end({cells[0].id: Status(FAILED, 1, 4, "x"), cells[1].id: Status(PLANNED, 0, 4)})
    text = file.getvalue()
    assert "starting up" in text
    assert "1.234" in text
    assert "a [note]" in text
    assert f"{cell.slug}: failed, step 1 of 4: KeyError: '[/red]'" in text
    assert "0 of 2 cells done" in text
    assert text.rstrip().count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is given back"
    assert not shown.live.is_started


def test_a_finished_grid_is_shown_in_a_terminal(cells: list[Cell]) -> None:
    console, file = terminal()
    shown = LiveView(console)
    states = {c.id: Status(DONE, 4, 4) for c in cells}
    shown.begin(cells, states)
    shown.end(states)
    assert "4/4" in file.getvalue()
    assert "2 of 2 cells done" in file.getvalue()


def test_the_table_is_redrawn_once_a_second(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = LiveView(terminal()[0])
    shown.begin(cells, planned(cells))
    drawn: list[int] = []
    monkeypatch.setattr(shown.live, "update", lambda table, refresh: drawn.append(1))
    for _ in range(20):
        shown.tick()
    assert drawn == []
    shown._last -= view.REFRESH_SECONDS
    shown.tick()
    assert drawn == [1]
    shown.live.stop()


def test_the_view_fits_the_output() -> None:
    assert isinstance(choose_view(terminal()[0]), LiveView)
    assert isinstance(choose_view(plain()[0]), PlainView)
