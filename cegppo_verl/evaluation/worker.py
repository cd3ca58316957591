"""The process that runs math-verify: one JSON request per line in, one JSON verdict per line out.

Started by file name, so it imports math-verify and sympy and nothing of this package. math-verify's own
time-outs are off: they use Python-level signal handlers, which a long operation inside one big-integer
multiplication never reaches. Instead the kernel ends the process (SIGALRM's default action) if the parent
did not do so before; that also ends orphans.

Request: {"answer": str, "truths": [str, ...]}; reply: {"outcome": "correct" | "wrong" | "grader_error"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from functools import lru_cache

MEMORY_LIMIT = 2 * 1024**3  # bytes of address space: a tower of powers must not take the machine down
GRACE = 2.0  # seconds after the parent's own limit


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


def judged(request: dict) -> str:
    """:func:`judge`, with what it raises turned into "grader_error"."""
    try:
        return judge(request["answer"], request["truths"])
    except (Exception, MemoryError, RecursionError):
        return "grader_error"


def serve(seconds: float) -> None:
    """Answer requests until standard input closes."""
    reply = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like a verdict
    parsed("1")  # load everything before the first time limit starts
    print(json.dumps({"outcome": "ready"}), file=reply)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
        outcome = judged(json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps({"outcome": outcome}), file=reply)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(ValueError, OSError):  # a stricter limit may be in force already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    with contextlib.suppress(KeyboardInterrupt):
        serve(float(sys.argv[1]))
