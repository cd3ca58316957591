"""What a person does beside run, on files that somebody else's runner wrote."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from launch.fake_trainer import grid_text, make_cells
from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.verbs import logs, retry, status, stop, watch, why
from cegppo_verl.launch.verbs.targets import Finder
from cegppo_verl.records import marks
from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.records.status import status_of

HOSTILE = "KeyError: '[/red]' [bold]x[/] :smile: \x1b[2J\x1b]0;owned\x07 \u202eevil\nsecond line"
SPELLED = "KeyError: '[/red]' [bold]x[/] :smile: \\x1b[2J\\x1b]0;owned\\x07 \\u202eevil second line"


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return make_cells(tmp_path, arms=("grpo", "dapo"))


@pytest.fixture
def grid(tmp_path: Path, cells: list[Cell]) -> Path:
    return tmp_path / "fake.yaml"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def run_of(cell: Cell, results: Path) -> RunDir:
    run = RunDir(results / cell.grid / cell.run_name)
    run.create(cell_json(cell))
    return run


def attempt(run: RunDir, steps: Iterable[int], log: bytes | None = None, **record: Any) -> Attempt:
    new = run.new_attempt()
    lines = [
        {"step": s, "data": {"training/global_step": s, "timing_s/step": 2.0, "actor/entropy": 0.5}}
        for s in steps
    ]
    new.metrics_file.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    new.update(number=new.number, **record)
    if log is not None:
        new.log_file.write_bytes(log)
    return new


def finish(run: RunDir) -> None:
    attempt(run, range(1, 5), outcome="completed", seconds=60.0)
    (run.validation / "4.jsonl").write_text("{}\n" * 8)


def console() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=200), file


def shown(verb: Any, *words: Any, **options: Any) -> str:
    """What a verb prints."""
    screen, file = console()
    verb.run(*words, None, None, options.pop("results"), screen, **options)
    return file.getvalue()


# --- naming cells


def test_a_cell_by_id_slug_folder_grid_and_arm(cells: list[Cell], grid: Path, results: Path) -> None:
    run, finder = run_of(cells[0], results), Finder(results)
    names = [cells[0].id[:4], cells[0].id, cells[0].slug, cells[0].run_name, str(run.path)]
    names += [f"fake/{cells[0].run_name}", f"{grid}#grpo", f"{grid}:grpo"]
    for name in names:
        found = finder.one(name)
        assert (found.run.path, found.id, found.slug) == (run.path, cells[0].id, cells[0].slug), name
    assert [t.id for t in finder.all([str(grid), cells[0].slug])] == [c.id for c in cells], "each once"
    assert [t.id for t in finder.all([str(grid)], ["dapo"])] == [cells[1].id]


def test_a_cell_that_was_never_started_has_a_place(cells: list[Cell], grid: Path, results: Path) -> None:
    found = Finder(results).one(f"{grid}#dapo")
    assert found.run.path == results / "fake" / cells[1].run_name
    assert not results.exists()


def test_an_unknown_cell_is_answered_with_the_nearest(cells: list[Cell], grid: Path, results: Path) -> None:
    run_of(cells[0], results)
    for word in ("grpp__toy-xs__seed1", "ab", cells[1].slug):
        with pytest.raises(UserError, match=f"no cell '{word}'") as error:
            Finder(results).one(word)
        assert "FILE.yaml#arm" in str(error.value)
    with pytest.raises(UserError, match="'fake' is a grid") as error:
        Finder(results).one("fake")
    assert f"fake/{cells[0].run_name}" in str(error.value)
    with pytest.raises(UserError, match="did you mean grpo__toy-xs__seed1"):
        Finder(results).one("grpp__toy-xs__seed1")
    with pytest.raises(UserError, match=r"unknown arm 'grop'.*\n.*did you mean 'grpo'"):
        Finder(results).named(f"{grid}#grop")
    with pytest.raises(UserError, match="unknown arm 'x'"):
        Finder(results).all([str(grid)], ["x"])


def test_a_name_of_several_cells_is_refused_where_one_is_needed(
    cells: list[Cell], grid: Path, results: Path
) -> None:
    with pytest.raises(UserError, match=r"names 2 cells.*\n.*grpo__toy-xs__seed1"):
        Finder(results).one(str(grid))
    run_of(cells[1], results)
    assert Finder(results).one(str(grid)).id == cells[1].id, "only one has begun"


def test_a_damaged_cell_is_named(cells: list[Cell], results: Path) -> None:
    run = run_of(cells[0], results)
    run.cell_file.write_text('{"id": 5')
    with pytest.raises(UserError, match="not a readable cell"):
        Finder(results).one(str(run.path))


# --- status


def test_status_by_cell(cells: list[Cell], grid: Path, results: Path) -> None:
    attempt(run_of(cells[0], results), [1, 2], outcome="failed", cause=HOSTILE, seconds=7.0)
    text = shown(status, grid, results=results)
    assert SPELLED in text
    assert f"{cells[0].id}  failed    2/4         –    0.500" in text
    assert "2 cells: 1 planned, 1 failed" in text
    assert cells[1].slug not in shown(status, grid, results=results, failed=True)
    assert "2 cells: 1 planned, 1 failed" in shown(status, grid, results=results, failed=True), (
        "totals of all"
    )


def test_status_of_a_running_cell_says_the_time_left(cells: list[Cell], grid: Path, results: Path) -> None:
    run = run_of(cells[0], results)
    attempt(run, [1], executor="slurm", job="77")
    with run.lock():
        text = shown(status, grid, results=results)
    assert text.splitlines()[1].split()[2:] == ["running", "1/4", "–", "0.500", "6", "s", "slurm", "77"]
    assert "time left 54 s" in text, "3 steps, then the other: 40 s and 4 steps"


def test_status_of_many_cells_is_by_arm(tmp_path: Path, cells: list[Cell], results: Path) -> None:
    many = tmp_path / "fake.yaml"
    many.write_text(grid_text("fake", ("grpo", "dapo"), seeds=list(range(1, 41))))
    finish(run_of(cells[0], results))
    lines = shown(status, many, results=results).splitlines()
    assert lines[1].split() == ["grpo", "toy-xs", "40", "1", "39", "2%"]
    assert lines[2].split() == ["dapo", "toy-xs", "40", "40", "0%"]
    assert len(shown(status, many, results=results, everything=True).splitlines()) == 80 + 2


def test_status_for_scripts(
    cells: list[Cell], grid: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(cells[0], results)
    new = attempt(run, [1], outcome="stopped", cause="x", seconds=36.0)
    new.metrics_file.write_text(new.metrics_file.read_text().replace("0.5", "null"))
    shown(status, grid, results=results, as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["states"] == {"planned": 1, "stopped": 1}
    first = data["cells"][0]
    assert (first["id"], first["state"], first["why"], first["step"]) == (cells[0].id, "stopped", "x", 1)
    assert (first["seconds"], first["gpu_hours"], first["last"]["entropy"]) == (36.0, 0.0, None)


# --- stop and retry


def test_stop_marks_what_is_not_done(cells: list[Cell], grid: Path, results: Path) -> None:
    finish(run_of(cells[0], results))
    text = shown(stop, [str(grid)], results=results, why="the GPUs are needed")
    assert "1 cell not running: nobody starts them" in text
    assert "1 cell done: left alone" in text
    assert marks.stop_request(run_of(cells[0], results)) is None
    request = marks.stop_request(run_of(cells[1], results))
    assert request is not None
    assert request["why"] == "the GPUs are needed"
    assert "@" in request["by"]
    assert "1 cell marked before" in shown(stop, [str(grid)], results=results)


def test_stop_of_one_arm(cells: list[Cell], grid: Path, results: Path) -> None:
    shown(stop, [str(grid)], results=results, arms=["dapo"])
    assert [marks.stop_request(run_of(c, results)) is not None for c in cells] == [False, True]


def test_stop_waits_for_the_end(
    cells: list[Cell], grid: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "POLL_SECONDS", 0.01)
    run, over, held = run_of(cells[0], results), threading.Event(), threading.Event()

    def work() -> None:
        with run.lock():
            held.set()
            while marks.stop_request(run) is None:
                time.sleep(0.01)
            over.set()

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(5)
    screen, file = console()
    assert stop.run([cells[0].slug], None, None, results, screen, wait=True) == 0
    thread.join()
    assert over.is_set()
    assert "1 cell running: ends in order within a minute" in file.getvalue()
    assert "nothing runs any more" in file.getvalue()
    monkeypatch.setattr(stop, "PATIENCE_SECONDS", 0.0)
    with run.lock():
        assert stop.run([cells[0].slug], None, None, results, screen, wait=True) == 1
    assert "running, step 0 of 4: is being stopped" in file.getvalue()


def test_stop_where_nothing_can_be_written(
    cells: list[Cell], grid: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    run_of(cells[0], results)
    monkeypatch.setattr(marks, "request_stop", refuse)
    with pytest.raises(UserError, match="the mark cannot be written: Permission denied"):
        shown(stop, [str(grid)], results=results)


def test_retry_gives_failed_and_stopped_cells_new_tries(cells: list[Cell], grid: Path, results: Path) -> None:
    failed, planned = (run_of(c, results) for c in cells)
    attempt(failed, [1], outcome="failed", cause="out of memory")
    text = shown(retry, [str(grid)], results=results)
    assert f"{cells[0].slug}: was failed, step 1 of 4: out of memory" in text
    assert "1 cell planned: not failed; the next `cegppo run` starts it" in text
    assert status_of(failed, cell_json(cells[0])).state == "planned"
    assert marks.take_retry(failed)
    assert not marks.take_retry(planned)
    marks.request_stop(planned, "ada")
    shown(retry, [cells[1].id], results=results)
    assert marks.stop_request(planned) is None


def test_retry_of_what_has_not_failed(cells: list[Cell], results: Path) -> None:
    run = run_of(cells[0], results)
    finish(run)
    screen, file = console()
    assert retry.run([cells[0].id], None, None, results, screen) == 1
    assert "1 cell done: nothing to try again" in file.getvalue()
    assert not marks.take_retry(run)


# --- logs


def test_a_log_byte_by_byte(
    cells: list[Cell], results: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    run, text = run_of(cells[0], results), b"a\r\n\x1b[31mred\x1b[0m \xff\n\x1b]0;t\x07 [bold]"
    attempt(run, [1], log=b"first\n", outcome="failed")
    attempt(run, [1], log=text, outcome="failed")
    shown(logs, cells[0].slug, results=results)
    captured = capsysbinary.readouterr()
    assert captured.out == text
    assert f"{cells[0].slug}, attempt 2".encode() in captured.err
    shown(logs, cells[0].slug, results=results, attempt=1)
    assert capsysbinary.readouterr().out == b"first\n"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (0, b""),
        (1, b"c"),
        (2, b"\nc"),
        (3, b"b\n\nc"),
        (4, b"a\nb\n\nc"),
        (9, b"a\nb\n\nc"),
        (None, b"a\nb\n\nc"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("block", [1, 3, 65536])
def test_the_last_lines(
    cells: list[Cell],
    results: Path,
    capsysbinary: Any,
    monkeypatch: Any,
    lines: Any,
    text: bytes,
    end: bytes,
    block: int,
) -> None:
    monkeypatch.setattr(logs, "BLOCK", block)
    attempt(run_of(cells[0], results), [], log=b"a\nb\n\nc" + end, outcome="failed")
    shown(logs, cells[0].slug, results=results, lines=lines)
    assert capsysbinary.readouterr().out == (text + end if text else b"")


def test_a_log_is_followed_into_the_next_attempt(
    cells: list[Cell],
    results: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(logs, "STATE_SECONDS", 0.02)
    run, held = run_of(cells[0], results), threading.Event()

    def work() -> None:
        with run.lock():
            first = attempt(run, [], log=b"one\n")
            held.set()
            for word in (b"two\n", b"three\n"):
                time.sleep(0.05)
                with first.log_file.open("ab") as file:
                    file.write(word)
            attempt(run, [], log=b"four\n")
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(5)
    shown(logs, cells[0].id, results=results, follow=True)
    thread.join()
    captured = capsysbinary.readouterr()
    assert captured.out == b"one\ntwo\nthree\nfour\n"
    assert b"attempt 2" in captured.err
    assert b"planned, step 0 of 4" in captured.err


def test_no_log_says_why(cells: list[Cell], results: Path) -> None:
    run = run_of(cells[0], results)
    with pytest.raises(UserError, match="has no attempt yet: planned, step 0 of 4"):
        shown(logs, cells[0].id, results=results)
    attempt(run, [1], outcome="failed", cause="x")
    with pytest.raises(UserError, match=r"attempt 1 of .* has no log: failed, step 1 of 4: x"):
        shown(logs, cells[0].id, results=results)
    with pytest.raises(UserError, match=r"has no attempt 7\n.*its attempts: 1"):
        shown(logs, cells[0].id, results=results, attempt=7)


def test_on_a_terminal_a_log_commands_nothing_but_colours() -> None:
    stream = io.BytesIO()
    output = logs._Output(stream, terminal=True)
    for part in (b"a\xe2", b"\x96\x88 \x1b[3", b"1mred\x1b[0m\x1b]0;owned\x07\x1b[2J", b"\r\nend\x1b"):
        output.write(part)
    output.finish()
    assert stream.getvalue().decode() == "a█ \x1b[31mred\x1b[0m\\x1b]0;owned\\x07\\x1b[2J\nend\\x1b"


# --- why


def test_why_two_arms_differ(cells: list[Cell], grid: Path, results: Path) -> None:
    run = run_of(cells[0], results)
    run.update_manifest(git={"commit": "abc"}, versions={"verl": "0.9.1"})
    attempt(run, [1], outcome="failed", cause=HOSTILE, executor="slurm", seconds=90.0)
    text = shown(why, f"{grid}#grpo", f"{grid}#dapo", results=results)
    lines = [line.split() for line in text.splitlines()]
    assert ["algorithm", "grpo", "dapo"] in lines
    assert ["params.epsilon_high", "–", "0.28"] in lines
    assert ["git.commit", "abc", "–"] in lines
    assert "settings" not in text
    assert f"failed, {SPELLED}, slurm" in text
    assert "1 min 30 s" in text


def test_why_of_one_cell_under_two_names(
    cells: list[Cell], tmp_path: Path, grid: Path, results: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(grid_text("other", ("grpo",)))
    run_of(cells[0], results)
    text = shown(why, f"{grid}#grpo", f"{other}#grpo", results=results)
    assert "nothing that can change the numbers differs" in text
    assert "can change the numbers  A" not in text


def test_why_tells_what_is_harmless(tmp_path: Path, cells: list[Cell], grid: Path, results: Path) -> None:
    other = tmp_path / "other.yaml"
    settings = json.loads(grid_text())["settings"]
    other.write_text(grid_text("other", ("grpo",), settings={**settings, "checkpoint": {"every": 4}}))
    text = shown(why, f"{grid}#grpo", f"{other}#grpo", results=results)
    assert "nothing that can change the numbers differs" in text
    assert ["settings.checkpoint.every", "2", "4"] in [line.split() for line in text.splitlines()]
    settings["total_steps"] = 6
    other.write_text(grid_text("other", ("grpo",), settings=settings))
    text = shown(why, f"{grid}#grpo", f"{other}#grpo", results=results)
    assert ["settings.total_steps", "4", "6"] in [line.split() for line in text.splitlines()]


def test_why_of_equal_cells_with_other_ids(cells: list[Cell], results: Path) -> None:
    run_of(cells[0], results)
    old = RunDir(results / "old" / f"grpo__toy-xs__seed1-{'0' * 12}")
    old.create({**cell_json(cells[0]), "id": "0" * 12})
    text = shown(why, cells[0].id, "000000", results=results)
    assert "the ids differ, the cells do not" in text


def test_why_needs_a_pair(tmp_path: Path, cells: list[Cell], grid: Path, results: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(grid_text("other", ("grpo",), seeds=[5, 6]))
    with pytest.raises(UserError, match="no two of the same scale and seed"):
        shown(why, str(grid), str(other), results=results)


# --- watch


def test_watch_tells_what_changes(cells: list[Cell], results: Path) -> None:
    watcher = watch.Watcher(cells, results)
    assert watcher.look() == []
    run = run_of(cells[0], results)
    new = attempt(run, [1])
    with run.lock():
        [line] = watcher.look()
        assert line == f"{cells[0].slug}: running, step 1 of 4  accuracy –  entropy 0.500  left 6 s"
        assert watcher.look() == []
        assert watcher.board.live()[0].cell.id == cells[0].id
    new.update(outcome="failed", cause=HOSTILE)
    assert watcher.look() == [f"{cells[0].slug}: failed, step 1 of 4: {HOSTILE}"]
    assert not watcher.is_over()
    for cell in cells:
        finish(run_of(cell, results))
    watcher.look()
    assert watcher.is_over()


def test_watch_without_a_terminal_prints_lines_until_all_is_done(
    cells: list[Cell], grid: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch.time, "sleep", lambda _: [finish(run_of(c, results)) for c in cells])
    lines = shown(watch, grid, results=results).splitlines()
    assert f"{cells[1].slug}: done, 4 steps" in lines
    assert lines[-1] == "2 done · run time on CPUs 2 min 00 s"


def test_watch_in_a_terminal_gives_it_back(
    cells: list[Cell], grid: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(run_of(cells[0], results), [1], outcome="failed", cause=HOSTILE)
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=160, height=40, color_system=None)

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", leave)
    watch.run(grid, None, None, results, screen)
    text = file.getvalue()
    assert "█▌···· 1/4" in text
    assert "Ctrl-C ends the view" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "owned" not in text


def test_looking_costs_a_bounded_share_of_a_core(cells: list[Cell], results: Path) -> None:
    watcher = watch.Watcher(cells, results)
    watcher._cost = 1.0
    assert watcher.pause(2.0) == watch.COST_FACTOR


# --- where they work


def test_the_verbs_need_neither_ray_nor_torch(cells: list[Cell], grid: Path, results: Path) -> None:
    run = run_of(cells[0], results)
    attempt(run, [1], log=b"x\n", outcome="failed", cause="x")
    program = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "torch", "verl", "vllm", "transformers", "tensordict"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
from pathlib import Path
from rich.console import Console
from cegppo_verl.launch.verbs import logs, retry, status, stop, watch, why
grid, results, console = Path({str(grid)!r}), Path({str(results)!r}), Console()
status.run(grid, None, None, results, console)
watch.run(grid, None, None, results, console, once=True)
logs.run({cells[0].id!r}, None, None, results, console)
why.run(f"{{grid}}#grpo", f"{{grid}}#dapo", None, None, results, console)
stop.run([str(grid)], None, None, results, console)
retry.run([str(grid)], None, None, results, console)
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
