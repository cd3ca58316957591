"""What a person sees: numbers, time left, and a terminal that is given back."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from launch.fake_trainer import make_cells
from rich.console import Console

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import board, view
from cegppo_verl.launch.board_table import bar, table
from cegppo_verl.launch.view import Board, LiveView, PlainView, Row, choose_view, duration, number
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.status import DONE, FAILED, PLANNED, QUEUED, RUNNING, STOPPED, Status


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


@pytest.mark.parametrize(
    ("running", "waiting", "slots", "seconds"),
    [
        ([], [], 4, 0.0),
        ([(10.0, 1)], [(5.0, 1), (5.0, 1)], 1, 20.0),
        ([(10.0, 1), (4.0, 1)], [(5.0, 1), (8.0, 1)], 2, 15.0),  # 8 starts at 4, 5 at 10
        ([(10.0, 2)], [(5.0, 4)], 2, 15.0),  # needs more than ever was in use: alone, then
        ([], [(5.0, 1)] * 8, 4, 10.0),
    ],
)
def test_makespan(running: Any, waiting: Any, slots: int, seconds: float) -> None:
    assert board.makespan(running, waiting, slots) == seconds


def test_cells_that_run_side_by_side_share_the_time(tmp_path: Path) -> None:
    cells = [c.model_copy(update={"id": f"{i:012x}"}) for i, c in enumerate(make_cells(tmp_path) * 6)]
    shown = PlainView(plain()[0])
    shown.begin(cells, planned(cells))
    for cell in cells[:2]:
        shown.cell_started(cell, 1, 0)
    for cell in cells[:2]:
        shown.step(cell, trained(1, 5.0))
    shown.board.startup = 40.0
    # two at a time: 15 s left of the first pair, then twice 40 s of start-up and 4 steps of 5 s
    assert shown.board.total_left() == 15.0 + 2 * 60.0
    shown.cell_ended(cells[0], Status(DONE, 4, 4), None)
    assert shown.board.total_left() == 15.0 + 2 * 60.0, "between two cells there are not fewer places"
    assert shown.board.counts() == {DONE: 1, RUNNING: 1, PLANNED: 4}


def test_a_cell_found_running_has_the_pace_of_its_files(cells: list[Cell]) -> None:
    board = Board()
    found = Status(RUNNING, 1, 4, pace=5.0, last={"accuracy": 0.5, "entropy": 0.25}, seconds=36.0)
    board.begin(cells, planned(cells) | {cells[0].id: found})
    row = board.rows[cells[0].id]
    assert (row.accuracy, row.entropy, board.left(row)) == (0.5, 0.25, 15.0)
    row.begin(0)
    assert board.left(row) == 4 * 5.0 + 40.0, "it begins anew"
    row.update(trained(1, 2.0))
    assert board.left(row) == 3 * 2.0
    assert "run time on CPUs 36 s" in board.summary()


def test_time_of_attempts_is_counted_once(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: clock[0])
    row = Row(cells[0], PLANNED, 0, spent=30.0)
    row.begin(0)
    clock[0] += 12.0
    assert row.used() == 42.0
    row.finish(Status(FAILED, 1, 4, seconds=41.5), "x")
    assert row.used() == 42.0, "the files may lag behind"
    row.take(Status(FAILED, 1, 4, seconds=41.5))
    assert row.used() == 41.5


def many(cell: Cell, count: int) -> list[Cell]:
    return [cell.model_copy(update={"id": f"{i:012x}", "slug": f"cell-{i}"}) for i in range(count)]


def test_of_a_thousand_cells_those_that_matter_are_listed(cells: list[Cell]) -> None:
    crowd = many(cells[0], 1000)
    states = planned(crowd) | {
        crowd[1].id: Status(DONE, 4, 4, since="2026-01-01T00:00:00+00:00"),
        crowd[2].id: Status(DONE, 4, 4, since="2026-01-02T00:00:00+00:00"),
        crowd[700].id: Status(FAILED, 1, 4, "x"),
        crowd[800].id: Status(STOPPED, 1, 4, "x"),
        crowd[900].id: Status(RUNNING, 1, 4),
        crowd[950].id: Status(QUEUED, 0, 4),
    }
    board = Board()
    board.begin(crowd, states)
    for most, numbers in (
        (1, [900]),
        (3, [700, 800, 900]),
        (4, [2, 700, 800, 900]),
        (6, [1, 2, 700, 800, 900, 950]),
    ):
        assert [r.cell.slug for r in board.worth_showing(most)] == [f"cell-{n}" for n in numbers]
    console, file = terminal()
    console.print(table(board, 6))
    text = file.getvalue()
    assert "… and 994 others" in text
    assert "2 done, 1 running, 1 queued, 994 planned, 1 stopped, 1 failed" in text


def test_a_board_of_thousands_is_cheap(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = PlainView(plain()[0])
    crowd = many(cells[0], 2000)
    shown.begin(crowd, planned(crowd))
    worked: list[int] = []
    monkeypatch.setattr(shown.board, "_work_out_left", lambda: worked.append(1))
    for _ in range(50):
        shown.board.total_left()
    assert worked == [1]


@pytest.mark.parametrize(
    ("step", "total", "text"),
    [(0, 4, "·" * 6), (1, 4, "█▌····"), (4, 4, "█" * 6), (9, 4, "█" * 6), (1, 0, "·" * 6)],
)
def test_the_bar(step: int, total: int, text: str) -> None:
    assert bar(step, total) == text


def test_memory_and_mfu_are_shown_where_there_are_any(cells: list[Cell]) -> None:
    board = Board()
    board.begin(cells, planned(cells))
    assert [str(c.header) for c in table(board, 9).columns][-1] == "left"
    board.rows[cells[0].id].update(
        trained(1, **{"actor/perf/max_memory_allocated_gb": 61.25, "perf/mfu/actor": 0.4})
    )
    console, file = terminal()
    console.print(table(board, 9))
    assert "61.2" in file.getvalue()
    assert "40.0%" in file.getvalue()


def test_a_value_that_is_not_finite_stops_no_view(cells: list[Cell]) -> None:
    shown = PlainView(plain()[0])
    shown.begin(cells, planned(cells))
    odd: Any = {
        "actor/entropy": None,
        "val-core/a/acc/mean@1": None,
        "timing_s/step": None,
        "critic/score/mean": "x",
    }
    shown.step(cells[0], LoggedStep(1, {"training/global_step": 1.0, **odd}))
    row = shown.board.rows[cells[0].id]
    assert math.isnan(row.entropy or 0.0)
    assert (row.train_score, row.per_step()) == (None, 0.0)


def test_text_of_unknown_origin_commands_no_terminal(cells: list[Cell]) -> None:
    console, file = plain()
    shown = PlainView(console)
    shown.begin(cells, planned(cells))
    shown.note("\x1b[2J\x1b]0;owned\x07 [bold]x[/] :smile:\nsecond")
    assert file.getvalue().splitlines()[-1] == "\\x1b[2J\\x1b]0;owned\\x07 [bold]x[/] :smile: second"


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
