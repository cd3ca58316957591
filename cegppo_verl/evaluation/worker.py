"""The processes that run math-verify: one nurse that imports it once, and a forked child per socket.

Started by file name, so it imports math-verify and sympy and nothing of this package. math-verify's own
time-outs are off: they use Python-level signal handlers, which a long operation inside one big-integer
multiplication never reaches. Instead the kernel ends the child by a timer's default action; the nurse sees
that, says so on the child's socket and forks the next one, which takes milliseconds because everything is
imported. A limit counts the child's own seconds on a CPU, so that a verdict does not depend on how busy the
machine is; a second timer on the clock, PATIENCE times longer, ends what waits for ever.

One JSON object per line. Request: {"id": int, "answer": str, "truths": [str, ...]}; reply: {"id": int,
"outcome": "correct" | "wrong" | "grader_error"}; the nurse's notice: {"id": null, "outcome": "timeout" |
"late" | "died"}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from functools import lru_cache
from typing import Any, NoReturn

MEMORY_LIMIT = 1024**3  # bytes of address space; an ordinary child has 65 MB
RECYCLE = 256 * 1024**2  # resident bytes after which a child makes room for a fresh one
PATIENCE = 4.0  # clock seconds per second of the limit
AGAIN = 3  # exit status of a child that is to be replaced without a word
PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
NOTICES: dict[int, str] = {signal.SIGPROF: "timeout", signal.SIGALRM: "late"}


@lru_cache(maxsize=4096)
def parsed(text: str) -> list:
    """The expressions that math-verify reads in a LaTeX answer; empty when it can read none."""
    from math_verify import LatexExtractionConfig, parse

    return parse(
        f"${text}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )


def judge(answer: str, truths: list[str]) -> str:
    """ "correct" if the answer equals any truth, "grader_error" if no truth can be read, else "wrong"."""
    from math_verify import verify

    golds = [parsed(truth) for truth in truths]
    if not any(golds):
        return "grader_error"
    answers = parsed.__wrapped__(answer)  # not cached: answers rarely repeat and may be large
    same = any(verify(gold, answers, timeout_seconds=None) for gold in golds if gold and answers)
    return "correct" if same else "wrong"


def judged(request: dict[str, Any]) -> str:
    """:func:`judge`, with what it raises turned into "grader_error"."""
    try:
        return judge(request["answer"], request["truths"])
    except (Exception, MemoryError, RecursionError):
        return "grader_error"


def serve(line: socket.socket, seconds: float) -> int:
    """Answer requests; return the exit status: 0 when the other side is gone, AGAIN when grown too large."""
    reading = line.makefile("rb")
    for text in reading:
        try:
            request = json.loads(text)
        except ValueError:  # the rest of a request whose first half went to a child that died
            continue
        signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        outcome = judged(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        line.sendall(json.dumps({"id": request["id"], "outcome": outcome}).encode() + b"\n")
        if peak() > RECYCLE:
            return AGAIN
    return 0


def peak() -> int:
    """The most resident bytes of this process so far; Linux counts KiB, macOS bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def confine() -> None:
    """Bound what this process may take; if memory runs out, it goes before the one that trains."""
    for limit, value in (("AS", MEMORY_LIMIT), ("CORE", 0), ("FSIZE", 0)):
        with contextlib.suppress(ValueError, OSError):  # a stricter limit may be in force already
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def child(lines: list[socket.socket], slot: int, seconds: float, parent: int) -> NoReturn:
    """Serve one line until the end; never returns into the nurse's code."""
    status = 1
    try:
        for other in lines[:slot] + lines[slot + 1 :]:
            other.close()  # an open copy would hide from the asking side that nobody is there
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        confine()
        if os.getppid() == parent:  # else it died before the line above
            status = serve(lines[slot], seconds)
    except OSError:  # the other side is gone
        status = 0
    finally:
        os._exit(status)


def nurse(lines: list[socket.socket], seconds: float) -> None:
    """Keep one child per socket alive until the other side of one is gone."""
    children: dict[int, int] = {}
    for slot in range(len(lines)):
        children[start(lines, slot, seconds)] = slot
    while True:
        pid, status = os.wait()
        slot = children.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            break
        if code != AGAIN:
            notice(lines[slot], code)
        children[start(lines, slot, seconds)] = slot
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def start(lines: list[socket.socket], slot: int, seconds: float) -> int:
    """Fork a child; its process id."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        child(lines, slot, seconds, parent)
    return pid


def notice(line: socket.socket, code: int) -> None:
    """Tell the asking side what became of the child."""
    outcome = NOTICES.get(-code, "died")
    line.sendall(json.dumps({"id": None, "outcome": outcome}).encode() + b"\n")
    if outcome == "died":
        time.sleep(0.02)  # children that cannot live must not keep a core busy


def main(arguments: list[str]) -> None:
    """``worker.py SECONDS DESCRIPTOR...``: load everything, then serve on the sockets."""
    for timer in NOTICES:
        signal.signal(timer, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a thread with blocked signals may have started us
    judge("\\frac{1}{2}", ["0.5"])  # load everything before the first time limit starts
    lines = [socket.socket(fileno=int(number)) for number in arguments[1:]]
    nurse(lines, float(arguments[0]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        main(sys.argv[1:])
