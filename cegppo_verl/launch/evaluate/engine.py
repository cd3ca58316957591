"""An engine in a process of its own: requests go in on its standard input, answers come back on a pipe.

Its standard output belongs to vLLM's log, so the answers have a descriptor of their own. One JSON object a
line; ``vllm_main.py`` has the protocol. The process dies with this one, however this one dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from cegppo_verl.errors import UserError
from cegppo_verl.launch import driver, processes
from cegppo_verl.launch.causes import cause_of

Json = dict[str, Any]
VLLM = (sys.executable, "-m", "cegppo_verl.launch.evaluate.vllm_main")
END_SECONDS = 5.0


class Engine(Protocol):
    """What answers requests."""

    def batches(self) -> Iterator[list[Json]]:
        """Replies as they come, at least one at a time, until all requests are answered.

        Raises:
            UserError: it cannot start, or died.
        """

    def close(self) -> None:
        """End all its processes."""


@dataclass(frozen=True)
class Start:
    """How to start an engine.

    Attributes:
        command: without the descriptor, which is added as the last argument.
        environment: added to this process's.
        log: receives what it prints; begun anew.
        mark: by which its processes are found.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    mark: str


class ProcessEngine:
    """One subprocess."""

    def __init__(self, start: Start, requests: Json) -> None:
        self._start = start
        self._replies: SimpleQueue[Json | None] = SimpleQueue()
        reading, writing = os.pipe()
        try:
            self.process = _spawn(start, requests, writing)
        finally:
            os.close(writing)
        # Read at once, whatever else is going on: a full pipe would hold the engine up.
        Thread(target=self._read, args=(reading,), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb") as pipe:
            for line in pipe:
                with contextlib.suppress(ValueError):  # a torn last line of an engine that died
                    self._replies.put(json.loads(line))
        self._replies.put(None)

    def batches(self) -> Iterator[list[Json]]:
        """All replies that are there, whenever there is one.

        Raises:
            UserError: what the engine reports, or why it died.
        """
        while True:
            batch = _drained(self._replies)
            answers = [reply for reply in batch if reply and "id" in reply]
            if answers:
                yield answers
            for reply in batch:
                if reply is None:
                    raise self._died()
                if "error" in reply:
                    raise UserError(reply["error"], file=self._start.log, hint=reply.get("hint"))
                if "end" in reply:
                    return

    def _died(self) -> UserError:
        code = self.process.wait()
        cause = cause_of(self._start.log, code).text
        hint = "see the log; the same command goes on where it stopped"
        return UserError(f"the engine died: {cause}", file=self._start.log, hint=hint)

    def close(self) -> None:
        """End it and everything it started."""
        processes.end(self._processes(), END_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)

    def _processes(self) -> list:
        return processes.with_descendants(processes.marked(self._start.mark))


def _drained(queue: SimpleQueue[Json | None]) -> list[Json | None]:
    batch = [queue.get()]
    with contextlib.suppress(Empty):
        while True:
            batch.append(queue.get_nowait())
    return batch


def _spawn(start: Start, requests: Json, writing: int) -> subprocess.Popen[bytes]:
    with tempfile.TemporaryFile() as spool, start.log.open("wb") as log:
        spool.write(json.dumps(requests).encode())
        spool.seek(0)
        return subprocess.Popen(
            [*start.command, str(writing)],
            stdin=spool,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env={**os.environ, **driver.import_path(), **start.environment, processes.MARK: start.mark},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the engine in order
            preexec_fn=driver.end_with_parent if sys.platform == "linux" else None,
        )
