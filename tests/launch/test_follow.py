"""Following an attempt: what it reports, when silence is a stall, when it is over."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.launch import follow, processes
from cegppo_verl.launch.follow import Follower, Limits
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.rundir import RunDir

CELL: dict[str, Any] = {
    "id": "0" * 12,
    "settings": {
        "total_steps": 2,
        "eval": {"every": 0, "benchmarks": [{"name": "x", "samples": 1, "problems": 1}]},
    },
}


class Handle:
    """A driver that is what the test says."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.calls: list[str] = []

    def poll(self) -> int | None:
        return self.code

    def processes(self) -> list[Any]:
        return []

    def cancel(self, grace: float = 5.0) -> None:
        self.calls.append("cancel")
        self.code = -15

    def sweep(self, grace: float = 5.0) -> None:
        self.calls.append("sweep")


class Scene:
    """An attempt that is followed, with a clock of its own."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        run = RunDir(folder)
        self.attempt = run.new_attempt()
        self.attempt.update(number=1, resumed_from=0)
        self.handle, self.heard, self.ticks = Handle(), list[LoggedStep](), 0
        self.follower = Follower(
            run=run,
            cell=CELL,
            attempt=self.attempt,
            handle=self.handle,  # type: ignore[arg-type]  # the part of a Handle that is used
            limits=limits,
            on_step=self.heard.append,
            on_tick=lambda: None,
        )

    def log(self, step: int, end: str = "\n") -> None:
        line = json.dumps({"step": step, "data": {"training/global_step": step}})
        with self.attempt.metrics_file.open("a") as file:
            file.write(line + end)

    def look(self) -> list[int]:
        self.follower._look()
        return [s.step for s in self.heard]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time as the follower sees it: the first entry; sleeping passes it."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    used = time.thread_time
    clock = {"monotonic": lambda: now[0], "sleep": sleep, "thread_time": lambda: used()}
    monkeypatch.setattr(follow, "time", type("Clock", (), clock))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])  # the follower's first sign of life
    return now


@pytest.fixture
def scene(tmp_path: Path, clock: list[float]) -> Scene:
    scene = Scene(tmp_path, Limits(startup=100, factor=10, least=30))
    scene.follower._last_sign = clock[0]
    return scene


def test_each_line_is_heard_once(scene: Scene) -> None:
    assert scene.look() == []
    scene.log(1)
    assert scene.look() == [1]
    assert scene.look() == [1]
    scene.log(2)
    assert scene.look() == [1, 2]


def test_a_half_written_line_is_heard_when_it_is_whole(scene: Scene) -> None:
    scene.log(1)
    with scene.attempt.metrics_file.open("a") as file:
        file.write('{"step": 2, "da')
    assert scene.look() == [1]
    with scene.attempt.metrics_file.open("a") as file:
        file.write('ta": {"training/global_step": 2}}\n')
    assert scene.look() == [1, 2]


def test_start_up_has_a_limit_of_its_own(scene: Scene, clock: list[float]) -> None:
    clock[0] += 99
    assert scene.follower._stalled() is None
    clock[0] += 2
    assert scene.follower._stalled() == 101


def test_the_limit_follows_the_pace(scene: Scene, clock: list[float]) -> None:
    for step, seconds in enumerate((90, 20, 20, 400, 20)):  # start-up, then a median of 20 s
        clock[0] += seconds
        scene.log(step)
        scene.look()
    clock[0] += 199
    assert scene.follower._stalled() is None
    clock[0] += 2
    assert scene.follower._stalled() == 201


def test_a_quick_pace_has_a_floor(scene: Scene, clock: list[float]) -> None:
    for step, seconds in enumerate((9, 0.1, 0.1, 0.1)):
        clock[0] += seconds
        scene.log(step)
        scene.look()
    clock[0] += 29
    assert scene.follower._stalled() is None
    clock[0] += 2
    assert scene.follower._stalled() == pytest.approx(31)


def test_a_stall_ends_the_driver(scene: Scene) -> None:
    cause = scene.follower.follow()
    assert cause is not None
    assert cause.text.startswith("stalled: no new step for 100 s")
    assert cause.retry
    assert scene.handle.calls == ["cancel"]


def test_what_was_written_just_before_the_exit_counts(scene: Scene) -> None:
    scene.handle.code = 1
    scene.log(1)
    scene.log(2)
    assert scene.follower.follow() is None
    assert [s.step for s in scene.heard] == [1, 2]
    assert scene.handle.calls == ["sweep"]


def test_an_exit_too_early_has_a_cause(scene: Scene) -> None:
    scene.handle.code = 0
    scene.log(1)
    cause = scene.follower.follow()
    assert cause is not None
    assert cause.text == "the driver exited with code 0 before the run was complete"


def test_a_complete_driver_gets_its_time_and_no_more(scene: Scene, clock: list[float]) -> None:
    scene.log(1)
    scene.log(2)
    begin = clock[0]
    assert scene.follower.follow() is None
    assert follow.SHUTDOWN_SECONDS <= clock[0] - begin < follow.SHUTDOWN_SECONDS + 2
    assert scene.handle.calls == ["cancel"]


def test_the_largest_memory_is_kept(
    scene: Scene, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([100, 900, 300])
    monkeypatch.setattr(processes, "proportional_memory", lambda found: next(values))
    for _ in range(3):
        scene.look()
        scene.look()  # measured every few seconds only: reading it costs
        clock[0] += follow.MEMORY_SECONDS
    assert scene.follower.peak_memory == 900


def test_a_dear_look_at_the_memory_is_taken_seldom(
    scene: Scene, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    used, looks = [0.0], list[float]()

    def dear(found: object) -> int:
        used[0] += 0.3  # seconds of a core
        looks.append(clock[0])
        return 1

    monkeypatch.setattr(processes, "proportional_memory", dear)
    monkeypatch.setattr(follow.time, "thread_time", lambda: used[0])
    for _ in range(1200):
        scene.look()
        clock[0] += follow.POLL_SECONDS
    assert len(looks) == 5
    assert used[0] <= follow.MEMORY_SHARE * (looks[-1] - looks[0]) + 0.3


def test_at_the_end_memory_is_looked_at_once_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([100, 900])
    monkeypatch.setattr(processes, "proportional_memory", lambda found: next(values, 0))
    monkeypatch.setattr(follow, "MEMORY_SECONDS", 1e9)
    scene.log(1)
    scene.log(2)
    assert scene.follower.follow() is None
    assert scene.follower.peak_memory == 900
