"""A warm fork is told from the real interpreter by its speed alone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch.warm_calls import IS_WARM, MARKER, PLAIN, call, code, server

from cegppo_verl.launch.warm import become, client
from cegppo_verl.launch.warm.handle import WarmInterpreter


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmInterpreter]:
    with server(tmp_path_factory.mktemp("warm"), "json") as interpreter:
        yield interpreter


# --- the same program, cold and warm

SEEN = """
import os, signal, sys
def f(x: int): pass
print(sys.argv, os.getcwd(), os.umask(0), sorted(os.listdir("/proc/self/fd")), sys.path[0], sep="\\n")
print(sorted(item for item in os.environ.items() if item[0] != "PWD"))
print(signal.set_wakeup_fd(-1), [str(signal.getsignal(n)).split(" at ")[0] for n in (15, 2, 17, 13)])
print(__name__, f.__module__, f.__annotations__, repr(sys.stdin.read()))
"""


def both(
    warm: WarmInterpreter, arguments: list[str], **options: Any
) -> list[subprocess.CompletedProcess[str]]:
    return [call(python, *arguments, **options) for python in (sys.executable, warm.executable)]


@pytest.mark.parametrize("kind", ["-c", "-u -c", "script"])
def test_a_program_sees_what_it_would_see_cold(warm: WarmInterpreter, tmp_path: Path, kind: str) -> None:
    script = tmp_path / "ray" / "worker.py"
    script.parent.mkdir()
    script.write_text(SEEN)
    program = [str(script)] if kind == "script" else [*kind.split(), MARKER + SEEN]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "ODD": "a\udcff b='\"\n"}
    here = {"cwd": tmp_path, "env": environment, "umask": 0o027, "input": "β\n", "preexec_fn": os.setsid}
    cold, hot = both(warm, [*program, "--flag", "", "a b"], **here)
    assert cold.returncode == 0, cold.stderr
    assert (hot.stdout, hot.stderr, hot.returncode) == (cold.stdout, cold.stderr, 0)


def test_a_module_is_run_as_the_interpreter_runs_it(warm: WarmInterpreter, tmp_path: Path) -> None:
    cold, hot = both(warm, ["-m", "cegppo_verl.launch.warm.server", "--help"], cwd=tmp_path)
    assert "usage: server.py" in cold.stdout
    assert (hot.stdout, hot.stderr, hot.returncode) == (cold.stdout, cold.stderr, 0)


def test_a_script_imports_its_neighbours_and_stays_main(warm: WarmInterpreter, tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "neighbour.py").write_text("def seven():\n    return 7\n")
    program = f"import neighbour, sys, pickle\nclass A: pass\nprint(neighbour.seven(), __file__, {IS_WARM})\n"
    (folder / "worker.py").write_text(program + "print(pickle.loads(pickle.dumps(A())).__class__ is A)\n")
    hot = call(warm.executable, str(folder / "worker.py"), cwd="/")
    assert hot.stdout == f"7 {folder}/worker.py True\nTrue\n", hot.stderr


@pytest.mark.parametrize(
    ("program", "exit_code", "message"),
    [
        ("pass", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(0)", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit(-1)", 255, ""),
        ("import sys; sys.exit('no licence')", 1, "no licence\n"),
        ("import os; os._exit(7)", 7, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os; os.kill(os.getpid(), 15)", -15, ""),
        ("import os; os.abort()", -6, ""),
    ],
)
def test_the_end_is_the_programs(warm: WarmInterpreter, program: str, exit_code: int, message: str) -> None:
    done = code(warm.executable, program)
    assert (done.returncode, done.stderr, done.stdout) == (exit_code, message, "")


def test_an_uncaught_exception_leaves_a_traceback(warm: WarmInterpreter) -> None:
    done = code(warm.executable, "print('before')\nraise ValueError('β is missing')")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("ValueError: β is missing\n")


def test_exit_handlers_run_threads_are_joined_and_output_is_flushed(warm: WarmInterpreter) -> None:
    program = """
import atexit, threading, time
atexit.register(print, "handler")
def work():
    time.sleep(0.2)
    print("thread", end=" ")
threading.Thread(target=work).start()
"""
    assert code(warm.executable, program).stdout == "thread handler\n"


def test_unbuffered_output_survives_a_kill(warm: WarmInterpreter) -> None:
    program = MARKER + "import os; print('last words'); os.kill(os.getpid(), 9)"
    assert call(warm.executable, "-c", program, env=PLAIN).stdout == ""
    assert call(warm.executable, "-u", "-c", program, env=PLAIN).stdout == "last words\n"
    unbuffered = {**PLAIN, "PYTHONUNBUFFERED": "1"}
    assert call(warm.executable, "-c", program, env=unbuffered).stdout == "last words\n"


# --- descriptors


def test_pipes_are_handed_down_under_their_numbers(warm: WarmInterpreter) -> None:
    """Low numbers too, which the server uses for itself."""
    program = """
import os, sys
for number in map(int, sys.argv[1:]):
    assert os.get_inheritable(number)
    os.write(number, b"to %d" % number)
"""
    pipes = [os.pipe() for _ in range(12)]
    ends = [write for _, write in pipes]
    done = code(warm.executable, program, *map(str, ends), pass_fds=ends)
    assert done.returncode == 0, done.stderr
    for read, write in pipes:
        os.close(write)
        assert os.read(read, 100) == b"to %d" % write
        assert os.read(read, 100) == b"", "neither the server nor the stand-in keeps a copy"
        os.close(read)


def test_descriptors_that_swap_their_numbers_do_not_overwrite_each_other() -> None:
    pipes = [os.pipe() for _ in range(2)]
    first, second = (fcntl.fcntl(write, fcntl.F_DUPFD, 200) for _, write in pipes)
    become.move_descriptors([first, second], [second, first])
    os.write(second, b"1")
    os.write(first, b"2")
    for number in (first, second, *(write for _, write in pipes)):
        os.close(number)
    assert [os.read(read, 9) for read, _ in pipes] == [b"1", b"2"]
    for read, _ in pipes:
        os.close(read)


def test_only_what_a_child_would_inherit_is_passed_on() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    assert {0, 1, 2, write} <= set(client.open_descriptors())
    assert read not in client.open_descriptors()
    os.close(read)
    os.close(write)


# --- what forks must not share, and what they must


def test_two_forks_draw_different_random_numbers(warm: WarmInterpreter) -> None:
    program = f"import random; print({IS_WARM}, random.random())"
    first, second = (code(warm.executable, program).stdout for _ in range(2))
    assert first.startswith("True ")
    assert second.startswith("True ")
    assert first != second


def test_numpy_in_the_server_is_seeded_anew_in_each_fork(tmp_path: Path) -> None:
    with server(tmp_path, "no_such_module", "numpy.random") as interpreter:
        program = "import sys; print('numpy.random' in sys.modules, sys.modules['numpy.random'].random())"
        drawn = {code(interpreter.executable, program).stdout for _ in range(2)}
    assert len(drawn) == 2
    assert all(text.startswith("True ") for text in drawn)
    assert "ModuleNotFoundError" in (tmp_path / "log.txt").read_text(), (
        "a missing module is reported, not fatal"
    )


SPAWN = f"""
import multiprocessing, os, sys
def work(x):
    return x * x, os.getpid(), {IS_WARM}
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(work, range(4), chunksize=1)
    print([r[0] for r in results], all(r[2] for r in results), os.getpid() in [r[1] for r in results])
    print(sys.executable)
"""


def test_spawned_processes_start_warm_through_the_stand_in(warm: WarmInterpreter, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "pool.py").write_text(SPAWN)
    done = call(warm.executable, str(tmp_path / "ray" / "pool.py"))
    assert done.stdout == f"[0, 1, 4, 9] True False\n{warm.executable}\n", done.stderr
    assert done.stderr == ""


def test_a_signal_that_the_stand_in_ignores_is_ignored_by_the_program(warm):
    """As with a background job of a shell, whose SIGINT is ignored."""
    code = "import multiprocessing, signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    words = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', str(warm.executable), code]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == "True\n"
