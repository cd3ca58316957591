"""The warm server, its stand-in for ``python``, the runner's handle: signals, deaths, refusals, leftovers."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from launch.warm_calls import IS_WARM, PLAIN, SLEEP, call, catches, code, first_line, server, start, within

from cegppo_verl.launch.warm import client
from cegppo_verl.launch.warm import server as warm_server
from cegppo_verl.launch.warm.handle import WarmInterpreter


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmInterpreter]:
    with server(tmp_path_factory.mktemp("warm"), "json") as interpreter:
        yield interpreter


@pytest.fixture
def own(tmp_path: Path) -> Iterator[WarmInterpreter]:
    """A server for tests that break it."""
    with server(tmp_path, "json") as interpreter:
        yield interpreter


def search_path(folder: Path) -> str:
    return os.pathsep.join([str(folder), *filter(None, [PLAIN.get("PYTHONPATH")])])


# --- signals and deaths


@pytest.mark.parametrize("number", client.FORWARDED)
def test_signals_reach_the_fork(warm: WarmInterpreter, number: signal.Signals) -> None:
    program = f"""
import os, signal, sys, time
def handler(number, frame):
    os.write(1, b"got %d\\n" % number)
    sys.exit(5)
signal.signal({int(number)}, handler)
os.write(1, b"ready\\n")
time.sleep(60)
"""
    with start(warm.executable, program) as process:
        assert first_line(process) == "ready"
        assert within(5, lambda: catches(process.pid, number))
        process.send_signal(number)
        assert first_line(process) == f"got {int(number)}"
        assert process.wait(10) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_that_nobody_handles_ends_both_as_it_would_end_one(
    warm: WarmInterpreter, number: signal.Signals
) -> None:
    with start(warm.executable, SLEEP) as process:
        assert first_line(process).isdigit()
        assert within(5, lambda: catches(process.pid, number))
        process.send_signal(number)
        assert process.wait(10) == -number


def test_killing_the_client_kills_the_fork_and_leaves_no_zombie(own: WarmInterpreter) -> None:
    with start(own.executable, SLEEP) as process:
        pid = int(first_line(process))
        assert pid != process.pid
        process.kill()
    assert within(5, lambda: not psutil.pid_exists(pid))
    assert code(own.executable, f"print({IS_WARM})").stdout == "True\n"


def test_closing_the_servers_input_ends_server_and_forks(own: WarmInterpreter) -> None:
    with start(own.executable, SLEEP) as process:
        pid = int(first_line(process))
        assert own.process.stdin is not None
        own.process.stdin.close()
        assert own.process.wait(10) == 0
        assert within(5, lambda: not psutil.pid_exists(pid))
        assert process.wait(10) == -signal.SIGKILL
    assert not own.directory.exists(), "a killed runner could not clean up"


def test_forks_do_not_outlive_a_killed_server(own: WarmInterpreter) -> None:
    with start(own.executable, SLEEP) as process:
        pid = int(first_line(process))
        own.process.kill()
        assert within(5, lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
        assert process.wait(10) == -signal.SIGKILL
    assert code(own.executable, f"print({IS_WARM})").stdout == "False\n", "cold, but it runs"


def test_a_client_that_goes_away_while_asking_does_not_end_the_server(own: WarmInterpreter) -> None:
    held = os.listdir(f"/proc/{own.process.pid}/fd")
    for sent in (b"", b"\0", b"\0\0\0\x08{}", b"\0\0\0\x02{}", b"\0\0\0\x02[]", b"\0\0\0\x01{"):
        with socket.socket(socket.AF_UNIX) as half:
            half.connect(str(own.directory / "socket"))
            socket.send_fds(half, [sent], [0, 1] if sent else [])
    assert code(own.executable, f"print({IS_WARM})").stdout == "True\n"
    assert own.process.poll() is None
    assert within(5, lambda: os.listdir(f"/proc/{own.process.pid}/fd") == held)


STOPPED_EARLY = """
import os, signal, sys, time
from pathlib import Path
from cegppo_verl.launch.warm.server import Server
server = Server(Path(sys.argv[1]))
pid = os.fork()
if pid == 0:  # not yet released: the server's handlers are still in place
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    finally:
        os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_signal_in_a_fork_of_the_first_moment_does_not_run_the_servers_end(tmp_path: Path) -> None:
    done = call(sys.executable, "-c", STOPPED_EARLY, str(tmp_path), stdin=subprocess.PIPE)
    assert done.stdout.strip() == str(-signal.SIGTERM), done.stderr


def test_many_forks_at_once_end_each_in_its_own_way(warm: WarmInterpreter) -> None:
    running = [start(warm.executable, f"import time; time.sleep(0.2); exit({n})") for n in range(8)]
    assert [process.wait(60) for process in running] == list(range(8))
    for process in running:
        assert process.stdout is not None
        process.stdout.close()


# --- when the real interpreter runs


def test_without_a_server_the_real_interpreter_runs(tmp_path: Path) -> None:
    stand_in = warm_server.write_stand_in(tmp_path)
    done = code(stand_in, f"import sys; print({IS_WARM}, sys.argv[1:]); sys.exit(4)", "a b")
    assert (done.stdout, done.stderr, done.returncode) == ("False ['a b']\n", "", 4)


def test_with_a_second_thread_in_the_server_nothing_is_forked(tmp_path: Path) -> None:
    module = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    (tmp_path / "starts_a_thread.py").write_text(module)
    with server(tmp_path, "starts_a_thread", PYTHONPATH=search_path(tmp_path)) as interpreter:
        done = code(interpreter.executable, f"import sys; print({IS_WARM}); sys.exit(4)")
    assert (done.stdout, done.returncode) == ("False\n", 4), done.stderr
    assert "not forking, the server has more than one thread" in (tmp_path / "log.txt").read_text()


def test_where_a_fork_is_refused_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(warm_server, "thread_count", lambda: 1)
    idle = object.__new__(warm_server.Server)
    assert idle._fork(warm_server.Request([], {}, "/", 0, [])) == -1


def test_a_client_that_is_there_keeps_its_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    idle = object.__new__(warm_server.Server)
    idle.selector = selectors.DefaultSelector()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    idle.children = {7: ours}
    idle.selector.register(ours, selectors.EVENT_READ, 7)
    idle._client_gone(7)
    assert killed == []
    theirs.close()
    idle._client_gone(7)
    assert killed == [7]
    assert idle.children == {}
    idle.selector.close()


@pytest.mark.parametrize(("job", "warmed"), [("01000000", True), ("02000000", False), ("", False)])
def test_a_worker_of_another_ray_job_starts_cold(warm: WarmInterpreter, job: str, warmed: bool) -> None:
    done = code(warm.executable, f"print({IS_WARM})", env={**PLAIN, "RAY_JOB_ID": job})
    assert done.stdout == f"{warmed}\n"


@pytest.mark.parametrize(
    ("command", "warmed"),
    [
        ("-c multiprocessing", True),
        ("-u -B -c multiprocessing", True),
        ("-c print(1)", False),
        ("-c", False),
        ("-m verl.trainer.main_ppo", True),
        ("-m cegppo_verl.verl_plugin.train", True),
        ("-m verlx.main", False),
        ("-m pip", False),
        ("-m", False),
        ("/site/ray/worker.py --x", True),
        ("/site/other/worker.py", False),
        ("/site/ray/worker.sh", False),
        ("-X importtime -c multiprocessing", False),
        ("-u", False),
        ("", False),
    ],
)
def test_what_is_worth_a_fork(monkeypatch: pytest.MonkeyPatch, command: str, warmed: bool) -> None:
    monkeypatch.delenv("RAY_JOB_ID", raising=False)
    assert client.is_warmable(command.split()) == warmed


# --- the runner's side


def test_start_wait_and_close_leave_nothing_behind(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    interpreter = WarmInterpreter(PLAIN, tmp_path / "log.txt", ("json",))
    assert interpreter.wait(60)
    process = start(interpreter.executable, SLEEP)
    fork = int(first_line(process))
    interpreter.close()
    assert process.wait(10) == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()
    assert not interpreter.directory.exists()
    assert not psutil.pid_exists(interpreter.process.pid)
    assert within(5, lambda: not psutil.pid_exists(fork))
    assert set(os.listdir("/proc/self/fd")) == before
    assert re.search(r"warm: json \d+\.\d s", (tmp_path / "log.txt").read_text())


def test_close_may_be_repeated_and_comes_after_a_death_too(tmp_path: Path) -> None:
    interpreter = WarmInterpreter(PLAIN, tmp_path / "log.txt", ("json",))
    assert interpreter.wait(60)
    interpreter.process.kill()
    interpreter.close()
    interpreter.close()
    assert not interpreter.directory.exists()


def test_wait_says_so_when_the_server_is_slow_or_dead(tmp_path: Path) -> None:
    (tmp_path / "is_slow.py").write_text("import time\ntime.sleep(60)\n")
    environment = {**PLAIN, "PYTHONPATH": search_path(tmp_path)}
    interpreter = WarmInterpreter(environment, tmp_path / "log.txt", ("is_slow",))
    assert not interpreter.wait(0.2)
    interpreter.process.kill()
    began = time.monotonic()
    assert not interpreter.wait(60)
    assert time.monotonic() - began < 30
    interpreter.close()
