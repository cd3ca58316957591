"""The reason of a failure in words, and whether trying again can help, from logs as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegppo_verl.launch import causes
from cegppo_verl.launch.causes import Cause, Kind, cause_of

RAY = "\x1b[36m(TaskRunner pid=19826)\x1b[0m "
PLAIN = "(WorkerDict pid=19826, ip=10.0.0.7) "


def of(folder: Path, text: str, code: int | None = 1) -> Cause:
    log = folder / "log.txt"
    log.write_text(text)
    return cause_of(log, code)


KNOWN = {
    "loss": (
        "RuntimeError: cegppo is not registered inside Ray workers",
        "the policy loss is not registered",
        False,
    ),
    "plugin": (
        "RuntimeError: the verl plugin failed to load: no module x\n",
        "failed to load: no module x",
        False,
    ),
    "disk": ("OSError: [Errno 28] No space left on device: '/dev/shm/x'", "no space left", False),
    "gpu memory": ("torch.OutOfMemoryError: CUDA out of memory. Tried", "out of memory", True),
    "memory": ("MemoryError", "out of memory", True),
    "fork": ("OSError: [Errno 12] Cannot allocate memory", "out of memory", True),
    "monitor": (
        "Workers (tasks / actors) killed due to memory pressure (OOM)",
        "out of memory (Ray's memory monitor)",
        True,
    ),
    "override": ("Could not override 'actor.x'.\nKey 'x' is not in struct", "'actor.x'", False),
    "struct": ("Key 'beta9' is not in struct", "refuses an override: Key 'beta9'", False),
    "gpus": (
        "ValueError: Total available GPUs 0 is less than total desired GPUs 8",
        "Total available GPUs 0 is less",
        False,
    ),
    "worker": (
        "\x1b[33m(raylet)\x1b[0m A worker died or was killed while executing a task by an unexpected system"
        " error. To troubleshoot. Worker port: 41621 Worker PID: 26013 Worker exit type: SYSTEM_ERROR",
        "a Ray worker (process 26013) died",
        True,
    ),
    "raylet": ("raylet process 7 has died", "a Ray node died", True),
    "node": ("The node with node id: 3f has been marked dead because", "a Ray node died", True),
}


@pytest.mark.parametrize(("text", "words", "retry"), KNOWN.values(), ids=list(KNOWN))
@pytest.mark.parametrize("prefix", ["", RAY, PLAIN])
def test_known_causes(tmp_path: Path, prefix: str, text: str, words: str, retry: bool) -> None:
    cause = of(tmp_path, f"step 1\n{prefix}{text}\nmore\n")
    assert words in cause.text
    assert cause.retry is retry


EXCEPTIONS = {
    "ValueError: shapes differ": False,
    "KeyError: 'loss'": False,
    "AssertionError": False,
    "cegppo_verl.errors.UserError: no such task": False,
    "ray.exceptions.RayTaskError(ValueError): ray::TaskRunner.run()": False,
    "ray.exceptions.ActorDiedError: The actor died unexpectedly": True,
    "ray.exceptions.ActorUnavailableError: The actor is unavailable": True,
    "ray.exceptions.WorkerCrashedError: The worker died": True,
    "ray.exceptions.ObjectLostError: lost": True,
    "ConnectionResetError: [Errno 104] Connection reset by peer": True,
    "ray.exceptions.GetTimeoutError: Get timed out": True,
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue": True,
}


@pytest.mark.parametrize(("line", "retry"), EXCEPTIONS.items())
@pytest.mark.parametrize("prefix", ["", RAY, PLAIN])
def test_only_lost_processes_are_worth_another_try(
    tmp_path: Path, line: str, retry: bool, prefix: str
) -> None:
    log = f"{prefix}Traceback (most recent call last):\n{prefix}  x\n{prefix}{line}\nbye\n"
    cause = of(tmp_path, log)
    assert (cause.text, cause.retry) == (line, retry)


def test_the_last_exception_counts(tmp_path: Path) -> None:
    assert of(tmp_path, "KeyError: 1\nConnectionError: 2\nValueError: 3\n") == Cause(
        "ValueError: 3", Kind.CODE_ERROR
    )


def test_words_in_the_middle_of_a_line_are_no_exception(tmp_path: Path) -> None:
    cause = of(tmp_path, "counted 3 ValueError so far\nErrors are logged\n", 7)
    assert cause == Cause("the driver exited with code 7 before the run was complete", Kind.NODE_LOST)


@pytest.mark.parametrize("code", [-9, -15])
def test_a_killed_driver(tmp_path: Path, code: int) -> None:
    cause = of(tmp_path, "ValueError: something that was caught long ago\n", code)
    assert cause == Cause(f"the driver was killed by signal {-code}", Kind.NODE_LOST)


def test_an_errors_own_exit_code_is_not_tried_again(tmp_path: Path) -> None:
    assert not of(tmp_path, "error: no such file\n", 2).retry
    assert not of(tmp_path, "ConnectionError: refused\n", 2).retry


def test_without_a_log(tmp_path: Path) -> None:
    assert cause_of(tmp_path / "none", 0).text == "the driver exited with code 0 before the run was complete"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    text = "MemoryError\n" + "a step\n" * (causes.TAIL_BYTES // 7) + "ValueError: new\n"
    assert of(tmp_path, text).text == "ValueError: new"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"\xff\xfe\x00\nValueError: \xff\n")
    assert cause_of(tmp_path / "log.txt", 1).text.startswith("ValueError: ")


def test_a_cause_stays_one_short_line(tmp_path: Path) -> None:
    assert len(of(tmp_path, "ValueError: " + "x" * 5000).text) <= 300
