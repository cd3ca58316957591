"""Run a candidate program against hidden tests, with the candidate shut in and the verdict out of its reach.

Threat model. The candidate is hostile code: it wants the verdict "correct" without solving the task, or to
harm, read, outlive or slow down the machine. Trusted are the kernel, Python, this package and the benchmark
(prompt and tests; it is run without privileges all the same). Not defended: bugs of the kernel, timing
channels between processes, and a candidate that solves the task by knowing the tests by heart.

Four processes:

1. the evaluator (:mod:`.client`): any thread of any process, a Ray worker too; it starts
2. the launcher (:mod:`.launch`): makes the namespaces, watches clock, output and disk, ends everything;
3. the judge (:mod:`.judge`): runs the tests;
4. the candidate (:mod:`.runner`): a fresh interpreter that holds the candidate's program and nothing else.

Why the verdict cannot be forged. The tests, the expected values and the pipe of the verdict exist in the
judge only. The candidate gets a function's arguments and sends back plain data (:mod:`.runner` has the
format), which the judge decodes into its own plain objects: no object, class, exception or comparison of the
candidate's ever reaches the tests. All that the candidate can do with its pipe, by whatever trick on stack
frames, ``sys.modules``, ``assert`` or exit handlers, is to return a value, and a wrong value fails the test.
If it ends early (``os._exit(0)``), the tests find the pipe closed: wrong. A test that never calls the
candidate counts as a grader's error, not as passed. The line of the verdict carries a random number that the
evaluator drew for this one run and that only the launcher and the judge have seen.

Why it does not get out. See :mod:`.layers` for the layers, what each guards, and which ones must be there;
every result says which were active. One process is the limit: the candidate can start threads, up to a
limit, but no process; so nothing can outlive it.

What it cannot judge: functions that take or return anything but plain data (a callback, an iterator, an
object of a class), tests that look at arguments changed in place, programs that read standard input, and
candidates that need packages beyond the standard library: none is readable from inside, because a package
folder can also hold this package and with it the generated tests.
"""

from cegppo_verl.evaluation.sandbox.client import Limits, Program, Result, run

__all__ = ["Limits", "Program", "Result", "run"]
