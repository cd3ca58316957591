"""Grading of code: find the program in a response, run the hidden tests on it in the sandbox.

The truth of a row is JSON, ``{"prompt", "entry_point", "tests"}`` as HumanEval has them: the prompt is the
beginning of a program that ends in the head and the docstring of the function ``entry_point``; the tests
define ``check(candidate)``. What counts as the program:

1. the last fenced block that defines the function, or else the last one with any code;
2. without fences: the response, if it defines the function;
3. otherwise the response continues the prompt, up to the first line that leaves the function (the stop
   sequences of Chen et al. 2021, arXiv 2107.03374, section 2.1).

The prompt goes before the program in every case, for its imports and helpers.
"""

from __future__ import annotations

import json
import re
import threading

from cegppo_verl.evaluation.grading import Verdict
from cegppo_verl.evaluation.sandbox import Limits, Program, run

VERSION = 1  # raise it when the same response could get another verdict
MOST_CHARACTERS = 200_000  # a longer program is none
AT_ONCE = 2  # sandboxes of this process at the same time

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_STOP = re.compile(r"\n(?:class |def |#|if |print|```|@)")
_BEGIN = re.compile(r"^(?:import |from \w+ import|def |class |@|async def )", re.MULTILINE)
_slots = threading.BoundedSemaphore(AT_ONCE)


def program_in(response: str, prompt: str, entry_point: str) -> str | None:
    """The whole candidate program; None when the response holds no code."""
    response = response.replace("\r\n", "\n")
    if len(response) > MOST_CHARACTERS or not response.strip():
        return None
    definition = re.compile(rf"^[ \t]*def[ \t]+{re.escape(entry_point)}\b", re.MULTILINE)
    blocks = [block for block in _FENCE.findall(response) if block.strip()]
    if blocks:
        chosen = next((block for block in reversed(blocks) if definition.search(block)), blocks[-1])
        return _joined(prompt, chosen, definition)
    return _joined(prompt, response, definition)


def _joined(prompt: str, code: str, definition: re.Pattern[str]) -> str:
    if definition.search(code):
        first = _BEGIN.search(code)  # talk before the program goes
        return f"{prompt}\n{code[first.start() :] if first else code}"
    stop = _STOP.search(code)
    body = code[: stop.start()] if stop else code
    # A continuation may have lost the indentation of its first line.
    return prompt + (body if body.startswith((" ", "\t", "\n")) else f"    {body}")


def truth(prompt: str, entry_point: str, tests: str) -> str:
    """The ground truth of a row."""
    return json.dumps({"prompt": prompt, "entry_point": entry_point, "tests": tests})


def grade_code(response: str, truth: str, limits: Limits | None = None) -> Verdict:
    """Run the hidden tests on the program in a response.

    ``extracted`` is the cause when the program is wrong ("assertion", "exception NAME", "timeout", …), or
    what failed in the grader.

    Raises:
        UserError: this system lacks a layer of the sandbox that is necessary.
    """
    try:
        row = json.loads(truth)
        prompt, entry_point, tests = (str(row[key]) for key in ("prompt", "entry_point", "tests"))
    except (ValueError, KeyError, TypeError):
        return Verdict("grader_error", False, "the ground truth is not a prompt with tests")
    program = program_in(response, prompt, entry_point)
    if program is None:
        return Verdict("no_answer", False, "")
    with _slots:
        found = run(Program(program, entry_point, tests, prelude=prompt), limits)
    return Verdict(found.outcome, found.correct, found.cause)
